//! Removes backups: only what is certainly the caller's, and in an order that every crash leaves in good shape.
//!
//! The record goes first, so that no reader sees a backup whose parts are gone; the markers go last, since by them a
//! later try knows the parts as its own.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{BackupKey, BackupKeys, Layout};
use super::{Location, PartKind, Record, StorageError};
use crate::api::Backup;
use crate::providers::store::Lock;

/// Whose backup is to be deleted: the UID that its record carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner(String);

impl Owner {
    /// Takes a UID.
    pub fn new(uid: impl Into<String>) -> Self {
        Self(uid.into())
    }

    /// Returns the owner that a resource stands for: the one that sync found in the location, or itself.
    pub fn of(backup: &Backup) -> Self {
        Self::new(backup.stored_uid())
    }
}

/// How a deletion went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// Nothing of the owner's is left.
    Done {
        /// How many objects were removed this time.
        removed: usize,
    },
    /// The stored backup is not the owner's to delete; nothing was removed.
    Refused(Refusal),
}

/// Why a stored backup is left alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is another backup of the same name.
    OtherOwner {
        /// The UID in its record.
        uid: String,
        /// The cluster that made it, if the record says so.
        cluster_id: Option<String>,
    },
    /// Another program made it.
    Foreign,
}

impl Location {
    /// Returns what keeps the backup of this name from being removed; `None` too if there is none, or one whose record
    /// cannot be read, which nobody removes.
    ///
    /// Where objects can be locked, each has a lock of its own: the backup can go when all of its objects can. A lock whose
    /// time is over may be returned.
    pub async fn locked(&self, backup: &str) -> Result<Option<Lock>, StorageError> {
        let keys = BackupKeys::new(backup)?;
        let Some(bytes) = self.small(&keys.record()).await? else {
            return Ok(None);
        };
        let Ok(record) = Record::read(&keys, Layout::Ark, &bytes) else {
            return Ok(None);
        };
        let parts = record.parts().iter().map(|part| part.key.clone());
        let mut strongest = None;
        for key in std::iter::once(keys.record()).chain(parts) {
            let lock = self.store.lock(&self.full(&key)).await?;
            strongest = strongest.max(lock);
        }
        Ok(strongest)
    }

    /// Deletes the owner's backup of this name, and what its failed runs have left.
    ///
    /// May be repeated, also after a crash in the middle. Another owner's runs of the same name are not touched, nor is
    /// any key that is not ours.
    ///
    /// # Errors
    /// [`StorageError::Delete`] names what could not be removed. An unreadable record is an error, since it may be
    /// anybody's.
    pub async fn delete_backup(
        &self,
        backup: &str,
        owner: &Owner,
    ) -> Result<Deletion, StorageError> {
        let keys = BackupKeys::new(backup)?;
        let record = match self.small(&keys.record()).await? {
            Some(bytes) => Some(Record::read(&keys, Layout::Ark, &bytes)?),
            None => None,
        };
        if let Some(refusal) = record.as_ref().and_then(|record| refusal(record, owner)) {
            return Ok(Deletion::Refused(refusal));
        }
        if record.is_none() {
            for layout in [Layout::Velero, Layout::Early] {
                if let Some(bytes) = self.small(&keys.record_in(layout)).await? {
                    Record::read(&keys, layout, &bytes)?;
                    return Ok(Deletion::Refused(Refusal::Foreign));
                }
            }
        }

        // Gather everything before anything is removed: what cannot be listed cannot be removed either.
        let markers: BTreeMap<u32, String> = self
            .runs(backup)
            .await?
            .into_iter()
            .map(|marker| (marker.attempt, marker.backup_uid))
            .collect();
        let mut attempts: BTreeSet<u32> = markers
            .iter()
            .filter(|(_, uid)| **uid == owner.0)
            .map(|(attempt, _)| *attempt)
            .collect();
        // A record of the owner's also vouches for an attempt whose marker has gone.
        let recorded = record.iter().flat_map(|record| record.attempts(&keys));
        attempts.extend(recorded.filter(|attempt| !markers.contains_key(attempt)));
        let (mut parts, mut marks) = (Vec::new(), Vec::new());
        for key in self.keys(&keys.directory()).await? {
            match keys.read(&key) {
                Some(BackupKey::Part(attempt, _)) if attempts.contains(&attempt) => parts.push(key),
                Some(BackupKey::Marker(attempt)) if attempts.contains(&attempt) => marks.push(key),
                Some(_) | None => {}
            }
        }

        // What was committed has no unfinished uploads.
        let counts: Vec<u32> = record
            .iter()
            .flat_map(|record| record.attempts(&keys))
            .collect();
        for attempt in attempts.iter().filter(|attempt| !counts.contains(attempt)) {
            self.abort_uploads(&PartKind::ALL.map(|kind| keys.part(*attempt, kind)))
                .await?;
        }

        let what = format!("backup {backup:?}");
        let mut removed = 0;
        if record.is_some() {
            self.remove(&what, &[keys.record()]).await?;
            removed += 1;
        }
        let parts_removed = self.remove(&what, &parts).await;
        let marks_removed = match &parts_removed {
            Ok(()) => self.remove(&what, &marks).await,
            // The markers stay, so that the next try finds the rest.
            Err(_) => Ok(()),
        };
        if record.is_some() || !parts.is_empty() {
            self.touch_revision().await;
        }
        parts_removed?;
        marks_removed?;
        removed += parts.len() + marks.len();
        Ok(Deletion::Done { removed })
    }

    /// Removes objects, all that can be.
    pub(super) async fn remove(&self, what: &str, keys: &[String]) -> Result<(), StorageError> {
        let mut problems = Vec::new();
        for key in keys {
            if let Err(error) = self.store.delete(&self.full(key)).await {
                problems.push(error);
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(StorageError::Delete {
            what: what.to_owned(),
            problems,
        })
    }
}

fn refusal(record: &Record, owner: &Owner) -> Option<Refusal> {
    if record.uid() != owner.0 {
        Some(Refusal::OtherOwner {
            uid: record.uid().to_owned(),
            cluster_id: record.cluster_id().map(str::to_owned),
        })
    } else if record.is_foreign() {
        Some(Refusal::Foreign)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fault, Rig};
    use super::*;
    use crate::api::labels;

    async fn delete(rig: &Rig, uid: &str) -> Result<Deletion, StorageError> {
        rig.location.delete_backup("b", &Owner::new(uid)).await
    }

    #[tokio::test]
    async fn the_owner_deletes_everything_of_its_own() {
        let rig = Rig::new().await;
        // A failed first attempt, the one that counts, somebody else's run, and a file of nobody.
        rig.run("b", "u", 1).await;
        let (run, parts) = rig.run("b", "u", 2).await;
        rig.run("b", "other", 3).await;
        rig.plant("backups/b/notes.txt", "mine").await;
        rig.plant("backups/b/b-9.tar.zst", "unmarked").await;
        rig.backup("b2", "u").await;
        let others: Vec<String> = rig
            .keys()
            .await
            .into_iter()
            .filter(|key| !key.contains("b-1") && !key.contains("b-2"))
            .filter(|key| !["backups/b/run-1.json", "backups/b/run-2.json"].contains(&key.as_str()))
            .collect();
        run.commit(&super::super::testing::record("b", "u", parts))
            .await
            .unwrap();

        let revision = rig.location.revision().await.unwrap();
        // A record, two times two parts, two markers.
        assert_eq!(
            delete(&rig, "u").await.unwrap(),
            Deletion::Done { removed: 7 }
        );
        assert_ne!(rig.location.revision().await.unwrap(), revision);
        assert_eq!(rig.keys().await, others);
        assert_eq!(
            delete(&rig, "u").await.unwrap(),
            Deletion::Done { removed: 0 }
        );
        assert_eq!(rig.location.list_backups().await.unwrap(), ["b2"]);
    }

    #[tokio::test]
    async fn another_owners_backup_is_refused_whole() {
        let rig = Rig::new().await;
        // Our failed run lies beside their backup.
        rig.run("b", "ours", 2).await;
        rig.backup("b", "theirs").await;
        let before = rig.keys().await;
        assert_eq!(
            delete(&rig, "ours").await.unwrap(),
            Deletion::Refused(Refusal::OtherOwner {
                uid: "theirs".into(),
                cluster_id: Some("cluster-1".into())
            })
        );
        assert_eq!(rig.keys().await, before);
    }

    #[tokio::test]
    async fn foreign_and_unreadable_backups_are_left_alone() {
        for (record, api) in [
            ("backups/b/ark-backup.json", "ark.heptio.com/v1"),
            ("backups/b/velero-backup.json", "velero.io/v1"),
            ("b/ark-backup.json", "ark.heptio.com/v1"),
        ] {
            let rig = Rig::new().await;
            let old = format!(
                r#"{{"kind":"Backup","apiVersion":"{api}","metadata":{{"name":"b","uid":"u"}},"spec":{{}},
                "status":{{"version":1}}}}"#
            );
            rig.plant(record, &old).await;
            rig.plant("backups/b/b.tar.gz", "old").await;
            assert_eq!(
                delete(&rig, "u").await.unwrap(),
                Deletion::Refused(Refusal::Foreign),
                "{record}"
            );
            rig.plant(record, "garbage").await;
            assert!(
                matches!(
                    delete(&rig, "u").await,
                    Err(StorageError::Unreadable { .. })
                ),
                "{record}"
            );
            assert_eq!(rig.keys().await.len(), 2);
        }
    }

    #[tokio::test]
    async fn a_deletion_that_died_goes_on() {
        let rig = Rig::new().await;
        for (survivor, left_over) in [("tar.zst", 2), ("run-1", 1), ("ark-backup", 4)] {
            rig.backup("b", "u").await;
            rig.store.set(Fault::KeepsKeysWith(survivor));
            let error = delete(&rig, "u").await.unwrap_err();
            assert!(error.to_string().contains("it is locked"), "{error}");
            // As long as the record is there, so is everything it names; and the marker outlives both.
            let left = rig.keys().await;
            assert_eq!(left.len(), left_over, "{survivor}: {left:?}");
            assert!(left.contains(&"backups/b/run-1.json".to_owned()));
            let listed = rig.location.list_backups().await.unwrap();
            assert_eq!(listed.len(), usize::from(survivor == "ark-backup"));

            rig.store.set(Fault::None);
            assert!(matches!(
                delete(&rig, "u").await.unwrap(),
                Deletion::Done { removed: 1.. }
            ));
            assert!(rig.keys().await.is_empty(), "{survivor}");
        }
    }

    #[tokio::test]
    async fn the_strongest_lock_counts() {
        let rig = Rig::new().await;
        let at = |time: &str| Lock::Until(format!("2026-12-{time}T00:00:00Z").parse().unwrap());
        rig.backup("b", "u").await;
        assert_eq!(rig.location.locked("b").await.unwrap(), None);
        assert_eq!(rig.location.locked("absent").await.unwrap(), None);
        for (key, lock, expected) in [
            ("b-1.tar.zst", at("02"), at("02")),
            ("b-1-logs.gz", at("01"), at("02")),
            ("ark-backup.json", at("03"), at("03")),
            // Not one of those that the record names.
            ("run-1.json", Lock::Held, at("03")),
            ("b-1-logs.gz", Lock::Held, Lock::Held),
        ] {
            rig.store.lock_keys_with(key, lock);
            let locked = rig.location.locked("b").await.unwrap();
            assert_eq!(locked, Some(expected), "{key}");
        }
    }

    #[tokio::test]
    async fn unfinished_uploads_of_failed_runs_go_too() {
        let rig = Rig::new().await;
        rig.run("b", "u", 1).await;
        rig.run("b", "other", 2).await;
        let (run, parts) = rig.run("b", "u", 3).await;
        run.commit(&super::super::testing::record("b", "u", parts))
            .await
            .unwrap();
        delete(&rig, "u").await.unwrap();
        let aborted = rig.store.aborted();
        assert_eq!(aborted.len(), PartKind::ALL.len(), "{aborted:?}");
        for key in aborted {
            assert!(key.starts_with("clusters/one/backups/b/b-1"), "{key}");
        }
    }

    #[tokio::test]
    async fn a_backup_without_its_marker_goes_by_its_record() {
        let rig = Rig::new().await;
        rig.backup("b", "u").await;
        rig.location
            .remove("it", &["backups/b/run-1.json".to_owned()])
            .await
            .unwrap();
        assert_eq!(
            delete(&rig, "u").await.unwrap(),
            Deletion::Done { removed: 3 }
        );
        assert!(rig.keys().await.is_empty());
    }

    #[tokio::test]
    async fn deleting_needs_no_space_and_no_whole_backup() {
        let rig = Rig::new().await;
        rig.backup("b", "u").await;
        let part = "backups/b/b-1.tar.zst".to_owned();
        rig.location.remove("it", &[part]).await.unwrap();
        rig.store.set(Fault::Full);
        assert_eq!(
            delete(&rig, "u").await.unwrap(),
            Deletion::Done { removed: 3 }
        );
        assert!(rig.keys().await.is_empty());
    }

    #[test]
    fn synced_backups_are_owned_by_their_origin() {
        let mut backup = Backup::default();
        backup.metadata.uid = Some("here".into());
        assert_eq!(Owner::of(&backup), Owner::new("here"));
        backup.metadata.annotations =
            Some([(labels::ORIGIN_UID.to_owned(), "there".into())].into());
        assert_eq!(Owner::of(&backup), Owner::new("there"));
    }
}
