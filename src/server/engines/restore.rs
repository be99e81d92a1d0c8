//! Carrying restores out.

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Actions, Location, RunActions, RunError, Snapshotters};
use crate::api::{Backup, OperationCounts, Progress, Restore, RestoreCounts, Results};
use crate::cluster::Cluster;
use crate::restore::{RestoreError, RestoreOptions, RestoreRequest};

/// A restore to carry out.
#[derive(Debug)]
pub(crate) struct RestoreRun<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) location: &'a Location,
    /// The Restore with the status that the run has written.
    pub(crate) restore: Restore,
    pub(crate) record: &'a Backup,
    pub(crate) priorities: &'a [String],
    pub(crate) snapshotters: &'a Snapshotters,
    pub(crate) actions: RunActions,
}

/// A restore that went through.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) results: Results,
    /// Objects and namespaces dealt with.
    pub(crate) items: u64,
    /// Bytes of the backup's contents that were read.
    pub(crate) bytes: u64,
    /// What became of the objects; of a dry run, what would.
    pub(crate) counts: RestoreCounts,
    /// The operations that item actions began.
    pub(crate) operations: OperationCounts,
    /// Of a dry run its lines, JSON in gzip.
    pub(crate) plan: Option<Bytes>,
}

/// Carries a restore out and returns its warnings and errors.
///
/// # Errors
/// With a failure comes what is known of single items all the same.
pub(crate) async fn restore(
    run: &RestoreRun<'_>,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Restored, (RunError, Results)> {
    let mut restore = run.restore.clone();
    // Which backup a schedule stands for has been decided.
    restore.spec.schedule_name.clear();
    let request = RestoreRequest {
        restore,
        backup: run.record.clone(),
        snapshotters: run.snapshotters.clone(),
        actions: run.actions.clone(),
    };
    let options = RestoreOptions {
        priorities: run.priorities.to_vec(),
        ..RestoreOptions::default()
    };
    let location = &run.location.0;
    let engine = crate::restore::run(run.cluster, location, &request, &options, progress, cancel);
    // Large, and within many others.
    match Box::pin(engine).await {
        Ok(outcome) => Ok(Restored {
            results: outcome.results,
            items: outcome.items,
            bytes: outcome.bytes,
            counts: outcome.counts,
            operations: outcome.operations,
            plan: outcome.plan,
        }),
        Err(RestoreError::Refused(problems)) => {
            Err((RunError::Refused(problems), Results::default()))
        }
        Err(RestoreError::Failed { reason, results }) => Err((RunError::Failed(reason), *results)),
        Err(RestoreError::Cancelled) => Err((RunError::Cancelled, Results::default())),
    }
}

/// Cancels the operations that the attempts of a restore have begun, as its status says.
pub(crate) async fn cancel_restore_operations(actions: &Actions, restore: &Restore) {
    for problem in crate::restore::cancel_operations(actions, restore).await {
        tracing::warn!(problem, "an operation goes on, and nobody waits for it");
    }
}
