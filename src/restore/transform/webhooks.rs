//! What becomes of the configurations by which the API server calls other servers.

use serde_json::Value;

use super::Facts;
use crate::restore::object::{self, Object};

/// Case 67: `v1` accepts only webhooks without side effects in dry runs.
pub(super) fn declare_side_effects(configuration: &mut Object, _: &Facts) {
    for webhook in object::list_mut(configuration, &["webhooks"]) {
        if matches!(object::text(webhook, &["sideEffects"]), "Unknown" | "Some") {
            webhook.insert("sideEffects".to_owned(), Value::from("None"));
        }
    }
}

/// A webhook whose Service moves to another namespace is called there: left behind, it would make the API server
/// refuse what it is asked about.
pub(super) fn move_services(configuration: &mut Object, facts: &Facts) {
    for webhook in object::list_mut(configuration, &["webhooks"]) {
        move_reference(webhook, &["clientConfig", "service"], facts);
    }
}

/// The same for an aggregated API.
pub(super) fn move_service(api_service: &mut Object, facts: &Facts) {
    move_reference(api_service, &["spec", "service"], facts);
}

fn move_reference(object: &mut Object, path: &[&str], facts: &Facts) {
    if let Some(Value::String(namespace)) =
        object::at_mut(object, path).and_then(|service| service.get_mut("namespace"))
    {
        *namespace = facts.target_namespace(namespace).to_owned();
    }
}
