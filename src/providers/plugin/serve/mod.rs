//! The other side: what a plugin of Ark, or of Velero, written in Rust is made of.
//!
//! Implement [`Store`], [`Snapshots`], [`BackupItemAction`] or another of the traits here, give it to a [`Server`], and
//! return what [`Server::serve`] returns from `main`. docs/plugins.md shows a whole one, `examples/plugins/` has more.
//!
//! ```no_run
//! # use ark::plugin::{ActionError, BackedUpItem, BackupItemAction, Item, ItemSelector, RunDocument, Server};
//! #[derive(Debug)]
//! struct Nothing;
//!
//! #[async_trait::async_trait]
//! impl BackupItemAction for Nothing {
//!     fn name(&self) -> &'static str {
//!         "example.org/nothing"
//!     }
//!
//!     async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
//!         Ok(ItemSelector::resources(["pods"]))
//!     }
//!
//!     async fn execute(&self, _: Item<'_>, _: &RunDocument) -> Result<BackedUpItem, ActionError> {
//!         Ok(BackedUpItem::default())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     Server::new().backup_item_action(Nothing).serve().await
//! }
//! ```

mod actions;
mod base;
mod log;
mod snapshots;
mod store;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::{Routes, RoutesBuilder};

pub use self::snapshots::Snapshots;
pub use self::store::{Body, Store};
pub use crate::providers::actions::{
    ActionError, ActionErrorKind, BackedUpItem, BackupItemAction, DeleteItemAction, Item,
    ItemBlockAction, ItemId, ItemSelector, OperationProgress, RestoreItemAction, RestoredItem,
    RunDocument,
};
pub use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind, VolumeInfo};
pub use crate::providers::store::{ByteStream, ErrorKind, StoreError};

use super::handshake::COOKIES;

/// The most bytes of a message that is taken.
const MESSAGE_LIMIT: usize = 128 << 20;

/// Which programs are to understand this plugin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Family {
    /// Velero, and this Ark.
    #[default]
    Velero,
    /// Ark 0.10, and this Ark. Stores, snapshotters, and backup and restore item actions of the first version.
    Ark10,
    /// Ark 0.8 and 0.9, and this Ark: as Ark 0.10, and one of a kind. The program's file has to be called
    /// `ark-<kind>-<name>`.
    Ark08,
}

/// The plugins of a program.
#[derive(Default)]
pub struct Server {
    family: Family,
    stores: Named<dyn Store>,
    snapshots: Named<dyn Snapshots>,
    backup: Named<dyn BackupItemAction>,
    backup_v2: Named<dyn BackupItemAction>,
    restore: Named<dyn RestoreItemAction>,
    restore_v2: Named<dyn RestoreItemAction>,
    delete: Named<dyn DeleteItemAction>,
    item_block: Named<dyn ItemBlockAction>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}

/// Plugins of a kind by name.
struct Named<T: ?Sized>(Arc<BTreeMap<String, Arc<T>>>);

impl<T: ?Sized> Default for Named<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: ?Sized> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Named<T> {
    fn add(&mut self, name: String, plugin: Arc<T>) {
        // Not shared yet: a server is still being put together.
        let all = self
            .0
            .iter()
            .map(|(name, one)| (name.clone(), Arc::clone(one)));
        self.0 = Arc::new(all.chain([(name, plugin)]).collect());
    }

    /// Finds a plugin by the name in a request.
    fn get(&self, name: &str) -> Result<Arc<T>, Status> {
        // A host asks for the name that it was told; Velero's adds its domain to a bare one.
        let bare = name.strip_prefix("velero.io/").unwrap_or(name);
        let found = self.0.get(name).or_else(|| self.0.get(bare));
        found.map(Arc::clone).ok_or_else(|| {
            Status::not_found(format!("there is no plugin {name:?} of this kind here"))
        })
    }

    /// Finds the plugin of a program that has one.
    fn only(&self) -> Result<Arc<T>, Status> {
        let first = self.0.values().next();
        first
            .map(Arc::clone)
            .ok_or_else(|| Status::unimplemented("there is no plugin of this kind here"))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

impl Server {
    /// Makes a server without plugins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses who is to understand the plugins, in place of Velero and this Ark.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Adds an object store.
    #[must_use]
    pub fn object_store(mut self, name: &str, store: impl Store) -> Self {
        self.stores.add(name.to_owned(), Arc::new(store));
        self
    }

    /// Adds a snapshotter of volumes.
    #[must_use]
    pub fn volume_snapshotter(mut self, name: &str, snapshots: impl Snapshots) -> Self {
        self.snapshots.add(name.to_owned(), Arc::new(snapshots));
        self
    }

    /// Adds an action for items that are backed up.
    #[must_use]
    pub fn backup_item_action(mut self, action: impl BackupItemAction) -> Self {
        self.backup.add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Adds an action for items that are backed up, whose work may go on: of the protocol's second version.
    #[must_use]
    pub fn backup_item_action_v2(mut self, action: impl BackupItemAction) -> Self {
        self.backup_v2
            .add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Adds an action for items that are restored.
    #[must_use]
    pub fn restore_item_action(mut self, action: impl RestoreItemAction) -> Self {
        self.restore.add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Adds an action for items that are restored, whose work may go on: of the protocol's second version.
    #[must_use]
    pub fn restore_item_action_v2(mut self, action: impl RestoreItemAction) -> Self {
        self.restore_v2
            .add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Adds an action for items whose backup is deleted.
    #[must_use]
    pub fn delete_item_action(mut self, action: impl DeleteItemAction) -> Self {
        self.delete.add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Adds an action that says what belongs together.
    #[must_use]
    pub fn item_block_action(mut self, action: impl ItemBlockAction) -> Self {
        self.item_block
            .add(action.name().to_owned(), Arc::new(action));
        self
    }

    /// Serves the plugins to the program that has started this one, until it asks for the end; returns what `main` is to
    /// return. Logging with `tracing` gets into the host's log.
    pub async fn serve(self) -> ExitCode {
        // It stands for `main`, so it may look at what the process was given.
        let given = |name: &str| std::env::var_os(name);
        if !COOKIES
            .iter()
            .any(|(name, value)| given(name).is_some_and(|found| found == *value))
        {
            say(
                &mut std::io::stderr(),
                "This is a plugin of Ark. The Ark server starts it; put its file into the server's plugin directory.",
            );
            return ExitCode::FAILURE;
        }
        log::init(std::env::args());
        let folder = given("PLUGIN_UNIX_SOCKET_DIR")
            .filter(|folder| !folder.is_empty())
            .map_or_else(std::env::temp_dir, PathBuf::from);
        match self.listen(folder).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the plugin cannot be served");
                ExitCode::FAILURE
            }
        }
    }

    async fn listen(self, folder: PathBuf) -> anyhow::Result<()> {
        let socket = folder.join(format!("plugin-{}", uuid::Uuid::new_v4().simple()));
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
        let version = match self.family {
            Family::Velero => 2,
            Family::Ark10 | Family::Ark08 => 1,
        };
        let ending = CancellationToken::new();
        let routes = self.routes(&ending);
        say(
            &mut std::io::stdout(),
            &format!("1|{version}|unix|{}|grpc|", socket.display()),
        );
        let served = tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, ending.cancelled_owned())
            .await;
        std::fs::remove_file(&socket).ok();
        Ok(served?)
    }

    fn routes(self, ending: &CancellationToken) -> Routes {
        let mut routes = Routes::builder();
        base::add(&mut routes, &self, ending);
        store::add(&mut routes, &self);
        snapshots::add(&mut routes, &self);
        actions::add(&mut routes, self);
        routes.routes()
    }

    /// Returns the kind and the name of each plugin.
    fn offers(&self) -> Vec<(&'static str, String)> {
        fn of<T: ?Sized>(kind: &'static str, all: &Named<T>) -> Vec<(&'static str, String)> {
            all.names().map(|name| (kind, name.clone())).collect()
        }
        let snapshotter = match self.family {
            Family::Velero => "VolumeSnapshotter",
            Family::Ark10 | Family::Ark08 => "BlockStore",
        };
        [
            of("ObjectStore", &self.stores),
            of(snapshotter, &self.snapshots),
            of("BackupItemAction", &self.backup),
            of("BackupItemActionV2", &self.backup_v2),
            of("RestoreItemAction", &self.restore),
            of("RestoreItemActionV2", &self.restore_v2),
            of("DeleteItemAction", &self.delete),
            of("ItemBlockAction", &self.item_block),
        ]
        .concat()
    }
}

/// Writes a line. Whoever does not read it does not want it.
fn say(to: &mut impl std::io::Write, line: &str) {
    writeln!(to, "{line}").ok();
    to.flush().ok();
}

/// Waits for an answer; a panic becomes an error of the call, and does not take the other calls along.
async fn guarded<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Status::aborted(format!("the plugin panicked: {text}")))
        }
    }
}

/// Adds a service that takes large messages.
macro_rules! add_service {
    ($routes:expr, $server:expr) => {
        $routes.add_service(
            $server
                .max_decoding_message_size(crate::providers::plugin::serve::MESSAGE_LIMIT)
                .max_encoding_message_size(crate::providers::plugin::serve::MESSAGE_LIMIT),
        )
    };
}
use add_service;

/// Where services are added to.
type Services = RoutesBuilder;
