//! Whether an object that is in the cluster already is the one that would have been created (cases 45, 69, 70).
//!
//! Both sides went through the same rules, so that what those give up (addresses, bindings, tokens) does not count. On
//! top of that, what servers and controllers write while an object lives is passed over here.

use serde_json::{Map, Value};

use crate::api::labels;

use super::object::{self, Object};

/// The labels that restores put on objects.
pub(super) const MARKS: [&str; 3] = [labels::RESTORE, labels::RESTORE_NAME, labels::BACKUP_NAME];

/// Annotations that controllers write, by how they begin.
const CONTROLLERS_ANNOTATIONS: [&str; 3] = [
    "deployment.kubernetes.io/",
    "pv.kubernetes.io/",
    // What it says is in the object, or was changed since.
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Annotations by which the API server declares an object its own to keep up to date: a newer server's differs, and
/// rightly so.
const SERVERS_OWN: [&str; 2] = [
    "rbac.authorization.kubernetes.io/autoupdate",
    "apf.kubernetes.io/autoupdate-spec",
];

/// Returns the paths in which two objects differ, never their values; none if they are the same.
///
/// Both must have gone through the rules of their type, `existing` as one that is in place.
pub(super) fn differences(
    group_resource: &str,
    mut stored: Object,
    mut existing: Object,
) -> Vec<String> {
    if SERVERS_OWN
        .iter()
        .any(|key| object::text(&existing, &["metadata", "annotations", key]) == "true")
    {
        return Vec::new();
    }
    for object in [&mut stored, &mut existing] {
        neutral(group_resource, object);
    }
    if group_resource == "persistentvolumeclaims"
        && object::text(&stored, &["spec", "volumeName"]).is_empty()
    {
        // The volume it asked for.
        object::remove(&mut existing, &["spec"], &["volumeName"]);
    }
    let mut paths = Vec::new();
    compare_objects("", &stored, &existing, &mut paths);
    paths
}

/// Returns whether an object carries all of `marks`.
pub(super) fn is_marked(object: &Object, marks: &[(&'static str, String)]) -> bool {
    !marks.is_empty()
        && marks
            .iter()
            .all(|(key, value)| object::text(object, &["metadata", "labels", key]) == value)
}

/// Takes out what does not count.
fn neutral(group_resource: &str, object: &mut Object) {
    // Controllers add and remove them while the object lives.
    object::remove(object, &["metadata"], &["finalizers"]);
    object::remove(object, &["metadata", "labels"], &MARKS);
    if let Some(annotations) = object::at_mut(object, &["metadata", "annotations"]) {
        annotations.retain(|key, _| {
            !CONTROLLERS_ANNOTATIONS
                .iter()
                .any(|start| key.starts_with(start))
        });
    }
    if group_resource == "clusterroles.rbac.authorization.k8s.io"
        && object.get("aggregationRule").is_some_and(Value::is_object)
    {
        // Filled in from other roles.
        object.shift_remove("rules");
    }
}

fn compare_objects(path: &str, stored: &Object, existing: &Object, paths: &mut Vec<String>) {
    let keys = stored.keys().chain(
        existing
            .keys()
            .filter(|key| !stored.contains_key(key.as_str())),
    );
    for key in keys {
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let side = |object: &Object| object.get(key).cloned().unwrap_or(Value::Null);
        match (stored.get(key), existing.get(key)) {
            (Some(Value::Object(stored)), Some(Value::Object(existing))) => {
                compare_objects(&inner, stored, existing, paths);
            }
            (stored_value, existing_value) if stored_value == existing_value => {}
            // A server may leave out what is empty.
            _ if is_empty(&side(stored)) && is_empty(&side(existing)) => {}
            _ => paths.push(inner),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns the merge patch that gives an existing service account what the stored one has and it lacks (case 45):
/// secrets and pull secrets by name, labels and annotations by key. Nothing is removed. `None` if nothing is missing.
pub(super) fn missing_of_account(stored: &Object, existing: &Object) -> Option<Value> {
    let mut patch = Map::new();
    for list in ["secrets", "imagePullSecrets"] {
        let name = |reference: &Value| {
            reference
                .get("name")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let items = |object: &Object| -> Vec<Value> {
            object
                .get(list)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let mut all = items(existing);
        let there = all.len();
        for reference in items(stored) {
            if !all.iter().any(|known| name(known) == name(&reference)) {
                all.push(reference);
            }
        }
        if all.len() > there {
            patch.insert(list.to_owned(), Value::Array(all));
        }
    }
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        let keys = |object: &Object| {
            object::at(object, &["metadata", field])
                .cloned()
                .unwrap_or_default()
        };
        let known = keys(existing);
        let missing: Object = keys(stored)
            .into_iter()
            // An account that was there before is not one that the restore made.
            .filter(|(key, _)| !known.contains_key(key) && !MARKS.contains(&key.as_str()))
            .collect();
        if !missing.is_empty() {
            metadata.insert(field.to_owned(), Value::Object(missing));
        }
    }
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Takes out of both accounts what merging has made the same, or left because it was more than was stored.
pub(super) fn without_merged(account: &mut Object) {
    for list in ["secrets", "imagePullSecrets"] {
        account.shift_remove(list);
    }
    object::remove(account, &["metadata"], &["labels", "annotations"]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn fields_that_differ_are_named() {
        let stored = json!({"metadata": {"name": "x", "labels": {"a": "1", "ark-restore": "r"}},
            "spec": {"replicas": 2, "list": [1, 2], "empty": {}}, "data": {"y": "secret"}});
        for (case, existing, fields) in [
            (
                "69",
                json!({"metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f"],
                "annotations": {"deployment.kubernetes.io/revision": "3"}},
                "spec": {"replicas": 2, "list": [1, 2], "other": null, "more": {"in": []}}, "data": {"y": "secret"}}),
                "",
            ),
            (
                "70",
                json!({"metadata": {"name": "x", "labels": {"a": "2"}},
                "spec": {"replicas": 3, "list": [2, 1], "new": 0}, "data": {}}),
                "metadata.labels.a, spec.replicas, spec.list, spec.new, data.y",
            ),
        ] {
            let found = differences("deployments.apps", object(stored.clone()), object(existing));
            assert_eq!(found.join(", "), fields, "case {case}");
        }
    }

    #[test]
    fn what_servers_and_controllers_write_does_not_count() {
        for (of, stored, existing, same) in [
            (
                "clusterroles.rbac.authorization.k8s.io",
                json!({"metadata": {"name": "view"}, "rules": [1]}),
                json!({"metadata": {"name": "view", "annotations": {SERVERS_OWN[0]: "true"}}, "rules": [2]}),
                true,
            ),
            (
                "clusterroles.rbac.authorization.k8s.io",
                json!({"aggregationRule": {"a": 1}, "rules": [1]}),
                json!({"aggregationRule": {"a": 1}, "rules": [2]}),
                true,
            ),
            (
                "clusterroles.rbac.authorization.k8s.io",
                json!({"aggregationRule": null, "rules": [1]}),
                json!({"aggregationRule": null, "rules": [2]}),
                false,
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"storageClassName": "fast"}}),
                json!({"spec": {"storageClassName": "fast", "volumeName": "pvc-1"}}),
                true,
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"volumeName": "a"}}),
                json!({"spec": {"volumeName": "b"}}),
                false,
            ),
        ] {
            let found = differences(of, object(stored.clone()), object(existing));
            assert_eq!(found.is_empty(), same, "{of} {stored}: {found:?}");
        }
    }

    #[test]
    fn accounts_get_what_they_lack() {
        let stored = object(json!({
            "metadata": {"labels": {"a": "1", "b": "2", "ark-restore": "r"}, "annotations": {"c": "3"}},
            "secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
        }));
        let existing = object(json!({
            "metadata": {"labels": {"a": "mine"}},
            "imagePullSecrets": [{"name": "other"}, {"name": "mine"}],
        }));
        assert_eq!(
            missing_of_account(&stored, &existing).unwrap(),
            json!({
                "secrets": [{"name": "s"}],
                "imagePullSecrets": [{"name": "other"}, {"name": "mine"}, {"name": "registry"}],
                "metadata": {"labels": {"b": "2"}, "annotations": {"c": "3"}},
            }),
            "case 45"
        );
        let bare = object(json!({"metadata": {"name": "default"}}));
        assert_eq!(missing_of_account(&bare, &existing), None);
    }

    #[test]
    fn own_work_carries_every_mark() {
        let marks = [("ark-restore", "r".to_owned())];
        let object = object(json!({"metadata": {"labels": {"ark-restore": "r"}}}));
        assert!(is_marked(&object, &marks));
        assert!(!is_marked(&object, &[("ark-restore", "other".to_owned())]));
        assert!(
            !is_marked(&object, &[]),
            "without labels nothing shows whose an object is"
        );
    }
}
