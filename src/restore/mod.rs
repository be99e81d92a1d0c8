//! The restore engine: open, plan, transform, apply, report.
//!
//! It reads a backup from a location and writes its objects to a cluster. It knows no controller: whoever calls it
//! decides when, and records what it returns. A restore that was interrupted is started again from the start: what
//! carries its mark is done.
//!
//! Which question is answered where:
//! - `open`: how a backup is read, and how much memory that takes; `foreign`: how one of another program is;
//! - `ahead`: what is found out before that;
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
//! - `rules`: the page that lists all this;
//! - `volumes`: how data comes back from snapshots;
//! - `report`: how warnings, errors and progress are kept.

mod after;
mod ahead;
mod apply;
mod bulk;
mod compare;
mod convert;
mod definitions;
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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Progress, Results};
use crate::archive::Limits;
use crate::cluster::{Cluster, Discovery};
use crate::providers::snapshotters::Snapshotters;
use crate::storage::Location;

use self::apply::Applier;
use self::later::Queue;
use self::modifiers::Modifiers;
use self::open::Opened;
use self::owners::Owners;
use self::patience::Patience;
use self::plan::RestorePlan;
use self::report::{Finished, Report};
pub use self::rules::page as rules_page;
use self::select::Contents;
use self::transform::Facts;
use self::volumes::{OldVolume, Sources};

/// A restore to carry out.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The Restore's name.
    pub name: String,
    /// The Restore's UID.
    pub uid: String,
    /// When the Restore was created, by the API server's clock: an object that carries the restore's labels and is
    /// older was made by an earlier restore of the same name. `None` takes every such object for its own work.
    pub created: Option<Timestamp>,
    /// What is asked for.
    pub spec: api::RestoreSpec,
    /// The backup's stored record: its status names the parts.
    pub backup: api::Backup,
    /// The server's snapshotters.
    pub snapshotters: Snapshotters,
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
    tokio::select! {
        // A request in flight may still come through, which the mark on its object tells the next run.
        () = cancel.cancelled() => Err(RestoreError::Cancelled),
        outcome = carry_out(cluster, location, request, options, progress) => outcome,
    }
}

async fn carry_out(
    cluster: &Cluster,
    location: &Location,
    request: &RestoreRequest,
    options: &RestoreOptions,
    progress: &watch::Sender<Progress>,
) -> Result<RestoreOutcome, RestoreError> {
    let failed = |reason: String| RestoreError::Failed {
        reason,
        results: Box::default(),
    };
    let target = cluster
        .discover()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let limits = Limits::with_max_entry(options.max_entry_size);
    let opened = Opened::open(location, &request.backup, limits)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let planned = make_plan(cluster, request, options, &opened, &target).await?;
    let mut plan = planned.plan;
    for ((group_resource, reason), count) in &plan.left_out {
        tracing::debug!(group_resource, count, reason, "left out");
    }
    tracing::info!(
        restore = request.name,
        uid = request.uid,
        backup = request.spec.backup_name,
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
        since: request.created,
        existing_facts: facts.for_existing(),
        facts,
        types: std::mem::take(&mut plan.types),
        patience: Patience::new(options.concurrency),
        report: Report::new(std::mem::take(&mut plan.results), plan.items(), progress),
        lost_namespaces: HashSet::new(),
        old_namespaces: HashSet::new(),
        policy: request.spec.existing_resource_policy.clone(),
        owners: Owners::new(std::mem::take(&mut plan.owners)),
        modifiers: planned.modifiers,
        later: Queue::default(),
        lost_accounts: Mutex::default(),
        sources: planned.sources,
        old_volumes: planned.old_volumes,
        emptied: std::mem::take(&mut plan.emptied),
        zones: tokio::sync::OnceCell::new(),
        awaited: Mutex::default(),
    };
    if request.spec.dry_run == Some(true) {
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
    for line in applier.modifiers.idle() {
        applier.report.warn_all(line);
    }
    let lost = applier.patience.is_lost();
    let finished = applier.report.finish();
    conclude(finished, lost, opened.bytes_read())
}

/// A plan, and what else is made of the request beforehand.
struct Planned {
    plan: RestorePlan,
    modifiers: Modifiers,
    references: BTreeMap<String, Vec<String>>,
    sources: Sources,
    /// What the volumes of claims were like, by the claims' original namespace and name.
    old_volumes: HashMap<(String, String), OldVolume>,
}

/// Makes the plan, and checks the rest of the request. Nothing is written.
async fn make_plan(
    cluster: &Cluster,
    request: &RestoreRequest,
    options: &RestoreOptions,
    opened: &Opened,
    target: &Discovery,
) -> Result<Planned, RestoreError> {
    let failed = |reason: String| RestoreError::Failed {
        reason,
        results: Box::default(),
    };
    let spec = &request.spec;
    let read = ahead::read_volumes(opened).await.map_err(failed)?;
    if spec.restore_pvs == Some(true) && request.snapshotters.locations().is_empty() {
        return Err(RestoreError::Refused(vec![
            "restorePVs is true, but there is no snapshot location to restore volumes from; make one with `ark \
             snapshot-location create`"
                .to_owned(),
        ]));
    }
    let nothing = HashSet::new();
    let (ways, mut sources) = volumes::ways(
        opened.volumes(),
        spec,
        (&request.name, &request.uid),
        &request.snapshotters,
    );
    sources.renamed = volumes::look_for_copies(cluster, &read, spec, &sources).await;
    let mut planning = plan::Facts {
        entries: opened.entries(),
        volumes: &read,
        needed: &nothing,
        spec,
        target,
        ways: &ways,
        priorities: &options.priorities,
    };
    let needed = match spec.with_dependencies {
        Some(true) => {
            let asked = plan::asked(&planning).map_err(RestoreError::Refused)?;
            ahead::read_needs(opened, asked).await.map_err(failed)?
        }
        _ => HashSet::new(),
    };
    planning.needed = &needed;
    let mut plan = plan::plan(&planning).map_err(RestoreError::Refused)?;
    let contents = Contents::of(opened.entries());
    let modifiers = Modifiers::read(spec.resource_modifiers.as_ref(), &contents, target)
        .map_err(RestoreError::Refused)?;
    for planned in &mut plan.types {
        let stored = planned.key.group_resource();
        planned.modifiers = modifiers.for_type(&stored, &planned.group_resource);
    }
    let references =
        ahead::references(spec, &contents, target, &plan.types).map_err(RestoreError::Refused)?;
    ahead::check_classes(cluster, spec, &plan, opened)
        .await
        .map_err(RestoreError::Refused)?;
    let targets = ahead::check_targets(cluster, spec).await;
    for warning in targets.iter().chain(opened.doubts()) {
        plan.results.warnings.add_ark(warning.clone());
    }
    Ok(Planned {
        plan,
        modifiers,
        references,
        sources,
        old_volumes: ahead::old_volumes(read),
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
        plan: None,
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
