//! What a run writes into the status of its resource while it goes on: lists that outlive this server, and that it waits
//! for operations.

use std::time::Duration;

use async_trait::async_trait;
use kube::Api;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::dispatch::Task;
use crate::api::error::chain;
use crate::api::{BackupPhase, RunHolder};
use crate::server::engines::{Ledger, Stage};
use crate::server::leader::Term;
use crate::server::status::{self, StatusError};

/// The field of a status that lists the operations of item actions.
pub(crate) const OPERATIONS_PENDING: &str = "operationsPending";

/// How often a write is tried. Somebody waits for it.
const TRIES: u32 = 3;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The status of a run's resource, as long as that names the same run.
#[derive(Clone, Debug)]
pub(crate) struct RunStatus {
    pub(crate) api: Api<DynamicObject>,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) run: Option<RunHolder>,
    /// Cancelled when another server may go on with the run.
    pub(crate) lost: CancellationToken,
}

impl RunStatus {
    /// Returns the status of the resource that a task is about.
    pub(crate) fn of(
        api: &Api<DynamicObject>,
        task: &Task,
        run: Option<&RunHolder>,
        term: &Term,
    ) -> Self {
        Self {
            api: api.clone(),
            name: task.name.clone(),
            uid: task.uid.clone(),
            run: run.cloned(),
            lost: term.lost().clone(),
        }
    }

    /// Returns a list of it.
    pub(crate) fn list(&self, field: &'static str) -> StatusLedger {
        StatusLedger {
            status: self.clone(),
            field,
        }
    }

    /// Sets a field.
    ///
    /// # Errors
    /// A sentence.
    async fn set(&self, field: &str, value: &Value) -> Result<(), String> {
        let run = json!(self.run);
        let mut tries = 1;
        loop {
            let written = status::set_if_held(
                &self.api,
                &self.name,
                &self.uid,
                ("run", &run),
                (field, value),
            );
            let error = match tokio::time::timeout(PATIENCE, written).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(StatusError::Changed)) => {
                    return Err("another server has taken over this run".to_owned());
                }
                Ok(Err(error @ (StatusError::Gone | StatusError::NotLeading))) => {
                    return Err(chain(&error));
                }
                Ok(Err(error @ StatusError::Failed(_))) => chain(&error),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if tries >= TRIES {
                return Err(error);
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A list in the status of a run's resource.
#[derive(Clone, Debug)]
pub(crate) struct StatusLedger {
    status: RunStatus,
    field: &'static str,
}

#[async_trait]
impl<T: Serialize + Send + 'static> Ledger<T> for StatusLedger {
    async fn write(&self, entries: Vec<T>) -> Result<(), String> {
        self.status.set(self.field, &json!(entries)).await
    }
}

#[async_trait]
impl Stage for RunStatus {
    async fn waits_for_operations(&self) {
        // Restores have the same word.
        let phase = json!(BackupPhase::WaitingForPluginOperations);
        if let Err(error) = self.set("phase", &phase).await {
            tracing::warn!(
                error,
                "it could not be written that operations are waited for"
            );
        }
    }

    fn is_handed_on(&self) -> bool {
        self.lost.is_cancelled()
    }
}
