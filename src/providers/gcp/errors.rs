//! What Google's answers mean.

use google_cloud_gax::error::CredentialsError;

use super::credentials::Unavailable;
use crate::providers::blobs::{chain, innermost};
use crate::providers::store::ErrorKind;

/// Why a call failed. Never holds a token, a key or a signed URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum GcsError {
    /// There is no token to be had.
    #[error("{0}")]
    Credentials(String),
    /// The server said no.
    #[error("status {status}: {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The server's sentence.
        message: String,
    },
    /// The bucket is not there, which Google tells by the same status as a missing object.
    #[error("the bucket does not exist")]
    NoBucket,
    /// The server did not answer, or broke off.
    #[error("{0}")]
    Transport(String),
    /// The answer makes no sense.
    #[error("{0}")]
    Odd(String),
}

impl GcsError {
    /// Returns whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Answer { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Credentials(_) | Self::NoBucket | Self::Odd(_) => false,
        }
    }

    /// Returns whether something is not there, and it is open whether that is the object or the bucket.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Answer { status: 404, message } if !message.contains("No such object"))
    }

    /// Makes the error for an answer of the server.
    pub(super) fn answer(status: u16, body: &[u8]) -> Self {
        let message = said(body);
        if status == 404 && message.contains("bucket does not exist") {
            return Self::NoBucket;
        }
        Self::Answer { status, message }
    }

    pub(super) fn transport(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Transport("it does not answer in time".to_owned());
        }
        Self::Transport(innermost(error))
    }

    pub(super) fn silent() -> Self {
        Self::Transport("it does not answer in time".to_owned())
    }

    pub(super) fn credentials(error: &CredentialsError) -> Self {
        Self::Credentials(no_token(error))
    }
}

/// Returns a sentence on why there is no token.
pub(super) fn no_token(error: &CredentialsError) -> String {
    chain(error)
        .find_map(|cause| cause.downcast_ref::<Unavailable>())
        .map_or_else(|| one_line(&innermost(error)), ToString::to_string)
}

impl From<&google_cloud_storage::Error> for GcsError {
    fn from(error: &google_cloud_storage::Error) -> Self {
        if let Some(missing) = chain(error).find_map(|cause| cause.downcast_ref()) {
            return Self::credentials(missing);
        }
        // An error of the retry loop holds the last attempt's.
        for error in
            chain(error).filter_map(|cause| cause.downcast_ref::<google_cloud_storage::Error>())
        {
            if let Some(status) = error.http_status_code() {
                return match (error.status(), error.http_payload()) {
                    (Some(said), _) => Self::answer(status, said.message.as_bytes()),
                    (None, Some(body)) => Self::answer(status, body),
                    (None, None) => Self::answer(status, b""),
                };
            }
        }
        if error.is_timeout() {
            return Self::silent();
        }
        if chain(error).any(<dyn std::error::Error>::is::<reqwest::Error>) {
            return Self::Transport(innermost(error));
        }
        Self::Odd(one_line(&innermost(error)))
    }
}

impl From<GcsError> for object_store::Error {
    fn from(error: GcsError) -> Self {
        Self::Generic {
            store: "GCS",
            source: Box::new(error),
        }
    }
}

/// Returns the sentence in an answer: JSON from the API, text or XML for what is read and signed.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_str::<serde_json::Value>(&text).ok();
    let message = json
        .as_ref()
        .and_then(|json| json.pointer("/error/message")?.as_str());
    one_line(message.unwrap_or(&text))
}

/// Returns the first line, and not all of a long one.
fn one_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// Reads an error of this provider.
pub(super) fn explain(error: &object_store::Error) -> Option<(ErrorKind, String)> {
    let error = chain(error).find_map(|cause| cause.downcast_ref::<GcsError>())?;
    Some(match error {
        GcsError::Credentials(why) => (ErrorKind::Denied, why.clone()),
        GcsError::NoBucket => (ErrorKind::NoBucket, error.to_string()),
        GcsError::Odd(why) => (ErrorKind::Other, why.clone()),
        GcsError::Transport(why) => {
            let advice = if why.contains("certificate") {
                "let the environment variable SSL_CERT_FILE name a file with its authority's certificate"
            } else {
                "check backupStorageProvider.config.storeEndpoint, and that the network lets this through"
            };
            (
                ErrorKind::Unreachable,
                format!("the server cannot be reached ({why}); {advice}"),
            )
        }
        GcsError::Answer { status, message } => answer(*status, message),
    })
}

/// Reads a status (<https://cloud.google.com/storage/docs/json_api/v1/status-codes>).
fn answer(status: u16, message: &str) -> (ErrorKind, String) {
    let said = match message.trim_end_matches('.') {
        "" => format!("status {status}"),
        message => format!("status {status}: {message}"),
    };
    match status {
        404 => (ErrorKind::NotFound, "it is not there".to_owned()),
        412 => (ErrorKind::AlreadyExists, "it is there already".to_owned()),
        401 => (
            ErrorKind::Denied,
            format!(
                "{said}; check that the service account and its key are still there, and this machine's clock"
            ),
        ),
        403 => (
            ErrorKind::Denied,
            format!(
                "{said}; let the account list the bucket and read, write and delete its objects \
                 (roles/storage.objectAdmin)"
            ),
        ),
        408 | 429 | 500..=599 => (ErrorKind::Unreachable, format!("{said}; try again later")),
        _ => (ErrorKind::Other, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_kinds() {
        let json = |message: &str| {
            serde_json::json!({"error": {"code": 1, "message": message}})
                .to_string()
                .into_bytes()
        };
        for (status, body, kind) in [
            (
                404,
                json("The specified bucket does not exist."),
                ErrorKind::NoBucket,
            ),
            (404, b"No such object: ark/a".to_vec(), ErrorKind::NotFound),
            (
                412,
                json("At least one of the pre-conditions"),
                ErrorKind::AlreadyExists,
            ),
            (401, json("Invalid Credentials"), ErrorKind::Denied),
            (
                403,
                json("x does not have storage.objects.list access"),
                ErrorKind::Denied,
            ),
            (429, Vec::new(), ErrorKind::Unreachable),
            (503, b"<html>\nlong page".to_vec(), ErrorKind::Unreachable),
            (400, json("Invalid argument."), ErrorKind::Other),
        ] {
            let error = GcsError::answer(status, &body);
            let (found, why) = explain(&error.into()).unwrap();
            assert_eq!(found, kind, "{status}: {why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn it_is_open_what_is_missing_unless_google_says() {
        assert!(GcsError::answer(404, b"Not Found").is_missing());
        assert!(!GcsError::answer(404, b"No such object: ark/a").is_missing());
        assert!(!GcsError::answer(404, b"The specified bucket does not exist.").is_missing());
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (status, again) in [
            (400, false),
            (404, false),
            (408, true),
            (429, true),
            (503, true),
        ] {
            assert_eq!(GcsError::answer(status, b"").may_pass(), again, "{status}");
        }
        assert!(GcsError::silent().may_pass());
        assert!(!GcsError::Credentials(String::new()).may_pass());
    }
}
