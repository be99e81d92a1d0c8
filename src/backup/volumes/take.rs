//! Takes volumes: looks at each as it is now, finds the snapshotter that is for it, and has the snapshot made.
//!
//! A snapshot is noted in the ledger before it is asked for, and stays there until the backup is recorded or the snapshot
//! is removed. So none is ever made that nobody knows of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::join_all;
use serde::Deserialize;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::facts::VolumeFacts;
use super::policy::{self, Rules, Wanted};
use crate::api::error::chain;
use crate::api::object::{self, Object};
use crate::api::{
    Backup, BackupSpec, Results, SnapshotNote, VolumeSnapshot, VolumeSnapshotPhase,
    VolumeSnapshotSpec, VolumeSnapshotStatus, names,
};
use crate::backup::collect::is_excluded;
use crate::backup::needs::{CLAIMS, VOLUMES};
use crate::backup::select::Selection;
use crate::cluster::{ApiType, Cluster, Discovery, Item, ItemHeader};
use crate::providers::ledger::{Account, Ledger};
use crate::providers::snapshotter::{
    Fit, SnapshotError, SnapshotErrorKind, SnapshotId, SnapshotRequest, Volume, VolumeHandle,
    VolumeInfo, VolumeSnapshotter, tags,
};
use crate::providers::snapshotters::{SnapshotLocation, Snapshotters};

/// Snapshots that are begun at the same time.
const STARTS: usize = 16;
/// The most snapshots of one backup: each is noted in the Backup's status, which has to stay below the API server's
/// limit of some 1.5 MB.
const MOST: usize = 4000;
/// What the cluster's own drivers need.
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
/// Digits of a token.
const TOKEN_DIGITS: usize = 32;

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
    backup: Origin,
    pub(super) account: Account<SnapshotNote>,
    slots: Semaphore,
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

/// Where the snapshots come from.
#[derive(Debug)]
struct Origin {
    name: String,
    uid: String,
    attempt: u32,
    cluster_id: String,
    annotations: BTreeMap<String, String>,
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

    async fn snapshot(
        &self,
        spec: &mut VolumeSnapshotSpec,
        volume: Volume<'_>,
        place: usize,
        handle: &VolumeHandle,
    ) -> Result<SnapshotId, String> {
        let location = &self.locations[place];
        let snapshotter = location.snapshotter.as_ref().map_err(Clone::clone)?;
        let name = spec.persistent_volume_name.clone();
        spec.location.clone_from(&location.name);
        spec.provider.clone_from(&location.provider);
        spec.provider_volume_id.clone_from(&handle.id.0);
        let info = snapshotter.info(handle).await;
        let info = info.map_err(|error| chain(&error))?;
        describe(spec, handle, &info);
        if self.account.entries().len() >= MOST {
            return Err(format!(
                "a backup has at most {MOST} snapshots; make several backups of fewer namespaces"
            ));
        }
        let note = SnapshotNote {
            token: self.token(&name),
            persistent_volume: name.clone(),
            location: location.name.clone(),
            provider: location.provider.clone(),
            snapshot_id: String::new(),
        };
        spec.token.clone_from(&note.token);
        let noted = self.account.owe(&note).await;
        noted.map_err(|error| format!("it could not be noted in the Backup's status: {error}"))?;
        let tags = self.tags(&note);
        let request = SnapshotRequest {
            volume,
            handle,
            token: &note.token,
            tags: &tags,
            annotations: &self.backup.annotations,
        };
        let asked = snapshotter.create_snapshot(&request).await;
        let snapshot = match asked {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.settle_refusal(snapshotter.as_ref(), &note, error)
                    .await?
            }
        };
        tracing::info!(
            volume = name,
            %snapshot,
            location = location.name,
            provider = location.provider,
            "a snapshot is begun"
        );
        let known = SnapshotNote {
            snapshot_id: snapshot.0.clone(),
            ..note.clone()
        };
        if let Err(error) = self.account.replace(&note, &known).await {
            // Its token still tells.
            tracing::warn!(error, "the snapshot's id could not be noted");
        }
        self.state().started.push(Started {
            volume: name,
            location: place,
            snapshot: snapshot.clone(),
            note: known,
            at: Instant::now(),
        });
        Ok(snapshot)
    }

    /// Finds out what became of a snapshot that was asked for in vain: the answer may have got lost.
    async fn settle_refusal(
        &self,
        snapshotter: &dyn VolumeSnapshotter,
        note: &SnapshotNote,
        error: SnapshotError,
    ) -> Result<SnapshotId, String> {
        let unclear = matches!(
            error.kind,
            SnapshotErrorKind::Unreachable | SnapshotErrorKind::Other
        );
        if unclear && snapshotter.capabilities().find {
            match snapshotter.find_snapshots(&note.token).await {
                Ok(found) => {
                    if let Some(snapshot) = found.into_iter().next() {
                        return Ok(snapshot);
                    }
                }
                // It stays noted: whoever comes next finds out.
                Err(_) => return Err(chain(&error)),
            }
        } else if unclear {
            return Err(chain(&error));
        }
        if let Err(problem) = self.account.paid(std::slice::from_ref(note)).await {
            tracing::warn!(problem, "it could not be noted that there is no snapshot");
        }
        Err(chain(&error))
    }

    /// Returns the token of a volume's snapshot: another one for each attempt.
    fn token(&self, volume: &str) -> String {
        let Origin { uid, attempt, .. } = &self.backup;
        let mut token = names::sha256_hex(format!("{uid}/{attempt}/{volume}").as_bytes());
        token.truncate(TOKEN_DIGITS);
        token
    }

    fn tags(&self, note: &SnapshotNote) -> BTreeMap<String, String> {
        [
            (tags::BACKUP, &self.backup.name),
            (tags::VOLUME, &note.persistent_volume),
            (tags::CLUSTER, &self.backup.cluster_id),
            (tags::TOKEN, &note.token),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
    }
}

/// Notes what a volume is like.
fn describe(spec: &mut VolumeSnapshotSpec, handle: &VolumeHandle, info: &VolumeInfo) {
    spec.volume_type.clone_from(&info.volume_type);
    spec.volume_iops = info.iops;
    spec.volume_throughput = info.throughput;
    let zone = if info.zone.is_empty() {
        &handle.zone
    } else {
        &info.zone
    };
    spec.volume_az.clone_from(zone);
}

fn ended(phase: VolumeSnapshotPhase, message: impl Into<String>) -> VolumeSnapshotStatus {
    VolumeSnapshotStatus {
        phase,
        message: message.into(),
        ..VolumeSnapshotStatus::default()
    }
}

fn parse(body: &Bytes) -> Result<Object, String> {
    serde_json::from_slice(body).map_err(|error| format!("it cannot be read: {error}"))
}

/// Returns the claim that a volume names, as `namespace/name`; empty if it names none.
fn claim_name(volume: &Object) -> String {
    let reference = |key: &str| object::text(volume, &["spec", "claimRef", key]);
    match (reference("namespace"), reference("name")) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

fn claim_of(body: &Bytes) -> String {
    parse(body).map_or_else(|_| String::new(), |volume| claim_name(&volume))
}

/// Returns the volume that a claim is bound to.
fn bound_volume(claim: &Bytes) -> Option<String> {
    let claim = parse(claim).ok()?;
    let volume = object::text(&claim, &["spec", "volumeName"]);
    (object::text(&claim, &["status", "phase"]) == "Bound" && !volume.is_empty())
        .then(|| volume.to_owned())
}

/// Returns the claims that a pod's volumes name.
fn claims_of(pod: &Bytes) -> Vec<String> {
    #[derive(Deserialize)]
    struct Pod {
        #[serde(default)]
        metadata: Metadata,
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default)]
        name: String,
    }
    #[derive(Deserialize)]
    struct Spec {
        volumes: Option<Vec<PodVolume>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PodVolume {
        name: String,
        persistent_volume_claim: Option<Claim>,
        ephemeral: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Claim {
        claim_name: String,
    }
    let Ok(pod) = serde_json::from_slice::<Pod>(pod) else {
        return Vec::new();
    };
    let volumes = pod.spec.volumes.unwrap_or_default().into_iter();
    volumes
        .filter_map(|volume| match volume.persistent_volume_claim {
            Some(claim) => Some(claim.claim_name),
            // The claim that is made for a volume of the pod alone is named after both.
            None => volume
                .ephemeral
                .map(|_| format!("{}-{}", pod.metadata.name, volume.name)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_name_their_claims() {
        for (pod, expected) in [
            (
                r#"{"metadata":{"name":"p"},"spec":{"volumes":[
                    {"name":"a","persistentVolumeClaim":{"claimName":"c"}},
                    {"name":"b","emptyDir":{}},
                    {"name":"e","ephemeral":{"volumeClaimTemplate":{"spec":{}}}}]}}"#,
                &["c", "p-e"][..],
            ),
            (r#"{"spec":{}}"#, &[]),
            ("[]", &[]),
        ] {
            assert_eq!(claims_of(&Bytes::from_static(pod.as_bytes())), expected);
        }
    }

    #[test]
    fn only_bound_claims_have_a_volume() {
        for (claim, expected) in [
            (
                r#"{"spec":{"volumeName":"v"},"status":{"phase":"Bound"}}"#,
                Some("v"),
            ),
            (
                r#"{"spec":{"volumeName":"v"},"status":{"phase":"Pending"}}"#,
                None,
            ),
            (r#"{"spec":{},"status":{"phase":"Bound"}}"#, None),
        ] {
            let volume = bound_volume(&Bytes::from_static(claim.as_bytes()));
            assert_eq!(volume.as_deref(), expected, "{claim}");
        }
    }

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
