//! How disks are made from snapshots.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::ids::{self, Id, Kind, zone_of};
use super::resources::Resource;
use super::{Disks, tags};
use crate::providers::snapshotter::{
    MakeVolumes, Object, SnapshotError, SnapshotErrorKind, SnapshotState, VolumeId, VolumeRequest,
};
use crate::providers::volumes::usable;

/// What the types end with whose disks are in all zones.
const IN_ALL_ZONES: &str = "_ZRS";

#[async_trait]
impl MakeVolumes for Disks {
    async fn create_volume(&self, request: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError> {
        let snapshot = self.snapshot_of(request.snapshot)?;
        let what = format!("a disk cannot be made from snapshot {snapshot}");
        let failed = |error| self.arm.explain(error, &what);
        let refused = |(kind, why)| SnapshotError::new(kind, format!("{what}: {why}"));
        let found = self.arm.get(&snapshot).await.map_err(failed)?;
        let state = found.as_ref().map(Resource::state);
        usable(state.unwrap_or(SnapshotState::Gone)).map_err(refused)?;
        let body = body(&snapshot, &found.unwrap_or_default(), request)
            .map_err(|why| refused((SnapshotErrorKind::Invalid, why)))?;
        let name = format!("restore-{}", request.token);
        let disk = Id::new(&self.settings.disks, Kind::Disk, name);
        self.arm.put(&disk, &body).await.map_err(failed)?;
        Ok(VolumeId(disk.to_string()))
    }

    async fn set_volume(&self, volume: &mut Object, id: &VolumeId) -> Result<(), SnapshotError> {
        let disk = self.disk_of(id)?;
        // As it stands in the id: names do not mind their case, but comparisons elsewhere may.
        let text = if id.0.contains('/') {
            id.0.clone()
        } else {
            disk.to_string()
        };
        if ids::set(volume, &text, &disk.name) {
            return Ok(());
        }
        Err(SnapshotError::new(
            SnapshotErrorKind::Invalid,
            format!(
                "disk {disk} has no place in the PersistentVolume: it is not a managed disk of Azure"
            ),
        ))
    }
}

/// Returns what is asked for to make a disk.
///
/// # Errors
/// Why it cannot be made there.
fn body(snapshot: &Id, source: &Resource, request: &VolumeRequest<'_>) -> Result<Value, String> {
    let info = request.info;
    let mut body = json!({
        "location": source.location,
        "tags": tags::merged(&[request.tags, &source.tags]),
        "properties": {
            "creationData": {
                "createOption": "Copy",
                "sourceResourceId": snapshot.to_string(),
            },
        },
    });
    if !info.volume_type.is_empty() {
        body["sku"] = json!({ "name": info.volume_type });
    }
    if let Some((region, zone)) = zone_of(&info.zone) {
        if region != source.region() {
            return Err(format!(
                "it is in {}, and only there a disk can be made from it, not in {region}",
                source.location
            ));
        }
        if !info.volume_type.ends_with(IN_ALL_ZONES) {
            body["zones"] = json!([zone]);
        }
    }
    for (name, number) in [
        ("diskIOPSReadWrite", info.iops),
        ("diskMBpsReadWrite", info.throughput),
    ] {
        if let Some(number) = number {
            body["properties"][name] = number.into();
        }
    }
    // What was encrypted with the customer's key stays so.
    let encryption = &source.properties.encryption;
    if !encryption.disk_encryption_set_id.is_empty() {
        body["properties"]["encryption"] = json!({
            "type": encryption.r#type,
            "diskEncryptionSetId": encryption.disk_encryption_set_id,
        });
    }
    Ok(body)
}
