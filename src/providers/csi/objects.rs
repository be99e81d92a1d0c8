//! The objects of `snapshot.storage.k8s.io/v1`, as far as they are looked at here, and the names in them.

use std::collections::BTreeMap;

use kube::core::{ApiResource, GroupVersionKind, Object};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::labels;
use crate::api::names::{self, MAX_LABEL_VALUE};
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind, SnapshotId};

/// What keeps objects out of backups: those of a backup's own snapshots are of no use in one.
pub(super) const EXCLUDED: &str = labels::EXCLUDE_FROM_BACKUP[0];
/// The API group.
pub(super) const GROUP: &str = "snapshot.storage.k8s.io";
/// The group with the one version that is used.
pub(super) const API_VERSION: &str = "snapshot.storage.k8s.io/v1";
/// The kind that a claim names as the source of its data.
pub(super) const SNAPSHOT: &str = "VolumeSnapshot";
const CONTENT: &str = "VolumeSnapshotContent";
const CLASS: &str = "VolumeSnapshotClass";

/// On contents: which snapshot they stand for, see [`Handle::label`].
pub(super) const SNAPSHOT_LABEL: &str = "ark.heptio.com/csi-snapshot";
/// On contents and VolumeSnapshots: they are the source of a claim's data.
pub(super) const SOURCE_LABEL: &str = "ark.heptio.com/csi-source";
/// Finalizer that keeps a content from vanishing while its VolumeSnapshot is taken away.
pub(super) const KEEP: &str = "ark.heptio.com/keep";
/// Finalizer with which csi-snapshotter gets to see the end of a content. Without it a content just vanishes, and the
/// snapshot stays where it is.
pub(super) const PROTECTION: &str =
    "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// Annotation on contents: csi-snapshotter may act when they are deleted.
pub(super) const BEING_DELETED: &str =
    "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";
/// Annotation on contents: the driver has been asked and has not answered, so that the snapshot may be there or not.
pub(super) const BEING_CREATED: &str =
    "snapshot.storage.kubernetes.io/volumesnapshot-being-created";
/// Annotation on contents: changed to have csi-snapshotter look at one again.
pub(super) const REMINDER: &str = "ark.heptio.com/reminder";
/// Annotations on contents: the Secret that the driver wants for a deletion.
pub(super) const DELETION_SECRET: [&str; 2] = [
    "snapshot.storage.kubernetes.io/deletion-secret-name",
    "snapshot.storage.kubernetes.io/deletion-secret-namespace",
];

/// A VolumeSnapshot.
pub(super) type Snapshot = Object<SnapshotSpec, SnapshotStatus>;
/// A VolumeSnapshotContent.
pub(super) type Content = Object<ContentSpec, ContentStatus>;

/// What a VolumeSnapshot is of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SnapshotSpec {
    pub(super) source: SnapshotSource,
}

/// The claim, or a content that is there already.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SnapshotSource {
    pub(super) volume_snapshot_content_name: Option<String>,
}

/// What snapshot-controller says of a VolumeSnapshot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SnapshotStatus {
    pub(super) bound_volume_snapshot_content_name: Option<String>,
    pub(super) ready_to_use: Option<bool>,
    pub(super) error: Option<Trouble>,
}

/// What a VolumeSnapshotContent stands for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContentSpec {
    pub(super) driver: String,
    pub(super) deletion_policy: String,
    pub(super) source: ContentSource,
    pub(super) volume_snapshot_class_name: Option<String>,
    pub(super) volume_snapshot_ref: SnapshotRef,
}

/// A volume to snapshot, or a snapshot that is there already.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContentSource {
    pub(super) snapshot_handle: Option<String>,
}

/// Which VolumeSnapshot a content belongs to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SnapshotRef {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What csi-snapshotter says of a content.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContentStatus {
    pub(super) snapshot_handle: Option<String>,
    pub(super) ready_to_use: Option<bool>,
    pub(super) restore_size: Option<i64>,
    pub(super) error: Option<Trouble>,
}

/// Why something does not go on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trouble {
    pub(super) message: Option<String>,
}

impl Trouble {
    /// Returns the message, in one line.
    pub(super) fn text(&self) -> String {
        let message = self.message.as_deref().unwrap_or("without a reason");
        message.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Returns how objects of a kind are reached.
fn resource(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, "v1", kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

pub(super) fn snapshots() -> ApiResource {
    resource(SNAPSHOT, "volumesnapshots")
}

pub(super) fn contents() -> ApiResource {
    resource(CONTENT, "volumesnapshotcontents")
}

pub(super) fn classes() -> ApiResource {
    resource(CLASS, "volumesnapshotclasses")
}

/// A snapshot as its driver knows it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Handle {
    pub(super) driver: String,
    pub(super) snapshot: String,
}

impl Handle {
    /// Reads `<driver>/<snapshotHandle>`. A driver's name has no slash, a handle may have some.
    pub(super) fn parse(id: &SnapshotId) -> Result<Self, SnapshotError> {
        match id.0.split_once('/') {
            Some((driver, snapshot)) if !driver.is_empty() && !snapshot.is_empty() => Ok(Self {
                driver: driver.to_owned(),
                snapshot: snapshot.to_owned(),
            }),
            Some(_) | None => Err(SnapshotError::new(
                SnapshotErrorKind::Invalid,
                format!("{id:?} is no CSI snapshot; such an id is DRIVER/HANDLE"),
            )),
        }
    }

    /// Returns what a content stands for, once that is known.
    pub(super) fn of(content: &Content) -> Option<Self> {
        let status = content.status.as_ref();
        let snapshot = status
            .and_then(|status| status.snapshot_handle.as_ref())
            .or(content.spec.source.snapshot_handle.as_ref())?;
        Some(Self {
            driver: content.spec.driver.clone(),
            snapshot: snapshot.clone(),
        })
    }

    pub(super) fn id(&self) -> SnapshotId {
        SnapshotId(format!("{}/{}", self.driver, self.snapshot))
    }

    /// Returns the value of [`SNAPSHOT_LABEL`]. Handles are too long for a label, and have other characters.
    pub(super) fn label(&self) -> String {
        let mut hash = names::sha256_hex(self.id().0.as_bytes());
        hash.truncate(MAX_LABEL_VALUE);
        hash
    }
}

/// Returns a snapshot of a claim.
pub(super) fn new_snapshot(
    (namespace, name): (&str, &str),
    labels: &BTreeMap<String, String>,
    class: &str,
    claim: &str,
) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": SNAPSHOT,
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": {
            "volumeSnapshotClassName": class,
            "source": { "persistentVolumeClaimName": claim },
        },
    })
}

/// Returns a snapshot that is bound to a content of the same name.
pub(super) fn bound_snapshot(
    (namespace, name): (&str, &str),
    labels: &BTreeMap<String, String>,
    class: Option<&str>,
) -> Value {
    let mut snapshot = json!({
        "apiVersion": API_VERSION, "kind": SNAPSHOT,
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "source": { "volumeSnapshotContentName": name } },
    });
    if let Some(class) = class {
        snapshot["spec"]["volumeSnapshotClassName"] = class.into();
    }
    snapshot
}

/// A content for a snapshot that is there already.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewContent<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) handle: &'a Handle,
    pub(super) class: Option<&'a str>,
    /// Namespace and name of the VolumeSnapshot that it is for; there may be none.
    pub(super) of: (&'a str, &'a str),
}

impl NewContent<'_> {
    /// Returns the object. Its end does not end the snapshot.
    pub(super) fn object(&self) -> Value {
        let (namespace, name) = self.of;
        let mut content = json!({
            "apiVersion": API_VERSION, "kind": CONTENT,
            "metadata": {
                "name": self.name, "labels": self.labels, "annotations": self.annotations,
            },
            "spec": {
                "deletionPolicy": "Retain",
                "driver": self.handle.driver,
                "source": { "snapshotHandle": self.handle.snapshot },
                "volumeSnapshotRef": {
                    "apiVersion": API_VERSION, "kind": SNAPSHOT, "namespace": namespace, "name": name,
                },
            },
        });
        if let Some(class) = self.class {
            content["spec"]["volumeSnapshotClassName"] = class.into();
        }
        content
    }
}

/// Returns what of a content is ours, to be applied: what it is labelled with, that it is kept, and whether it may
/// vanish.
pub(super) fn kept(name: &str, uid: &str, labels: &BTreeMap<String, String>, held: bool) -> Value {
    let mut content = json!({
        "apiVersion": API_VERSION, "kind": CONTENT,
        // With the UID, so that a content that is gone is not made anew from this.
        "metadata": { "name": name, "uid": uid, "labels": labels },
        "spec": { "deletionPolicy": "Retain" },
    });
    if held {
        content["metadata"]["finalizers"] = json!([KEEP]);
    }
    content
}

/// Returns what of a content is ours when it is to end together with its snapshot, to be applied.
pub(super) fn ending(name: &str, uid: &str, labels: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": CONTENT,
        "metadata": {
            "name": name, "uid": uid, "labels": labels, "finalizers": [PROTECTION],
            "annotations": { BEING_DELETED: "yes" },
        },
        "spec": { "deletionPolicy": "Delete" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (id, expected) in [
            ("d.example.com/h", Some(("d.example.com", "h"))),
            (
                "pd.csi.storage.gke.io/projects/p/global/snapshots/s",
                Some(("pd.csi.storage.gke.io", "projects/p/global/snapshots/s")),
            ),
            ("d.example.com/", None),
            ("/h", None),
            ("snap-1", None),
            ("", None),
        ] {
            let parsed = Handle::parse(&SnapshotId(id.to_owned()));
            match (parsed, expected) {
                (Ok(handle), Some((driver, snapshot))) => {
                    assert_eq!((&*handle.driver, &*handle.snapshot), (driver, snapshot));
                    assert_eq!(handle.id().0, id);
                    assert!(handle.label().len() <= MAX_LABEL_VALUE);
                }
                (Err(error), None) => assert_eq!(error.kind, SnapshotErrorKind::Invalid),
                (parsed, _) => panic!("{id}: {parsed:?}"),
            }
        }
    }
}
