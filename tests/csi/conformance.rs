//! The suite of what every snapshotter must do.

use anyhow::Result;
use ark::api::{CSI_PROVIDER, VolumeProviderConfig};
use ark::providers::registry;
use ark::providers::snapshotter::{
    DataSource, Object, SnapshotId, VolumeId, VolumeSnapshotter, tags,
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

use crate::objects::{contents_of, snapshots_of};
use crate::support::control_plane::ControlPlane;
use crate::support::csi::{Csi, DRIVER};
use crate::support::namespace::TestNamespace;
use crate::support::snapshotter_conformance::{Cloud, Tags, TestVolume, snapshotter_conformance};
use crate::support::{PATIENCE, unique_name, wait_until};

struct World {
    plane: &'static ControlPlane,
    csi: &'static Csi<'static>,
    namespace: TestNamespace,
    snapshotter: Arc<dyn VolumeSnapshotter>,
}

/// Waits for a future that may not move between threads, as those that wait for conditions.
fn here<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

fn object(of: impl Serialize) -> Object {
    let value = serde_json::to_value(of).expect("it is JSON");
    value.as_object().expect("it is an object").clone()
}

#[async_trait]
impl Cloud for World {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        self.snapshotter.as_ref()
    }

    async fn make_volume(&self) -> TestVolume {
        let (namespace, name) = (self.namespace.name(), unique_name("data"));
        here(self.csi.claim(namespace, &name, "1Gi")).unwrap();
        let (claim, volume) = here(self.csi.volume_of(namespace, &name)).unwrap();
        TestVolume {
            volume: object(volume),
            claim: Some(object(claim)),
        }
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        let volumes = Api::<PersistentVolume>::all(self.plane.client());
        let Some(found) = volumes.get_opt(&volume.0).await.unwrap() else {
            return;
        };
        let claim = found.spec.unwrap().claim_ref.unwrap().name.unwrap();
        let claims =
            Api::<PersistentVolumeClaim>::namespaced(self.plane.client(), self.namespace.name());
        claims
            .delete(&claim, &DeleteParams::default())
            .await
            .unwrap();
        here(wait_until("the volume is gone", PATIENCE, async || {
            Ok(volumes.get_opt(&volume.0).await?.is_none().then_some(()))
        }))
        .unwrap();
    }

    fn others(&self) -> Vec<(&'static str, Object)> {
        [
            ("a folder of a node", json!({"hostPath": {"path": "/tmp"}})),
            (
                "EBS in the tree",
                json!({"awsElasticBlockStore": {"volumeID": "vol-1"}}),
            ),
            (
                "another driver",
                json!({"csi": {"driver": "other.example.com", "volumeHandle": "h"}}),
            ),
            // Nothing names its claim.
            (
                "no claim",
                json!({"csi": {"driver": DRIVER, "volumeHandle": "h"}}),
            ),
        ]
        .into_iter()
        .map(|(what, spec)| {
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "other"},
                "spec": spec, "status": {"phase": "Bound"},
            });
            (what, object(volume))
        })
        .collect()
    }

    fn absent_snapshot(&self) -> SnapshotId {
        SnapshotId(format!("{DRIVER}/snapshots/never"))
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        let contents = contents_of(&self.plane.client(), snapshot).await.unwrap();
        let content = contents.into_iter().find(|content| {
            let labels = content.metadata.labels.as_ref();
            labels.is_some_and(|labels| labels.contains_key(tags::TOKEN))
        });
        content.expect("a content stands for it").metadata.labels
    }

    async fn volume_tags(&self, _: &VolumeId) -> Option<Tags> {
        None
    }

    async fn namespace(&self) -> String {
        let namespace = here(TestNamespace::new(self.plane, "target")).unwrap();
        namespace.name().to_owned()
    }

    async fn has_source(&self, namespace: &str, source: &DataSource) -> bool {
        assert_eq!(
            (&*source.api_group, &*source.kind),
            ("snapshot.storage.k8s.io", "VolumeSnapshot")
        );
        let found = snapshots_of(&self.plane.client(), namespace).await.unwrap();
        found.contains(&source.name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csi_keeps_every_promise() -> Result<()> {
    let csi = Csi::shared().await;
    let plane = ControlPlane::shared().await;
    let namespace = TestNamespace::new(plane, "conformance").await?;
    let config = VolumeProviderConfig {
        name: CSI_PROVIDER.to_owned(),
        ..VolumeProviderConfig::default()
    };
    let world = World {
        plane,
        csi,
        snapshotter: registry::open_csi(&plane.client(), &config)?,
        namespace,
    };
    snapshotter_conformance(&world).await;
    let left = snapshots_of(&plane.client(), world.namespace.name()).await?;
    assert_eq!(
        left, [""; 0],
        "nothing is left in the namespace of the claims"
    );
    Ok(())
}
