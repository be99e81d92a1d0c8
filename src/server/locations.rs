//! Follows the Config named `default`, the BackupStorageLocations and the VolumeSnapshotLocations: opens each location,
//! says in its status whether it can be used, and publishes settings and locations as [`World`]. Changes count at once;
//! runs that go on keep what they began with. Locations are checked side by side, so that one that does not answer
//! blocks no other.

mod checks;
mod source;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DynamicObject;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::checks::{Checks, Verdict};
use self::source::{SnapshotSource, Source, Sources};
use super::engines;
use super::events::Events;
use super::leader::Term;
use super::metrics::Metrics;
use super::objects::{Entry, Objects};
use super::secrets;
use super::settings::{Known, LocationState, Notes, Place, Root, SnapshotPlace, World};
use super::status;
use crate::api::error::chain;
use crate::api::{
    BackupStorageLocation, BackupStorageLocationPhase, Config, ConfigPhase, DEFAULT_LOCATION,
    SecretKey, VolumeSnapshotLocation, VolumeSnapshotLocationPhase, duration,
};
use crate::cluster::Cluster;
use crate::providers::Environment;

pub(crate) use self::source::{CONFIG_NAME, Overrides};

/// How long a location may take to answer the check.
const CHECK_LIMIT: Duration = Duration::from_mins(1);

/// What the follower needs.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) configs: Objects<Config>,
    pub(crate) locations: Objects<BackupStorageLocation>,
    pub(crate) snapshot_locations: Objects<VolumeSnapshotLocation>,
    pub(crate) config_api: Api<DynamicObject>,
    pub(crate) location_api: Api<DynamicObject>,
    pub(crate) snapshot_location_api: Api<DynamicObject>,
    pub(crate) secret_api: Api<Secret>,
    pub(crate) secrets: watch::Receiver<secrets::Versions>,
    pub(crate) environment: Environment,
    /// The cluster, whose CSI drivers a snapshot location may be for.
    pub(crate) cluster: Cluster,
    pub(crate) overrides: Overrides,
    pub(crate) terms: watch::Receiver<Option<Term>>,
    pub(crate) world: watch::Sender<World>,
    /// What else is known of locations that can be used.
    pub(crate) notes: watch::Receiver<Notes>,
    /// Asks for a check of every location now.
    pub(crate) recheck: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
}

/// A location that was checked: it can be used or not.
type Checked = LocationState;

impl Verdict for Checked {
    fn problems(&self) -> &[String] {
        match self {
            Self::Pending | Self::Usable(_) => &[],
            Self::Unusable(reasons) => reasons,
        }
    }
}

impl Verdict for Arc<SnapshotPlace> {
    fn problems(&self) -> &[String] {
        &self.problems
    }
}

type Stores = Checks<Source, Checked>;
type Snapshots = Checks<SnapshotSource, Arc<SnapshotPlace>>;

impl Follower {
    /// Follows for ever.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut config_changes = self.configs.changes();
        let mut location_changes = self.locations.changes();
        let mut snapshot_changes = self.snapshot_locations.changes();
        let mut stores = Stores::new("location");
        let mut snapshots = Snapshots::new("snapshot location");
        let mut said_missing = false;
        loop {
            config_changes.mark_unchanged();
            location_changes.mark_unchanged();
            snapshot_changes.mark_unchanged();
            let synced = self.configs.synced()
                && self.locations.synced()
                && self.snapshot_locations.synced();
            if synced {
                let sources = Sources::new(
                    self.configs.get(CONFIG_NAME),
                    self.locations.select(|_| true),
                    self.snapshot_locations.select(|_| true),
                    &self.overrides,
                );
                self.follow(&sources, &mut stores, &mut snapshots);
                if sources.is_empty() && !said_missing {
                    tracing::warn!(
                        "there is neither a Config named {CONFIG_NAME} nor a BackupStorageLocation; waiting for one"
                    );
                }
                said_missing = sources.is_empty();
                self.publish(&sources, &stores, &snapshots);
                self.begin_checks(&mut stores, &mut snapshots);
                self.report(&sources, &stores, &snapshots).await;
            }
            let next = stores.next().into_iter().chain(snapshots.next()).min();
            tokio::select! {
                changed = config_changes.changed() => changed?,
                changed = location_changes.changed() => changed?,
                changed = snapshot_changes.changed() => changed?,
                // A new leader writes the statuses that the one before could not.
                changed = self.terms.changed() => changed?,
                changed = self.secrets.changed() => changed?,
                changed = self.notes.changed() => changed?,
                () = self.recheck.notified() => {
                    stores.all_now();
                    snapshots.all_now();
                }
                () = stores.ended() => {}
                () = snapshots.ended() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Takes up new and changed locations, and drops those that are gone.
    fn follow(&self, sources: &Sources, stores: &mut Stores, snapshots: &mut Snapshots) {
        let secret = |source: &Source| self.secret_version(source.credential.as_ref());
        for gone in stores.follow(&sources.locations, secret) {
            self.metrics.forget_location(&gone);
        }
        snapshots.follow(&sources.snapshot_locations, |source| {
            self.secret_version(source.credential.as_ref())
        });
    }

    fn secret_version(&self, credential: Option<&SecretKey>) -> Option<String> {
        self.secrets.borrow().get(&credential?.name).cloned()
    }

    /// Begins the checks that are due. Each opens its location from scratch: credentials in files may have changed.
    fn begin_checks(&self, stores: &mut Stores, snapshots: &mut Snapshots) {
        stores.begin(
            |source| self.secret_version(source.credential.as_ref()),
            |name, source| {
                let (environment, secrets) = (self.environment.clone(), self.secret_api.clone());
                async move { check(&name, &source, environment, &secrets).await }
            },
        );
        snapshots.begin(
            |source| self.secret_version(source.credential.as_ref()),
            |_, source| {
                let (environment, secrets) = (self.environment.clone(), self.secret_api.clone());
                let cluster = self.cluster.clone();
                async move { Arc::new(check_snapshots(source, environment, &cluster, &secrets).await) }
            },
        );
    }

    /// Tells everybody what is known now.
    fn publish(&self, sources: &Sources, stores: &Stores, snapshots: &Snapshots) {
        let world = match &sources.settings {
            Err(problems) => World::Unusable(Arc::new(problems.clone())),
            Ok(settings) => World::Known(Arc::new(Known {
                settings: settings.clone(),
                default_location: sources.default_location.clone(),
                locations: stores
                    .iter()
                    .map(|(name, _, found)| (name.clone(), state(found)))
                    .collect(),
                snapshot_locations: snapshots
                    .iter()
                    .map(|(name, _, found)| (name.clone(), found.cloned()))
                    .collect(),
                default_snapshot_locations: self.overrides.default_snapshot_locations.clone(),
                looked_through: self.notes.borrow().keys().cloned().collect(),
            })),
        };
        for (name, _, found) in stores.iter() {
            let available = matches!(found, Some(LocationState::Usable(_)));
            self.metrics.set_location_available(name, available);
        }
        self.world.send_if_modified(|before| {
            let changed = !same(before, &world);
            if changed {
                *before = world;
            }
            changed
        });
    }

    /// Writes the statuses that say something else, if this server leads.
    async fn report(&self, sources: &Sources, stores: &Stores, snapshots: &Snapshots) {
        if self.terms.borrow().is_none() {
            return;
        }
        if let Some(entry) = self.configs.get(CONFIG_NAME) {
            let told = match &sources.settings {
                Err(problems) => Some(LocationState::Unusable(Arc::new(problems.clone()))),
                Ok(_) => stores
                    .get(DEFAULT_LOCATION)
                    .filter(|(source, _)| source.resource.is_none())
                    .map(|(_, found)| state(found)),
            };
            if let Some(told) = told {
                self.report_config(&entry, &told).await;
            }
        }
        for (name, entry) in self.locations.select(|_| true) {
            if let Some((_, found)) = stores.get(&name) {
                self.report_location(&name, &entry, &state(found)).await;
            }
        }
        for (name, entry) in self.snapshot_locations.select(|_| true) {
            if let Some((_, Some(place))) = snapshots.get(&name) {
                self.report_snapshot_location(&name, &entry, place).await;
            }
        }
    }

    async fn report_snapshot_location(
        &self,
        name: &str,
        entry: &Entry<VolumeSnapshotLocation>,
        place: &SnapshotPlace,
    ) {
        let phase = if place.problems.is_empty() {
            VolumeSnapshotLocationPhase::Available
        } else {
            VolumeSnapshotLocationPhase::Unavailable
        };
        let message = place.problems.join("; ");
        let told = entry.object.as_ref().ok();
        let told = told.and_then(|location| location.status.as_ref());
        if told.is_some_and(|told| told.phase == phase && told.message == message) {
            return;
        }
        let fields = serde_json::json!({ "phase": phase, "message": message });
        let api = &self.snapshot_location_api;
        match status::patch_fields(api, name, &entry.uid, fields).await {
            Ok(()) => {
                if let Ok(location) = &entry.object {
                    let problem = (!message.is_empty()).then_some(message.as_str());
                    self.events.location(location.as_ref(), problem);
                }
            }
            Err(error) => tracing::warn!(
                location = name,
                error = chain(&error),
                "cannot write the status of a snapshot location"
            ),
        }
    }

    async fn report_config(&self, entry: &Entry<Config>, state: &LocationState) {
        let (phase, problems) = match state {
            LocationState::Pending => return,
            LocationState::Usable(_) => (ConfigPhase::Available, Vec::new()),
            LocationState::Unusable(reasons) => (ConfigPhase::Unavailable, reasons.to_vec()),
        };
        let told = entry.object.as_ref().ok();
        let told = told.and_then(|config| config.status.as_ref());
        if told.is_some_and(|told| told.phase == phase && told.validation_errors == problems) {
            return;
        }
        let fields = serde_json::json!({ "phase": phase, "validationErrors": problems });
        let written = status::patch_fields(&self.config_api, CONFIG_NAME, &entry.uid, fields).await;
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                "cannot write the status of the Config"
            );
        }
    }

    async fn report_location(
        &self,
        name: &str,
        entry: &Entry<BackupStorageLocation>,
        state: &LocationState,
    ) {
        let told = entry.object.as_ref().ok();
        let told = told.and_then(|location| location.status.as_ref());
        let (phase, message) = match state {
            LocationState::Pending => return,
            LocationState::Usable(_) => {
                let phase = BackupStorageLocationPhase::Available;
                let note = self.notes.borrow().get(name).cloned().flatten();
                // What the leader before noted stays until this one has looked itself.
                let before = || {
                    told.filter(|told| told.phase == phase)
                        .map(|told| told.message.clone())
                };
                (phase.clone(), note.or_else(before).unwrap_or_default())
            }
            LocationState::Unusable(reasons) => {
                (BackupStorageLocationPhase::Unavailable, reasons.join("; "))
            }
        };
        if told.is_some_and(|told| told.phase == phase && told.message == message) {
            return;
        }
        let fields = serde_json::json!({ "phase": phase, "message": message });
        match status::patch_fields(&self.location_api, name, &entry.uid, fields).await {
            Ok(()) => {
                if let Ok(location) = &entry.object {
                    let problem = (!message.is_empty()).then_some(message.as_str());
                    self.events.location(location.as_ref(), problem);
                }
            }
            Err(error) => tracing::warn!(
                location = name,
                error = chain(&error),
                "cannot write the status of a location"
            ),
        }
    }
}

/// Opens a location and looks whether it answers.
async fn check(
    name: &str,
    source: &Source,
    environment: Environment,
    secrets: &Api<Secret>,
) -> LocationState {
    let unusable = |problem: String| LocationState::Unusable(Arc::new(vec![problem]));
    if !source.problems.is_empty() {
        return LocationState::Unusable(Arc::new(source.problems.clone()));
    }
    let opened = async {
        let environment = match &source.credential {
            None => environment,
            Some(wanted) => environment.with_credentials(secrets::read(secrets, wanted).await?)?,
        };
        engines::open(&source.store, &source.prefix, &environment).await
    };
    match timeout(CHECK_LIMIT, opened).await {
        Ok(Ok(location)) => LocationState::Usable(Arc::new(Place {
            name: name.to_owned(),
            root: Root {
                store: source.store.clone(),
                prefix: source.prefix.clone(),
            },
            location,
            access: source.access.clone(),
            sync_period: source.sync_period,
            resource: source
                .resource
                .as_ref()
                .map(|uid| (name.to_owned(), uid.clone())),
        })),
        Ok(Err(problem)) => unusable(problem),
        Err(_) => unusable(format!(
            "the store did not answer within {}; check the address, and whether the network lets this server reach it",
            duration::format(CHECK_LIMIT)
        )),
    }
}

/// Opens a snapshot location and looks whether its provider answers.
async fn check_snapshots(
    source: SnapshotSource,
    environment: Environment,
    cluster: &Cluster,
    secrets: &Api<Secret>,
) -> SnapshotPlace {
    let provider = source.provider.clone();
    let broken = |problem: String| SnapshotPlace {
        provider: provider.clone(),
        snapshotter: Err(problem.clone()),
        problems: vec![problem],
    };
    if !source.problems.is_empty() {
        return broken(source.problems.join("; "));
    }
    let opened = async {
        let environment = match &source.credential {
            None => environment,
            Some(wanted) => environment.with_credentials(secrets::read(secrets, wanted).await?)?,
        };
        engines::open_snapshotter(&source.provider, &environment, cluster).await
    };
    let snapshotter = match timeout(CHECK_LIMIT, opened).await {
        Ok(Ok(snapshotter)) => snapshotter,
        Ok(Err(problem)) => return broken(problem),
        Err(_) => return broken("its credentials cannot be had in time".to_owned()),
    };
    let checked = timeout(CHECK_LIMIT, snapshotter.check()).await;
    let problem = match checked {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some(format!(
            "the provider did not answer within {}; check the address, and whether the network lets this server reach it",
            duration::format(CHECK_LIMIT)
        )),
    };
    SnapshotPlace {
        provider,
        // What does not answer now may do so when it is needed.
        snapshotter: Ok(snapshotter),
        problems: problem.into_iter().collect(),
    }
}

fn state(found: Option<&LocationState>) -> LocationState {
    found.cloned().unwrap_or(LocationState::Pending)
}

/// Returns whether two states of the world are the same to those who work in it. A location that was opened anew is
/// another one: it has new credentials.
fn same(before: &World, now: &World) -> bool {
    match (before, now) {
        (World::Pending, World::Pending) => true,
        (World::Unusable(before), World::Unusable(now)) => before == now,
        (World::Known(before), World::Known(now)) => {
            before.settings == now.settings
                && before.default_location == now.default_location
                && before.locations.len() == now.locations.len()
                && before.locations.iter().all(|(name, before)| {
                    now.locations
                        .get(name)
                        .is_some_and(|now| same_location(before, now))
                })
                && before.default_snapshot_locations == now.default_snapshot_locations
                && before.looked_through == now.looked_through
                && before.snapshot_locations.len() == now.snapshot_locations.len()
                && before.snapshot_locations.iter().all(|(name, before)| {
                    let now = now.snapshot_locations.get(name);
                    now.is_some_and(|now| match (before, now) {
                        (None, None) => true,
                        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                        (None | Some(_), _) => false,
                    })
                })
        }
        (World::Pending | World::Unusable(_) | World::Known(_), _) => false,
    }
}

fn same_location(before: &LocationState, now: &LocationState) -> bool {
    match (before, now) {
        (LocationState::Pending, LocationState::Pending) => true,
        (LocationState::Unusable(before), LocationState::Unusable(now)) => before == now,
        (LocationState::Usable(before), LocationState::Usable(now)) => Arc::ptr_eq(before, now),
        (LocationState::Pending | LocationState::Unusable(_) | LocationState::Usable(_), _) => {
            false
        }
    }
}
