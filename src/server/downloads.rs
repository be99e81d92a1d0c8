//! Serves single stored files, and the logs of runs that go on, to whoever has a link that this process made.
//!
//! A link names exactly one thing and ends after minutes; there is nothing else to ask for here. Files pass through piece
//! by piece as fast as the client takes them. Links are secrets: they are written into the status of a DownloadRequest
//! and nowhere else.

mod ticket;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::ticket::{Signer, Ticket};
use super::clock::Clock;
use super::engines::ByteStream;
use super::run_log::{LiveLog, Until};
use super::settings::{Whereabouts, World};
use crate::api::{DownloadServer, DownloadTargetKind};

pub(crate) use self::ticket::Source;

/// The most downloads at once: each holds a piece of a file in memory.
const MOST_AT_ONCE: usize = 32;
/// What whoever has no valid link is told, whatever is wrong with it.
const REFUSAL: &str = "this link is not valid, or not any more; ask for the download again\n";

/// How this server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// The pod it runs in; empty where it runs in none.
    pub(crate) pod: String,
    /// The port it listens on.
    pub(crate) port: u16,
    /// What its links begin with.
    pub(crate) base: String,
}

impl Reached {
    /// Puts together how a server is reached: at its public address if it has one, else at its pod's, else on this machine.
    pub(crate) fn new(pod: &str, ip: &str, port: u16, url: &str) -> Self {
        let base = match (url, ip) {
            ("", "") => format!("http://127.0.0.1:{port}"),
            ("", ip) if ip.contains(':') => format!("http://[{ip}]:{port}"),
            ("", ip) => format!("http://{ip}:{port}"),
            (url, _) => url.trim_end_matches('/').to_owned(),
        };
        Self {
            pod: pod.to_owned(),
            port,
            base,
        }
    }
}

/// What a link is for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: &'a DownloadTargetKind,
    pub(crate) name: &'a str,
    /// When the link ends.
    pub(crate) expires: Timestamp,
}

/// A link to one thing; a secret.
#[derive(Clone)]
pub(crate) struct Link {
    /// The whole URL.
    pub(crate) url: String,
    /// The same for those who reach the server in another way.
    pub(crate) server: DownloadServer,
}

/// Makes links, and serves what they are for.
#[derive(Debug)]
pub(crate) struct Downloads {
    signer: Signer,
    clock: Clock,
    reached: Reached,
    /// The logs that links were made for, by their number, until the links end: the run may end before.
    live: Mutex<BTreeMap<u64, (LiveLog, Timestamp)>>,
    free: Arc<Semaphore>,
}

impl Downloads {
    pub(crate) fn new(reached: Reached, clock: Clock) -> anyhow::Result<Self> {
        Ok(Self {
            signer: Signer::new()?,
            clock,
            reached,
            live: Mutex::default(),
            free: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        })
    }

    /// Makes a link to a stored object.
    pub(crate) fn stored(&self, wanted: &Wanted<'_>, source: Source) -> Result<Link, String> {
        let ticket = Ticket {
            kind: wanted.kind.clone(),
            name: wanted.name.to_owned(),
            source,
            expires: wanted.expires,
        };
        let token = self.signer.sign(&ticket);
        let token = token.map_err(|error| format!("the link cannot be made: {error}"))?;
        let path = format!("/download/{token}");
        Ok(Link {
            url: format!("{}{path}", self.reached.base),
            server: DownloadServer {
                pod: self.reached.pod.clone(),
                port: self.reached.port,
                path,
            },
        })
    }

    /// Makes a link to the log of a run that goes on. It stays good when the run has ended.
    pub(crate) fn live(&self, wanted: &Wanted<'_>, log: LiveLog) -> Result<Link, String> {
        let number = log.number();
        let now = self.clock.now();
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, (_, expires)| now < *expires);
        live.insert(number, (log, wanted.expires));
        drop(live);
        self.stored(wanted, Source::Live(number))
    }

    fn live_log(&self, number: u64) -> Option<LiveLog> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(&number).map(|(log, _)| log.clone())
    }
}

/// Serves for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    downloads: Arc<Downloads>,
    world: watch::Receiver<World>,
) -> anyhow::Result<()> {
    axum::serve(listener, router(downloads, world)).await?;
    Ok(())
}

#[derive(Clone)]
struct Shared {
    downloads: Arc<Downloads>,
    world: watch::Receiver<World>,
}

fn router(downloads: Arc<Downloads>, world: watch::Receiver<World>) -> Router {
    Router::new()
        .route("/download/{ticket}", get(download))
        .with_state(Shared { downloads, world })
}

async fn download(State(shared): State<Shared>, Path(text): Path<String>, uri: Uri) -> Response {
    let Shared { downloads, world } = shared;
    let Some(ticket) = downloads.signer.read(&text, downloads.clock.now()) else {
        return refusal(StatusCode::FORBIDDEN, REFUSAL.to_owned());
    };
    let Ok(permit) = Arc::clone(&downloads.free).try_acquire_owned() else {
        let problem = "too many downloads go on at once; try again in a moment\n".to_owned();
        return refusal(StatusCode::SERVICE_UNAVAILABLE, problem);
    };
    match &ticket.source {
        Source::Live(number) => {
            let until = if wants_to_follow(&uri) {
                Until::End
            } else {
                Until::Now
            };
            match downloads.live_log(*number) {
                Some(log) => text_of(&log, until, permit),
                None => refusal(StatusCode::FORBIDDEN, REFUSAL.to_owned()),
            }
        }
        Source::Stored {
            location,
            key,
            size,
        } => {
            let whereabouts = world.borrow().find(location);
            let opened = match whereabouts {
                Whereabouts::At(place) => place.location.read(key).await,
                Whereabouts::Unusable(reasons) => Err(reasons.join("; ")),
                Whereabouts::Unknown => Err(format!("location {location} is being looked at")),
            };
            match opened {
                Ok(Some(bytes)) => file(&ticket, key, bytes, *size, permit),
                Ok(None) => refusal(
                    StatusCode::NOT_FOUND,
                    "the file is not there any more\n".to_owned(),
                ),
                Err(problem) => {
                    tracing::warn!(
                        kind = %ticket.kind,
                        name = ticket.name,
                        problem,
                        "a download cannot be served"
                    );
                    let problem = format!("the file cannot be read now: {problem}\n");
                    refusal(StatusCode::BAD_GATEWAY, problem)
                }
            }
        }
    }
}

/// Returns whether the lines are wanted that are still to come. Not part of what is signed: it gives no other right.
fn wants_to_follow(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "follow" && (value.is_empty() || value == "true"))
}

fn refusal(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    protect(&mut response);
    response
}

/// Keeps what passes here out of caches, and from being taken for something else.
fn protect(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

fn text_of(log: &LiveLog, until: Until, permit: OwnedSemaphorePermit) -> Response {
    // The permit goes with the stream.
    let start = (Box::pin(log.text(until)), permit);
    let text = futures::stream::try_unfold(start, |(mut text, permit)| async move {
        let piece = text.try_next().await?;
        io::Result::Ok(piece.map(|piece| (piece, (text, permit))))
    });
    let mut response = (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        Body::from_stream(text),
    )
        .into_response();
    protect(&mut response);
    response
}

fn file(
    ticket: &Ticket,
    key: &str,
    bytes: ByteStream,
    size: Option<u64>,
    permit: OwnedSemaphorePermit,
) -> Response {
    tracing::debug!(kind = %ticket.kind, name = ticket.name, "a download begins");
    let pieces = Pieces {
        bytes,
        left: size,
        what: (ticket.kind.clone(), ticket.name.clone()),
        _permit: permit,
    };
    let kind = match key.rsplit_once('.') {
        Some((_, "zst")) => "application/zstd",
        _ => "application/gzip",
    };
    let mut response = (
        [(header::CONTENT_TYPE, kind)],
        Body::from_stream(pieces.stream()),
    )
        .into_response();
    if let Some(size) = size {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, size.into());
    }
    protect(&mut response);
    response
}

/// A file on its way. Whatever goes wrong breaks the connection, so that no client takes a part for the whole.
struct Pieces {
    bytes: ByteStream,
    /// How much is still to come, if that is known.
    left: Option<u64>,
    what: (DownloadTargetKind, String),
    _permit: OwnedSemaphorePermit,
}

impl Pieces {
    fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut pieces| async move {
            match pieces.next().await {
                Ok(next) => Ok(next.map(|piece| (piece, pieces))),
                Err(problem) => {
                    let (kind, name) = &pieces.what;
                    tracing::warn!(%kind, name, problem, "a download breaks off");
                    Err(io::Error::other(problem))
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let piece = self.bytes.try_next().await;
        let piece = piece.map_err(|error| crate::api::error::chain(&error))?;
        let (Some(left), size) = (&mut self.left, piece.as_ref().map_or(0, Bytes::len)) else {
            return Ok(piece);
        };
        match (left.checked_sub(size as u64), &piece) {
            (None, _) => Err("the file is longer than the backup's record says".to_owned()),
            (Some(1..), None) => {
                Err("the file is shorter than the backup's record says".to_owned())
            }
            (Some(rest), _) => {
                *left = rest;
                Ok(piece)
            }
        }
    }
}

#[cfg(test)]
#[path = "downloads/tests.rs"]
mod tests;
