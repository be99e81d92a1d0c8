//! The controllers' way to the engines and to the location: everything that they ask of other rooms stands here, in
//! the controllers' words.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use bytes::Bytes;
use jiff::Timestamp;

use crate::api::{Backup, Part, Progress, Restore, Results, StorageProviderConfig};
use crate::cluster::Cluster;
use crate::providers::Environment;

const MISSING: &str = "this build has no storage yet";

/// A place where backups are kept, open for use.
#[derive(Clone, Debug)]
pub(crate) struct Location;

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

/// Opens the location that a Config describes, and checks that it can be used.
///
/// # Errors
/// A sentence for whoever wrote the Config.
pub(crate) async fn open(config: &StorageProviderConfig, environment: &Environment) -> Result<Location, String> {
    let store = crate::providers::registry::open(config, environment)
        .await
        .map_err(|error| chain(&error))?;
    store.check().await.map_err(|error| chain(&error))?;
    Ok(Location)
}

impl Location {
    /// Checks that the location still answers.
    pub(crate) async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Reads the record of a backup; `None` if there is no committed one.
    pub(crate) async fn record(&self, _backup: &str) -> Result<Option<Backup>, String> {
        Ok(None)
    }

    /// Removes what dead runs of this backup left behind.
    pub(crate) async fn remove_debris(&self, _backup: &str, _uid: &str) -> Result<(), String> {
        Ok(())
    }

    /// Removes a backup that belongs to one of `owners`; one that is not there, or is another's, is left alone.
    pub(crate) async fn delete_backup(&self, _backup: &str, _owners: &[String]) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    /// Removes the files of a restore.
    pub(crate) async fn delete_restore(&self, _restore: &str) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    /// Stores the warnings and errors of a restore.
    pub(crate) async fn put_restore_results(&self, _restore: &str, _results: &Results) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    /// Stores the log of a restore, a gzip file.
    pub(crate) async fn put_restore_log(&self, _restore: &str, _log: Bytes) -> Result<(), String> {
        Err(MISSING.to_owned())
    }
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
}

/// A backup that is stored and waits for its commit.
#[derive(Debug)]
pub(crate) struct StoredBackup {
    pub(crate) parts: Vec<Part>,
    pub(crate) results: Results,
    pub(crate) items: u64,
    /// The key of the contents among the parts.
    pub(crate) contents_size: u64,
}

/// How a commit ended.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Another backup of this name was committed before.
    Taken,
    /// It failed, or whether it succeeded is not known.
    Unknown(String),
}

impl StoredBackup {
    /// Stores the log of the run, a gzip file.
    pub(crate) async fn put_log(&mut self, _log: Bytes) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    /// Makes the backup count.
    pub(crate) async fn commit(&self, _record: &Backup) -> Result<(), CommitError> {
        Err(CommitError::Unknown(MISSING.to_owned()))
    }

    /// Removes what was stored.
    pub(crate) async fn discard(self) -> Result<(), String> {
        Ok(())
    }
}

/// Makes a backup up to its commit.
pub(crate) async fn backup(
    _run: &BackupRun<'_>,
    _progress: &watch::Sender<Progress>,
    _cancel: &CancellationToken,
) -> Result<StoredBackup, RunError> {
    Err(RunError::Failed(MISSING.to_owned()))
}

/// A restore to carry out.
#[derive(Debug)]
pub(crate) struct RestoreRun<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) location: &'a Location,
    pub(crate) restore: &'a Restore,
    pub(crate) record: &'a Backup,
    pub(crate) priorities: &'a [String],
}

/// Carries a restore out and returns its warnings and errors.
pub(crate) async fn restore(
    _run: &RestoreRun<'_>,
    _progress: &watch::Sender<Progress>,
    _cancel: &CancellationToken,
) -> Result<Results, RunError> {
    Err(RunError::Failed(MISSING.to_owned()))
}

/// Writes an error with its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Several layers repeat what their source says.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
