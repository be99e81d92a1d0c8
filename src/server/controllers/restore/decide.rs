//! What to do about a Restore. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use serde_json::{Value, json};

use crate::api::{
    Backup, BackupPhase, Restore, RestorePhase, RestoreStatus, RunHolder, labels, validate,
};
use crate::server::settings::but_for;

/// How often a restore is tried when servers end over it. It goes on where the one before stopped, so more often than a
/// backup.
const MOST_ATTEMPTS: u32 = 10;

/// What is known of the Config and of the backup to restore from.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    /// There is no Config yet, or it is being looked at.
    Unknown,
    /// The location cannot be used; a sentence for each reason.
    Unusable(&'a [String]),
    /// The schedule that it is to come from has no completed backup; the locations that cannot be looked into.
    NoneOfSchedule(&'a [String]),
    /// There is no such backup; what the cluster says of it, and the locations that cannot be looked into.
    Missing(Option<BackupPhase>, &'a [String]),
    /// The backup is stored; its record.
    Stored(&'a Backup),
}

/// What to do about a Restore.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing until it or the Config changes.
    Nothing,
    /// Refuse it; a sentence for each reason.
    Refuse(Vec<String>),
    /// Carry it out; the number of the try, from 1.
    Run(u32),
    /// End it as failed.
    Fail(String),
}

impl Decision {
    /// Refuses for one more reason what would be carried out or refused.
    pub(crate) fn refused_too(self, problem: String) -> Self {
        match self {
            Self::Refuse(mut problems) => {
                problems.push(problem);
                Self::Refuse(problems)
            }
            Self::Run(_) => Self::Refuse(vec![problem]),
            Self::Nothing | Self::Fail(_) => self,
        }
    }
}

/// Decides what to do about a Restore that nobody works on in this process. Only the leader may ask.
pub(crate) fn decide(restore: &Restore, source: &Source<'_>) -> Decision {
    let status = restore.status.clone().unwrap_or_default();
    let in_progress = match status.phase {
        _ if restore.metadata.deletion_timestamp.is_some() => return Decision::Nothing,
        RestorePhase::New => false,
        RestorePhase::InProgress | RestorePhase::WaitingForPluginOperations => true,
        RestorePhase::FailedValidation
        | RestorePhase::Completed
        | RestorePhase::PartiallyFailed
        | RestorePhase::Failed
        | RestorePhase::Other(_) => return Decision::Nothing,
    };
    if in_progress {
        return take_over(restore, &status, source);
    }
    let mut problems = problems(restore);
    if let Source::NoneOfSchedule(unseen) = source {
        problems.push(format!(
            "schedule {0} has no Completed backup; `ark backup get -l {1}={0}` lists what it has, and backupName names \
             one of them{2}",
            restore.spec.schedule_name,
            labels::SCHEDULE,
            but_for(unseen)
        ));
    } else if !restore.spec.backup_name.is_empty() {
        problems.extend(source_problems(&restore.spec.backup_name, source));
    }
    if !problems.is_empty() {
        Decision::Refuse(problems)
    } else if matches!(source, Source::Unknown) {
        Decision::Nothing
    } else {
        Decision::Run(1)
    }
}

/// Returns whether the server is to choose a backup of the schedule that a Restore names.
///
/// The choice is written before the run begins, with a note that it is the server's: so a later server restores from
/// the same backup, and whoever names both a backup and a schedule is refused all the same.
pub(crate) fn is_to_be_chosen(restore: &Restore) -> bool {
    let status = restore.status.as_ref();
    status.is_none_or(|status| status.phase == RestorePhase::New)
        && restore.metadata.deletion_timestamp.is_none()
        && restore.spec.backup_name.is_empty()
        && !restore.spec.schedule_name.is_empty()
}

/// Returns the patch that writes into a Restore which backup was chosen.
pub(crate) fn choice(backup: &str) -> Value {
    json!({
        "metadata": {"annotations": {labels::CHOSEN_BACKUP: backup}},
        "spec": {"backupName": backup},
    })
}

fn is_chosen(restore: &Restore) -> bool {
    let annotations = restore.metadata.annotations.as_ref();
    let chosen = annotations.and_then(|notes| notes.get(labels::CHOSEN_BACKUP));
    chosen == Some(&restore.spec.backup_name) && !restore.spec.schedule_name.is_empty()
}

fn take_over(restore: &Restore, status: &RestoreStatus, source: &Source<'_>) -> Decision {
    let attempt = status.run.as_ref().map_or(1, |run| run.attempt);
    match source {
        // What has begun waits for better times.
        Source::Unknown | Source::Unusable(_) => Decision::Nothing,
        Source::Missing(_, unseen) | Source::NoneOfSchedule(unseen) if !unseen.is_empty() => {
            Decision::Nothing
        }
        Source::Missing(..) | Source::NoneOfSchedule(_) => Decision::Fail(format!(
            "backup {} was removed before the restore was through; what is restored stays",
            restore.spec.backup_name
        )),
        Source::Stored(_) if attempt >= MOST_ATTEMPTS => Decision::Fail(format!(
            "given up after {attempt} attempts: each time the server ended before the restore did; look at the \
             server's log and memory"
        )),
        Source::Stored(_) => Decision::Run(attempt.saturating_add(1)),
    }
}

/// Returns what is wrong with a Restore, as far as it can be seen from itself.
fn problems(restore: &Restore) -> Vec<String> {
    let mut spec = restore.spec.clone();
    if is_chosen(restore) {
        // As it was asked for: with a schedule alone.
        spec.backup_name.clear();
    }
    validate::restore(&spec)
}

fn source_problems(name: &str, source: &Source<'_>) -> Vec<String> {
    match source {
        Source::Unknown | Source::NoneOfSchedule(_) => Vec::new(),
        Source::Unusable(reasons) => reasons
            .iter()
            .map(|reason| format!("backups cannot be read now: {reason}"))
            .collect(),
        Source::Missing(None, unseen) => vec![format!(
            "there is no backup {name}; `ark backup get` lists those there are{}",
            but_for(unseen)
        )],
        Source::Missing(
            Some(
                BackupPhase::New
                | BackupPhase::InProgress
                | BackupPhase::WaitingForPluginOperations,
            ),
            _,
        ) => vec![format!(
            "backup {name} is not finished; wait until it is, then create the restore again"
        )],
        Source::Missing(Some(phase @ (BackupPhase::Failed | BackupPhase::FailedValidation)), _) => {
            vec![format!(
                "backup {name} is {phase}: nothing of it is stored; `ark backup describe {name}` says why"
            )]
        }
        Source::Missing(Some(phase), unseen) => vec![format!(
            "backup {name} is {phase}, but the location holds no data of it; look at the location's bucket{}",
            but_for(unseen)
        )],
        Source::Stored(record) => {
            let phase = record
                .status
                .as_ref()
                .map(|status| status.phase.clone())
                .unwrap_or_default();
            if is_restorable(&phase, Some(record)) {
                Vec::new()
            } else {
                vec![format!(
                    "backup {name} is {phase}; only Completed and PartiallyFailed backups can be restored"
                )]
            }
        }
    }
}

/// Returns whether a backup in this phase can be restored from. Failed ones of Ark up to 0.10 have their contents: one
/// item's error was enough.
fn is_restorable(phase: &BackupPhase, record: Option<&Backup>) -> bool {
    let failed_elsewhere =
        *phase == BackupPhase::Failed && record.is_some_and(|record| !record.is_ours());
    phase.is_usable() || failed_elsewhere
}

/// Returns what the cluster and the location say of a backup together: a Backup that is not (or no longer) a good one
/// here is none, even if another of its name is stored.
pub(crate) fn source<'a>(
    resource: Option<BackupPhase>,
    record: Option<&'a Backup>,
    unseen: &'a [String],
) -> Source<'a> {
    match (resource, record) {
        (Some(phase), record) if !is_restorable(&phase, record) => {
            Source::Missing(Some(phase), unseen)
        }
        (_, Some(record)) => Source::Stored(record),
        (phase, None) => Source::Missing(phase, unseen),
    }
}

/// Returns the status of a Restore whose run begins.
pub(crate) fn taken(
    before: &RestoreStatus,
    holder: &str,
    attempt: u32,
    now: Timestamp,
) -> RestoreStatus {
    RestoreStatus {
        phase: RestorePhase::InProgress,
        // A restore that was taken over goes on; it began when its first attempt did.
        start_timestamp: before.start_timestamp.clone().or(Some(Time(now))),
        progress: before.progress.clone(),
        // What goes on is waited for.
        operations_pending: before.operations_pending.clone(),
        run: Some(RunHolder {
            holder: holder.to_owned(),
            attempt,
        }),
        ..RestoreStatus::default()
    }
}

/// Returns the status of a Restore that went through.
pub(crate) fn finished(
    taken: &RestoreStatus,
    warnings: u64,
    errors: u64,
    now: Timestamp,
) -> RestoreStatus {
    RestoreStatus {
        phase: if errors == 0 {
            RestorePhase::Completed
        } else {
            RestorePhase::PartiallyFailed
        },
        warnings,
        errors,
        operations_pending: Vec::new(),
        completion_timestamp: Some(Time(now)),
        ..taken.clone()
    }
}

/// Returns the status of a Restore that failed.
pub(crate) fn failed(before: &RestoreStatus, reason: String, now: Timestamp) -> RestoreStatus {
    RestoreStatus {
        phase: RestorePhase::Failed,
        failure_reason: Some(reason),
        operations_pending: Vec::new(),
        completion_timestamp: Some(Time(now)),
        ..before.clone()
    }
}

/// Returns the status of a Restore that is refused.
pub(crate) fn refused(problems: Vec<String>) -> RestoreStatus {
    RestoreStatus {
        phase: RestorePhase::FailedValidation,
        validation_errors: problems,
        ..RestoreStatus::default()
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
