//! What to do about a Schedule. Pure.
//!
//! Everything that a schedule remembers stands in its status:
//!
//! - A backup is due at the first time of the schedule after `lastBackup` (after `lastSkipped`, if that is later), and at
//!   once where there was none yet. Times that passed while no server ran are made up for by one backup, since the
//!   next one counts from there.
//! - A promise comes before its backup: `lastBackup` and `lastBackupName` are written first, with `nextBackup` not after
//!   `lastBackup`. Whoever finds a promise makes the backup of that name, or finds it there, and then writes when
//!   the next one is due. So a server may die at any point, and two that both believe that they lead make one backup.
//! - While one of its backups runs, a schedule makes no other; what became due meanwhile is made up for once.
//! - The pause is noted by the absence of `nextBackup` with a `lastSkipped` not before `lastBackup`. The end of the pause
//!   moves `lastSkipped` to the present, so that what passed meanwhile is left out. A schedule that never made
//!   a backup makes its first one when its pause ends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::cron::Cron;
use crate::api::{
    Backup, BackupPhase, Schedule, SchedulePhase, ScheduleStatus, labels, names, validate,
};

/// What to do about a Schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing before this time, or until it or one of its backups changes.
    Wait(Option<Timestamp>),
    /// Write this status, and look again.
    Write(Box<ScheduleStatus>),
    /// Make the backup that is promised if it is not there, then write this status.
    Make(Box<ScheduleStatus>),
}

/// Decides what to do about a Schedule. `running` says whether one of its backups goes on; it is only asked where that
/// matters.
pub(crate) fn decide(
    schedule: &Schedule,
    running: impl FnOnce() -> bool,
    now: Timestamp,
) -> Decision {
    let status = schedule.status.clone().unwrap_or_default();
    let deleting = schedule.metadata.deletion_timestamp.is_some();
    if deleting || matches!(status.phase, SchedulePhase::Other(_)) {
        return Decision::Wait(None);
    }
    let now = whole_seconds(now);
    let cron = Cron::parse(&schedule.spec.schedule);
    if promises(&status) {
        let next = cron.ok().and_then(|cron| cron.next(now));
        return Decision::Make(Box::new(enabled(&status, next)));
    }
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    let problems = validate::schedule(name, &schedule.spec);
    let cron = match cron {
        Ok(cron) if problems.is_empty() => cron,
        Ok(_) | Err(_) => {
            let refused = ScheduleStatus {
                phase: SchedulePhase::FailedValidation,
                validation_errors: problems,
                next_backup: None,
                ..status.clone()
            };
            return settle(&status, refused, None);
        }
    };
    let last = status.last_backup.as_ref().map(|time| time.0);
    let skipped = status.last_skipped.as_ref().map(|time| time.0);
    let pause_is_noted = status.phase == SchedulePhase::Enabled
        && status.next_backup.is_none()
        && skipped.is_some_and(|skipped| last.is_none_or(|last| skipped >= last));
    let skipping = ScheduleStatus {
        last_skipped: Some(Time(now)),
        ..status.clone()
    };
    if schedule.spec.paused {
        let paused = if pause_is_noted { &status } else { &skipping };
        return settle(&status, enabled(paused, None), None);
    }
    let due = match last {
        None => Some(now),
        Some(_) if pause_is_noted => {
            return match cron.next(now) {
                None => settle(&status, enabled(&status, None), None),
                next => Decision::Write(Box::new(enabled(&skipping, next))),
            };
        }
        Some(last) => cron.next(skipped.map_or(last, |skipped| skipped.max(last))),
    };
    match due {
        Some(due) if due <= now && running() => {
            settle(&status, enabled(&status, last.and(Some(due))), None)
        }
        Some(due) if due <= now => Decision::Write(Box::new(promise(schedule, now))),
        due => settle(&status, enabled(&status, due), due),
    }
}

/// Returns the status of a schedule that is about to make a backup at this time.
pub(crate) fn promise(schedule: &Schedule, now: Timestamp) -> ScheduleStatus {
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    let now = whole_seconds(now);
    ScheduleStatus {
        last_backup: Some(Time(now)),
        last_backup_name: names::timestamped(name, now),
        ..enabled(&schedule.status.clone().unwrap_or_default(), Some(now))
    }
}

/// Returns the promised backup.
pub(crate) fn backup(schedule: &Schedule) -> Backup {
    let status = schedule.status.clone().unwrap_or_default();
    let mut backup = Backup::new(&status.last_backup_name, schedule.spec.template.clone());
    let mut labels = schedule.metadata.labels.clone().unwrap_or_default();
    let name = schedule.metadata.name.clone().unwrap_or_default();
    labels.insert(labels::SCHEDULE.to_owned(), name);
    backup.metadata.labels = Some(labels);
    if schedule.spec.keep_newest {
        let keep = (labels::KEEP_NEWEST.to_owned(), "true".to_owned());
        backup.metadata.annotations = Some(BTreeMap::from([keep]));
    }
    backup
}

/// Returns whether a schedule of this cluster made a backup: sync brings those of others, with the same label.
pub(crate) fn made(schedule: &str, backup: &Backup) -> bool {
    backup.schedule() == Some(schedule) && !backup.is_synced()
}

/// Returns whether a backup of a schedule goes on, or waits for its turn.
pub(crate) fn runs(schedule: &str, backup: &Backup) -> bool {
    let status = backup.status.clone().unwrap_or_default();
    let open = match status.phase {
        BackupPhase::New => backup.metadata.deletion_timestamp.is_none(),
        phase => !phase.is_terminal(),
    };
    open && made(schedule, backup)
}

/// Returns whether a backup is to be made before anything else.
fn promises(status: &ScheduleStatus) -> bool {
    status.phase == SchedulePhase::Enabled
        && !status.last_backup_name.is_empty()
        && status.next_backup.is_some()
        && status.next_backup <= status.last_backup
}

fn enabled(status: &ScheduleStatus, next: Option<Timestamp>) -> ScheduleStatus {
    ScheduleStatus {
        phase: SchedulePhase::Enabled,
        validation_errors: Vec::new(),
        next_backup: next.map(Time),
        ..status.clone()
    }
}

/// Waits if the status says already what it should.
fn settle(before: &ScheduleStatus, after: ScheduleStatus, until: Option<Timestamp>) -> Decision {
    if *before == after {
        Decision::Wait(until)
    } else {
        Decision::Write(Box::new(after))
    }
}

/// Returns the time as a status can hold it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
