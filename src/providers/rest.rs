//! The APIs through which clouds manage disks: JSON over HTTP, asked with patience.
//!
//! What they have in common is here: repetitions, tokens that are refused, answers that are read. How a cloud words its
//! refusals and where its tokens come from is its [`Dialect`]. Every request may be repeated: who asks names what is
//! made, so that it is made once.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::blobs::innermost;
use super::patience::Patience;
use super::snapshotter::{SnapshotError, SnapshotErrorKind};

/// How one cloud speaks.
#[async_trait]
pub(super) trait Dialect: fmt::Debug + Send + Sync {
    /// Returns the headers that say who asks.
    ///
    /// # Errors
    /// A sentence on why there is no token, and what to do.
    async fn authorization(&self) -> Result<HeaderMap, String>;

    /// Has the next token asked for anew: the last one was refused.
    async fn forget_token(&self);

    /// Returns the cloud's word for why it refuses, and its sentence; either may be empty.
    fn read(&self, json: &Value) -> (String, String);

    /// Returns what a refusal means, and what to do about it.
    fn meaning(&self, refusal: &Refusal) -> (SnapshotErrorKind, &'static str);

    /// Returns what to do where the server cannot be reached.
    fn unreachable(&self) -> &'static str;
}

/// An answer that says no, at once or when an operation has ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Refusal {
    /// The HTTP status; 0 if an operation has failed without one.
    pub(super) status: u16,
    /// The cloud's word for it, which may be missing.
    pub(super) code: String,
    /// The cloud's sentence, which may be missing.
    pub(super) message: String,
    /// How long to wait before asking again, if it says so.
    pub(super) retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.code.as_str()) {
            (0, "") => f.write_str("it failed")?,
            (0, code) => f.write_str(code)?,
            (status, "") => write!(f, "status {status}")?,
            (status, code) => write!(f, "status {status} {code}")?,
        }
        match one_line(&self.message) {
            said if said.is_empty() => Ok(()),
            said => write!(f, ": {}", said.trim_end_matches('.')),
        }
    }
}

/// Why a call failed. Never holds a token or a key.
#[derive(Debug)]
pub(super) enum CallError {
    /// There is no token to be had; a sentence.
    Credentials(String),
    /// The server said no.
    Refused(Refusal),
    /// The server did not answer, or broke off.
    Transport(String),
    /// The answer makes no sense.
    Odd(String),
    /// What was begun takes longer than we wait.
    Unfinished,
}

impl CallError {
    /// Returns whether what was asked about is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(Refusal { status: 404, .. }))
    }

    /// Returns whether what was asked for is there already, or in the way.
    #[cfg(feature = "gcp")]
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(Refusal { status: 409, .. }))
    }
}

/// An answer that says yes.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "azure"),
    expect(
        dead_code,
        reason = "only Azure says by status and headers how it goes on"
    )
)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The body; `null` if there is none.
    pub(super) json: Value,
}

#[cfg(feature = "azure")]
impl Answer {
    /// Returns how long to wait before asking how it goes on, if the server says so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

/// Asks one cloud.
#[derive(Debug)]
pub(super) struct Caller<D> {
    http: reqwest::Client,
    dialect: D,
    /// How long a cloud that asks for patience gets it, and how long what was begun is waited for.
    timeout: Duration,
}

impl<D: Dialect> Caller<D> {
    /// Makes one that asks over `http`.
    pub(super) fn new(http: reqwest::Client, dialect: D, timeout: Duration) -> Self {
        Self {
            http,
            dialect,
            timeout,
        }
    }

    /// Returns the pauses in which something that was begun is looked at.
    pub(super) fn patience(&self) -> Patience {
        Patience::lasting(self.timeout)
    }

    /// Makes a request, as often as it takes.
    pub(super) async fn ask(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let mut outage = Patience::new();
        let mut throttled = self.patience();
        let mut token_is_new = false;
        loop {
            let error = match self.ask_once(method, url, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                CallError::Refused(refusal) if refusal.status == 401 => {
                    // It may have expired since it was given out, or been withdrawn.
                    self.dialect.forget_token().await;
                    !std::mem::replace(&mut token_is_new, true)
                }
                CallError::Refused(refusal) => match self.dialect.meaning(refusal).0 {
                    SnapshotErrorKind::Throttled => {
                        throttled.wait_as_told(refusal.retry_after).await
                    }
                    SnapshotErrorKind::Unreachable => outage.wait().await,
                    _ => false,
                },
                CallError::Transport(_) => outage.wait().await,
                CallError::Credentials(_) | CallError::Odd(_) | CallError::Unfinished => false,
            };
            if !again {
                return Err(error);
            }
            // The query of an operation's address may be signed.
            tracing::debug!(%method, path = url.path(), ?error, "the cloud is asked again");
        }
    }

    async fn ask_once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let authorization = self.dialect.authorization().await;
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .headers(authorization.map_err(CallError::Credentials)?);
        request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string()),
            None if method == Method::GET => request,
            None => request.header(header::CONTENT_LENGTH, 0),
        };
        let failed = |error: reqwest::Error| transport(&error.without_url());
        let answer = request.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.map_err(failed)?;
        let json = if bytes.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&bytes)
        };
        if status.is_success() {
            let json =
                json.map_err(|error| CallError::Odd(format!("its answer is not JSON: {error}")))?;
            return Ok(Answer {
                status,
                headers,
                json,
            });
        }
        let (code, message) = match &json {
            Ok(json) => self.dialect.read(json),
            // A proxy's page.
            Err(_) => (String::new(), String::new()),
        };
        Err(CallError::Refused(Refusal {
            status: status.as_u16(),
            code,
            message,
            retry_after: retry_after(&headers),
        }))
    }

    /// Makes the error for whoever asked; `what` says what was tried on which disk or snapshot.
    pub(super) fn explain(&self, error: CallError, what: &str) -> SnapshotError {
        let (kind, why) = match error {
            CallError::Credentials(why) => (SnapshotErrorKind::Denied, why),
            CallError::Refused(refusal) => {
                let (kind, advice) = self.dialect.meaning(&refusal);
                let why = match advice {
                    "" => refusal.to_string(),
                    advice => format!("{refusal}; {advice}"),
                };
                (kind, why)
            }
            CallError::Transport(why) => (
                SnapshotErrorKind::Unreachable,
                format!(
                    "the server cannot be reached ({why}); {}",
                    self.dialect.unreachable()
                ),
            ),
            CallError::Odd(why) => (SnapshotErrorKind::Other, why),
            CallError::Unfinished => (
                SnapshotErrorKind::NotReady,
                format!(
                    "it is not through after {}; ask again later, or raise config.apiTimeout",
                    crate::api::duration::format(self.timeout)
                ),
            ),
        };
        SnapshotError::new(kind, format!("{what}: {why}"))
    }
}

/// Reads an answer.
pub(super) fn understood<T: for<'de> Deserialize<'de>>(json: Value) -> Result<T, CallError> {
    serde_json::from_value(json)
        .map_err(|error| CallError::Odd(format!("its answer cannot be read: {error}")))
}

fn transport(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        return CallError::Transport("it does not answer in time".to_owned());
    }
    CallError::Transport(innermost(error))
}

/// Reads `Retry-After`, of which clouds use the form with seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}

/// Returns the first line, and not all of a long one.
fn one_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line() {
        let refusal = |status, code: &str, message: &str| {
            Refusal {
                status,
                code: code.to_owned(),
                message: message.to_owned(),
                retry_after: None,
            }
            .to_string()
        };
        assert_eq!(
            refusal(403, "quotaExceeded", "No more.\nAt all."),
            "status 403 quotaExceeded: No more"
        );
        assert_eq!(refusal(503, "", ""), "status 503");
        assert_eq!(refusal(0, "CODE", ""), "CODE");
        assert_eq!(refusal(0, "", "Because"), "it failed: Because");
        assert!(refusal(500, "", &"x".repeat(1000)).len() < 400);
    }

    #[test]
    fn a_pause_is_read_in_seconds() {
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("Fri, 27 Nov 2026 10:00:00 GMT", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
