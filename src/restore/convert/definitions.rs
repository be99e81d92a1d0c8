//! Definitions of custom types, from `v1beta1`.

use serde_json::{Value, json};

use crate::api::object::{self, Object};

/// Moves what `v1beta1` could say once for all versions to each of them.
///
/// `v1beta1` kept unknown fields unless told otherwise. What `v1` asks of schemas beyond that, it asks of every definition:
/// that is the transformation's.
pub(super) fn convert(definition: &mut Object) -> Result<(), String> {
    let spec = object::at_mut(definition, &["spec"]).ok_or("it has no spec")?;
    spec.entry("scope")
        .or_insert_with(|| Value::from("Namespaced"));
    let shared_schema = spec
        .shift_remove("validation")
        .and_then(|validation| validation.get("openAPIV3Schema").cloned());
    let shared_subresources = spec.shift_remove("subresources");
    let shared_columns = spec.shift_remove("additionalPrinterColumns");
    spec.entry("preserveUnknownFields")
        .or_insert(Value::Bool(true));
    let single = spec.shift_remove("version");
    if object::list(spec, &["versions"]).next().is_none() {
        let name = single.ok_or("it names no version")?;
        spec.insert(
            "versions".to_owned(),
            json!([{"name": name, "served": true, "storage": true}]),
        );
    }
    for version in object::list_mut(spec, &["versions"]) {
        let own = version
            .shift_remove("schema")
            .and_then(|schema| schema.get("openAPIV3Schema").cloned());
        let schema = own.or_else(|| shared_schema.clone());
        if let Some(schema) = schema {
            version.insert("schema".to_owned(), json!({"openAPIV3Schema": schema}));
        }
        if let Some(subresources) = &shared_subresources {
            version
                .entry("subresources")
                .or_insert_with(|| subresources.clone());
        }
        let columns = version
            .shift_remove("additionalPrinterColumns")
            .or_else(|| shared_columns.clone());
        if let Some(columns) = columns {
            version.insert("additionalPrinterColumns".to_owned(), renamed(columns));
        }
    }
    webhook(spec);
    Ok(())
}

/// Columns call their path `jsonPath` now.
fn renamed(mut columns: Value) -> Value {
    for column in columns
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if let Some(path) = column.shift_remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
    columns
}

/// The conversion webhook has its fields together.
fn webhook(spec: &mut Object) {
    let Some(conversion) = object::at_mut(spec, &["conversion"]) else {
        return;
    };
    let client = conversion.shift_remove("webhookClientConfig");
    let versions = conversion.shift_remove("conversionReviewVersions");
    if object::text(conversion, &["strategy"]) == "Webhook" {
        conversion.insert(
            "webhook".to_owned(),
            json!({
                "clientConfig": client,
                // What v1beta1 took for given.
                "conversionReviewVersions": versions.unwrap_or_else(|| json!(["v1beta1"])),
            }),
        );
    }
}
