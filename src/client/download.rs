//! Reading what is stored of a backup or restore: a DownloadRequest is made, the server answers with places where the
//! file can be read, and the first that can be reached is.
//!
//! The places are secrets: whoever knows one can read the file. They are never printed. The request is removed at the
//! end, however it came about; one that is left behind all the same is the server's to remove when it expires.

mod fetch;
mod unpack;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::context::{Cluster, Context};
use super::describe::Found;
use super::{objects, output, watch};
use crate::api::{
    DownloadRequest, DownloadRequestPhase, DownloadRequestSpec, DownloadRequestStatus,
    DownloadTarget, DownloadTargetKind, PlanItem, Results, duration, names,
};
use fetch::{Answer, Place, Trust};

pub(crate) use unpack::Unpacked;

/// After how much silence of a log that is followed it is asked whether more can come.
const PULSE: Duration = Duration::from_secs(10);
/// How long a small file may take altogether, where it is one detail among others.
const DETAIL: Duration = Duration::from_secs(30);
/// How many details are read at the same time.
pub(crate) const SIDE_BY_SIDE: usize = 8;
/// The most bytes of warnings and errors that are read.
const RESULTS_LIMIT: usize = 64 << 20;

/// How long to wait for a download, and whom to trust.
#[derive(Args, Debug)]
pub(crate) struct DownloadArgs {
    /// How long the server or the store may be silent
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    timeout: String,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Whom to trust when something is read from a store.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// File with certificates, in PEM form, of authorities that the store's certificate may come from
    #[arg(long, value_name = "PATH", help_heading = "Store")]
    cacert: Option<PathBuf>,
    /// Do not check the store's certificate
    #[arg(long, help_heading = "Store")]
    insecure_skip_tls_verify: bool,
}

/// What [`DownloadArgs`] or [`TrustArgs`] mean.
#[derive(Debug)]
pub(crate) struct Means {
    trust: Trust,
    /// How long the server or the store may be silent.
    silence: Duration,
    /// How long a download may take altogether.
    limit: Option<Duration>,
}

impl DownloadArgs {
    /// Reads the flags, for a command that downloads a file.
    ///
    /// # Errors
    /// A flag that cannot be read.
    pub(crate) fn read(&self) -> anyhow::Result<Means> {
        let silence =
            duration::parse(&self.timeout).map_err(|problem| anyhow!("--timeout: {problem}"))?;
        if silence.is_zero() {
            bail!("--timeout: nothing can be read in no time; give it more, such as 1m");
        }
        Ok(Means {
            silence,
            limit: None,
            ..self.trust.read()?
        })
    }
}

impl TrustArgs {
    /// Reads the flags, for a description that shows small files beside what it knows anyway.
    ///
    /// # Errors
    /// A flag that cannot be read.
    pub(crate) fn read(&self) -> anyhow::Result<Means> {
        Ok(Means {
            trust: Trust::read(self.cacert.as_deref(), self.insecure_skip_tls_verify)?,
            silence: DETAIL,
            limit: Some(DETAIL),
        })
    }
}

/// How far to read.
#[derive(Clone, Copy)]
pub(crate) enum Extent<'a> {
    /// What there is.
    Present,
    /// Of a log that still grows also what is added, however long that takes.
    Follow(&'a dyn Pulse),
}

/// Tells whether a log that has been silent may still grow. A port-forward says nothing of a server that has died.
#[async_trait]
pub(crate) trait Pulse: Send + Sync {
    /// Returns whether the run that writes the log still goes on, where it did.
    async fn beats(&self) -> bool;
}

/// Takes what is downloaded.
pub(crate) trait Sink: Send {
    /// Told once, before the first piece: the size in bytes, if it is known.
    fn begin(&mut self, _size: Option<u64>) {}

    /// Takes the next piece.
    fn piece(&mut self, bytes: &Bytes) -> anyhow::Result<()>;
}

/// Downloads, one after the other, from the same cluster.
pub(crate) struct Downloads<'a> {
    context: &'a Context,
    cluster: &'a Cluster,
    means: Means,
}

impl<'a> Downloads<'a> {
    pub(crate) fn new(context: &'a Context, cluster: &'a Cluster, means: Means) -> Self {
        Self {
            context,
            cluster,
            means,
        }
    }

    /// Returns how long the server may take until it takes something up.
    pub(crate) fn silence(&self) -> Duration {
        self.means.silence
    }

    /// Reads what is stored of a run for its description, where a failure to do so is one more thing to show.
    ///
    /// # Errors
    /// The user ended it.
    pub(crate) async fn found<T: DeserializeOwned>(
        &self,
        kind: DownloadTargetKind,
        name: &str,
    ) -> anyhow::Result<Found<T>> {
        match self.json(kind, name).await {
            Ok(found) => Ok(Found::Read(Box::new(found))),
            Err(error) if error.is::<Interrupted>() => Err(error),
            Err(error) => Ok(Found::Unreadable(format!("{error:#}"))),
        }
    }

    /// Reads what a dry run found.
    ///
    /// # Errors
    /// It is not stored, or cannot be read.
    pub(crate) async fn plan(&self, restore: &str) -> anyhow::Result<Vec<PlanItem>> {
        let bytes = self.small(DownloadTargetKind::RestorePlan, restore).await?;
        serde_json::Deserializer::from_slice(&bytes)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!("what the dry run found cannot be read: {error}"))
    }

    /// Reads the warnings and errors of a restore.
    ///
    /// # Errors
    /// They are not stored, or cannot be read.
    pub(crate) async fn restore_results(&self, restore: &str) -> anyhow::Result<Results> {
        self.json(DownloadTargetKind::RestoreResults, restore).await
    }

    /// Reads a file of JSON.
    async fn json<T: DeserializeOwned>(
        &self,
        kind: DownloadTargetKind,
        name: &str,
    ) -> anyhow::Result<T> {
        let bytes = self.small(kind.clone(), name).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            anyhow!(
                "what is stored as {} cannot be read: {error}",
                kind.as_str()
            )
        })
    }

    /// Reads a file that fits into memory.
    async fn small(&self, kind: DownloadTargetKind, name: &str) -> anyhow::Result<Vec<u8>> {
        let mut sink = Memory(Unpacked::new(Limited(Vec::new())));
        self.read(kind, name, Extent::Present, &mut sink).await?;
        let Limited(bytes) = sink.0.finish()?;
        Ok(bytes)
    }

    /// Reads a file into `sink`, as it is stored.
    ///
    /// # Errors
    /// What was tried and what to do; [`Interrupted`] if the user ended it.
    pub(crate) async fn read(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        extent: Extent<'_>,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<()> {
        // From here on an interruption does not end the process.
        let mut interrupted = std::pin::pin!(interrupted());
        let request =
            objects::create(self.cluster, &request(kind, name, self.context.now())).await?;
        let read = tokio::select! {
            read = self.serve(&request, extent, sink) => read,
            () = &mut interrupted => Err(Interrupted.into()),
            () = after(self.means.limit) => Err(anyhow!(
                "it took more than {}; try again",
                duration::format(self.means.limit.unwrap_or_default())
            )),
        };
        objects::remove_request(self.cluster, &request).await;
        read
    }

    async fn serve(
        &self,
        request: &DownloadRequest,
        extent: Extent<'_>,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<()> {
        let answered = watch::until(self.cluster, request, |request| {
            place(request.status.as_ref()?)
        });
        let place = tokio::time::timeout(self.means.silence, answered)
            .await
            .map_err(|_| {
                anyhow!(
                    "the server has not answered the download request within {}; check that it runs in namespace {:?}, \
                     or give it longer with --timeout",
                    duration::format(self.means.silence),
                    self.cluster.namespace
                )
            })??
            .map_err(anyhow::Error::msg)?;
        let answer = fetch::open(
            self.context,
            &place,
            extent,
            &self.means.trust,
            self.means.silence,
        )
        .await?;
        copy(answer, extent, self.means.silence, PULSE, sink).await
    }
}

/// Makes the object that asks for a file.
fn request(kind: DownloadTargetKind, name: &str, now: jiff::Timestamp) -> DownloadRequest {
    let spec = DownloadRequestSpec {
        target: DownloadTarget {
            kind,
            name: name.to_owned(),
        },
    };
    let mut request = DownloadRequest::new("", spec);
    request.metadata.name = None;
    // Two of the same second are told apart by what the API server adds.
    request.metadata.generate_name = Some(format!("{}-", names::timestamped(name, now)));
    request
}

/// Returns what the server has answered, if it has: where to read, or why there is nothing.
fn place(status: &DownloadRequestStatus) -> Option<Result<Place, String>> {
    let url = Some(&status.download_url).filter(|url| !url.is_empty());
    if url.is_some() || status.server.is_some() {
        return Some(Ok(Place {
            url: url.cloned(),
            server: status.server.clone(),
        }));
    }
    if !status.message.is_empty() {
        return Some(Err(output::one_line(&status.message)));
    }
    match status.phase {
        // Old servers leave it at that when they cannot sign a URL.
        DownloadRequestPhase::Processed => Some(Err(
            "the server has found no way to read this file; its log says more".to_owned(),
        )),
        DownloadRequestPhase::New | DownloadRequestPhase::Other(_) => None,
    }
}

/// Passes an answer's pieces on. `silence` is an error, unless a log is followed: then it is asked after each `interval`
/// of silence whether more can come.
async fn copy(
    mut answer: Answer,
    extent: Extent<'_>,
    silence: Duration,
    interval: Duration,
    sink: &mut dyn Sink,
) -> anyhow::Result<()> {
    sink.begin(answer.size);
    loop {
        let piece = match extent {
            Extent::Present => next(&mut answer, silence).await.ok_or_else(|| {
                anyhow!(
                    "nothing has come for {}; try again, or give it longer with --timeout",
                    duration::format(silence)
                )
            })?,
            Extent::Follow(pulse) => loop {
                if let Some(piece) = next(&mut answer, interval).await {
                    break piece;
                }
                if pulse.beats().await {
                    continue;
                }
                // What was on its way when the run ended may still come.
                break next(&mut answer, interval).await.ok_or_else(|| {
                    anyhow!(
                        "the log broke off: its run has ended, or goes on in another server; run this again to read on"
                    )
                })?;
            },
        };
        match piece {
            None => return Ok(()),
            Some(piece) => sink.piece(&piece?)?,
        }
    }
}

/// Returns the next piece, or that there is none; `None` if neither is known within `limit`.
async fn next(answer: &mut Answer, limit: Duration) -> Option<Option<anyhow::Result<Bytes>>> {
    tokio::time::timeout(limit, answer.pieces.next()).await.ok()
}

/// Catches, from the call on, the signals with which a user asks for the end; what is returned ends with the first.
#[cfg(unix)]
fn interrupted() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};

    let caught = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        match caught {
            [Ok(mut interrupts), Ok(mut terminations)] => {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
            }
            // Where no signal can be caught the process ends without us.
            _ => std::future::pending().await,
        }
    }
}

/// Ends when the user asks for the end.
#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends after `limit`; never, if there is none.
async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The user has ended it; nothing more needs saying.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Keeps a small file in memory.
struct Memory(Unpacked<Limited>);

impl Sink for Memory {
    fn piece(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        use std::io::Write as _;
        self.0.write_all(bytes)?;
        Ok(())
    }
}

/// Refuses what cannot be a small file: a few bytes may unpack to very many.
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > RESULTS_LIMIT {
            return Err(std::io::Error::other(
                "what is stored is too long to be shown",
            ));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "download/tests.rs"]
mod tests;
