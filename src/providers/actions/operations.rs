//! Operations: work that actions have begun for items and that goes on after their answer. A run notes each in its
//! ledger, waits for all of them at its end, and cancels what it does not wait for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{
    ActionError, ActionErrorKind, BackupItemAction, OperationProgress, RestoreItemAction,
    RunDocument, Selective,
};
use crate::api::{OperationCounts, OperationNote, duration};
use crate::providers::ledger::{Account, Ledger};

/// The most operations of a run that have not ended: each is noted in a status, which has to stay below the API server's
/// limit of some 1.5 MB.
const MOST: usize = 4000;
/// Operations that are asked about, or cancelled, at once.
const AT_ONCE: usize = 16;
/// The first pause before operations are asked about again; doubled each time, and begun anew when one has ended.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an action may take to say how an operation fares, or to cancel it.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often in a row it may fail to say so.
const MOST_FAILURES: u32 = 5;

/// An action that begins operations.
#[async_trait]
pub(crate) trait Operating: Selective {
    /// Returns how an operation fares.
    async fn ask(
        &self,
        operation: &str,
        document: &RunDocument,
    ) -> Result<OperationProgress, ActionError>;

    /// Asks that an operation end.
    async fn stop(&self, operation: &str, document: &RunDocument) -> Result<(), ActionError>;
}

macro_rules! operating {
    ($($kind:ident),*) => {$(
        #[async_trait]
        impl Operating for dyn $kind {
            async fn ask(
                &self,
                operation: &str,
                document: &RunDocument,
            ) -> Result<OperationProgress, ActionError> {
                self.progress(operation, document).await
            }

            async fn stop(&self, operation: &str, document: &RunDocument) -> Result<(), ActionError> {
                self.cancel(operation, document).await
            }
        }
    )*};
}

operating!(BackupItemAction, RestoreItemAction);

/// Is told how far a run is.
#[async_trait]
pub trait Stage: fmt::Debug + Send + Sync {
    /// Takes note that nothing is left but operations, which are waited for.
    async fn waits_for_operations(&self);

    /// Returns whether somebody else goes on with a run that was cancelled here, its operations included.
    fn is_handed_on(&self) -> bool {
        false
    }
}

/// The operations of a run.
#[derive(Debug)]
pub(crate) struct Operations<A: ?Sized> {
    actions: Vec<Arc<A>>,
    document: RunDocument,
    account: Account<OperationNote>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    going_on: Vec<GoingOn>,
    counts: OperationCounts,
}

#[derive(Clone, Debug)]
struct GoingOn {
    note: OperationNote,
    since: Instant,
    /// How often in a row the action failed to say how it fares.
    failures: u32,
}

/// What an action's answer says of an operation.
enum Fares {
    GoesOn(GoingOn),
    Well,
    /// It failed; why. Whether it is to be cancelled.
    Badly(String, bool),
}

impl<A: Operating + ?Sized> Operations<A> {
    /// Takes the list as it is written already.
    pub(crate) fn new(
        actions: &[Arc<A>],
        document: RunDocument,
        ledger: Arc<dyn Ledger<OperationNote>>,
        earlier: Vec<OperationNote>,
    ) -> Self {
        Self {
            actions: actions.to_vec(),
            document,
            account: Account::new(ledger, earlier),
            state: Mutex::default(),
        }
    }

    /// Takes an operation that has begun. One that cannot be noted is cancelled.
    ///
    /// # Errors
    /// Why it could not be noted; the end of a sentence.
    pub(crate) async fn take(&self, note: OperationNote) -> Result<(), String> {
        self.state().counts.attempted += 1;
        let noted = if self.account.len() >= MOST {
            Err(format!("{MOST} others go on, and no more can be noted"))
        } else {
            self.account.owe(&note).await
        };
        if let Err(why) = noted {
            self.state().counts.failed += 1;
            if let Err(left) = self.cancel(&note).await {
                tracing::warn!(
                    problem = left,
                    "an operation goes on, and nobody waits for it"
                );
            }
            return Err(why);
        }
        tracing::info!(
            operation = note.operation_id,
            action = note.action,
            resource = note.resource,
            namespace = note.namespace,
            name = note.name,
            "an action has begun an operation"
        );
        self.wait_for(note);
        Ok(())
    }

    fn wait_for(&self, note: OperationNote) {
        self.state().going_on.push(GoingOn {
            note,
            since: Instant::now(),
            failures: 0,
        });
    }

    /// Cancels what is noted, and forgets it; returns what could not be cancelled, a sentence each.
    ///
    /// At a run's beginning that is what earlier attempts left, at its end what nobody waits for.
    pub(crate) async fn cancel_noted(&self) -> Vec<String> {
        let notes = self.account.entries();
        if notes.is_empty() {
            return Vec::new();
        }
        tracing::warn!(
            operations = notes.len(),
            "operations of actions are cancelled: nobody waits for them"
        );
        self.state().going_on.clear();
        let problems = stream::iter(notes.clone())
            .map(async |note| self.cancel(&note).await)
            .buffered(AT_ONCE)
            .filter_map(|cancelled| std::future::ready(cancelled.err()))
            .collect()
            .await;
        self.forget(&notes).await;
        problems
    }

    /// Goes on with what earlier attempts left.
    pub(crate) fn adopt_earlier(&self) {
        for note in self.account.entries() {
            self.state().counts.attempted += 1;
            self.wait_for(note);
        }
    }

    /// Returns how many operations go on.
    pub(crate) fn going_on(&self) -> usize {
        self.state().going_on.len()
    }

    /// Returns how many operations there were.
    pub(crate) fn counts(&self) -> OperationCounts {
        self.state().counts
    }

    /// Cancels an operation that was begun where none may be; returns what is to be said of it, the end of a sentence.
    pub(crate) async fn refuse(&self, note: &OperationNote) -> String {
        match self.cancel(note).await {
            Ok(()) => "it is cancelled".to_owned(),
            Err(left) => left,
        }
    }

    /// Waits until all have ended, each at most for `limit` since it began; returns what went wrong, with the operation.
    pub(crate) async fn wait(
        &self,
        limit: Duration,
        mut report: impl FnMut(OperationCounts) + Send,
    ) -> Vec<(OperationNote, String)> {
        let mut problems = Vec::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = std::mem::take(&mut self.state().going_on);
            let fares: Vec<(OperationNote, Fares)> = stream::iter(asked)
                .map(async |one: GoingOn| {
                    let note = one.note.clone();
                    (note, self.look(one, limit).await)
                })
                .buffered(AT_ONCE)
                .collect()
                .await;
            let mut ended = Vec::new();
            for (note, fares) in fares {
                match fares {
                    Fares::GoesOn(one) => self.state().going_on.push(one),
                    Fares::Well => {
                        self.state().counts.completed += 1;
                        ended.push(note);
                    }
                    Fares::Badly(why, cancel) => {
                        self.state().counts.failed += 1;
                        let left = if cancel {
                            self.cancel(&note).await.err()
                        } else {
                            None
                        };
                        let why = left.map_or_else(|| why.clone(), |left| format!("{why}; {left}"));
                        ended.push(note.clone());
                        problems.push((note, why));
                    }
                }
            }
            if !ended.is_empty() {
                pause = FIRST_PAUSE;
                self.forget(&ended).await;
            }
            report(self.counts());
            if self.going_on() == 0 {
                return problems;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self, mut one: GoingOn, limit: Duration) -> Fares {
        let answer = match self.action(&one.note) {
            Err(gone) => return Fares::Badly(gone, false),
            Ok(action) => {
                let asked = action.ask(&one.note.operation_id, &self.document);
                timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
                    let message = format!("action {} does not answer", one.note.action);
                    Err(ActionError::new(ActionErrorKind::TimedOut, message))
                })
            }
        };
        match answer {
            Ok(progress) if progress.completed && progress.error.is_empty() => Fares::Well,
            Ok(progress) if progress.completed => Fares::Badly(progress.error, false),
            Err(error) if error.kind == ActionErrorKind::NotSupported => {
                Fares::Badly(error.message, false)
            }
            Err(error) if one.failures + 1 >= MOST_FAILURES => Fares::Badly(
                format!("how it fares cannot be found out: {}", error.message),
                true,
            ),
            Ok(_) | Err(_) if one.since.elapsed() >= limit => Fares::Badly(
                format!("it has not ended within {}", duration::format(limit)),
                true,
            ),
            Ok(progress) => {
                one.failures = 0;
                tracing::debug!(
                    operation = one.note.operation_id,
                    done = progress.done,
                    total = progress.total,
                    units = progress.units,
                    description = progress.description,
                    "an operation goes on"
                );
                Fares::GoesOn(one)
            }
            Err(error) => {
                tracing::warn!(%error, "how an operation fares is asked again");
                one.failures += 1;
                Fares::GoesOn(one)
            }
        }
    }

    async fn cancel(&self, note: &OperationNote) -> Result<(), String> {
        let cancelling = async {
            let action = self.action(note)?;
            let stopped = action.stop(&note.operation_id, &self.document).await;
            stopped.map_err(|error| error.message)
        };
        let cancelled = timeout(PATIENCE, cancelling)
            .await
            .unwrap_or_else(|_| Err(format!("action {} does not answer", note.action)));
        match cancelled {
            Ok(()) => {
                tracing::info!(
                    operation = note.operation_id,
                    action = note.action,
                    "an operation is cancelled"
                );
                Ok(())
            }
            Err(why) => Err(format!(
                "{note} could not be cancelled, and may go on: {why}"
            )),
        }
    }

    /// Takes operations that have ended off the list. Where that cannot be written, whoever comes next asks about them in
    /// vain.
    async fn forget(&self, ended: &[OperationNote]) {
        if let Err(error) = self.account.paid(ended).await {
            tracing::warn!(error, "it could not be noted that operations have ended");
        }
    }

    fn action(&self, note: &OperationNote) -> Result<&Arc<A>, String> {
        let found = self.actions.iter().find(|one| one.title() == note.action);
        found.ok_or_else(|| format!("this server has no action {}", note.action))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
