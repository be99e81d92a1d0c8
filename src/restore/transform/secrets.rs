//! What becomes of service account tokens, and of the service accounts that refer to them.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// The type of Secrets that the token controller fills.
pub(crate) const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that says whose token it is.
pub(crate) const TOKEN_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Case 44: forgets the token Secrets that an older cluster made for the account; the target would refuse none of
/// them, but they are not restored.
pub(super) fn drop_token_references(account: &mut Object, _: &Facts) {
    let prefix = format!("{}-token-", object::text(account, &["metadata", "name"]));
    if let Some(secrets) = account.get_mut("secrets").and_then(Value::as_array_mut) {
        secrets.retain(|secret| {
            secret
                .get("name")
                .and_then(Value::as_str)
                .is_none_or(|name| !name.starts_with(&prefix))
        });
        if secrets.is_empty() {
            account.shift_remove("secrets");
        }
    }
}

/// Case 47: empties a token Secret that a user made, so that the target's controller fills it. What the server notes
/// about the token's use goes too.
pub(super) fn empty_token(secret: &mut Object, _: &Facts) {
    if object::text(secret, &["type"]) != TOKEN_TYPE {
        return;
    }
    object::remove(
        secret,
        &["metadata", "annotations"],
        &["kubernetes.io/service-account.uid"],
    );
    object::remove(
        secret,
        &["metadata", "labels"],
        &[
            "kubernetes.io/legacy-token-last-used",
            "kubernetes.io/legacy-token-invalid-since",
        ],
    );
    // The controller fills in only what is missing, and the namespace may be another one.
    object::remove(secret, &["data"], &["token", "ca.crt", "namespace"]);
}
