//! Entries and types for the tests of this room.

use std::sync::Arc;

use serde_json::Value;

use crate::api::object::Object;
use crate::archive::{BodyKind, IndexEntry, TypeKey};
use crate::cluster::ApiType;

/// Takes JSON for an object.
pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// Makes an entry of a type by its full name; an empty namespace means a cluster-scoped object.
pub(super) fn entry(group_resource: &str, namespace: &str, name: &str) -> IndexEntry {
    let (resource, group) = group_resource
        .split_once('.')
        .unwrap_or((group_resource, ""));
    IndexEntry {
        type_key: Arc::new(TypeKey {
            group: group.into(),
            version: "v1".into(),
            kind: kind(resource),
            resource: resource.into(),
        }),
        namespace: (!namespace.is_empty()).then(|| namespace.into()),
        name: name.into(),
        uid: format!("uid-{group_resource}-{namespace}-{name}").into(),
        owners: Arc::new([]),
        labels: Arc::default(),
        body: BodyKind::AsServed,
        frame: 0,
        offset: 0,
        length: 1,
        sha256: [0; 32],
    }
}

/// Makes a type in version `v1` by its full name.
pub(super) fn api_type(group_resource: &str, namespaced: bool) -> ApiType {
    let (resource, group) = group_resource
        .split_once('.')
        .unwrap_or((group_resource, ""));
    ApiType {
        group: group.into(),
        version: "v1".into(),
        kind: kind(resource),
        resource: resource.into(),
        singular: resource.trim_end_matches('s').into(),
        namespaced,
        ..ApiType::default()
    }
}

fn kind(resource: &str) -> String {
    let singular = resource.strip_suffix('s').unwrap_or(resource);
    let mut letters = singular.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
