//! What can go wrong in a location.

use crate::providers::store::{ErrorKind, StoreError};

/// A failed step in a location.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store did not do it; its message says what was tried, where, and what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that cannot be part of a key.
    #[error("{0}")]
    Name(String),
    /// There is a backup of this name already.
    #[error(
        "the location holds a backup named {backup:?} already{}; choose another name, or delete that one first",
        made_by(.uid.as_ref(), .cluster_id.as_ref())
    )]
    NameTaken {
        /// The name.
        backup: String,
        /// The UID in the stored record, if that can be read.
        uid: Option<String>,
        /// The cluster that made it, if the record says so.
        cluster_id: Option<String>,
    },
    /// Another run writes, or wrote, under this name and attempt number.
    #[error(
        "run {attempt} of backup {backup:?} is marked by another holder{}",
        .marker.as_ref().map(|marker| format!(" ({} of cluster {})", marker.holder, marker.cluster_id))
            .unwrap_or_default()
    )]
    AttemptTaken {
        /// The backup's name.
        backup: String,
        /// The attempt's number.
        attempt: u32,
        /// Whose it is, if the marker can be read.
        marker: Option<Box<super::RunMarker>>,
    },
    /// A record that does not fit the run it is to commit.
    #[error("the record of backup {backup:?} does not fit its run: {problem}")]
    Mismatch {
        /// The backup's name.
        backup: String,
        /// What does not fit.
        problem: String,
    },
    /// The run is committed: it can be deleted as a backup, not discarded.
    #[error("run {attempt} of backup {backup:?} is committed; delete the backup instead")]
    Committed {
        /// The backup's name.
        backup: String,
        /// The attempt's number.
        attempt: u32,
    },
    /// There is no such backup.
    #[error("the location holds no backup named {backup:?}")]
    NoBackup {
        /// The name.
        backup: String,
    },
    /// An object that is not what its key says.
    #[error("{key} cannot be read: {problem}")]
    Unreadable {
        /// The object.
        key: String,
        /// Why.
        problem: String,
    },
    /// A part that the record names is not there.
    #[error("{key} is missing; the backup is damaged")]
    PartMissing {
        /// The part.
        key: String,
    },
    /// A part's bytes are not those that were written.
    #[error("{key} is damaged: {problem}")]
    PartDamaged {
        /// The part.
        key: String,
        /// What differs.
        problem: String,
    },
    /// Some objects could not be removed; the rest is gone, and trying again goes on from there.
    #[error("{what} could not be removed whole: {}", join(.problems))]
    Delete {
        /// What was to be removed.
        what: String,
        /// Why, for each object.
        problems: Vec<StoreError>,
    },
    /// Something of ours could not be written as JSON.
    #[error("{key} could not be encoded")]
    Encode {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl StorageError {
    /// Returns whether the name is in use, so that the request has to change.
    pub fn is_name_taken(&self) -> bool {
        matches!(self, Self::NameTaken { .. })
    }

    /// Returns whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NoBackup { .. } | Self::PartMissing { .. } => true,
            Self::Store(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// Returns the kind of the store's failure, if it was one.
    pub fn store_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind),
            _ => None,
        }
    }
}

fn made_by(uid: Option<&String>, cluster_id: Option<&String>) -> String {
    match (uid, cluster_id) {
        (Some(uid), Some(cluster)) => format!(" (UID {uid}, made by cluster {cluster})"),
        (Some(uid), None) => format!(" (UID {uid})"),
        (None, _) => String::new(),
    }
}

fn join(problems: &[StoreError]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}
