//! How snapshots are made, looked at and removed.

use serde_json::json;

use super::ids::{Disk, Snapshot};
use super::resources::Operation;
use super::{Disks, labels};
use crate::providers::rest::CallError;
use crate::providers::snapshotter::{SnapshotError, SnapshotId, SnapshotRequest, SnapshotState};

impl Disks {
    /// Begins a snapshot unless it is there; returns what was begun.
    pub(super) async fn begin_snapshot(
        &self,
        disk: &Disk,
        snapshot: &Snapshot,
        request: &SnapshotRequest<'_>,
    ) -> Result<Option<Operation>, CallError> {
        // The disk may be gone since.
        if self.is_there(snapshot, disk).await? {
            return Ok(None);
        }
        let source = self.compute.disk(disk).await?;
        let mut body = json!({
            "name": snapshot.name,
            "sourceDisk": disk.to_string(),
            "description": labels::description(request.tags, &source.description),
            "labels": labels::labels(request.tags, &source.labels),
        });
        if let Some(location) = &self.settings.location {
            body["storageLocations"] = json!([location]);
        }
        if let Some(kind) = &self.settings.snapshot_type {
            body["snapshotType"] = kind.as_str().into();
        }
        match self.compute.insert_snapshot(&snapshot.project, &body).await {
            Ok(operation) => Ok(Some(operation)),
            // An answer that got lost, or somebody who was faster.
            Err(error) if error.is_conflict() && self.is_there(snapshot, disk).await? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a snapshot of this disk is there.
    async fn is_there(&self, snapshot: &Snapshot, disk: &Disk) -> Result<bool, CallError> {
        let Some(found) = self.compute.snapshot(snapshot).await? else {
            return Ok(false);
        };
        // The project may be named by its number here and by its name there.
        let source = Disk::parse(&found.source_disk);
        if source.is_some_and(|source| source.place == disk.place && source.name == disk.name) {
            return Ok(true);
        }
        Err(CallError::Odd(format!(
            "{snapshot} is there already, of {}",
            found.source_disk
        )))
    }

    /// Waits until the disk may change again: from then on the snapshot's data only travels.
    pub(super) async fn cut(
        &self,
        snapshot: &Snapshot,
        operation: Option<&Operation>,
    ) -> Result<(), CallError> {
        let mut patience = self.compute.patience();
        loop {
            let found = self.compute.snapshot(snapshot).await?;
            let status = found.as_ref().map(|found| found.status.as_str());
            match status {
                Some("UPLOADING" | "READY") => return Ok(()),
                Some("CREATING") => {}
                // Why it is not there, or not whole, the operation knows.
                Some("FAILED") | None => {
                    let over = match operation {
                        Some(operation) => {
                            let project = &snapshot.project;
                            self.compute
                                .is_through(operation, project, "global")
                                .await?
                        }
                        None => true,
                    };
                    if over {
                        let what = status.unwrap_or("not there");
                        return Err(CallError::Odd(format!("{snapshot} is {what}")));
                    }
                }
                Some(other) => return Err(CallError::Odd(format!("{snapshot} is {other}"))),
            }
            if !patience.wait().await {
                return Err(CallError::Unfinished);
            }
        }
    }

    pub(super) async fn state(&self, id: &SnapshotId) -> Result<SnapshotState, SnapshotError> {
        let snapshot = self.snapshot_of(id).await?;
        let found = self.compute.snapshot(&snapshot).await.map_err(|error| {
            self.compute
                .explain(error, &format!("snapshot {snapshot} cannot be looked at"))
        })?;
        Ok(found.map_or(SnapshotState::Gone, |found| found.state()))
    }

    /// Removes a snapshot and waits until it is gone; one that is not there is fine.
    pub(super) async fn remove(&self, snapshot: &Snapshot) -> Result<(), CallError> {
        let removed = match self.compute.delete_snapshot(snapshot).await {
            Ok(operation) => {
                self.compute
                    .finish(&operation, &snapshot.project, "global")
                    .await
            }
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.is_missing() => Ok(()),
            Err(CallError::Refused(refusal)) if matches!(refusal.status, 400 | 409) => {
                // Somebody else may be at it.
                match self.compute.snapshot(snapshot).await? {
                    Some(found) if found.status != "DELETING" => Err(CallError::Refused(refusal)),
                    _ => Ok(()),
                }
            }
            removed => removed,
        }
    }
}
