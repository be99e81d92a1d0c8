//! The controllers' way to the engines and to the location: everything that they ask of other rooms stands here, in
//! the controllers' words.

mod backup;
mod location;
mod restore;
mod snapshotters;

pub(crate) use self::backup::{
    BackupRun, CommitError, StoredBackup, backup, cancel_operations, remove_pending_snapshots,
    run_owed_hooks,
};
pub(crate) use self::location::{
    Location, Removal, RestoreFile, StoredFile, Unread, foreign, open, restore_file,
};
pub(crate) use self::restore::{RestoreRun, Restored, cancel_restore_operations, restore};
pub(crate) use self::snapshotters::{Snapshotter, open_snapshotter, snapshotters};
pub(crate) use crate::backup::{HookCounts, HookNotes, VolumeCounts};
pub(crate) use crate::providers::actions::{Actions, RunActions, Stage};
pub(crate) use crate::providers::ledger::Ledger;
pub(crate) use crate::providers::snapshotters::Snapshotters;
pub(crate) use crate::providers::store::{ByteStream, Lock};
pub(crate) use crate::storage::{Leftover, PartKind};

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
