//! Snapshots of Azure's managed disks: Azure Resource Manager asked by hand, with the tokens of the store's folder.
//!
//! Ids are those of Azure Resource Manager, which say subscription and group; a snapshot's bare name, as Ark wrote it
//! before 0.8.1, is looked for in the location's group. What is made is named after the token it is asked for under, so
//! that it is made once.

mod api;
mod errors;
mod ids;
mod resources;
mod restore;
mod settings;
mod tags;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use self::api::Arm;
use self::ids::{Id, Kind};
use self::resources::Resource;
use self::settings::DiskSettings;
use super::entra::Tokens;
use super::transport;
use super::variables::Variables;
use crate::api::VolumeProviderConfig;
use crate::providers::environment::Environment;
use crate::providers::rest::{CallError, Refusal};
use crate::providers::snapshotter::{
    Fit, Restores, SnapshotCapabilities, SnapshotError, SnapshotErrorKind, SnapshotId,
    SnapshotRequest, SnapshotState, Volume, VolumeHandle, VolumeId, VolumeInfo, VolumeSnapshotter,
    tags as names,
};
use crate::providers::volumes::snapshot_name;

/// The longest name that something can have.
const LONGEST_NAME: usize = 80;
/// How many snapshots are looked at at once.
const LOOKS: usize = 8;

/// Opens the snapshotter of a location.
pub(in crate::providers) async fn open(
    config: &VolumeProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let denied = |problem| SnapshotError::new(SnapshotErrorKind::Denied, problem);
    let variables = Variables::of(environment).await.map_err(denied)?;
    let settings = DiskSettings::parse(config, &variables)?;
    let http = transport::client(settings.ca_cert.as_deref(), "config")?;
    let tokens = Tokens::new(http.clone(), &variables, &settings.authority, &[]);
    let arm = Arm::new(&settings, tokens.map_err(denied)?, http);
    Ok(Arc::new(Disks { arm, settings }))
}

/// Azure's managed disks.
#[derive(Debug)]
struct Disks {
    arm: Arm,
    settings: DiskSettings,
}

impl Disks {
    /// Returns the disk that an id means.
    fn disk_of(&self, id: &VolumeId) -> Result<Id, SnapshotError> {
        Id::parse_or_name(&id.0, Kind::Disk, &self.settings.disks)
            .ok_or_else(|| unreadable("disk", &id.0))
    }

    /// Returns the snapshot that an id means.
    fn snapshot_of(&self, id: &SnapshotId) -> Result<Id, SnapshotError> {
        Id::parse_or_name(&id.0, Kind::Snapshot, &self.settings.snapshots)
            .ok_or_else(|| unreadable("snapshot", &id.0))
    }

    /// Looks at a disk that has to be there.
    async fn disk(&self, disk: &Id) -> Result<Resource, CallError> {
        let found = self.arm.get(disk).await?;
        // Its group may be gone with it.
        found.ok_or_else(|| {
            CallError::Refused(Refusal {
                status: 404,
                code: "ResourceNotFound".to_owned(),
                ..Refusal::default()
            })
        })
    }

    /// Makes a snapshot unless it is there, and waits for it.
    async fn make_snapshot(
        &self,
        disk: &Id,
        snapshot: &Id,
        request: &SnapshotRequest<'_>,
    ) -> Result<(), CallError> {
        // The disk may be gone since.
        if let Some(found) = self.arm.get(snapshot).await? {
            let source = &found.properties.creation_data.source_resource_id;
            if Id::parse(source, Kind::Disk).as_ref() != Some(disk) {
                return Err(CallError::Odd(format!(
                    "{snapshot} is there already, of {source}"
                )));
            }
            if found.outcome().map_err(CallError::Refused)? {
                return Ok(());
            }
            return self.arm.finish(snapshot).await;
        }
        let source = self.disk(disk).await?;
        let body = self.body(disk, &source, request);
        self.arm.put(snapshot, &body).await
    }

    /// Returns what is asked for to make a snapshot.
    fn body(&self, disk: &Id, source: &Resource, request: &SnapshotRequest<'_>) -> Value {
        json!({
            "location": source.location,
            "tags": tags::merged(&[request.tags, &self.settings.tags, &source.tags]),
            "properties": {
                "creationData": {
                    "createOption": "Copy",
                    "sourceResourceId": disk.to_string(),
                },
                "incremental": self.settings.incremental || source.is_provisioned(),
            },
        })
    }

    async fn state(&self, id: &SnapshotId) -> Result<SnapshotState, SnapshotError> {
        let snapshot = self.snapshot_of(id)?;
        let found = self.arm.get(&snapshot).await.map_err(|error| {
            self.arm
                .explain(error, &format!("snapshot {snapshot} cannot be looked at"))
        })?;
        Ok(found.map_or(SnapshotState::Gone, |found| found.state()))
    }

    async fn list(&self, all: bool) -> Result<Vec<Resource>, SnapshotError> {
        let group = &self.settings.snapshots;
        self.arm.snapshots(group, all).await.map_err(|error| {
            let what = format!(
                "the snapshots of resource group {} in subscription {} cannot be listed",
                group.name, group.subscription
            );
            self.arm.explain(error, &what)
        })
    }
}

#[async_trait]
impl VolumeSnapshotter for Disks {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities {
            find: true,
            states: true,
            ready_within: None,
        }
    }

    async fn check(&self) -> Result<(), SnapshotError> {
        self.list(false).await.map(drop)
    }

    async fn fits(&self, volume: Volume<'_>) -> Result<Fit, SnapshotError> {
        Ok(match ids::of_volume(volume.volume, &self.settings.disks) {
            Ok(said) => Fit::Volume(VolumeHandle {
                id: VolumeId(said.id),
                zone: said.zone,
            }),
            Err(why) => Fit::No(why),
        })
    }

    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        let disk = self.disk_of(&volume.id)?;
        let found = self.disk(&disk).await.map_err(|error| {
            self.arm
                .explain(error, &format!("disk {disk} cannot be looked at"))
        })?;
        Ok(found.info())
    }

    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError> {
        let disk = self.disk_of(&request.handle.id)?;
        let name = snapshot_name(&disk.name, request.token, LONGEST_NAME);
        let snapshot = Id::new(&self.settings.snapshots, Kind::Snapshot, name);
        self.make_snapshot(&disk, &snapshot, request)
            .await
            .map_err(|error| {
                self.arm
                    .explain(error, &format!("disk {disk} cannot be snapshot"))
            })?;
        Ok(SnapshotId(snapshot.to_string()))
    }

    async fn find_snapshots(&self, token: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        let found = self.list(true).await?;
        Ok(found
            .into_iter()
            .filter(|found| tags::has(&found.tags, names::TOKEN, token))
            .filter(|found| found.state() != SnapshotState::Gone)
            .map(|found| Id::new(&self.settings.snapshots, Kind::Snapshot, found.name))
            .map(|snapshot| SnapshotId(snapshot.to_string()))
            .collect())
    }

    async fn snapshot_states(
        &self,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError> {
        stream::iter(snapshots.to_vec())
            .map(|id| async move { self.state(&id).await })
            .buffered(LOOKS)
            .try_collect()
            .await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError> {
        let snapshot = self.snapshot_of(snapshot)?;
        self.arm.delete(&snapshot).await.map_err(|error| {
            self.arm
                .explain(error, &format!("snapshot {snapshot} cannot be removed"))
        })
    }

    fn restores(&self) -> Restores<'_> {
        Restores::Volumes(self)
    }
}

/// Makes the error for an id that is none of ours.
fn unreadable(what: &str, id: &str) -> SnapshotError {
    SnapshotError::new(
        SnapshotErrorKind::Invalid,
        format!("{id:?} is not the id of a managed {what} of Azure"),
    )
}
