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
            schema
                .entry("type")
                .or_insert_with(|| Value::from("object"));
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

/// Returns the schemas of what is within an object or a list.
pub(crate) fn inner_schemas(schema: &mut Object) -> impl Iterator<Item = &mut Object> {
    schema.iter_mut().flat_map(|(key, value)| {
        let inner: Vec<&mut Object> = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties
                .values_mut()
                .filter_map(Value::as_object_mut)
                .collect(),
            ("items" | "additionalProperties", Value::Object(schema)) => vec![schema],
            _ => Vec::new(),
        };
        inner
    })
}
