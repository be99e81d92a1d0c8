//! Where backups are kept.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Actions, ByteStream, Leftover, Lock, PartKind, Snapshotters};
use crate::api::error::chain;
use crate::api::{Backup, Results, StorageProviderConfig};
use crate::cluster::Cluster;
use crate::providers::store::ErrorKind;
use crate::providers::{Environment, registry};
use crate::storage::{Deletion, Owner, Refusal, RestoreKeys, RunMarker, StorageError};

/// A place where backups are kept, open for use.
#[derive(Clone, Debug)]
pub(crate) struct Location(pub(super) crate::storage::Location);

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

    /// Removes what dead runs of a backup left behind; what is committed stays.
    pub(super) async fn discard(
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

#[cfg(test)]
mod tests {
    use super::*;

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
