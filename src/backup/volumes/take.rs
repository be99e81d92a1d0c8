//! Takes volumes: looks at each as it is now, finds the snapshotter that is for it, and has it asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::bindings::{bound_volume, claim_name, claim_of, claims_of, parse};
use super::facts::VolumeFacts;
use super::policy::{self, Rules, Wanted};
use crate::api::error::chain;
use crate::api::object::{self, Object};
use crate::api::{
    Backup, BackupSpec, Results, SnapshotNote, VolumeSnapshot, VolumeSnapshotPhase,
    VolumeSnapshotSpec, VolumeSnapshotStatus,
};
use crate::backup::collect::is_excluded;
use crate::backup::needs::{CLAIMS, VOLUMES};
use crate::backup::select::Selection;
use crate::cluster::{ApiType, Cluster, Discovery, Item, ItemHeader};
use crate::providers::ledger::{Account, Ledger};
use crate::providers::snapshotter::{Fit, SnapshotId, Volume, VolumeHandle};
use crate::providers::snapshotters::{SnapshotLocation, Snapshotters};

/// Snapshots that are begun at the same time.
const STARTS: usize = 16;
/// What the cluster's own drivers need.
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";

/// Which claims and volumes a backup holds.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) selection: Arc<Selection>,
    pub(crate) skipped_namespaces: Arc<BTreeSet<String>>,
}

/// Whose volumes are taken, and how.
#[derive(Debug)]
pub(crate) struct TakeRequest<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) discovery: &'a Discovery,
    pub(crate) scope: Scope,
    pub(crate) backup: &'a Backup,
    pub(crate) attempt: u32,
    pub(crate) cluster_id: &'a str,
    pub(crate) snapshotters: &'a Snapshotters,
    pub(crate) ledger: Arc<dyn Ledger<SnapshotNote>>,
}

/// Takes the volumes of one backup.
#[derive(Clone, Debug)]
pub(crate) struct VolumeTaker {
    pub(super) work: Arc<Work>,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug)]
pub(super) struct Work {
    cluster: Cluster,
    /// The types of claims and volumes, where both are served.
    types: Option<(Arc<ApiType>, Arc<ApiType>)>,
    scope: Scope,
    pub(super) locations: Vec<SnapshotLocation>,
    rules: Rules,
    pub(super) backup: Origin,
    pub(super) account: Account<SnapshotNote>,
    slots: Semaphore,
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

/// Where the snapshots come from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) attempt: u32,
    pub(super) cluster_id: String,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The volumes of the backup that may be snapshot; set once it is known what becomes of one.
    volumes: BTreeMap<String, Arc<OnceCell<()>>>,
    /// Which volume a claim is bound to.
    claims: HashMap<(String, String), String>,
    /// What became of volumes.
    pub(super) records: BTreeMap<String, VolumeSnapshot>,
    /// The snapshots that were begun.
    pub(super) started: Vec<Started>,
    /// How many volumes each location that cannot be used might have been for, and why it cannot.
    pub(super) without: BTreeMap<usize, (u64, String)>,
    pub(super) results: Results,
}

/// A snapshot that was begun.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) volume: String,
    /// Which of [`Work::locations`].
    pub(super) location: usize,
    pub(super) snapshot: SnapshotId,
    pub(super) note: SnapshotNote,
    pub(super) at: Instant,
}

/// What becomes of a volume.
enum Choice {
    Take(usize, VolumeHandle),
    Skip(String),
    Fail(String),
    /// Only a location that cannot be used might be for it: which one, and why it cannot.
    Without(usize, String),
}

/// A volume as it is now.
struct Found {
    volume: Object,
    claim: Option<Object>,
}

impl VolumeTaker {
    pub(crate) fn new(request: TakeRequest<'_>) -> Self {
        let backup = request.backup;
        let spec = &backup.spec;
        let claims = request.discovery.by_group_resource(CLAIMS).cloned();
        let volumes = request.discovery.by_group_resource(VOLUMES).cloned();
        let status = backup.status.clone().unwrap_or_default();
        Self {
            work: Arc::new(Work {
                cluster: request.cluster.clone(),
                types: claims.zip(volumes),
                scope: request.scope,
                locations: chosen(request.snapshotters, &spec.volume_snapshot_locations),
                rules: Rules::new(spec.snapshot_volumes, spec.volume_policies.as_ref()),
                backup: Origin {
                    name: backup.metadata.name.clone().unwrap_or_default(),
                    uid: backup.metadata.uid.clone().unwrap_or_default(),
                    attempt: request.attempt,
                    cluster_id: request.cluster_id.to_owned(),
                    annotations: backup.metadata.annotations.clone().unwrap_or_default(),
                },
                account: Account::new(request.ledger, status.snapshots_pending),
                slots: Semaphore::new(STARTS),
                stop: CancellationToken::new(),
                state: Mutex::default(),
            }),
            tasks: TaskTracker::new(),
        }
    }

    /// Removes the snapshots of earlier attempts; what cannot be removed stays noted, and becomes a warning.
    pub(crate) async fn settle_earlier(&self, snapshotters: &Snapshotters) {
        let earlier = self.work.account.entries();
        if earlier.is_empty() {
            return;
        }
        tracing::warn!(
            snapshots = earlier.len(),
            "an earlier attempt left snapshots; they are removed first"
        );
        let problems = self.work.remove(snapshotters, earlier).await;
        let mut state = self.work.state();
        for problem in problems {
            state.results.warnings.add(None, problem);
        }
    }

    /// Notes a claim of the backup.
    pub(crate) fn note_claim(&self, header: &ItemHeader, body: &Bytes) {
        if !self.is_active() {
            return;
        }
        if let Some(volume) = bound_volume(body) {
            let claim = (header.namespace.clone(), header.name.clone());
            self.work.state().claims.insert(claim, volume);
        }
    }

    /// Notes a volume of the backup.
    pub(crate) fn note_volume(&self, header: &ItemHeader, body: &Bytes) {
        let name = &header.name;
        let reason = match self.work.rules.off() {
            Some(reason) => reason,
            None if self.work.locations.is_empty() => {
                "there is no snapshot location, and this server has no CSI snapshots"
            }
            None => {
                self.work.state().volumes.entry(name.clone()).or_default();
                return;
            }
        };
        let record = VolumeSnapshot {
            spec: VolumeSnapshotSpec {
                claim: claim_of(body),
                ..self.work.spec(name)
            },
            status: ended(VolumeSnapshotPhase::Skipped, reason),
        };
        self.work.state().records.insert(name.clone(), record);
    }

    /// Returns the claims of a pod, if its volumes may have to be snapshot.
    pub(crate) fn claims_of(&self, pod: &Item) -> Vec<String> {
        // Most pods have no claims, and need not be parsed to be seen not to.
        const NAME: &[u8] = b"persistentVolumeClaim";
        if !self.is_active() || memchr::memmem::find(&pod.body, NAME).is_none() {
            return Vec::new();
        }
        claims_of(&pod.body)
    }

    /// Begins to take the volumes of a pod, by its claims, all together; the task ends when they may change again.
    pub(crate) fn begin_pod(&self, namespace: &str, claims: Vec<String>) -> JoinHandle<()> {
        let (work, namespace) = (Arc::clone(&self.work), namespace.to_owned());
        let taking = async move {
            let volumes = join_all(claims.iter().map(|claim| work.volume_of(&namespace, claim)));
            let volumes = volumes.await.into_iter().flatten();
            join_all(volumes.map(|volume| work.take(volume))).await;
        };
        // The span makes it a part of the run's log.
        self.tasks.spawn(taking.in_current_span())
    }

    /// Begins to take the volumes that no pod has asked for, and waits until all have been taken.
    pub(crate) async fn take_the_rest(&self) {
        let volumes: Vec<String> = self.work.state().volumes.keys().cloned().collect();
        for volume in volumes {
            let work = Arc::clone(&self.work);
            self.tasks
                .spawn(async move { work.take(volume).await }.in_current_span());
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn is_active(&self) -> bool {
        self.work.rules.off().is_none() && !self.work.locations.is_empty()
    }
}

/// Returns the locations to use: the chosen ones in their order, then the cluster's own drivers unless one of these is
/// for them.
fn chosen(snapshotters: &Snapshotters, names: &[String]) -> Vec<SnapshotLocation> {
    let known = snapshotters.locations();
    let named = names
        .iter()
        .filter_map(|name| known.iter().find(|one| one.name == *name));
    let mut chosen: Vec<SnapshotLocation> = named.cloned().collect();
    let implicit = known.iter().filter(|one| one.name.is_empty());
    for one in implicit {
        if !chosen.iter().any(|other| other.provider == one.provider) {
            chosen.push(one.clone());
        }
    }
    chosen
}

/// Returns whether anything can snapshot a volume for a backup.
pub(crate) fn can_snapshot(
    snapshotters: &Snapshotters,
    spec: &BackupSpec,
    discovery: &Discovery,
) -> bool {
    chosen(snapshotters, &spec.volume_snapshot_locations)
        .iter()
        .any(|one| !one.name.is_empty() || discovery.by_group_resource(SNAPSHOTS).is_some())
}

impl Work {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self, volume: &str) -> VolumeSnapshotSpec {
        VolumeSnapshotSpec {
            backup_name: self.backup.name.clone(),
            backup_uid: self.backup.uid.clone(),
            persistent_volume_name: volume.to_owned(),
            ..VolumeSnapshotSpec::default()
        }
    }

    /// Returns the volume that a claim of the backup is bound to, if that is in the backup too.
    async fn volume_of(&self, namespace: &str, claim: &str) -> Option<String> {
        let place = (namespace.to_owned(), claim.to_owned());
        if let Some(volume) = self.state().claims.get(&place) {
            return Some(volume.clone());
        }
        let (claims, volumes) = self.types.as_ref()?;
        let Scope {
            selection,
            skipped_namespaces,
        } = &self.scope;
        let admitted = selection.admits(claims, namespace) && selection.admits(volumes, "");
        if !admitted || skipped_namespaces.contains(namespace) {
            return None;
        }
        // One that cannot be read now is taken with the rest, if it can be read then.
        let body = self
            .cluster
            .get(claims, Some(namespace), claim)
            .await
            .ok()??;
        let header = ItemHeader::parse(&body).ok()?;
        if header.deleting || is_excluded(&header) {
            return None;
        }
        bound_volume(&body)
    }

    /// Takes a volume, once; returns when it may change again.
    async fn take(&self, volume: String) {
        let cell = {
            let mut state = self.state();
            if state.records.contains_key(&volume) {
                return;
            }
            Arc::clone(state.volumes.entry(volume.clone()).or_default())
        };
        cell.get_or_init(|| self.take_once(&volume)).await;
    }

    async fn take_once(&self, name: &str) {
        let slot = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            slot = self.slots.acquire() => slot,
        };
        let Ok(_slot) = slot else {
            return;
        };
        let mut spec = self.spec(name);
        let status = match self.find(name).await {
            Ok(Some(found)) => {
                spec.claim = claim_name(&found.volume);
                self.take_found(&mut spec, &found).await
            }
            Ok(None) => {
                tracing::info!(
                    volume = name,
                    "a volume is gone before it could be snapshot"
                );
                ended(
                    VolumeSnapshotPhase::Skipped,
                    "it was deleted during the backup",
                )
            }
            Err(why) => self.failed(name, why),
        };
        let record = VolumeSnapshot { spec, status };
        self.state().records.insert(name.to_owned(), record);
    }

    /// Says that a volume is not snapshot although it was to be.
    fn failed(&self, name: &str, reason: String) -> VolumeSnapshotStatus {
        tracing::error!(volume = name, reason, "a volume is not snapshot");
        let line = format!("{VOLUMES} {name}: it is not snapshot: {reason}");
        self.state().results.errors.add(None, line);
        ended(VolumeSnapshotPhase::Failed, reason)
    }

    /// Reads a volume and its claim; `None` if it is gone.
    async fn find(&self, name: &str) -> Result<Option<Found>, String> {
        let Some((claims, volumes)) = &self.types else {
            return Ok(None);
        };
        let body = self.cluster.get(volumes, None, name).await;
        let Some(body) = body.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let volume = parse(&body)?;
        if object::at(&volume, &["metadata"])
            .is_some_and(|metadata| metadata.contains_key("deletionTimestamp"))
        {
            return Ok(None);
        }
        let reference = |key: &str| object::text(&volume, &["spec", "claimRef", key]);
        let claim = match (reference("namespace"), reference("name")) {
            (_, "") => None,
            (namespace, name) => {
                let body = self.cluster.get(claims, Some(namespace), name).await;
                let body = body.map_err(|error| error.to_string())?;
                let claim = body.map(|body| parse(&body)).transpose()?;
                // One that only has the name of the one that the volume was bound to is another one.
                let uid = reference("uid");
                claim.filter(|claim| {
                    uid.is_empty() || object::text(claim, &["metadata", "uid"]) == uid
                })
            }
        };
        Ok(Some(Found { volume, claim }))
    }

    /// Snapshots a volume, if that is wanted and possible; completes its spec on the way.
    async fn take_found(
        &self,
        spec: &mut VolumeSnapshotSpec,
        found: &Found,
    ) -> VolumeSnapshotStatus {
        let facts = VolumeFacts::of(&found.volume, found.claim.as_ref());
        if let Some(doubt) = policy::doubt(&facts) {
            let namespace = object::text(&found.volume, &["spec", "claimRef", "namespace"]);
            let name = object::text(&found.volume, &["spec", "claimRef", "name"]);
            let line = format!("{CLAIMS} {name}: {doubt}");
            self.state().results.warnings.add(Some(namespace), line);
        }
        let volume = Volume {
            volume: &found.volume,
            claim: found.claim.as_ref(),
        };
        match self.choose(&facts, volume).await {
            Choice::Skip(reason) => ended(VolumeSnapshotPhase::Skipped, reason),
            Choice::Fail(reason) => self.failed(&spec.persistent_volume_name, reason),
            Choice::Without(place, reason) => {
                let title = self.locations[place].title();
                let status = format!("{title} cannot be used: {reason}");
                let mut state = self.state();
                state.without.entry(place).or_insert((0, reason)).0 += 1;
                ended(VolumeSnapshotPhase::Failed, status)
            }
            Choice::Take(location, handle) => {
                match self.snapshot(spec, volume, location, &handle).await {
                    Ok(snapshot) => VolumeSnapshotStatus {
                        provider_snapshot_id: snapshot.0,
                        phase: VolumeSnapshotPhase::InProgress,
                        ..VolumeSnapshotStatus::default()
                    },
                    Err(reason) => self.failed(&spec.persistent_volume_name, reason),
                }
            }
        }
    }

    /// Decides what becomes of a volume.
    async fn choose(&self, facts: &VolumeFacts, volume: Volume<'_>) -> Choice {
        let wanted = match self.rules.wanted(facts) {
            Wanted::Skip(reason) => return Choice::Skip(reason),
            Wanted::IfPossible if self.rules.switch == Some(true) => {
                Some("snapshotVolumes is true".to_owned())
            }
            Wanted::IfPossible => None,
            Wanted::Snapshot(who) => Some(who),
        };
        let mut reasons = Vec::new();
        let mut without = None;
        for (place, location) in self.locations.iter().enumerate() {
            let snapshotter = match &location.snapshotter {
                Ok(snapshotter) => snapshotter,
                Err(reason) => {
                    without.get_or_insert_with(|| (place, reason.clone()));
                    continue;
                }
            };
            match snapshotter.fits(volume).await {
                Ok(Fit::Volume(handle)) => return Choice::Take(place, handle),
                Ok(Fit::No(reason)) => reasons.push(format!("{}: {reason}", location.title())),
                Err(error) => {
                    return Choice::Fail(format!("{}: {}", location.title(), chain(&error)));
                }
            }
        }
        if let Some((place, reason)) = without {
            return Choice::Without(place, reason);
        }
        let reason = format!(
            "it is {}, and no snapshotter is for it: {}",
            facts.kind(),
            reasons.join("; ")
        );
        if let Some(who) = wanted {
            let name = object::text(volume.volume, &["metadata", "name"]);
            let line = format!("{VOLUMES} {name}: it is not snapshot, although {who}: {reason}");
            self.state().results.warnings.add(None, line);
        }
        Choice::Skip(reason)
    }
}

fn ended(phase: VolumeSnapshotPhase, message: impl Into<String>) -> VolumeSnapshotStatus {
    VolumeSnapshotStatus {
        phase,
        message: message.into(),
        ..VolumeSnapshotStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_s_drivers_come_last_and_once() {
        let location = |name: &str, provider: &str| SnapshotLocation {
            name: name.into(),
            provider: provider.into(),
            snapshotter: Err(String::new()),
        };
        for (names, expected) in [
            (&["b", "a"][..], &["b", "a", ""][..]),
            (&["slow", "a"], &["slow", "a"]),
            (&[], &[""]),
        ] {
            let known = Snapshotters::new(vec![
                location("a", "aws"),
                location("b", "gcp"),
                location("slow", "csi"),
                location("", "csi"),
            ]);
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let chosen = chosen(&known, &names);
            let found: Vec<&str> = chosen.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(found, expected);
        }
    }
}
