//! What a PersistentVolume and its claim say about themselves. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::labels;
use crate::api::object::{self, Object};
use crate::api::quantity;

/// The fields of a PersistentVolume's spec that are not its source
/// (<https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-v1/>).
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// A volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct VolumeFacts {
    /// The field of its spec that says where it is, such as `csi` or `nfs`.
    pub(super) source: String,
    /// The text fields of that source: a driver, a server, a path.
    pub(super) fields: BTreeMap<String, String>,
    /// The attributes of a CSI volume.
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) storage_class: String,
    /// Its size in bytes.
    pub(super) capacity: Option<u64>,
    pub(super) claim: Option<ClaimFacts>,
}

/// The claim that a volume is bound to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ClaimFacts {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) phase: String,
    /// What its annotation says of snapshots.
    pub(super) annotation: Option<String>,
}

impl VolumeFacts {
    pub(super) fn of(volume: &Object, claim: Option<&Object>) -> Self {
        let spec = object::at(volume, &["spec"]);
        let source = spec
            .into_iter()
            .flat_map(|spec| spec.iter())
            .find(|(field, value)| value.is_object() && !NO_SOURCES.contains(&field.as_str()))
            .map_or("", |(field, _)| field.as_str());
        let capacity = object::text(volume, &["spec", "capacity", "storage"]);
        Self {
            source: source.to_owned(),
            fields: texts(volume, &["spec", source]),
            attributes: texts(volume, &["spec", source, "volumeAttributes"]),
            storage_class: object::text(volume, &["spec", "storageClassName"]).to_owned(),
            capacity: quantity::bytes(capacity).ok(),
            claim: claim.map(|claim| ClaimFacts {
                labels: texts(claim, &["metadata", "labels"]),
                phase: object::text(claim, &["status", "phase"]).to_owned(),
                annotation: texts(claim, &["metadata", "annotations"])
                    .remove(labels::SNAPSHOT_VOLUME),
            }),
        }
    }

    /// Returns what kind of volume it is, in words.
    pub(super) fn kind(&self) -> String {
        match (self.source.as_str(), self.fields.get("driver")) {
            ("", _) => "a volume that does not say where it is".to_owned(),
            ("csi", Some(driver)) => format!("a volume of CSI driver {driver}"),
            (source, _) => format!("a volume of type {source}"),
        }
    }
}

/// Returns the fields of the object at `path` that are text.
fn texts(object: &Object, path: &[&str]) -> BTreeMap<String, String> {
    let fields = object::at(object, path).into_iter().flatten();
    fields
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.clone(), text.clone())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_says_what_it_is() {
        for (spec, source, kind) in [
            (
                json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": {"name": "c"},
                    "csi": {"driver": "d", "volumeAttributes": {"a": "b"}, "readOnly": true}}),
                "csi",
                "a volume of CSI driver d",
            ),
            (
                json!({"nodeAffinity": {"required": {}}, "local": {"path": "/x"}}),
                "local",
                "a volume of type local",
            ),
            (json!({}), "", "a volume that does not say where it is"),
        ] {
            let volume = json!({ "spec": spec });
            let facts = VolumeFacts::of(volume.as_object().unwrap(), None);
            assert_eq!(
                (facts.source.as_str(), facts.kind().as_str()),
                (source, kind)
            );
            if source == "csi" {
                assert_eq!(facts.capacity, Some(1 << 30));
                assert_eq!(facts.fields, [("driver".to_owned(), "d".to_owned())].into());
                assert_eq!(facts.attributes.len(), 1);
            }
        }
    }
}
