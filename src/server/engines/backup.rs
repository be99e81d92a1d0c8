//! Making backups, and settling what dead runs left.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Actions, HookCounts, HookNotes, Ledger, Location, PartKind, RunActions, RunError, Snapshotters,
    VolumeCounts,
};
use crate::api::error::chain;
use crate::api::{Backup, HookOwed, OperationCounts, Part, Progress, Results, SnapshotNote};
use crate::backup::{BackupError, BackupOptions, BackupRequest, Finished};
use crate::cluster::Cluster;

/// A backup to make.
#[derive(Debug)]
pub(crate) struct BackupRun<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) location: &'a Location,
    pub(crate) backup: Backup,
    pub(crate) attempt: u32,
    pub(crate) holder: &'a str,
    pub(crate) cluster_id: &'a str,
    pub(crate) start: Timestamp,
    pub(crate) ledger: Arc<dyn Ledger<HookOwed>>,
    pub(crate) snapshot_ledger: Arc<dyn Ledger<SnapshotNote>>,
    pub(crate) snapshotters: &'a Snapshotters,
    pub(crate) actions: RunActions,
    pub(crate) earlier_hooks: HookNotes,
}

/// A backup that is stored and waits for its commit.
#[derive(Debug)]
pub(crate) struct StoredBackup {
    finished: Finished,
    snapshotters: Snapshotters,
}

/// How a commit went wrong.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Another record of this name was committed before; a sentence.
    Taken(String),
    /// It failed, or whether it succeeded is not known; a sentence.
    Unknown(String),
}

impl StoredBackup {
    pub(crate) fn parts(&self) -> &[Part] {
        &self.finished.parts
    }

    /// Returns its warnings and errors.
    pub(crate) fn results(&self) -> &Results {
        &self.finished.results
    }

    /// Returns the number of objects in it.
    pub(crate) fn items(&self) -> u64 {
        self.finished.items
    }

    pub(crate) fn hooks(&self) -> HookCounts {
        self.finished.hooks
    }

    pub(crate) fn volumes(&self) -> VolumeCounts {
        self.finished.volumes
    }

    pub(crate) fn operations(&self) -> OperationCounts {
        self.finished.operations
    }

    /// Returns the notes of snapshots that its record will not name.
    pub(crate) fn pending(&self) -> &[SnapshotNote] {
        &self.finished.pending
    }

    /// Stores the log of the run, a gzip file.
    pub(crate) async fn put_log(&mut self, log: Bytes) -> Result<(), String> {
        let part = self
            .finished
            .run
            .put_part(PartKind::Logs, log)
            .await
            .map_err(|error| chain(&error))?;
        self.finished.parts.push(part);
        Ok(())
    }

    /// Returns the size of the contents, in bytes.
    pub(crate) fn contents_size(&self) -> u64 {
        let contents = self
            .parts()
            .iter()
            .find(|part| part.key.ends_with(".tar.zst"));
        contents.map_or(0, |part| part.size)
    }

    /// Makes the backup count.
    pub(crate) async fn commit(&self, record: &Backup) -> Result<(), CommitError> {
        self.finished.run.commit(record).await.map_err(|error| {
            if error.is_name_taken() {
                CommitError::Taken(error.to_string())
            } else {
                CommitError::Unknown(chain(&error))
            }
        })
    }

    /// Removes what was stored and the snapshots, unless it is committed after all.
    pub(crate) async fn discard(self) -> Result<(), String> {
        let discarded = self.finished.discard(&self.snapshotters).await;
        discarded.map_err(|error| chain(&error))
    }
}

/// Makes a backup up to its commit, after removing what dead runs of it left.
pub(crate) async fn backup(
    run: &BackupRun<'_>,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<StoredBackup, RunError> {
    let attempt = tokio::select! {
        attempt = free_attempt(run) => attempt.map_err(RunError::Failed)?,
        () = cancel.cancelled() => return Err(RunError::Cancelled),
    };
    let request = BackupRequest {
        backup: run.backup.clone(),
        attempt,
        holder: run.holder.to_owned(),
        cluster_id: run.cluster_id.to_owned(),
        start: run.start,
        ledger: Arc::clone(&run.ledger),
        snapshotters: run.snapshotters.clone(),
        snapshot_ledger: Arc::clone(&run.snapshot_ledger),
        actions: run.actions.clone(),
        earlier_hooks: run.earlier_hooks.clone(),
    };
    let options = BackupOptions::default();
    let made = crate::backup::run(
        run.cluster,
        &run.location.0,
        &request,
        &options,
        progress,
        cancel,
    )
    .await;
    match made {
        Ok(finished) => Ok(StoredBackup {
            finished,
            snapshotters: run.snapshotters.clone(),
        }),
        Err(BackupError::Refused(problems)) => Err(RunError::Refused(problems)),
        Err(BackupError::Cancelled) => Err(RunError::Cancelled),
        Err(error) => Err(RunError::Failed(chain(&error))),
    }
}

/// Removes the snapshots that a Backup's status notes and no record names; returns the notes of those that could not be
/// removed, each with why.
pub(crate) async fn remove_pending_snapshots(
    snapshotters: &Snapshotters,
    backup: &Backup,
) -> Vec<(SnapshotNote, String)> {
    let notes = backup
        .status
        .as_ref()
        .map(|status| status.snapshots_pending.clone());
    crate::backup::remove_pending(snapshotters, notes.unwrap_or_default()).await
}

/// Cancels the operations that a run which died has begun, as its Backup's status says.
pub(crate) async fn cancel_operations(actions: &Actions, backup: &Backup) {
    for problem in crate::backup::cancel_operations(actions, backup).await {
        tracing::warn!(problem, "an operation goes on, and nobody waits for it");
    }
}

/// Runs the post hooks that a run which died owed, as its Backup's status says.
///
/// # Errors
/// A sentence; nothing is settled then.
pub(crate) async fn run_owed_hooks(
    cluster: &Cluster,
    backup: &Backup,
) -> Result<HookNotes, String> {
    crate::backup::run_owed(cluster, backup)
        .await
        .map_err(|error| chain(&error))
}

/// Clears the way for a run, and returns the number under which it stores its parts: the attempt's, or a higher one if
/// runs of a Backup that had this name before have left theirs.
async fn free_attempt(run: &BackupRun<'_>) -> Result<u32, String> {
    let metadata = &run.backup.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let runs = run
        .location
        .0
        .runs(name)
        .await
        .map_err(|error| chain(&error))?;
    let (ours, others): (Vec<_>, Vec<_>) = runs.iter().partition(|marker| marker.backup_uid == uid);
    if let Err(error) = run.location.discard(name, ours.iter().copied()).await {
        tracing::warn!(
            error,
            "what a dead run left cannot be removed; it does not count"
        );
    }
    Ok(next_attempt(
        run.attempt,
        others.iter().map(|marker| marker.attempt),
    ))
}

fn next_attempt(wanted: u32, taken: impl Iterator<Item = u32>) -> u32 {
    taken
        .map(|attempt| attempt.saturating_add(1))
        .fold(wanted, u32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_others_are_passed_over() {
        for (wanted, taken, expected) in [
            (1, vec![], 1),
            (2, vec![1], 2),
            (1, vec![1, 2], 3),
            (3, vec![1], 3),
        ] {
            assert_eq!(next_attempt(wanted, taken.into_iter()), expected);
        }
    }
}
