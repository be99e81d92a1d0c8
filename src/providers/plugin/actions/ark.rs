//! Actions in the words of Ark: those of 0.10 name the plugin, those of 0.8 and 0.9 do not.

use async_trait::async_trait;
use bytes::Bytes;

use super::{PluginAction, changed, some};
use crate::providers::actions::{
    ActionError, BackedUpItem, BackupItemAction, Item, ItemId, ItemSelector, RestoreItemAction,
    RestoredItem, RunDocument,
};
use crate::providers::plugin::pool::Lease;

/// Writes the actions of one version; `$question` is how they are asked which items they are for, `$plugin` is the field
/// that names the plugin.
macro_rules! actions {
    ($version:ident, $question:ident $(, $plugin:ident)?) => {
        pub(super) mod $version {
            use tonic::transport::Channel;

            use super::*;
            use crate::providers::plugin::protocol::$version as words;
            use words::backup_item_action_client::BackupItemActionClient;
            use words::restore_item_action_client::RestoreItemActionClient;

            /// A backup item action.
            #[derive(Debug)]
            pub(in super::super) struct Backup(pub(in super::super) PluginAction);
            /// A restore item action.
            #[derive(Debug)]
            pub(in super::super) struct Restore(pub(in super::super) PluginAction);

            fn backup_client(lease: &Lease) -> BackupItemActionClient<Channel> {
                let limit = lease.message_limit();
                BackupItemActionClient::new(lease.channel())
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit)
            }

            fn restore_client(lease: &Lease) -> RestoreItemActionClient<Channel> {
                let limit = lease.message_limit();
                RestoreItemActionClient::new(lease.channel())
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit)
            }

            fn question(_action: &PluginAction) -> words::$question {
                words::$question {
                    $($plugin: _action.plugin.clone(),)?
                }
            }

            fn selector(words: words::AppliesToResponse) -> ItemSelector {
                ItemSelector {
                    included_namespaces: words.included_namespaces,
                    excluded_namespaces: words.excluded_namespaces,
                    included_resources: words.included_resources,
                    excluded_resources: words.excluded_resources,
                    labels: words.selector,
                }
            }

            fn id(words: words::ResourceIdentifier) -> ItemId {
                ItemId {
                    group: words.group,
                    resource: words.resource,
                    namespace: words.namespace,
                    name: words.name,
                }
            }

            #[async_trait]
            impl BackupItemAction for Backup {
                fn name(&self) -> &str {
                    &self.0.name
                }

                async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
                    let lease = self.0.take().await?;
                    let mut client = backup_client(&lease);
                    let asking = client.applies_to(question(&self.0));
                    let answer = self.0.call(&lease, "say which items it is for", asking).await?;
                    Ok(selector(answer.into_inner()))
                }

                async fn execute(
                    &self,
                    item: Item<'_>,
                    backup: &RunDocument,
                ) -> Result<BackedUpItem, ActionError> {
                    let lease = self.0.take().await?;
                    let tried = format!("look at {}", item.id);
                    self.0.check_size(&lease, &tried, &[item.json, backup.ark()])?;
                    let mut client = backup_client(&lease);
                    let asking = client.execute(words::ExecuteRequest {
                        $($plugin: self.0.plugin.clone(),)?
                        item: item.json.clone(),
                        backup: backup.ark().clone(),
                    });
                    let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
                    Ok(BackedUpItem {
                        item: changed(answer.item, item),
                        additional: answer.additional_items.into_iter().map(id).collect(),
                        ..BackedUpItem::default()
                    })
                }
            }

            #[async_trait]
            impl RestoreItemAction for Restore {
                fn name(&self) -> &str {
                    &self.0.name
                }

                async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
                    let lease = self.0.take().await?;
                    let mut client = restore_client(&lease);
                    let asking = client.applies_to(question(&self.0));
                    let answer = self.0.call(&lease, "say which items it is for", asking).await?;
                    Ok(selector(answer.into_inner()))
                }

                async fn execute(
                    &self,
                    item: Item<'_>,
                    _stored: &Bytes,
                    restore: &RunDocument,
                ) -> Result<RestoredItem, ActionError> {
                    let lease = self.0.take().await?;
                    let tried = format!("look at {}", item.id);
                    self.0.check_size(&lease, &tried, &[item.json, restore.ark()])?;
                    let mut client = restore_client(&lease);
                    let asking = client.execute(words::RestoreExecuteRequest {
                        $($plugin: self.0.plugin.clone(),)?
                        item: item.json.clone(),
                        restore: restore.ark().clone(),
                    });
                    let answer = self.0.call(&lease, &tried, asking).await?.into_inner();
                    Ok(RestoredItem {
                        item: changed(answer.item, item),
                        warning: some(answer.warning),
                        ..RestoredItem::default()
                    })
                }
            }
        }
    };
}

actions!(ark10, AppliesToRequest, plugin);
actions!(ark08, Empty);
