//! Item actions in Velero's words.

use tonic::{Request, Response, Status};

use super::{id, status};
use crate::providers::actions::{
    ActionError, BackedUpItem, BackupItemAction, DeleteItemAction, Item, ItemBlockAction, ItemId,
    ItemSelector, OperationProgress, RestoreItemAction, RestoredItem, RunDocument,
};
use crate::providers::plugin::protocol::velero::generated::{
    self, AppliesToRequest, AppliesToResponse, ExecuteRequest, RestoreExecuteRequest,
};
use crate::providers::plugin::protocol::velero::{v1, v2};
use crate::providers::plugin::serve::{Named, Server, Services, add_service, guarded};

pub(super) fn add(routes: &mut Services, server: Server) {
    use generated::backup_item_action_server::BackupItemActionServer;
    use generated::delete_item_action_server::DeleteItemActionServer;
    use generated::restore_item_action_server::RestoreItemActionServer;
    use v1::item_block_action_server::ItemBlockActionServer;
    use v2::backup_item_action_server::BackupItemActionServer as BackupItemActionV2Server;
    use v2::restore_item_action_server::RestoreItemActionServer as RestoreItemActionV2Server;
    if !server.backup.is_empty() {
        add_service!(routes, BackupItemActionServer::new(Backups(server.backup)));
    }
    if !server.backup_v2.is_empty() {
        let serving = BackupsV2(server.backup_v2);
        add_service!(routes, BackupItemActionV2Server::new(serving));
    }
    if !server.restore.is_empty() {
        let serving = Restores(server.restore);
        add_service!(routes, RestoreItemActionServer::new(serving));
    }
    if !server.restore_v2.is_empty() {
        let serving = RestoresV2(server.restore_v2);
        add_service!(routes, RestoreItemActionV2Server::new(serving));
    }
    if !server.delete.is_empty() {
        add_service!(routes, DeleteItemActionServer::new(Deletes(server.delete)));
    }
    if !server.item_block.is_empty() {
        let serving = ItemBlocks(server.item_block);
        add_service!(routes, ItemBlockActionServer::new(serving));
    }
}

struct Backups(Named<dyn BackupItemAction>);
struct BackupsV2(Named<dyn BackupItemAction>);
struct Restores(Named<dyn RestoreItemAction>);
struct RestoresV2(Named<dyn RestoreItemAction>);
struct Deletes(Named<dyn DeleteItemAction>);
struct ItemBlocks(Named<dyn ItemBlockAction>);

/// Answers which items an action is for.
async fn applies_to(
    asking: impl Future<Output = Result<ItemSelector, ActionError>>,
) -> Result<Response<AppliesToResponse>, Status> {
    let selector = guarded(async { asking.await.map_err(status) }).await?;
    Ok(Response::new(AppliesToResponse {
        resource_selector: Some(words(selector)),
    }))
}

/// Answers how work fares that goes on.
async fn progress(
    asking: impl Future<Output = Result<OperationProgress, ActionError>>,
) -> Result<Response<v2::ProgressResponse>, Status> {
    let progress = guarded(async { asking.await.map_err(status) }).await?;
    Ok(Response::new(v2::ProgressResponse {
        progress: Some(progress_words(progress)),
    }))
}

/// Answers the wish that work ends.
async fn cancel(
    asking: impl Future<Output = Result<(), ActionError>>,
) -> Result<Response<()>, Status> {
    Ok(Response::new(
        guarded(async { asking.await.map_err(status) }).await?,
    ))
}

/// Asks a backup item action.
async fn backed_up(
    all: &Named<dyn BackupItemAction>,
    request: &ExecuteRequest,
) -> Result<BackedUpItem, Status> {
    let action = all.get(&request.plugin)?;
    let id = id(&request.item)?;
    let backup = RunDocument::of_json(request.backup.clone());
    let item = Item {
        id: &id,
        json: &request.item,
    };
    guarded(async { action.execute(item, &backup).await.map_err(status) }).await
}

#[tonic::async_trait]
impl generated::backup_item_action_server::BackupItemAction for Backups {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<generated::ExecuteResponse>, Status> {
        let request = request.into_inner();
        let answer = backed_up(&self.0, &request).await?;
        Ok(Response::new(generated::ExecuteResponse {
            item: answer.item.unwrap_or(request.item),
            additional_items: identifiers(answer.additional),
        }))
    }
}

#[tonic::async_trait]
impl v2::backup_item_action_server::BackupItemAction for BackupsV2 {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn progress(
        &self,
        request: Request<v2::ProgressRequest>,
    ) -> Result<Response<v2::ProgressResponse>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let run = RunDocument::of_json(request.run);
        progress(action.progress(&request.operation_id, &run)).await
    }

    async fn cancel(&self, request: Request<v2::CancelRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let run = RunDocument::of_json(request.run);
        cancel(action.cancel(&request.operation_id, &run)).await
    }

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<v2::ExecuteResponse>, Status> {
        let request = request.into_inner();
        let answer = backed_up(&self.0, &request).await?;
        Ok(Response::new(v2::ExecuteResponse {
            item: answer.item.unwrap_or(request.item),
            additional_items: identifiers(answer.additional),
            operation_id: answer.operation.unwrap_or_default(),
            post_operation_items: identifiers(answer.after_operation),
        }))
    }
}

/// Asks a restore item action.
async fn restored(
    all: &Named<dyn RestoreItemAction>,
    request: &RestoreExecuteRequest,
) -> Result<RestoredItem, Status> {
    let action = all.get(&request.plugin)?;
    let (id, restore) = (
        id(&request.item)?,
        RunDocument::of_json(request.restore.clone()),
    );
    let item = Item {
        id: &id,
        json: &request.item,
    };
    let asking = async {
        let asked = action.execute(item, &request.item_from_backup, &restore);
        asked.await.map_err(status)
    };
    guarded(asking).await
}

#[tonic::async_trait]
impl generated::restore_item_action_server::RestoreItemAction for Restores {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn execute(
        &self,
        request: Request<RestoreExecuteRequest>,
    ) -> Result<Response<generated::RestoreExecuteResponse>, Status> {
        let request = request.into_inner();
        let answer = restored(&self.0, &request).await?;
        Ok(Response::new(generated::RestoreExecuteResponse {
            item: answer.item.unwrap_or(request.item),
            additional_items: identifiers(answer.additional),
            skip_restore: answer.skip,
        }))
    }
}

#[tonic::async_trait]
impl v2::restore_item_action_server::RestoreItemAction for RestoresV2 {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn progress(
        &self,
        request: Request<v2::ProgressRequest>,
    ) -> Result<Response<v2::ProgressResponse>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let run = RunDocument::of_json(request.run);
        progress(action.progress(&request.operation_id, &run)).await
    }

    async fn cancel(&self, request: Request<v2::CancelRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let run = RunDocument::of_json(request.run);
        cancel(action.cancel(&request.operation_id, &run)).await
    }

    async fn execute(
        &self,
        request: Request<RestoreExecuteRequest>,
    ) -> Result<Response<v2::RestoreExecuteResponse>, Status> {
        let request = request.into_inner();
        let answer = restored(&self.0, &request).await?;
        Ok(Response::new(v2::RestoreExecuteResponse {
            item: answer.item.unwrap_or(request.item),
            additional_items: identifiers(answer.additional),
            skip_restore: answer.skip,
            operation_id: answer.operation.unwrap_or_default(),
            wait_for_additional_items: answer.wait_for_additional,
            additional_items_ready_timeout: answer
                .ready_within
                .and_then(|span| span.try_into().ok()),
        }))
    }

    async fn are_additional_items_ready(
        &self,
        request: Request<v2::AdditionalItemsReadyRequest>,
    ) -> Result<Response<v2::AdditionalItemsReadyResponse>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let restore = RunDocument::of_json(request.restore);
        let additional: Vec<ItemId> = request
            .additional_items
            .into_iter()
            .map(|item| ItemId {
                group: item.group,
                resource: item.resource,
                namespace: item.namespace,
                name: item.name,
            })
            .collect();
        let asking = async { action.ready(&additional, &restore).await.map_err(status) };
        let ready = guarded(asking).await?;
        Ok(Response::new(v2::AdditionalItemsReadyResponse { ready }))
    }
}

#[tonic::async_trait]
impl generated::delete_item_action_server::DeleteItemAction for Deletes {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<generated::Empty>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let (id, backup) = (id(&request.item)?, RunDocument::of_json(request.backup));
        let item = Item {
            id: &id,
            json: &request.item,
        };
        guarded(async { action.execute(item, &backup).await.map_err(status) }).await?;
        Ok(Response::new(generated::Empty {}))
    }
}

#[tonic::async_trait]
impl v1::item_block_action_server::ItemBlockAction for ItemBlocks {
    async fn applies_to(
        &self,
        request: Request<AppliesToRequest>,
    ) -> Result<Response<AppliesToResponse>, Status> {
        let action = self.0.get(&request.into_inner().plugin)?;
        applies_to(action.applies_to()).await
    }

    async fn get_related_items(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<v1::RelatedItemsResponse>, Status> {
        let request = request.into_inner();
        let action = self.0.get(&request.plugin)?;
        let (id, backup) = (id(&request.item)?, RunDocument::of_json(request.backup));
        let item = Item {
            id: &id,
            json: &request.item,
        };
        let asking = async { action.related(item, &backup).await.map_err(status) };
        let related = guarded(asking).await?;
        Ok(Response::new(v1::RelatedItemsResponse {
            related_items: identifiers(related),
        }))
    }
}

fn words(selector: ItemSelector) -> generated::ResourceSelector {
    generated::ResourceSelector {
        included_namespaces: selector.included_namespaces,
        excluded_namespaces: selector.excluded_namespaces,
        included_resources: selector.included_resources,
        excluded_resources: selector.excluded_resources,
        selector: selector.labels,
    }
}

fn identifiers(ids: Vec<ItemId>) -> Vec<generated::ResourceIdentifier> {
    ids.into_iter()
        .map(|id| generated::ResourceIdentifier {
            group: id.group,
            resource: id.resource,
            namespace: id.namespace,
            name: id.name,
        })
        .collect()
}

fn progress_words(progress: OperationProgress) -> generated::OperationProgress {
    let time = |time: jiff::Timestamp| prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    };
    generated::OperationProgress {
        completed: progress.completed,
        err: progress.error,
        n_completed: progress.done,
        n_total: progress.total,
        operation_units: progress.units,
        description: progress.description,
        started: progress.started.map(time),
        updated: progress.updated.map(time),
    }
}
