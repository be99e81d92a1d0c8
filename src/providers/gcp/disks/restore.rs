//! How disks are made from snapshots.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::ids::{self, Disk, Place, Snapshot};
use super::resources::{SnapshotResource, last};
use super::{Disks, labels, unreadable};
use crate::providers::rest::CallError;
use crate::providers::snapshotter::{
    MakeVolumes, Object, SnapshotError, SnapshotErrorKind, SnapshotState, VolumeId, VolumeRequest,
};
use crate::providers::volumes::{split, usable};

#[async_trait]
impl MakeVolumes for Disks {
    async fn create_volume(&self, request: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError> {
        let snapshot = self.snapshot_of(request.snapshot).await?;
        let what = format!("a disk cannot be made from snapshot {snapshot}");
        let failed = |error| self.compute.explain(error, &what);
        let refused = |(kind, why)| SnapshotError::new(kind, format!("{what}: {why}"));
        let place = Place::of_text(&request.info.zone).ok_or_else(|| {
            let why = "it is not said in which zone; give the PersistentVolume the label topology.kubernetes.io/zone";
            refused((SnapshotErrorKind::Invalid, why.to_owned()))
        })?;
        let found = self.compute.snapshot(&snapshot).await.map_err(failed)?;
        let state = found.as_ref().map(SnapshotResource::state);
        usable(state.unwrap_or(SnapshotState::Gone)).map_err(refused)?;
        let source = found.unwrap_or_default();
        let disk = Disk {
            project: self.disks_project().await?.to_owned(),
            place,
            name: format!("restore-{}", request.token),
        };
        let body = body(&disk, &snapshot, &source, request);
        self.make(&disk, &snapshot, &body).await.map_err(failed)?;
        Ok(VolumeId(disk.to_string()))
    }

    async fn set_volume(&self, volume: &mut Object, id: &VolumeId) -> Result<(), SnapshotError> {
        let disk = Disk::parse(&id.0).ok_or_else(|| unreadable("disk", &id.0))?;
        let ours = self.disks_project().await?;
        if ids::set(volume, &disk, ours) {
            return Ok(());
        }
        Err(SnapshotError::new(
            SnapshotErrorKind::Invalid,
            format!(
                "disk {disk} has no place in the PersistentVolume: it is not one of Compute Engine's"
            ),
        ))
    }
}

impl Disks {
    /// Begins to make a disk unless it is there, and waits for it.
    async fn make(&self, disk: &Disk, snapshot: &Snapshot, body: &Value) -> Result<(), CallError> {
        let begun = self
            .compute
            .insert_disk(&disk.project, &disk.place, body)
            .await;
        match begun {
            Ok(operation) => {
                self.compute
                    .finish(&operation, &disk.project, &disk.place.to_string())
                    .await
            }
            Err(error) if error.is_conflict() => self.found(disk, snapshot, error).await,
            Err(error) => Err(error),
        }
    }

    /// Waits for a disk that is there already, if it is from this snapshot.
    async fn found(
        &self,
        disk: &Disk,
        snapshot: &Snapshot,
        conflict: CallError,
    ) -> Result<(), CallError> {
        let mut patience = self.compute.patience();
        loop {
            let found = match self.compute.disk(disk).await {
                Err(error) if error.is_missing() => return Err(conflict),
                found => found?,
            };
            if Snapshot::parse(&found.source_snapshot).as_ref() != Some(snapshot) {
                return Err(conflict);
            }
            match found.status.as_str() {
                "READY" | "RESTORING" => return Ok(()),
                "CREATING" => {}
                other => return Err(CallError::Odd(format!("{disk} is {other}"))),
            }
            if !patience.wait().await {
                return Err(CallError::Unfinished);
            }
        }
    }
}

/// Returns what is asked for to make a disk.
fn body(
    disk: &Disk,
    snapshot: &Snapshot,
    source: &SnapshotResource,
    request: &VolumeRequest<'_>,
) -> Value {
    let project = &disk.project;
    let mut body = json!({
        "name": disk.name,
        "sourceSnapshot": snapshot.to_string(),
        "description": labels::description(request.tags, &source.description),
        "labels": labels::labels(request.tags, &source.labels),
    });
    // The original's type is a URL with its zone.
    let kind = last(&request.info.volume_type);
    if !kind.is_empty() {
        body["type"] = format!("projects/{project}/{}/diskTypes/{kind}", disk.place).into();
    }
    if let Place::Region(_) = disk.place {
        body["replicaZones"] = split(&request.info.zone)
            .iter()
            .map(|zone| Value::from(format!("projects/{project}/zones/{zone}")))
            .collect();
    }
    for (name, number) in [
        ("provisionedIops", request.info.iops),
        ("provisionedThroughput", request.info.throughput),
    ] {
        if let Some(number) = number {
            body[name] = number.to_string().into();
        }
    }
    // What was encrypted with the customer's key stays so.
    let key = &source.snapshot_encryption_key.kms_key_name;
    let key = key.split("/cryptoKeyVersions/").next().unwrap_or_default();
    if !key.is_empty() {
        body["diskEncryptionKey"] = json!({ "kmsKeyName": key });
    }
    body
}
