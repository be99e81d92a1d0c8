//! What Compute Engine's refusals mean.

use serde_json::Value;

use crate::providers::rest::Refusal;
use crate::providers::snapshotter::SnapshotErrorKind;

/// Reads the body of a refusal: the reason of its first error, and its sentence.
pub(super) fn read(json: &Value) -> (String, String) {
    let text = |path: &str| {
        json.pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let code = text("/error/errors/0/reason").or_else(|| text("/error/status"));
    (
        code.unwrap_or_default(),
        text("/error/message").unwrap_or_default(),
    )
}

/// Returns what a refusal means, and what to do. Requests give a reason in camel case
/// (<https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-api-errors>), operations a code in capitals.
pub(super) fn meaning(refusal: &Refusal) -> (SnapshotErrorKind, &'static str) {
    use SnapshotErrorKind::{Denied, NotFound, NotReady, Other, Quota, Throttled, Unreachable};
    let role = "let the account do it; docs/providers/gcp.md has a role with all that is needed";
    let later = "try again later";
    match (refusal.status, refusal.code.as_str()) {
        (429, _)
        | (
            _,
            "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "RATE_LIMIT_EXCEEDED"
            | "resourceOperationRateExceeded"
            | "RESOURCE_OPERATION_RATE_EXCEEDED",
        ) => (
            Throttled,
            "Google asks for patience; try again later, make fewer at a time, or raise config.apiTimeout",
        ),
        (_, "quotaExceeded" | "QUOTA_EXCEEDED" | "limitExceeded" | "LIMIT_EXCEEDED") => (
            Quota,
            "remove what is no longer needed, or ask for a higher quota in the project's settings",
        ),
        (_, "resourceNotReady" | "RESOURCE_NOT_READY") => (NotReady, later),
        (404, _) | (_, "notFound" | "RESOURCE_NOT_FOUND") => (NotFound, ""),
        (401, _) => (
            Denied,
            "check that the account and its key are still there, and this machine's clock",
        ),
        (403, "accessNotConfigured" | "SERVICE_DISABLED") => (
            Denied,
            "enable the Compute Engine API in the project, or correct config.project",
        ),
        (403, _) | (_, "PERMISSIONS_ERROR") => (Denied, role),
        (503, _) if refusal.retry_after.is_some() => (Throttled, later),
        (408 | 500..=599, _) => (Unreachable, later),
        _ => (Other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let json = serde_json::json!({"error": {
            "code": 403, "message": "No more.", "status": "PERMISSION_DENIED",
            "errors": [{"message": "No more.", "domain": "usageLimits", "reason": "quotaExceeded"}],
        }});
        assert_eq!(read(&json), ("quotaExceeded".into(), "No more.".into()));
        let json = serde_json::json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}});
        assert_eq!(read(&json), ("UNAUTHENTICATED".into(), String::new()));
        assert_eq!(read(&Value::Null), (String::new(), String::new()));
    }

    #[test]
    fn refusals_become_kinds() {
        use SnapshotErrorKind as Kind;
        for (status, code, seconds, kind) in [
            (401, "authError", None, Kind::Denied),
            (403, "forbidden", None, Kind::Denied),
            (403, "accessNotConfigured", None, Kind::Denied),
            (403, "quotaExceeded", None, Kind::Quota),
            (403, "rateLimitExceeded", None, Kind::Throttled),
            (429, "", Some(1), Kind::Throttled),
            (503, "backendError", Some(1), Kind::Throttled),
            (503, "backendError", None, Kind::Unreachable),
            (500, "", None, Kind::Unreachable),
            (404, "notFound", None, Kind::NotFound),
            (400, "resourceNotReady", None, Kind::NotReady),
            (400, "invalid", None, Kind::Other),
            (409, "alreadyExists", None, Kind::Other),
            (403, "QUOTA_EXCEEDED", None, Kind::Quota),
            (0, "RESOURCE_NOT_FOUND", None, Kind::NotFound),
            (0, "RESOURCE_OPERATION_RATE_EXCEEDED", None, Kind::Throttled),
            (0, "ZONE_RESOURCE_POOL_EXHAUSTED", None, Kind::Other),
        ] {
            let refusal = Refusal {
                status,
                code: code.to_owned(),
                message: String::new(),
                retry_after: seconds.map(std::time::Duration::from_secs),
            };
            assert_eq!(meaning(&refusal).0, kind, "{status} {code}");
        }
    }
}
