//! What an error of the crate, or of the operating system, says to users.

use std::error::Error;
use std::io;

use crate::providers::store::ErrorKind;

/// Reads an error that no provider knows better.
pub(super) fn explain(error: &object_store::Error) -> (ErrorKind, String) {
    use object_store::Error as Failed;
    match error {
        Failed::NotFound { .. } => (ErrorKind::NotFound, "it is not there".to_owned()),
        Failed::AlreadyExists { .. } | Failed::Precondition { .. } => {
            (ErrorKind::AlreadyExists, "it is there already".to_owned())
        }
        Failed::PermissionDenied { .. } | Failed::Unauthenticated { .. } => (
            ErrorKind::Denied,
            "the credentials do not allow it".to_owned(),
        ),
        Failed::NotImplemented { .. } | Failed::NotSupported { .. } => {
            (ErrorKind::NotSupported, innermost(error))
        }
        Failed::InvalidPath { .. } => (ErrorKind::Other, innermost(error)),
        other => chain(other)
            .find_map(|cause| cause.downcast_ref::<io::Error>())
            .map_or_else(|| (ErrorKind::Other, innermost(other)), io_problem),
    }
}

/// Reads an error of the operating system.
pub(in crate::providers) fn io_problem(error: &io::Error) -> (ErrorKind, String) {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (ErrorKind::NotFound, "it is not there".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Denied,
            format!("{error}; let the user that ark runs as read and write there"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::Denied,
            format!("{error}; mount it so that it can be written"),
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Other, format!("{error}; make room there"))
        }
        io::ErrorKind::Unsupported => (
            ErrorKind::NotSupported,
            format!("{error}; the file system needs hard links"),
        ),
        _ => (ErrorKind::Other, error.to_string()),
    }
}

/// Returns an error and its causes, outermost first.
pub(in crate::providers) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns the text of the first cause: what is outside of it repeats it with less to the point.
pub(in crate::providers) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}
