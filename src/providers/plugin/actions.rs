//! Item actions that live in plugins.

mod ark;
mod velero;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::catalog::{Catalog, Family, Kind, Offer};
use super::error::{CallError, CallErrorKind};
use super::pool::{Lease, Pool};
use crate::providers::actions::{
    ActionError, ActionErrorKind, Actions, BackupItemAction, DeleteItemAction, Item,
    ItemBlockAction, RestoreItemAction,
};

/// The actions of a kind that plugins offer.
#[derive(Debug)]
pub struct PluginActions<T: ?Sized> {
    /// The actions, sorted by name.
    pub actions: Vec<Arc<T>>,
    /// Why some may be missing; sentences. A run without them is not what its owner asked for.
    pub problems: Vec<String>,
}

/// An action of a plugin, and what all its calls need.
#[derive(Clone, Debug)]
struct PluginAction {
    /// The name by which Ark knows it.
    name: String,
    /// The name that requests carry.
    plugin: String,
    pool: Arc<Pool>,
}

impl PluginAction {
    fn of(offer: &Offer) -> Self {
        Self {
            name: offer.name.clone(),
            plugin: offer.plugin.clone(),
            pool: Arc::clone(&offer.pool),
        }
    }

    async fn take(&self) -> Result<Lease, ActionError> {
        self.pool
            .take(None)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Waits for the answer of a call; `tried` is an infinitive.
    async fn call<T>(
        &self,
        lease: &Lease,
        tried: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ActionError> {
        lease
            .call(tried, call)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Refuses to send what is more than a message may be. `tried` is an infinitive.
    fn check_size(&self, lease: &Lease, tried: &str, parts: &[&Bytes]) -> Result<(), ActionError> {
        // The fields around them, and the plugin's name.
        const MORE: usize = 1 << 10;
        let size = parts.iter().map(|part| part.len()).sum::<usize>() + MORE;
        let limit = lease.message_limit();
        if size <= limit {
            return Ok(());
        }
        Err(ActionError::new(
            ActionErrorKind::TooLarge,
            format!(
                "action {}: the plugin cannot {tried}: {size} bytes are more than the {limit} that plugins are sent",
                self.name
            ),
        ))
    }

    fn failed(&self, error: &CallError) -> ActionError {
        let kind = match error.kind {
            CallErrorKind::NotSupported => ActionErrorKind::NotSupported,
            CallErrorKind::TooLarge => ActionErrorKind::TooLarge,
            CallErrorKind::TimedOut => ActionErrorKind::TimedOut,
            CallErrorKind::Gone => ActionErrorKind::Gone,
            CallErrorKind::NotFound
            | CallErrorKind::AlreadyExists
            | CallErrorKind::Denied
            | CallErrorKind::Unreachable
            | CallErrorKind::Invalid
            | CallErrorKind::NotReady
            | CallErrorKind::Other => ActionErrorKind::Other,
        };
        ActionError::new(kind, format!("action {}: {}", self.name, error.message))
    }
}

/// Returns an answer's item if it is another one than was asked about.
fn changed(answer: Bytes, asked: Item<'_>) -> Option<Bytes> {
    // Ark took none for "as it was".
    (!answer.is_empty() && answer != *asked.json).then_some(answer)
}

/// Returns a text if there is one.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Returns a time span of a message; a negative one is none.
fn duration(span: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(span).ok().filter(|span| !span.is_zero())
}

/// Gathers a kind's actions, of its first and second version. Where a name is there in both the second counts.
fn gather<T: ?Sized>(
    catalog: &Catalog,
    kinds: &[Kind],
    make: impl Fn(Kind, Family, PluginAction) -> Arc<T>,
) -> PluginActions<T> {
    let mut problems: Vec<String> = Vec::new();
    let mut offers: Vec<(Kind, Offer)> = Vec::new();
    for kind in kinds {
        let (found, more) = catalog.of_kind(*kind);
        for offer in found {
            offers.retain(|(_, before)| before.name != offer.name);
            offers.push((*kind, offer));
        }
        // What cannot be asked is missing in each kind.
        problems.extend(more);
    }
    offers.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    problems.sort();
    problems.dedup();
    PluginActions {
        actions: offers
            .iter()
            .map(|(kind, offer)| make(*kind, offer.family, PluginAction::of(offer)))
            .collect(),
        problems,
    }
}

/// Returns the backup item actions.
pub(super) fn backup(catalog: &Catalog) -> PluginActions<dyn BackupItemAction> {
    let kinds = [Kind::BackupItemAction, Kind::BackupItemActionV2];
    gather(catalog, &kinds, |kind, family, action| {
        let action: Arc<dyn BackupItemAction> = match (kind, family) {
            (Kind::BackupItemActionV2, _) => Arc::new(velero::BackupV2(action)),
            (_, Family::Velero) => Arc::new(velero::Backup(action)),
            (_, Family::Ark10) => Arc::new(ark::ark10::Backup(action)),
            (_, Family::Ark08) => Arc::new(ark::ark08::Backup(action)),
        };
        action
    })
}

/// Returns the restore item actions.
pub(super) fn restore(catalog: &Catalog) -> PluginActions<dyn RestoreItemAction> {
    let kinds = [Kind::RestoreItemAction, Kind::RestoreItemActionV2];
    gather(catalog, &kinds, |kind, family, action| {
        let action: Arc<dyn RestoreItemAction> = match (kind, family) {
            (Kind::RestoreItemActionV2, _) => Arc::new(velero::RestoreV2(action)),
            (_, Family::Velero) => Arc::new(velero::Restore(action)),
            (_, Family::Ark10) => Arc::new(ark::ark10::Restore(action)),
            (_, Family::Ark08) => Arc::new(ark::ark08::Restore(action)),
        };
        action
    })
}

/// Returns the delete item actions.
pub(super) fn delete(catalog: &Catalog) -> PluginActions<dyn DeleteItemAction> {
    gather(catalog, &[Kind::DeleteItemAction], |_, _, action| {
        let action: Arc<dyn DeleteItemAction> = Arc::new(velero::Delete(action));
        action
    })
}

/// Returns the item block actions.
pub(super) fn item_block(catalog: &Catalog) -> PluginActions<dyn ItemBlockAction> {
    gather(catalog, &[Kind::ItemBlockAction], |_, _, action| {
        let action: Arc<dyn ItemBlockAction> = Arc::new(velero::ItemBlock(action));
        action
    })
}

/// Returns the actions of all kinds.
pub(super) fn all(catalog: &Catalog) -> Actions {
    let (backup, restore) = (backup(catalog), restore(catalog));
    let (delete, blocks) = (delete(catalog), item_block(catalog));
    // What cannot be asked is missing in each kind.
    let mut problems = [
        backup.problems,
        restore.problems,
        delete.problems,
        blocks.problems,
    ]
    .concat();
    problems.sort();
    problems.dedup();
    Actions {
        backup: backup.actions,
        restore: restore.actions,
        delete: delete.actions,
        blocks: blocks.actions,
        problems,
    }
}
