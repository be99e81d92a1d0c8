//! The restore engine: open, plan, transform, apply, report.
//!
//! It reads a backup from a location and writes its objects to a cluster. It knows no controller: whoever calls it
//! decides when, and records what it returns. A restore that was interrupted is started again from the start: what
//! carries its mark is done.
//!
//! Which question is answered where:
//! - `open`: how a backup is read, and how much memory that takes; `foreign`: how one of another program is;
//! - `ahead`, `ready`: what is found out before that;
//! - `select`, `needs`, `plan`: which objects are restored, and in what version of their type;
//! - `convert`: what becomes of old API versions;
//! - `waves`: what is restored before what;
//! - `derived`: what is not restored because the cluster makes it itself;
//! - `transform`: what becomes of an object, by its type;
//! - `modifiers`, `strategic`: how the request changes it;
//! - `owners`: whose an object is afterwards;
//! - `preview`: what a dry run says of all this;
//! - `apply`, `namespaces`, `definitions`, `prepare`, `step`, `after`: how all that is carried out;
//! - `existing`, `bulk`, `compare`: what becomes of what is there already, and whether it is the same;
//! - `patience`, `later`, `obstacles`: what is tried again, when, and for how long; `width`: how much of it at once;
//! - `actions`: what item actions make of objects, and restore before them;
//! - `deletion`: what they do about the items of a backup that is deleted;
//! - `rules`: the page that lists all this;
//! - `volumes`: how data comes back from snapshots;
//! - `report`: how warnings, errors and progress are kept.

mod actions;
mod after;
mod ahead;
mod apply;
mod bulk;
mod compare;
mod convert;
mod definitions;
mod deletion;
mod derived;
mod existing;
mod foreign;
mod later;
mod modifiers;
mod namespaces;
mod needs;
mod node_ports;
mod obstacles;
mod open;
mod owed;
mod owners;
mod patience;
mod plan;
mod prepare;
mod preview;
mod ready;
mod replace;
mod report;
mod rules;
mod select;
mod step;
mod strategic;
#[cfg(test)]
mod testing;
mod transform;
mod treatment;
mod volumes;
mod waves;
mod width;

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Progress, Results};
use crate::archive::Limits;
use crate::cluster::Cluster;
use crate::providers::actions::RunActions;
use crate::providers::snapshotters::Snapshotters;
use crate::storage::Location;

pub use self::actions::cancel_operations;
use self::apply::Applier;
pub use self::deletion::act_before_deletion;
use self::later::Queue;
use self::open::Opened;
use self::owners::Owners;
use self::patience::Patience;
use self::ready::make_plan;
use self::report::{Finished, Report};
pub use self::rules::page as rules_page;
use self::transform::Facts;

/// A restore to carry out.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The Restore: its name, UID and spec, when it was created, and what its status notes of an earlier attempt.
    pub restore: api::Restore,
    /// The backup's stored record: its status names the parts.
    pub backup: api::Backup,
    /// The server's snapshotters.
    pub snapshotters: Snapshotters,
    /// The server's item actions.
    pub actions: RunActions,
}

impl RestoreRequest {
    fn name(&self) -> &str {
        self.restore.metadata.name.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.restore.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns when the Restore was created, by the API server's clock: an object that carries the restore's labels and
    /// is older was made by an earlier restore of the same name. `None` takes every such object for its own work.
    fn created(&self) -> Option<Timestamp> {
        let created = self.restore.metadata.creation_timestamp.as_ref();
        created.map(|time| time.0)
    }

    fn spec(&self) -> &api::RestoreSpec {
        &self.restore.spec
    }
}

/// How restores are carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreOptions {
    /// Requests in flight.
    pub concurrency: usize,
    /// Types to restore first, by any of their names; the built-in order follows. Definitions and namespaces come
    /// before them in any case.
    pub priorities: Vec<String>,
    /// The largest object that is read from a backup, in bytes.
    pub max_entry_size: u64,
    /// How long a namespace that is being deleted is waited for.
    pub terminating_timeout: Duration,
    /// How long a restored definition may take to come into force.
    pub definition_timeout: Duration,
    /// How long, after all else is restored, an object is tried again that a webhook, a quota or a missing reference
    /// refuses.
    pub refused_timeout: Duration,
    /// The same for an object whose webhook or aggregated API does not answer.
    pub unavailable_timeout: Duration,
    /// How long a provider may take to make a volume, and a claim to get its filled one.
    pub snapshot_timeout: Duration,
    /// How long what an item action has named may take to be ready, where the action waits for it and does not say how
    /// long.
    pub ready_timeout: Duration,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            concurrency: 32,
            priorities: Vec::new(),
            max_entry_size: 64 << 20,
            terminating_timeout: Duration::from_mins(10),
            definition_timeout: Duration::from_mins(10),
            refused_timeout: Duration::from_mins(1),
            unavailable_timeout: Duration::from_mins(5),
            snapshot_timeout: Duration::from_mins(10),
            ready_timeout: Duration::from_mins(10),
        }
    }
}

/// How a restore went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestoreOutcome {
    /// Warnings and errors on single items.
    pub results: Results,
    /// Objects and namespaces dealt with.
    pub items: u64,
    /// Those of them that were created.
    pub created: u64,
    /// Those that were there already.
    pub existing: u64,
    /// Bytes of the backup's contents that were read, compressed and each time they were.
    pub bytes: u64,
    /// What became of the objects.
    pub counts: api::RestoreCounts,
    /// The operations that item actions began.
    pub operations: api::OperationCounts,
    /// Of a dry run what it would do: [`api::PlanItem`]s as JSON lines in gzip.
    pub plan: Option<Bytes>,
}

/// Why a restore did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The request cannot be met as it is; a sentence for each reason. Nothing was created.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// Nothing could be restored.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
        /// What is known of single items.
        results: Box<Results>,
    },
    /// The caller wanted it to end. What was created stays; another run goes on from there.
    #[error("the restore was cancelled")]
    Cancelled,
}

/// Carries out a restore.
///
/// May be repeated: an object that this restore has created already counts as done, whatever has become of it since.
///
/// # Errors
/// [`RestoreError`]. Failures of single items are no error but part of the outcome.
pub async fn run(
    cluster: &Cluster,
    location: &Location,
    request: &RestoreRequest,
    options: &RestoreOptions,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<RestoreOutcome, RestoreError> {
    let actions = actions::Run::new(request).map_err(failed)?;
    // Large, and within many others.
    let whole = Box::pin(carry_out(
        cluster, location, request, &actions, options, progress,
    ));
    let outcome = tokio::select! {
        // A request in flight may still come through, which the mark on its object tells the next run.
        () = cancel.cancelled() => Err(RestoreError::Cancelled),
        outcome = whole => outcome,
    };
    if outcome.is_err() && !request.actions.stage.is_handed_on() {
        actions.discard().await;
    }
    outcome
}

fn failed(reason: String) -> RestoreError {
    RestoreError::Failed {
        reason,
        results: Box::default(),
    }
}

async fn carry_out(
    cluster: &Cluster,
    location: &Location,
    request: &RestoreRequest,
    actions: &actions::Run,
    options: &RestoreOptions,
    progress: &watch::Sender<Progress>,
) -> Result<RestoreOutcome, RestoreError> {
    let spec = request.spec();
    let target = cluster
        .discover()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let limits = Limits::with_max_entry(options.max_entry_size);
    let opened = Opened::open(location, &request.backup, limits)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let planned = make_plan(cluster, request, actions, options, &opened, &target).await?;
    let mut plan = planned.plan;
    for ((group_resource, reason), count) in &plan.left_out {
        tracing::debug!(group_resource, count, reason, "left out");
    }
    tracing::info!(
        restore = request.name(),
        uid = request.uid(),
        backup = spec.backup_name,
        items = plan.items(),
        waves = plan.waves.len(),
        "restoring"
    );

    // A damaged backup is refused before anything is created, at the price of reading it twice.
    opened
        .verify(plan.places())
        .await
        .map_err(|error| failed(error.to_string()))?;

    let facts = Facts {
        references: planned.references,
        renamed_volumes: planned.sources.renamed.clone(),
        ..ahead::facts(request, &mut plan)
    };
    let mut applier = Applier {
        cluster,
        opened: &opened,
        options,
        since: request.created(),
        existing_facts: facts.for_existing(),
        facts,
        types: std::mem::take(&mut plan.types),
        patience: Patience::new(options.concurrency),
        report: Report::new(std::mem::take(&mut plan.results), plan.items(), progress),
        lost_namespaces: HashSet::new(),
        old_namespaces: HashSet::new(),
        policy: spec.existing_resource_policy.clone(),
        owners: Owners::new(std::mem::take(&mut plan.owners)),
        modifiers: planned.modifiers,
        actions: planned.actions,
        scope: std::mem::take(&mut plan.scope),
        lost_volumes: std::mem::take(&mut plan.lost_volumes),
        later: Queue::default(),
        lost_accounts: Mutex::default(),
        sources: planned.sources,
        old_volumes: planned.old_volumes,
        emptied: std::mem::take(&mut plan.emptied),
        zones: tokio::sync::OnceCell::new(),
        awaited: Mutex::default(),
    };
    if spec.dry_run == Some(true) {
        let found = applier.preview(&plan).await.map_err(failed)?;
        for line in applier.modifiers.idle() {
            applier.report.warn_all(line);
        }
        return Ok(RestoreOutcome {
            items: plan.items(),
            results: applier.report.finish().results,
            bytes: opened.bytes_read(),
            counts: found.counts,
            plan: Some(found.plan),
            ..RestoreOutcome::default()
        });
    }
    applier.run(&plan).await;
    applier.settle_claims().await;
    applier.finish_operations().await;
    for line in applier.modifiers.idle() {
        applier.report.warn_all(line);
    }
    let lost = applier.patience.is_lost();
    let finished = applier.report.finish();
    let outcome = conclude(finished, lost, opened.bytes_read())?;
    Ok(RestoreOutcome {
        operations: actions.operations().counts(),
        ..outcome
    })
}

/// Says how a restore went; one that brought nothing and has errors has failed.
fn conclude(finished: Finished, lost: bool, bytes: u64) -> Result<RestoreOutcome, RestoreError> {
    if finished.created + finished.there == 0 && finished.results.errors.count() > 0 {
        let errors = &finished.results.errors;
        let first = errors
            .ark
            .first()
            .or(errors.cluster.first())
            .or_else(|| errors.namespaces.values().flatten().next());
        return Err(RestoreError::Failed {
            reason: format!(
                "nothing could be restored{}: {}",
                if lost {
                    ", the API server does not answer"
                } else {
                    ""
                },
                first.map_or("", String::as_str)
            ),
            results: Box::new(finished.results),
        });
    }
    Ok(RestoreOutcome {
        results: finished.results,
        items: finished.items,
        created: finished.created,
        existing: finished.there,
        bytes,
        counts: finished.counts,
        ..RestoreOutcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Controllers spawn restores as tasks.
    #[allow(dead_code, reason = "that it compiles is the test")]
    fn runs_can_be_spawned(
        cluster: &'static Cluster,
        location: &'static Location,
        request: &'static RestoreRequest,
        options: &'static RestoreOptions,
        progress: &'static watch::Sender<Progress>,
        cancel: &'static CancellationToken,
    ) {
        drop(tokio::spawn(run(
            cluster, location, request, options, progress, cancel,
        )));
    }
}
