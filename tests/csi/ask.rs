//! Asking the snapshotter, as a backup and a restore do.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ark::api::{CSI_PROVIDER, VolumeProviderConfig};
use ark::providers::registry;
use ark::providers::snapshotter::{
    DataSource, FillClaims, Fit, Object, Restores, SnapshotError, SnapshotId, SnapshotRequest,
    SnapshotState, SourceRequest, Volume, VolumeSnapshotter,
};
use serde::Serialize;
use serde_json::json;

use crate::support::csi::Csi;
use crate::support::objects::apply_yaml;
use crate::support::snapshotter_conformance::{Tags, backup_tags};
use crate::support::{PATIENCE, wait_until};

/// Returns the snapshotter of a cluster, with settings.
pub(crate) fn open(
    client: &kube::Client,
    settings: &[(&str, &str)],
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let settings = settings.iter().copied();
    let config = VolumeProviderConfig {
        name: CSI_PROVIDER.to_owned(),
        config: settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    };
    registry::open_csi(client, &config)
}

/// Returns an object as the API server gives it.
pub(crate) fn object(of: impl Serialize) -> Object {
    let value = serde_json::to_value(of).expect("it is JSON");
    value.as_object().expect("it is an object").clone()
}

/// A claim and its volume.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) volume: Object,
    pub(crate) claim: Object,
    /// The Backup's annotations.
    pub(crate) annotations: Tags,
}

impl Bound {
    /// Makes a claim that holds a file.
    pub(crate) async fn make(csi: &Csi<'_>, namespace: &str, name: &str) -> Result<Self> {
        csi.claim(namespace, name, "1Gi").await?;
        csi.write(
            namespace,
            name,
            "greeting",
            &format!("hello from {namespace}/{name}"),
        )
        .await?;
        Self::of(csi, namespace, name).await
    }

    pub(crate) async fn of(csi: &Csi<'_>, namespace: &str, name: &str) -> Result<Self> {
        let (claim, volume) = csi.volume_of(namespace, name).await?;
        Ok(Self {
            volume: object(volume),
            claim: object(claim),
            annotations: Tags::new(),
        })
    }

    pub(crate) fn as_volume(&self) -> Volume<'_> {
        Volume {
            volume: &self.volume,
            claim: Some(&self.claim),
        }
    }

    /// Asks for a snapshot.
    pub(crate) async fn snapshot(
        &self,
        snapshotter: &dyn VolumeSnapshotter,
        token: &str,
    ) -> Result<SnapshotId, SnapshotError> {
        let handle = match snapshotter.fits(self.as_volume()).await? {
            Fit::Volume(handle) => handle,
            Fit::No(why) => panic!("it should fit: {why}"),
        };
        let request = SnapshotRequest {
            volume: self.as_volume(),
            handle: &handle,
            token,
            tags: &backup_tags(token),
            annotations: &self.annotations,
        };
        snapshotter.create_snapshot(&request).await
    }
}

/// Returns how one snapshot fares.
pub(crate) async fn state(
    snapshotter: &dyn VolumeSnapshotter,
    id: &SnapshotId,
) -> Result<SnapshotState> {
    let states = snapshotter
        .snapshot_states(std::slice::from_ref(id))
        .await?;
    states.into_iter().next().context("a state")
}

/// Waits until a snapshot fares in a way.
pub(crate) async fn until(
    snapshotter: &dyn VolumeSnapshotter,
    id: &SnapshotId,
    what: &str,
    fares: impl Fn(&SnapshotState) -> bool,
) -> Result<SnapshotState> {
    wait_until(&format!("{id} is {what}"), PATIENCE, async || {
        let state = state(snapshotter, id).await?;
        if fares(&state) {
            return Ok(Some(state));
        }
        anyhow::bail!("it is {state:?}")
    })
    .await
}

pub(crate) async fn until_ready(
    snapshotter: &dyn VolumeSnapshotter,
    id: &SnapshotId,
) -> Result<SnapshotState> {
    until(snapshotter, id, "ready", |state| {
        assert!(
            !matches!(state, SnapshotState::Failed(_) | SnapshotState::Gone),
            "{state:?}"
        );
        matches!(state, SnapshotState::Ready { .. })
    })
    .await
}

/// Returns what fills claims from snapshots.
pub(crate) fn filler(snapshotter: &dyn VolumeSnapshotter) -> &dyn FillClaims {
    match snapshotter.restores() {
        Restores::Claims(filler) => filler,
        Restores::Volumes(_) => panic!("it should fill claims"),
    }
}

/// Asks for a source of data.
pub(crate) async fn offer(
    snapshotter: &dyn VolumeSnapshotter,
    snapshot: &SnapshotId,
    namespace: &str,
    token: &str,
) -> Result<DataSource, SnapshotError> {
    let labels = BTreeMap::from([("ark.heptio.com/restore-name".to_owned(), "r".to_owned())]);
    let request = SourceRequest {
        snapshot,
        namespace,
        token,
        labels: &labels,
    };
    filler(snapshotter).offer(&request).await
}

pub(crate) async fn withdraw(
    snapshotter: &dyn VolumeSnapshotter,
    snapshot: &SnapshotId,
    namespace: &str,
    token: &str,
) -> Result<(), SnapshotError> {
    let request = SourceRequest {
        snapshot,
        namespace,
        token,
        labels: &Tags::new(),
    };
    filler(snapshotter).withdraw(&request).await
}

/// Makes a claim whose volume is made of a source.
pub(crate) async fn claim_from(
    client: &kube::Client,
    (namespace, name): (&str, &str),
    class: &str,
    source: &DataSource,
) -> Result<()> {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}},
            "dataSource": {"apiGroup": source.api_group, "kind": source.kind, "name": source.name},
        },
    });
    apply_yaml(client, &claim.to_string()).await.map(drop)
}
