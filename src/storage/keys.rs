//! The keys of a location, written and read back; docs/format.md has their table.

use super::StorageError;
use crate::api::names::check_resource_name;

/// Where backups are.
pub(super) const BACKUPS: &str = "backups/";
/// Changes whenever a backup is added or removed.
pub(super) const REVISION: &str = "metadata/revision";
/// The name of a backup's record, below its directory.
const RECORD: &str = "ark-backup.json";

/// The name of the record that Velero writes there.
const VELERO_RECORD: &str = "velero-backup.json";
/// Directories beside the backups of an early Ark that hold something else.
const RESERVED: [&str; 6] = [
    "backups", "restores", "metadata", "plugins", "restic", "kopia",
];

/// Who laid a backup out.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Layout {
    /// This program, or Ark 0.10: below `backups/`, with `ark-backup.json`.
    #[default]
    Ark,
    /// Velero: below `backups/`, with `velero-backup.json`.
    Velero,
    /// Ark up to 0.9: right below the bucket, with `ark-backup.json`.
    Early,
}

impl Layout {
    /// All layouts; of two backups of one name the earlier one counts.
    pub const ALL: [Self; 3] = [Self::Ark, Self::Velero, Self::Early];
}

/// The parts of a backup.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PartKind {
    /// The objects.
    Contents,
    /// One line for each object, with its place in the contents.
    Index,
    /// The snapshots of volumes.
    VolumeSnapshots,
    /// Warnings and errors.
    Results,
    /// The run's log.
    Logs,
}

impl PartKind {
    /// All kinds, in the order in which they are removed.
    pub const ALL: [Self; 5] = [
        Self::Contents,
        Self::Index,
        Self::VolumeSnapshots,
        Self::Results,
        Self::Logs,
    ];

    fn suffix(self) -> &'static str {
        match self {
            Self::Contents => ".tar.zst",
            Self::Index => "-index.json.zst",
            Self::VolumeSnapshots => "-volumesnapshots.json.gz",
            Self::Results => "-results.gz",
            Self::Logs => "-logs.gz",
        }
    }
}

/// What a key below a backup's directory is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BackupKey {
    /// The record, which is the commit.
    Record,
    /// The mark of the run of this attempt.
    Marker(u32),
    /// A part that the run of this attempt wrote.
    Part(u32, PartKind),
}

/// The keys of one backup.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BackupKeys {
    name: String,
}

impl BackupKeys {
    /// Takes a backup's name.
    ///
    /// # Errors
    /// A name that is none of Kubernetes, and so could reach other keys.
    pub fn new(name: &str) -> Result<Self, StorageError> {
        check_resource_name(name, "backup").map_err(StorageError::Name)?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Returns the backup's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what all of its keys begin with.
    pub fn directory(&self) -> String {
        format!("{BACKUPS}{}/", self.name)
    }

    /// Returns the key of its record.
    pub fn record(&self) -> String {
        self.key(BackupKey::Record)
    }

    /// Returns the key of a run's marker.
    pub fn marker(&self, attempt: u32) -> String {
        self.key(BackupKey::Marker(attempt))
    }

    /// Returns the key of a run's part.
    pub fn part(&self, attempt: u32, kind: PartKind) -> String {
        self.key(BackupKey::Part(attempt, kind))
    }

    /// Returns the key of the record in a layout.
    pub fn record_in(&self, layout: Layout) -> String {
        match layout {
            Layout::Ark => self.record(),
            Layout::Velero => format!("{}{VELERO_RECORD}", self.directory()),
            Layout::Early => format!("{}/{RECORD}", self.name),
        }
    }

    /// Returns the key of another program's file beside the record, by how it ends.
    pub(super) fn beside(&self, suffix: &str) -> String {
        format!("{}{}{suffix}", self.directory(), self.name)
    }

    /// Returns the key that another program gave a part; `None` for what it has none of.
    pub fn foreign(&self, layout: Layout, kind: PartKind) -> Option<String> {
        let suffix = match (kind, layout) {
            (PartKind::Contents, _) => ".tar.gz",
            (PartKind::Logs, _) => "-logs.gz",
            (PartKind::VolumeSnapshots, Layout::Ark | Layout::Velero) => "-volumesnapshots.json.gz",
            (PartKind::Results, Layout::Velero) => "-results.gz",
            (PartKind::VolumeSnapshots | PartKind::Results | PartKind::Index, _) => return None,
        };
        let directory = match layout {
            Layout::Ark | Layout::Velero => self.directory(),
            Layout::Early => format!("{}/", self.name),
        };
        Some(format!("{directory}{}{suffix}", self.name))
    }

    /// Takes a directory right below the bucket for a backup of an early Ark, if it can be one.
    pub(super) fn early(directory: &str) -> Option<Self> {
        let keys = Self::new(directory).ok()?;
        (!RESERVED.contains(&directory)).then_some(keys)
    }

    /// Returns the name of the backup whose Velero record a key is.
    pub(super) fn velero(key: &str) -> Option<Self> {
        let (name, file) = key.strip_prefix(BACKUPS)?.split_once('/')?;
        (file == VELERO_RECORD).then(|| Self::new(name).ok())?
    }

    fn key(&self, key: BackupKey) -> String {
        let directory = self.directory();
        match key {
            BackupKey::Record => format!("{directory}{RECORD}"),
            BackupKey::Marker(attempt) => format!("{directory}run-{attempt}.json"),
            BackupKey::Part(attempt, kind) => {
                format!("{directory}{}-{attempt}{}", self.name, kind.suffix())
            }
        }
    }

    /// Returns what a key is; `None` for one that is not this backup's, or not ours at all.
    pub fn read(&self, key: &str) -> Option<BackupKey> {
        let file = key.strip_prefix(&self.directory())?;
        if file == RECORD {
            return Some(BackupKey::Record);
        }
        let marker = file
            .strip_prefix("run-")
            .and_then(|rest| rest.strip_suffix(".json"))
            .and_then(attempt);
        if let Some(attempt) = marker {
            return Some(BackupKey::Marker(attempt));
        }
        let rest = file.strip_prefix(&self.name)?.strip_prefix('-')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, suffix) = rest.split_at(digits);
        let kind = PartKind::ALL
            .into_iter()
            .find(|kind| kind.suffix() == suffix)?;
        Some(BackupKey::Part(attempt(number)?, kind))
    }

    /// Returns the backup that a key below [`BACKUPS`] belongs to, and what it is of it.
    pub(super) fn of(key: &str) -> Option<(Self, BackupKey)> {
        let (name, _) = key.strip_prefix(BACKUPS)?.split_once('/')?;
        let keys = Self::new(name).ok()?;
        let found = keys.read(key)?;
        Some((keys, found))
    }
}

/// Reads an attempt's number, only as we write it: another form would be another key.
fn attempt(text: &str) -> Option<u32> {
    let attempt: u32 = text.parse().ok()?;
    (attempt > 0 && attempt.to_string() == text).then_some(attempt)
}

/// The keys of one restore.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RestoreKeys {
    name: String,
}

impl RestoreKeys {
    /// Takes a restore's name.
    ///
    /// # Errors
    /// A name that is none of Kubernetes, and so could reach other keys.
    pub fn new(name: &str) -> Result<Self, StorageError> {
        check_resource_name(name, "restore").map_err(StorageError::Name)?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Returns the key of its log.
    pub fn logs(&self) -> String {
        format!("restores/{0}/restore-{0}-logs.gz", self.name)
    }

    /// Returns the key of its warnings and errors.
    pub fn results(&self) -> String {
        format!("restores/{0}/restore-{0}-results.gz", self.name)
    }

    /// Returns the key of what its dry run would do: JSON lines in gzip.
    pub fn plan(&self) -> String {
        format!("restores/{0}/restore-{0}-plan.json.gz", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_programs() {
        let keys = BackupKeys::new("b").unwrap();
        for (layout, kind, key) in [
            (Layout::Ark, PartKind::Contents, Some("backups/b/b.tar.gz")),
            (Layout::Ark, PartKind::Results, None),
            (
                Layout::Velero,
                PartKind::Contents,
                Some("backups/b/b.tar.gz"),
            ),
            (
                Layout::Velero,
                PartKind::Results,
                Some("backups/b/b-results.gz"),
            ),
            (Layout::Early, PartKind::Contents, Some("b/b.tar.gz")),
            (Layout::Early, PartKind::Logs, Some("b/b-logs.gz")),
            (Layout::Early, PartKind::VolumeSnapshots, None),
        ] {
            assert_eq!(
                keys.foreign(layout, kind).as_deref(),
                key,
                "{layout:?} {kind:?}"
            );
        }
        assert_eq!(
            keys.record_in(Layout::Velero),
            "backups/b/velero-backup.json"
        );
        assert_eq!(keys.record_in(Layout::Early), "b/ark-backup.json");
        assert!(BackupKeys::velero("backups/b/velero-backup.json").is_some());
        assert!(BackupKeys::velero("backups/b/x/velero-backup.json").is_none());
        assert!(BackupKeys::early("kopia").is_none() && BackupKeys::early("b").is_some());
    }

    #[test]
    fn every_key_of_the_format() {
        let keys = BackupKeys::new("nightly").unwrap();
        let table = [
            (BackupKey::Record, "backups/nightly/ark-backup.json"),
            (BackupKey::Marker(1), "backups/nightly/run-1.json"),
            (
                BackupKey::Part(1, PartKind::Contents),
                "backups/nightly/nightly-1.tar.zst",
            ),
            (
                BackupKey::Part(2, PartKind::Index),
                "backups/nightly/nightly-2-index.json.zst",
            ),
            (
                BackupKey::Part(10, PartKind::VolumeSnapshots),
                "backups/nightly/nightly-10-volumesnapshots.json.gz",
            ),
            (
                BackupKey::Part(3, PartKind::Results),
                "backups/nightly/nightly-3-results.gz",
            ),
            (
                BackupKey::Part(3, PartKind::Logs),
                "backups/nightly/nightly-3-logs.gz",
            ),
        ];
        for (key, text) in table {
            assert_eq!(keys.key(key), text);
            assert_eq!(keys.read(text), Some(key), "{text}");
            assert_eq!(BackupKeys::of(text), Some((keys.clone(), key)), "{text}");
        }
        let restore = RestoreKeys::new("r").unwrap();
        assert_eq!(restore.logs(), "restores/r/restore-r-logs.gz");
        assert_eq!(restore.results(), "restores/r/restore-r-results.gz");
    }

    #[test]
    fn every_key_of_ark_0_10() {
        let keys = BackupKeys::new("nightly").unwrap();
        for (kind, expected) in [
            (PartKind::Contents, Some("backups/nightly/nightly.tar.gz")),
            (PartKind::Index, None),
            (
                PartKind::VolumeSnapshots,
                Some("backups/nightly/nightly-volumesnapshots.json.gz"),
            ),
            (PartKind::Results, None),
            (PartKind::Logs, Some("backups/nightly/nightly-logs.gz")),
        ] {
            let key = keys.foreign(Layout::Ark, kind);
            assert_eq!(key.as_deref(), expected, "{kind:?}");
            // Such a key is never taken for one of ours.
            assert_eq!(key.and_then(|key| keys.read(&key)), None, "{kind:?}");
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let keys = BackupKeys::new("nightly").unwrap();
        for key in [
            "backups/nightly",
            "backups/nightly/",
            "backups/nightly/nightly.tar.gz",
            "backups/nightly/nightly-logs.gz",
            "backups/nightly/nightly-0.tar.zst",
            "backups/nightly/nightly-01.tar.zst",
            "backups/nightly/nightly-1",
            "backups/nightly/nightly-1.tar.zst.bak",
            "backups/nightly/nightly-+1.tar.zst",
            "backups/nightly/nightly-99999999999.tar.zst",
            "backups/nightly/other-1.tar.zst",
            "backups/nightly/run-1",
            "backups/nightly/run-x.json",
            "backups/nightly/deep/ark-backup.json",
            "backups/nightly2/ark-backup.json",
            "nightly/ark-backup.json",
            "restores/nightly/ark-backup.json",
        ] {
            assert_eq!(keys.read(key), None, "{key}");
        }
        for key in [
            "backups/Bad Name/ark-backup.json",
            "backups/ark-backup.json",
            "backups//ark-backup.json",
        ] {
            assert_eq!(BackupKeys::of(key), None, "{key}");
        }
    }

    #[test]
    fn names_that_look_like_attempts_stay_apart() {
        let keys = BackupKeys::new("a-1").unwrap();
        let part = keys.part(2, PartKind::Contents);
        assert_eq!(part, "backups/a-1/a-1-2.tar.zst");
        assert_eq!(
            keys.read(&part),
            Some(BackupKey::Part(2, PartKind::Contents))
        );
        assert_eq!(BackupKeys::new("a").unwrap().read(&part), None);
    }

    #[test]
    fn names_cannot_reach_other_keys() {
        for name in ["", "..", "a/b", "A", "a b"] {
            assert!(BackupKeys::new(name).is_err(), "{name:?}");
            assert!(RestoreKeys::new(name).is_err(), "{name:?}");
        }
    }
}
