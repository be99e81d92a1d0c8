//! The restore controller: takes Restores, has them carried out, stores their results and log, and says how it went.

pub(crate) mod decide;
mod modifiers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kube::api::ListParams;
use tokio::sync::watch;
use tracing::Instrument as _;

use self::decide::{Decision, Source};
use super::Context;
use super::attend::attend;
use super::config_map;
use super::dispatch::{Controller, Outcome, Task};
use super::ledger::{OPERATIONS_PENDING, RunStatus};
use super::malformed;
use crate::api::error::chain;
use crate::api::{Backup, BackupPhase, Progress, Restore, RestorePhase, RestoreStatus, Results};
use crate::server::engines::{self, RestoreRun, Restored, RunActions, RunError};
use crate::server::leader::Term;
use crate::server::metrics::Ending;
use crate::server::objects::parse;
use crate::server::run_log::RunLog;
use crate::server::settings::{Candidates, Place, World, location_of};
use crate::server::status::{self, Read};

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
    place: &'a Place,
    priorities: &'a [String],
    term: &'a Term,
    status: RestoreStatus,
    schedule: &'a str,
}

impl Run<'_> {
    fn is_dry(&self) -> bool {
        self.restore.spec.dry_run == Some(true)
    }
}

/// Where a backup was found, with the phase of its resource.
enum Found {
    /// Not known yet.
    Unknown,
    /// Its location cannot be used; a sentence for each reason.
    Unusable(Arc<Vec<String>>),
    /// The schedule that it is to come from has no completed one; the locations that cannot be looked into.
    NoneOfSchedule(Vec<String>),
    /// Nowhere; the locations that cannot be looked into.
    Missing(Option<BackupPhase>, Vec<String>),
    /// Stored here.
    At(Option<BackupPhase>, Box<Backup>, Arc<Place>),
}

/// Which backup a Restore is from.
enum Choice {
    /// The one that it names.
    AsAsked,
    /// The one that it names now.
    Chosen(Box<Read<Restore>>),
    /// None, and why.
    None(Found),
}

/// Why the resource modifiers that a Restore names are not in it.
enum Unruled {
    /// They cannot be used.
    Problem(String),
    /// They could not be written.
    Unwritten(Outcome),
}

impl Controller for Restores {
    type Object = Restore;

    const KIND: &'static str = "Restore";

    fn wants(&self, restore: &Restore) -> bool {
        let status = restore.status.as_ref();
        status.is_none_or(|status| status.phase == RestorePhase::New || status.phase.is_running())
    }

    async fn work(self: Arc<Self>, task: Task, term: Term) -> Outcome {
        let api = &self.context.apis.restores;
        if let Some(problem) = &task.malformed {
            let phase = RestorePhase::FailedValidation;
            return malformed::refuse(api, &task, problem, phase.as_str(), "validationErrors")
                .await;
        }
        match status::get::<Restore>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => Box::pin(self.look(&task, &read, &term)).await,
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
        if !self.wants(&read.object) {
            return Outcome::Done;
        }
        let world = self.context.world.borrow().clone();
        if world.snapshots_are_pending() {
            // What has not been looked at would count as missing.
            return Outcome::Done;
        }
        let (chosen, nowhere) = match self.choose(read, &world).await {
            Ok(Choice::AsAsked) => (None, None),
            Ok(Choice::Chosen(read)) => (Some(read), None),
            Ok(Choice::None(found)) => (None, Some(found)),
            Err(outcome) => return outcome,
        };
        let read = chosen.as_deref().unwrap_or(read);
        let (with_rules, rules_problem) = match self.modifiers(read).await {
            Ok(read) => (read, None),
            Err(Unruled::Problem(problem)) => (None, Some(problem)),
            Err(Unruled::Unwritten(outcome)) => return outcome,
        };
        let read = with_rules.as_deref().unwrap_or(read);
        let restore = &read.object;
        let status = restore.status.clone().unwrap_or_default();
        let looked = match nowhere {
            Some(found) => Ok(found),
            None => self.find(&restore.spec.backup_name, &world).await,
        };
        let found;
        let (source, place) = match looked {
            Ok(answer) => {
                found = answer;
                match &found {
                    Found::Unknown => (Source::Unknown, None),
                    Found::Unusable(reasons) => (Source::Unusable(reasons), None),
                    Found::NoneOfSchedule(unseen) => (Source::NoneOfSchedule(unseen), None),
                    Found::Missing(phase, unseen) => {
                        (decide::source(phase.clone(), None, unseen), None)
                    }
                    Found::At(phase, record, place) => {
                        let source = decide::source(phase.clone(), Some(record), &[]);
                        (source, Some(place))
                    }
                }
            }
            Err(reason) if status.phase.is_running() => {
                tracing::warn!(restore = task.name, reason, "cannot look for the backup");
                return Outcome::Retry;
            }
            Err(reason) => {
                found = Found::Unusable(Arc::new(vec![reason]));
                let Found::Unusable(reasons) = &found else {
                    return Outcome::Retry;
                };
                (Source::Unusable(reasons), None)
            }
        };
        let mut decision = decide::decide(restore, &source);
        if let Some(problem) = rules_problem {
            decision = decision.refused_too(problem);
        }
        let ending = match (decision, &source, place) {
            (Decision::Run(attempt), Source::Stored(record), Some(place)) => {
                let priorities = world.settings().map(|settings| settings.priorities.clone());
                let priorities = priorities.unwrap_or_default();
                return self
                    .run(task, read, (record, place, &priorities), attempt, term)
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
                let actions = self.context.actions_noted(&status.operations_pending).await;
                engines::cancel_restore_operations(&actions, restore).await;
                decide::failed(&status, reason, self.context.clock.now())
            }
        };
        let result = read
            .replace_status(&self.context.apis.restores, &ending)
            .await;
        if result.is_ok() {
            self.context.events.restore(restore, &ending);
        }
        Outcome::of_write(Self::KIND, &task.name, result)
    }

    /// Chooses the newest completed backup of the schedule that a Restore names, if it names one.
    async fn choose(&self, read: &Read<Restore>, world: &World) -> Result<Choice, Outcome> {
        if !decide::is_to_be_chosen(&read.object) {
            return Ok(Choice::AsAsked);
        }
        let unseen = match world.candidates("") {
            Candidates::Unusable(reasons) => return Ok(Choice::None(Found::Unusable(reasons))),
            // In a new cluster the newest one may not be shown yet.
            Candidates::Places(_, unseen) if world.is_looked_through() => unseen,
            Candidates::Places(..) | Candidates::Unknown | Candidates::NoLocation => {
                return Ok(Choice::None(Found::Unknown));
            }
        };
        let schedule = &read.object.spec.schedule_name;
        let selector = Backup::selector_of_schedule(schedule);
        let params = ListParams::default().labels(&selector);
        let listed = self.context.apis.backups.list(&params).await;
        let backups: Vec<Backup> = listed
            .map_err(|error| {
                tracing::warn!(restore = read.name, %error, "cannot look for backups of a schedule");
                Outcome::Retry
            })?
            .iter()
            .filter_map(|object| parse(object).ok())
            .collect();
        let newest = Backup::newest_completed(&backups);
        let Some(name) = newest.and_then(|backup| backup.metadata.name.as_deref()) else {
            return Ok(Choice::None(Found::NoneOfSchedule(unseen)));
        };
        tracing::info!(
            restore = read.name,
            schedule,
            backup = name,
            "a backup of the schedule is chosen"
        );
        let patch = decide::choice(name);
        match read.patch(&self.context.apis.restores, patch).await {
            Ok(read) => Ok(Choice::Chosen(read.into())),
            Err(error) => Err(Outcome::of_write(Self::KIND, &read.name, Err(error))),
        }
    }

    /// Writes the resource modifiers that a Restore names into it, if it names any.
    async fn modifiers(&self, read: &Read<Restore>) -> Result<Option<Box<Read<Restore>>>, Unruled> {
        let Some(name) = modifiers::wanted(&read.object) else {
            return Ok(None);
        };
        let namespace = read
            .object
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default();
        let cluster = &self.context.cluster;
        let rules = config_map::read(cluster, namespace, name, modifiers::WHAT).await;
        let rules = rules.map_err(Unruled::Problem)?;
        let patch = modifiers::patch(name, &rules);
        match read.patch(&self.context.apis.restores, patch).await {
            Ok(read) => Ok(Some(read.into())),
            Err(error) => {
                let outcome = Outcome::of_write(Self::KIND, &read.name, Err(error));
                Err(Unruled::Unwritten(outcome))
            }
        }
    }

    /// Looks for a backup in the cluster and in its location; one that the cluster does not know, in all of them.
    async fn find(&self, name: &str, world: &World) -> Result<Found, String> {
        if name.is_empty() {
            return Ok(Found::Missing(None, Vec::new()));
        }
        let resource = self
            .context
            .apis
            .backups
            .get_opt(name)
            .await
            .map_err(|error| chain(&error))?;
        let resource = resource.and_then(|object| match parse::<Backup>(&object) {
            Ok(backup) => Some(backup),
            // What is stored counts; the resource is only its image.
            Err(problem) => {
                tracing::warn!(
                    backup = name,
                    problem,
                    "a Backup cannot be read; looking into the locations alone"
                );
                None
            }
        });
        let phase = resource.as_ref().and_then(Backup::said_phase);
        let (places, unseen) = match world.candidates(resource.as_ref().map_or("", location_of)) {
            // A server that nobody has told where backups are waits until somebody does.
            Candidates::Unknown | Candidates::NoLocation => return Ok(Found::Unknown),
            Candidates::Unusable(reasons) => return Ok(Found::Unusable(reasons)),
            Candidates::Places(places, unseen) => (places, unseen),
        };
        for place in places {
            if let Some(record) = place.location.record(name).await? {
                return Ok(Found::At(phase, Box::new(record.backup), place));
            }
        }
        Ok(Found::Missing(phase, unseen))
    }

    /// Takes the run, carries it out, and writes how it ended.
    async fn run(
        &self,
        task: &Task,
        read: &Read<Restore>,
        (record, place, priorities): (&Backup, &Place, &[String]),
        attempt: u32,
        term: &Term,
    ) -> Outcome {
        let context = &self.context;
        let before = read.object.status.clone().unwrap_or_default();
        let status = decide::taken(&before, &context.identity, attempt, context.clock.now());
        // Kept until the run's end is written, so that its log can be read until the stored one can.
        let span_name = format!("restore/{}", task.name);
        let log = context.run_logs.begin(&span_name);
        // The version in this write decides between two servers that both believe that they lead.
        if let Err(error) = read.replace_status(&context.apis.restores, &status).await {
            return Outcome::of_write(Self::KIND, &task.name, Err(error));
        }
        context.events.restore(&read.object, &status);
        let run = Run {
            task,
            restore: &read.object,
            record,
            place,
            priorities,
            term,
            status,
            schedule: record.schedule().unwrap_or_default(),
        };
        let span = tracing::info_span!("run", run = span_name, attempt);
        let running = (!run.is_dry()).then(|| context.metrics.restore_begins(run.schedule));
        let outcome = self.carry_out(&run, &log).instrument(span).await;
        drop(running);
        outcome
    }

    async fn carry_out(&self, run: &Run<'_>, log: &RunLog) -> Outcome {
        tracing::info!(backup = run.restore.spec.backup_name, "the restore begins");
        let (progress, seen) = watch::channel(Progress::default());
        let (mut end, ending) = match self.engine(run, &progress, seen).await {
            Ok(Restored {
                mut results,
                items,
                bytes,
                counts,
                operations,
                plan,
            }) => {
                if plan.is_none() {
                    self.context.metrics.restore_through(
                        run.schedule,
                        took(&run.status, self.context.clock.now()),
                        items,
                        bytes,
                    );
                }
                tracing::info!(
                    items,
                    warnings = results.warnings.count(),
                    errors = results.errors.count(),
                    "the restore is through"
                );
                if let Some(reason) = self.store_plan(run, plan).await {
                    tracing::error!(reason, "the dry run is of no use");
                    let status = decide::failed(&run.status, reason, self.context.clock.now());
                    return self.write_end(run, &status).await;
                }
                self.store(run, &mut results, log).await;
                let (warnings, errors) = (results.warnings.count(), results.errors.count());
                let ending = if errors == 0 {
                    Ending::Success
                } else {
                    Ending::Partial
                };
                let now = self.context.clock.now();
                let mut status = decide::finished(&run.status, warnings, errors, now);
                status.counts = Some(counts);
                if operations.attempted > 0 {
                    status.restore_item_operations_attempted = Some(operations.attempted);
                    status.restore_item_operations_completed = Some(operations.completed);
                    status.restore_item_operations_failed = Some(operations.failed);
                }
                (status, ending)
            }
            Err((RunError::Refused(problems), _)) => {
                tracing::info!(problems = problems.join("; "), "the restore is refused");
                (decide::refused(problems), Ending::Refused)
            }
            Err((RunError::Failed(reason), mut results)) => {
                tracing::error!(reason, "the restore failed");
                self.context.recheck.notify_one();
                self.store(run, &mut results, log).await;
                let status = decide::failed(&run.status, reason, self.context.clock.now());
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
        if !run.is_dry() {
            self.context.metrics.restore_ends(run.schedule, ending);
        }
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
    ) -> Result<Restored, (RunError, Results)> {
        let context = &self.context;
        let cancel = run.term.lost().child_token();
        let own = RunStatus::of(
            &context.apis.restores,
            run.task,
            run.status.run.as_ref(),
            run.term,
        );
        let mut restore = run.restore.clone();
        restore.status = Some(run.status.clone());
        let request = RestoreRun {
            cluster: &context.cluster,
            location: &run.place.location,
            restore,
            record: run.record,
            priorities: run.priorities,
            snapshotters: &context.snapshotters(None),
            actions: RunActions {
                actions: context.actions().await,
                ledger: Arc::new(own.list(OPERATIONS_PENDING)),
                stage: Arc::new(own),
            },
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

    /// Stores what a dry run would do; returns why that failed, if it did: there is nothing else to show for it.
    async fn store_plan(&self, run: &Run<'_>, plan: Option<Bytes>) -> Option<String> {
        let stored = run
            .place
            .location
            .put_restore_plan(&run.task.name, plan?)
            .await;
        let error = stored.err()?;
        Some(format!(
            "what the dry run found could not be stored: {error}"
        ))
    }

    /// Stores log and results.
    async fn store(&self, run: &Run<'_>, results: &mut Results, log: &RunLog) {
        let location = &run.place.location;
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
        match status::update_until_written(api, name, uid, run.term.lost(), change).await {
            Ok(()) => self.context.events.restore(run.restore, end),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "the end of the restore is not in its status"
            ),
        }
        Outcome::Done
    }
}

/// Returns how long a restore has taken, the attempts of servers that died included.
fn took(status: &RestoreStatus, now: Timestamp) -> Duration {
    let begun = status.start_timestamp.as_ref().map_or(now, |time| time.0);
    Duration::try_from(now.duration_since(begun)).unwrap_or_default()
}
