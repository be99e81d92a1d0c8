//! What is to be cleared away, and when to look again. Pure.
//!
//! Only times that were written by the server's own clock count: when a backup expires, when a request was through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
    Restore, Schedule, labels, names,
};
use crate::server::controllers::deletion::decide::{is_same, stored_nothing};

/// The shortest pause after an expired backup could not be removed. It grows with the time since the backup expired.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How long a request that is through is kept for whoever wants to know how it went.
const KEEP_REQUESTS: Duration = Duration::from_hours(24);

/// What is known.
pub(crate) struct Facts<'a> {
    pub(crate) backups: &'a [&'a Backup],
    pub(crate) requests: &'a [&'a DeleteBackupRequest],
    pub(crate) restores: &'a [&'a Restore],
    pub(crate) schedules: &'a [&'a Schedule],
    /// This cluster.
    pub(crate) cluster_id: &'a str,
    /// Whether this server removes anything at all.
    pub(crate) active: bool,
    /// Whether data can be removed from where a backup is.
    pub(crate) is_removable: &'a dyn Fn(&Backup) -> bool,
}

/// What to do now, and when to look again if nothing changes before.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) next: Option<Timestamp>,
}

/// An object's name and UID.
pub(crate) type Id = (String, String);

/// Something to do.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Take the finalizer of Ark 0.7 off a Backup.
    Strip(Id),
    /// Ask for the removal of an expired backup.
    Expire {
        backup: Id,
        /// The request of the last try.
        replaces: Option<Id>,
    },
    /// Note when a request was through that does not say so.
    Stamp(Id),
    /// Drop a request that is through.
    Forget(Id),
}

impl Plan {
    /// Does something as soon as its time has come.
    fn at(&mut self, time: Timestamp, now: Timestamp, action: Action) {
        if time <= now {
            self.actions.push(action);
        } else {
            self.next = Some(self.next.map_or(time, |next| next.min(time)));
        }
    }
}

/// Plans what to clear away.
pub(crate) fn plan(facts: &Facts<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for backup in facts.backups {
        let finalizers = backup.metadata.finalizers.iter().flatten();
        if finalizers
            .into_iter()
            .any(|name| name == labels::LEGACY_FINALIZER)
        {
            plan.actions.push(Action::Strip(id(&backup.metadata)));
        }
    }
    if !facts.active {
        return plan;
    }
    let mut requests: BTreeMap<&str, Vec<&DeleteBackupRequest>> = BTreeMap::new();
    for request in facts.requests {
        let name = request.spec.backup_name.as_str();
        requests.entry(name).or_default().push(request);
    }
    let restored: BTreeSet<&str> = facts
        .restores
        .iter()
        .filter(|restore| {
            let status = restore.status.as_ref();
            status.is_none_or(|status| !status.phase.is_terminal())
        })
        .map(|restore| restore.spec.backup_name.as_str())
        .collect();
    let kept = kept(facts);
    for backup in facts.backups {
        let (name, uid) = id(&backup.metadata);
        let Some(expiration) = expires(backup) else {
            continue;
        };
        if restored.contains(name.as_str()) || kept.contains(&uid) || !removable(facts, backup) {
            continue;
        }
        let tries: Vec<_> = requests.get(name.as_str()).map_or(Vec::new(), |requests| {
            let same = requests.iter().filter(|one| is_same(one, &name, &uid));
            same.copied().collect()
        });
        if let Some(time) = next_try(&tries, expiration) {
            let own = tries
                .iter()
                .find(|request| id(&request.metadata).0 == request_name(&uid));
            let action = Action::Expire {
                backup: (name, uid),
                replaces: own.map(|request| id(&request.metadata)),
            };
            plan.at(time, now, action);
        }
    }
    for request in facts.requests.iter().filter(|request| is_through(request)) {
        let id = id(&request.metadata);
        match completion(request) {
            None => plan.actions.push(Action::Stamp(id)),
            Some(time) => plan.at(later(time, KEEP_REQUESTS), now, Action::Forget(id)),
        }
    }
    plan
}

/// Returns when a backup may be removed; `None` if that is not for us to do, or not in its phase.
pub(crate) fn expires(backup: &Backup) -> Option<Timestamp> {
    let status = backup.status.as_ref()?;
    let ends = match status.phase {
        BackupPhase::Completed
        | BackupPhase::PartiallyFailed
        | BackupPhase::Failed
        | BackupPhase::FailedValidation
        | BackupPhase::Deleting => true,
        BackupPhase::New
        | BackupPhase::InProgress
        | BackupPhase::WaitingForPluginOperations
        | BackupPhase::Other(_) => false,
    };
    // Those of other programs do not expire.
    let ours = backup.is_ours() && backup.metadata.deletion_timestamp.is_none();
    let expiration = status.expiration.as_ref()?.0;
    // What its bucket has said of it when it was to be removed.
    let locked = backup.locked_until().unwrap_or(Timestamp::MIN);
    (ends && ours).then_some(expiration.max(locked))
}

fn removable(facts: &Facts<'_>, backup: &Backup) -> bool {
    stored_nothing(backup) || (facts.is_removable)(backup)
}

/// Returns when to ask for an expired backup's removal; `None` while somebody has asked.
///
/// The pause after a try that failed is as long as the backup has been overdue: it doubles with each one.
fn next_try(tries: &[&DeleteBackupRequest], expiration: Timestamp) -> Option<Timestamp> {
    let mut time = expiration;
    for request in tries {
        // Without a time it is stamped first.
        let ended = completion(request).filter(|_| is_through(request))?;
        let overdue = Duration::try_from(ended.duration_since(expiration)).unwrap_or_default();
        time = time.max(later(ended, overdue.clamp(FIRST_PAUSE, LONGEST_PAUSE)));
    }
    Some(time)
}

/// Returns the UIDs of the backups that do not expire: of each schedule that says so, the newest completed one.
///
/// What a schedule of another cluster says is only known from its backups.
fn kept(facts: &Facts<'_>) -> BTreeSet<String> {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&Backup>> = BTreeMap::new();
    for backup in facts.backups {
        if let Some(schedule) = backup.schedule() {
            let status = backup.status.as_ref();
            let cluster = status.and_then(|status| status.cluster_id.as_deref());
            groups.entry((schedule, cluster)).or_default().push(backup);
        }
    }
    let keeps = |schedule: &str| {
        facts
            .schedules
            .iter()
            .any(|one| one.spec.keep_newest && one.metadata.name.as_deref() == Some(schedule))
    };
    groups
        .into_iter()
        .filter_map(|((schedule, cluster), backups)| {
            let newest = Backup::newest_completed(backups)?;
            let keep = if cluster == Some(facts.cluster_id) {
                keeps(schedule)
            } else {
                let annotations = newest.metadata.annotations.as_ref();
                annotations.is_some_and(|notes| notes.contains_key(labels::KEEP_NEWEST))
            };
            keep.then(|| id(&newest.metadata).1)
        })
        .collect()
}

/// Returns the request for an expired backup's removal. Its name is the same each time, so that there is only one.
pub(crate) fn request((name, uid): &Id) -> DeleteBackupRequest {
    let spec = DeleteBackupRequestSpec {
        backup_name: name.clone(),
        ..DeleteBackupRequestSpec::default()
    };
    let mut request = DeleteBackupRequest::new(&request_name(uid), spec);
    let labels = [
        (labels::BACKUP_NAME, names::label_value(name)),
        (labels::BACKUP_UID, uid.clone()),
    ];
    request.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    request
}

fn request_name(backup_uid: &str) -> String {
    format!("expired-{backup_uid}")
}

fn is_through(request: &DeleteBackupRequest) -> bool {
    let status = request.status.as_ref();
    status.is_some_and(|status| status.phase == DeleteBackupRequestPhase::Processed)
}

fn completion(request: &DeleteBackupRequest) -> Option<Timestamp> {
    let status = request.status.as_ref()?;
    status.completion_timestamp.as_ref().map(|time| time.0)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn id(metadata: &kube::api::ObjectMeta) -> Id {
    (
        metadata.name.clone().unwrap_or_default(),
        metadata.uid.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
