//! The tests' own foundation: that volumes are made and snapshot, and hold what was written.

use anyhow::Result;
use serde_json::json;

use crate::support::control_plane::ControlPlane;
use crate::support::csi::{CLASS, Csi, LATE_CLASS};
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;

#[tokio::test]
async fn data_goes_through_a_snapshot() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let csi = Csi::shared().await;
    let namespace = TestNamespace::new(plane, "stack").await?;
    csi.claim(namespace.name(), "data", "1Gi").await?;
    csi.write(namespace.name(), "data", "greeting", "hello")
        .await?;
    let text = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "snap", "namespace": namespace.name()},
        "spec": {"volumeSnapshotClassName": CLASS, "source": {"persistentVolumeClaimName": "data"}},
    });
    apply_yaml(&plane.client(), &text.to_string()).await?;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "copy", "namespace": namespace.name()},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": LATE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"},
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace.name()},
        "spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "copy"}}],
        },
    });
    apply_yaml(&plane.client(), &format!("{claim}\n---\n{pod}")).await?;
    assert_eq!(
        csi.read(namespace.name(), "copy", "greeting").await?,
        "hello"
    );
    csi.check()
}
