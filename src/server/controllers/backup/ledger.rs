//! Lists in a Backup's status that outlive this server.

use std::time::Duration;

use async_trait::async_trait;
use kube::Api;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::json;

use super::PAUSE;
use crate::api::RunHolder;
use crate::api::error::chain;
use crate::server::engines::Ledger;
use crate::server::status::{self, StatusError};

/// How often a write of a list is tried. Somebody waits for it.
const TRIES: u32 = 3;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps a list in the status of a Backup, as long as that names the same run.
#[derive(Clone, Debug)]
pub(super) struct StatusLedger {
    pub(super) api: Api<DynamicObject>,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) run: Option<RunHolder>,
    /// The field of the status.
    pub(super) field: &'static str,
}

#[async_trait]
impl<T: Serialize + Send + 'static> Ledger<T> for StatusLedger {
    async fn write(&self, entries: Vec<T>) -> Result<(), String> {
        let (run, entries) = (json!(self.run), json!(entries));
        let mut tries = 1;
        loop {
            let (held, field) = (("run", &run), (self.field, &entries));
            let written = status::set_if_held(&self.api, &self.name, &self.uid, held, field);
            let error = match tokio::time::timeout(PATIENCE, written).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(StatusError::Changed)) => {
                    return Err("another server has taken over this backup".to_owned());
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

impl super::Run<'_> {
    /// Returns the way to a list in this run's Backup.
    pub(super) fn ledger(&self, api: &Api<DynamicObject>, field: &'static str) -> StatusLedger {
        StatusLedger {
            api: api.clone(),
            name: self.task.name.clone(),
            uid: self.task.uid.clone(),
            run: self.status.run.clone(),
            field,
        }
    }
}
