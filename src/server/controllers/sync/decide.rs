//! When to look through a location, and what to do about each backup that is stored there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ObjectMeta;

use crate::api::{Backup, BackupPhase, labels, names};
use crate::server::controllers::backup::decide::owns;
use crate::server::settings::location_of;

/// The longest time for which a revision that stays the same is believed.
const BELIEVED: Duration = Duration::from_hours(1);
/// How much of a list is said in a status.
const MOST_SAID: usize = 10;
/// The longest sentence that is said there, in bytes: what is stored may be long-winded.
const LONGEST: usize = 500;

/// What is remembered of a location between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// When every record was last read.
    pub(crate) read_all: Option<Timestamp>,
    /// The revision at the last listing that went through; `None` if there was none, something has to be done again, or
    /// others write here, too: no other program changes the revision.
    pub(crate) revision: Option<String>,
    /// The records that were read, by the backup's name.
    pub(crate) seen: BTreeMap<String, Seen>,
    /// The UID of the Backup that keeps a stored backup of the same name from being shown, by that name.
    pub(crate) hidden_by: BTreeMap<String, String>,
    /// The problems that are in the log.
    pub(crate) said: BTreeSet<String>,
}

/// What is remembered of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    /// The UID in it.
    pub(crate) uid: String,
    /// The cluster that made it.
    pub(crate) cluster_id: Option<String>,
    /// Whether another program made it.
    pub(crate) foreign: bool,
}

/// How much of a location is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    /// The listing, and each record that is not shown yet.
    New,
    /// The listing and each record.
    All,
}

/// Decides whether to list a location now. `revision` is what it says now, if it can be read and says anything;
/// `unhidden` tells that a name is free which kept a stored backup from being shown.
pub(crate) fn extent(
    memory: &Memory,
    revision: Option<&str>,
    unhidden: bool,
    now: Timestamp,
) -> Option<Extent> {
    let believed = memory.read_all.is_some_and(|before| {
        // A clock that was set back proves nothing.
        Duration::try_from(now.duration_since(before)).is_ok_and(|past| past < BELIEVED)
    });
    if !believed {
        Some(Extent::All)
    } else if revision.is_none() || revision != memory.revision.as_deref() || unhidden {
        Some(Extent::New)
    } else {
        None
    }
}

/// What the cluster has under a stored backup's name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource<'a> {
    /// Nothing.
    None,
    /// A Backup that cannot be read.
    Unreadable,
    /// This Backup.
    Backup(&'a Backup),
}

/// What to do about a stored backup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Nothing.
    Nothing,
    /// Make a Backup that shows it.
    Create,
    /// The Backup that shows it is there, but has no status yet.
    Finish,
    /// Write into its Backup that it is kept here.
    Pin,
    /// The Backup shows one that was here before: make another of this one.
    Replace,
    /// Another backup has its name; why it is not shown.
    Hidden(String),
}

/// Decides what to do about a backup that is stored in the location `place`. `is_location` tells whether there is a
/// location of a name.
pub(crate) fn decide(
    resource: Resource<'_>,
    record: &Backup,
    place: &str,
    is_location: impl Fn(&str) -> bool,
) -> Decision {
    let name = record.metadata.name.as_deref().unwrap_or_default();
    let backup = match resource {
        Resource::None => return Decision::Create,
        Resource::Unreadable => {
            return Decision::Hidden(format!(
                "backup {name} is not shown: the Backup of this name in the cluster cannot be read; delete that one"
            ));
        }
        Resource::Backup(backup) => backup,
    };
    if backup.metadata.deletion_timestamp.is_some() {
        return Decision::Nothing;
    }
    if owns(backup, record) {
        return match phase(backup) {
            BackupPhase::New if backup.is_synced() => Decision::Finish,
            // The backup controller's and the deletion controller's.
            BackupPhase::New
            | BackupPhase::InProgress
            | BackupPhase::WaitingForPluginOperations
            | BackupPhase::Deleting => Decision::Nothing,
            BackupPhase::FailedValidation
            | BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Failed
            | BackupPhase::Other(_) => {
                if is_settled(backup, place, is_location) {
                    Decision::Nothing
                } else {
                    Decision::Pin
                }
            }
        };
    }
    if names_place(backup, place) && is_image(backup) {
        return Decision::Replace;
    }
    Decision::Hidden(hidden(name, location_of(backup)))
}

/// Says why a stored backup is not shown: one of a location, which may be unknown, has its name.
pub(crate) fn hidden(name: &str, location: &str) -> String {
    let elsewhere = match location {
        "" => String::new(),
        location => format!(" of location {location}"),
    };
    format!(
        "backup {name} is not shown: the Backup of this name in the cluster is another one{elsewhere}; this one can be \
         restored when that one is deleted"
    )
}

/// Returns whether a Backup says where it is kept: here, or at another location that there is. One that names a location
/// which is gone was moved with it.
fn is_settled(backup: &Backup, place: &str, is_location: impl Fn(&str) -> bool) -> bool {
    if backup.spec.storage_location.is_empty() {
        return match location_of(backup) {
            "" => false,
            _ if names_place(backup, place) => false,
            other => is_location(other),
        };
    }
    names_place(backup, place) || is_location(&backup.spec.storage_location)
}

/// Returns whether a Backup that was seen to belong to a record needs no further look.
pub(crate) fn is_shown(
    backup: &Backup,
    seen: &Seen,
    place: &str,
    is_location: impl Fn(&str) -> bool,
) -> bool {
    let mut record = Backup::default();
    record.metadata.uid = Some(seen.uid.clone());
    decide(Resource::Backup(backup), &record, place, is_location) == Decision::Nothing
}

/// Returns whether a Backup is to go when no backup of its own is stored in `place`: it says that it is kept there, and
/// is no more than an image of what is stored. One that failed or goes on never had anything stored.
pub(crate) fn stands_for_stored(backup: &Backup, place: &str) -> bool {
    backup.metadata.deletion_timestamp.is_none() && names_place(backup, place) && is_image(backup)
}

fn is_image(backup: &Backup) -> bool {
    match phase(backup) {
        BackupPhase::Completed | BackupPhase::PartiallyFailed => true,
        // Earlier versions of Ark stored these, too.
        BackupPhase::Failed | BackupPhase::FailedValidation | BackupPhase::Other(_) => {
            backup.is_synced()
        }
        BackupPhase::New
        | BackupPhase::InProgress
        | BackupPhase::WaitingForPluginOperations
        | BackupPhase::Deleting => false,
    }
}

/// Returns whether a Backup says that it is kept in `place`.
fn names_place(backup: &Backup, place: &str) -> bool {
    let named = location_of(backup);
    named == place
        || (backup.spec.storage_location.is_empty() && named == names::label_value(place))
}

fn phase(backup: &Backup) -> BackupPhase {
    backup
        .status
        .as_ref()
        .map(|status| status.phase.clone())
        .unwrap_or_default()
}

/// Returns whether nothing has been said yet of how a Backup goes.
pub(crate) fn has_no_status(backup: &Backup) -> bool {
    phase(backup) == BackupPhase::New
}

/// Checks that a record can be shown as a Backup.
///
/// # Errors
/// A sentence that says why not.
pub(crate) fn check(record: &Backup) -> Result<(), String> {
    let name = record.metadata.name.as_deref().unwrap_or_default();
    if record.metadata.uid.as_deref().is_none_or(str::is_empty) {
        return Err(format!(
            "backup {name} is not shown: its record has no UID, by which it could be told from others of its name"
        ));
    }
    match phase(record) {
        BackupPhase::Completed
        | BackupPhase::PartiallyFailed
        | BackupPhase::Failed
        | BackupPhase::FailedValidation
        | BackupPhase::Other(_) => Ok(()),
        unfinished @ (BackupPhase::New
        | BackupPhase::InProgress
        | BackupPhase::WaitingForPluginOperations
        | BackupPhase::Deleting) => Err(format!(
            "backup {name} is not shown: its record says {unfinished}, which is no backup's end"
        )),
    }
}

/// Returns the Backup that shows a record. Its status has to be written on its own.
///
/// What only meant something where the backup was made stays behind, finalizers above all: nobody here would ever
/// remove them.
pub(crate) fn image(record: &Backup, place: &str) -> Backup {
    let mut labels = record.metadata.labels.clone().unwrap_or_default();
    labels.insert(
        labels::STORAGE_LOCATION.to_owned(),
        names::label_value(place),
    );
    let mut annotations = record.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(
        labels::ORIGIN_UID.to_owned(),
        record.metadata.uid.clone().unwrap_or_default(),
    );
    let mut image = record.clone();
    image.metadata = ObjectMeta {
        name: record.metadata.name.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    place.clone_into(&mut image.spec.storage_location);
    image
}

/// Returns the ids of the clusters other than `ours` whose backups these are.
pub(crate) fn other_clusters<'a>(
    seen: impl Iterator<Item = &'a Seen>,
    ours: &str,
) -> BTreeSet<&'a str> {
    seen.filter_map(|seen| seen.cluster_id.as_deref())
        .filter(|id| !id.is_empty() && id.len() <= LONGEST && *id != ours)
        .collect()
}

/// Returns the first of a list, and how many more there are.
pub(crate) fn first_few<'a>(all: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    let more = all.len().saturating_sub(MOST_SAID);
    let mut said: Vec<String> = all.take(MOST_SAID).map(shortened).collect();
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    said
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(LONGEST)])
}

/// Returns what users should know of a location: `clusters` besides ours store in it although we do, too, and
/// `problems` backups cannot be shown.
pub(crate) fn note(clusters: &[String], problems: usize) -> String {
    let mut sentences = Vec::new();
    if !clusters.is_empty() {
        sentences.push(format!(
            "it also holds backups of other clusters ({}); give each cluster a bucket or prefix of its own, or make \
             this location ReadOnly here",
            clusters.join(", ")
        ));
    }
    if problems > 0 {
        sentences.push(format!(
            "{problems} of its backups cannot be shown; status.syncErrors says why"
        ));
    }
    sentences.join("; ")
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
