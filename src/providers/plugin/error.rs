//! Why a call of a plugin failed.

use prost::Message as _;
use tonic::{Code, Status};

use super::protocol::host::rpc;
use super::protocol::velero::generated::Stack;

/// The longest text of a plugin that becomes a part of an error.
const LONGEST: usize = 2000;

/// A failed call of a plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct CallError {
    pub(super) kind: CallErrorKind,
    /// What was tried, of which plugin, and how it went.
    pub(super) message: String,
}

/// What callers branch on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallErrorKind {
    /// The plugin could not be started, or ended meanwhile.
    Gone,
    /// It did not answer in time.
    TimedOut,
    /// A message was longer than one may be.
    TooLarge,
    /// It does not have this call.
    NotSupported,
    NotFound,
    AlreadyExists,
    Denied,
    /// What stands behind the plugin does not answer.
    Unreachable,
    /// The settings, or what it was asked, cannot work.
    Invalid,
    /// What was asked for cannot be had now, but maybe later.
    NotReady,
    /// Anything else.
    Other,
}

impl CallError {
    pub(super) fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Returns the kind of a plugin's own error. Go's plugins give every error the same code: theirs is read.
pub(super) fn kind(status: &Status) -> CallErrorKind {
    match status.code() {
        Code::NotFound => CallErrorKind::NotFound,
        Code::AlreadyExists => CallErrorKind::AlreadyExists,
        Code::PermissionDenied | Code::Unauthenticated => CallErrorKind::Denied,
        Code::Unimplemented => CallErrorKind::NotSupported,
        Code::InvalidArgument => CallErrorKind::Invalid,
        Code::FailedPrecondition => CallErrorKind::NotReady,
        Code::Unavailable => CallErrorKind::Unreachable,
        // What tonic says of a message that is too long to read or write, and what Go's side does.
        Code::ResourceExhausted | Code::OutOfRange => CallErrorKind::TooLarge,
        _ => kind_of_text(status.message()),
    }
}

/// Words of the clouds' own tools, which plugins pass on as text.
const WORDS: [(CallErrorKind, &[&str]); 3] = [
    (
        CallErrorKind::NotFound,
        &["NoSuchKey", "NoSuchBucket", "NotFound", "StatusCode: 404"],
    ),
    (
        CallErrorKind::Denied,
        &[
            "AccessDenied",
            "Forbidden",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidClientTokenId",
            "UnauthorizedOperation",
            "AuthFailure",
            "get credentials",
            "StatusCode: 401",
            "StatusCode: 403",
        ],
    ),
    (
        CallErrorKind::Unreachable,
        &[
            "connection refused",
            "no such host",
            "i/o timeout",
            "connection reset",
            "network is unreachable",
            "TLS handshake",
        ],
    ),
];

fn kind_of_text(text: &str) -> CallErrorKind {
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| text.contains(word)))
        .map_or(CallErrorKind::Other, |(kind, _)| *kind)
}

/// Returns what a plugin says of an error: one line, and where it panicked if it did.
pub(super) fn text(status: &Status) -> String {
    let mut text: String = status
        .message()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(LONGEST)
        .collect();
    if text.is_empty() {
        text = format!("it gives no reason, only the code {:?}", status.code());
    }
    if let Some(place) = panicked_at(status) {
        text = format!("{text} (the plugin panicked at {place})");
    }
    text
}

/// Returns where Velero's side of the plugin caught a panic.
fn panicked_at(status: &Status) -> Option<String> {
    if status.code() != Code::Aborted {
        return None;
    }
    let details = rpc::Status::decode(status.details()).ok()?.details;
    let stack = details
        .iter()
        .filter(|detail| detail.type_url.ends_with("generated.Stack"))
        .find_map(|detail| Stack::decode(&detail.value[..]).ok())?;
    let frame = stack.frames.first()?;
    Some(format!(
        "{}:{} in {}",
        frame.file, frame.line, frame.function
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::plugin::protocol::velero::generated::StackFrame;

    #[test]
    fn kinds_come_from_codes_and_else_from_words() {
        for (code, text, expected) in [
            (Code::NotFound, "", CallErrorKind::NotFound),
            (Code::Unimplemented, "", CallErrorKind::NotSupported),
            (Code::OutOfRange, "", CallErrorKind::TooLarge),
            (
                Code::Unknown,
                "operation error S3: GetObject, https response error StatusCode: 404, NoSuchKey: gone",
                CallErrorKind::NotFound,
            ),
            (
                Code::Unknown,
                "https response error StatusCode: 403, api error Forbidden",
                CallErrorKind::Denied,
            ),
            (
                Code::Unknown,
                "dial tcp 127.0.0.1:1: connect: connection refused",
                CallErrorKind::Unreachable,
            ),
            (Code::Unknown, "odd", CallErrorKind::Other),
        ] {
            assert_eq!(kind(&Status::new(code, text)), expected, "{text}");
        }
    }

    #[test]
    fn texts_are_one_line() {
        assert_eq!(text(&Status::unknown(" two\n lines ")), "two lines");
        let none = text(&Status::unknown(""));
        assert!(none.contains("gives no reason"), "{none}");
        assert!(text(&Status::unknown("x".repeat(1 << 20))).len() < 3000);
    }

    #[test]
    fn panics_are_told_with_their_place() {
        let stack = Stack {
            frames: vec![StackFrame {
                file: "a.go".into(),
                line: 7,
                function: "main.f".into(),
            }],
        };
        let details = rpc::Status {
            details: vec![prost_types::Any {
                type_url: "type.googleapis.com/generated.Stack".into(),
                value: stack.encode_to_vec(),
            }],
            ..rpc::Status::default()
        };
        let status = Status::with_details(Code::Aborted, "boom", details.encode_to_vec().into());
        assert_eq!(
            text(&status),
            "boom (the plugin panicked at a.go:7 in main.f)"
        );
        assert_eq!(text(&Status::aborted("boom")), "boom");
    }
}
