//! The restore controller: takes Restores, has them carried out, stores their results and log, and says how it went.

pub(crate) mod decide;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::Instrument as _;

use self::decide::{Decision, Source};
use super::Context;
use super::attend::attend;
use super::dispatch::{Controller, Outcome, Task};
use super::malformed;
use crate::api::error::chain;
use crate::api::{
    Backup, BackupPhase, Progress, Restore, RestorePhase, RestoreStatus, Results, labels,
};
use crate::server::clock;
use crate::server::config::{ConfigState, Settings};
use crate::server::engines::{self, RestoreRun, RunError};
use crate::server::leader::Term;
use crate::server::metrics::Ending;
use crate::server::objects::parse;
use crate::server::run_log::RunLog;
use crate::server::status::{self, Read, StatusError};

/// The restore controller.
#[derive(Debug)]
pub(crate) struct Restores {
    context: Arc<Context>,
}

/// A run that goes on.
struct Run<'a> {
    task: &'a Task,
    restore: &'a Restore,
    record: &'a Backup,
    settings: &'a Settings,
    term: &'a Term,
    status: RestoreStatus,
    schedule: &'a str,
}

impl Controller for Restores {
    type Object = Restore;

    const KIND: &'static str = "Restore";

    fn wants(&self, restore: &Restore) -> bool {
        let phase = restore.status.as_ref().map(|status| &status.phase);
        matches!(
            phase,
            None | Some(RestorePhase::New | RestorePhase::InProgress)
        )
    }

    async fn work(self: Arc<Self>, task: Task, term: Term) -> Outcome {
        let api = &self.context.apis.restores;
        if let Some(problem) = &task.malformed {
            let phase = RestorePhase::FailedValidation;
            return malformed::refuse(api, &task, problem, phase.as_str(), "validationErrors")
                .await;
        }
        match status::get::<Restore>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => self.look(&task, &read, &term).await,
            // Gone, or changed so that it cannot be read: the watch tells.
            Ok(_) => Outcome::Done,
            Err(error) => {
                tracing::warn!(restore = task.name, %error, "cannot read a Restore");
                Outcome::Retry
            }
        }
    }
}

impl Restores {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn look(&self, task: &Task, read: &Read<Restore>, term: &Term) -> Outcome {
        let restore = &read.object;
        if !self.wants(restore) {
            return Outcome::Done;
        }
        let state = self.context.config.borrow().clone();
        let status = restore.status.clone().unwrap_or_default();
        let record;
        let reasons;
        let source = match &state {
            ConfigState::Pending | ConfigState::Missing => Source::Unknown,
            ConfigState::Unusable(reasons) => Source::Unusable(reasons),
            ConfigState::Usable(settings) => {
                match self.find(&restore.spec.backup_name, settings).await {
                    Ok((phase, found)) => {
                        record = found;
                        decide::source(phase, record.as_ref())
                    }
                    Err(reason) if status.phase == RestorePhase::InProgress => {
                        tracing::warn!(restore = task.name, reason, "cannot look for the backup");
                        return Outcome::Retry;
                    }
                    Err(reason) => {
                        reasons = [reason];
                        Source::Unusable(&reasons)
                    }
                }
            }
        };
        let ending = match (decide::decide(restore, &source), &source, &state) {
            (Decision::Run(attempt), Source::Stored(record), ConfigState::Usable(settings)) => {
                return self
                    .run(task, read, (record, settings), attempt, term)
                    .await;
            }
            (Decision::Nothing | Decision::Run(_), _, _) => return Outcome::Done,
            (Decision::Refuse(problems), _, _) => {
                tracing::info!(
                    restore = task.name,
                    problems = problems.join("; "),
                    "a Restore is refused"
                );
                self.context.metrics.restore_ends("", Ending::Refused);
                decide::refused(problems)
            }
            (Decision::Fail(reason), _, _) => {
                tracing::error!(restore = task.name, reason, "a Restore failed");
                self.context.metrics.restore_ends("", Ending::Failure);
                decide::failed(&status, reason, clock::now())
            }
        };
        written(
            &task.name,
            read.replace_status(&self.context.apis.restores, &ending)
                .await,
        )
    }

    /// Looks for a backup in the cluster and in the location: the phase of the resource, and the stored record.
    async fn find(
        &self,
        name: &str,
        settings: &Settings,
    ) -> Result<(Option<BackupPhase>, Option<Backup>), String> {
        if name.is_empty() {
            return Ok((None, None));
        }
        let resource = self
            .context
            .apis
            .backups
            .get_opt(name)
            .await
            .map_err(|error| chain(&error))?;
        let phase = resource.and_then(|object| match parse::<Backup>(&object) {
            Ok(backup) => Some(backup.status.map(|status| status.phase).unwrap_or_default()),
            // What is stored counts; the resource is only its image.
            Err(problem) => {
                tracing::warn!(
                    backup = name,
                    problem,
                    "a Backup cannot be read; looking into the location alone"
                );
                None
            }
        });
        let record = settings.location.record(name).await?;
        Ok((phase, record.map(|record| record.backup)))
    }

    /// Takes the run, carries it out, and writes how it ended.
    async fn run(
        &self,
        task: &Task,
        read: &Read<Restore>,
        (record, settings): (&Backup, &Settings),
        attempt: u32,
        term: &Term,
    ) -> Outcome {
        let context = &self.context;
        let before = read.object.status.clone().unwrap_or_default();
        let status = decide::taken(&before, &context.identity, attempt, clock::now());
        // The version in this write decides between two servers that both believe that they lead.
        if let Err(error) = read.replace_status(&context.apis.restores, &status).await {
            return written(&task.name, Err(error));
        }
        let run = Run {
            task,
            restore: &read.object,
            record,
            settings,
            term,
            status,
            schedule: schedule(record),
        };
        let span_name = format!("restore/{}", task.name);
        let log = context.run_logs.begin(&span_name);
        let span = tracing::info_span!("run", run = span_name, attempt);
        let running = context.metrics.restore_begins(run.schedule);
        let outcome = self.carry_out(&run, log).instrument(span).await;
        drop(running);
        outcome
    }

    async fn carry_out(&self, run: &Run<'_>, log: RunLog) -> Outcome {
        tracing::info!(backup = run.restore.spec.backup_name, "the restore begins");
        let (progress, seen) = watch::channel(Progress::default());
        let (mut end, ending) = match self.engine(run, &progress, seen).await {
            Ok(mut results) => {
                tracing::info!(
                    warnings = results.warnings.count(),
                    errors = results.errors.count(),
                    "the restore is through"
                );
                self.store(run, &mut results, log).await;
                let (warnings, errors) = (results.warnings.count(), results.errors.count());
                let ending = if errors == 0 {
                    Ending::Success
                } else {
                    Ending::Partial
                };
                (
                    decide::finished(&run.status, warnings, errors, clock::now()),
                    ending,
                )
            }
            Err((RunError::Refused(problems), _)) => {
                tracing::info!(problems = problems.join("; "), "the restore is refused");
                (decide::refused(problems), Ending::Refused)
            }
            Err((RunError::Failed(reason), mut results)) => {
                tracing::error!(reason, "the restore failed");
                self.context.recheck.notify_one();
                self.store(run, &mut results, log).await;
                let status = decide::failed(&run.status, reason, clock::now());
                let counted = RestoreStatus {
                    warnings: results.warnings.count(),
                    errors: results.errors.count(),
                    ..status
                };
                (counted, Ending::Failure)
            }
            Err((RunError::Cancelled, _)) => {
                tracing::info!(
                    "the restore ends here: it was deleted, or another server goes on with it"
                );
                return Outcome::Done;
            }
        };
        self.context.metrics.restore_ends(run.schedule, ending);
        // What was last written while it ran is older than the end.
        let reached = progress.borrow().clone();
        end.progress = (reached != Progress::default()).then_some(reached);
        self.write_end(run, &end).await
    }

    async fn engine(
        &self,
        run: &Run<'_>,
        progress: &watch::Sender<Progress>,
        seen: watch::Receiver<Progress>,
    ) -> Result<Results, (RunError, Results)> {
        let context = &self.context;
        let cancel = run.term.lost().child_token();
        let request = RestoreRun {
            cluster: &context.cluster,
            location: &run.settings.location,
            restore: run.restore,
            record: run.record,
            priorities: &run.settings.priorities,
        };
        let engine = engines::restore(&request, progress, &cancel);
        attend(
            engine,
            &context.apis.restores,
            &context.watched.restores,
            run.task,
            seen,
            &cancel,
        )
        .await
    }

    /// Stores log and results.
    async fn store(&self, run: &Run<'_>, results: &mut Results, log: RunLog) {
        let location = &run.settings.location;
        let name = &run.task.name;
        if let Err(error) = location.put_restore_log(name, log.finish()).await {
            tracing::warn!(error, "the log of the restore could not be stored");
            let problem = format!("the log of this restore could not be stored: {error}");
            results.warnings.add_ark(problem);
        }
        if let Err(error) = location.put_restore_results(name, results).await {
            tracing::warn!(error, "the results of the restore could not be stored");
        }
    }

    /// Writes the end of a run until that has succeeded, unless another server has the run.
    async fn write_end(&self, run: &Run<'_>, end: &RestoreStatus) -> Outcome {
        let change = |now: &Restore| {
            let status = now.status.as_ref();
            let holder = status.and_then(|status| status.run.as_ref());
            (holder == run.status.run.as_ref()).then(|| RestoreStatus {
                progress: end
                    .progress
                    .clone()
                    .or_else(|| status.and_then(|status| status.progress.clone())),
                ..end.clone()
            })
        };
        let api = &self.context.apis.restores;
        let Task { name, uid, .. } = run.task;
        if let Err(error) =
            status::update_until_written(api, name, uid, run.term.lost(), change).await
        {
            tracing::warn!(
                error = chain(&error),
                "the end of the restore is not in its status"
            );
        }
        Outcome::Done
    }
}

fn schedule(record: &Backup) -> &str {
    let labels = record.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(labels::SCHEDULE))
        .map_or("", String::as_str)
}

/// Returns what follows from a write that needed the version that was read.
fn written(name: &str, result: Result<(), StatusError>) -> Outcome {
    match result {
        Ok(()) | Err(StatusError::Gone | StatusError::NotLeading) => Outcome::Done,
        Err(error) => {
            tracing::warn!(
                name,
                error = chain(&error),
                "cannot write the status of a Restore; trying again"
            );
            Outcome::Retry
        }
    }
}
