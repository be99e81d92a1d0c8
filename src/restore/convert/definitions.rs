//! Definitions of custom types, from `v1beta1`.

use serde_json::{Map, Value, json};

use crate::restore::object::{self, Object};
use crate::restore::transform::inner_schemas;

const UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";

/// Moves what `v1beta1` could say once for all versions to each of them.
///
/// `v1beta1` kept unknown fields unless told otherwise, and took schemas that leave types out; `v1` wants both said in
/// the schema.
pub(super) fn convert(definition: &mut Object) -> Result<(), String> {
    let spec = object::at_mut(definition, &["spec"]).ok_or("it has no spec")?;
    let shared_schema = spec
        .shift_remove("validation")
        .and_then(|validation| validation.get("openAPIV3Schema").cloned());
    let shared_subresources = spec.shift_remove("subresources");
    let shared_columns = spec.shift_remove("additionalPrinterColumns");
    // The transformation says it in the schema.
    spec.entry("preserveUnknownFields")
        .or_insert(Value::Bool(true));
    let single = spec.shift_remove("version");
    if !spec.get("versions").is_some_and(Value::is_array) {
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
        version.insert(
            "schema".to_owned(),
            json!({"openAPIV3Schema": structural(schema)}),
        );
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

/// Makes a schema one that `v1` accepts: each level has a type, or says that it takes anything.
fn structural(schema: Option<Value>) -> Value {
    let mut root = match schema {
        Some(Value::Object(schema)) => schema,
        _ => Map::from_iter([(UNKNOWN.to_owned(), Value::Bool(true))]),
    };
    complete(&mut root);
    root.insert("type".to_owned(), Value::from("object"));
    // The server knows these itself, and refuses most of what could be said of the last.
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        properties.shift_remove("apiVersion");
        properties.shift_remove("kind");
        properties.shift_remove("metadata");
    }
    Value::Object(root)
}

/// Gives each level of a schema the type that its other words imply.
fn complete(schema: &mut Map<String, Value>) {
    let implied =
        if schema.contains_key("properties") || schema.contains_key("additionalProperties") {
            Some("object")
        } else if schema.contains_key("items") {
            Some("array")
        } else {
            None
        };
    let typed = schema
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|word| !word.is_empty());
    let anything = schema.get(UNKNOWN) == Some(&Value::Bool(true))
        || schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    if !typed && !anything {
        match implied {
            Some(word) => schema.insert("type".to_owned(), Value::from(word)),
            None => schema.insert(UNKNOWN.to_owned(), Value::Bool(true)),
        };
    }
    // An array has to say of what.
    if schema.get("type").and_then(Value::as_str) == Some("array") {
        schema
            .entry("items")
            .or_insert_with(|| json!({UNKNOWN: true}));
    }
    inner_schemas(schema).for_each(complete);
}
