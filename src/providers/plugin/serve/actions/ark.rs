//! Item actions in the words of Ark.

use tonic::{Request, Response, Status};

use super::{id, status};
use crate::providers::actions::{
    BackupItemAction as Backup, Item, ItemId, ItemSelector, RestoreItemAction as Restore,
    RunDocument,
};
use crate::providers::plugin::serve::{Named, Server, Services, add_service, guarded};

/// Serves the actions of one version; `$question` is how they are asked which items they are for, `$find` finds the one
/// that a request is for.
macro_rules! serve {
    ($version:ident, $question:ident, |$all:ident, $request:ident| $find:expr) => {
        pub(super) mod $version {
            use super::*;
            use crate::providers::plugin::protocol::$version as words;
            use words::backup_item_action_server::{BackupItemAction, BackupItemActionServer};
            use words::restore_item_action_server::{RestoreItemAction, RestoreItemActionServer};

            pub(in super::super) fn add(routes: &mut Services, server: Server) {
                if !server.backup.is_empty() {
                    let serving = Backups(server.backup);
                    add_service!(routes, BackupItemActionServer::new(serving));
                }
                if !server.restore.is_empty() {
                    let serving = Restores(server.restore);
                    add_service!(routes, RestoreItemActionServer::new(serving));
                }
            }

            struct Backups(Named<dyn Backup>);
            struct Restores(Named<dyn Restore>);

            fn words(selector: ItemSelector) -> Response<words::AppliesToResponse> {
                Response::new(words::AppliesToResponse {
                    included_namespaces: selector.included_namespaces,
                    excluded_namespaces: selector.excluded_namespaces,
                    included_resources: selector.included_resources,
                    excluded_resources: selector.excluded_resources,
                    selector: selector.labels,
                })
            }

            fn identifier(id: ItemId) -> words::ResourceIdentifier {
                words::ResourceIdentifier {
                    group: id.group,
                    resource: id.resource,
                    namespace: id.namespace,
                    name: id.name,
                }
            }

            #[tonic::async_trait]
            impl BackupItemAction for Backups {
                async fn applies_to(
                    &self,
                    request: Request<words::$question>,
                ) -> Result<Response<words::AppliesToResponse>, Status> {
                    let ($all, $request) = (&self.0, request.into_inner());
                    let action = $find?;
                    let asking = async { action.applies_to().await.map_err(status) };
                    Ok(words(guarded(asking).await?))
                }

                async fn execute(
                    &self,
                    request: Request<words::ExecuteRequest>,
                ) -> Result<Response<words::ExecuteResponse>, Status> {
                    let ($all, $request) = (&self.0, request.into_inner());
                    let action = $find?;
                    let id = id(&$request.item)?;
                    let backup = RunDocument::of_json($request.backup);
                    let item = Item {
                        id: &id,
                        json: &$request.item,
                    };
                    let asking = async { action.execute(item, &backup).await.map_err(status) };
                    let answer = guarded(asking).await?;
                    Ok(Response::new(words::ExecuteResponse {
                        item: answer.item.unwrap_or_else(|| $request.item.clone()),
                        additional_items: answer.additional.into_iter().map(identifier).collect(),
                    }))
                }
            }

            #[tonic::async_trait]
            impl RestoreItemAction for Restores {
                async fn applies_to(
                    &self,
                    request: Request<words::$question>,
                ) -> Result<Response<words::AppliesToResponse>, Status> {
                    let ($all, $request) = (&self.0, request.into_inner());
                    let action = $find?;
                    let asking = async { action.applies_to().await.map_err(status) };
                    Ok(words(guarded(asking).await?))
                }

                async fn execute(
                    &self,
                    request: Request<words::RestoreExecuteRequest>,
                ) -> Result<Response<words::RestoreExecuteResponse>, Status> {
                    let ($all, $request) = (&self.0, request.into_inner());
                    let action = $find?;
                    let id = id(&$request.item)?;
                    let restore = RunDocument::of_json($request.restore);
                    let item = Item {
                        id: &id,
                        json: &$request.item,
                    };
                    // What was stored does not come along.
                    let stored = &$request.item;
                    let asking =
                        async { action.execute(item, stored, &restore).await.map_err(status) };
                    let answer = guarded(asking).await?;
                    Ok(Response::new(words::RestoreExecuteResponse {
                        item: answer.item.unwrap_or_else(|| $request.item.clone()),
                        warning: answer.warning.unwrap_or_default(),
                    }))
                }
            }
        }
    };
}

serve!(ark10, AppliesToRequest, |all, request| all
    .get(&request.plugin));
serve!(ark08, Empty, |all, _request| all.only());
