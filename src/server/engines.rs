//! The controllers' way to the engines and to the location: everything that they ask of other rooms stands here, in
//! the controllers' words.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::error::chain;
use crate::api::{
    Backup, CSI_PROVIDER, HookOwed, OperationCounts, Part, Progress, Restore, RestoreCounts,
    Results, SnapshotNote, StorageProviderConfig, VolumeProviderConfig,
};
use crate::backup::{BackupError, BackupOptions, BackupRequest, Finished};
pub(crate) use crate::backup::{HookCounts, HookNotes, VolumeCounts};
use crate::cluster::Cluster;
pub(crate) use crate::providers::actions::{Actions, RunActions, Stage};
pub(crate) use crate::providers::ledger::Ledger;
use crate::providers::snapshotter::VolumeSnapshotter;
use crate::providers::snapshotters::SnapshotLocation;
pub(crate) use crate::providers::snapshotters::Snapshotters;
use crate::providers::store::ErrorKind;
use crate::providers::{Environment, registry};
use crate::restore::{RestoreError, RestoreOptions, RestoreRequest};
use crate::storage::{Deletion, Owner, Refusal, RestoreKeys, RunMarker, StorageError};

pub(crate) use crate::providers::store::{ByteStream, Lock};
pub(crate) use crate::storage::{Leftover, PartKind};

/// A place where backups are kept, open for use.
#[derive(Clone, Debug)]
pub(crate) struct Location(crate::storage::Location);

/// A stored backup.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The Backup as it was committed.
    pub(crate) backup: Backup,
    /// Whether another program made it: one of an earlier Ark, say.
    pub(crate) foreign: bool,
    /// Where its parts are. A foreign one does not say which parts it has: these are where they are if they are.
    pub(crate) files: BTreeMap<PartKind, StoredFile>,
}

/// One object of a location.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredFile {
    pub(crate) key: String,
    /// Its size in bytes, if that is known.
    pub(crate) size: Option<u64>,
}

/// The files of a restore.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RestoreFile {
    /// The run's log.
    Log,
    /// Warnings and errors.
    Results,
    /// What a dry run would do.
    Plan,
}

/// Why a record could not be had; a sentence each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unread {
    /// What is stored is no record of a backup of this name. It stays so until somebody changes it.
    Broken(String),
    /// The store did not give it.
    NotGiven(String),
}

/// Why a run did not succeed.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The request cannot be met as it is; nothing was done.
    Refused(Vec<String>),
    /// The run failed; why, in a sentence.
    Failed(String),
    /// It was asked to end.
    Cancelled,
}

/// How the removal of stored data went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    /// Nothing of the owner's is left.
    Done,
    /// What is stored under the name is not the owner's, and stays.
    NotOurs,
}

/// Opens a location, and checks that it can be used.
///
/// # Errors
/// A sentence for whoever described the location.
pub(crate) async fn open(
    config: &StorageProviderConfig,
    prefix: &str,
    environment: &Environment,
) -> Result<Location, String> {
    let store = registry::open_for(config, prefix, environment)
        .await
        .map_err(|error| unusable(error.kind, chain(&error)))?;
    let location = crate::storage::Location::new(store, Some(prefix));
    match location.check().await {
        Ok(()) => Ok(Location(location)),
        Err(error) => Err(unusable(
            error.store_kind().unwrap_or(ErrorKind::Other),
            chain(&error),
        )),
    }
}

/// What snapshots volumes.
#[derive(Clone, Debug)]
pub(crate) struct Snapshotter(Arc<dyn VolumeSnapshotter>);

/// Opens a snapshotter; whether its provider answers is not looked at.
///
/// # Errors
/// A sentence for whoever described the location.
pub(crate) async fn open_snapshotter(
    config: &VolumeProviderConfig,
    environment: &Environment,
    cluster: &Cluster,
) -> Result<Snapshotter, String> {
    if config.name == CSI_PROVIDER {
        return open_csi(config, cluster);
    }
    let opened = registry::open_snapshotter(config, environment).await;
    opened.map(Snapshotter).map_err(|error| chain(&error))
}

/// Opens the snapshotter of the cluster's CSI drivers, whose classes it reads once: it is for one run.
fn open_csi(config: &VolumeProviderConfig, cluster: &Cluster) -> Result<Snapshotter, String> {
    let opened = registry::open_csi(cluster.client(), config);
    opened.map(Snapshotter).map_err(|error| chain(&error))
}

impl Snapshotter {
    /// Returns why the provider cannot be used, in a sentence.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| chain(&error))
    }
}

/// Returns the snapshotters of one run: those of locations, each with its settings, and what the cluster's CSI drivers do
/// without one. `timeout` is how long these may take, where the run says so.
pub(crate) fn snapshotters(
    locations: impl Iterator<Item = (String, VolumeProviderConfig, Result<Snapshotter, String>)>,
    cluster: &Cluster,
    timeout: Option<&str>,
) -> Snapshotters {
    let csi = registry::SNAPSHOTTERS.contains(&CSI_PROVIDER);
    let implicit = csi.then(|| {
        let config = VolumeProviderConfig {
            name: CSI_PROVIDER.to_owned(),
            ..VolumeProviderConfig::default()
        };
        (String::new(), config, None)
    });
    let locations = locations
        .map(|(name, config, snapshotter)| (name, config, Some(snapshotter)))
        .chain(implicit);
    let locations = locations.map(|(name, mut config, snapshotter)| {
        let snapshotter = match snapshotter {
            Some(Err(problem)) => Err(problem),
            Some(Ok(opened)) if config.name != CSI_PROVIDER => Ok(opened),
            Some(Ok(_)) | None => {
                if let Some(timeout) = timeout {
                    let key = registry::CSI_TIMEOUT.to_owned();
                    config.config.insert(key, timeout.to_owned());
                }
                open_csi(&config, cluster)
            }
        };
        SnapshotLocation {
            name,
            provider: config.name,
            snapshotter: snapshotter.map(|snapshotter| snapshotter.0),
        }
    });
    Snapshotters::new(locations.collect())
}

/// Says why a location cannot be used, in the words of whoever set it up.
fn unusable(kind: ErrorKind, reason: String) -> String {
    match kind {
        ErrorKind::Denied => format!("the store does not accept the credentials: {reason}"),
        ErrorKind::NotFound
        | ErrorKind::NoBucket
        | ErrorKind::AlreadyExists
        | ErrorKind::Unreachable
        | ErrorKind::NotSupported
        | ErrorKind::Invalid
        | ErrorKind::Other => reason,
    }
}

impl Location {
    /// Reads the record of a backup; `None` if there is no committed one.
    pub(crate) async fn record(&self, backup: &str) -> Result<Option<Record>, String> {
        self.try_record(backup)
            .await
            .map_err(|unread| match unread {
                Unread::Broken(reason) | Unread::NotGiven(reason) => reason,
            })
    }

    /// Reads the record of a backup, and says of what kind the obstacle is if it cannot.
    pub(crate) async fn try_record(&self, backup: &str) -> Result<Option<Record>, Unread> {
        match self.0.read_record(backup).await {
            Ok(record) => Ok(Some(Record {
                foreign: record.is_foreign(),
                files: PartKind::ALL
                    .into_iter()
                    .filter_map(|kind| {
                        let (key, size) = record.part_key(kind)?;
                        Some((kind, StoredFile { key, size }))
                    })
                    .collect(),
                backup: record.backup,
            })),
            Err(StorageError::NoBackup { .. }) => Ok(None),
            Err(error @ (StorageError::Unreadable { .. } | StorageError::Name(_))) => {
                Err(Unread::Broken(chain(&error)))
            }
            Err(error) => Err(Unread::NotGiven(chain(&error))),
        }
    }

    /// Returns whether an object is there.
    pub(crate) async fn has(&self, key: &str) -> Result<bool, String> {
        self.0.exists(key).await.map_err(|error| chain(&error))
    }

    /// Reads an object; `None` if it is not there.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<ByteStream>, String> {
        match self.0.open(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StorageError::PartMissing { .. }) => Ok(None),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Returns a URL under which the store itself serves an object for `ttl`, which is a secret; `None` if the store has no
    /// such URLs.
    pub(crate) async fn link(&self, key: &str, ttl: Duration) -> Option<Result<String, String>> {
        if !self.0.capabilities().sign {
            return None;
        }
        let signed = self.0.sign_get(key, ttl).await;
        Some(signed.map(String::from).map_err(|error| chain(&error)))
    }

    /// Returns the names of the backups that are stored, sorted.
    pub(crate) async fn backups(&self) -> Result<Vec<String>, String> {
        self.0.list_backups().await.map_err(|error| chain(&error))
    }

    /// Returns what changes whenever a backup is added or removed; `None` if nobody has written it yet.
    pub(crate) async fn revision(&self) -> Result<Option<String>, String> {
        self.0.revision().await.map_err(|error| chain(&error))
    }

    /// Removes what dead runs of the Backup with this UID left behind.
    pub(crate) async fn remove_debris(&self, backup: &str, uid: &str) -> Result<(), String> {
        let runs = self.0.runs(backup).await.map_err(|error| chain(&error))?;
        self.discard(
            backup,
            runs.iter().filter(|marker| marker.backup_uid == uid),
        )
        .await
    }

    /// Returns the runs whose parts do not count: in the making somewhere, or debris.
    pub(crate) async fn leftovers(&self) -> Result<Vec<Leftover>, String> {
        self.0.leftovers().await.map_err(|error| chain(&error))
    }

    /// Removes what a dead run left behind.
    pub(crate) async fn remove_leftover(&self, left: &Leftover) -> Result<(), String> {
        self.discard(&left.backup, std::iter::once(&left.marker))
            .await
    }

    async fn discard(
        &self,
        backup: &str,
        runs: impl Iterator<Item = &RunMarker>,
    ) -> Result<(), String> {
        for marker in runs {
            tracing::info!(
                backup,
                attempt = marker.attempt,
                holder = marker.holder,
                "removing what a dead run left"
            );
            match self.0.discard_run(backup, marker).await {
                Ok(()) | Err(StorageError::Committed { .. }) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        Ok(())
    }

    /// Returns what keeps a backup from being removed, if anything does; one whose time is over may be returned.
    pub(crate) async fn lock(&self, backup: &str) -> Result<Option<Lock>, String> {
        self.0.locked(backup).await.map_err(|error| chain(&error))
    }

    /// Removes the backup of this name that the owner made.
    pub(crate) async fn delete_backup(&self, backup: &str, owner: &str) -> Result<Removal, String> {
        match self.0.delete_backup(backup, &Owner::new(owner)).await {
            Ok(Deletion::Done { removed }) => {
                tracing::info!(backup, removed, "stored objects are removed");
                Ok(Removal::Done)
            }
            Ok(Deletion::Refused(Refusal::OtherOwner { uid, .. })) => {
                tracing::info!(
                    backup,
                    owner = uid,
                    "the stored backup of this name is another one and stays"
                );
                Ok(Removal::NotOurs)
            }
            Ok(Deletion::Refused(Refusal::Foreign)) => Err(foreign(backup)),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Removes the snapshots that the record of the backup of this name names, if the owner made it; returns what could
    /// not be removed, a sentence each.
    pub(crate) async fn delete_snapshots(
        &self,
        backup: &str,
        owner: &str,
        snapshotters: &Snapshotters,
    ) -> Vec<String> {
        let volumes = async {
            let record = match self.0.read_record(backup).await {
                Ok(record) => record,
                Err(StorageError::NoBackup { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            // Another's snapshots are not ours to remove.
            if record.is_foreign() || record.uid() != owner {
                return Ok(Vec::new());
            }
            match self.0.volume_snapshots(&record).await {
                // With it went whatever could be done about them.
                Err(StorageError::PartMissing { key }) => {
                    tracing::warn!(key, "what was snapshot is not known any more");
                    Ok(Vec::new())
                }
                volumes => volumes,
            }
        };
        match volumes.await {
            Ok(volumes) => crate::backup::remove_recorded(snapshotters, volumes).await,
            Err(error) => vec![format!(
                "the snapshots of backup {backup} cannot be looked up: {}",
                chain(&error)
            )],
        }
    }

    /// Has delete item actions look at the items of a backup of the owner's; returns what went wrong, a sentence each.
    pub(crate) async fn act_before_deletion(
        &self,
        backup: &str,
        owner: &str,
        actions: &Actions,
        cluster: &Cluster,
    ) -> Vec<String> {
        let record = match self.record(backup).await {
            Ok(record) => record,
            Err(why) => return vec![format!("delete item actions were not asked: {why}")],
        };
        let Some(Record { backup: record, .. }) = record else {
            return Vec::new();
        };
        if record.metadata.uid.as_deref() != Some(owner) {
            // It stays.
            return Vec::new();
        }
        crate::restore::act_before_deletion(cluster, &self.0, &record, actions).await
    }

    /// Removes the files of a restore.
    pub(crate) async fn delete_restore(&self, restore: &str) -> Result<(), String> {
        self.0
            .delete_restore(restore)
            .await
            .map_err(|error| chain(&error))
    }

    /// Stores the warnings and errors of a restore.
    pub(crate) async fn put_restore_results(
        &self,
        restore: &str,
        results: &Results,
    ) -> Result<(), String> {
        let gzip = gzip(results).map_err(|error| error.to_string())?;
        let stored = self.0.put_restore_results(restore, gzip).await;
        stored.map_err(|error| chain(&error))
    }

    /// Stores what a dry run would do, JSON lines in gzip.
    pub(crate) async fn put_restore_plan(&self, restore: &str, plan: Bytes) -> Result<(), String> {
        self.0
            .put_restore_plan(restore, plan)
            .await
            .map_err(|error| chain(&error))
    }

    /// Stores the log of a restore, a gzip file.
    pub(crate) async fn put_restore_log(&self, restore: &str, log: Bytes) -> Result<(), String> {
        self.0
            .put_restore_logs(restore, log)
            .await
            .map_err(|error| chain(&error))
    }
}

/// Returns where a file of a restore is, if it is there.
///
/// # Errors
/// A name that no restore can have.
pub(crate) fn restore_file(restore: &str, file: RestoreFile) -> Result<StoredFile, String> {
    let keys = RestoreKeys::new(restore).map_err(|error| chain(&error))?;
    let key = match file {
        RestoreFile::Log => keys.logs(),
        RestoreFile::Results => keys.results(),
        RestoreFile::Plan => keys.plan(),
    };
    Ok(StoredFile { key, size: None })
}

/// Says why a backup that another program made is not deleted.
pub(crate) fn foreign(backup: &str) -> String {
    format!(
        "backup {backup} was made by an earlier Ark or by Velero; this server does not remove what others stored. \
         Remove its directory from the bucket by hand"
    )
}

fn gzip(results: &Results) -> std::io::Result<Bytes> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&serde_json::to_vec(results)?)?;
    Ok(gzip.finish()?.into())
}

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

/// Cancels the operations that the attempts of a restore have begun, as its status says.
pub(crate) async fn cancel_restore_operations(actions: &Actions, restore: &Restore) {
    for problem in crate::restore::cancel_operations(actions, restore).await {
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

/// A restore to carry out.
#[derive(Debug)]
pub(crate) struct RestoreRun<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) location: &'a Location,
    /// The Restore with the status that the run has written.
    pub(crate) restore: Restore,
    pub(crate) record: &'a Backup,
    pub(crate) priorities: &'a [String],
    pub(crate) snapshotters: &'a Snapshotters,
    pub(crate) actions: RunActions,
}

/// A restore that went through.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) results: Results,
    /// Objects and namespaces dealt with.
    pub(crate) items: u64,
    /// Bytes of the backup's contents that were read.
    pub(crate) bytes: u64,
    /// What became of the objects; of a dry run, what would.
    pub(crate) counts: RestoreCounts,
    /// The operations that item actions began.
    pub(crate) operations: OperationCounts,
    /// Of a dry run its lines, JSON in gzip.
    pub(crate) plan: Option<Bytes>,
}

/// Carries a restore out and returns its warnings and errors.
///
/// # Errors
/// With a failure comes what is known of single items all the same.
pub(crate) async fn restore(
    run: &RestoreRun<'_>,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Restored, (RunError, Results)> {
    let mut restore = run.restore.clone();
    // Which backup a schedule stands for has been decided.
    restore.spec.schedule_name.clear();
    let request = RestoreRequest {
        restore,
        backup: run.record.clone(),
        snapshotters: run.snapshotters.clone(),
        actions: run.actions.clone(),
    };
    let options = RestoreOptions {
        priorities: run.priorities.to_vec(),
        ..RestoreOptions::default()
    };
    let location = &run.location.0;
    let engine = crate::restore::run(run.cluster, location, &request, &options, progress, cancel);
    // Large, and within many others.
    match Box::pin(engine).await {
        Ok(outcome) => Ok(Restored {
            results: outcome.results,
            items: outcome.items,
            bytes: outcome.bytes,
            counts: outcome.counts,
            operations: outcome.operations,
            plan: outcome.plan,
        }),
        Err(RestoreError::Refused(problems)) => {
            Err((RunError::Refused(problems), Results::default()))
        }
        Err(RestoreError::Failed { reason, results }) => Err((RunError::Failed(reason), *results)),
        Err(RestoreError::Cancelled) => Err((RunError::Cancelled, Results::default())),
    }
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

    #[test]
    fn results_are_json_in_gzip() {
        let mut results = Results::default();
        results.errors.add_ark("oh");
        let bytes = gzip(&results).unwrap();
        let read: Results =
            serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
        assert_eq!(read, results);
    }
}
