//! Asks for a snapshot, and finds out what became of one whose answer got lost.
//!
//! A snapshot is noted in the ledger before it is asked for, and stays there until the backup is recorded or the snapshot
//! is removed. So none is ever made that nobody knows of.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::take::{Origin, Started, Work};
use crate::api::error::chain;
use crate::api::{SnapshotNote, VolumeSnapshotSpec, names};
use crate::providers::snapshotter::{
    SnapshotError, SnapshotErrorKind, SnapshotId, SnapshotRequest, Volume, VolumeHandle,
    VolumeInfo, VolumeSnapshotter, tags,
};

/// The most snapshots of one backup: each is noted in the Backup's status, which has to stay below the API server's
/// limit of some 1.5 MB.
const MOST: usize = 4000;
/// Digits of a token.
const TOKEN_DIGITS: usize = 32;

impl Work {
    /// Has a location snapshot a volume; completes its spec on the way.
    pub(super) async fn snapshot(
        &self,
        spec: &mut VolumeSnapshotSpec,
        volume: Volume<'_>,
        place: usize,
        handle: &VolumeHandle,
    ) -> Result<SnapshotId, String> {
        let location = &self.locations[place];
        let snapshotter = location.snapshotter.as_ref().map_err(Clone::clone)?;
        let name = spec.persistent_volume_name.clone();
        spec.location.clone_from(&location.name);
        spec.provider.clone_from(&location.provider);
        spec.provider_volume_id.clone_from(&handle.id.0);
        let info = snapshotter.info(handle).await;
        let info = info.map_err(|error| chain(&error))?;
        describe(spec, handle, &info);
        if self.account.entries().len() >= MOST {
            return Err(format!(
                "a backup has at most {MOST} snapshots; make several backups of fewer namespaces"
            ));
        }
        let note = SnapshotNote {
            token: self.token(&name),
            persistent_volume: name.clone(),
            location: location.name.clone(),
            provider: location.provider.clone(),
            snapshot_id: String::new(),
        };
        spec.token.clone_from(&note.token);
        let noted = self.account.owe(&note).await;
        noted.map_err(|error| format!("it could not be noted in the Backup's status: {error}"))?;
        let tags = self.tags(&note);
        let request = SnapshotRequest {
            volume,
            handle,
            token: &note.token,
            tags: &tags,
            annotations: &self.backup.annotations,
        };
        let asked = snapshotter.create_snapshot(&request).await;
        let snapshot = match asked {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.settle_refusal(snapshotter.as_ref(), &note, error)
                    .await?
            }
        };
        tracing::info!(
            volume = name,
            %snapshot,
            location = location.name,
            provider = location.provider,
            "a snapshot is begun"
        );
        let known = SnapshotNote {
            snapshot_id: snapshot.0.clone(),
            ..note.clone()
        };
        if let Err(error) = self.account.replace(&note, &known).await {
            // Its token still tells.
            tracing::warn!(error, "the snapshot's id could not be noted");
        }
        self.state().started.push(Started {
            volume: name,
            location: place,
            snapshot: snapshot.clone(),
            note: known,
            at: Instant::now(),
        });
        Ok(snapshot)
    }

    /// Finds out what became of a snapshot that was asked for in vain: the answer may have got lost.
    async fn settle_refusal(
        &self,
        snapshotter: &dyn VolumeSnapshotter,
        note: &SnapshotNote,
        error: SnapshotError,
    ) -> Result<SnapshotId, String> {
        let unclear = matches!(
            error.kind,
            SnapshotErrorKind::Unreachable | SnapshotErrorKind::Other
        );
        if unclear && snapshotter.capabilities().find {
            match snapshotter.find_snapshots(&note.token).await {
                Ok(found) => {
                    if let Some(snapshot) = found.into_iter().next() {
                        return Ok(snapshot);
                    }
                }
                // It stays noted: whoever comes next finds out.
                Err(_) => return Err(chain(&error)),
            }
        } else if unclear {
            return Err(chain(&error));
        }
        if let Err(problem) = self.account.paid(std::slice::from_ref(note)).await {
            tracing::warn!(problem, "it could not be noted that there is no snapshot");
        }
        Err(chain(&error))
    }

    /// Returns the token of a volume's snapshot: another one for each attempt.
    fn token(&self, volume: &str) -> String {
        let Origin { uid, attempt, .. } = &self.backup;
        let mut token = names::sha256_hex(format!("{uid}/{attempt}/{volume}").as_bytes());
        token.truncate(TOKEN_DIGITS);
        token
    }

    fn tags(&self, note: &SnapshotNote) -> BTreeMap<String, String> {
        [
            (tags::BACKUP, &self.backup.name),
            (tags::VOLUME, &note.persistent_volume),
            (tags::CLUSTER, &self.backup.cluster_id),
            (tags::TOKEN, &note.token),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
    }
}

/// Notes what a volume is like.
fn describe(spec: &mut VolumeSnapshotSpec, handle: &VolumeHandle, info: &VolumeInfo) {
    spec.volume_type.clone_from(&info.volume_type);
    spec.volume_iops = info.iops;
    spec.volume_throughput = info.throughput;
    let zone = if info.zone.is_empty() {
        &handle.zone
    } else {
        &info.zone
    };
    spec.volume_az.clone_from(zone);
}
