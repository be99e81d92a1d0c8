//! A snapshot's life: it outlives the claim, the namespace and the content, fills claims elsewhere, and goes when it is
//! told to.

use anyhow::Result;
use ark::providers::snapshotter::SnapshotState;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::ask::{Bound, claim_from, offer, open, state, until_ready, withdraw};
use crate::cuts::forget;
use crate::objects::{contents_of, snapshots_of};
use crate::support::control_plane::ControlPlane;
use crate::support::csi::{CLASS, Csi, DRIVER, Fault, LATE_CLASS};
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::snapshotter_conformance::new_token;
use crate::support::{PATIENCE, wait_until};

#[tokio::test]
async fn a_snapshot_outlives_its_namespace_and_fills_a_claim_in_another() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let source = TestNamespace::new(plane, "source").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, source.name(), "data").await?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    let size = Some(1 << 30);
    assert_eq!(
        until_ready(snapshotter.as_ref(), &id).await?,
        SnapshotState::Ready { size }
    );
    assert_eq!(snapshots_of(&client, source.name()).await?, [""; 0]);
    // What is written after the snapshot is not in it.
    csi.write(source.name(), "data", "late", "too late").await?;
    source.delete().await?;
    assert_eq!(
        state(snapshotter.as_ref(), &id).await?,
        SnapshotState::Ready { size }
    );

    let target = TestNamespace::new(plane, "target").await?;
    let token = new_token();
    let offered = offer(snapshotter.as_ref(), &id, target.name(), &token).await?;
    claim_from(&client, (target.name(), "copy"), CLASS, &offered).await?;
    let greeting = format!("hello from {}/data", source.name());
    assert_eq!(csi.read(target.name(), "copy", "greeting").await?, greeting);
    assert!(csi.read(target.name(), "copy", "late").await.is_err());

    // The claim has what it needs.
    withdraw(snapshotter.as_ref(), &id, target.name(), &token).await?;
    assert_eq!(snapshots_of(&client, target.name()).await?, [""; 0]);
    assert_eq!(
        contents_of(&client, &id).await?.len(),
        1,
        "the one that stands for it"
    );
    assert_eq!(
        state(snapshotter.as_ref(), &id).await?,
        SnapshotState::Ready { size }
    );

    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    assert!(csi.snapshots()?.contains(&handle));
    snapshotter.delete_snapshot(&id).await?;
    assert!(
        !csi.snapshots()?.contains(&handle),
        "the driver's snapshot is gone"
    );
    assert_eq!(contents_of(&client, &id).await?.len(), 0);
    assert_eq!(csi.read(target.name(), "copy", "greeting").await?, greeting);
    Ok(())
}

#[tokio::test]
async fn a_claim_that_waits_for_its_first_pod_is_filled_then() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "late").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    let token = new_token();
    let offered = offer(snapshotter.as_ref(), &id, namespace.name(), &token).await?;
    claim_from(&client, (namespace.name(), "copy"), LATE_CLASS, &offered).await?;

    // Neither the source nor the snapshot can go under the claim's feet.
    let error = withdraw(snapshotter.as_ref(), &id, namespace.name(), &token)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("copy waits for its data"),
        "{error}"
    );
    let error = snapshotter.delete_snapshot(&id).await.unwrap_err();
    assert!(
        error.to_string().contains("copy waits for its data"),
        "{error}"
    );

    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace.name()},
        "spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "copy"}}],
        },
    });
    apply_yaml(&client, &pod.to_string()).await?;
    let greeting = format!("hello from {}/data", namespace.name());
    assert_eq!(
        csi.read(namespace.name(), "copy", "greeting").await?,
        greeting
    );
    // What was offered goes with the snapshot.
    snapshotter.delete_snapshot(&id).await?;
    assert_eq!(snapshots_of(&client, namespace.name()).await?, [""; 0]);
    assert_eq!(contents_of(&client, &id).await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn another_cluster_with_the_driver_uses_and_removes_a_snapshot() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "foreign").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    // As one that was made elsewhere.
    forget(&client, &id).await?;
    assert_eq!(state(snapshotter.as_ref(), &id).await?, SnapshotState::Gone);

    let offered = offer(snapshotter.as_ref(), &id, namespace.name(), &new_token()).await?;
    claim_from(&client, (namespace.name(), "copy"), CLASS, &offered).await?;
    let greeting = format!("hello from {}/data", namespace.name());
    assert_eq!(
        csi.read(namespace.name(), "copy", "greeting").await?,
        greeting
    );

    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    assert!(csi.snapshots()?.contains(&handle));
    snapshotter.delete_snapshot(&id).await?;
    assert!(
        !csi.snapshots()?.contains(&handle),
        "the driver's snapshot is gone"
    );
    assert_eq!(contents_of(&client, &id).await?.len(), 0);
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn a_snapshot_can_be_removed_as_soon_as_it_has_begun() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "soon").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    for ready in [true, false] {
        if !ready {
            csi.set(&volume, Fault::NotReady, true)?;
        }
        let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
        // Nobody has looked whether the VolumeSnapshot is gone.
        snapshotter.delete_snapshot(&id).await?;
        let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
        assert!(!csi.snapshots()?.contains(&handle), "ready: {ready}");
        assert_eq!(contents_of(&client, &id).await?.len(), 0);
        wait_until("the VolumeSnapshot is gone", PATIENCE, async || {
            Ok(snapshots_of(&client, namespace.name())
                .await?
                .is_empty()
                .then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_claim_can_go_while_its_snapshot_is_uploaded() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "slow").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    csi.set(&volume, Fault::NotReady, true)?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    wait_until("the VolumeSnapshot is gone", PATIENCE, async || {
        assert_eq!(
            state(snapshotter.as_ref(), &id).await?,
            SnapshotState::Pending(None)
        );
        Ok(snapshots_of(&client, namespace.name())
            .await?
            .is_empty()
            .then_some(()))
    })
    .await?;
    // snapshot-controller keeps the claim of a snapshot that is not ready; not of one that it no longer knows.
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace.name());
    claims.delete("data", &DeleteParams::default()).await?;
    wait_until("the claim is gone", PATIENCE, async || {
        Ok(claims.get_opt("data").await?.is_none().then_some(()))
    })
    .await?;

    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    csi.set(&handle, Fault::NotReady, false)?;
    until_ready(snapshotter.as_ref(), &id).await?;
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}
