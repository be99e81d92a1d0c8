//! Removes snapshots: those of a backup that is deleted, and those that were asked for and that no record names.

use futures::{StreamExt as _, stream};

use crate::api::error::chain;
use crate::api::{SnapshotNote, VolumeSnapshot};
use crate::providers::snapshotter::{SnapshotId, VolumeSnapshotter};
use crate::providers::snapshotters::Snapshotters;

/// Snapshots that are removed at the same time.
const REMOVALS: usize = 8;

/// Removes the snapshots that notes tell of; returns the notes of those that could not be removed, each with the reason,
/// a sentence.
///
/// A snapshot that was never made, or that is gone already, is fine.
pub async fn remove_pending(
    snapshotters: &Snapshotters,
    notes: Vec<SnapshotNote>,
) -> Vec<(SnapshotNote, String)> {
    let mut removals = stream::iter(notes)
        .map(async |note| {
            let removed = remove_noted(snapshotters, &note).await;
            (note, removed)
        })
        .buffered(REMOVALS);
    let mut left = Vec::new();
    while let Some((note, removed)) = removals.next().await {
        if let Err(why) = removed {
            let of = &note.persistent_volume;
            let snapshot = match &*note.snapshot_id {
                "" => format!("a snapshot of persistent volume {of}"),
                id => format!("snapshot {id} of persistent volume {of}"),
            };
            let problem = format!(
                "{snapshot}, asked for under token {}, could not be removed: {why}",
                note.token
            );
            left.push((note, problem));
        }
    }
    left
}

async fn remove_noted(snapshotters: &Snapshotters, note: &SnapshotNote) -> Result<(), String> {
    let location = snapshotters.find(&note.location, &note.provider)?;
    let snapshotter = location.snapshotter.as_ref().map_err(Clone::clone)?;
    let mut snapshots = Vec::new();
    if snapshotter.capabilities().find {
        let found = snapshotter.find_snapshots(&note.token).await;
        snapshots = found.map_err(|error| chain(&error))?;
    } else if note.snapshot_id.is_empty() {
        return Err(format!(
            "whether it was made is not known, and {} cannot look for it; look yourself for a snapshot with this token \
             in its tags",
            note.provider
        ));
    }
    let known = SnapshotId(note.snapshot_id.clone());
    if !known.0.is_empty() && !snapshots.contains(&known) {
        snapshots.push(known);
    }
    for snapshot in snapshots {
        remove_one(snapshotter.as_ref(), &snapshot).await?;
        tracing::info!(
            %snapshot,
            volume = note.persistent_volume,
            "a snapshot that no record names is removed"
        );
    }
    Ok(())
}

/// Removes the snapshots that a record names; returns what could not be removed, a sentence each.
pub async fn remove_recorded(
    snapshotters: &Snapshotters,
    volumes: Vec<VolumeSnapshot>,
) -> Vec<String> {
    let with_snapshot = volumes
        .into_iter()
        .filter(|volume| !volume.status.provider_snapshot_id.is_empty());
    stream::iter(with_snapshot)
        .map(async |VolumeSnapshot { spec, status }| {
            let snapshot = SnapshotId(status.provider_snapshot_id);
            let removed = async {
                let location = snapshotters.find(&spec.location, &spec.provider)?;
                let snapshotter = location.snapshotter.as_ref().map_err(Clone::clone)?;
                remove_one(snapshotter.as_ref(), &snapshot).await
            };
            removed.await.err().map(|why| {
                format!(
                    "snapshot {snapshot} of persistent volume {} could not be removed: {why}",
                    spec.persistent_volume_name
                )
            })
        })
        .buffered(REMOVALS)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn remove_one(
    snapshotter: &dyn VolumeSnapshotter,
    snapshot: &SnapshotId,
) -> Result<(), String> {
    let removed = snapshotter.delete_snapshot(snapshot).await;
    removed.map_err(|error| chain(&error))
}
