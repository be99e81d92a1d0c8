//! What becomes of every object's metadata and status.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// What is kept; all the rest is the server's (case 1). Finalizers stay (case 7), and an object whose name was
/// generated keeps that name (case 8).
const KEPT: [&str; 5] = ["name", "namespace", "labels", "annotations", "finalizers"];

/// Cases 1, 2, 7, 8: keeps what users own of the metadata, and drops the status.
pub(crate) fn reset(object: &mut Object) {
    object.shift_remove("status");
    if let Some(metadata) = object::at_mut(object, &["metadata"]) {
        metadata.retain(|key, value| KEPT.contains(&key.as_str()) && !value.is_null());
    }
}

/// Puts the object into its target namespace.
pub(super) fn place(object: &mut Object, namespace: Option<&str>) {
    let Some(metadata) = object::ensure(object, &["metadata"]) else {
        return;
    };
    match namespace {
        Some(namespace) => {
            metadata.insert("namespace".to_owned(), Value::from(namespace));
        }
        None => {
            metadata.shift_remove("namespace");
        }
    }
}

/// Case 5: names the restore and its backup. Selectors and templates stay as they are.
pub(super) fn mark(object: &mut Object, facts: &Facts) {
    if facts.marks.is_empty() {
        return;
    }
    if let Some(labels) = object::ensure(object, &["metadata", "labels"]) {
        for (key, value) in &facts.marks {
            labels.insert((*key).to_owned(), Value::from(value.as_str()));
        }
    }
}

/// Case 18: turns a stored Namespace into the one to create as `target`.
///
/// A namespace is not marked: it is shared with whatever else comes to live in it.
pub(crate) fn own_metadata(object: &mut Object, target: &str) {
    reset(object);
    place(object, None);
    // The server writes this one after the new name.
    object::remove(
        object,
        &["metadata", "labels"],
        &["kubernetes.io/metadata.name"],
    );
    if let Some(metadata) = object::at_mut(object, &["metadata"]) {
        metadata.insert("name".to_owned(), Value::from(target));
    }
}
