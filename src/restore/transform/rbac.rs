//! What becomes of role bindings.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// Case 64: a subject in a namespace that moves, moves with it: service accounts, and the names under which
/// service accounts appear as users and groups.
pub(super) fn move_subjects(binding: &mut Object, facts: &Facts) {
    for subject in object::list_mut(binding, &["subjects"]) {
        if let Some(Value::String(namespace)) = subject.get_mut("namespace") {
            *namespace = facts.target_namespace(namespace).to_owned();
        }
        let moved = match object::text(subject, &["kind"]) {
            "User" => moved_user(object::text(subject, &["name"]), facts),
            "Group" => object::text(subject, &["name"])
                .strip_prefix("system:serviceaccounts:")
                .map(|namespace| {
                    format!(
                        "system:serviceaccounts:{}",
                        facts.target_namespace(namespace)
                    )
                }),
            _ => None,
        };
        if let Some(name) = moved {
            subject.insert("name".to_owned(), Value::String(name));
        }
    }
}

fn moved_user(name: &str, facts: &Facts) -> Option<String> {
    let (namespace, account) = name
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    Some(format!(
        "system:serviceaccount:{}:{account}",
        facts.target_namespace(namespace)
    ))
}
