//! What Azure's answers mean.

use crate::providers::blobs::{chain, innermost};
use crate::providers::store::ErrorKind;

/// Why a call failed. Never holds a key, a token or a signature.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AzureError {
    /// There is no token, or nothing to sign with.
    #[error("{0}")]
    Credentials(String),
    /// The server said no.
    #[error("status {status} {code}: {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// Azure's word for it, which may be missing.
        code: String,
        /// The server's sentence, which may be missing.
        message: String,
    },
    /// The server did not answer, or broke off.
    #[error("{0}")]
    Transport(String),
    /// The answer makes no sense.
    #[error("{0}")]
    Odd(String),
}

impl AzureError {
    /// Returns whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Answer { status, .. } => status_may_pass(*status),
            Self::Credentials(_) | Self::Odd(_) => false,
        }
    }

    pub(super) fn transport(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Transport("it does not answer in time".to_owned());
        }
        Self::Transport(innermost(error))
    }
}

/// Returns whether a status means that the server is busy or broken for now.
pub(super) fn status_may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}

impl From<&azure_core::Error> for AzureError {
    fn from(error: &azure_core::Error) -> Self {
        if let Some(ours) = chain(error).find_map(|cause| cause.downcast_ref::<Self>()) {
            return ours.clone();
        }
        if let Some(answer) = error.as_http_error() {
            return Self::Answer {
                status: answer.status().into(),
                code: answer.error_code().unwrap_or_default().to_owned(),
                message: first_line(answer.error_message().unwrap_or_default()),
            };
        }
        Self::Odd(first_line(&innermost(error)))
    }
}

impl From<azure_core::Error> for AzureError {
    fn from(error: azure_core::Error) -> Self {
        Self::from(&error)
    }
}

impl From<AzureError> for object_store::Error {
    fn from(error: AzureError) -> Self {
        Self::Generic {
            store: "Azure",
            source: Box::new(error),
        }
    }
}

/// Returns the first line, and not all of a long one.
pub(super) fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// Reads an error of this provider.
pub(super) fn explain(error: &object_store::Error) -> Option<(ErrorKind, String)> {
    let error = chain(error).find_map(|cause| cause.downcast_ref::<AzureError>())?;
    Some(match error {
        AzureError::Credentials(why) => (ErrorKind::Denied, why.clone()),
        AzureError::Odd(why) => (ErrorKind::Other, why.clone()),
        AzureError::Transport(why) => {
            let advice = if why.contains("certificate") {
                "name the file of its authority's certificate in backupStorageProvider.config.caCert"
            } else {
                "check backupStorageProvider.config.storageAccount or storageAccountURI, and that the network lets \
                 this through"
            };
            (
                ErrorKind::Unreachable,
                format!("the server cannot be reached ({why}); {advice}"),
            )
        }
        AzureError::Answer {
            status,
            code,
            message,
        } => answer(*status, code, message),
    })
}

/// Reads an answer (<https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>).
fn answer(status: u16, code: &str, message: &str) -> (ErrorKind, String) {
    let mut said = if code.is_empty() {
        format!("status {status}")
    } else {
        code.to_owned()
    };
    if !message.is_empty() {
        said = format!("{said}: {}", message.trim_end_matches('.'));
    }
    let denied = |advice: &str| (ErrorKind::Denied, format!("{said}; {advice}"));
    match (status, code) {
        (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => {
            (ErrorKind::NoBucket, said)
        }
        (404, _) => (ErrorKind::NotFound, "it is not there".to_owned()),
        (_, "BlobAlreadyExists") | (412, "ConditionNotMet") => {
            (ErrorKind::AlreadyExists, "it is there already".to_owned())
        }
        (_, "KeyBasedAuthenticationNotPermitted") => {
            denied("set backupStorageProvider.config.useAAD to \"true\"")
        }
        (_, "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions") => denied(
            "give the identity the role Storage Blob Data Contributor on the container, or the SAS all of rwdlc",
        ),
        (_, "AuthorizationFailure") => {
            denied("let the account's network rules and the identity's roles allow it")
        }
        (401 | 403, _) => {
            denied("check the account's key, the SAS or the identity, and this machine's clock")
        }
        (_, "InvalidResourceName" | "OutOfRangeInput") => (
            ErrorKind::Invalid,
            format!("{said}; correct backupStorageProvider.bucket"),
        ),
        (501, _) => (ErrorKind::NotSupported, said),
        (status, _) if status_may_pass(status) => {
            (ErrorKind::Unreachable, format!("{said}; try again later"))
        }
        _ => (ErrorKind::Other, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_kinds() {
        for (status, code, kind) in [
            (404, "ContainerNotFound", ErrorKind::NoBucket),
            (409, "ContainerBeingDeleted", ErrorKind::NoBucket),
            (404, "BlobNotFound", ErrorKind::NotFound),
            (404, "", ErrorKind::NotFound),
            (409, "BlobAlreadyExists", ErrorKind::AlreadyExists),
            (412, "ConditionNotMet", ErrorKind::AlreadyExists),
            (403, "AuthenticationFailed", ErrorKind::Denied),
            (401, "InvalidAuthenticationInfo", ErrorKind::Denied),
            (403, "AuthorizationPermissionMismatch", ErrorKind::Denied),
            (409, "KeyBasedAuthenticationNotPermitted", ErrorKind::Denied),
            (400, "InvalidResourceName", ErrorKind::Invalid),
            (503, "ServerBusy", ErrorKind::Unreachable),
            (409, "BlobImmutableDueToPolicy", ErrorKind::Other),
        ] {
            let error = AzureError::Answer {
                status,
                code: code.to_owned(),
                message: "Because.".to_owned(),
            };
            let (found, why) = explain(&error.into()).unwrap();
            assert_eq!(found, kind, "{code}: {why}");
        }
    }
}
