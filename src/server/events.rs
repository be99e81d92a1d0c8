//! Kubernetes Events on Backups, Restores, Schedules and locations: what `kubectl describe` and those who watch for
//! warnings see. Published beside the work, never in its way: an Event that cannot be written is only logged.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::api::error::chain;
use crate::api::{Backup, BackupPhase, BackupStatus, Restore, RestorePhase, RestoreStatus};

/// Events that wait to be written; more than that are dropped.
const WAITING: usize = 1_000;
/// The most bytes of a note that the API server takes.
const LONGEST_NOTE: usize = 1_000;
/// The most bytes of an instance's name that the API server takes.
const LONGEST_INSTANCE: usize = 128;

/// Takes Events. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::Sender<(ObjectReference, Happening)>);

/// What happened to an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Happening {
    /// Whether somebody should look.
    pub(crate) warns: bool,
    /// One word for programs.
    pub(crate) reason: &'static str,
    /// A sentence for people. Never a secret.
    pub(crate) note: String,
}

impl Happening {
    /// Returns one that is as it should be.
    pub(crate) fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warns: false,
            reason,
            note: note.into(),
        }
    }

    /// Returns one that somebody should look at.
    pub(crate) fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warns: true,
            reason,
            note: note.into(),
        }
    }
}

impl Events {
    /// Returns where to put Events, and the task that writes them.
    pub(crate) fn new(
        client: Client,
        identity: &str,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + use<>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let reporter = Reporter {
            controller: "ark".to_owned(),
            instance: Some(cut(identity, LONGEST_INSTANCE).to_owned()),
        };
        (
            Self(sender),
            write(Recorder::new(client, reporter), receiver),
        )
    }

    /// Says what happened to an object.
    pub(crate) fn say<K: Resource<DynamicType = ()>>(&self, object: &K, happening: Happening) {
        self.say_of(object.object_ref(&()), happening);
    }

    /// Says what happened to the object that is referred to.
    pub(crate) fn say_of(&self, object: ObjectReference, happening: Happening) {
        if self.0.try_send((object, happening)).is_err() {
            tracing::debug!("an Event is dropped: too many wait to be written");
        }
    }

    /// Says what a Backup's new status means.
    pub(crate) fn backup(&self, backup: &Backup, status: &BackupStatus) {
        if let Some(happening) = of_backup(status) {
            self.say(backup, happening);
        }
    }

    /// Says what a Restore's new status means.
    pub(crate) fn restore(&self, restore: &Restore, status: &RestoreStatus) {
        if let Some(happening) = of_restore(&restore.spec.backup_name, status) {
            self.say(restore, happening);
        }
    }

    /// Says that a location can or cannot be used.
    pub(crate) fn location<K>(&self, location: &K, problem: Option<&str>)
    where
        K: Resource<DynamicType = ()>,
    {
        let happening = match problem {
            None => Happening::normal("Available", "the location can be used"),
            Some(problem) => Happening::warning("Unavailable", problem),
        };
        self.say(location, happening);
    }
}

fn of_backup(status: &BackupStatus) -> Option<Happening> {
    let items = status
        .progress
        .as_ref()
        .map_or(0, |progress| progress.items_done);
    let counts = |what: &str| {
        format!(
            "{what}: {items} items, {} warnings, {} errors",
            status.warnings.unwrap_or_default(),
            status.errors.unwrap_or_default()
        )
    };
    match &status.phase {
        BackupPhase::InProgress => {
            let attempt = status.run.as_ref().map_or(1, |run| run.attempt);
            Some(if attempt > 1 {
                Happening::warning(
                    "TakenOver",
                    format!(
                        "attempt {attempt} begins: the server before ended before the backup did"
                    ),
                )
            } else {
                Happening::normal("Started", "the backup begins")
            })
        }
        BackupPhase::Completed => Some(Happening::normal(
            "Completed",
            counts("the backup is stored"),
        )),
        BackupPhase::PartiallyFailed => Some(Happening::warning(
            "PartiallyFailed",
            counts("the backup is stored, but items are missing"),
        )),
        BackupPhase::Failed => Some(Happening::warning(
            "Failed",
            status.failure_reason.clone().unwrap_or_default(),
        )),
        BackupPhase::FailedValidation => Some(Happening::warning(
            "FailedValidation",
            status.validation_errors.join("; "),
        )),
        BackupPhase::Deleting => Some(Happening::normal(
            "Deleting",
            "the backup and what is stored of it are being removed",
        )),
        BackupPhase::New | BackupPhase::WaitingForPluginOperations | BackupPhase::Other(_) => None,
    }
}

fn of_restore(backup: &str, status: &RestoreStatus) -> Option<Happening> {
    let counts = |what: &str| {
        format!(
            "{what}: {} warnings, {} errors",
            status.warnings, status.errors
        )
    };
    match &status.phase {
        RestorePhase::InProgress => {
            let attempt = status.run.as_ref().map_or(1, |run| run.attempt);
            Some(if attempt > 1 {
                Happening::warning(
                    "TakenOver",
                    format!(
                        "attempt {attempt} goes on: the server before ended before the restore did"
                    ),
                )
            } else {
                Happening::normal(
                    "Started",
                    format!("the restore from backup {backup} begins"),
                )
            })
        }
        RestorePhase::Completed => Some(Happening::normal(
            "Completed",
            counts("the restore is through"),
        )),
        RestorePhase::PartiallyFailed => Some(Happening::warning(
            "PartiallyFailed",
            counts("the restore is through, but items could not be restored"),
        )),
        RestorePhase::Failed => Some(Happening::warning(
            "Failed",
            status.failure_reason.clone().unwrap_or_default(),
        )),
        RestorePhase::FailedValidation => Some(Happening::warning(
            "FailedValidation",
            status.validation_errors.join("; "),
        )),
        RestorePhase::New | RestorePhase::WaitingForPluginOperations | RestorePhase::Other(_) => {
            None
        }
    }
}

/// Writes Events for ever.
async fn write(
    recorder: Recorder,
    mut waiting: mpsc::Receiver<(ObjectReference, Happening)>,
) -> anyhow::Result<()> {
    while let Some((object, happening)) = waiting.recv().await {
        let event = Event {
            type_: if happening.warns {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: happening.reason.to_owned(),
            note: Some(cut(&happening.note, LONGEST_NOTE).to_owned()),
            action: happening.reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &object).await {
            tracing::debug!(
                object = object.name,
                reason = happening.reason,
                error = chain(&error),
                "an Event cannot be written"
            );
        }
    }
    // Whoever says something is gone: this server ends.
    std::future::pending().await
}

/// Returns the beginning of a text, in so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RunHolder;

    #[test]
    fn every_end_of_a_backup_says_so() {
        let status = |phase: BackupPhase, attempt: u32| BackupStatus {
            phase,
            run: Some(RunHolder {
                holder: "h".into(),
                attempt,
            }),
            errors: Some(2),
            failure_reason: Some("the store is full".into()),
            validation_errors: vec!["ttl: no".into(), "name: no".into()],
            ..BackupStatus::default()
        };
        for (phase, attempt, expected) in [
            (BackupPhase::New, 1, None),
            (
                BackupPhase::InProgress,
                1,
                Some((false, "Started", "begins")),
            ),
            (
                BackupPhase::InProgress,
                2,
                Some((true, "TakenOver", "attempt 2")),
            ),
            (
                BackupPhase::Completed,
                1,
                Some((false, "Completed", "stored")),
            ),
            (
                BackupPhase::PartiallyFailed,
                1,
                Some((true, "PartiallyFailed", "2 errors")),
            ),
            (
                BackupPhase::Failed,
                1,
                Some((true, "Failed", "the store is full")),
            ),
            (
                BackupPhase::FailedValidation,
                1,
                Some((true, "FailedValidation", "ttl: no; name: no")),
            ),
            (
                BackupPhase::Deleting,
                1,
                Some((false, "Deleting", "removed")),
            ),
        ] {
            let found = of_backup(&status(phase.clone(), attempt));
            match (found, expected) {
                (None, None) => {}
                (Some(found), Some((warns, reason, note))) => {
                    assert_eq!((found.warns, found.reason), (warns, reason), "{phase}");
                    assert!(found.note.contains(note), "{}", found.note);
                }
                (found, expected) => panic!("{phase}: {found:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn every_end_of_a_restore_says_so() {
        for (phase, expected) in [
            (RestorePhase::New, None),
            (RestorePhase::InProgress, Some("Started")),
            (RestorePhase::Completed, Some("Completed")),
            (RestorePhase::PartiallyFailed, Some("PartiallyFailed")),
            (RestorePhase::Failed, Some("Failed")),
            (RestorePhase::FailedValidation, Some("FailedValidation")),
        ] {
            let status = RestoreStatus {
                phase,
                ..RestoreStatus::default()
            };
            let reason = of_restore("b", &status).map(|happening| happening.reason);
            assert_eq!(reason, expected);
        }
    }

    #[test]
    fn notes_are_cut_between_letters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aé", 2), "a");
    }
}
