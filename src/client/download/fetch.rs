//! Reading a file from where the server says it is: from the store, or where that cannot be reached from the server
//! itself, through the API server.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Extent;
use crate::api::DownloadServer;
use crate::client::context::Context;
use crate::client::output::one_line;
use crate::client::version;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the reason of a failure that has been seen already.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of a refusal is read.
const REFUSAL_LIMIT: usize = 4096;
/// How much of a refusal that is no sentence of a store is shown.
const SHOWN: usize = 200;

/// Where a file can be read. Both are secrets.
pub(super) struct Place {
    pub(super) url: Option<String>,
    pub(super) server: Option<DownloadServer>,
}

impl Place {
    /// Returns whether the URL is the server's own, and not the store's.
    fn is_own(&self) -> bool {
        let pair = self.url.as_ref().zip(self.server.as_ref());
        pair.is_some_and(|(url, server)| !server.path.is_empty() && url.ends_with(&server.path))
    }
}

/// Returns an address of the server; asked to go on until a log ends, if it is one.
fn extended(address: &str, extent: Extent<'_>) -> String {
    match extent {
        Extent::Present => address.to_owned(),
        Extent::Follow(_) if address.contains('?') => format!("{address}&follow=true"),
        Extent::Follow(_) => format!("{address}?follow=true"),
    }
}

/// A file on its way.
pub(super) struct Answer {
    /// Its size in bytes, if that is known.
    pub(super) size: Option<u64>,
    pub(super) pieces: BoxStream<'static, anyhow::Result<Bytes>>,
}

/// Whose certificates are accepted.
#[derive(Debug)]
pub(crate) struct Trust {
    authorities: Vec<reqwest::Certificate>,
    anybody: bool,
}

impl Trust {
    /// Reads the file of certificates, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read or has no certificate in it.
    pub(super) fn read(file: Option<&Path>, anybody: bool) -> anyhow::Result<Self> {
        let mut authorities = Vec::new();
        if let Some(file) = file {
            let advice = || {
                format!(
                    "--cacert {}: name a file of certificates in PEM form",
                    file.display()
                )
            };
            let pem = fs::read(file).with_context(advice)?;
            authorities =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| anyhow!(advice()))?;
            if authorities.is_empty() {
                bail!("{}; there is none in it", advice());
            }
        }
        Ok(Self {
            authorities,
            anybody,
        })
    }
}

/// Why a place gives nothing.
enum Failure {
    /// It was not reached; another way may lead there.
    Unreachable(String),
    /// It has answered, and not with the file.
    Refused(anyhow::Error),
}

/// Begins to read from the first place that can be reached.
///
/// # Errors
/// No place can be reached, or one refuses.
pub(super) async fn open(
    context: &Context,
    place: &Place,
    extent: Extent<'_>,
    trust: &Trust,
    silence: Duration,
) -> anyhow::Result<Answer> {
    let mut tried = Vec::new();
    if let Some(url) = &place.url {
        let (who, url) = if place.is_own() {
            ("the server", extended(url, extent))
        } else {
            ("the store", url.clone())
        };
        match from_url(who, &url, trust, silence).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Unreachable(why)) => tried.push(format!("{who}: {why}")),
        }
    }
    if let Some(server) = &place.server {
        let path = extended(&server.path, extent);
        match from_server(context, server, &path, silence).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Unreachable(why)) => {
                let whom = if server.pod.is_empty() {
                    "the server, which must run on this machine".to_owned()
                } else {
                    format!("the server, through a port-forward to pod {:?}", server.pod)
                };
                tried.push(format!("{whom}: {why}"));
            }
        }
    }
    let tried = tried.join("; ");
    let advice = if tried.contains("certificate") {
        "if the store's certificate comes from an authority of your own, name its file with --cacert"
    } else {
        "run this where one of them can be reached, or try again"
    };
    bail!("the file cannot be reached ({tried}); {advice}")
}

/// Begins to read a URL.
async fn from_url(
    who: &str,
    url: &str,
    trust: &Trust,
    silence: Duration,
) -> Result<Answer, Failure> {
    let unreachable = |error: &reqwest::Error| Failure::Unreachable(innermost(error));
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(version::user_agent())
        // It would tell the signed URL to wherever the store redirects.
        .referer(false);
    builder = if url.starts_with("http:") {
        // No certificates are needed, and a machine may have none.
        builder.tls_certs_only([])
    } else if trust.anybody {
        builder.tls_danger_accept_invalid_certs(true)
    } else {
        builder.tls_certs_merge(trust.authorities.iter().cloned())
    };
    let client = builder.build().map_err(|error| unreachable(&error))?;
    // By hand: nothing is to be unpacked on the way, and stores that keep files packed are to send them so.
    let sent = client.get(url).header(ACCEPT_ENCODING, "gzip").send();
    let response = match tokio::time::timeout(silence, sent).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(_) => return Err(Failure::Unreachable("no answer".to_owned())),
    };
    let (status, size) = (response.status(), response.content_length());
    let pieces = response
        .bytes_stream()
        .map(|piece| piece.map_err(|error| broken_off(&error)));
    accept(who, status, size, pieces, silence).await
}

/// Begins to read from the server: at its pod, or where it runs in none on this machine.
async fn from_server(
    context: &Context,
    server: &DownloadServer,
    path: &str,
    silence: Duration,
) -> Result<Answer, Failure> {
    if server.pod.is_empty() {
        let connecting = TcpStream::connect(("127.0.0.1", server.port));
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::Unreachable(error.to_string())),
            Err(_) => return Err(Failure::Unreachable("no answer".to_owned())),
        };
        return over_stream(stream, path, silence, ()).await;
    }
    let client = context.patient_client().await.map_err(Failure::Refused)?;
    let pods: Api<Pod> = Api::namespaced(client, &context.namespace);
    let ports = [server.port];
    let forwarding = pods.portforward(&server.pod, &ports);
    let mut forwarder = match tokio::time::timeout(silence, forwarding).await {
        Ok(Ok(forwarder)) => forwarder,
        Ok(Err(error)) => return Err(Failure::Unreachable(innermost(&error))),
        Err(_) => return Err(Failure::Unreachable("no answer".to_owned())),
    };
    let (Some(stream), reason) = (
        forwarder.take_stream(server.port),
        forwarder.take_error(server.port),
    ) else {
        return Err(Failure::Unreachable("no stream for the port".to_owned()));
    };
    let forward = Arc::new(Forward(forwarder));
    let held = Arc::clone(&forward);
    let failure = match over_stream(stream, path, silence, held).await {
        Err(Failure::Unreachable(why)) => why,
        other => return other,
    };
    // The kubelet says what is wrong beside the stream.
    let said = match reason {
        Some(reason) => tokio::time::timeout(REASON_TIMEOUT, reason)
            .await
            .ok()
            .flatten(),
        None => None,
    };
    Err(Failure::Unreachable(
        said.map_or(failure, |said| one_line(&said)),
    ))
}

/// Ends a port-forward when nobody reads from it any more.
struct Forward(Portforwarder);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for `path` over a stream. `held` lives as long as the answer is read.
async fn over_stream<S>(
    stream: S,
    path: &str,
    silence: Duration,
    held: impl Send + 'static,
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let agent = HeaderValue::try_from(version::user_agent())
        .unwrap_or_else(|_| HeaderValue::from_static("ark"));
    let request = Request::get(path)
        .header(HOST, "localhost")
        .header(USER_AGENT, agent)
        .header(ACCEPT_ENCODING, "gzip")
        .body(Empty::<Bytes>::new())
        .map_err(|_| {
            Failure::Refused(anyhow!(
                "the server has sent a path that cannot be one; its version may not fit this program's"
            ))
        })?;
    let asked = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request).await?;
        Ok((response, driver, sender))
    };
    let (response, driver, sender) = match tokio::time::timeout(silence, asked).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            let error: hyper::Error = error;
            return Err(Failure::Unreachable(innermost(&error)));
        }
        Err(_) => return Err(Failure::Unreachable("no answer".to_owned())),
    };
    let status = response.status();
    let body = response.into_body();
    let size = hyper::body::Body::size_hint(&body).exact();
    let pieces = body.into_data_stream().map(move |piece| {
        // Whoever drops the stream ends the connection, and nobody before.
        let _held = (&driver, &sender, &held);
        piece.map_err(|error| broken_off(&error))
    });
    accept("the server", status, size, pieces, silence).await
}

/// Returns the answer if it is the file.
async fn accept(
    who: &str,
    status: StatusCode,
    size: Option<u64>,
    pieces: impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static,
    silence: Duration,
) -> Result<Answer, Failure> {
    let mut pieces = pieces.boxed();
    if status == StatusCode::OK {
        return Ok(Answer { size, pieces });
    }
    let mut body = Vec::new();
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            body.extend_from_slice(&piece);
            if body.len() >= REFUSAL_LIMIT {
                break;
            }
        }
    };
    // What has come by then is all there is to say.
    tokio::time::timeout(silence.min(CONNECT_TIMEOUT), reading)
        .await
        .ok();
    body.truncate(REFUSAL_LIMIT);
    let text = String::from_utf8_lossy(&body);
    let said = refusal(&text);
    let advice = if status == StatusCode::NOT_FOUND {
        "the file is not there, or not any more"
    } else {
        "try again; if it stays so, check the clocks and the credentials of the server"
    };
    Err(Failure::Refused(anyhow!(
        "{who} answers {status}{said}; {advice}"
    )))
}

/// Returns what a refusal says. Of a store's XML only code and message: the rest may tell what the signature was made of.
fn refusal(body: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    };
    let text = if body.trim_start().starts_with('<') {
        [element("Code"), element("Message")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ")
    } else {
        body.to_owned()
    };
    let text: String = one_line(&text).chars().take(SHOWN).collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

fn broken_off(error: &(dyn Error + 'static)) -> anyhow::Error {
    anyhow!("the transfer broke off: {}; try again", innermost(error))
}

/// Returns the innermost cause; the outer ones name the URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // One without causes may name the URL itself.
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request failed".to_owned(),
        None => one_line(&cause.to_string()),
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
