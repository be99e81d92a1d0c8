//! What an object that is there gets whatever the policy says: what is missing for the restored ones to work (cases 45,
//! 84). Merge patches, made of objects; sent elsewhere.

use serde_json::{Map, Value};

use super::compare::MARKS;
use super::owners::ASSUMED;
use crate::api::object::{self, Object};

/// Adds one merge patch to another.
pub(super) fn join(patch: &mut Object, more: Object) {
    for (key, value) in more {
        match (patch.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => join(inner, more),
            (_, value) => {
                patch.insert(key, value);
            }
        }
    }
}

/// Returns the references to owners that an object is to have: an owner that it refers to by a UID that is another one
/// now is referred to by that, or Kubernetes would delete the object (case 84). With `missing`, those that it does not
/// have are added. `None` if nothing changes.
pub(super) fn owners(stored: &Object, existing: &Object, missing: bool) -> Option<Value> {
    const PATH: [&str; 2] = ["metadata", "ownerReferences"];
    let same = |one: &Object, other: &Object, keys: &[&str]| {
        keys.iter().all(|key| one.get(*key) == other.get(*key))
    };
    let controls = |one: &Object| one.get("controller") == Some(&Value::Bool(true));
    let mut references: Vec<Object> = object::list(existing, &PATH).cloned().collect();
    let mut changed = false;
    for wanted in object::list(stored, &PATH) {
        if object::text(wanted, &["uid"]) == ASSUMED
            || references.iter().any(|one| same(one, wanted, &["uid"]))
        {
            continue;
        }
        let stale = references
            .iter()
            .position(|one| same(one, wanted, &["kind", "name"]));
        match stale {
            Some(at) => references[at].clone_from(wanted),
            None if missing && !(controls(wanted) && references.iter().any(controls)) => {
                references.push(wanted.clone());
            }
            None => continue,
        }
        changed = true;
    }
    changed.then(|| references.into_iter().map(Value::Object).collect())
}

/// Returns the merge patch that gives an existing service account what the stored one has and it lacks (case 45):
/// secrets and pull secrets by name, labels and annotations by key. Nothing is removed.
pub(super) fn of_account(stored: &Object, existing: &Object) -> Object {
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
    patch
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
    use crate::restore::testing::object;

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
            Value::Object(of_account(&stored, &existing)),
            json!({
                "secrets": [{"name": "s"}],
                "imagePullSecrets": [{"name": "other"}, {"name": "mine"}, {"name": "registry"}],
                "metadata": {"labels": {"b": "2"}, "annotations": {"c": "3"}},
            }),
            "case 45"
        );
        let bare = object(json!({"metadata": {"name": "default"}}));
        assert_eq!(of_account(&bare, &existing), Object::new());
    }

    #[test]
    fn references_to_owners_that_are_gone_follow_them() {
        let to =
            |kind: &str, name: &str, uid: &str| json!({"kind": kind, "name": name, "uid": uid});
        let controls =
            |uid: &str| json!({"kind": "Lion", "name": uid, "uid": uid, "controller": true});
        for (why, stored, existing, missing, becomes) in [
            (
                "the same",
                vec![to("Lion", "a", "1")],
                vec![to("Lion", "a", "1")],
                true,
                None,
            ),
            (
                "stale",
                vec![to("Lion", "a", "2")],
                vec![to("Cow", "b", "9"), to("Lion", "a", "1")],
                false,
                Some(vec![to("Cow", "b", "9"), to("Lion", "a", "2")]),
            ),
            (
                "left out by somebody",
                vec![to("Lion", "a", "2")],
                vec![],
                false,
                None,
            ),
            (
                "orphaned",
                vec![to("Lion", "a", "2")],
                vec![],
                true,
                Some(vec![to("Lion", "a", "2")]),
            ),
            (
                "only one controls",
                vec![controls("2")],
                vec![controls("1")],
                true,
                None,
            ),
            (
                "a dry run does not know",
                vec![to("Lion", "a", ASSUMED)],
                vec![to("Lion", "a", "1")],
                true,
                None,
            ),
        ] {
            let with = |references: Vec<Value>| {
                object(json!({"metadata": {"ownerReferences": references}}))
            };
            let found = owners(&with(stored), &with(existing), missing);
            assert_eq!(found, becomes.map(Value::Array), "{why}");
        }
    }

    #[test]
    fn patches_are_joined() {
        let mut patch = object(json!({"metadata": {"labels": {"a": 1}}, "x": null}));
        join(
            &mut patch,
            object(json!({"metadata": {"labels": {"b": null}}, "y": [1]})),
        );
        let both = json!({"metadata": {"labels": {"a": 1, "b": null}}, "x": null, "y": [1]});
        assert_eq!(Value::Object(patch), both);
    }
}
