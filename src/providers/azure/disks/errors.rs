//! What Azure Resource Manager's refusals mean.

use serde_json::Value;

use crate::providers::rest::Refusal;
use crate::providers::snapshotter::SnapshotErrorKind;

/// Reads the body of a refusal, or of an operation that has failed.
pub(super) fn read(json: &Value) -> (String, String) {
    let text = |path: &str| {
        let text = json.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    (text("/error/code"), text("/error/message"))
}

/// Returns what a refusal means, and what to do
/// (<https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>).
pub(super) fn meaning(refusal: &Refusal) -> (SnapshotErrorKind, &'static str) {
    use SnapshotErrorKind::{Denied, Invalid, NotFound, Other, Quota, Throttled, Unreachable};
    let later = "try again later";
    let more = "remove what is no longer needed, or ask for a higher quota";
    match (refusal.status, refusal.code.as_str()) {
        (429, _) | (_, "TooManyRequests") => (
            Throttled,
            "Azure asks for patience; try again later, make fewer at a time, or raise config.apiTimeout",
        ),
        (
            _,
            "QuotaExceeded"
            | "ResourceQuotaExceeded"
            | "SnapshotCountExceeded"
            | "DiskCountExceeded",
        ) => (Quota, more),
        // The same code stands for much else.
        (_, "OperationNotAllowed") if refusal.message.to_ascii_lowercase().contains("quota") => {
            (Quota, more)
        }
        (_, "SubscriptionNotFound" | "InvalidSubscriptionId") => (
            Invalid,
            "correct config.subscriptionId or AZURE_SUBSCRIPTION_ID",
        ),
        (_, "ResourceGroupNotFound") => (
            Invalid,
            "make it, or correct config.resourceGroup or AZURE_RESOURCE_GROUP",
        ),
        (_, "MissingSubscriptionRegistration") => (
            Invalid,
            "register the resource provider Microsoft.Compute in the subscription",
        ),
        (_, "ScopeLocked") => (Denied, "remove the lock on it"),
        (_, "RequestDisallowedByPolicy") => (Denied, "let the policy allow it"),
        (401, _) => (
            Denied,
            "check the identity and what proves it, and this machine's clock",
        ),
        (403, _) | (_, "AuthorizationFailed" | "LinkedAuthorizationFailed") => (
            Denied,
            "let the identity do it; docs/providers/azure.md has a role with all that is needed",
        ),
        (404, _) | (_, "ResourceNotFound" | "NotFound") => (NotFound, ""),
        (503, _) if refusal.retry_after.is_some() => (Throttled, later),
        (408 | 500..=599, _) | (_, "RetryableError" | "InternalExecutionError") => {
            (Unreachable, later)
        }
        _ => (Other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let json = serde_json::json!({"error": {"code": "Conflict", "message": "It is in use."}});
        assert_eq!(read(&json), ("Conflict".into(), "It is in use.".into()));
        assert_eq!(read(&Value::Null), (String::new(), String::new()));
    }

    #[test]
    fn refusals_become_kinds() {
        use SnapshotErrorKind as Kind;
        let quota = "Operation could not be completed as it results in exceeding approved Quota.";
        for (status, code, message, seconds, kind) in [
            (401, "ExpiredAuthenticationToken", "", None, Kind::Denied),
            (403, "AuthorizationFailed", "", None, Kind::Denied),
            (403, "LinkedAuthorizationFailed", "", None, Kind::Denied),
            (403, "RequestDisallowedByPolicy", "", None, Kind::Denied),
            (409, "ScopeLocked", "", None, Kind::Denied),
            (404, "ResourceNotFound", "", None, Kind::NotFound),
            (404, "ResourceGroupNotFound", "", None, Kind::Invalid),
            (404, "SubscriptionNotFound", "", None, Kind::Invalid),
            (409, "OperationNotAllowed", quota, None, Kind::Quota),
            (
                409,
                "OperationNotAllowed",
                "It is in use.",
                None,
                Kind::Other,
            ),
            (409, "SnapshotCountExceeded", "", None, Kind::Quota),
            (429, "OperationNotAllowed", quota, Some(1), Kind::Throttled),
            (503, "ServerBusy", "", Some(1), Kind::Throttled),
            (503, "ServerBusy", "", None, Kind::Unreachable),
            (500, "", "", None, Kind::Unreachable),
            (409, "Conflict", "", None, Kind::Other),
            (0, "InternalExecutionError", "", None, Kind::Unreachable),
            (0, "QuotaExceeded", "", None, Kind::Quota),
        ] {
            let refusal = Refusal {
                status,
                code: code.to_owned(),
                message: message.to_owned(),
                retry_after: seconds.map(std::time::Duration::from_secs),
            };
            assert_eq!(meaning(&refusal).0, kind, "{status} {code}");
        }
    }
}
