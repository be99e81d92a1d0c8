//! Stores, snapshotters and item actions that live in other people's programs, spoken to over gRPC.
//!
//! The protocol is that of Velero's plugins and of those of Ark 0.8 to 0.10, which run unmodified (docs/plugins.md). A
//! program is started when something of it is first needed, serves one run at a time, and stays for the next. It sees
//! only the variables it needs, its output goes into the log of the run it works for, and it ends with this process.

mod actions;
mod catalog;
mod error;
mod find;
mod handshake;
mod init;
mod launch;
mod lines;
mod options;
mod pool;
mod process;
mod protocol;
mod run;
pub mod serve;
mod snapshotter;
mod store;

use std::sync::Arc;

use tokio::sync::Mutex;

pub use self::actions::PluginActions;
use self::catalog::{Catalog, Found, Kind, Offer};
use self::launch::Launcher;
pub use self::launch::{LAUNCH_COMMAND, become_plugin, this_program};
pub use self::options::{PluginLimits, PluginOptions};
use super::actions::{
    Actions, BackupItemAction, DeleteItemAction, ItemBlockAction, RestoreItemAction,
};
use super::environment::Environment;
use super::snapshotter::{SnapshotError, SnapshotErrorKind, VolumeSnapshotter};
use super::store::{ErrorKind, ObjectStore, StoreError};
use crate::api::{PluginInfo, StorageProviderConfig, VolumeProviderConfig};

/// The plugins of a directory. Cheap to clone; all clones share the programs that run.
#[derive(Clone, Debug)]
pub struct Plugins {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    launcher: Arc<Launcher>,
    catalog: Mutex<Catalog>,
}

impl Plugins {
    /// Makes a host. Nothing is looked at or started yet.
    pub fn new(options: PluginOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                launcher: Arc::new(Launcher::new(options)),
                catalog: Mutex::default(),
            }),
        }
    }

    /// Looks at the directory, asks the programs that are new there, and returns what there is, sorted by name.
    pub async fn statuses(&self) -> Vec<PluginInfo> {
        let mut catalog = self.shared.catalog.lock().await;
        catalog.refresh(&self.shared.launcher, false).await;
        let mut statuses: Vec<PluginInfo> = catalog
            .offers()
            .map(|offer| PluginInfo {
                name: offer.name.clone(),
                kind: offer.kind.to_string(),
                protocol: offer.family.to_string(),
                file: offer.pool.program.file.display().to_string(),
                state: state(&catalog, offer),
            })
            .collect();
        statuses.extend(catalog.unasked().map(|(file, problem)| PluginInfo {
            file: file.display().to_string(),
            state: format!("Unusable: {problem}"),
            ..PluginInfo::default()
        }));
        statuses.sort();
        statuses
    }

    /// Returns why the directory, or programs in it, cannot be looked at; sentences.
    pub async fn problems(&self) -> Vec<String> {
        self.shared.catalog.lock().await.problems()
    }

    /// Returns the actions for items that are backed up.
    pub async fn backup_item_actions(&self) -> PluginActions<dyn BackupItemAction> {
        self.gather(actions::backup).await
    }

    /// Returns the actions for items that are restored.
    pub async fn restore_item_actions(&self) -> PluginActions<dyn RestoreItemAction> {
        self.gather(actions::restore).await
    }

    /// Returns the actions for items whose backup is deleted.
    pub async fn delete_item_actions(&self) -> PluginActions<dyn DeleteItemAction> {
        self.gather(actions::delete).await
    }

    /// Returns the actions that say what belongs together.
    pub async fn item_block_actions(&self) -> PluginActions<dyn ItemBlockAction> {
        self.gather(actions::item_block).await
    }

    /// Returns the actions of all kinds.
    pub async fn actions(&self) -> Actions {
        let mut catalog = self.shared.catalog.lock().await;
        catalog.refresh(&self.shared.launcher, true).await;
        actions::all(&catalog)
    }

    /// Ends all programs, politely first, and starts none any more.
    pub async fn shutdown(&self) {
        let catalog = self.shared.catalog.lock().await;
        futures::future::join_all(catalog.pools().map(|pool| pool.close())).await;
    }

    async fn gather<T: ?Sized>(
        &self,
        take: impl FnOnce(&Catalog) -> PluginActions<T>,
    ) -> PluginActions<T> {
        let mut catalog = self.shared.catalog.lock().await;
        catalog.refresh(&self.shared.launcher, true).await;
        take(&catalog)
    }

    /// Finds the plugin that a provider's name means, if it means one.
    async fn find(
        &self,
        kind: Kind,
        provider: &str,
        built_in: bool,
    ) -> Result<Option<Offer>, String> {
        let mut catalog = self.shared.catalog.lock().await;
        for retry in [false, true] {
            catalog.refresh(&self.shared.launcher, retry).await;
            for name in catalog::meanings(provider, built_in) {
                match catalog.find(kind, &name) {
                    Found::One(offer) => return Ok(Some(offer)),
                    Found::Ambiguous(problem) => return Err(problem),
                    Found::Nothing => {}
                }
            }
            if built_in {
                break;
            }
        }
        Ok(None)
    }

    fn scratch(&self) -> Result<&std::path::Path, String> {
        self.shared.launcher.scratch().map_err(|error| {
            format!("the folder for the plugins' sockets and credentials cannot be made: {error}")
        })
    }

    /// Opens a store if its provider is a plugin; `built_in` says whether there is another provider of that name.
    pub(super) async fn open_store(
        &self,
        config: &StorageProviderConfig,
        prefix: &str,
        environment: &Environment,
        built_in: bool,
    ) -> Result<Option<Arc<dyn ObjectStore>>, StoreError> {
        let invalid = |message| StoreError::new(ErrorKind::Invalid, message);
        let found = self.find(Kind::ObjectStore, &config.name, built_in).await;
        let Some(offer) = found.map_err(invalid)? else {
            return Ok(None);
        };
        let scratch = self.scratch().map_err(invalid)?;
        store::open(&offer, config, prefix, environment, scratch)
            .await
            .map(Some)
    }

    /// Opens a snapshotter if its provider is a plugin; `built_in` says whether there is another provider of that name.
    pub(super) async fn open_snapshotter(
        &self,
        config: &VolumeProviderConfig,
        environment: &Environment,
        built_in: bool,
    ) -> Result<Option<Arc<dyn VolumeSnapshotter>>, SnapshotError> {
        let invalid = |message| SnapshotError::new(SnapshotErrorKind::Invalid, message);
        let found = self
            .find(Kind::VolumeSnapshotter, &config.name, built_in)
            .await;
        let Some(offer) = found.map_err(invalid)? else {
            return Ok(None);
        };
        let scratch = self.scratch().map_err(invalid)?;
        snapshotter::open(&offer, config, environment, scratch)
            .await
            .map(Some)
    }
}

fn state(catalog: &Catalog, offer: &Offer) -> String {
    match (catalog.find(offer.kind, &offer.name), offer.pool.failing()) {
        (Found::Ambiguous(problem), _) => format!("Unusable: {problem}"),
        (_, Some(why)) => format!("Failing: {why}"),
        _ => "Ready".to_owned(),
    }
}
