//! Actions in Velero's words.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tonic::transport::Channel;

use super::{PluginAction, changed, duration, some};
use crate::providers::actions::{
    ActionError, BackedUpItem, BackupItemAction, DeleteItemAction, Item, ItemBlockAction, ItemId,
    ItemSelector, OperationProgress, RestoreItemAction, RestoredItem, RunDocument,
};
use crate::providers::plugin::pool::Lease;
use crate::providers::plugin::protocol::velero::{generated, v1, v2};

/// The first version of a backup item action.
#[derive(Debug)]
pub(super) struct Backup(pub(super) PluginAction);
/// The second one: its work may go on.
#[derive(Debug)]
pub(super) struct BackupV2(pub(super) PluginAction);
/// The first version of a restore item action.
#[derive(Debug)]
pub(super) struct Restore(pub(super) PluginAction);
/// The second one: its work may go on.
#[derive(Debug)]
pub(super) struct RestoreV2(pub(super) PluginAction);
/// A delete item action.
#[derive(Debug)]
pub(super) struct Delete(pub(super) PluginAction);
/// An item block action.
#[derive(Debug)]
pub(super) struct ItemBlock(pub(super) PluginAction);

/// Gives a type its client, and the question which items it is for, which all of them have.
macro_rules! clients {
    ($($type:ident: $words:ident::$module:ident::$client:ident;)*) => {$(
        impl $type {
            fn client(lease: &Lease) -> $words::$module::$client<Channel> {
                let limit = lease.message_limit();
                $words::$module::$client::new(lease.channel())
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit)
            }

            async fn selector(&self) -> Result<ItemSelector, ActionError> {
                let lease = self.0.take().await?;
                let mut client = Self::client(&lease);
                let request = generated::AppliesToRequest { plugin: self.0.plugin.clone() };
                let asking = client.applies_to(request);
                let answer = self.0.call(&lease, "say which items it is for", asking).await?;
                Ok(selector(answer.into_inner().resource_selector.unwrap_or_default()))
            }
        }
    )*};
}

clients! {
    Backup: generated::backup_item_action_client::BackupItemActionClient;
    BackupV2: v2::backup_item_action_client::BackupItemActionClient;
    Restore: generated::restore_item_action_client::RestoreItemActionClient;
    RestoreV2: v2::restore_item_action_client::RestoreItemActionClient;
    Delete: generated::delete_item_action_client::DeleteItemActionClient;
    ItemBlock: v1::item_block_action_client::ItemBlockActionClient;
}

impl PluginAction {
    fn request(
        &self,
        lease: &Lease,
        tried: &str,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<generated::ExecuteRequest, ActionError> {
        self.check_size(lease, tried, &[item.json, backup.velero()])?;
        Ok(generated::ExecuteRequest {
            plugin: self.plugin.clone(),
            item: item.json.clone(),
            backup: backup.velero().clone(),
        })
    }

    fn restore_request(
        &self,
        lease: &Lease,
        tried: &str,
        item: Item<'_>,
        stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<generated::RestoreExecuteRequest, ActionError> {
        self.check_size(lease, tried, &[item.json, stored, restore.velero()])?;
        Ok(generated::RestoreExecuteRequest {
            plugin: self.plugin.clone(),
            item: item.json.clone(),
            restore: restore.velero().clone(),
            item_from_backup: stored.clone(),
        })
    }
}

/// Gives the second versions, whose clients share no trait, what they ask of operations.
macro_rules! operations {
    ($($type:ident)*) => {$(
        impl $type {
            async fn fares(
                &self,
                operation: &str,
                run: &RunDocument,
            ) -> Result<OperationProgress, ActionError> {
                let lease = self.0.take().await?;
                let mut client = Self::client(&lease);
                let asking = client.progress(v2::ProgressRequest {
                    plugin: self.0.plugin.clone(),
                    operation_id: operation.to_owned(),
                    run: run.velero().clone(),
                });
                let tried = format!("say how operation {operation} fares");
                let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
                Ok(progress(answer.progress.unwrap_or_default()))
            }

            async fn end(&self, operation: &str, run: &RunDocument) -> Result<(), ActionError> {
                let lease = self.0.take().await?;
                let mut client = Self::client(&lease);
                let asking = client.cancel(v2::CancelRequest {
                    plugin: self.0.plugin.clone(),
                    operation_id: operation.to_owned(),
                    run: run.velero().clone(),
                });
                let tried = format!("cancel operation {operation}");
                self.0.call(&lease, &tried, asking).await.map(drop)
            }
        }
    )*};
}

operations!(BackupV2 RestoreV2);

#[async_trait]
impl BackupItemAction for Backup {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("look at {}", item.id);
        let asking = client.execute(self.0.request(&lease, &tried, item, backup)?);
        let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
        Ok(BackedUpItem {
            item: changed(answer.item, item),
            additional: ids(answer.additional_items),
            ..BackedUpItem::default()
        })
    }
}

#[async_trait]
impl BackupItemAction for BackupV2 {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("look at {}", item.id);
        let asking = client.execute(self.0.request(&lease, &tried, item, backup)?);
        let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
        Ok(BackedUpItem {
            item: changed(answer.item, item),
            additional: ids(answer.additional_items),
            operation: some(answer.operation_id),
            after_operation: ids(answer.post_operation_items),
        })
    }

    async fn progress(
        &self,
        operation: &str,
        backup: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        self.fares(operation, backup).await
    }

    async fn cancel(&self, operation: &str, backup: &RunDocument) -> Result<(), ActionError> {
        self.end(operation, backup).await
    }
}

#[async_trait]
impl RestoreItemAction for Restore {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn execute(
        &self,
        item: Item<'_>,
        stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("look at {}", item.id);
        let request = self
            .0
            .restore_request(&lease, &tried, item, stored, restore)?;
        let asking = client.execute(request);
        let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
        Ok(RestoredItem {
            item: changed(answer.item, item),
            skip: answer.skip_restore,
            additional: ids(answer.additional_items),
            ..RestoredItem::default()
        })
    }
}

#[async_trait]
impl RestoreItemAction for RestoreV2 {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn execute(
        &self,
        item: Item<'_>,
        stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("look at {}", item.id);
        let request = self
            .0
            .restore_request(&lease, &tried, item, stored, restore)?;
        let asking = client.execute(request);
        let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
        Ok(RestoredItem {
            item: changed(answer.item, item),
            skip: answer.skip_restore,
            warning: None,
            additional: ids(answer.additional_items),
            wait_for_additional: answer.wait_for_additional_items,
            ready_within: answer.additional_items_ready_timeout.and_then(duration),
            operation: some(answer.operation_id),
        })
    }

    async fn ready(
        &self,
        additional: &[ItemId],
        restore: &RunDocument,
    ) -> Result<bool, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let asking = client.are_additional_items_ready(v2::AdditionalItemsReadyRequest {
            plugin: self.0.plugin.clone(),
            restore: restore.velero().clone(),
            additional_items: additional.iter().map(identifier).collect(),
        });
        let tried = "say whether further objects are ready";
        let answer = self.0.call(&lease, tried, asking).await?.into_inner();
        Ok(answer.ready)
    }

    async fn progress(
        &self,
        operation: &str,
        restore: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        self.fares(operation, restore).await
    }

    async fn cancel(&self, operation: &str, restore: &RunDocument) -> Result<(), ActionError> {
        self.end(operation, restore).await
    }
}

#[async_trait]
impl DeleteItemAction for Delete {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn execute(&self, item: Item<'_>, backup: &RunDocument) -> Result<(), ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("remove what belongs to {}", item.id);
        let asking = client.execute(self.0.request(&lease, &tried, item, backup)?);
        self.0.call(&lease, &tried, asking).await.map(drop)
    }
}

#[async_trait]
impl ItemBlockAction for ItemBlock {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        self.selector().await
    }

    async fn related(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<Vec<ItemId>, ActionError> {
        let lease = self.0.take().await?;
        let mut client = Self::client(&lease);
        let tried = format!("say what belongs to {}", item.id);
        let asking = client.get_related_items(self.0.request(&lease, &tried, item, backup)?);
        let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
        Ok(ids(answer.related_items))
    }
}

fn selector(words: generated::ResourceSelector) -> ItemSelector {
    ItemSelector {
        included_namespaces: words.included_namespaces,
        excluded_namespaces: words.excluded_namespaces,
        included_resources: words.included_resources,
        excluded_resources: words.excluded_resources,
        labels: words.selector,
    }
}

fn ids(items: Vec<generated::ResourceIdentifier>) -> Vec<ItemId> {
    items
        .into_iter()
        .map(|item| ItemId {
            group: item.group,
            resource: item.resource,
            namespace: item.namespace,
            name: item.name,
        })
        .collect()
}

fn identifier(id: &ItemId) -> generated::ResourceIdentifier {
    generated::ResourceIdentifier {
        group: id.group.clone(),
        resource: id.resource.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

fn progress(words: generated::OperationProgress) -> OperationProgress {
    OperationProgress {
        completed: words.completed,
        error: words.err,
        done: words.n_completed,
        total: words.n_total,
        units: words.operation_units,
        description: words.description,
        started: words.started.and_then(time),
        updated: words.updated.and_then(time),
    }
}

/// Returns a time; Go's zero time, which stands for none, is none.
fn time(time: prost_types::Timestamp) -> Option<Timestamp> {
    const ZERO_OF_GO: i64 = -62_135_596_800;
    (time.seconds != ZERO_OF_GO)
        .then(|| Timestamp::new(time.seconds, time.nanos).ok())
        .flatten()
}
