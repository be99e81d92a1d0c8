//! Item actions that live in the test, and what they have seen.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own locks are poisoned by its own failure alone"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ark::api::OperationNote;
use ark::providers::actions::{
    ActionError, ActionErrorKind, BackedUpItem, BackupItemAction, DeleteItemAction, Item,
    ItemBlockAction, ItemId, ItemSelector, OperationProgress, RestoreItemAction, RestoredItem,
    RunDocument, Stage,
};
use ark::providers::ledger::Ledger;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

/// What an action says of an item: its name, and the object.
pub(crate) type Says<T> = dyn Fn(&ItemId, Value) -> Result<T, String> + Send + Sync;

/// An item action of any kind.
pub(crate) struct Scripted<T> {
    name: &'static str,
    selector: ItemSelector,
    says: Box<Says<T>>,
    /// Operations that have ended, and how; the others go on.
    pub(crate) ended: Mutex<BTreeMap<String, String>>,
    pub(crate) cancelled: Mutex<Vec<String>>,
    /// The items that it was asked about, in the order of the answers.
    pub(crate) seen: Mutex<Vec<String>>,
    /// Whether what it names is ready; asked so often it was.
    pub(crate) ready: Mutex<Vec<bool>>,
    at_once: AtomicUsize,
    /// How many items it was asked about at once, at most.
    pub(crate) most_at_once: AtomicUsize,
}

impl<T> fmt::Debug for Scripted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

pub(crate) fn scripted<T>(
    name: &'static str,
    types: &[&str],
    says: impl Fn(&ItemId, Value) -> Result<T, String> + Send + Sync + 'static,
) -> Arc<Scripted<T>> {
    selecting(name, ItemSelector::resources(types.iter().copied()), says)
}

pub(crate) fn selecting<T>(
    name: &'static str,
    selector: ItemSelector,
    says: impl Fn(&ItemId, Value) -> Result<T, String> + Send + Sync + 'static,
) -> Arc<Scripted<T>> {
    Arc::new(Scripted {
        name,
        selector,
        says: Box::new(says),
        ended: Mutex::default(),
        cancelled: Mutex::default(),
        seen: Mutex::default(),
        ready: Mutex::default(),
        at_once: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
    })
}

impl<T> Scripted<T> {
    pub(crate) fn end(&self, operation: &str, error: &str) {
        let mut ended = self.ended.lock().unwrap();
        ended.insert(operation.to_owned(), error.to_owned());
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn seen_sorted(&self) -> BTreeSet<String> {
        self.seen().into_iter().collect()
    }

    async fn say(&self, item: Item<'_>) -> Result<T, ActionError> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        // Later ones may be faster.
        for _ in 0..item.id.name.len() * 7 % 11 {
            tokio::task::yield_now().await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(item.id.to_string());
        let object = serde_json::from_slice(item.json).unwrap();
        (self.says)(item.id, object).map_err(|error| self.error(item.id, &error))
    }

    fn error(&self, id: &ItemId, error: &str) -> ActionError {
        let message = format!("action {}: cannot look at {id}: {error}", self.name);
        ActionError::new(ActionErrorKind::Other, message)
    }

    fn fares(&self, operation: &str) -> OperationProgress {
        let ended = self.ended.lock().unwrap();
        let error = ended.get(operation);
        OperationProgress {
            completed: error.is_some(),
            error: error.cloned().unwrap_or_default(),
            ..OperationProgress::default()
        }
    }

    fn note_cancel(&self, operation: &str) {
        self.cancelled.lock().unwrap().push(operation.to_owned());
    }
}

#[async_trait]
impl BackupItemAction for Scripted<BackedUpItem> {
    fn name(&self) -> &str {
        self.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(self.selector.clone())
    }

    async fn execute(&self, item: Item<'_>, _: &RunDocument) -> Result<BackedUpItem, ActionError> {
        self.say(item).await
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(self.fares(operation))
    }

    async fn cancel(&self, operation: &str, _: &RunDocument) -> Result<(), ActionError> {
        self.note_cancel(operation);
        Ok(())
    }
}

#[async_trait]
impl RestoreItemAction for Scripted<RestoredItem> {
    fn name(&self) -> &str {
        self.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(self.selector.clone())
    }

    async fn execute(
        &self,
        item: Item<'_>,
        stored: &Bytes,
        _: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        // The stored one is whole.
        serde_json::from_slice::<Value>(stored)
            .map_err(|error| self.error(item.id, &error.to_string()))?;
        self.say(item).await
    }

    async fn ready(&self, _: &[ItemId], _: &RunDocument) -> Result<bool, ActionError> {
        let mut ready = self.ready.lock().unwrap();
        Ok(if ready.len() > 1 {
            ready.remove(0)
        } else {
            ready.first() == Some(&true)
        })
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(self.fares(operation))
    }

    async fn cancel(&self, operation: &str, _: &RunDocument) -> Result<(), ActionError> {
        self.note_cancel(operation);
        Ok(())
    }
}

#[async_trait]
impl DeleteItemAction for Scripted<()> {
    fn name(&self) -> &str {
        self.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(self.selector.clone())
    }

    async fn execute(&self, item: Item<'_>, _: &RunDocument) -> Result<(), ActionError> {
        self.say(item).await
    }
}

#[async_trait]
impl ItemBlockAction for Scripted<Vec<ItemId>> {
    fn name(&self) -> &str {
        self.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(self.selector.clone())
    }

    async fn related(&self, item: Item<'_>, _: &RunDocument) -> Result<Vec<ItemId>, ActionError> {
        self.say(item).await
    }
}

/// An action that cannot say what it is for.
#[derive(Debug)]
pub(crate) struct Deaf;

#[async_trait]
impl BackupItemAction for Deaf {
    fn name(&self) -> &'static str {
        "test/deaf"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        let message = "action test/deaf: the plugin is gone";
        Err(ActionError::new(ActionErrorKind::Gone, message))
    }

    async fn execute(&self, _: Item<'_>, _: &RunDocument) -> Result<BackedUpItem, ActionError> {
        unreachable!("it is asked about nothing")
    }
}

/// Keeps what a run writes down.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    /// Each list that was written.
    pub(crate) lists: Mutex<Vec<Vec<T>>>,
    /// How often the run has said that it waits for operations.
    pub(crate) waits: AtomicUsize,
    /// Whether another server goes on with the run.
    pub(crate) handed_on: AtomicBool,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            lists: Mutex::default(),
            waits: AtomicUsize::new(0),
            handed_on: AtomicBool::new(false),
        }
    }
}

impl Kept<OperationNote> {
    /// Returns the operations of each list that was written.
    pub(crate) fn operations(&self) -> Vec<Vec<String>> {
        let lists = self.lists.lock().unwrap();
        let ids =
            |list: &Vec<OperationNote>| list.iter().map(|note| note.operation_id.clone()).collect();
        lists.iter().map(ids).collect()
    }
}

#[async_trait]
impl<T: fmt::Debug + Send + Sync + 'static> Ledger<T> for Kept<T> {
    async fn write(&self, entries: Vec<T>) -> Result<(), String> {
        self.lists.lock().unwrap().push(entries);
        Ok(())
    }
}

#[async_trait]
impl<T: fmt::Debug + Send + Sync + 'static> Stage for Kept<T> {
    async fn waits_for_operations(&self) {
        self.waits.fetch_add(1, Ordering::SeqCst);
    }

    fn is_handed_on(&self) -> bool {
        self.handed_on.load(Ordering::SeqCst)
    }
}

/// Returns the name of an object, as `resource` or `resource.group`.
pub(crate) fn id(group_resource: &str, namespace: &str, name: &str) -> ItemId {
    let (resource, group) = group_resource
        .split_once('.')
        .unwrap_or((group_resource, ""));
    ItemId {
        group: group.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Returns an object as an answer.
pub(crate) fn json(object: &Value) -> Bytes {
    serde_json::to_vec(object).unwrap().into()
}
