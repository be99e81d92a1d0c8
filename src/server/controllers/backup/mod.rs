//! The backup controller: takes Backups, has them made, commits them, and says how it went.

pub(crate) mod decide;
mod hooks;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use self::decide::{Decision, Location};
use self::snapshots::Unruled;
use super::Context;
use super::attend::attend;
use super::dispatch::{Controller, Outcome, Task};
use super::ledger::{OPERATIONS_PENDING, RunStatus};
use super::malformed;
use crate::api::error::chain;
use crate::api::{Backup, BackupPhase, BackupStatus, Progress};
use crate::server::engines::{
    self, BackupRun, CommitError, HookNotes, RunActions, RunError, StoredBackup,
};
use crate::server::leader::{Standing, Term};
use crate::server::metrics::Ending;
use crate::server::run_log::RunLog;
use crate::server::settings::{Place, Whereabouts, location_of};
use crate::server::status::{self, Read, StatusError};

/// The pause before a question to the API server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// The backup controller.
#[derive(Debug)]
pub(crate) struct Backups {
    context: Arc<Context>,
}

/// A run that goes on.
struct Run<'a> {
    task: &'a Task,
    backup: &'a Backup,
    place: &'a Place,
    term: &'a Term,
    status: BackupStatus,
    earlier_hooks: HookNotes,
    schedule: &'a str,
}

/// How a run ended that has an end.
enum End {
    /// The status to write.
    Status(Box<BackupStatus>),
    /// Another server goes on with it, or its resource is gone: nothing is to be written.
    LeftAlone,
    /// Whether it is committed is not known; it is looked at again.
    Unclear,
}

impl Controller for Backups {
    type Object = Backup;

    const KIND: &'static str = "Backup";

    fn wants(&self, backup: &Backup) -> bool {
        match backup.status.as_ref().map(|status| &status.phase) {
            // What sync made gets its status from sync.
            None | Some(BackupPhase::New) => !backup.is_synced(),
            Some(phase) => phase.is_running(),
        }
    }

    async fn work(self: Arc<Self>, task: Task, term: Term) -> Outcome {
        let api = &self.context.apis.backups;
        if let Some(problem) = &task.malformed {
            let phase = BackupPhase::FailedValidation;
            return malformed::refuse(api, &task, problem, phase.as_str(), "validationErrors")
                .await;
        }
        match status::get::<Backup>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) if hooks::are_owed(&read.object) => {
                match self.settle_hooks(&task, read, &term).await {
                    Ok((read, notes)) => Box::pin(self.look(&task, &read, notes, &term)).await,
                    Err(outcome) => outcome,
                }
            }
            Ok(Some(Ok(read))) => {
                Box::pin(self.look(&task, &read, HookNotes::default(), &term)).await
            }
            // Gone, or changed so that it cannot be read: the watch tells.
            Ok(_) => Outcome::Done,
            Err(error) => {
                tracing::warn!(backup = task.name, %error, "cannot read a Backup");
                Outcome::Retry
            }
        }
    }
}

impl Backups {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Decides what to do, and does it. `notes` say what came of post hooks that were owed.
    async fn look(
        &self,
        task: &Task,
        read: &Read<Backup>,
        notes: HookNotes,
        term: &Term,
    ) -> Outcome {
        if !self.wants(&read.object) {
            return Outcome::Done;
        }
        let (with_policies, policies_problem) = match self.policies(read).await {
            Ok(read) => (read, None),
            Err(Unruled::Problem(problem)) => (None, Some(problem)),
            Err(Unruled::Unwritten(outcome)) => return outcome,
        };
        let read = with_policies.as_deref().unwrap_or(read);
        let backup = &read.object;
        let status = backup.status.clone().unwrap_or_default();
        let Some((mut decision, place)) = self.decide(task, backup).await else {
            return Outcome::Retry;
        };
        if let Some(problem) = policies_problem {
            decision = decision.refused_too(problem);
        }
        let mut snapshot_locations = backup.spec.volume_snapshot_locations.clone();
        if decision == Decision::Run(1) {
            match self.choose_snapshot_locations(backup).await {
                Ok(Some(Ok(chosen))) => snapshot_locations = chosen,
                Ok(Some(Err(problems))) => decision = Decision::Refuse(problems),
                // They are being looked at.
                Ok(None) => decision = Decision::Nothing,
                Err(outcome) => return outcome,
            }
        }
        let ending = match (decision, place) {
            (Decision::Run(attempt), Some(place)) => {
                return match self.pin(read, &place, &snapshot_locations).await {
                    Ok(read) => Box::pin(self.run(task, &read, &place, attempt, notes, term)).await,
                    Err(error) => Outcome::of_write(Self::KIND, &task.name, Err(error)),
                };
            }
            (Decision::Nothing | Decision::Run(_), _) => return Outcome::Done,
            (Decision::Refuse(problems), _) => {
                tracing::info!(
                    backup = task.name,
                    problems = problems.join("; "),
                    "a Backup is refused"
                );
                self.context
                    .metrics
                    .backup_ends(backup.schedule().unwrap_or_default(), Ending::Refused);
                decide::refused(backup, problems, self.context.clock.now())
            }
            (Decision::Adopt(stored), _) => {
                tracing::info!(
                    backup = task.name,
                    "a Backup is stored already; its status is taken from there"
                );
                *stored
            }
            (Decision::Fail(mut reason), place) => {
                for (namespace, problems) in &notes.results.warnings.namespaces {
                    reason.extend(
                        problems
                            .iter()
                            .map(|one| format!("; namespace {namespace}: {one}")),
                    );
                }
                if let Some(place) = place.filter(|place| place.is_writable()) {
                    self.remove_debris(task, &place).await;
                }
                tracing::error!(backup = task.name, reason, "a Backup failed");
                self.context
                    .metrics
                    .backup_ends(backup.schedule().unwrap_or_default(), Ending::Failure);
                let actions = self.context.actions_noted(&status.operations_pending).await;
                engines::cancel_operations(&actions, backup).await;
                BackupStatus {
                    snapshots_pending: self.remove_pending(backup).await,
                    ..decide::failed(&status, reason, self.context.clock.now())
                }
            }
        };
        let result = read
            .replace_status(&self.context.apis.backups, &ending)
            .await;
        if result.is_ok() {
            self.context.events.backup(backup, &ending);
        }
        Outcome::of_write(Self::KIND, &task.name, result)
    }

    /// Gathers what is known of where a Backup goes, and decides what to do about it; `None` if something could not be
    /// asked.
    async fn decide(&self, task: &Task, backup: &Backup) -> Option<(Decision, Option<Arc<Place>>)> {
        let world = self.context.world.borrow().clone();
        let in_progress = backup
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_running());
        let record;
        let reasons;
        let whereabouts = world.find(location_of(backup));
        let (location, place) = match &whereabouts {
            _ if world.restore_only() => (Location::RestoreOnly, None),
            Whereabouts::Unknown => (Location::Unknown, None),
            Whereabouts::Unusable(reasons) => (Location::Unusable(reasons), None),
            // Whether a new name is free is seen when the run begins; only what may be stored already is looked up.
            Whereabouts::At(place) if !in_progress => {
                let location = if place.is_writable() {
                    Location::Usable(None)
                } else {
                    Location::ReadOnly(&place.name)
                };
                (location, Some(place))
            }
            Whereabouts::At(place) => match place.location.record(&task.name).await {
                Ok(found) => {
                    record = found.map(|record| record.backup);
                    let location = if place.is_writable() || record.is_some() {
                        Location::Usable(record.as_ref())
                    } else {
                        Location::ReadOnly(&place.name)
                    };
                    (location, Some(place))
                }
                Err(reason) if in_progress => {
                    tracing::warn!(backup = task.name, reason, "cannot look into the location");
                    return None;
                }
                Err(reason) => {
                    reasons = [reason];
                    (Location::Unusable(&reasons), None)
                }
            },
        };
        Some((decide::decide(backup, &location), place.cloned()))
    }

    /// Writes into a Backup where it is kept, so that it stays there when other locations become the default ones.
    async fn pin(
        &self,
        read: &Read<Backup>,
        place: &Place,
        snapshots: &[String],
    ) -> Result<Read<Backup>, StatusError> {
        let patch = decide::pinned(&read.object, &place.name, snapshots);
        match patch {
            None => Ok(read.clone()),
            Some(patch) => read.patch(&self.context.apis.backups, patch).await,
        }
    }

    /// Takes the run, carries it out, and writes how it ended.
    async fn run(
        &self,
        task: &Task,
        read: &Read<Backup>,
        place: &Place,
        attempt: u32,
        earlier_hooks: HookNotes,
        term: &Term,
    ) -> Outcome {
        let context = &self.context;
        let backup = &read.object;
        let status = decide::taken(
            backup,
            &context.identity,
            attempt,
            &context.cluster_id,
            self.context.clock.now(),
        );
        // Kept until the run's end is written, so that its log can be read until the stored one can.
        let span_name = format!("backup/{}", task.name);
        let log = context.run_logs.begin(&span_name);
        // The version in this write decides between two servers that both believe that they lead.
        if let Err(error) = read.replace_status(&context.apis.backups, &status).await {
            return Outcome::of_write(Self::KIND, &task.name, Err(error));
        }
        context.events.backup(backup, &status);
        let run = Run {
            task,
            backup,
            place,
            term,
            status,
            earlier_hooks,
            schedule: backup.schedule().unwrap_or_default(),
        };
        let span = tracing::info_span!("run", run = span_name, attempt);
        let running = context.metrics.backup_begins(run.schedule);
        let outcome = self.carry_out(&run, attempt, &log).instrument(span).await;
        drop(running);
        outcome
    }

    async fn carry_out(&self, run: &Run<'_>, attempt: u32, log: &RunLog) -> Outcome {
        tracing::info!("the backup begins");
        let end = match Box::pin(self.engine(run, attempt)).await {
            Ok(stored) => self.commit(run, stored, log).await,
            Err(RunError::Refused(problems)) => {
                tracing::info!(problems = problems.join("; "), "the backup is refused");
                self.context
                    .metrics
                    .backup_ends(run.schedule, Ending::Refused);
                let now = self.context.clock.now();
                End::Status(Box::new(decide::refused(run.backup, problems, now)))
            }
            Err(RunError::Failed(reason)) => self.failed(run, reason),
            Err(RunError::Cancelled) => End::LeftAlone,
        };
        match end {
            End::Status(status) => self.write_end(run, &status).await,
            End::LeftAlone => {
                tracing::info!(
                    "the backup ends here: it was deleted, or another server goes on with it"
                );
                Outcome::Done
            }
            End::Unclear => Outcome::Retry,
        }
    }

    async fn engine(&self, run: &Run<'_>, attempt: u32) -> Result<StoredBackup, RunError> {
        let context = &self.context;
        let (progress, seen) = watch::channel(Progress::default());
        let cancel = run.term.lost().child_token();
        let mut backup = run.backup.clone();
        backup.status = Some(run.status.clone());
        let start = run
            .status
            .start_timestamp
            .as_ref()
            .map_or_else(|| context.clock.now(), |time| time.0);
        let csi_timeout = backup.spec.csi_snapshot_timeout.clone();
        let snapshotters = context.snapshotters(csi_timeout.as_deref());
        let own = RunStatus::of(
            &context.apis.backups,
            run.task,
            run.status.run.as_ref(),
            run.term,
        );
        let request = BackupRun {
            cluster: &context.cluster,
            location: &run.place.location,
            backup,
            attempt,
            holder: &context.identity,
            cluster_id: &context.cluster_id,
            start,
            ledger: Arc::new(own.list(hooks::HOOKS_OWED)),
            snapshot_ledger: Arc::new(own.list(snapshots::SNAPSHOTS_PENDING)),
            snapshotters: &snapshotters,
            actions: RunActions {
                actions: context.actions().await,
                ledger: Arc::new(own.list(OPERATIONS_PENDING)),
                stage: Arc::new(own),
            },
            earlier_hooks: run.earlier_hooks.clone(),
        };
        let engine = engines::backup(&request, &progress, &cancel);
        // Large, and within many others.
        Box::pin(attend(
            engine,
            &context.apis.backups,
            &context.watched.backups,
            run.task,
            seen,
            &cancel,
        ))
        .await
    }

    /// Stores the log and makes the backup count, if it is still ours to make.
    async fn commit(&self, run: &Run<'_>, mut stored: StoredBackup, log: &RunLog) -> End {
        let results = stored.results();
        let (warnings, errors) = (results.warnings.count(), results.errors.count());
        tracing::info!(
            items = stored.items(),
            warnings,
            errors,
            "everything is stored; the backup is committed next"
        );
        if let Err(error) = stored.put_log(log.finish()).await {
            tracing::warn!(error, "the log of the backup could not be stored");
        }
        if !self.still_ours(run).await {
            if let Err(error) = stored.discard().await {
                tracing::warn!(
                    error,
                    "parts of the backup could not be removed; they do not count"
                );
            }
            return End::LeftAlone;
        }
        let mut status = decide::finished(
            &run.status,
            stored.parts().to_vec(),
            warnings,
            errors,
            stored.items(),
            self.context.clock.now(),
        );
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        let (hooks, volumes) = (stored.hooks(), stored.volumes());
        status.hooks_attempted = some(hooks.attempted);
        status.hooks_failed = some(hooks.failed);
        status.volume_snapshots_attempted = some(volumes.attempted);
        if volumes.attempted > 0 {
            status.volume_snapshots_completed = Some(volumes.completed);
        }
        status.volumes_skipped = some(volumes.skipped);
        status.snapshots_pending = stored.pending().to_vec();
        let operations = stored.operations();
        if operations.attempted > 0 {
            status.backup_item_operations_attempted = Some(operations.attempted);
            status.backup_item_operations_completed = Some(operations.completed);
            status.backup_item_operations_failed = Some(operations.failed);
        }
        let record = record(run.backup, &status);
        let committed = stored.commit(&record).await;
        let Err(error) = committed else {
            return self.committed(run, status, stored.contents_size());
        };
        // Whatever the answer was, what is stored now says what counts.
        match run.place.location.record(&run.task.name).await {
            Ok(Some(found)) if decide::owns(run.backup, &found.backup) => self.committed(
                run,
                found.backup.status.unwrap_or_default(),
                stored.contents_size(),
            ),
            Ok(found) => {
                if let Err(error) = stored.discard().await {
                    tracing::warn!(
                        error,
                        "parts of the backup could not be removed; they do not count"
                    );
                }
                let reason = match (found, error) {
                    (Some(found), _) => decide::name_taken(&found.backup),
                    (None, CommitError::Taken(reason) | CommitError::Unknown(reason)) => {
                        format!("the backup could not be committed: {reason}")
                    }
                };
                self.failed(run, reason)
            }
            Err(reason) => {
                tracing::warn!(
                    ?error,
                    reason,
                    "whether the backup is committed is not known; looking again later"
                );
                End::Unclear
            }
        }
    }

    /// Returns whether this server leads and the Backup still names it as the holder of this attempt.
    async fn still_ours(&self, run: &Run<'_>) -> bool {
        loop {
            match run.term.confirm().await {
                Standing::Held => {}
                Standing::Other => return false,
                Standing::Unknown => {
                    // The elector ends the term if this goes on.
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => continue,
                        () = run.term.lost().cancelled() => return false,
                    }
                }
            }
            match status::get::<Backup>(&self.context.apis.backups, &run.task.name, &run.task.uid)
                .await
            {
                Ok(Some(Ok(read))) => {
                    return read
                        .object
                        .status
                        .is_some_and(|status| status.run == run.status.run);
                }
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the Backup before its commit; trying again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = run.term.lost().cancelled() => return false,
            }
        }
    }

    fn committed(&self, run: &Run<'_>, status: BackupStatus, size: u64) -> End {
        let ending = if status.phase == BackupPhase::Completed {
            Ending::Success
        } else {
            Ending::Partial
        };
        tracing::info!(phase = %status.phase, "the backup is committed");
        let metrics = &self.context.metrics;
        metrics.backup_ends(run.schedule, ending);
        if let (Some(start), Some(end)) = (&status.start_timestamp, &status.completion_timestamp) {
            let took = Duration::try_from(end.0.duration_since(start.0)).unwrap_or_default();
            let items = status
                .progress
                .as_ref()
                .map_or(0, |progress| progress.items_done);
            metrics.backup_stored(run.schedule, took, size, items);
            let count = |counted: Option<u64>| counted.unwrap_or(0);
            metrics.volumes_snapshot(
                run.schedule,
                count(status.volume_snapshots_attempted),
                count(status.volume_snapshots_completed),
            );
        }
        End::Status(Box::new(status))
    }

    fn failed(&self, run: &Run<'_>, reason: String) -> End {
        tracing::error!(reason, "the backup failed");
        // If the location is the reason, those who come next learn it from the location's state.
        self.context.recheck.notify_one();
        self.context
            .metrics
            .backup_ends(run.schedule, Ending::Failure);
        let now = self.context.clock.now();
        End::Status(Box::new(decide::failed(&run.status, reason, now)))
    }

    /// Writes the end of a run until that has succeeded, unless another server has the run.
    async fn write_end(&self, run: &Run<'_>, end: &BackupStatus) -> Outcome {
        let change = |now: &Backup| {
            let status = now.status.as_ref();
            let holder = status.and_then(|status| status.run.as_ref());
            (holder == run.status.run.as_ref()).then(|| {
                let mut end = end.clone();
                // The run's own list counts: snapshots that could not be removed are still to be.
                if !end.phase.is_usable()
                    && let Some(status) = status
                {
                    end.snapshots_pending.clone_from(&status.snapshots_pending);
                }
                end
            })
        };
        let api = &self.context.apis.backups;
        let Task { name, uid, .. } = run.task;
        match status::update_until_written(api, name, uid, run.term.lost(), change).await {
            Ok(()) => {
                self.context.events.backup(run.backup, end);
                Outcome::Done
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the end of the backup is not in its status"
                );
                Outcome::Done
            }
        }
    }

    async fn remove_debris(&self, task: &Task, place: &Place) {
        if let Err(error) = place.location.remove_debris(&task.name, &task.uid).await {
            tracing::warn!(
                backup = task.name,
                error,
                "cannot remove what a dead run left; it does not count"
            );
        }
    }
}

/// Returns the Backup as it is stored: with its final status, without what only means something to an API server.
fn record(backup: &Backup, status: &BackupStatus) -> Backup {
    let mut record = backup.clone();
    record.metadata.managed_fields = None;
    record.metadata.resource_version = None;
    record.status = Some(status.clone());
    record
}
