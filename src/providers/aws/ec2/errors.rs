//! What EC2's refusals mean (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).

use crate::providers::aws::signed::{Unanswered, element};
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind as Kind};

/// Why a call failed. Never holds a credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ec2Error {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// EC2 said no.
    #[error("{}", said(.code, .message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// EC2's word for it; empty if something else answered.
        code: String,
        /// EC2's sentence.
        message: String,
    },
    /// The answer makes no sense.
    #[error("its answer cannot be read: {0}")]
    Odd(String),
}

impl Ec2Error {
    /// Reads an answer that says no.
    pub(super) fn refused(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let part = |name| element(&text, name).map(unescaped).unwrap_or_default();
        Self::Refused {
            status,
            code: part("Code"),
            message: part("Message"),
        }
    }

    /// Returns whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(Unanswered::Transport { .. }) => true,
            Self::Refused { .. } => matches!(self.kind(), Kind::Throttled | Kind::Unreachable),
            Self::Unanswered(_) | Self::Odd(_) => false,
        }
    }

    /// Returns whether EC2 may have done what it was asked for.
    pub(super) fn leaves_open(&self) -> bool {
        match self {
            Self::Unanswered(Unanswered::Transport { maybe_done, .. }) => *maybe_done,
            // Throttling is told by a status of 503 too.
            Self::Refused { status, .. } => *status >= 500 && self.kind() != Kind::Throttled,
            Self::Odd(_) => true,
            Self::Unanswered(_) => false,
        }
    }

    fn kind(&self) -> Kind {
        let (status, code) = match self {
            Self::Unanswered(Unanswered::Transport { .. }) => return Kind::Unreachable,
            Self::Unanswered(Unanswered::Credentials(_)) => return Kind::Denied,
            Self::Unanswered(Unanswered::Unsignable(_)) | Self::Odd(_) => return Kind::Other,
            Self::Refused { status, code, .. } => (*status, code.as_str()),
        };
        match code {
            "InvalidVolume.NotFound" | "InvalidSnapshot.NotFound" => Kind::NotFound,
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "EC2ThrottledException"
            | "PriorRequestNotComplete"
            | "SnapshotCreationPerVolumeRateExceeded" => Kind::Throttled,
            "SnapshotLimitExceeded"
            | "ConcurrentSnapshotLimitExceeded"
            | "PendingSnapshotLimitExceeded"
            | "VolumeLimitExceeded"
            | "MaxIOPSLimitExceeded"
            | "VolumeIOPSLimit"
            | "ResourceLimitExceeded"
            | "TagLimitExceeded" => Kind::Quota,
            "AuthFailure"
            | "UnauthorizedOperation"
            | "AccessDenied"
            | "AccessDeniedException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "OptInRequired"
            | "Blocked"
            | "PendingVerification" => Kind::Denied,
            "InvalidZone.NotFound"
            | "InvalidAvailabilityZone"
            | "UnknownVolumeType"
            | "InvalidParameterValue"
            | "InvalidParameterCombination"
            | "InvalidVolumeID.Malformed"
            | "InvalidSnapshotID.Malformed"
            | "InvalidParameterDependency" => Kind::Invalid,
            "UnsupportedOperation" | "Unsupported" => Kind::NotSupported,
            "InternalError" | "InternalFailure" | "ServiceUnavailable" | "Unavailable" => {
                Kind::Unreachable
            }
            _ => match status {
                429 => Kind::Throttled,
                401 | 403 => Kind::Denied,
                500.. => Kind::Unreachable,
                _ => Kind::Other,
            },
        }
    }

    /// Returns EC2's word for its refusal; empty if it is none.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Unanswered(_) | Self::Odd(_) => "",
        }
    }

    /// Returns what to do about it, if it can be told.
    fn advice(&self, kind: Kind) -> &'static str {
        match (kind, self.code()) {
            (Kind::Denied, "ExpiredToken" | "ExpiredTokenException") => "get new credentials",
            (Kind::Denied, "RequestExpired") => {
                "get new credentials, or set this machine's clock if they are fresh"
            }
            (Kind::Denied, "SignatureDoesNotMatch") => {
                "check the access key and its secret, and this machine's clock"
            }
            (Kind::Denied, "AuthFailure" | "InvalidClientTokenId" | "InvalidAccessKeyId") => {
                "check the access key and its secret, and that the account may use the region"
            }
            (Kind::Denied, "") if matches!(self, Self::Unanswered(_)) => "",
            (Kind::Denied, _) => {
                "let the credentials do what the provider's page on AWS lists for EC2"
            }
            (Kind::Quota, "ConcurrentSnapshotLimitExceeded" | "PendingSnapshotLimitExceeded") => {
                "wait until the snapshots that are under way are whole"
            }
            (Kind::Quota, "TagLimitExceeded") => "remove tags from the original",
            (Kind::Quota, _) => "remove what is no longer needed, or have the quota raised",
            (Kind::Throttled, "SnapshotCreationPerVolumeRateExceeded") => {
                "wait a quarter of a minute between the snapshots of one volume"
            }
            (Kind::Throttled, _) => "try again when fewer requests are made to EC2",
            (Kind::Unreachable, "") => match self {
                Self::Unanswered(Unanswered::Transport { why, .. })
                    if why.contains("certificate") =>
                {
                    "name the file of its authority's certificate in config.caCert"
                }
                _ => {
                    "check config.region and config.ec2Url, and that the network lets this through"
                }
            },
            (Kind::Unreachable, _) => "try again later",
            (Kind::Invalid, "InvalidZone.NotFound" | "InvalidAvailabilityZone") => {
                "name one of the region's zones"
            }
            _ => "",
        }
    }

    /// Makes the error for whoever asked; `tried` says what, on which volume or snapshot.
    pub(super) fn explain(&self, tried: &str) -> SnapshotError {
        let kind = self.kind();
        let why = match self {
            Self::Unanswered(Unanswered::Transport { why, .. }) => {
                format!("EC2 cannot be reached ({why})")
            }
            Self::Refused { status, code, .. } if code.is_empty() => {
                format!("EC2 answers with status {status}")
            }
            other => other.to_string(),
        };
        let message = match self.advice(kind) {
            "" => format!("cannot {tried}: {why}"),
            advice => format!("cannot {tried}: {why}; {advice}"),
        };
        SnapshotError::new(kind, message)
    }
}

/// Returns EC2's word and the first line of its sentence; not all of a long one, which may hold an encoded document.
fn said(code: &str, message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" Encoded authorization failure").next();
    let line = line.unwrap_or_default().trim().trim_end_matches('.');
    let line: String = line.chars().take(300).collect();
    match (code, line.as_str()) {
        (code, "") => code.to_owned(),
        (code, line) => format!("{code}: {line}"),
    }
}

fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Ec2Error {
        let xml = format!(
            "<?xml version=\"1.0\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
             </Errors><RequestID>ea966190</RequestID></Response>"
        );
        Ec2Error::refused(status, xml.as_bytes())
    }

    #[test]
    fn codes_become_kinds() {
        for (status, code, kind, passes, open) in [
            (400, "InvalidVolume.NotFound", Kind::NotFound, false, false),
            (
                400,
                "InvalidSnapshot.NotFound",
                Kind::NotFound,
                false,
                false,
            ),
            (503, "RequestLimitExceeded", Kind::Throttled, true, false),
            (400, "Throttling", Kind::Throttled, true, false),
            (400, "SnapshotLimitExceeded", Kind::Quota, false, false),
            (400, "VolumeLimitExceeded", Kind::Quota, false, false),
            (403, "UnauthorizedOperation", Kind::Denied, false, false),
            (401, "AuthFailure", Kind::Denied, false, false),
            (403, "SignatureDoesNotMatch", Kind::Denied, false, false),
            (400, "ExpiredToken", Kind::Denied, false, false),
            (400, "RequestExpired", Kind::Denied, false, false),
            (400, "InvalidZone.NotFound", Kind::Invalid, false, false),
            (
                400,
                "UnsupportedOperation",
                Kind::NotSupported,
                false,
                false,
            ),
            (500, "InternalError", Kind::Unreachable, true, true),
            (502, "", Kind::Unreachable, true, true),
            (400, "IncorrectState", Kind::Other, false, false),
        ] {
            let error = refusal(status, code, "Because.");
            let told = error.explain("do it");
            assert_eq!(told.kind, kind, "{code}");
            assert_eq!(error.may_pass(), passes, "{code}");
            assert_eq!(error.leaves_open(), open, "{code}");
            assert!(!told.to_string().contains('\n'), "{told}");
        }
    }

    #[test]
    fn sentences() {
        for (error, expected) in [
            (
                refusal(
                    400,
                    "InvalidVolume.NotFound",
                    "The volume &apos;vol-1&apos; does not exist.",
                ),
                "cannot snapshot volume vol-1: InvalidVolume.NotFound: The volume 'vol-1' does not exist",
            ),
            (
                refusal(
                    403,
                    "UnauthorizedOperation",
                    "You are not authorized to perform this operation. Encoded authorization failure message: aGVsbG8",
                ),
                "cannot snapshot volume vol-1: UnauthorizedOperation: You are not authorized to perform this operation; \
                 let the credentials do what the provider's page on AWS lists for EC2",
            ),
            (
                Ec2Error::refused(502, b"<html>Bad gateway</html>"),
                "cannot snapshot volume vol-1: EC2 answers with status 502; check config.region and config.ec2Url, and \
                 that the network lets this through",
            ),
            (
                Ec2Error::Unanswered(Unanswered::Transport {
                    why: "Connection refused".to_owned(),
                    maybe_done: false,
                }),
                "cannot snapshot volume vol-1: EC2 cannot be reached (Connection refused); check config.region and \
                 config.ec2Url, and that the network lets this through",
            ),
            (
                Ec2Error::Unanswered(Unanswered::Credentials(
                    "there are no AWS credentials".to_owned(),
                )),
                "cannot snapshot volume vol-1: there are no AWS credentials",
            ),
        ] {
            assert_eq!(error.explain("snapshot volume vol-1").to_string(), expected);
        }
    }
}
