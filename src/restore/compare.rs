//! Whether an object that is in the cluster already is the one that would have been created (cases 45, 69, 70).
//!
//! Both sides went through the same rules, so that what those give up (addresses, bindings, tokens) does not count. On
//! top of that, what servers and controllers write while an object lives is passed over here.

use serde_json::Value;

use crate::api::{Difference, labels};

use crate::api::object::{self, Object};

/// The labels that restores put on objects.
pub(super) const MARKS: [&str; 3] = [labels::RESTORE, labels::RESTORE_NAME, labels::BACKUP_NAME];

/// How many characters of a value are shown.
const LONGEST_VALUE: usize = 80;
/// What is shown of a value that must not be.
const HIDDEN: &str = "(hidden)";

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

/// Takes out of both objects what does not count. Both must have gone through the rules of their type, `existing` as one
/// that is in place.
pub(super) fn settle(group_resource: &str, stored: &mut Object, existing: &mut Object) {
    if SERVERS_OWN
        .iter()
        .any(|key| object::text(existing, &["metadata", "annotations", key]) == "true")
    {
        stored.clone_from(existing);
        return;
    }
    for object in [&mut *stored, &mut *existing] {
        neutral(group_resource, object);
    }
    if group_resource == "persistentvolumeclaims"
        && object::text(stored, &["spec", "volumeName"]).is_empty()
    {
        // The volume it asked for.
        object::remove(existing, &["spec"], &["volumeName"]);
    }
}

/// Returns the fields in which two settled objects differ; none if they are the same. Values of Secrets are not shown.
pub(super) fn differences(
    group_resource: &str,
    stored: &Object,
    existing: &Object,
) -> Vec<Difference> {
    let mut found = Vec::new();
    compare_objects("", stored, existing, &mut found);
    if group_resource == "secrets" {
        for difference in &mut found {
            difference.backup = difference.backup.take().map(|_| HIDDEN.to_owned());
            difference.cluster = difference.cluster.take().map(|_| HIDDEN.to_owned());
        }
    }
    found
}

/// Returns the merge patch that turns one settled object into another.
pub(super) fn patch(from: &Object, to: &Object) -> Object {
    let mut patch = Object::new();
    for key in from.keys().filter(|key| !to.contains_key(key.as_str())) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match (from.get(key), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(self::patch(before, after)));
            }
            (_, after) => {
                patch.insert(key.clone(), after.clone());
            }
        }
    }
    patch
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
    if group_resource == "pods" {
        without_account_volume(object);
    }
    if group_resource == "persistentvolumeclaims" {
        // Where its volume's first data came from: nobody can change it, and it counts no more.
        object::remove(object, &["spec"], &["dataSource", "dataSourceRef"]);
    }
    if group_resource == "clusterroles.rbac.authorization.k8s.io"
        && object.get("aggregationRule").is_some_and(Value::is_object)
    {
        // Filled in from other roles.
        object.shift_remove("rules");
    }
}

/// Takes out the volume with the account's token that the API server adds to each Pod, under a name of its own each time
/// (case 28).
fn without_account_volume(pod: &mut Object) {
    const STARTS: &str = "kube-api-access-";
    let Some(spec) = object::at_mut(pod, &["spec"]) else {
        return;
    };
    let retain = |list: Option<&mut Value>| {
        if let Some(list) = list.and_then(Value::as_array_mut) {
            list.retain(|one| !name_of(one).is_some_and(|name| name.starts_with(STARTS)));
        }
    };
    retain(spec.get_mut("volumes"));
    for containers in ["containers", "initContainers"] {
        for container in object::list_mut(spec, &[containers]) {
            retain(container.get_mut("volumeMounts"));
        }
    }
}

fn compare_objects(path: &str, stored: &Object, existing: &Object, found: &mut Vec<Difference>) {
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
        compare_values(&inner, stored.get(key), existing.get(key), found);
    }
}

fn compare_values(
    path: &str,
    stored: Option<&Value>,
    existing: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (stored, existing) {
        (Some(Value::Object(stored)), Some(Value::Object(existing))) => {
            compare_objects(path, stored, existing, found);
        }
        (stored, existing) if stored == existing => {}
        (Some(Value::Array(stored)), Some(Value::Array(existing)))
            if same_keys(stored, existing) =>
        {
            for (at, (stored, existing)) in stored.iter().zip(existing).enumerate() {
                let key = name_of(stored).map_or_else(|| at.to_string(), str::to_owned);
                compare_values(
                    &format!("{path}[{key}]"),
                    Some(stored),
                    Some(existing),
                    found,
                );
            }
        }
        // A server may leave out what is empty.
        (stored, existing) if stored.is_none_or(is_empty) && existing.is_none_or(is_empty) => {}
        (stored, existing) => found.push(Difference {
            path: path.to_owned(),
            backup: stored.map(brief),
            cluster: existing.map(brief),
        }),
    }
}

/// Returns whether two lists hold the same objects in the same order, as far as their names tell.
fn same_keys(one: &[Value], other: &[Value]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one.is_object() && other.is_object() && name_of(one) == name_of(other)
        })
}

fn name_of(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

/// Writes a value in a few words.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::restore::testing::object;

    fn paths(of: &str, mut stored: Object, mut existing: Object) -> Vec<String> {
        settle(of, &mut stored, &mut existing);
        let found = differences(of, &stored, &existing);
        found.into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn values_are_shown_briefly_and_those_of_secrets_not_at_all() {
        let stored = object(
            json!({"data": {"a": "x".repeat(100)}, "list": [{"name": "web", "image": "a"}]}),
        );
        let existing =
            object(json!({"data": {"a": "y"}, "list": [{"name": "web", "image": "b"}], "more": 1}));
        let found = differences("configmaps", &stored, &existing);
        assert_eq!(found[0].backup.as_ref().unwrap().len(), LONGEST_VALUE + 3);
        assert_eq!(found[0].cluster.as_deref(), Some("\"y\""));
        assert_eq!(found[1].path, "list[web].image");
        assert_eq!(
            (found[2].backup.as_deref(), found[2].cluster.as_deref()),
            (None, Some("1"))
        );
        let hidden = differences("secrets", &stored, &existing);
        assert!(
            hidden
                .iter()
                .all(|one| one.cluster.as_deref() == Some(HIDDEN))
        );
    }

    #[test]
    fn patches_make_one_object_of_another() {
        let from = object(json!({"data": {"a": 1, "b": 2}, "same": [1], "gone": true}));
        let to = object(json!({"data": {"a": 1, "c": 3}, "same": [1], "list": [2]}));
        assert_eq!(
            Value::Object(patch(&from, &to)),
            json!({"data": {"b": null, "c": 3}, "gone": null, "list": [2]})
        );
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
            let found = paths("deployments.apps", object(stored.clone()), object(existing));
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
                json!({"spec": {"volumeName": "a", "dataSource": {"name": "s"}, "dataSourceRef": {"name": "s"}}}),
                true,
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"volumeName": "a"}}),
                json!({"spec": {"volumeName": "b"}}),
                false,
            ),
            (
                "pods",
                json!({"spec": {"volumes": [{"name": "kube-api-access-a"}],
                    "containers": [{"name": "main", "volumeMounts": [{"name": "kube-api-access-a"}]}]}}),
                json!({"spec": {"volumes": [{"name": "kube-api-access-b"}],
                    "containers": [{"name": "main", "volumeMounts": [{"name": "kube-api-access-b"}]}]}}),
                true,
            ),
        ] {
            let found = paths(of, object(stored.clone()), object(existing));
            assert_eq!(found.is_empty(), same, "{of} {stored}: {found:?}");
        }
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
