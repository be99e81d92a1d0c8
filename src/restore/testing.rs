//! Entries, types and snapshotters for the tests of this room.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::api::object::Object;
use crate::archive::{BodyKind, IndexEntry, TypeKey};
use crate::cluster::ApiType;
use crate::providers::snapshotter::{
    DataSource, FillClaims, Fit, MakeVolumes, Restores, SnapshotCapabilities, SnapshotError,
    SnapshotErrorKind, SnapshotId, SnapshotRequest, SnapshotState, SourceRequest, Volume,
    VolumeHandle, VolumeId, VolumeInfo, VolumeRequest, VolumeSnapshotter,
};
use crate::providers::snapshotters::SnapshotLocation;

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
        outdated: false,
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

/// A snapshotter that only says how it would bring data back.
#[derive(Debug)]
pub(super) struct Snapshots {
    pub(super) fills: bool,
}

pub(super) fn snapshot_location(
    name: &str,
    provider: &str,
    snapshotter: Arc<Snapshots>,
) -> SnapshotLocation {
    SnapshotLocation {
        name: name.into(),
        provider: provider.into(),
        snapshotter: Ok(snapshotter),
    }
}

fn no<T>() -> Result<T, SnapshotError> {
    Err(SnapshotError::new(SnapshotErrorKind::NotSupported, "no"))
}

#[async_trait]
impl VolumeSnapshotter for Snapshots {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities::default()
    }

    async fn check(&self) -> Result<(), SnapshotError> {
        no()
    }

    async fn fits(&self, _: Volume<'_>) -> Result<Fit, SnapshotError> {
        no()
    }

    async fn info(&self, _: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        no()
    }

    async fn create_snapshot(&self, _: &SnapshotRequest<'_>) -> Result<SnapshotId, SnapshotError> {
        no()
    }

    async fn find_snapshots(&self, _: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        no()
    }

    async fn snapshot_states(&self, _: &[SnapshotId]) -> Result<Vec<SnapshotState>, SnapshotError> {
        no()
    }

    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), SnapshotError> {
        no()
    }

    fn restores(&self) -> Restores<'_> {
        if self.fills {
            Restores::Claims(self)
        } else {
            Restores::Volumes(self)
        }
    }
}

#[async_trait]
impl MakeVolumes for Snapshots {
    async fn create_volume(&self, _: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError> {
        no()
    }

    async fn set_volume(&self, _: &mut Object, _: &VolumeId) -> Result<(), SnapshotError> {
        no()
    }
}

#[async_trait]
impl FillClaims for Snapshots {
    async fn offer(&self, _: &SourceRequest<'_>) -> Result<DataSource, SnapshotError> {
        no()
    }

    async fn withdraw(&self, _: &SourceRequest<'_>) -> Result<(), SnapshotError> {
        no()
    }
}
