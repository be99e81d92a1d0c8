//! What the tests of this room share: a location on disk, a store that fails on demand, a backup that can be committed.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use url::Url;

use super::{Location, PartKind, Run, RunMarker};
use crate::api::{Backup, BackupPhase, BackupStatus, Part, StorageProviderConfig};
use crate::providers::store::{
    ByteStream, Capabilities, ErrorKind, Lock, ObjectStore, StoreError, Upload,
};
use crate::providers::{Environment, registry};

/// What goes wrong next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// `put_new` stores the object, and its answer gets lost.
    LostAnswer,
    /// `put_new` stores nothing and cannot say so.
    LostRequest,
    /// Nothing can be stored.
    Full,
    /// Keys that contain this are not deleted.
    KeepsKeysWith(&'static str),
}

/// A store in front of another, with faults.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Mutex<Fault>,
    /// What locks keys that contain this; the last one counts.
    locks: Mutex<Vec<(&'static str, Lock)>>,
    aborted: Mutex<Vec<String>>,
}

impl Faulty {
    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    pub(super) fn lock_keys_with(&self, text: &'static str, lock: Lock) {
        self.locks.lock().unwrap().push((text, lock));
    }

    /// Returns the keys whose unfinished uploads were to be removed.
    pub(super) fn aborted(&self) -> Vec<String> {
        self.aborted.lock().unwrap().clone()
    }
}

fn unreachable() -> StoreError {
    StoreError::new(ErrorKind::Unreachable, "the connection broke")
}

fn full() -> StoreError {
    StoreError::new(ErrorKind::Other, "no space is left")
}

#[async_trait]
impl ObjectStore for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        match self.fault() {
            Fault::Full => Err(full()),
            _ => self.inner.put(key, body).await,
        }
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        match self.fault() {
            Fault::LostAnswer => {
                self.inner.put_new(key, body).await?;
                Err(unreachable())
            }
            Fault::LostRequest => Err(unreachable()),
            Fault::Full => Err(full()),
            Fault::None | Fault::KeepsKeysWith(_) => self.inner.put_new(key, body).await,
        }
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StoreError> {
        self.inner.upload(key).await
    }

    async fn get(&self, key: &str) -> Result<ByteStream, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<String, StoreError>> {
        self.inner.list(prefix)
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list_directories(prefix).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        self.inner.exists(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.fault() {
            Fault::KeepsKeysWith(text) if key.contains(text) => Err(StoreError::new(
                ErrorKind::Denied,
                format!("cannot delete {key}: it is locked"),
            )),
            _ => self.inner.delete(key).await,
        }
    }

    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        let locks = self.locks.lock().unwrap();
        let found = locks.iter().rev().find(|(text, _)| key.contains(text));
        Ok(found.map(|(_, lock)| *lock))
    }

    async fn abort_uploads(&self, key: &str) -> Result<(), StoreError> {
        self.aborted.lock().unwrap().push(key.to_owned());
        Ok(())
    }

    async fn sign_get(&self, key: &str, ttl: Duration) -> Result<Url, StoreError> {
        self.inner.sign_get(key, ttl).await
    }
}

/// A location on disk, below a prefix, with what tests need to look behind it.
pub(super) struct Rig {
    _dir: tempfile::TempDir,
    pub(super) store: Arc<Faulty>,
    pub(super) location: Location,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = StorageProviderConfig {
            name: "local".into(),
            bucket: "ark".into(),
            config: [("path".to_owned(), dir.path().display().to_string())].into(),
            ..StorageProviderConfig::default()
        };
        let inner = registry::open(&config, &Environment::default())
            .await
            .unwrap();
        let store = Arc::new(Faulty {
            inner,
            fault: Mutex::default(),
            locks: Mutex::default(),
            aborted: Mutex::default(),
        });
        Self {
            _dir: dir,
            location: Location::new(
                Arc::clone(&store) as Arc<dyn ObjectStore>,
                Some("/clusters/one/"),
            ),
            store,
        }
    }

    /// Returns the keys in the location but the revision, sorted.
    pub(super) async fn keys(&self) -> Vec<String> {
        let mut keys = self.location.keys("").await.unwrap();
        keys.retain(|key| key != super::keys::REVISION);
        keys.sort();
        keys
    }

    /// Stores something that no run of ours wrote.
    pub(super) async fn plant(&self, key: &str, text: &str) {
        let key = self.location.full(key);
        self.store.put(&key, text.to_owned().into()).await.unwrap();
    }

    /// Begins a run and writes its parts.
    pub(super) async fn run(&self, name: &str, uid: &str, attempt: u32) -> (Run, Vec<Part>) {
        let run = self
            .location
            .begin_run(name, &marker(uid, attempt))
            .await
            .unwrap();
        let mut contents = run.part(PartKind::Contents).await.unwrap();
        contents.write(Bytes::from_static(b"con")).await.unwrap();
        contents.write(Bytes::from_static(b"tents")).await.unwrap();
        let parts = vec![
            contents.finish().await.unwrap(),
            run.put_part(PartKind::Logs, Bytes::from_static(b"log"))
                .await
                .unwrap(),
        ];
        (run, parts)
    }

    /// Makes a whole backup.
    pub(super) async fn backup(&self, name: &str, uid: &str) {
        let (run, parts) = self.run(name, uid, 1).await;
        run.commit(&record(name, uid, parts)).await.unwrap();
    }
}

pub(super) fn marker(uid: &str, attempt: u32) -> RunMarker {
    RunMarker {
        cluster_id: "cluster-1".into(),
        holder: "ark-0".into(),
        start_timestamp: "2026-11-21T04:00:00Z".into(),
        attempt,
        backup_uid: uid.into(),
    }
}

pub(super) fn record(name: &str, uid: &str, parts: Vec<Part>) -> Backup {
    let mut backup = Backup::new(name, crate::api::BackupSpec::default());
    backup.metadata.uid = Some(uid.into());
    backup.status = Some(BackupStatus {
        version: Some(2),
        phase: BackupPhase::Completed,
        cluster_id: Some("cluster-1".into()),
        parts,
        ..BackupStatus::default()
    });
    backup
}
