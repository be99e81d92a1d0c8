//! Reads what a location holds: which backups there are, their records, their parts.
//!
//! Nothing that is read is trusted: names and keys are checked, so that a record cannot send a reader elsewhere, and
//! whatever is not ours is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::keys::{BACKUPS, BackupKey, BackupKeys, Layout, PartKind};
use super::{Location, RunMarker, StorageError};
use crate::api::{Backup, GROUP, Part, VERSION, names};
use crate::providers::store::ByteStream;

/// What Velero's records call themselves.
const VELERO_VERSION: &str = "velero.io/v1";
/// How many directories are looked into at once for backups of an early Ark.
const EARLY_AT_ONCE: usize = 8;

/// A backup's record.
#[derive(Clone, Debug)]
pub struct Record {
    /// The Backup.
    pub backup: Backup,
    /// The stored JSON, with the fields that this version does not know.
    pub raw: serde_json::Value,
    /// Who laid it out.
    pub layout: Layout,
}

impl Record {
    /// Reads the bytes of a record.
    pub(super) fn read(
        keys: &BackupKeys,
        layout: Layout,
        bytes: &[u8],
    ) -> Result<Self, StorageError> {
        let unreadable = |problem: String| StorageError::Unreadable {
            key: keys.record_in(layout),
            problem,
        };
        let raw: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        let text = |field: &str| raw.get(field).and_then(serde_json::Value::as_str);
        let ark = format!("{GROUP}/{VERSION}");
        let versions = match layout {
            Layout::Ark | Layout::Early => vec![ark.as_str()],
            // The first ones of Velero still said that they were Ark's.
            Layout::Velero => vec![VELERO_VERSION, &ark],
        };
        let version = text("apiVersion").unwrap_or_default();
        if text("kind") != Some("Backup") || !versions.contains(&version) {
            return Err(unreadable(format!("it is no Backup of {}", versions[0])));
        }
        let backup: Backup =
            serde_json::from_value(raw.clone()).map_err(|error| unreadable(error.to_string()))?;
        if backup.metadata.name.as_deref() != Some(keys.name()) {
            return Err(unreadable(format!(
                "it names backup {:?}",
                backup.metadata.name.as_deref().unwrap_or_default()
            )));
        }
        let record = Self {
            backup,
            raw,
            layout,
        };
        for part in record.parts() {
            if !matches!(keys.read(&part.key), Some(BackupKey::Part(..))) {
                return Err(unreadable(format!(
                    "it names {:?} as a part, which is not one of this backup",
                    part.key
                )));
            }
        }
        Ok(record)
    }

    /// Returns the UID that the Backup had where it was made.
    pub fn uid(&self) -> &str {
        self.backup.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns the cluster that made the backup, if the record says so.
    pub fn cluster_id(&self) -> Option<&str> {
        self.backup.status.as_ref()?.cluster_id.as_deref()
    }

    /// Returns whether another program made it: one of an earlier Ark, say. Such a backup is only read.
    pub fn is_foreign(&self) -> bool {
        self.layout != Layout::Ark || !self.backup.is_ours()
    }

    /// Returns whether Velero is still at work on it: it is none yet.
    fn is_unfinished(&self) -> bool {
        let status = self.backup.status.as_ref();
        let phase = status.map_or("", |status| status.phase.as_str());
        self.layout == Layout::Velero
            && (matches!(phase, "New" | "InProgress" | "Queued" | "ReadyToStart")
                || phase.starts_with("WaitingForPluginOperations")
                || phase.starts_with("Finalizing"))
    }

    /// Returns the parts that count.
    pub fn parts(&self) -> &[Part] {
        self.backup
            .status
            .as_ref()
            .map_or(&[], |status| &status.parts)
    }

    /// Returns the part of a kind, if the backup has it.
    pub fn part(&self, kind: PartKind) -> Option<&Part> {
        let keys = BackupKeys::new(self.backup.metadata.name.as_deref()?).ok()?;
        self.parts().iter().find(
            |part| matches!(keys.read(&part.key), Some(BackupKey::Part(_, found)) if found == kind),
        )
    }

    /// Returns the key of the part of a kind, and its size if the record says so. One of an earlier Ark or of Velero does not say
    /// which parts it has: the key is where the part is if there is one.
    pub fn part_key(&self, kind: PartKind) -> Option<(String, Option<u64>)> {
        if self.is_foreign() {
            let keys = BackupKeys::new(self.backup.metadata.name.as_deref()?).ok()?;
            return Some((keys.foreign(self.layout, kind)?, None));
        }
        let part = self.part(kind)?;
        Some((part.key.clone(), Some(part.size)))
    }

    /// Returns the attempts whose parts count.
    pub(super) fn attempts(&self, keys: &BackupKeys) -> BTreeSet<u32> {
        self.parts()
            .iter()
            .filter_map(|part| match keys.read(&part.key)? {
                BackupKey::Part(attempt, _) => Some(attempt),
                BackupKey::Record | BackupKey::Marker(_) => None,
            })
            .collect()
    }
}

/// A marked run whose parts do not count: in the making, or what a dead one left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leftover {
    /// The backup's name.
    pub backup: String,
    /// Whether there is a backup of this name, which another run made.
    pub beside_backup: bool,
    /// Whose run it is.
    pub marker: RunMarker,
}

/// What the keys say about one name.
#[derive(Debug, Default)]
struct Found {
    record: bool,
    /// There is a record of Velero's.
    velero: bool,
    attempts: BTreeSet<u32>,
}

impl Location {
    /// Returns the names of the backups that are there, sorted. Their records may still turn out to be unreadable.
    pub async fn list_backups(&self) -> Result<Vec<String>, StorageError> {
        let found = self.survey().await?;
        let mut names: BTreeSet<String> = found
            .into_iter()
            .filter_map(|(name, found)| (found.record || found.velero).then_some(name))
            .collect();
        names.extend(self.early_backups().await?);
        Ok(names.into_iter().collect())
    }

    /// Returns the names of the backups that an Ark up to 0.9 has left right below the bucket.
    async fn early_backups(&self) -> Result<Vec<String>, StorageError> {
        let directories = self.store.list_directories(&self.prefix).await?;
        let found = stream::iter(directories)
            .filter_map(|name| std::future::ready(BackupKeys::early(&name)))
            .map(|keys| async move {
                let there = self.exists(&keys.record_in(Layout::Early)).await?;
                Ok::<_, StorageError>(there.then(|| keys.name().to_owned()))
            })
            .buffered(EARLY_AT_ONCE);
        let found: Vec<Option<String>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the names under which there are marked runs and no backup: in the making, or debris.
    pub async fn list_unfinished(&self) -> Result<Vec<String>, StorageError> {
        let found = self.survey().await?;
        Ok(found
            .into_iter()
            .filter_map(|(name, found)| {
                (!found.record && !found.attempts.is_empty()).then_some(name)
            })
            .collect())
    }

    /// Returns the marked runs whose parts do not count, by name and attempt.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, StorageError> {
        let mut left = Vec::new();
        for (name, found) in self.survey().await? {
            // The run that made a backup is marked as long as the backup is there.
            if found.attempts.len() <= usize::from(found.record) {
                continue;
            }
            let record = match self.read_record(&name).await {
                Ok(record) => Some(record),
                Err(StorageError::NoBackup { .. }) => None,
                Err(error @ StorageError::Unreadable { .. }) => {
                    // It may name any of the parts.
                    tracing::warn!(backup = name, %error, "what dead runs left is not looked for");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let keys = BackupKeys::new(&name)?;
            let counts = record.as_ref().map(|record| record.attempts(&keys));
            let counts = counts.unwrap_or_default();
            for marker in self.runs(&name).await? {
                if !counts.contains(&marker.attempt) {
                    left.push(Leftover {
                        backup: name.clone(),
                        beside_backup: record.is_some(),
                        marker,
                    });
                }
            }
        }
        Ok(left)
    }

    /// Reads all keys below `backups/`: a page of a listing tells of hundreds of backups.
    async fn survey(&self) -> Result<BTreeMap<String, Found>, StorageError> {
        let mut names: BTreeMap<String, Found> = BTreeMap::new();
        let mut keys = self.store.list(&self.full(BACKUPS));
        while let Some(key) = keys.try_next().await? {
            let key = &key[self.prefix.len()..];
            if let Some(backup) = BackupKeys::velero(key) {
                names.entry(backup.name().to_owned()).or_default().velero = true;
                continue;
            }
            let Some((backup, key)) = BackupKeys::of(key) else {
                continue;
            };
            let found = names.entry(backup.name().to_owned()).or_default();
            match key {
                BackupKey::Record => found.record = true,
                BackupKey::Marker(attempt) => {
                    found.attempts.insert(attempt);
                }
                BackupKey::Part(..) => {}
            }
        }
        Ok(names)
    }

    /// Returns the markers of a backup's runs, by attempt. One that cannot be read is not ours, and left out.
    pub async fn runs(&self, backup: &str) -> Result<Vec<RunMarker>, StorageError> {
        let keys = BackupKeys::new(backup)?;
        let attempts: BTreeSet<u32> = self
            .keys(&keys.directory())
            .await?
            .iter()
            .filter_map(|key| match keys.read(key)? {
                BackupKey::Marker(attempt) => Some(attempt),
                BackupKey::Record | BackupKey::Part(..) => None,
            })
            .collect();
        let mut runs = Vec::new();
        for attempt in attempts {
            let key = keys.marker(attempt);
            let Some(bytes) = self.small(&key).await? else {
                continue;
            };
            match serde_json::from_slice::<RunMarker>(&bytes) {
                Ok(marker) if marker.attempt == attempt => runs.push(marker),
                Ok(_) => tracing::warn!(key, "the run's marker names another attempt"),
                Err(error) => tracing::warn!(key, %error, "the run's marker cannot be read"),
            }
        }
        Ok(runs)
    }

    /// Reads a backup's record.
    ///
    /// # Errors
    /// [`StorageError::NoBackup`] if there is none; [`StorageError::Unreadable`] if it is not a record of this backup.
    pub async fn read_record(&self, backup: &str) -> Result<Record, StorageError> {
        let keys = BackupKeys::new(backup)?;
        for layout in Layout::ALL {
            if let Some(bytes) = self.small(&keys.record_in(layout)).await? {
                let record = Record::read(&keys, layout, &bytes)?;
                if !record.is_unfinished() {
                    return Ok(record);
                }
            }
        }
        Err(StorageError::NoBackup {
            backup: backup.to_owned(),
        })
    }

    /// Reads an object as a stream.
    pub async fn open(&self, key: &str) -> Result<ByteStream, StorageError> {
        self.store
            .get(&self.full(key))
            .await
            .map_err(|error| missing(key, error))
    }

    /// Reads a part of an object.
    pub async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.store
            .get_range(&self.full(key), range)
            .await
            .map_err(|error| missing(key, error))
    }

    /// Returns whether an object is there.
    pub async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.store.exists(&self.full(key)).await?)
    }

    /// Reads an object that fits into memory; `None` if it is not there.
    pub async fn read_small(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.small(key).await
    }

    /// Checks that a part's bytes are those that were written.
    ///
    /// # Errors
    /// [`StorageError::PartMissing`], or [`StorageError::PartDamaged`] with what differs.
    pub async fn verify_part(&self, part: &Part) -> Result<(), StorageError> {
        let mut pieces = self.open(&part.key).await?;
        let (mut size, mut digest) = (0_u64, Sha256::new());
        while let Some(piece) = pieces.try_next().await? {
            size += piece.len() as u64;
            digest.update(&piece);
        }
        let damaged = |problem: String| {
            Err(StorageError::PartDamaged {
                key: part.key.clone(),
                problem,
            })
        };
        if size != part.size {
            return damaged(format!("it has {size} bytes instead of {}", part.size));
        }
        let found = names::hex(&digest.finalize());
        if !found.eq_ignore_ascii_case(&part.sha256) {
            return damaged(format!("its SHA-256 is {found} instead of {}", part.sha256));
        }
        Ok(())
    }
}

fn missing(key: &str, error: crate::providers::store::StoreError) -> StorageError {
    if error.is_not_found() {
        StorageError::PartMissing {
            key: key.to_owned(),
        }
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, record};
    use super::*;

    #[tokio::test]
    async fn lists_backups_and_nothing_else() {
        let rig = Rig::new().await;
        assert!(rig.location.list_backups().await.unwrap().is_empty());
        rig.location.check().await.unwrap();
        rig.backup("nightly-2", "u2").await;
        rig.backup("nightly", "u1").await;
        rig.run("running", "u3", 1).await;
        for key in [
            "backups/readme.txt",
            "backups/Not A Name/ark-backup.json",
            "backups/deep/er/ark-backup.json",
            "backups/only-files/data",
            "velero/ark-backup.json",
        ] {
            rig.plant(key, "{}").await;
        }
        let listed = rig.location.list_backups().await.unwrap();
        assert_eq!(listed, ["nightly", "nightly-2", "velero"]);
        assert_eq!(rig.location.list_unfinished().await.unwrap(), ["running"]);
    }

    #[tokio::test]
    async fn leftovers_are_the_runs_that_do_not_count() {
        let rig = Rig::new().await;
        let location = &rig.location;
        rig.backup("whole", "u1").await;
        assert!(location.leftovers().await.unwrap().is_empty());

        // A first attempt that died, and the second one that counts.
        rig.run("twice", "u2", 1).await;
        let (run, parts) = rig.run("twice", "u2", 2).await;
        run.commit(&record("twice", "u2", parts)).await.unwrap();
        rig.run("dead", "u3", 1).await;
        let left = location.leftovers().await.unwrap();
        let names: Vec<_> = left
            .iter()
            .map(|left| (&*left.backup, left.marker.attempt, left.beside_backup))
            .collect();
        assert_eq!(names, [("dead", 1, false), ("twice", 1, true)]);

        for left in &left {
            location
                .discard_run(&left.backup, &left.marker)
                .await
                .unwrap();
        }
        assert!(location.leftovers().await.unwrap().is_empty());
        assert_eq!(location.list_backups().await.unwrap(), ["twice", "whole"]);
        let twice = location.read_record("twice").await.unwrap();
        for part in twice.parts() {
            location.verify_part(part).await.unwrap();
        }

        // What an unreadable record names is not known.
        rig.run("odd", "u4", 1).await;
        rig.run("odd", "u4", 2).await;
        rig.plant("backups/odd/ark-backup.json", "garbage").await;
        assert!(location.leftovers().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn backups_of_other_programs_are_found() {
        let rig = Rig::new().await;
        let record = |api: &str, name: &str, phase: &str| {
            format!(
                r#"{{"kind":"Backup","apiVersion":"{api}","metadata":{{"name":"{name}","uid":"u"}},"spec":{{}},
                "status":{{"version":1,"phase":"{phase}"}}}}"#
            )
        };
        let ark = "ark.heptio.com/v1";
        for (key, text) in [
            ("early/ark-backup.json", record(ark, "early", "Completed")),
            ("kopia/ark-backup.json", record(ark, "kopia", "Completed")),
            ("other/file", String::new()),
            (
                "backups/velero/velero-backup.json",
                record(VELERO_VERSION, "velero", "PartiallyFailed"),
            ),
            (
                "backups/busy/velero-backup.json",
                record(VELERO_VERSION, "busy", "Finalizing"),
            ),
            (
                "backups/twice/velero-backup.json",
                record(VELERO_VERSION, "twice", "Completed"),
            ),
            (
                "backups/first/velero-backup.json",
                record(ark, "first", "Completed"),
            ),
            ("twice/ark-backup.json", record(ark, "twice", "Completed")),
        ] {
            rig.plant(key, &text).await;
        }
        let names = rig.location.list_backups().await.unwrap();
        assert_eq!(names, ["busy", "early", "first", "twice", "velero"]);
        for (name, layout) in [
            ("early", Some(Layout::Early)),
            ("velero", Some(Layout::Velero)),
            ("first", Some(Layout::Velero)),
            ("twice", Some(Layout::Velero)),
            ("busy", None),
        ] {
            let found = rig.location.read_record(name).await.ok();
            assert_eq!(found.as_ref().map(|record| record.layout), layout, "{name}");
            assert!(found.is_none_or(|record| record.is_foreign()));
        }
        let early = rig.location.read_record("early").await.unwrap();
        let (key, _) = early.part_key(PartKind::Contents).unwrap();
        assert_eq!(key, "early/early.tar.gz");
    }

    #[tokio::test]
    async fn records_keep_what_this_version_does_not_know() {
        let rig = Rig::new().await;
        let text = r#"{"kind":"Backup","apiVersion":"ark.heptio.com/v1","metadata":{"name":"old","uid":"u"},
            "spec":{"includedNamespaces":null,"fromTheFuture":{"a":1}},"status":{"version":1,"phase":"Completed"}}"#;
        rig.plant("backups/old/ark-backup.json", text).await;
        let record = rig.location.read_record("old").await.unwrap();
        assert_eq!(record.raw["spec"]["fromTheFuture"]["a"], 1);
        assert!(record.is_foreign());
        assert_eq!(record.uid(), "u");
        assert!(record.part(PartKind::Contents).is_none());
        let (key, size) = record.part_key(PartKind::Contents).unwrap();
        assert_eq!((key.as_str(), size), ("backups/old/old.tar.gz", None));
        assert!(!rig.location.exists(&key).await.unwrap());

        rig.backup("new", "u2").await;
        let record = rig.location.read_record("new").await.unwrap();
        assert!(!record.is_foreign());
        assert_eq!(record.part(PartKind::Contents).unwrap().size, 8);
        assert_eq!(record.part(PartKind::Logs).unwrap().size, 3);
        assert!(record.part(PartKind::Index).is_none());
        let (key, size) = record.part_key(PartKind::Contents).unwrap();
        assert_eq!((key.as_str(), size), ("backups/new/new-1.tar.zst", Some(8)));
        assert!(rig.location.exists(&key).await.unwrap());
        assert_eq!(record.part_key(PartKind::Index), None);

        let none = rig.location.read_record("absent").await.unwrap_err();
        assert!(none.is_not_found(), "{none}");
    }

    #[tokio::test]
    async fn records_that_lie_are_refused() {
        let rig = Rig::new().await;
        let elsewhere = |key: &str| {
            let part = Part {
                key: key.into(),
                ..Part::default()
            };
            serde_json::to_string(&record("b", "u", vec![part])).unwrap()
        };
        for text in [
            String::new(),
            "[]".to_owned(),
            r#"{"kind":"Restore","apiVersion":"ark.heptio.com/v1","metadata":{"name":"b"}}"#
                .to_owned(),
            r#"{"kind":"Backup","apiVersion":"velero.io/v1","metadata":{"name":"b"}}"#.to_owned(),
            serde_json::to_string(&record("c", "u", Vec::new())).unwrap(),
            elsewhere("backups/c/c-1.tar.zst"),
            elsewhere("../secrets"),
            elsewhere("backups/b/ark-backup.json"),
        ] {
            rig.plant("backups/b/ark-backup.json", &text).await;
            let error = rig.location.read_record("b").await.unwrap_err();
            assert!(
                matches!(error, StorageError::Unreadable { .. }),
                "{text}: {error}"
            );
        }
        assert!(matches!(
            rig.location.read_record("../b").await,
            Err(StorageError::Name(_))
        ));
    }

    #[tokio::test]
    async fn damage_to_a_part_is_found() {
        let rig = Rig::new().await;
        let (_, parts) = rig.run("b", "u", 1).await;
        let contents = &parts[0];
        rig.location.verify_part(contents).await.unwrap();
        let read = rig.location.read_range(&contents.key, 3..8).await.unwrap();
        assert_eq!(read, "tents");

        rig.plant(&contents.key, "contentz").await;
        let error = rig.location.verify_part(contents).await.unwrap_err();
        assert!(error.to_string().contains("SHA-256"), "{error}");
        rig.plant(&contents.key, "content").await;
        let error = rig.location.verify_part(contents).await.unwrap_err();
        assert!(
            error.to_string().contains("7 bytes instead of 8"),
            "{error}"
        );
        rig.location
            .remove("it", std::slice::from_ref(&contents.key))
            .await
            .unwrap();
        let error = rig.location.verify_part(contents).await.unwrap_err();
        assert!(matches!(error, StorageError::PartMissing { .. }), "{error}");
    }
}
