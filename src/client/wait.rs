//! Waiting for a run's end, with its progress.
//!
//! The object is listed by name and watched from there, again after every lost connection, so no change between its
//! creation and the watch can be missed. A later object of the same name is not taken for it.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};

use super::context::Cluster;
use super::objects::Kind;
use super::{Outcome, output};
use crate::api::{Backup, BackupPhase, Progress, Restore, RestorePhase};

/// How long one watch lasts: shorter than the silence the connection tolerates.
const WATCH_SECONDS: u32 = 20;
/// How long to wait after a lost connection. Short and steady: somebody sits in front of it.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How often the rate is worked out again.
const TICK: Duration = Duration::from_secs(1);
/// How often a line is printed, at most, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A type whose objects stand for a run.
pub(crate) trait Run: Kind {
    /// Returns how far the run has come.
    fn state(&self) -> RunState;
}

/// How far a run has come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RunState {
    phase: String,
    ended: bool,
    completed: bool,
    /// It was refused before it began, so there is no log.
    refused: bool,
    progress: Option<Progress>,
    warnings: u64,
    errors: u64,
    reasons: Vec<String>,
}

impl Run for Backup {
    fn state(&self) -> RunState {
        let status = self.status.clone().unwrap_or_default();
        RunState {
            phase: status.phase.to_string(),
            ended: status.phase.is_terminal(),
            completed: status.phase == BackupPhase::Completed,
            refused: status.phase == BackupPhase::FailedValidation,
            progress: status.progress,
            warnings: status.warnings.unwrap_or(0),
            errors: status.errors.unwrap_or(0),
            reasons: reasons(status.failure_reason, status.validation_errors),
        }
    }
}

impl Run for Restore {
    fn state(&self) -> RunState {
        let status = self.status.clone().unwrap_or_default();
        RunState {
            phase: status.phase.to_string(),
            ended: status.phase.is_terminal(),
            completed: status.phase == RestorePhase::Completed,
            refused: status.phase == RestorePhase::FailedValidation,
            progress: status.progress,
            warnings: status.warnings,
            errors: status.errors,
            reasons: reasons(status.failure_reason, status.validation_errors),
        }
    }
}

fn reasons(failure: Option<String>, validation: Vec<String>) -> Vec<String> {
    failure.into_iter().chain(validation).collect()
}

/// Waits for the end of the run that `created` stands for and says how it went.
///
/// # Errors
/// The object is deleted, or may not be watched.
pub(crate) async fn wait<K: Run>(cluster: &Cluster, created: &K) -> anyhow::Result<Outcome> {
    let noun = K::NOUN;
    let name = created.name_any();
    output::line(&format!(
        "Waiting for its end. Ctrl-C ends the waiting only; the {noun} goes on."
    ))?;
    let begun = Instant::now();
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(watcher::watcher(cluster.api::<K>(), config));
    let mut view = View::new();
    let mut listed = false;
    let gone = || {
        anyhow!(
            "{noun} {name:?} has been deleted while waiting for it; `ark {noun} get` lists those there are"
        )
    };
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = ticks.tick() => {
                view.draw(Instant::now())?;
                continue;
            }
        };
        let Some(event) = event else {
            bail!("the watch of {noun} {name:?} has ended; see `ark {noun} describe {name}`");
        };
        let object = match event {
            Ok(Event::Init) => {
                listed = false;
                continue;
            }
            Ok(Event::InitDone) if listed => continue,
            Ok(Event::InitDone | Event::Delete(_)) => bail!(gone()),
            Ok(Event::InitApply(object) | Event::Apply(object)) => object,
            Err(error) => {
                view.interrupted(cluster, &error)?;
                // The watcher sends its next request when it is asked for the next event.
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        listed = true;
        if object.uid() != created.uid() {
            bail!(gone());
        }
        let state = object.state();
        if state.ended {
            view.finish();
            return report(noun, &name, &state, begun.elapsed());
        }
        view.see(state);
        view.draw(Instant::now())?;
    }
}

/// Says how a run ended.
fn report(noun: &str, name: &str, state: &RunState, elapsed: Duration) -> anyhow::Result<Outcome> {
    output::line(&end_line(noun, name, state, elapsed))?;
    for reason in &state.reasons {
        output::line(&format!("  {}", output::one_line(reason)))?;
    }
    if let Some(hint) = hint(noun, name, state) {
        output::line(&hint)?;
    }
    Ok(if state.completed {
        Outcome::Done
    } else {
        Outcome::NotCompleted
    })
}

/// Says where to read more, if there is more to read.
fn hint(noun: &str, name: &str, state: &RunState) -> Option<String> {
    if state.completed && state.warnings + state.errors == 0 {
        return None;
    }
    if state.refused {
        return Some(format!("To see more: ark {noun} describe {name}"));
    }
    let details = if noun == Backup::NOUN {
        " --details"
    } else {
        ""
    };
    Some(format!(
        "To see more: ark {noun} describe {name}{details}, or ark {noun} logs {name}"
    ))
}

fn end_line(noun: &str, name: &str, state: &RunState, elapsed: Duration) -> String {
    let items = state
        .progress
        .as_ref()
        .map(|progress| format!("items: {}, ", progress.items_done))
        .unwrap_or_default();
    format!(
        "The {noun} \"{name}\" has ended: {} after {:.1}s ({items}warnings: {}, errors: {})",
        output::one_line(&state.phase),
        elapsed.as_secs_f64(),
        state.warnings,
        state.errors
    )
}

/// Shows progress: a line that changes on a terminal, lines now and then elsewhere.
struct View {
    bar: Option<ProgressBar>,
    meter: Meter,
    state: Option<RunState>,
    printed: Option<(Instant, RunState)>,
    connected: bool,
}

impl View {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            meter: Meter::default(),
            state: None,
            printed: None,
            connected: true,
        }
    }

    /// Takes note of how far the run has come.
    fn see(&mut self, state: RunState) {
        self.connected = true;
        self.state = Some(state);
    }

    /// Shows what was seen last, as it is at `now`.
    fn draw(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| self.connected) else {
            return Ok(());
        };
        let line = self.meter.line(state, now);
        if let Some(bar) = &self.bar {
            bar.set_message(line);
            return Ok(());
        }
        let is_due = self.printed.as_ref().is_none_or(|(at, printed)| {
            printed != state && now.duration_since(*at) >= LINE_INTERVAL
        });
        if is_due {
            output::line(&line)?;
            self.printed = Some((now, state.clone()));
        }
        Ok(())
    }

    /// Says once that the connection is lost; what will not heal by itself ends the waiting.
    fn interrupted(&mut self, cluster: &Cluster, error: &watcher::Error) -> anyhow::Result<()> {
        if let watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause) =
            error
            && let kube::Error::Api(status) = cause
            && matches!(status.code, 401 | 403 | 404)
        {
            return Err(cluster
                .explain(cause)
                .context("waiting, while the run goes on"));
        }
        let line = "The connection to the cluster is lost; trying again.";
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if self.connected => output::line(line)?,
            None => {}
        }
        self.connected = false;
        Ok(())
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Works out how fast a run goes, from what was seen since its first item count.
#[derive(Debug, Default)]
struct Meter {
    first: Option<(Instant, u64)>,
}

impl Meter {
    fn line(&mut self, state: &RunState, now: Instant) -> String {
        let phase = output::one_line(&state.phase);
        let Some(progress) = &state.progress else {
            // Who sees this for long has no server running.
            return if phase == "New" {
                "New: waiting for the server to begin".to_owned()
            } else {
                phase
            };
        };
        if progress.total_operations > 0 {
            let (ended, all) = (progress.operations_done, progress.total_operations);
            return format!("{phase}: {ended} of {all} operations of item actions ended");
        }
        let done = progress.items_done;
        // A server that took the run over counts from the start again.
        let (since, from) = match self.first {
            Some((since, from)) if from <= done => (since, from),
            Some(_) | None => *self.first.insert((now, done)),
        };
        let total = progress.total_items.max(done);
        let elapsed = now.duration_since(since).as_secs();
        let rate = match (done - from).checked_div(elapsed) {
            None | Some(0) => String::new(),
            Some(rate) => format!(", {rate}/s"),
        };
        format!("{phase}: {done} of {total} items{rate}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BackupSpec, BackupStatus};

    fn running(done: u64, total: u64) -> RunState {
        RunState {
            phase: "InProgress".into(),
            progress: Some(Progress {
                items_done: done,
                total_items: total,
                ..Progress::default()
            }),
            ..RunState::default()
        }
    }

    #[test]
    fn the_rate_counts_from_the_first_sight() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            meter.line(
                &RunState {
                    phase: "New".into(),
                    ..RunState::default()
                },
                start
            ),
            "New: waiting for the server to begin"
        );
        for (seconds, done, total, line) in [
            (0, 100, 50, "InProgress: 100 of 100 items"),
            (10, 1_100, 5_000, "InProgress: 1100 of 5000 items, 100/s"),
            (20, 1_100, 5_000, "InProgress: 1100 of 5000 items, 50/s"),
            (21, 10, 5_000, "InProgress: 10 of 5000 items"),
            (22, 110, 5_000, "InProgress: 110 of 5000 items, 100/s"),
        ] {
            assert_eq!(meter.line(&running(done, total), after(seconds)), line);
        }
        let mut waiting = running(110, 110);
        waiting.phase = "WaitingForPluginOperations".into();
        waiting.progress.as_mut().unwrap().total_operations = 3;
        assert_eq!(
            meter.line(&waiting, after(30)),
            "WaitingForPluginOperations: 0 of 3 operations of item actions ended"
        );
    }

    #[test]
    fn only_completed_is_success() {
        for (phase, ended, completed) in [
            (BackupPhase::New, false, false),
            (BackupPhase::InProgress, false, false),
            (BackupPhase::WaitingForPluginOperations, false, false),
            (BackupPhase::Completed, true, true),
            (BackupPhase::PartiallyFailed, true, false),
            (BackupPhase::Failed, true, false),
            (BackupPhase::FailedValidation, true, false),
        ] {
            let mut backup = Backup::new("a", BackupSpec::default());
            backup.status = Some(BackupStatus {
                phase: phase.clone(),
                ..BackupStatus::default()
            });
            let state = backup.state();
            assert_eq!(
                (state.ended, state.completed),
                (ended, completed),
                "{phase}"
            );
        }
    }

    #[test]
    fn only_what_went_well_says_nothing_more() {
        let mut state = RunState {
            completed: true,
            ..running(1, 1)
        };
        assert_eq!(hint("backup", "a", &state), None);
        state.warnings = 1;
        assert_eq!(
            hint("backup", "a", &state).unwrap(),
            "To see more: ark backup describe a --details, or ark backup logs a"
        );
        state.warnings = 0;
        state.completed = false;
        assert_eq!(
            hint("restore", "a", &state).unwrap(),
            "To see more: ark restore describe a, or ark restore logs a"
        );
        // What was refused has no log, and its reasons are no details.
        state.refused = true;
        assert_eq!(
            hint("backup", "a", &state).unwrap(),
            "To see more: ark backup describe a"
        );
    }

    #[test]
    fn the_end_is_one_line() {
        let mut state = running(12, 12);
        state.phase = "PartiallyFailed".into();
        state.errors = 1;
        assert_eq!(
            end_line("backup", "a", &state, Duration::from_millis(2_340)),
            "The backup \"a\" has ended: PartiallyFailed after 2.3s (items: 12, warnings: 0, errors: 1)"
        );
    }
}
