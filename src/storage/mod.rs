//! One backup location: which keys there are, what is written in which order, what counts as a backup, and what may be
//! removed.
//!
//! A backup is there once its record, `ark-backup.json`, is; everything else about it is written before the record and
//! removed after it. Each run of a backup writes below keys of its own, marked by whose they are, so that no two
//! writers ever meet and nothing is removed that somebody else may need. This room knows neither Kubernetes nor what is
//! in the parts.

mod delete;
mod error;
mod keys;
mod read;
mod restores;
mod run;
#[cfg(test)]
mod testing;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use url::Url;

use crate::providers::store::{Capabilities, ErrorKind, ObjectStore, StoreError};

pub use delete::{Deletion, Owner, Refusal};
pub use error::StorageError;
pub use keys::{BackupKey, BackupKeys, Layout, PartKind, RestoreKeys};
pub use read::{Leftover, Record};
pub use run::{PartUpload, Run, RunMarker};

/// The largest record, marker or results file that is read; a larger one is not ours.
const MAX_SMALL: usize = 64 * 1024 * 1024;

/// A bucket, or the part of one below a prefix, that holds backups.
///
/// Every key that this room takes or returns is relative to the prefix.
#[derive(Clone, Debug)]
pub struct Location {
    store: Arc<dyn ObjectStore>,
    /// Empty, or ending in `/`.
    prefix: String,
}

impl Location {
    /// Returns the location in `store` below `prefix`; slashes around the prefix do not matter.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Option<&str>) -> Self {
        let prefix = match prefix.unwrap_or_default().trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Self { store, prefix }
    }

    /// Returns what the store can do beyond the basics.
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// Checks that the location can be listed.
    pub async fn check(&self) -> Result<(), StorageError> {
        if self.prefix.is_empty() {
            return Ok(self.store.check().await?);
        }
        // Credentials may be good for the prefix alone.
        let mut keys = self.store.list(&self.prefix);
        keys.try_next().await?;
        Ok(())
    }

    /// Returns a URL that serves an object for `ttl`; the URL is a secret.
    pub async fn sign_get(&self, key: &str, ttl: Duration) -> Result<Url, StorageError> {
        Ok(self.store.sign_get(&self.full(key), ttl).await?)
    }

    /// Returns the revision, which changes whenever a backup is added or removed; `None` if there is none yet.
    pub async fn revision(&self) -> Result<Option<String>, StorageError> {
        let bytes = self.small(keys::REVISION).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Changes the revision. It only saves others a listing, so that a failure is no more than worth a warning.
    async fn touch_revision(&self) {
        let revision = uuid::Uuid::new_v4().to_string();
        if let Err(error) = self
            .store
            .put(&self.full(keys::REVISION), revision.into())
            .await
        {
            tracing::warn!(%error, "the location's revision could not be changed");
        }
    }

    /// Removes what unfinished uploads of objects have sent.
    async fn abort_uploads(&self, keys: &[String]) -> Result<(), StorageError> {
        for key in keys {
            match self.store.abort_uploads(&self.full(key)).await {
                Ok(()) => {}
                // It takes a right more than writing. What stays is never seen, and the bucket's own rules may remove it.
                Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::NotSupported) => {
                    tracing::warn!(%error, "what unfinished uploads have sent may stay");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns a key as the store knows it.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Lists the keys that begin with `prefix`.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let cut = self.prefix.len();
        Ok(self
            .store
            .list(&self.full(prefix))
            .map_ok(|key| key[cut..].to_owned())
            .try_collect()
            .await?)
    }

    /// Reads a small object whole; `None` if it is not there.
    async fn small(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        let mut pieces = match self.store.get(&self.full(key)).await {
            Ok(pieces) => pieces,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut whole = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            if whole.len() + piece.len() > MAX_SMALL {
                return Err(StorageError::Unreadable {
                    key: key.to_owned(),
                    problem: format!("it is larger than {MAX_SMALL} bytes"),
                });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole.into()))
    }

    /// Writes an object that is written once, and settles in whose favour if the answer leaves that open: an answer may
    /// get lost, or a repeated request may meet what the first one stored.
    async fn put_once(&self, key: &str, body: Bytes) -> Result<Once, StorageError> {
        let full = self.full(key);
        let mut tries = 0;
        loop {
            let error = match self.store.put_new(&full, body.clone()).await {
                Ok(()) => return Ok(Once::Written),
                Err(error) => error,
            };
            if !leaves_open(&error) {
                return Err(error.into());
            }
            tries += 1;
            match self.small(key).await {
                Ok(Some(found)) if found == body => return Ok(Once::Written),
                Ok(Some(found)) => return Ok(Once::Taken(found)),
                // The writer that was in our way has given up.
                Ok(None) if error.kind == ErrorKind::AlreadyExists && tries < 3 => {}
                Ok(None) | Err(_) => return Err(error.into()),
            }
        }
    }
}

/// How a write that happens once went.
#[derive(Debug)]
enum Once {
    /// What we wrote is there.
    Written,
    /// Something else is there.
    Taken(Bytes),
}

/// Returns whether the object may be stored in spite of the error.
fn leaves_open(error: &StoreError) -> bool {
    match error.kind {
        ErrorKind::AlreadyExists | ErrorKind::Unreachable | ErrorKind::Other => true,
        ErrorKind::NotFound
        | ErrorKind::NoBucket
        | ErrorKind::Denied
        | ErrorKind::NotSupported
        | ErrorKind::Invalid => false,
    }
}
