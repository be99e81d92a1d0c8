//! Writes one run of a backup: first its marker, then its parts, last the record.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keys::{BackupKey, BackupKeys, Layout, PartKind};
use super::{Location, Once, Record, StorageError};
use crate::api::{Backup, Part, Results, VolumeSnapshot, names};
use crate::providers::store::Upload;

/// Marks a run: who writes the parts of this attempt.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunMarker {
    /// The cluster that is backed up.
    pub cluster_id: String,
    /// The server process that carries the run out.
    pub holder: String,
    /// When it began, in RFC 3339.
    pub start_timestamp: String,
    /// 1 for the first try, counted up by each take-over.
    pub attempt: u32,
    /// The UID of the Backup.
    pub backup_uid: String,
}

/// A run of a backup that is being written.
///
/// Ends with [`Run::commit`] or [`Run::discard`]. One that is just dropped, as by a crash, leaves its marker, by which
/// its parts are found and removed later.
#[derive(Clone, Debug)]
pub struct Run {
    location: Location,
    keys: BackupKeys,
    marker: RunMarker,
}

impl Location {
    /// Begins a run of a backup.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`] if there is a backup of this name, [`StorageError::AttemptTaken`] if another run has
    /// this attempt's number. Beginning the same run twice is fine.
    pub async fn begin_run(&self, backup: &str, marker: &RunMarker) -> Result<Run, StorageError> {
        let keys = BackupKeys::new(backup)?;
        for layout in Layout::ALL {
            if let Some(stored) = self.small(&keys.record_in(layout)).await? {
                return Err(name_taken(&keys, layout, &stored));
            }
        }
        let key = keys.marker(marker.attempt);
        let body = encode(&key, marker)?;
        if let Once::Taken(found) = self.put_once(&key, body).await? {
            return Err(attempt_taken(&keys, marker.attempt, &found));
        }
        Ok(Run {
            location: self.clone(),
            keys,
            marker: marker.clone(),
        })
    }

    /// Removes what a run that nobody carries out any more has left.
    ///
    /// # Errors
    /// As [`Run::discard`].
    pub async fn discard_run(&self, backup: &str, marker: &RunMarker) -> Result<(), StorageError> {
        let run = Run {
            location: self.clone(),
            keys: BackupKeys::new(backup)?,
            marker: marker.clone(),
        };
        run.discard().await
    }
}

impl Run {
    /// Returns the backup's name.
    pub fn backup(&self) -> &str {
        self.keys.name()
    }

    /// Returns who carries it out.
    pub fn marker(&self) -> &RunMarker {
        &self.marker
    }

    /// Begins to write a part.
    pub async fn part(&self, kind: PartKind) -> Result<PartUpload, StorageError> {
        let key = self.keys.part(self.marker.attempt, kind);
        Ok(PartUpload {
            upload: self
                .location
                .store
                .upload(&self.location.full(&key))
                .await?,
            key,
            size: 0,
            digest: Sha256::new(),
        })
    }

    /// Writes a part whose bytes are at hand.
    pub async fn put_part(&self, kind: PartKind, bytes: Bytes) -> Result<Part, StorageError> {
        let key = self.keys.part(self.marker.attempt, kind);
        let part = Part {
            size: bytes.len() as u64,
            sha256: names::sha256_hex(&bytes),
            key,
        };
        self.location
            .store
            .put(&self.location.full(&part.key), bytes)
            .await?;
        Ok(part)
    }

    /// Writes the warnings and errors.
    pub async fn put_results(&self, results: &Results) -> Result<Part, StorageError> {
        self.put_json(PartKind::Results, results).await
    }

    /// Writes what was done with each volume.
    pub async fn put_volume_snapshots(
        &self,
        volumes: &[VolumeSnapshot],
    ) -> Result<Part, StorageError> {
        self.put_json(PartKind::VolumeSnapshots, volumes).await
    }

    /// Writes a part that is JSON in gzip.
    async fn put_json<T: Serialize + ?Sized + Sync>(
        &self,
        kind: PartKind,
        value: &T,
    ) -> Result<Part, StorageError> {
        let key = self.keys.part(self.marker.attempt, kind);
        let encoded = |source| StorageError::Encode {
            key: key.clone(),
            source,
        };
        let json = serde_json::to_vec(value).map_err(encoded)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let zipped = gzip
            .write_all(&json)
            .and_then(|()| gzip.finish())
            .map_err(|error| encoded(serde_json::Error::io(error)))?;
        self.put_part(kind, zipped.into()).await
    }

    /// Commits: from here on the backup is there, for everybody.
    ///
    /// `backup` is what is recorded: in its final phase, with the parts that count. Committing the same record twice is
    /// fine, also when the first answer got lost.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`] if another record was committed meanwhile. After any error but
    /// [`StorageError::Mismatch`] the outcome can be unknown; [`Run::discard`] finds out.
    pub async fn commit(&self, backup: &Backup) -> Result<(), StorageError> {
        self.check_record(backup)?;
        let key = self.keys.record();
        let body = encode(&key, backup)?;
        match self.location.put_once(&key, body).await? {
            Once::Written => {}
            Once::Taken(found) => return Err(name_taken(&self.keys, Layout::Ark, &found)),
        }
        self.location.touch_revision().await;
        Ok(())
    }

    /// Checks that a record is about this run, so that no reader is sent elsewhere.
    fn check_record(&self, backup: &Backup) -> Result<(), StorageError> {
        let mismatch = |problem: String| {
            Err(StorageError::Mismatch {
                backup: self.keys.name().to_owned(),
                problem,
            })
        };
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        if name != self.keys.name() {
            return mismatch(format!("it is named {name:?}"));
        }
        let uid = backup.metadata.uid.as_deref().unwrap_or_default();
        if uid != self.marker.backup_uid {
            return mismatch(format!("its UID is {uid:?}"));
        }
        let parts = backup.status.iter().flat_map(|status| &status.parts);
        let mut has_contents = false;
        for part in parts {
            match self.keys.read(&part.key) {
                Some(BackupKey::Part(attempt, kind)) if attempt == self.marker.attempt => {
                    has_contents |= kind == PartKind::Contents;
                }
                _ => return mismatch(format!("{} is not a part of it", part.key)),
            }
        }
        if has_contents {
            Ok(())
        } else {
            mismatch("it names no contents".to_owned())
        }
    }

    /// Removes this run's parts, finished or not, and its marker last. What is gone already is fine.
    ///
    /// # Errors
    /// [`StorageError::Committed`] if the run's commit did happen, [`StorageError::AttemptTaken`] if the marker is
    /// another's; nothing is removed then.
    pub async fn discard(&self) -> Result<(), StorageError> {
        let attempt = self.marker.attempt;
        if let Some(stored) = self.location.small(&self.keys.record()).await? {
            // An unreadable record may name our parts.
            let record = Record::read(&self.keys, Layout::Ark, &stored)?;
            if record.attempts(&self.keys).contains(&attempt) {
                return Err(StorageError::Committed {
                    backup: self.keys.name().to_owned(),
                    attempt,
                });
            }
        }
        let marker = self.keys.marker(attempt);
        if let Some(found) = self.location.small(&marker).await?
            && serde_json::from_slice::<RunMarker>(&found).ok().as_ref() != Some(&self.marker)
        {
            return Err(attempt_taken(&self.keys, attempt, &found));
        }
        let parts = PartKind::ALL.map(|kind| self.keys.part(attempt, kind));
        self.location.abort_uploads(&parts).await?;
        let what = format!("run {attempt} of backup {:?}", self.keys.name());
        self.location.remove(&what, &parts).await?;
        self.location.remove(&what, &[marker]).await
    }
}

/// A part being written, counted and hashed on its way.
#[derive(Debug)]
pub struct PartUpload {
    upload: Box<dyn Upload>,
    key: String,
    size: u64,
    digest: Sha256,
}

impl PartUpload {
    /// Takes the next bytes; waits while the store is slower than the writer.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.size += bytes.len() as u64;
        self.digest.update(&bytes);
        Ok(self.upload.write(bytes).await?)
    }

    /// Makes the part visible, and returns what the record says of it.
    pub async fn finish(self) -> Result<Part, StorageError> {
        self.upload.finish().await?;
        Ok(Part {
            key: self.key,
            size: self.size,
            sha256: names::hex(&self.digest.finalize()),
        })
    }

    /// Gives up and removes what was sent.
    pub async fn abort(self) -> Result<(), StorageError> {
        Ok(self.upload.abort().await?)
    }
}

/// Writes JSON as people read it: two spaces, a newline at the end.
fn encode(key: &str, value: &impl Serialize) -> Result<Bytes, StorageError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|source| StorageError::Encode {
        key: key.to_owned(),
        source,
    })?;
    json.push(b'\n');
    Ok(json.into())
}

fn name_taken(keys: &BackupKeys, layout: Layout, stored: &[u8]) -> StorageError {
    let record = Record::read(keys, layout, stored).ok();
    StorageError::NameTaken {
        backup: keys.name().to_owned(),
        uid: record.as_ref().map(|record| record.uid().to_owned()),
        cluster_id: record.and_then(|record| record.cluster_id().map(str::to_owned)),
    }
}

fn attempt_taken(keys: &BackupKeys, attempt: u32, stored: &[u8]) -> StorageError {
    StorageError::AttemptTaken {
        backup: keys.name().to_owned(),
        attempt,
        marker: serde_json::from_slice(stored).ok().map(Box::new),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fault, Rig, marker, record};
    use super::*;

    #[tokio::test]
    async fn a_run_is_marked_written_and_committed() {
        let rig = Rig::new().await;
        let (run, parts) = rig.run("b", "u", 1).await;
        assert_eq!(
            rig.keys().await,
            [
                "backups/b/b-1-logs.gz",
                "backups/b/b-1.tar.zst",
                "backups/b/run-1.json"
            ]
        );
        assert_eq!(parts[0].key, "backups/b/b-1.tar.zst");
        assert_eq!(parts[0].size, 8);
        assert_eq!(parts[0].sha256, names::sha256_hex(b"contents"));
        assert!(rig.location.list_backups().await.unwrap().is_empty());
        assert_eq!(rig.location.list_unfinished().await.unwrap(), ["b"]);
        assert_eq!(rig.location.revision().await.unwrap(), None);

        run.commit(&record("b", "u", parts.clone())).await.unwrap();
        assert_eq!(rig.location.list_backups().await.unwrap(), ["b"]);
        assert!(rig.location.list_unfinished().await.unwrap().is_empty());
        assert!(rig.location.revision().await.unwrap().is_some());
        let stored = rig.location.read_record("b").await.unwrap();
        assert_eq!(stored.parts(), parts);
        let bytes = rig
            .location
            .read_small("backups/b/ark-backup.json")
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(
            text.starts_with(
                "{\n  \"apiVersion\": \"ark.heptio.com/v1\",\n  \"kind\": \"Backup\",\n"
            ),
            "{text}"
        );
        // A commit whose answer got lost is tried again.
        run.commit(&record("b", "u", parts)).await.unwrap();
    }

    #[tokio::test]
    async fn results_are_json_in_gzip() {
        let rig = Rig::new().await;
        let (run, _) = rig.run("b", "u", 1).await;
        let mut results = Results::default();
        results.errors.add_ark("oh");
        let part = run.put_results(&results).await.unwrap();
        assert_eq!(part.key, "backups/b/b-1-results.gz");
        rig.location.verify_part(&part).await.unwrap();
        let bytes = rig.location.read_small(&part.key).await.unwrap().unwrap();
        let read: Results =
            serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
        assert_eq!(read, results);
    }

    #[tokio::test]
    async fn a_taken_name_is_refused_with_its_owner() {
        let rig = Rig::new().await;
        rig.backup("b", "theirs").await;
        let before = rig.keys().await;
        let error = rig
            .location
            .begin_run("b", &marker("ours", 1))
            .await
            .unwrap_err();
        assert!(error.is_name_taken());
        let StorageError::NameTaken {
            uid, cluster_id, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(uid.as_deref(), Some("theirs"));
        assert_eq!(cluster_id.as_deref(), Some("cluster-1"));
        assert!(
            error.to_string().contains("made by cluster cluster-1"),
            "{error}"
        );
        assert_eq!(rig.keys().await, before);

        // Whatever lies there, it is not overwritten.
        rig.plant("backups/odd/ark-backup.json", "not json").await;
        let error = rig
            .location
            .begin_run("odd", &marker("ours", 1))
            .await
            .unwrap_err();
        assert!(error.is_name_taken(), "{error}");
    }

    #[tokio::test]
    async fn an_attempt_has_one_holder() {
        let rig = Rig::new().await;
        rig.run("b", "u", 1).await;
        // The same run, begun again after its answer got lost.
        rig.location.begin_run("b", &marker("u", 1)).await.unwrap();
        let other = RunMarker {
            holder: "ark-1".into(),
            ..marker("u", 1)
        };
        let error = rig.location.begin_run("b", &other).await.unwrap_err();
        assert!(
            matches!(&error, StorageError::AttemptTaken { marker: Some(found), .. } if found.holder == "ark-0"),
            "{error}"
        );
        let next = RunMarker {
            attempt: 2,
            ..other
        };
        rig.location.begin_run("b", &next).await.unwrap();
        assert_eq!(
            rig.location.runs("b").await.unwrap(),
            [marker("u", 1), next]
        );
    }

    #[tokio::test]
    async fn of_two_attempts_one_is_committed() {
        let rig = Rig::new().await;
        let (first, first_parts) = rig.run("b", "u", 1).await;
        let (second, second_parts) = rig.run("b", "u", 2).await;
        second
            .commit(&record("b", "u", second_parts.clone()))
            .await
            .unwrap();
        let late = first.commit(&record("b", "u", first_parts)).await;
        assert!(late.unwrap_err().is_name_taken());
        // The loser clears up after itself, the winner cannot by mistake.
        first.discard().await.unwrap();
        assert!(matches!(
            second.discard().await,
            Err(StorageError::Committed { attempt: 2, .. })
        ));
        for part in &second_parts {
            rig.location.verify_part(part).await.unwrap();
        }
        assert_eq!(rig.location.runs("b").await.unwrap(), [marker("u", 2)]);
    }

    #[tokio::test]
    async fn a_lost_answer_is_settled_by_looking() {
        let rig = Rig::new().await;
        rig.store.set(Fault::LostAnswer);
        let (run, parts) = rig.run("b", "u", 1).await;
        run.commit(&record("b", "u", parts)).await.unwrap();
        assert_eq!(rig.location.list_backups().await.unwrap(), ["b"]);

        rig.store.set(Fault::None);
        let (run, parts) = rig.run("c", "u", 1).await;
        rig.store.set(Fault::LostRequest);
        let error = run.commit(&record("c", "u", parts)).await.unwrap_err();
        assert_eq!(
            error.store_kind(),
            Some(crate::providers::store::ErrorKind::Unreachable)
        );
        run.discard().await.unwrap();
    }

    #[tokio::test]
    async fn a_record_of_something_else_is_not_committed() {
        let rig = Rig::new().await;
        let (run, parts) = rig.run("b", "u", 1).await;
        let (_, others) = rig.run("c", "u", 1).await;
        let (_, later) = rig.run("b", "u", 2).await;
        for wrong in [
            record("c", "u", parts.clone()),
            record("b", "v", parts),
            record("b", "u", others),
            record("b", "u", later),
            record("b", "u", Vec::new()),
        ] {
            let error = run.commit(&wrong).await.unwrap_err();
            assert!(matches!(error, StorageError::Mismatch { .. }), "{error}");
        }
        assert!(rig.location.list_backups().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_discarded_run_leaves_nothing_and_others_alone() {
        let rig = Rig::new().await;
        rig.plant("backups/b/notes.txt", "mine").await;
        let (_, _) = rig.run("b", "u", 1).await;
        let (second, _) = rig.run("b", "u", 2).await;
        let mut unfinished = second.part(PartKind::Index).await.unwrap();
        unfinished.write(Bytes::from_static(b"half")).await.unwrap();
        unfinished.abort().await.unwrap();
        second.discard().await.unwrap();
        second.discard().await.unwrap();
        assert_eq!(
            rig.keys().await,
            [
                "backups/b/b-1-logs.gz",
                "backups/b/b-1.tar.zst",
                "backups/b/notes.txt",
                "backups/b/run-1.json"
            ]
        );
        // Debris goes by its marker, and only by that.
        let stranger = RunMarker {
            cluster_id: "cluster-2".into(),
            ..marker("u", 1)
        };
        assert!(matches!(
            rig.location.discard_run("b", &stranger).await,
            Err(StorageError::AttemptTaken { .. })
        ));
        let aborted = rig.store.aborted();
        assert!(
            aborted.iter().all(|key| key.contains("/b-2")),
            "{aborted:?}"
        );
        assert_eq!(aborted.len(), 2 * PartKind::ALL.len());
        rig.location
            .discard_run("b", &marker("u", 1))
            .await
            .unwrap();
        assert_eq!(rig.keys().await, ["backups/b/notes.txt"]);
    }
}
