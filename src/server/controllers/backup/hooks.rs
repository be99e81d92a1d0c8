//! Post hooks that are owed: the list in a Backup's status, and what is done about one that a dead server left.

use super::Backups;
use crate::api::{Backup, HookOwed};
use crate::server::controllers::dispatch::{Outcome, Task};
use crate::server::controllers::ledger::RunStatus;
use crate::server::engines::{self, HookNotes, Ledger as _};
use crate::server::leader::Term;
use crate::server::status::{self, Read};

/// The list's field.
pub(super) const HOOKS_OWED: &str = "hooksOwed";

/// Returns whether a Backup's status lists post hooks that a server which died owed.
pub(super) fn are_owed(backup: &Backup) -> bool {
    backup
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_running() && !status.hooks_owed.is_empty())
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
        let run = read.object.status.and_then(|status| status.run);
        let ledger =
            RunStatus::of(&context.apis.backups, task, run.as_ref(), term).list(HOOKS_OWED);
        if let Err(error) = ledger.write(Vec::<HookOwed>::new()).await {
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
