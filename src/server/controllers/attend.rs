//! Looks after a run: writes how far it has come into its resource, and cancels it when the resource is deleted.

use std::convert::Infallible;
use std::time::Duration;

use kube::Api;
use kube::api::DynamicObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::dispatch::Task;
use crate::api::Progress;
use crate::api::error::chain;
use crate::server::objects::Objects;
use crate::server::status;

/// The pause between two writes of progress.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for a run's end. If its resource is deleted meanwhile, cancels it; the run still has to end by itself.
pub(crate) async fn attend<T: Send, K: Send + Sync>(
    run: impl Future<Output = T> + Send,
    api: &Api<DynamicObject>,
    objects: &Objects<K>,
    task: &Task,
    progress: watch::Receiver<Progress>,
    cancel: &CancellationToken,
) -> T {
    let deletion = async {
        objects.gone(&task.name, &task.uid).await;
        tracing::info!("the resource is deleted; the run ends");
        cancel.cancel();
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        result = run => result,
        never = report(api, task, progress) => match never {},
        never = deletion => match never {},
    }
}

/// Writes progress for ever. A failed write is made up for by the next one.
async fn report(
    api: &Api<DynamicObject>,
    task: &Task,
    mut progress: watch::Receiver<Progress>,
) -> Infallible {
    loop {
        tokio::time::sleep(PAUSE).await;
        if progress.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = progress.borrow_and_update().clone();
        let fields = serde_json::json!({ "progress": now });
        if let Err(error) = status::patch_fields(api, &task.name, &task.uid, fields).await {
            tracing::debug!(error = chain(&error), "cannot write progress");
        }
    }
}
