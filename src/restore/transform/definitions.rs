//! What becomes of definitions of custom types.

use serde_json::Value;

use super::Facts;
use super::schemas::{inner_schemas, structural};
use crate::api::object::{self, Object};

/// Case 14: says in each version's schema that unknown fields are kept. `preserveUnknownFields: true` says the same,
/// but a definition may no longer be created with it; and where it was set, the schema need not have been structural.
pub(super) fn keep_unknown_fields(definition: &mut Object, _: &Facts) {
    let Some(spec) = object::at_mut(definition, &["spec"]) else {
        return;
    };
    if spec.get("preserveUnknownFields") != Some(&Value::Bool(true)) {
        return;
    }
    spec.insert("preserveUnknownFields".to_owned(), Value::Bool(false));
    for version in object::list_mut(spec, &["versions"]) {
        if let Some(schema) = object::ensure(version, &["schema", "openAPIV3Schema"]) {
            structural(schema);
            keep(schema);
        }
    }
}

/// Says at every level of objects that unknown fields are kept: what one level says does not count for those below.
fn keep(schema: &mut Object) {
    if schema.get("type").and_then(Value::as_str) == Some("object")
        && !schema.contains_key("additionalProperties")
    {
        schema.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            Value::Bool(true),
        );
    }
    inner_schemas(schema).for_each(keep);
}

/// Case 15: says of a type in a group of Kubernetes' own that nobody approved of it, where nothing is said. What was made
/// as `v1beta1` need not have said it, and kept that when it became `v1`.
pub(super) fn declare_approval(definition: &mut Object, _: &Facts) {
    const APPROVED: &str = "api-approved.kubernetes.io";
    let group = format!(".{}", object::text(definition, &["spec", "group"]));
    if (group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io"))
        && object::text(definition, &["metadata", "annotations", APPROVED]).is_empty()
        && let Some(annotations) = object::ensure(definition, &["metadata", "annotations"])
    {
        annotations.insert(
            APPROVED.to_owned(),
            Value::from("unapproved, from before it was asked for"),
        );
    }
}
