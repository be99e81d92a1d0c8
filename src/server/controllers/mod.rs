//! The controllers: each gathers facts, decides (a pure function that gets the clock as an argument), and acts.

mod attend;
pub(crate) mod backup;
pub(crate) mod deletion;
pub(crate) mod dispatch;
mod malformed;
pub(crate) mod restore;

use std::sync::Arc;

use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{CustomResourceExt as _, Resource};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::config::ConfigState;
use super::leader::Term;
use super::metrics::Metrics;
use super::objects::Objects;
use super::run_log::RunLogs;
use super::supervise::Supervisor;
use crate::api::{Backup, Config, DeleteBackupRequest, Restore};
use crate::cluster::Cluster;

use self::dispatch::dispatch;

/// Restores carried out at once, beside the backups.
const CONCURRENT_RESTORES: usize = 2;
/// Deletions carried out at once: they only send small requests to the store.
const CONCURRENT_DELETIONS: usize = 2;

/// What every controller needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) cluster_id: String,
    /// This server, as runs name their holder.
    pub(crate) identity: String,
    pub(crate) apis: Apis,
    pub(crate) watched: Watched,
    pub(crate) config: watch::Receiver<ConfigState>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) run_logs: RunLogs,
    /// Has the location checked again.
    pub(crate) recheck: Arc<Notify>,
}

/// The custom resources of the server's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Apis {
    pub(crate) backups: Api<DynamicObject>,
    pub(crate) configs: Api<DynamicObject>,
    pub(crate) deletions: Api<DynamicObject>,
    pub(crate) restores: Api<DynamicObject>,
}

/// What the watches have told of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) backups: Objects<Backup>,
    pub(crate) configs: Objects<Config>,
    pub(crate) deletions: Objects<DeleteBackupRequest>,
    pub(crate) restores: Objects<Restore>,
}

impl Apis {
    pub(crate) fn new(client: &kube::Client, namespace: &str) -> Self {
        Self {
            backups: api::<Backup>(client, namespace),
            configs: api::<Config>(client, namespace),
            deletions: api::<DeleteBackupRequest>(client, namespace),
            restores: api::<Restore>(client, namespace),
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
        let all = kube::runtime::watcher::Config::default;
        let name = format!("metadata.name={}", super::config::CONFIG_NAME);
        let configs =
            self.configs
                .clone()
                .watch(apis.configs.clone(), all().fields(&name), "Config");
        tasks.spawn("watches the Config", configs);
        let backups = self
            .backups
            .clone()
            .watch(apis.backups.clone(), all(), "Backup");
        tasks.spawn("watches Backups", backups);
        let restores = self
            .restores
            .clone()
            .watch(apis.restores.clone(), all(), "Restore");
        tasks.spawn("watches Restores", restores);
        let deletions = self.deletions.clone();
        let deletions = deletions.watch(apis.deletions.clone(), all(), "DeleteBackupRequest");
        tasks.spawn("watches DeleteBackupRequests", deletions);
    }

    /// Waits until every kind has been listed once.
    pub(crate) async fn all_synced(&self) {
        tokio::join!(
            self.configs.until_synced(),
            self.backups.until_synced(),
            self.restores.until_synced(),
            self.deletions.until_synced(),
        );
    }

    /// Returns which kinds have not been listed yet.
    pub(crate) fn unsynced(&self) -> Vec<String> {
        [
            (self.configs.synced(), Config::crd_name()),
            (self.backups.synced(), Backup::crd_name()),
            (self.restores.synced(), Restore::crd_name()),
            (self.deletions.synced(), DeleteBackupRequest::crd_name()),
        ]
        .into_iter()
        .filter(|(synced, _)| !synced)
        .map(|(_, name)| name.to_owned())
        .collect()
    }
}

/// Starts every controller for a term; each ends with it.
pub(crate) fn start(
    context: &Arc<Context>,
    concurrent_backups: usize,
    term: &Term,
    stopping: &CancellationToken,
) -> Supervisor {
    let mut tasks = Supervisor::default();
    let config = || context.config.clone();
    let backups = dispatch(
        Arc::new(backup::Backups::new(Arc::clone(context))),
        context.watched.backups.clone(),
        concurrent_backups,
        config(),
        term.clone(),
        stopping.clone(),
    );
    tasks.spawn("makes backups", backups);
    let restores = dispatch(
        Arc::new(restore::Restores::new(Arc::clone(context))),
        context.watched.restores.clone(),
        CONCURRENT_RESTORES,
        config(),
        term.clone(),
        stopping.clone(),
    );
    tasks.spawn("carries out restores", restores);
    let deletions = dispatch(
        Arc::new(deletion::Deletions::new(Arc::clone(context))),
        context.watched.deletions.clone(),
        CONCURRENT_DELETIONS,
        config(),
        term.clone(),
        stopping.clone(),
    );
    tasks.spawn("deletes backups", deletions);
    tasks
}
