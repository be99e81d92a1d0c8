//! Post hooks that are owed: the list in a Backup's status, and what is done about one that a dead server left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::json;

use super::{Backups, PAUSE};
use crate::api::error::chain;
use crate::api::{Backup, BackupPhase, HookOwed, RunHolder};
use crate::server::controllers::dispatch::{Outcome, Task};
use crate::server::engines::{self, HookLedger, HookNotes};
use crate::server::leader::Term;
use crate::server::status::{self, Read, StatusError};

/// How often a write of the list is tried. A pod's hooks wait for it.
const TRIES: u32 = 3;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the list in the status of a Backup, as long as that names the same run.
#[derive(Debug)]
pub(super) struct StatusLedger {
    pub(super) api: Api<DynamicObject>,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) run: Option<RunHolder>,
}

#[async_trait]
impl HookLedger for StatusLedger {
    async fn write(&self, owed: Vec<HookOwed>) -> Result<(), String> {
        let (run, owed) = (json!(self.run), json!(owed));
        let mut tries = 1;
        loop {
            let (held, field) = (("run", &run), ("hooksOwed", &owed));
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

/// Returns whether a Backup's status lists post hooks that a server which died owed.
pub(super) fn are_owed(backup: &Backup) -> bool {
    backup.status.as_ref().is_some_and(|status| {
        status.phase == BackupPhase::InProgress && !status.hooks_owed.is_empty()
    })
}

impl Backups {
    /// Runs the post hooks that a dead server owed, whatever else is to become of its Backup: a frozen file system must
    /// thaw even while the store cannot be reached. Returns the Backup as it is after that.
    pub(super) async fn settle_hooks(
        &self,
        task: &Task,
        read: Read<Backup>,
        term: &Term,
    ) -> Result<(Read<Backup>, HookNotes), Outcome> {
        let context = &self.context;
        tracing::warn!(
            backup = task.name,
            "a server that died owed post hooks; they run first"
        );
        let ran = tokio::select! {
            ran = engines::run_owed_hooks(&context.cluster, &read.object) => ran,
            () = term.lost().cancelled() => return Err(Outcome::Done),
        };
        let notes = ran.map_err(|error| {
            tracing::warn!(
                backup = task.name,
                error,
                "the post hooks that are owed cannot run now"
            );
            Outcome::Retry
        })?;
        let ledger = StatusLedger {
            api: context.apis.backups.clone(),
            name: task.name.clone(),
            uid: task.uid.clone(),
            run: read.object.status.and_then(|status| status.run),
        };
        if let Err(error) = ledger.write(Vec::new()).await {
            tracing::warn!(
                backup = task.name,
                error,
                "it could not be noted that the post hooks have run; they will run again"
            );
            return Err(Outcome::Retry);
        }
        match status::get(&context.apis.backups, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => Ok((read, notes)),
            Ok(_) => Err(Outcome::Done),
            Err(error) => {
                tracing::warn!(backup = task.name, %error, "cannot read a Backup");
                Err(Outcome::Retry)
            }
        }
    }
}

impl super::Run<'_> {
    /// Returns the way to the list in this run's Backup.
    pub(super) fn ledger(&self, api: &Api<DynamicObject>) -> Arc<StatusLedger> {
        Arc::new(StatusLedger {
            api: api.clone(),
            name: self.task.name.clone(),
            uid: self.task.uid.clone(),
            run: self.status.run.clone(),
        })
    }
}
