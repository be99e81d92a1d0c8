//! Whole backups and restores in tests: what to ask for, how they ended, what they recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use anyhow::Result;
use ark::api::{
    Backup, BackupPhase, BackupSpec, Restore, RestorePhase, RestoreSpec, VolumeSnapshot,
    VolumeSnapshotPhase,
};
use flate2::read::GzDecoder;

use super::ark::Installation;
use super::namespace::TestNamespace;

/// Returns the spec of a backup of everything in a namespace.
pub fn all_of(namespace: &TestNamespace) -> BackupSpec {
    BackupSpec {
        included_namespaces: vec![namespace.name().to_owned()],
        ..BackupSpec::default()
    }
}

/// Returns the spec of a restore of what was in a namespace, under another name.
pub fn moved(backup: &str, namespace: &TestNamespace, target: &str) -> RestoreSpec {
    RestoreSpec {
        backup_name: backup.to_owned(),
        namespace_mapping: [(namespace.name().to_owned(), target.to_owned())].into(),
        ..RestoreSpec::default()
    }
}

/// Fails unless a backup completed without warnings and errors.
#[track_caller]
pub fn assert_clean_backup(backup: &Backup) {
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:?}");
    assert_eq!(
        (status.warnings, status.errors),
        (Some(0), Some(0)),
        "{status:?}"
    );
}

/// Fails unless a restore completed without warnings and errors.
#[track_caller]
pub fn assert_clean_restore(restore: &Restore) {
    let status = restore.status.clone().unwrap_or_default();
    assert_eq!(status.phase, RestorePhase::Completed, "{status:?}");
    assert_eq!((status.warnings, status.errors), (0, 0), "{status:?}");
}

/// Returns what a backup says of its volumes, by their names.
pub fn recorded(
    ark: &Installation<'_>,
    backup: &Backup,
) -> Result<BTreeMap<String, VolumeSnapshot>> {
    let status = backup.status.clone().unwrap_or_default();
    let part = status
        .parts
        .into_iter()
        .find(|part| part.key.ends_with("-volumesnapshots.json.gz"));
    let Some(part) = part else {
        return Ok(BTreeMap::new());
    };
    let file = File::open(ark.bucket().join(part.key))?;
    let volumes: Vec<VolumeSnapshot> = serde_json::from_reader(GzDecoder::new(file))?;
    Ok(volumes
        .into_iter()
        .map(|volume| (volume.spec.persistent_volume_name.clone(), volume))
        .collect())
}

/// Returns the snapshots that a backup recorded.
pub fn recorded_snapshots(ark: &Installation<'_>, backup: &Backup) -> Result<BTreeSet<String>> {
    let volumes = recorded(ark, backup)?.into_values();
    Ok(volumes
        .filter(|volume| volume.status.phase == VolumeSnapshotPhase::Completed)
        .map(|volume| volume.status.provider_snapshot_id)
        .collect())
}
