//! Strategic merge patches: as JSON merge patches, but lists of objects are merged by a key where their type has one.
//!
//! The keys are those of the built-in types (`patchMergeKey` in the API's definitions). Directives that are understood:
//! `$patch: delete` and `$patch: replace`, and null to remove a field.

use serde_json::{Map, Value};

/// Lists that are merged by a key, by the name of the field.
const KEYS: [(&str, &[&str]); 18] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("volumes", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    // A Service's ports have `port`, a container's `containerPort`.
    ("ports", &["containerPort", "port"]),
    ("conditions", &["type"]),
    ("ownerReferences", &["uid"]),
    ("secrets", &["name"]),
    ("webhooks", &["name"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("validations", &["expression"]),
];

/// Lists of words that are merged as sets.
const SETS: [&str; 1] = ["finalizers"];

/// Returns whether a type is a built-in one, whose lists have known keys.
pub(super) fn knows(group_resource: &str) -> bool {
    group_resource.split_once('.').is_none_or(|(_, group)| {
        !group.contains('.')
            || (group.ends_with(".k8s.io") && !group.starts_with("snapshot.storage."))
    })
}

/// Merges a patch into an object.
///
/// # Errors
/// A patch that does not say which element of a list it means.
pub(super) fn merge(object: &mut Value, patch: &Value) -> Result<(), String> {
    merge_value("", object, patch)
}

fn merge_value(field: &str, value: &mut Value, patch: &Value) -> Result<(), String> {
    match patch {
        Value::Object(patch) => {
            if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
                *value = Value::Object(without_directives(patch));
                return Ok(());
            }
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            if let Some(object) = value.as_object_mut() {
                merge_object(object, patch)?;
            }
            Ok(())
        }
        Value::Array(patch) => merge_list(field, value, patch),
        other => {
            *value = other.clone();
            Ok(())
        }
    }
}

fn merge_object(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    for (key, change) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let removed =
            change.is_null() || change.get("$patch").and_then(Value::as_str) == Some("delete");
        if removed {
            object.shift_remove(key);
        } else {
            merge_value(
                key,
                object.entry(key.clone()).or_insert(Value::Null),
                change,
            )?;
        }
    }
    Ok(())
}

fn merge_list(field: &str, value: &mut Value, patch: &[Value]) -> Result<(), String> {
    let replace = patch
        .iter()
        .any(|one| one.get("$patch").and_then(Value::as_str) == Some("replace"));
    let plain = || {
        patch
            .iter()
            .filter(|one| one.get("$patch").is_none())
            .cloned()
            .collect::<Vec<_>>()
    };
    if SETS.contains(&field) && !replace {
        let mut list = take_list(value);
        for one in patch {
            if !list.contains(one) {
                list.push(one.clone());
            }
        }
        *value = Value::Array(list);
        return Ok(());
    }
    let keys = KEYS
        .iter()
        .find(|(name, _)| *name == field)
        .map(|(_, keys)| *keys);
    let Some(keys) = keys.filter(|_| !replace && patch.iter().all(Value::is_object)) else {
        *value = Value::Array(plain());
        return Ok(());
    };
    let mut list = take_list(value);
    for change in patch {
        let key = keys
            .iter()
            .find(|key| change.get(**key).is_some())
            .ok_or_else(|| format!("an element of {field} has no {}", keys.join(" or ")))?;
        let place = list
            .iter()
            .position(|one| one.get(*key) == change.get(*key));
        let delete = change.get("$patch").and_then(Value::as_str) == Some("delete");
        match (place, delete) {
            (Some(at), true) => {
                list.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => {
                if let Some(one) = list.get_mut(at) {
                    merge_value("", one, change)?;
                }
            }
            (None, false) => list.push(match change {
                Value::Object(change) => Value::Object(without_directives(change)),
                other => other.clone(),
            }),
        }
    }
    *value = Value::Array(list);
    Ok(())
}

fn take_list(value: &mut Value) -> Vec<Value> {
    match value.take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

fn without_directives(object: &Map<String, Value>) -> Map<String, Value> {
    object
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_merged_by_their_keys() {
        let object = json!({"spec": {"replicas": 1, "paused": true, "containers": [
            {"name": "web", "image": "a", "env": [{"name": "A", "value": "1"}], "args": ["x"]},
            {"name": "side", "image": "s"},
        ]}, "metadata": {"finalizers": ["a"]}});
        for (patch, expected) in [
            (
                json!({"spec": {"paused": null, "containers": [
                    {"name": "web", "image": "b", "env": [{"name": "B", "value": "2"}], "args": ["y"]},
                    {"name": "side", "$patch": "delete"}, {"name": "new", "image": "n"},
                ]}, "metadata": {"finalizers": ["b"]}}),
                json!({"spec": {"replicas": 1, "containers": [
                    {"name": "web", "image": "b", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                     "args": ["y"]},
                    {"name": "new", "image": "n"},
                ]}, "metadata": {"finalizers": ["a", "b"]}}),
            ),
            (
                json!({"spec": {"$patch": "replace", "replicas": 3}}),
                json!({"spec": {"replicas": 3}, "metadata": {"finalizers": ["a"]}}),
            ),
            (
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "only"}]}}),
                json!({"spec": {"replicas": 1, "paused": true, "containers": [{"name": "only"}]},
                    "metadata": {"finalizers": ["a"]}}),
            ),
        ] {
            let mut found = object.clone();
            merge(&mut found, &patch).unwrap();
            assert_eq!(found, expected, "{patch}");
        }
        let nameless = json!({"spec": {"containers": [{"image": "b"}]}});
        assert!(merge(&mut object.clone(), &nameless).is_err());
    }

    #[test]
    fn custom_types_are_not_known() {
        for (name, known) in [
            ("pods", true),
            ("deployments.apps", true),
            ("ingresses.networking.k8s.io", true),
            ("animals.zoo.example.org", false),
            ("volumesnapshots.snapshot.storage.k8s.io", false),
        ] {
            assert_eq!(knows(name), known, "{name}");
        }
    }
}
