//! The settings of a store or snapshotter, as a plugin takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::NamedTempFile;
use tonic::Status;

use super::pool::{Lease, Slot};
use super::protocol::{ark08, ark10, velero::generated as velero};

/// The key of the settings that names the file with the location's own credentials.
const CREDENTIALS_FILE: &str = "credentialsFile";

/// The service that a store or snapshotter is reached by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    /// Velero's, and Ark 0.10's.
    ObjectStore,
    /// Ark 0.8's.
    OldObjectStore,
    VolumeSnapshotter,
    /// Ark 0.10's.
    BlockStore,
    /// Ark 0.8's.
    OldBlockStore,
}

/// The settings of an opened store or snapshotter: each process that serves it is given them once.
pub(super) struct Init {
    number: u64,
    service: Service,
    /// The plugin's name, as its program says it.
    plugin: String,
    config: BTreeMap<String, String>,
    /// Only this user can read it; it goes with the store.
    _credentials: Option<NamedTempFile>,
}

impl fmt::Debug for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Init")
            .field("service", &self.service)
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl Init {
    /// Takes settings, and writes the location's own credentials into a file in `scratch`.
    pub(super) fn new(
        service: Service,
        plugin: &str,
        mut config: BTreeMap<String, String>,
        credentials: Option<&str>,
        scratch: &Path,
    ) -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let credentials = credentials
            .map(|text| {
                // Made with the mode 0600.
                let mut file = tempfile::Builder::new()
                    .prefix("credentials-")
                    .tempfile_in(scratch)?;
                file.write_all(text.as_bytes())?;
                file.flush()?;
                Ok::<_, std::io::Error>(file)
            })
            .transpose()?;
        if let Some(file) = &credentials {
            config.insert(
                CREDENTIALS_FILE.to_owned(),
                file.path().display().to_string(),
            );
        }
        Ok(Self {
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            service,
            plugin: plugin.to_owned(),
            config,
            _credentials: credentials,
        })
    }

    /// Returns what tells these settings from all others.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns which store or snapshotter of a process they are for.
    pub(super) fn slot(&self) -> Slot {
        let service = match self.service {
            Service::ObjectStore | Service::OldObjectStore => "ObjectStore",
            Service::VolumeSnapshotter | Service::BlockStore | Service::OldBlockStore => {
                "VolumeSnapshotter"
            }
        };
        (service, self.plugin.clone())
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Gives them to a process.
    pub(super) async fn perform(&self, lease: &Lease) -> Result<(), Status> {
        let (channel, plugin, config) = (lease.channel(), self.plugin.clone(), self.config.clone());
        match self.service {
            Service::ObjectStore => {
                let mut client = velero::object_store_client::ObjectStoreClient::new(channel);
                client.init(velero::InitRequest { plugin, config }).await?;
            }
            Service::OldObjectStore => {
                let mut client = ark08::object_store_client::ObjectStoreClient::new(channel);
                client.init(ark08::InitRequest { config }).await?;
            }
            Service::VolumeSnapshotter => {
                let mut client =
                    velero::volume_snapshotter_client::VolumeSnapshotterClient::new(channel);
                client.init(velero::InitRequest { plugin, config }).await?;
            }
            Service::BlockStore => {
                let mut client = ark10::block_store_client::BlockStoreClient::new(channel);
                client.init(ark10::InitRequest { plugin, config }).await?;
            }
            Service::OldBlockStore => {
                let mut client = ark08::block_store_client::BlockStoreClient::new(channel);
                client.init(ark08::InitRequest { config }).await?;
            }
        }
        Ok(())
    }
}
