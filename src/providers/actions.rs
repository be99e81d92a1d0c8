//! The ports through which others change, add to or leave out what is backed up, restored and deleted: item actions.
//!
//! An action says which items it is for, once a run, and is asked about those alone. Items travel as their JSON; whoever
//! changes one answers with all of it. Work that goes on after the answer has an id, by which it is asked about later.

pub(crate) mod operations;
mod selector;
mod set;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

pub use self::operations::Stage;
pub use self::selector::{ItemFilter, ItemSelector};
pub use self::set::{Actions, Chosen, RunActions, Selective};
use crate::api::{Backup, Restore};

/// The name of an object.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ItemId {
    /// The API group; empty for the core group.
    pub group: String,
    /// The type's plural name.
    pub resource: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ItemId {
    /// Returns the type's full name, `<resource>.<group>` or `<resource>`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.group_resource())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// An object that an action is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name.
    pub id: &'a ItemId,
    /// The object as JSON.
    pub json: &'a Bytes,
}

/// The Backup or Restore that a run is for, as JSON, made once for all calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunDocument {
    ark: Bytes,
    velero: Bytes,
}

impl RunDocument {
    /// Writes a Backup.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn of_backup(backup: &Backup) -> serde_json::Result<Self> {
        Self::new(backup)
    }

    /// Writes a Restore.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn of_restore(restore: &Restore) -> serde_json::Result<Self> {
        Self::new(restore)
    }

    /// Takes a document as it came.
    pub fn of_json(json: Bytes) -> Self {
        Self {
            ark: json.clone(),
            velero: json,
        }
    }

    fn new(resource: &impl Serialize) -> serde_json::Result<Self> {
        let mut value = serde_json::to_value(resource)?;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            // Larger than all else, and of no use to anybody.
            metadata.remove("managedFields");
        }
        let ark = serde_json::to_vec(&value)?.into();
        // The types are Ark's with another name; what Velero does not know it does not look at.
        value["apiVersion"] = Value::from("velero.io/v1");
        let velero = serde_json::to_vec(&value)?.into();
        Ok(Self { ark, velero })
    }

    /// Returns it as Ark has it.
    pub fn ark(&self) -> &Bytes {
        &self.ark
    }

    /// Returns it as Velero has it.
    pub fn velero(&self) -> &Bytes {
        &self.velero
    }
}

/// What becomes of an item in a backup.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackedUpItem {
    /// The object to store instead; `None` leaves it as it is.
    pub item: Option<Bytes>,
    /// Objects to back up, too.
    pub additional: Vec<ItemId>,
    /// The id of work that goes on.
    pub operation: Option<String>,
    /// Objects to store once that work is through, as they are then.
    pub after_operation: Vec<ItemId>,
}

/// What becomes of an item in a restore.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestoredItem {
    /// The object to create instead; `None` leaves it as it is.
    pub item: Option<Bytes>,
    /// Leaves the object out.
    pub skip: bool,
    /// Something that the user may want to know.
    pub warning: Option<String>,
    /// Stored objects to restore before this one.
    pub additional: Vec<ItemId>,
    /// Asks to wait until those are ready, see [`RestoreItemAction::ready`].
    pub wait_for_additional: bool,
    /// For how long at most; `None`: as long as the restore waits for things.
    pub ready_within: Option<Duration>,
    /// The id of work that goes on.
    pub operation: Option<String>,
}

/// How work that goes on fares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OperationProgress {
    /// Whether it has ended.
    pub completed: bool,
    /// Why it failed; empty if it has not.
    pub error: String,
    /// How much is done, in `units`.
    pub done: i64,
    /// Of how much; 0 if that is not known.
    pub total: i64,
    /// What is counted, such as `bytes`.
    pub units: String,
    /// What is being done.
    pub description: String,
    /// When it began.
    pub started: Option<jiff::Timestamp>,
    /// When this was so.
    pub updated: Option<jiff::Timestamp>,
}

/// Looks at items as they are backed up.
#[async_trait]
pub trait BackupItemAction: fmt::Debug + Send + Sync + 'static {
    /// Returns the name by which logs and reports call it.
    fn name(&self) -> &str;

    /// Returns which items it is for.
    async fn applies_to(&self) -> Result<ItemSelector, ActionError>;

    /// Says what becomes of an item.
    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError>;

    /// Returns how work fares that [`BackedUpItem::operation`] named.
    async fn progress(
        &self,
        operation: &str,
        _backup: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Err(ActionError::without_operations(self.name(), operation))
    }

    /// Asks that work to end.
    async fn cancel(&self, operation: &str, _backup: &RunDocument) -> Result<(), ActionError> {
        Err(ActionError::without_operations(self.name(), operation))
    }
}

/// Looks at items as they are restored.
#[async_trait]
pub trait RestoreItemAction: fmt::Debug + Send + Sync + 'static {
    /// Returns the name by which logs and reports call it.
    fn name(&self) -> &str;

    /// Returns which items it is for.
    async fn applies_to(&self) -> Result<ItemSelector, ActionError>;

    /// Says what becomes of an item; `stored` is the object as the backup holds it.
    async fn execute(
        &self,
        item: Item<'_>,
        stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError>;

    /// Returns whether the objects that [`RestoredItem::additional`] named are ready.
    async fn ready(
        &self,
        _additional: &[ItemId],
        _restore: &RunDocument,
    ) -> Result<bool, ActionError> {
        Ok(true)
    }

    /// Returns how work fares that [`RestoredItem::operation`] named.
    async fn progress(
        &self,
        operation: &str,
        _restore: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Err(ActionError::without_operations(self.name(), operation))
    }

    /// Asks that work to end.
    async fn cancel(&self, operation: &str, _restore: &RunDocument) -> Result<(), ActionError> {
        Err(ActionError::without_operations(self.name(), operation))
    }
}

/// Looks at the items of a backup that is deleted.
#[async_trait]
pub trait DeleteItemAction: fmt::Debug + Send + Sync + 'static {
    /// Returns the name by which logs and reports call it.
    fn name(&self) -> &str;

    /// Returns which items it is for.
    async fn applies_to(&self) -> Result<ItemSelector, ActionError>;

    /// Removes what belongs to an item.
    async fn execute(&self, item: Item<'_>, backup: &RunDocument) -> Result<(), ActionError>;
}

/// Says which items have to be backed up together.
#[async_trait]
pub trait ItemBlockAction: fmt::Debug + Send + Sync + 'static {
    /// Returns the name by which logs and reports call it.
    fn name(&self) -> &str;

    /// Returns which items it is for.
    async fn applies_to(&self) -> Result<ItemSelector, ActionError>;

    /// Returns the objects that belong into one block with an item.
    async fn related(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<Vec<ItemId>, ActionError>;
}

/// The kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActionErrorKind {
    /// The action has no such ability.
    NotSupported,
    /// The item is larger than the action can be given.
    TooLarge,
    /// It did not answer in time.
    TimedOut,
    /// The program that it lives in cannot be started, or ended meanwhile.
    Gone,
    /// Anything else, such as what the action itself says.
    Other,
}

/// A failed call of an action.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// What callers branch on.
    pub kind: ActionErrorKind,
    /// Which action was to do what, with which item, and why it did not.
    pub message: String,
}

impl ActionError {
    /// Makes an error.
    pub fn new(kind: ActionErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    fn without_operations(action: &str, operation: &str) -> Self {
        Self::new(
            ActionErrorKind::NotSupported,
            format!(
                "the action {action} has no work that goes on, and was asked about {operation:?}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackupSpec;

    #[test]
    fn documents_are_each_familys() {
        let mut backup = Backup::new("b", BackupSpec::default());
        backup.metadata.managed_fields = Some(Vec::new());
        let document = RunDocument::of_backup(&backup).unwrap();
        for (bytes, version) in [
            (document.ark(), "ark.heptio.com/v1"),
            (document.velero(), "velero.io/v1"),
        ] {
            let read: Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(read["apiVersion"], version);
            assert_eq!(read["kind"], "Backup");
            assert_eq!(read["metadata"]["name"], "b");
            assert!(read["metadata"].get("managedFields").is_none());
        }
    }

    #[test]
    fn items_are_named() {
        let mut id = ItemId {
            group: "apps".into(),
            resource: "deployments".into(),
            namespace: "n".into(),
            name: "web".into(),
        };
        assert_eq!(id.to_string(), "deployments.apps n/web");
        id.group.clear();
        id.namespace.clear();
        assert_eq!(id.to_string(), "deployments web");
    }
}
