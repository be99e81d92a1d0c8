//! What snapshots volumes, for one run.

use std::sync::Arc;

use super::Snapshotters;
use crate::api::error::chain;
use crate::api::{CSI_PROVIDER, VolumeProviderConfig};
use crate::cluster::Cluster;
use crate::providers::snapshotter::VolumeSnapshotter;
use crate::providers::snapshotters::SnapshotLocation;
use crate::providers::{Environment, registry};

/// What snapshots volumes.
#[derive(Clone, Debug)]
pub(crate) struct Snapshotter(Arc<dyn VolumeSnapshotter>);

/// Opens a snapshotter; whether its provider answers is not looked at.
///
/// # Errors
/// A sentence for whoever described the location.
pub(crate) async fn open_snapshotter(
    config: &VolumeProviderConfig,
    environment: &Environment,
    cluster: &Cluster,
) -> Result<Snapshotter, String> {
    if config.name == CSI_PROVIDER {
        return open_csi(config, cluster);
    }
    let opened = registry::open_snapshotter(config, environment).await;
    opened.map(Snapshotter).map_err(|error| chain(&error))
}

/// Opens the snapshotter of the cluster's CSI drivers, whose classes it reads once: it is for one run.
fn open_csi(config: &VolumeProviderConfig, cluster: &Cluster) -> Result<Snapshotter, String> {
    let opened = registry::open_csi(cluster.client(), config);
    opened.map(Snapshotter).map_err(|error| chain(&error))
}

impl Snapshotter {
    /// Returns why the provider cannot be used, in a sentence.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| chain(&error))
    }
}

/// Returns the snapshotters of one run: those of locations, each with its settings, and what the cluster's CSI drivers do
/// without one. `timeout` is how long these may take, where the run says so.
pub(crate) fn snapshotters(
    locations: impl Iterator<Item = (String, VolumeProviderConfig, Result<Snapshotter, String>)>,
    cluster: &Cluster,
    timeout: Option<&str>,
) -> Snapshotters {
    let csi = registry::SNAPSHOTTERS.contains(&CSI_PROVIDER);
    let implicit = csi.then(|| {
        let config = VolumeProviderConfig {
            name: CSI_PROVIDER.to_owned(),
            ..VolumeProviderConfig::default()
        };
        (String::new(), config, None)
    });
    let locations = locations
        .map(|(name, config, snapshotter)| (name, config, Some(snapshotter)))
        .chain(implicit);
    let locations = locations.map(|(name, mut config, snapshotter)| {
        let snapshotter = match snapshotter {
            Some(Err(problem)) => Err(problem),
            Some(Ok(opened)) if config.name != CSI_PROVIDER => Ok(opened),
            Some(Ok(_)) | None => {
                if let Some(timeout) = timeout {
                    let key = registry::CSI_TIMEOUT.to_owned();
                    config.config.insert(key, timeout.to_owned());
                }
                open_csi(&config, cluster)
            }
        };
        SnapshotLocation {
            name,
            provider: config.name,
            snapshotter: snapshotter.map(|snapshotter| snapshotter.0),
        }
    });
    Snapshotters::new(locations.collect())
}
