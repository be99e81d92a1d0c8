//! What has to be in a cluster before the server can start: the types, its namespace, account and rights.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::rights::{self, Profile};
use crate::api::definitions;

/// Returns the definitions of Ark's types.
pub(super) fn types() -> anyhow::Result<Vec<Value>> {
    let mut types = definitions()
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()
        .context("writing the types")?;
    types.iter_mut().for_each(drop_rust_formats);
    Ok(types)
}

/// Drops formats such as `uint64` from schemas: the API server knows none of them and warns whoever applies them.
fn drop_rust_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A property of this name would be an object.
            let format = fields.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| format.starts_with("uint")) {
                fields.shift_remove("format");
            }
            fields.values_mut().for_each(drop_rust_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_rust_formats),
        _ => {}
    }
}

/// Returns the types, and the namespace, account and rights that the server runs with.
pub(super) fn common(namespace: &str, profile: Profile) -> anyhow::Result<Vec<Value>> {
    let mut objects = types()?;
    objects.extend([
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "component": "ark" } },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "ark", "namespace": namespace, "labels": { "component": "ark" } },
        }),
    ]);
    objects.extend(rights::objects(namespace, profile));
    Ok(objects)
}
