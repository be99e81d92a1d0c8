//! Schemas of custom types, from `v1beta1`, which took any, made structural, as `v1` asks
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>).
//!
//! What cannot be said in a structural schema is dropped: the new schema takes every object that the old one took.

use serde_json::{Map, Value, json};

use crate::api::object::Object;

const UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What `type` may be.
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Words for readers, which `v1` forbids within [`JUNCTORS`].
const NOTES: [&str; 3] = ["title", "description", "default"];
/// Words that say what the server does with a field: `v1` forbids them within [`JUNCTORS`], and wants them outside.
const STRUCTURE: [&str; 10] = [
    "type",
    "nullable",
    "additionalProperties",
    UNKNOWN,
    INT_OR_STRING,
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];
/// What joins schemas.
const JUNCTORS: [&str; 4] = ["allOf", "anyOf", "oneOf", "not"];

/// Makes the schema of a type one that `v1` accepts.
pub(super) fn structural(root: &mut Object) {
    // At the root `v1` wants fields to be named.
    if root.shift_remove("additionalProperties").is_some() {
        root.insert(UNKNOWN.to_owned(), Value::Bool(true));
    }
    complete(root);
    root.insert("type".to_owned(), Value::from("object"));
    // The server knows these itself, and refuses most of what could be said of them.
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        properties.shift_remove("metadata");
        for known in ["apiVersion", "kind"] {
            if let Some(schema) = properties.get_mut(known) {
                *schema = json!({"type": "string"});
            }
        }
    }
}

/// Returns the schema of what is not known.
fn anything() -> Object {
    Map::from_iter([(UNKNOWN.to_owned(), Value::Bool(true))])
}

/// Gives each level of a schema the type that its other words imply, and settles what joins schemas in it.
fn complete(schema: &mut Object) {
    if schema.get(UNKNOWN) == Some(&Value::Bool(false)) {
        schema.shift_remove(UNKNOWN);
    }
    let typed = schema
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|word| TYPES.contains(&word));
    if !typed {
        schema.shift_remove("type");
        take_int_or_string(schema);
    }
    let said = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    if !typed && !said(UNKNOWN) && !said(INT_OR_STRING) {
        let implied =
            if schema.contains_key("properties") || schema.contains_key("additionalProperties") {
                Some("object")
            } else if schema.contains_key("items") {
                Some("array")
            } else {
                None
            };
        match implied {
            Some(word) => schema.insert("type".to_owned(), Value::from(word)),
            None => schema.insert(UNKNOWN.to_owned(), Value::Bool(true)),
        };
    }
    // An array has to say of what.
    if schema.get("type").and_then(Value::as_str) == Some("array") {
        schema
            .entry("items")
            .or_insert_with(|| Value::Object(anything()));
    }
    inner_schemas(schema).for_each(complete);
    settle_junctors(schema);
}

/// Says in the one word that there is for it that both integers and strings are taken, as early controller-gen wrote it
/// out.
fn take_int_or_string(schema: &mut Object) {
    for key in ["anyOf", "oneOf"] {
        let of = |word: &str| {
            schema
                .get(key)
                .and_then(Value::as_array)
                .is_some_and(|both| {
                    both.len() == 2
                        && both.iter().any(|one| {
                            one.as_object().is_some_and(|one| {
                                one.get("type").and_then(Value::as_str) == Some(word)
                                    && one
                                        .keys()
                                        .all(|key| key == "type" || NOTES.contains(&key.as_str()))
                            })
                        })
                })
        };
        if of("integer") && of("string") {
            schema.shift_remove(key);
            schema.shift_remove(UNKNOWN);
            schema.insert(INT_OR_STRING.to_owned(), Value::Bool(true));
        }
    }
}

/// Keeps of the junctors what can be said in them, and says outside what they speak of.
fn settle_junctors(schema: &mut Object) {
    for junctor in JUNCTORS {
        let kept = match schema.shift_remove(junctor) {
            Some(Value::Object(mut one)) => {
                settle_within(&mut one, schema).then_some(Value::Object(one))
            }
            Some(Value::Array(mut parts)) => {
                let all = parts.len();
                parts.retain_mut(|part| {
                    part.as_object_mut()
                        .is_some_and(|part| settle_within(part, schema))
                });
                // Of what all holds, a part may go; of what is to be chosen from, none.
                let enough = !parts.is_empty() && (junctor == "allOf" || parts.len() == all);
                enough.then_some(Value::Array(parts))
            }
            _ => None,
        };
        if let Some(kept) = kept {
            schema.insert(junctor.to_owned(), kept);
        }
    }
}

/// Removes from a schema within a junctor of `outer` what has to be said there; returns whether it still says the same.
fn settle_within(part: &mut Object, outer: &mut Object) -> bool {
    for word in NOTES {
        part.shift_remove(word);
    }
    let mut same = true;
    for word in STRUCTURE {
        if let Some(said) = part.shift_remove(word) {
            let nothing = Value::Bool(word == "additionalProperties");
            same &= said == nothing || outer.get(word) == Some(&said);
        }
    }
    if let Some(Value::Object(properties)) = part.get_mut("properties") {
        if outer.contains_key("additionalProperties") {
            return false;
        }
        let known = outer
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        for (name, property) in properties {
            // Nothing may be said of metadata here.
            let (Value::Object(property), Some(known), false) =
                (property, known.as_object_mut(), name == "metadata")
            else {
                return false;
            };
            let known = known
                .entry(name.as_str())
                .or_insert_with(|| Value::Object(anything()));
            same &= known
                .as_object_mut()
                .is_some_and(|known| settle_within(property, known));
        }
    }
    if let Some(Value::Object(items)) = part.get_mut("items") {
        let known = outer
            .entry("items")
            .or_insert_with(|| Value::Object(anything()));
        same &= known
            .as_object_mut()
            .is_some_and(|known| settle_within(items, known));
    }
    for junctor in JUNCTORS {
        match part.get_mut(junctor) {
            Some(Value::Object(one)) => same &= settle_within(one, outer),
            Some(Value::Array(parts)) => {
                for one in parts.iter_mut().filter_map(Value::as_object_mut) {
                    same &= settle_within(one, outer);
                }
            }
            _ => {}
        }
    }
    same
}

/// Returns the schemas of what is within an object or a list.
pub(super) fn inner_schemas(schema: &mut Object) -> impl Iterator<Item = &mut Object> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: Value) -> Value {
        let Value::Object(mut schema) = schema else {
            panic!("no object");
        };
        structural(&mut schema);
        Value::Object(schema)
    }

    #[test]
    fn schemas_are_structural() {
        let either = json!({"x-kubernetes-int-or-string": true});
        for (what, stored, expected) in [
            (
                "as early controller-gen wrote it",
                json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
                either.clone(),
            ),
            (
                "the other way round, with notes",
                json!({"oneOf": [{"type": "string", "description": "d"}, {"type": "integer"}], UNKNOWN: true, "minLength": 1}),
                json!({"x-kubernetes-int-or-string": true, "minLength": 1}),
            ),
            (
                "as later controller-gen wrote it",
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
                either,
            ),
            (
                "types that have no word of their own",
                json!({"anyOf": [{"type": "object"}, {"type": "string"}]}),
                json!({UNKNOWN: true}),
            ),
            (
                "a type that there is not",
                json!({"type": "any"}),
                json!({UNKNOWN: true}),
            ),
            (
                "a word that says nothing",
                json!({"type": "string", UNKNOWN: false}),
                json!({"type": "string"}),
            ),
            (
                "what is said outside too",
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [
                    {"type": "object", "title": "t", "required": ["a"],
                     "properties": {"a": {"type": "string", "enum": ["x"], "description": "d"}, "b": {"minLength": 1}}},
                    {"not": {"required": ["a"], "nullable": false}},
                ]}),
                json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {UNKNOWN: true}}, "oneOf": [
                    {"required": ["a"], "properties": {"a": {"enum": ["x"]}, "b": {"minLength": 1}}},
                    {"not": {"required": ["a"]}},
                ]}),
            ),
            (
                "what is not makes a choice another one",
                json!({"type": "array", "items": {"type": "string"}, "anyOf": [
                    {"items": {"type": "integer"}}, {"minItems": 1},
                ]}),
                json!({"type": "array", "items": {"type": "string"}}),
            ),
            (
                "of what all holds the rest stays",
                json!({"type": "object", "additionalProperties": {"type": "string"}, "allOf": [
                    {"properties": {"a": {"minLength": 1}}}, {"minProperties": 1},
                ]}),
                json!({"type": "object", "additionalProperties": {"type": "string"}, "allOf": [{"minProperties": 1}]}),
            ),
            (
                "nothing of metadata",
                json!({"type": "object", "not": {"properties": {"metadata": {"required": ["name"]}}}}),
                json!({"type": "object", "properties": {}}),
            ),
            (
                "nothing of what is not allowed",
                json!({"type": "object", "not": {"additionalProperties": false}}),
                json!({"type": "object"}),
            ),
        ] {
            let root = made(json!({"type": "object", "properties": {"x": stored}}));
            assert_eq!(root["properties"]["x"], expected, "{what}");
        }
        assert_eq!(
            made(json!({
                "additionalProperties": {"type": "string"},
                "properties": {"apiVersion": {"enum": ["v1"]}, "metadata": {"type": "object"}},
            })),
            json!({"type": "object", UNKNOWN: true, "properties": {"apiVersion": {"type": "string"}}}),
            "at the root"
        );
    }
}
