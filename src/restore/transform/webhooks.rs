//! What becomes of the configurations by which the API server calls other servers.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// Case 67: `v1` accepts only webhooks without side effects in dry runs.
pub(super) fn declare_side_effects(configuration: &mut Object, _: &Facts) {
    for webhook in object::list_mut(configuration, &["webhooks"]) {
        if matches!(object::text(webhook, &["sideEffects"]), "Unknown" | "Some") {
            webhook.insert("sideEffects".to_owned(), Value::from("None"));
        }
    }
}
