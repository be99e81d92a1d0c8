//! Item actions in a backup: which of them are for what, what they say of an item, and the operations that they begin.
//!
//! Their selectors are asked for once a run. A type that no action is for costs nothing more; an item that some are for
//! goes through all of these, one after the other.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::answer::Answer;
use crate::api::{Backup, OperationCounts, OperationNote, Results, operation_time_limit};
use crate::archive::BodyKind;
use crate::cluster::{ApiType, Discovery, Item};
use crate::providers::actions::operations::Operations;
use crate::providers::actions::{
    Actions, BackupItemAction, Chosen, Item as ActionItem, ItemBlockAction, ItemId, RunActions,
    RunDocument, Stage,
};

/// The item actions of one backup. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ItemActions(Arc<Work>);

#[derive(Debug)]
struct Work {
    backup: Chosen<dyn BackupItemAction>,
    blocks: Chosen<dyn ItemBlockAction>,
    document: RunDocument,
    operations: Operations<dyn BackupItemAction>,
    limit: Duration,
    stage: Arc<dyn Stage>,
}

/// What may be asked about the objects of a type.
#[derive(Clone, Debug)]
pub(crate) struct ForType {
    api_type: Arc<ApiType>,
    name: String,
    /// What goes between an item's opening brace and its first field where the server left it out.
    fields: Vec<u8>,
    backup: Vec<usize>,
    blocks: Vec<usize>,
}

/// When an item is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pass {
    /// As it is backed up.
    First,
    /// Once more, after the operation that was begun for it or another one has ended.
    AfterOperation,
}

/// An object on its way to the writer.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) item: Item,
    pub(crate) body: BodyKind,
}

impl Taken {
    /// Takes an object as the server gave it.
    pub(crate) fn as_served(item: Item) -> Self {
        let body = if item.header.has_type {
            BodyKind::AsServed
        } else {
            BodyKind::TypeAdded
        };
        Self { item, body }
    }
}

/// An object that an action wants in the backup, too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Named {
    pub(crate) id: ItemId,
    /// Who named it: an item and an action.
    pub(crate) by: Arc<str>,
    /// Whether it is stored even where the backup's filters leave it out.
    pub(crate) must: bool,
}

/// What came of an item.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// The object to store; `None` leaves it out.
    pub(crate) taken: Option<Taken>,
    /// Objects to store, too.
    pub(crate) named: Vec<Named>,
    /// Objects to store once the operations have ended, as they are then.
    pub(crate) afterwards: Vec<Named>,
    pub(crate) results: Results,
}

impl Acted {
    /// Takes an object that no action is for.
    pub(crate) fn as_served(item: Item) -> Self {
        Self {
            taken: Some(Taken::as_served(item)),
            ..Self::default()
        }
    }
}

impl ItemActions {
    /// Asks the actions what they are for. The second value says of which it is not known, a sentence each.
    pub(crate) async fn ask(
        run: &RunActions,
        backup: &Backup,
        discovery: &Discovery,
    ) -> (Self, Vec<String>) {
        let actions = &run.actions;
        let mut problems = actions.problems.clone();
        let resolve = |name: &str| discovery.resolve(name).map(|found| found.group_resource());
        let (mut chosen, more) = Chosen::ask(&actions.backup, resolve).await;
        problems.extend(more);
        let (mut blocks, more) = Chosen::ask(&actions.blocks, resolve).await;
        problems.extend(more);
        let status = backup.status.as_ref();
        let document = RunDocument::of_backup(backup).unwrap_or_else(|error| {
            problems.push(format!(
                "item actions are asked about nothing, since the backup cannot be written for them: {error}"
            ));
            (chosen, blocks) = (Chosen::default(), Chosen::default());
            RunDocument::of_json(Bytes::from_static(b"{}"))
        });
        let work = Work {
            backup: chosen,
            blocks,
            operations: Operations::new(
                &actions.backup,
                document.clone(),
                Arc::clone(&run.ledger),
                status
                    .map(|status| status.operations_pending.clone())
                    .unwrap_or_default(),
            ),
            document,
            // One that is no time is refused before.
            limit: operation_time_limit(backup.spec.item_operation_timeout.as_deref())
                .unwrap_or_default(),
            stage: Arc::clone(&run.stage),
        };
        (Self(Arc::new(work)), problems)
    }

    /// Returns whether any action takes part, so that objects may be named that the lists do not hold.
    pub(crate) fn are_there(&self) -> bool {
        !self.0.backup.is_empty() || !self.0.blocks.is_empty()
    }

    /// Returns what may be asked about the objects of a type; `None` if nothing is.
    pub(crate) fn for_type(&self, api_type: &Arc<ApiType>) -> Option<ForType> {
        let name = api_type.group_resource();
        let backup = self.0.backup.for_type(&[&name]);
        let blocks = self.0.blocks.for_type(&[&name]);
        if backup.is_empty() && blocks.is_empty() {
            return None;
        }
        Some(ForType {
            fields: type_fields(&api_type.kind, &api_type.api_version()),
            api_type: Arc::clone(api_type),
            name,
            backup,
            blocks,
        })
    }

    /// Returns whether anything is asked about an object.
    pub(crate) fn are_for(&self, of: &ForType, item: &Item) -> bool {
        let (namespace, labels) = (&item.header.namespace, &item.header.labels);
        self.0
            .backup
            .of(&of.backup, namespace, labels)
            .next()
            .is_some()
            || self
                .0
                .blocks
                .of(&of.blocks, namespace, labels)
                .next()
                .is_some()
    }

    /// Has an object looked at by all actions that are for it.
    pub(crate) async fn act(&self, of: &ForType, item: Item, pass: Pass) -> Acted {
        let work = &*self.0;
        let mut acted = Acted::default();
        let header = item.header.clone();
        let (namespace, labels) = (&header.namespace, &header.labels);
        let id = ItemId {
            group: of.api_type.group.clone(),
            resource: of.api_type.resource.clone(),
            namespace: namespace.clone(),
            name: header.name.clone(),
        };
        let title = format!("{} {}", of.name, header.name);
        let whole = of.whole(&item);
        for action in work.blocks.of(&of.blocks, namespace, labels) {
            let asked = ActionItem {
                id: &id,
                json: &whole,
            };
            match action.related(asked, &work.document).await {
                Ok(related) => acted.name(related, &by(&id, action.name()), false),
                Err(error) => acted.results.errors.add(
                    Some(namespace),
                    format!(
                        "{title}: what belongs to it may not be in this backup: {}",
                        error.message
                    ),
                ),
            }
        }
        let mut now = Taken::as_served(item);
        let mut json = whole;
        for action in work.backup.of(&of.backup, namespace, labels) {
            let asked = ActionItem {
                id: &id,
                json: &json,
            };
            let said = match action.execute(asked, &work.document).await {
                Ok(said) => said,
                Err(error) => {
                    acted.leave_out(namespace, &title, &error.message);
                    return acted;
                }
            };
            let by = by(&id, action.name());
            if let Some(operation) = said.operation {
                let note = OperationNote {
                    action: action.name().to_owned(),
                    operation_id: operation,
                    resource: of.name.clone(),
                    namespace: namespace.clone(),
                    name: header.name.clone(),
                };
                if let Err(problem) = self.begin(note, pass).await {
                    let line = format!("{title}: {problem}");
                    acted.results.errors.add(Some(namespace), line);
                }
            }
            let mut must = pass == Pass::AfterOperation;
            if let Some(answer) = said.item {
                let answer = match Answer::read(answer, &of.api_type) {
                    Ok(answer) => answer,
                    Err(problem) => {
                        let problem = format!("action {}: {problem}", action.name());
                        acted.leave_out(namespace, &title, &problem);
                        return acted;
                    }
                };
                if answer.skip {
                    tracing::info!(item = %id, action = action.name(), "an action leaves an item out");
                    return acted;
                }
                must |= answer.must_include;
                json = answer.item.body.clone();
                now = Taken {
                    item: answer.item,
                    body: BodyKind::Replaced,
                };
            }
            acted.name(said.additional, &by, must);
            let afterwards = said.after_operation.into_iter().map(|id| Named {
                id,
                by: Arc::clone(&by),
                must: true,
            });
            acted.afterwards.extend(afterwards);
        }
        acted.taken = Some(now);
        acted
    }

    /// Takes an operation that an action has begun.
    ///
    /// # Errors
    /// Why it does not count, a sentence.
    async fn begin(&self, note: OperationNote, pass: Pass) -> Result<(), String> {
        let operations = &self.0.operations;
        match pass {
            Pass::First => operations
                .take(note.clone())
                .await
                .map_err(|why| format!("{note} could not be noted, so it is cancelled: {why}")),
            Pass::AfterOperation => {
                let end = operations.refuse(&note).await;
                Err(format!(
                    "{note} was begun when the item was stored once more, which nobody waits for; {end}"
                ))
            }
        }
    }

    /// Cancels the operations of earlier attempts; returns what could not be cancelled, a sentence each.
    pub(crate) async fn settle_earlier(&self) -> Vec<String> {
        self.0.operations.cancel_noted().await
    }

    /// Cancels all operations that go on.
    pub(crate) async fn discard(&self) {
        for problem in self.0.operations.cancel_noted().await {
            tracing::warn!(problem, "an operation goes on, and nobody waits for it");
        }
    }

    /// Returns how many operations go on.
    pub(crate) fn going_on(&self) -> usize {
        self.0.operations.going_on()
    }

    /// Returns how many operations there were.
    pub(crate) fn counts(&self) -> OperationCounts {
        self.0.operations.counts()
    }

    /// Waits for the operations; returns what went wrong, by namespace.
    pub(crate) async fn wait(
        &self,
        report: impl FnMut(OperationCounts) + Send,
    ) -> Vec<(String, String)> {
        let work = &*self.0;
        tracing::info!(
            operations = self.going_on(),
            "waiting for operations of item actions"
        );
        work.stage.waits_for_operations().await;
        report_ends(work.operations.wait(work.limit, report).await)
    }
}

/// Cancels the operations that a Backup's status notes; returns what could not be cancelled, a sentence each.
pub async fn cancel_operations(actions: &Actions, backup: &Backup) -> Vec<String> {
    let status = backup.status.as_ref();
    let notes = status
        .map(|status| status.operations_pending.clone())
        .unwrap_or_default();
    if notes.is_empty() {
        return Vec::new();
    }
    let document = match RunDocument::of_backup(backup) {
        Ok(document) => document,
        Err(error) => return vec![error.to_string()],
    };
    // Whoever asks writes the status.
    let run = RunActions::default();
    Operations::new(&actions.backup, document, run.ledger, notes)
        .cancel_noted()
        .await
}

/// Says which operations did not end well.
fn report_ends(problems: Vec<(OperationNote, String)>) -> Vec<(String, String)> {
    let ends = problems.into_iter().map(|(note, why)| {
        let line = format!("{} {}: {note} failed: {why}", note.resource, note.name);
        tracing::error!(namespace = note.namespace, "{line}");
        (note.namespace, line)
    });
    ends.collect()
}

impl Acted {
    fn name(&mut self, ids: Vec<ItemId>, by: &Arc<str>, must: bool) {
        self.named.extend(ids.into_iter().map(|id| Named {
            id,
            by: Arc::clone(by),
            must,
        }));
    }

    fn leave_out(&mut self, namespace: &str, title: &str, why: &str) {
        let line = format!("{title}: it is not in this backup: {why}");
        tracing::error!(namespace, "{line}");
        self.results.errors.add(Some(namespace), line);
    }
}

impl ForType {
    /// Returns an object with its type, which items of lists may lack.
    fn whole(&self, item: &Item) -> Bytes {
        if item.header.has_type {
            return item.body.clone();
        }
        let mut whole = Vec::with_capacity(self.fields.len() + item.body.len());
        whole.extend_from_slice(&self.fields);
        whole.extend_from_slice(&item.body[1..]);
        whole.into()
    }
}

/// Returns what goes between an item's opening brace and its first field: `{"kind":...,"apiVersion":...,`.
pub(crate) fn type_fields(kind: &str, api_version: &str) -> Vec<u8> {
    // Kinds and versions are identifiers, but quoting is the serialiser's business.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let (kind, api_version) = (quote(kind), quote(api_version));
    format!("{{\"kind\":{kind},\"apiVersion\":{api_version},").into_bytes()
}

/// Returns what an object that is named by an action is told to be named by.
fn by(id: &ItemId, action: &str) -> Arc<str> {
    format!("action {action} for {id}").into()
}
