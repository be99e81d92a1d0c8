//! What can go wrong with a request to the API server, as kinds that callers branch on.

use std::time::Duration;

use serde::Deserialize;

/// The kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterErrorKind {
    /// The object, or its type, is not there (404).
    NotFound,
    /// The name is taken (409 AlreadyExists).
    AlreadyExists,
    /// Somebody else changed the object meanwhile (409 Conflict).
    Conflict,
    /// A continue token or resource version has become too old (410).
    Gone,
    /// Not allowed (401, 403).
    Denied,
    /// The object is refused as it is (400, 422).
    Invalid,
    /// The server asks for patience (429).
    TooManyRequests,
    /// The server or what stands behind it cannot answer now (5xx).
    ServerError,
    /// No answer: connection refused, cut or too slow.
    Unreachable,
    /// An answer that cannot be read.
    Malformed,
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {message}")]
pub struct ClusterError {
    /// What callers branch on.
    pub kind: ClusterErrorKind,
    /// What was tried, such as `create deployments.apps nginx-example/nginx`.
    pub action: String,
    /// The server's own words, or what happened to the connection.
    pub message: String,
    /// The status reason, such as `NamespaceTerminating`'s `Forbidden`; empty without an answer.
    pub reason: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl ClusterError {
    /// Makes an error for a request that got no answer.
    pub(super) fn unreachable(action: &str, message: impl Into<String>) -> Self {
        Self::without_answer(ClusterErrorKind::Unreachable, action, message)
    }

    /// Makes an error for an answer that cannot be read.
    pub(super) fn malformed(action: &str, message: impl Into<String>) -> Self {
        Self::without_answer(ClusterErrorKind::Malformed, action, message)
    }

    fn without_answer(kind: ClusterErrorKind, action: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.to_owned(),
            message: message.into(),
            reason: String::new(),
            retry_after: None,
        }
    }

    /// Makes an error of an HTTP answer that is no success.
    pub(super) fn from_answer(
        action: &str,
        code: http::StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Answer {
            message: String,
            reason: String,
            details: Option<Details>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Details {
            retry_after_seconds: Option<u64>,
        }
        let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
        let kind = kind(code.as_u16(), &answer.reason);
        let message = if answer.message.is_empty() {
            format!("the API server answered {code}")
        } else {
            answer.message
        };
        let asked = answer
            .details
            .and_then(|details| details.retry_after_seconds)
            .map(Duration::from_secs);
        Self {
            kind,
            action: action.to_owned(),
            message,
            reason: answer.reason,
            retry_after: retry_after.or(asked),
        }
    }

    /// Makes an error of the status in which the client has put an answer that is no success.
    pub(super) fn from_status(action: &str, status: &kube::core::Status) -> Self {
        Self {
            kind: kind(status.code, &status.reason),
            action: action.to_owned(),
            message: status.message.clone(),
            reason: status.reason.clone(),
            retry_after: None,
        }
    }

    /// Returns whether the same request may succeed a little later.
    pub fn may_pass(&self) -> bool {
        match self.kind {
            ClusterErrorKind::TooManyRequests
            | ClusterErrorKind::ServerError
            | ClusterErrorKind::Unreachable
            | ClusterErrorKind::Conflict => true,
            ClusterErrorKind::NotFound
            | ClusterErrorKind::AlreadyExists
            | ClusterErrorKind::Gone
            | ClusterErrorKind::Denied
            | ClusterErrorKind::Invalid
            | ClusterErrorKind::Malformed => false,
        }
    }

    /// Returns whether the object (or its type) is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ClusterErrorKind::NotFound
    }
}

fn kind(code: u16, reason: &str) -> ClusterErrorKind {
    match (code, reason) {
        (404, _) => ClusterErrorKind::NotFound,
        (409, "AlreadyExists") => ClusterErrorKind::AlreadyExists,
        (409, _) => ClusterErrorKind::Conflict,
        (410, _) => ClusterErrorKind::Gone,
        (401 | 403, _) => ClusterErrorKind::Denied,
        (429, _) => ClusterErrorKind::TooManyRequests,
        (400..=499, _) => ClusterErrorKind::Invalid,
        _ => ClusterErrorKind::ServerError,
    }
}
