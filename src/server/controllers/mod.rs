//! The controllers: each gathers facts, decides (a pure function that gets the clock as an argument), and acts.

mod attend;
pub(crate) mod backup;
mod config_map;
pub(crate) mod deletion;
pub(crate) mod dispatch;
pub(crate) mod download;
pub(crate) mod expiry;
mod ledger;
mod malformed;
pub(crate) mod restore;
pub(crate) mod schedule;
pub(crate) mod server_status;
pub(crate) mod sync;

use std::fmt::Debug;
use std::sync::Arc;

use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::watcher;
use kube::{CustomResourceExt, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::downloads::Downloads;
use super::engines::{self, Actions, Snapshotters};
use super::events::Events;
use super::leader::Term;
use super::metrics::Metrics;
use super::objects::Objects;
use super::plugins;
use super::run_log::RunLogs;
use super::settings::{Notes, World};
use super::supervise::Supervisor;
use crate::api::{
    Backup, BackupStorageLocation, Config, DeleteBackupRequest, DownloadRequest, OperationNote,
    Restore, Schedule, ServerStatusRequest, VolumeSnapshotLocation,
};
use crate::cluster::Cluster;
use crate::providers::Environment;

use self::dispatch::{Controller, dispatch};

/// Restores carried out at once, beside the backups.
const CONCURRENT_RESTORES: usize = 2;
/// Deletions carried out at once: they only send small requests to the store.
const CONCURRENT_DELETIONS: usize = 2;
/// Schedules looked at once: each look ends after a few requests.
const CONCURRENT_SCHEDULES: usize = 2;
/// Downloads looked for at once; somebody waits for each.
const CONCURRENT_DOWNLOADS: usize = 8;
/// Questions about the server answered at once.
const CONCURRENT_STATUSES: usize = 2;

/// What every controller needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) cluster_id: String,
    /// This server, as runs name their holder.
    pub(crate) identity: String,
    pub(crate) apis: Apis,
    pub(crate) watched: Watched,
    pub(crate) world: watch::Receiver<World>,
    pub(crate) clock: Clock,
    /// What providers find around them, such as the plugins.
    pub(crate) environment: Environment,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) run_logs: RunLogs,
    /// Makes links to this server; `None` if it serves no downloads.
    pub(crate) downloads: Option<Arc<Downloads>>,
    /// Has the locations checked again.
    pub(crate) recheck: Arc<Notify>,
    /// Where sync says what users should know of a location.
    pub(crate) notes: watch::Sender<Notes>,
}

impl Context {
    /// Returns the snapshotters that there are now, for one run. `csi_timeout` is how long the cluster's CSI drivers may
    /// take, where the run says so.
    pub(crate) fn snapshotters(&self, csi_timeout: Option<&str>) -> Snapshotters {
        let places = self.world.borrow().snapshot_places();
        let places = places
            .into_iter()
            .map(|(name, place)| (name, place.provider.clone(), place.snapshotter.clone()));
        engines::snapshotters(places, &self.cluster, csi_timeout)
    }

    /// Returns the item actions that there are now.
    pub(crate) async fn actions(&self) -> Actions {
        plugins::actions(&self.environment).await
    }

    /// Returns the item actions that there are now, if any are needed for what is noted: no plugin is started in vain.
    pub(crate) async fn actions_noted(&self, noted: &[OperationNote]) -> Actions {
        if noted.is_empty() {
            Actions::default()
        } else {
            self.actions().await
        }
    }
}

/// The custom resources of the server's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Apis {
    pub(crate) backups: Api<DynamicObject>,
    pub(crate) configs: Api<DynamicObject>,
    pub(crate) deletions: Api<DynamicObject>,
    pub(crate) downloads: Api<DynamicObject>,
    pub(crate) locations: Api<DynamicObject>,
    pub(crate) restores: Api<DynamicObject>,
    pub(crate) schedules: Api<DynamicObject>,
    pub(crate) server_status: Api<DynamicObject>,
    pub(crate) snapshot_locations: Api<DynamicObject>,
}

/// What the watches have told of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) backups: Objects<Backup>,
    pub(crate) configs: Objects<Config>,
    pub(crate) deletions: Objects<DeleteBackupRequest>,
    pub(crate) downloads: Objects<DownloadRequest>,
    pub(crate) locations: Objects<BackupStorageLocation>,
    pub(crate) restores: Objects<Restore>,
    pub(crate) schedules: Objects<Schedule>,
    pub(crate) server_status: Objects<ServerStatusRequest>,
    pub(crate) snapshot_locations: Objects<VolumeSnapshotLocation>,
}

impl Apis {
    pub(crate) fn new(client: &kube::Client, namespace: &str) -> Self {
        Self {
            backups: api::<Backup>(client, namespace),
            configs: api::<Config>(client, namespace),
            deletions: api::<DeleteBackupRequest>(client, namespace),
            downloads: api::<DownloadRequest>(client, namespace),
            locations: api::<BackupStorageLocation>(client, namespace),
            restores: api::<Restore>(client, namespace),
            schedules: api::<Schedule>(client, namespace),
            server_status: api::<ServerStatusRequest>(client, namespace),
            snapshot_locations: api::<VolumeSnapshotLocation>(client, namespace),
        }
    }
}

fn api<K: Resource<DynamicType = ()>>(
    client: &kube::Client,
    namespace: &str,
) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

impl Watched {
    /// Starts the watches.
    pub(crate) fn start(&self, apis: &Apis, tasks: &mut Supervisor) {
        let name = format!("metadata.name={}", super::locations::CONFIG_NAME);
        let only_default = watcher::Config::default().fields(&name);
        watch_kind(&self.configs, &apis.configs, only_default, tasks);
        let all = watcher::Config::default;
        watch_kind(&self.backups, &apis.backups, all(), tasks);
        watch_kind(&self.deletions, &apis.deletions, all(), tasks);
        watch_kind(&self.downloads, &apis.downloads, all(), tasks);
        watch_kind(&self.locations, &apis.locations, all(), tasks);
        watch_kind(&self.restores, &apis.restores, all(), tasks);
        watch_kind(&self.schedules, &apis.schedules, all(), tasks);
        watch_kind(&self.server_status, &apis.server_status, all(), tasks);
        watch_kind(
            &self.snapshot_locations,
            &apis.snapshot_locations,
            all(),
            tasks,
        );
    }

    /// Waits until every kind has been listed once.
    pub(crate) async fn all_synced(&self) {
        tokio::join!(
            self.configs.until_synced(),
            self.backups.until_synced(),
            self.deletions.until_synced(),
            self.downloads.until_synced(),
            self.locations.until_synced(),
            self.restores.until_synced(),
            self.schedules.until_synced(),
            self.server_status.until_synced(),
            self.snapshot_locations.until_synced(),
        );
    }

    /// Returns which kinds have not been listed yet.
    pub(crate) fn unsynced(&self) -> Vec<String> {
        [
            (self.configs.synced(), Config::crd_name()),
            (self.backups.synced(), Backup::crd_name()),
            (self.deletions.synced(), DeleteBackupRequest::crd_name()),
            (self.downloads.synced(), DownloadRequest::crd_name()),
            (self.locations.synced(), BackupStorageLocation::crd_name()),
            (self.restores.synced(), Restore::crd_name()),
            (self.schedules.synced(), Schedule::crd_name()),
            (self.server_status.synced(), ServerStatusRequest::crd_name()),
            (
                self.snapshot_locations.synced(),
                VolumeSnapshotLocation::crd_name(),
            ),
        ]
        .into_iter()
        .filter(|(synced, _)| !synced)
        .map(|(_, name)| name.to_owned())
        .collect()
    }
}

fn watch_kind<K>(
    objects: &Objects<K>,
    api: &Api<DynamicObject>,
    config: watcher::Config,
    tasks: &mut Supervisor,
) where
    K: Resource<DynamicType = ()> + CustomResourceExt + DeserializeOwned + Debug + Send + Sync,
    K: 'static,
{
    let watch = objects.clone().watch(api.clone(), config, K::crd_name());
    tasks.spawn("watches Ark's resources", watch);
}

/// Starts every controller for a term; each ends with it.
pub(crate) fn start(
    context: &Arc<Context>,
    concurrent_backups: usize,
    term: &Term,
    stopping: &CancellationToken,
) -> Supervisor {
    let mut tasks = Supervisor::default();
    let backups = Arc::new(backup::Backups::new(Arc::clone(context)));
    let restores = Arc::new(restore::Restores::new(Arc::clone(context)));
    let deletions = Arc::new(deletion::Deletions::new(Arc::clone(context)));
    let downloads = Arc::new(download::Downloads::new(Arc::clone(context)));
    let watched = &context.watched;
    let start = Start {
        context,
        term,
        stopping,
    };
    let run = start.controller(backups, &watched.backups, concurrent_backups);
    tasks.spawn("makes backups", run);
    let run = start.controller(restores, &watched.restores, CONCURRENT_RESTORES);
    tasks.spawn("carries out restores", run);
    let run = start.controller(deletions, &watched.deletions, CONCURRENT_DELETIONS);
    tasks.spawn("deletes backups", run);
    let run = start.controller(downloads, &watched.downloads, CONCURRENT_DOWNLOADS);
    tasks.spawn("answers download requests", run);
    let schedules = Arc::new(schedule::Schedules::new(Arc::clone(context)));
    let run = start.controller(schedules, &watched.schedules, CONCURRENT_SCHEDULES);
    tasks.spawn("follows schedules", run);
    let statuses = Arc::new(server_status::ServerStatus::new(Arc::clone(context)));
    let run = start.controller(statuses, &watched.server_status, CONCURRENT_STATUSES);
    tasks.spawn("says what this server is like", run);
    let (term, stopping) = (term.clone(), stopping.clone());
    let run = expiry::run(Arc::clone(context), term.clone(), stopping.clone());
    tasks.spawn("has expired backups removed", run);
    let run = expiry::debris::run(Arc::clone(context), term.clone(), stopping.clone());
    tasks.spawn("removes what dead runs left", run);
    let run = expiry::pending::run(Arc::clone(context), term.clone(), stopping.clone());
    tasks.spawn("removes snapshots that no record names", run);
    let run = sync::run(Arc::clone(context), term, stopping);
    tasks.spawn("shows stored backups", run);
    tasks
}

/// What the controllers of a term have in common.
struct Start<'a> {
    context: &'a Arc<Context>,
    term: &'a Term,
    stopping: &'a CancellationToken,
}

impl Start<'_> {
    fn controller<C: Controller>(
        &self,
        controller: Arc<C>,
        objects: &Objects<C::Object>,
        slots: usize,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<C> {
        dispatch(
            controller,
            objects.clone(),
            slots,
            self.context.world.clone(),
            self.context.clock.clone(),
            self.term.clone(),
            self.stopping.clone(),
        )
    }
}
