//! Item actions in a restore: which of them are for what, what they say of an object ([`act`]), what they want restored
//! before it ([`more`]), and the operations that they begin.
//!
//! Their selectors are asked for once a run. Objects that no action is for go their own way and cost nothing more.

mod act;
mod answer;
mod more;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use self::more::Places;
use super::RestoreRequest;
use super::apply::Applier;
use super::plan::{RestorePlan, Step};
use super::rules::Told;
use super::select::Contents;
use crate::api::{Restore, operation_time_limit};
use crate::archive::IndexEntry;
use crate::cluster::{ApiType, Discovery};
use crate::providers::actions::operations::Operations;
use crate::providers::actions::{
    Actions, Chosen, ItemId, RestoreItemAction, RunActions, RunDocument, Stage,
};

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "",
        about: "an object that an item action is for",
        says: "is changed by it after the rules above and before resource modifiers; it sees the object without status and \
               with its metadata reset. If it fails, the object is not restored",
    },
    Told {
        cases: "75",
        about: "what an item action names",
        says: "is restored before the object that it is named for, whatever labels and names the request asks for, if the \
               request's types and namespaces include it; a warning if the backup does not hold it",
    },
    Told {
        cases: "76",
        about: "an object that an item action leaves out",
        says: "is not restored, and counts as skipped",
    },
    Told {
        cases: "77",
        about: "an object that an item action turns into one of another kind or version",
        says: "is created as such",
    },
    Told {
        cases: "78",
        about: "an object whose item action waits for what it named",
        says: "is created when the action says that this is ready; after a while all the same, with a warning",
    },
];

/// Bytes of answers that are kept for objects which are tried again. Of more, the actions are asked again.
const KEPT: usize = 16 << 20;

/// The item actions of one restore.
#[derive(Debug, Default)]
pub(super) struct ItemActions {
    chosen: Chosen<dyn RestoreItemAction>,
    run: Option<Run>,
    /// The objects of the backup that have been begun with.
    begun: Mutex<HashSet<usize>>,
    /// What actions have said of objects that are tried again.
    kept: Mutex<Kept>,
    /// The plan's steps, by their entry.
    planned: HashMap<usize, Step>,
    places: OnceLock<Places>,
    /// Target namespaces that were looked at for what actions named, and whether they can be used.
    namespaces: tokio::sync::Mutex<HashMap<String, bool>>,
    /// What the target serves, once somebody wants to know.
    target: tokio::sync::Mutex<Option<Discovery>>,
}

/// What all calls of a run need. It outlives the restoring, since what it has begun may have to be cancelled.
#[derive(Clone, Debug)]
pub(super) struct Run {
    operations: Arc<Operations<dyn RestoreItemAction>>,
    document: RunDocument,
    limit: Duration,
    stage: Arc<dyn Stage>,
    /// Whether an earlier attempt has restored objects.
    resumed: bool,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<usize, Becomes>,
    bytes: usize,
}

/// What actions have made of an object.
#[derive(Clone, Debug, Default)]
struct Becomes {
    /// The object, if it was replaced.
    object: Option<Bytes>,
    /// Its name, if it is another one.
    name: Option<String>,
    /// Its type, with the type's full name, if it is another one.
    api_type: Option<(Arc<ApiType>, String)>,
}

impl Run {
    /// Returns what a request's actions need.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(request: &RestoreRequest) -> Result<Self, String> {
        let RestoreRequest {
            restore, actions, ..
        } = request;
        let status = restore.status.clone().unwrap_or_default();
        let document = document(restore)?;
        let operations = Operations::new(
            &actions.actions.restore,
            document.clone(),
            Arc::clone(&actions.ledger),
            status.operations_pending,
        );
        operations.adopt_earlier();
        Ok(Self {
            operations: operations.into(),
            document,
            // One that is no time is refused.
            limit: operation_time_limit(restore.spec.item_operation_timeout.as_deref())
                .unwrap_or_default(),
            stage: Arc::clone(&actions.stage),
            resumed: status.run.is_some_and(|run| run.attempt > 1),
        })
    }

    /// Cancels what goes on: nobody will wait for it.
    pub(super) async fn discard(&self) {
        for problem in self.operations.cancel_noted().await {
            tracing::warn!(problem, "an operation goes on, and nobody waits for it");
        }
    }

    pub(super) fn operations(&self) -> &Operations<dyn RestoreItemAction> {
        &self.operations
    }
}

fn document(restore: &Restore) -> Result<RunDocument, String> {
    RunDocument::of_restore(restore)
        .map_err(|error| format!("the restore cannot be written for item actions: {error}"))
}

/// Cancels the operations that a Restore's status notes; returns what could not be cancelled, a sentence each.
pub async fn cancel_operations(actions: &Actions, restore: &Restore) -> Vec<String> {
    let status = restore.status.clone().unwrap_or_default();
    if status.operations_pending.is_empty() {
        return Vec::new();
    }
    let document = match document(restore) {
        Ok(document) => document,
        Err(problem) => return vec![problem],
    };
    // Whoever asks writes the status.
    let ledger = RunActions::default().ledger;
    let operations = Operations::new(
        &actions.restore,
        document,
        ledger,
        status.operations_pending,
    );
    operations.cancel_noted().await
}

impl ItemActions {
    /// Asks the actions what they are for, and notes in the plan which may be for the objects of its types.
    pub(super) async fn ask(
        actions: &Actions,
        run: &Run,
        plan: &mut RestorePlan,
        contents: &Contents<'_>,
        target: &Discovery,
    ) -> Self {
        let resolve = |name: &str| contents.resolve(name, target);
        let (chosen, problems) = Chosen::ask(&actions.restore, resolve).await;
        for problem in actions.problems.iter().chain(&problems) {
            plan.results.errors.add_ark(problem.clone());
        }
        for planned in &mut plan.types {
            let stored = planned.key.group_resource();
            planned.actions = chosen.for_type(&[&stored, &planned.group_resource]);
        }
        let planned = if chosen.is_empty() {
            HashMap::new()
        } else {
            let steps = plan.waves.iter().flatten();
            steps.map(|step| (step.entry, *step)).collect()
        };
        Self {
            chosen,
            run: Some(run.clone()),
            planned,
            ..Self::default()
        }
    }

    /// Returns whether any action takes part.
    pub(super) fn are_there(&self) -> bool {
        !self.chosen.is_empty()
    }

    /// Returns the actions that are for an object, of those that may be for its type.
    fn of<'a>(
        &'a self,
        for_type: &'a [usize],
        entry: &'a IndexEntry,
    ) -> impl Iterator<Item = &'a Arc<dyn RestoreItemAction>> {
        let namespace = entry.namespace.as_deref().unwrap_or_default();
        self.chosen.of(for_type, namespace, &entry.labels)
    }

    /// Notes that an object is begun with; false if it was before.
    pub(super) fn begin(&self, entry: usize) -> bool {
        lock(&self.begun).insert(entry)
    }

    fn has_begun(&self, entry: usize) -> bool {
        lock(&self.begun).contains(&entry)
    }

    /// Keeps what actions have made of an object that is tried again.
    fn keep(&self, entry: usize, becomes: Becomes) {
        let mut kept = lock(&self.kept);
        let bytes = kept.bytes + becomes.object.as_ref().map_or(0, Bytes::len);
        if bytes <= KEPT {
            kept.bytes = bytes;
            kept.answers.insert(entry, becomes);
        }
    }

    fn take_kept(&self, entry: usize) -> Option<Becomes> {
        let mut kept = lock(&self.kept);
        let becomes = kept.answers.remove(&entry)?;
        kept.bytes -= becomes.object.as_ref().map_or(0, Bytes::len);
        Some(becomes)
    }
}

impl Applier<'_> {
    /// Returns whether an action is for an object.
    pub(super) fn is_acted_on(&self, step: &Step) -> bool {
        let planned = &self.types[step.planned_type];
        let entry = &self.opened.entries()[step.entry];
        !planned.actions.is_empty() && self.actions.of(&planned.actions, entry).next().is_some()
    }

    /// Returns the names of the actions that are for an object.
    pub(super) fn actions_of(&self, step: &Step) -> Vec<&str> {
        let planned = &self.types[step.planned_type];
        let entry = &self.opened.entries()[step.entry];
        let of = self.actions.of(&planned.actions, entry);
        of.map(|action| action.name()).collect()
    }

    /// Waits for the operations that actions have begun, and says which did not end well.
    pub(super) async fn finish_operations(&self) {
        let Some(run) = &self.actions.run else {
            return;
        };
        let going_on = run.operations.going_on();
        if going_on == 0 {
            return;
        }
        tracing::info!(
            operations = going_on,
            "waiting for operations of item actions"
        );
        run.stage.waits_for_operations().await;
        let report = |counts| self.report.operations(counts);
        for (note, why) in run.operations.wait(run.limit, report).await {
            let line = format!("{} {}: {note} failed: {why}", note.resource, note.name);
            self.report.fail(Some(&note.namespace), line);
        }
    }
}

/// Returns an object's name, as actions know it.
pub(super) fn id_of(entry: &IndexEntry) -> ItemId {
    ItemId {
        group: entry.type_key.group.clone(),
        resource: entry.type_key.resource.clone(),
        namespace: entry.namespace.as_deref().unwrap_or_default().to_owned(),
        name: entry.name.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
