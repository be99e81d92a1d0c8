//! What becomes of definitions of custom types.

use serde_json::Value;

use super::Facts;
use crate::restore::object::{self, Object};

/// Case 14: says in each version's schema that unknown fields are kept. `preserveUnknownFields: true` says the same,
/// but a definition may no longer be created with it.
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
            schema.insert(
                "x-kubernetes-preserve-unknown-fields".to_owned(),
                Value::Bool(true),
            );
            schema
                .entry("type")
                .or_insert_with(|| Value::from("object"));
        }
    }
}
