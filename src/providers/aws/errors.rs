//! What S3's answers mean.
//!
//! The crate's error for an answer of the server is private; its text holds the answer, an XML document with a code.

use object_store::client::{HttpError, HttpErrorKind};

use super::credentials::CredentialError;
use super::signed::{Unanswered, element};
use crate::providers::blobs::{Told, chain, innermost};
use crate::providers::store::ErrorKind;

/// Reads an error of the S3 client.
pub(super) fn explain(error: &object_store::Error) -> Option<Told> {
    if let Some(missing) = chain(error).find_map(|cause| cause.downcast_ref::<CredentialError>()) {
        return Some((ErrorKind::Denied, missing.to_string()));
    }
    if let Some(http) = chain(error).find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return Some(transport(http));
    }
    let text = error.to_string();
    if let Some(code) = element(&text, "Code") {
        return Some(answer(code, element(&text, "Message").unwrap_or_default()));
    }
    if text.contains("redirect without LOCATION") {
        return Some((ErrorKind::Invalid, other_region("")));
    }
    None
}

fn transport(http: &HttpError) -> Told {
    let cause = innermost(http);
    match http.kind() {
        HttpErrorKind::Timeout => (
            ErrorKind::Unreachable,
            format!("the server does not answer in time; {}", advice(&cause)),
        ),
        HttpErrorKind::Decode => (ErrorKind::Other, cause),
        _ => unreachable(&cause),
    }
}

fn unreachable(cause: &str) -> Told {
    let why = format!("the server cannot be reached ({cause}); {}", advice(cause));
    (ErrorKind::Unreachable, why)
}

/// Returns what to do where the server cannot be reached.
fn advice(cause: &str) -> &'static str {
    if cause.contains("certificate") {
        "name the file of its authority's certificate in backupStorageProvider.config.caCert"
    } else {
        "check backupStorageProvider.config.s3Url, and that the network lets this through"
    }
}

/// Reads why a request of ours has no answer.
pub(super) fn unanswered(error: &Unanswered) -> Told {
    match error {
        Unanswered::Credentials(why) => (ErrorKind::Denied, why.clone()),
        Unanswered::Transport { why, .. } => unreachable(why),
        Unanswered::Unsignable(_) => (ErrorKind::Other, error.to_string()),
    }
}

/// Reads a code of S3 (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
pub(super) fn answer(code: &str, message: &str) -> Told {
    let said = if message.is_empty() {
        code.to_owned()
    } else {
        format!("{code}: {}", message.trim_end_matches('.'))
    };
    let denied = |advice: &str| (ErrorKind::Denied, format!("{said}; {advice}"));
    match code {
        "NoSuchBucket" => (ErrorKind::NoBucket, said),
        "NoSuchKey" => (ErrorKind::NotFound, "it is not there".to_owned()),
        "PreconditionFailed" | "ConditionalRequestConflict" => {
            (ErrorKind::AlreadyExists, "it is there already".to_owned())
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            denied("check the access key and its secret")
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => denied("get new credentials"),
        "RequestTimeTooSkewed" | "RequestExpired" => denied("set this machine's clock"),
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => {
            denied("let the credentials list the bucket and read, write and delete its objects")
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => (ErrorKind::Invalid, other_region(&said)),
        "InvalidBucketName" => (
            ErrorKind::Invalid,
            format!("{said}; correct backupStorageProvider.bucket"),
        ),
        "InvalidTag" => (
            ErrorKind::Invalid,
            format!("{said}; correct backupStorageProvider.config.tagging"),
        ),
        "NotImplemented" => (ErrorKind::NotSupported, said),
        "SlowDown" | "ServiceUnavailable" => {
            (ErrorKind::Unreachable, format!("{said}; try again later"))
        }
        "InvalidRequest" | "MissingContentMD5"
            if message.contains("Content-MD5") || message.contains("checksum") =>
        {
            (
                ErrorKind::Invalid,
                format!("{said}; set backupStorageProvider.config.checksumAlgorithm to SHA256"),
            )
        }
        _ => (ErrorKind::Other, said),
    }
}

fn other_region(said: &str) -> String {
    let said = if said.is_empty() {
        "the bucket is in another region"
    } else {
        said
    };
    format!("{said}; correct backupStorageProvider.config.region")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(xml: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: format!("Server returned non-2xx status code: 4xx: {xml}").into(),
        }
    }

    #[test]
    fn codes_become_kinds() {
        for (code, kind) in [
            ("NoSuchBucket", ErrorKind::NoBucket),
            ("NoSuchKey", ErrorKind::NotFound),
            ("PreconditionFailed", ErrorKind::AlreadyExists),
            ("SignatureDoesNotMatch", ErrorKind::Denied),
            ("InvalidAccessKeyId", ErrorKind::Denied),
            ("ExpiredToken", ErrorKind::Denied),
            ("AccessDenied", ErrorKind::Denied),
            ("AuthorizationHeaderMalformed", ErrorKind::Invalid),
            ("SlowDown", ErrorKind::Unreachable),
            ("InternalError", ErrorKind::Other),
        ] {
            let error = said(&format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>Because.</Message>\
                 <AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>"
            ));
            let (found, why) = explain(&error).unwrap();
            assert_eq!(found, kind, "{code}");
            assert!(!why.contains("AKIA"), "{why}");
        }
        assert!(explain(&said("")).is_none());
        let locked = said(
            "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for \
             Put Object requests with Object Lock parameters</Message></Error>",
        );
        assert!(explain(&locked).unwrap().1.contains("checksumAlgorithm"));
    }

    #[test]
    fn transport_failures_are_unreachable() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(HttpErrorKind::Connect, refused)),
        };
        let (kind, why) = explain(&error).unwrap();
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(
            why.contains("connection refused") && why.contains("s3Url"),
            "{why}"
        );
    }
}
