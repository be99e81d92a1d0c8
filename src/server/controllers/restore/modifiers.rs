//! Resource modifiers that a Restore names.

use serde_json::{Value, json};

use crate::api::{ResourceModifiers, Restore, RestorePhase, labels};
use crate::server::controllers::config_map;

/// What they are called in problems.
pub(crate) const WHAT: &str = "resource modifier";

/// Returns the name of the ConfigMap that is to be read for a Restore, if there is one.
pub(crate) fn wanted(restore: &Restore) -> Option<&str> {
    let new = restore
        .status
        .as_ref()
        .is_none_or(|status| status.phase == RestorePhase::New);
    let spec = &restore.spec;
    let reference = spec.resource_modifier.as_ref().filter(|_| {
        new && restore.metadata.deletion_timestamp.is_none() && spec.resource_modifiers.is_none()
    });
    config_map::name_of(reference)
}

/// Returns the patch that writes the rules into the Restore, and whence they are.
pub(crate) fn patch(config_map: &str, rules: &ResourceModifiers) -> Value {
    json!({
        "metadata": {"annotations": {labels::RESOURCE_MODIFIER: config_map}},
        "spec": {"resourceModifier": null, "resourceModifiers": rules},
    })
}
