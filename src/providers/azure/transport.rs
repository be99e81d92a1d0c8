//! The HTTP client under Microsoft's crate: the one of the rest of Ark.
//!
//! The crate's own is left out of the build: an older reqwest with its own TLS, without a limit to how long a server
//! may be silent and without a way to trust another authority. Requests are tried again here and not by the crate,
//! which would sleep on a thread for each.

use std::collections::HashMap;

use azure_core::error::ErrorKind;
use azure_core::headers::{HeaderName, HeaderValue, Headers};
use azure_core::{Body, HttpClient, Request, Response, StatusCode};
use futures::TryStreamExt as _;

use super::errors::{AzureError, status_may_pass};
use crate::providers::patience::{CONNECT_TIMEOUT, Patience, SILENCE_TIMEOUT};
use crate::providers::settings::Invalid;
use crate::providers::trust::certificates;

/// Returns the client for everything that this provider asks; `at` is the field that holds the settings, for messages.
pub(super) fn client(ca_cert: Option<&str>, at: &str) -> Result<reqwest::Client, Invalid> {
    let trusted = certificates(ca_cert, reqwest::Certificate::from_pem_bundle)
        .map_err(|why| Invalid(format!("{at}.caCert: {why}")))?;
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // Neither keys nor tokens are for elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_merge(trusted)
        .build()
        .map_err(|error| Invalid(format!("connections cannot be made: {error}")))
}

/// Sends the requests of Microsoft's crate.
#[derive(Debug)]
pub(super) struct Transport(pub(super) reqwest::Client);

#[async_trait::async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<Response> {
        let mut patience = Patience::new();
        loop {
            let answered = self.send(request).await;
            let may_pass = match &answered {
                Ok(answer) => status_may_pass(answer.status().as_u16()),
                Err(error) => error.may_pass(),
            };
            if may_pass && patience.wait().await {
                continue;
            }
            return match answered {
                Ok(answer) => passed_on(answer),
                Err(error) => Err(azure_core::Error::new(ErrorKind::Io, error)),
            };
        }
    }
}

impl Transport {
    async fn send(&self, request: &Request) -> Result<reqwest::Response, AzureError> {
        let Body::Bytes(body) = request.body() else {
            return Err(AzureError::Odd("a body that is not at hand".to_owned()));
        };
        let method = http::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|error| AzureError::Odd(error.to_string()))?;
        let mut sent = self.0.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        sent.body(body.clone())
            .send()
            .await
            // The URL may hold a signature.
            .map_err(|error| AzureError::transport(&error.without_url()))
    }
}

fn passed_on(answer: reqwest::Response) -> azure_core::Result<Response> {
    let status = StatusCode::try_from(answer.status().as_u16()).map_err(|_| {
        azure_core::Error::message(
            ErrorKind::DataConversion,
            "the status is no number of HTTP's",
        )
    })?;
    let mut headers: HashMap<HeaderName, HeaderValue> = answer
        .headers()
        .iter()
        .filter_map(|(name, value)| {
            let value = value.to_str().ok()?.to_owned();
            Some((name.as_str().to_owned().into(), value.into()))
        })
        .collect();
    // Nobody reads these, and the crate fails where they are missing, as they are in some of Azurite's answers.
    for (name, value) in [
        ("x-ms-request-id", "00000000-0000-0000-0000-000000000000"),
        ("x-ms-version", "unknown"),
        ("server", "unknown"),
    ] {
        headers.entry(name.into()).or_insert_with(|| value.into());
    }
    let body = answer.bytes_stream().map_err(|error| {
        azure_core::Error::new(ErrorKind::Io, AzureError::transport(&error.without_url()))
    });
    Ok(Response::new(
        status,
        Headers::from(headers),
        Box::pin(body),
    ))
}
