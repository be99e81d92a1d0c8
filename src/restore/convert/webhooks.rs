//! Webhook configurations, from `v1beta1`.

use serde_json::json;

use crate::api::object::{self, Object};

/// Says what `v1beta1` took for given. Side effects that nobody declared are the transformation's to settle (case 67).
#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature is that of all routes"
)]
pub(super) fn convert(configuration: &mut Object) -> Result<(), String> {
    for webhook in object::list_mut(configuration, &["webhooks"]) {
        for (field, meant) in [
            ("admissionReviewVersions", json!(["v1beta1"])),
            ("failurePolicy", json!("Ignore")),
            ("matchPolicy", json!("Exact")),
            ("timeoutSeconds", json!(30)),
            ("sideEffects", json!("Unknown")),
        ] {
            webhook.entry(field).or_insert(meant);
        }
    }
    Ok(())
}
