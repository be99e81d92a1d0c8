//! The backup engine: select, collect, write.
//!
//! It reads a cluster and fills one run of a location. It knows no controller: whoever calls it decides when, and
//! commits what it returns.

mod actions;
mod begin;
mod collect;
mod hooks;
mod needs;
mod read;
mod select;
mod volumes;
mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{
    self, HookOwed, OperationCounts, Part, Progress, Results, SnapshotNote, VolumeSnapshotPhase,
};
use crate::cluster::{Cluster, ClusterError};
use crate::providers::actions::RunActions;
use crate::providers::ledger::Ledger;
use crate::providers::snapshotters::Snapshotters;
use crate::storage::{Location, Run, StorageError};

use self::begin::{Begun, begin, of_selection};
use self::hooks::HookRunner;
use self::read::ReadLimits;
use self::volumes::{Scope, TakeRequest, Taken, VolumeTaker};

pub use self::actions::cancel_operations;
pub use self::hooks::{HookCounts, HookNotes, run_owed};
pub use self::volumes::{remove_pending, remove_recorded};

/// How long a failed run's parts may take to be removed. What stays is debris, and known as such by its marker.
const DISCARD_PATIENCE: Duration = Duration::from_secs(20);
/// The same for its snapshots. What stays is noted in the Backup's status.
const SNAPSHOT_PATIENCE: Duration = Duration::from_mins(1);

/// A backup to make.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// The Backup: its name, UID and spec count.
    pub backup: api::Backup,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Who makes it.
    pub holder: String,
    /// Id of the cluster.
    pub cluster_id: String,
    /// When the run began.
    pub start: Timestamp,
    /// Keeps what post hooks are owed while the run goes on.
    pub ledger: Arc<dyn Ledger<HookOwed>>,
    /// The server's snapshotters; the spec names the locations to use.
    pub snapshotters: Snapshotters,
    /// Keeps which snapshots there are while the run goes on.
    pub snapshot_ledger: Arc<dyn Ledger<SnapshotNote>>,
    /// The server's item actions.
    pub actions: RunActions,
    /// What came of the post hooks that an earlier run owed.
    pub earlier_hooks: HookNotes,
}

/// How a backup is made. The defaults keep a server below 64 MB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackupOptions {
    /// Types listed at once.
    pub list_workers: usize,
    /// Bytes of lists that may wait ahead of the type being written.
    pub read_ahead: usize,
    /// Bytes that a page of a list should have.
    pub page_size: usize,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            list_workers: 4,
            read_ahead: 4 << 20,
            page_size: 512 << 10,
        }
    }
}

/// A run whose parts are stored and which waits for its commit.
#[derive(Debug)]
pub struct Finished {
    /// The run, to commit or to discard.
    pub run: Run,
    /// The parts stored so far: contents, index, results.
    pub parts: Vec<Part>,
    /// Warnings and errors on single items.
    pub results: Results,
    /// Number of objects stored.
    pub items: u64,
    /// The hooks that ran for it.
    pub hooks: HookCounts,
    /// The operations that item actions began.
    pub operations: OperationCounts,
    /// Its volumes.
    pub volumes: VolumeCounts,
    /// Notes of snapshots that its record will not name, since they are not of use and could not be removed.
    pub pending: Vec<SnapshotNote>,
    taker: VolumeTaker,
}

impl Finished {
    /// Removes what was made for it, snapshots and stored parts, unless it is committed after all.
    ///
    /// # Errors
    /// As [`Run::discard`].
    pub async fn discard(self, snapshotters: &Snapshotters) -> Result<(), StorageError> {
        // Whoever names the snapshots is asked first.
        self.run.discard().await?;
        self.taker.discard(snapshotters).await;
        Ok(())
    }
}

/// How many volumes there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VolumeCounts {
    /// Volumes that were to be snapshot.
    pub attempted: u64,
    /// Those of them that are.
    pub completed: u64,
    /// Volumes that were not to be snapshot.
    pub skipped: u64,
}

/// Why there is no backup. Nothing of the run is left in the location.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The request cannot be met as it is; a sentence for each reason.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// The cluster could not be asked what it holds.
    #[error("the cluster could not be read")]
    Cluster(#[from] ClusterError),
    /// The location did not take the parts.
    #[error("the backup could not be stored")]
    Storage(#[from] StorageError),
    /// The archive could not be written.
    #[error("the archive could not be written: {0}")]
    Archive(String),
    /// The caller wanted it to end.
    #[error("the backup was cancelled")]
    Cancelled,
}

/// Makes a backup up to its commit.
///
/// # Errors
/// [`BackupError`]; whatever it is, the run's parts and snapshots are removed again as far as the location and providers
/// allow, and the post hooks of pods whose pre hooks ran have run, too.
pub async fn run(
    cluster: &Cluster,
    location: &Location,
    request: &BackupRequest,
    options: &BackupOptions,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Finished, BackupError> {
    let limits = ReadLimits {
        workers: options.list_workers,
        ahead: options.read_ahead,
        page: options.page_size,
    };
    let begun = tokio::select! {
        begun = begin(cluster, location, request, limits) => begun?,
        () = cancel.cancelled() => return Err(BackupError::Cancelled),
    };
    let Begun {
        discovery,
        namespaces,
        selection,
        hooks,
        idle_hooks,
        actions,
        idle_actions,
        run,
    } = begun;
    let spec = &request.backup.spec;

    let mut results = request.earlier_hooks.results.clone();
    results.warnings.ark.extend(idle_hooks);
    results.errors.ark.extend(idle_actions);
    results.merge(of_selection(&selection));
    let selection = Arc::new(selection);
    let skipped_namespaces = Arc::new(namespaces.excluded);
    let taker = VolumeTaker::new(TakeRequest {
        cluster,
        discovery: &discovery,
        scope: Scope {
            selection: Arc::clone(&selection),
            skipped_namespaces: Arc::clone(&skipped_namespaces),
        },
        backup: &request.backup,
        attempt: request.attempt,
        cluster_id: &request.cluster_id,
        snapshotters: &request.snapshotters,
        ledger: Arc::clone(&request.snapshot_ledger),
    });
    let pods = discovery.by_group_resource(collect::PODS);
    let asked = pods.and_then(|pods| actions.for_type(pods));
    let hooks = HookRunner::new(
        cluster,
        hooks,
        Arc::clone(&request.ledger),
        (actions.clone(), asked),
        taker.clone(),
    );
    let collector = collect::Collector {
        cluster,
        discovery: &discovery,
        selection: &selection,
        skipped_namespaces: &skipped_namespaces,
        limits,
        hooks: &hooks,
        actions: &actions,
        volumes: &taker,
        progress,
    };
    let making = async {
        taker.settle_earlier(&request.snapshotters).await;
        for problem in actions.settle_earlier().await {
            results.warnings.add_ark(problem);
        }
        let stored = write::store(&run, collector, &mut results).await?;
        if stored.selected == 0 && spec.allow_empty != Some(true) {
            return Err(BackupError::Refused(vec![
                "the selection matches no object; correct the namespaces, resources or selector, or accept an empty \
                 backup with --allow-empty (spec.allowEmpty)"
                    .to_owned(),
            ]));
        }
        let taken = taker.finish(&request.snapshotters).await;
        Ok((stored, taken))
    };
    let made = tokio::select! {
        made = making => made,
        () = cancel.cancelled() => Err(BackupError::Cancelled),
    };
    let complete = match made {
        Ok((stored, taken)) => {
            let made = (stored, taken, actions.counts());
            complete(&run, request, made, results, &taker).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &complete {
        tracing::debug!(error = %error, "the run is undone");
        hooks.stop().await;
        actions.discard().await;
        undo(&run, &taker, &request.snapshotters).await;
    }
    complete
}

/// Stores what is known once everything else is stored.
async fn complete(
    run: &Run,
    request: &BackupRequest,
    (stored, taken, operations): (write::Stored, Taken, OperationCounts),
    mut results: Results,
    taker: &VolumeTaker,
) -> Result<Finished, BackupError> {
    let volumes = VolumeCounts {
        attempted: taken.count(&[
            VolumeSnapshotPhase::InProgress,
            VolumeSnapshotPhase::Completed,
            VolumeSnapshotPhase::Failed,
        ]),
        completed: taken.count(&[
            VolumeSnapshotPhase::InProgress,
            VolumeSnapshotPhase::Completed,
        ]),
        skipped: taken.count(&[VolumeSnapshotPhase::Skipped]),
    };
    results.merge(taken.results);
    let mut parts = stored.parts;
    if !taken.volumes.is_empty() {
        parts.push(run.put_volume_snapshots(&taken.volumes).await?);
    }
    parts.push(run.put_results(&results).await?);
    let mut hooks = request.earlier_hooks.counts;
    hooks.add(stored.hooks);
    Ok(Finished {
        run: run.clone(),
        parts,
        results,
        items: stored.items,
        hooks,
        operations,
        volumes,
        pending: taken.pending,
        taker: taker.clone(),
    })
}

/// Removes what a run that failed has made, as far as store and providers allow in time.
async fn undo(run: &Run, taker: &VolumeTaker, snapshotters: &Snapshotters) {
    let discarding = tokio::time::timeout(SNAPSHOT_PATIENCE, taker.discard(snapshotters));
    if discarding.await.is_err() {
        tracing::warn!("the failed run's snapshots are not removed in time; they stay noted");
    }
    match tokio::time::timeout(DISCARD_PATIENCE, run.discard()).await {
        Ok(Ok(())) => {}
        Ok(Err(left)) => {
            tracing::warn!(error = %left, "parts of the failed run could not be removed; they do not count");
        }
        Err(_) => {
            tracing::warn!("the store does not remove the failed run's parts; they do not count");
        }
    }
}
