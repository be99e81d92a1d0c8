//! What to do about a DeleteBackupRequest. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestStatus,
    labels,
};
use crate::server::engines::{self, Lock};

/// What is known of the Config.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Location<'a> {
    /// There is no Config yet, or it is being looked at.
    Unknown,
    /// This server deletes no backups.
    RestoreOnly,
    /// It cannot be used; a sentence for each reason.
    Unusable(&'a [String]),
    /// Nothing may be removed from the one of this name.
    ReadOnly(&'a str),
    /// Nothing of the backup was ever stored, wherever it was to go.
    Unneeded,
    /// It can be used.
    Usable {
        /// What it holds under the name was made by another program.
        foreign: bool,
        /// What keeps the backup from being removed.
        lock: Option<Lock>,
    },
}

/// What to do about a DeleteBackupRequest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Nothing until it or the Config changes.
    Nothing,
    /// It is through; a sentence for each thing that could not be removed.
    Process(Vec<String>),
    /// It is through: the backup stays where it is locked, the end of which is known or not; a sentence.
    Wait(Option<Timestamp>, String),
    /// Remove the Backup with this UID, and what is stored of it.
    Delete {
        /// The UID of the resource.
        uid: String,
        /// The UID in the stored record: another one if sync made the resource.
        owner: String,
    },
}

/// Returns the status of a request that is through.
pub(crate) fn processed(errors: Vec<String>, now: Timestamp) -> DeleteBackupRequestStatus {
    DeleteBackupRequestStatus {
        phase: DeleteBackupRequestPhase::Processed,
        errors,
        completion_timestamp: Some(Time(now)),
    }
}

/// Returns whether nothing of a Backup can be stored: it was refused before its run began to write.
pub(crate) fn stored_nothing(backup: &Backup) -> bool {
    let status = backup.status.as_ref();
    status.is_some_and(|status| status.phase == BackupPhase::FailedValidation)
}

/// Returns whether a request is for the same backup as one that is about to be carried out, and so has no purpose.
pub(crate) fn is_same(request: &DeleteBackupRequest, backup: &str, uid: &str) -> bool {
    let labels = request.metadata.labels.as_ref();
    let meant = labels.and_then(|labels| labels.get(labels::BACKUP_UID));
    request.spec.backup_name == backup && meant.is_none_or(|meant| meant == uid)
}

/// Decides what to do about a request that nobody works on in this process. Only the leader may ask.
///
/// `running` names the restores that read the backup now.
pub(crate) fn decide(
    request: &DeleteBackupRequest,
    backup: Option<&Backup>,
    running: &[String],
    location: Location<'_>,
    now: Timestamp,
) -> Decision {
    let phase = request
        .status
        .as_ref()
        .map(|status| status.phase.clone())
        .unwrap_or_default();
    let resumed = match phase {
        DeleteBackupRequestPhase::New => false,
        DeleteBackupRequestPhase::InProgress => true,
        DeleteBackupRequestPhase::Processed | DeleteBackupRequestPhase::Other(_) => {
            return Decision::Nothing;
        }
    };
    if matches!(location, Location::RestoreOnly) {
        return Decision::Nothing;
    }
    let name = &request.spec.backup_name;
    let refuse = |problem: String| Decision::Process(vec![problem]);
    if name.is_empty() {
        return refuse("no backup is named; set spec.backupName".to_owned());
    }
    let meant = request
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(labels::BACKUP_UID));
    let (uid, owner) = match (backup, meant) {
        // The one that is there now is another of the same name.
        (Some(backup), Some(uid)) if backup.metadata.uid.as_ref() != Some(uid) && !resumed => {
            return refuse(format!(
                "the backup that this request is meant for is gone; the backup {name} that is there now is another one"
            ));
        }
        (Some(backup), Some(uid)) if backup.metadata.uid.as_ref() != Some(uid) => {
            (uid.clone(), uid.clone())
        }
        (Some(backup), _) => {
            if let Some(problem) = in_use(backup, name) {
                return refuse(problem);
            }
            let uid = backup.metadata.uid.clone().unwrap_or_default();
            (uid, backup.stored_uid().to_owned())
        }
        // The resource went last time; what is stored may still be there.
        (None, Some(uid)) if resumed => (uid.clone(), uid.clone()),
        (None, _) => return refuse(format!("there is no backup {name}")),
    };
    if !running.is_empty() {
        return refuse(format!(
            "backup {name} is being restored by {}; delete it when that is through",
            running.join(", ")
        ));
    }
    match location {
        Location::Unknown | Location::RestoreOnly => Decision::Nothing,
        Location::Unusable(_) if resumed => Decision::Nothing,
        Location::Unusable(reasons) => Decision::Process(
            reasons
                .iter()
                .map(|reason| format!("backup {name} cannot be removed now: {reason}"))
                .collect(),
        ),
        Location::ReadOnly(location) => refuse(format!(
            "backup {name} is in location {location}, which is read-only; its data stays"
        )),
        Location::Usable { foreign: true, .. } => refuse(engines::foreign(name)),
        Location::Usable {
            lock: Some(lock), ..
        } if holds(lock, now) => wait(name, lock),
        Location::Unneeded | Location::Usable { .. } => Decision::Delete { uid, owner },
    }
}

/// Returns whether a lock keeps anything at a time.
fn holds(lock: Lock, now: Timestamp) -> bool {
    match lock {
        Lock::Until(end) => end > now,
        Lock::Held => true,
    }
}

fn wait(name: &str, lock: Lock) -> Decision {
    match lock {
        Lock::Until(end) => Decision::Wait(
            Some(end),
            format!(
                "backup {name} is locked by its bucket until {end}; nothing of it is removed before"
            ),
        ),
        Lock::Held => Decision::Wait(
            None,
            format!(
                "backup {name} is under a legal hold in its bucket; nothing of it is removed until that is taken off"
            ),
        ),
    }
}

fn in_use(backup: &Backup, name: &str) -> Option<String> {
    let status = backup.status.as_ref();
    status
        .is_some_and(|status| status.phase.is_running())
        .then(|| format!("backup {name} is in progress; delete it when it is finished"))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
