//! Drivers that fail, are slow or do not answer, clusters that lack something, and settings that cannot work: each is
//! one clear line, and nothing is left behind.

use anyhow::Result;
use ark::api::{CSI_PROVIDER, VolumeProviderConfig};
use ark::providers::Environment;
use ark::providers::registry;
use ark::providers::snapshotter::{
    Fit, SnapshotError, SnapshotErrorKind, SnapshotId, SnapshotState,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::ask::{Bound, claim_from, offer, open, state, until, until_ready};
use crate::objects::{contents, contents_of, snapshots_of};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::csi::{CLASS, Csi, DRIVER, Fault, RETAINING_CLASS};
use crate::support::namespace::TestNamespace;
use crate::support::snapshotter_conformance::{Tags, new_token};
use crate::support::{PATIENCE, unique_name, wait_until};

const FAILS: Fault<'_> = Fault::Fails("CreateSnapshot", "INTERNAL", "the disk is on fire");

/// Checks an error's kind, that it is one line, and that it says something.
fn says<T: std::fmt::Debug>(
    result: Result<T, SnapshotError>,
    kind: SnapshotErrorKind,
    parts: &[&str],
) {
    let error = result.expect_err("it should fail");
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

/// Returns annotations of a Backup that ask for a class.
fn asking_for(class: &str) -> Tags {
    let key = format!("ark.heptio.com/csi-volumesnapshot-class_{DRIVER}");
    [(key, class.to_owned())].into()
}

/// Waits until nothing is left of snapshots in a namespace.
async fn nothing_left(client: &kube::Client, namespace: &str) -> Result<()> {
    let api = contents(client);
    wait_until("nothing is left", PATIENCE, async || {
        let contents = api.list(&ListParams::default()).await?.items;
        let ours = contents
            .iter()
            .filter(|one| one.data["spec"]["volumeSnapshotRef"]["namespace"] == namespace);
        let (ours, snapshots) = (ours.count(), snapshots_of(client, namespace).await?);
        anyhow::ensure!(
            ours == 0 && snapshots.is_empty(),
            "{ours} contents, {snapshots:?}"
        );
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_driver_that_fails_is_quoted_and_nothing_is_left() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "fails").await?;
    // The patience with failures is no longer than the whole.
    let snapshotter = open(&client, &[("snapshotTimeout", "3s")])?;
    let mut bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    csi.set(&volume, FAILS, true)?;
    let name = bound.volume["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for class in [CLASS, RETAINING_CLASS] {
        bound.annotations = asking_for(class);
        let token = new_token();
        let made = bound.snapshot(snapshotter.as_ref(), &token).await;
        says(
            made,
            SnapshotErrorKind::Other,
            &[&name, "the disk is on fire"],
        );
        assert_eq!(snapshotter.find_snapshots(&token).await?, []);
        nothing_left(&client, namespace.name()).await?;
    }
    // The next one is not held up by the last.
    csi.set(&volume, FAILS, false)?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn a_driver_that_fails_for_a_moment_is_waited_for() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "moment").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    csi.set(&volume, FAILS, true)?;
    let token = new_token();
    let mend = async {
        let api = contents(&client);
        let label = ListParams::default().labels(&format!("ark.heptio.com/token={token}"));
        wait_until("the failure is told", PATIENCE, async || {
            let all = api.list(&label).await?.items;
            let told = |one: &DynamicObject| one.data["status"]["error"].is_object();
            Ok(all.iter().any(told).then_some(()))
        })
        .await?;
        csi.set(&volume, FAILS, false)
    };
    let (made, mended) = tokio::join!(bound.snapshot(snapshotter.as_ref(), &token), mend);
    mended?;
    let id = made?;
    until_ready(snapshotter.as_ref(), &id).await?;
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_driver_makes_after_it_was_given_up_is_removed() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "silent").await?;
    let snapshotter = open(&client, &[("snapshotTimeout", "2s")])?;
    let mut bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    for class in [CLASS, RETAINING_CLASS] {
        bound.annotations = asking_for(class);
        csi.set(&volume, Fault::Waits("CreateSnapshot"), true)?;
        let token = new_token();
        let made = bound.snapshot(snapshotter.as_ref(), &token).await;
        says(
            made,
            SnapshotErrorKind::NotReady,
            &["it takes longer than 2s"],
        );
        // The driver may be making it at this moment: an object stays until that is known.
        assert_eq!(snapshotter.find_snapshots(&token).await?, []);
        let of = format!("ark.heptio.com/token={token}");
        let of = ListParams::default().labels(&of);
        assert_eq!(contents(&client).list(&of).await?.items.len(), 1);
        csi.set(&volume, Fault::Waits("CreateSnapshot"), false)?;
        look_again(&client, &of).await?;
        nothing_left(&client, namespace.name()).await?;
        let made = csi.snapshots()?;
        let made = made
            .iter()
            .filter(|one| csi.source_of(one).is_ok_and(|of| of == volume));
        assert_eq!(made.count(), 0, "{class}");
    }
    Ok(())
}

/// Has csi-snapshotter look at contents until they are gone.
///
/// It may look while it is noting the driver's answer, and then not again before it looks at everything, which is after
/// a quarter of an hour. A change that is none of its own has it look now.
async fn look_again(client: &kube::Client, of: &ListParams) -> Result<()> {
    let api = contents(client);
    wait_until("the contents are gone", PATIENCE, async || {
        let Some(content) = api.list(of).await?.items.pop() else {
            return Ok(Some(()));
        };
        let name = content.metadata.name.unwrap_or_default();
        let look = json!({"metadata": {"annotations": {"tests/look": unique_name("now")}}});
        // It may go at any moment.
        let _gone = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&look))
            .await;
        Ok(None)
    })
    .await
}

#[tokio::test]
async fn a_snapshot_that_never_gets_ready_is_told() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "unready").await?;
    let snapshotter = open(&client, &[("snapshotTimeout", "2s")])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    csi.set(&volume, Fault::NotReady, true)?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    // Its data still travels: no claim can be filled yet.
    let offered = offer(snapshotter.as_ref(), &id, namespace.name(), &new_token()).await;
    says(
        offered,
        SnapshotErrorKind::NotReady,
        &[&id.0, namespace.name(), "2s"],
    );
    assert_eq!(
        state(snapshotter.as_ref(), &id).await?,
        SnapshotState::Pending(None)
    );
    csi.set(&volume, FAILS, true)?;
    let failed = until(snapshotter.as_ref(), &id, "failed", |state| {
        matches!(state, SnapshotState::Failed(_))
    })
    .await?;
    let SnapshotState::Failed(why) = failed else {
        panic!("{failed:?}");
    };
    assert!(
        why.contains("the disk is on fire") && !why.contains('\n'),
        "{why}"
    );
    snapshotter.delete_snapshot(&id).await?;
    nothing_left(&client, namespace.name()).await?;
    Ok(())
}

#[tokio::test]
async fn a_removal_that_fails_can_be_repeated() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "stuck").await?;
    let snapshotter = open(&client, &[("snapshotTimeout", "2s")])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    // As if snapshot-controller had not seen the VolumeSnapshot's end.
    let content = &contents_of(&client, &id).await?[0];
    let name = content.metadata.name.as_deref().unwrap_or_default();
    let unseen = json!({"metadata": {"annotations": {
        "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": null,
    }}});
    contents(&client)
        .patch(name, &PatchParams::default(), &Patch::Merge(&unseen))
        .await?;
    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    let fails = Fault::Fails("DeleteSnapshot", "INTERNAL", "the disk sticks");
    csi.set(&handle, fails, true)?;
    for _ in 0..2 {
        let removed = snapshotter.delete_snapshot(&id).await;
        says(
            removed,
            SnapshotErrorKind::Other,
            &[&id.0, DRIVER, "is not deleted yet"],
        );
        assert!(csi.snapshots()?.contains(&handle));
    }
    csi.set(&handle, fails, false)?;
    snapshotter.delete_snapshot(&id).await?;
    assert!(!csi.snapshots()?.contains(&handle));
    Ok(())
}

#[tokio::test]
async fn a_volume_that_cannot_be_made_keeps_its_source() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "unmade").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    let fails = Fault::Fails("CreateVolume", "RESOURCE_EXHAUSTED", "there is no room");
    csi.set(&handle, fails, true)?;
    let token = new_token();
    let offered = offer(snapshotter.as_ref(), &id, namespace.name(), &token).await?;
    claim_from(&client, (namespace.name(), "copy"), CLASS, &offered).await?;
    let removed = snapshotter.delete_snapshot(&id).await;
    says(
        removed,
        SnapshotErrorKind::NotReady,
        &["copy waits for its data"],
    );
    csi.set(&handle, fails, false)?;
    let greeting = format!("hello from {}/data", namespace.name());
    assert_eq!(
        csi.read(namespace.name(), "copy", "greeting").await?,
        greeting
    );
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn a_claim_that_is_another_now_is_not_snapshot() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "another").await?;
    let snapshotter = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace.name());
    claims.delete("data", &DeleteParams::default()).await?;
    wait_until("the claim is gone", PATIENCE, async || {
        Ok(claims.get_opt("data").await?.is_none().then_some(()))
    })
    .await?;
    let made = bound.snapshot(snapshotter.as_ref(), &new_token()).await;
    says(
        made,
        SnapshotErrorKind::NotFound,
        &[namespace.name(), "data is gone"],
    );
    Bound::make(csi, namespace.name(), "data").await?;
    let made = bound.snapshot(snapshotter.as_ref(), &new_token()).await;
    says(
        made,
        SnapshotErrorKind::NotFound,
        &["data is no longer bound to it"],
    );
    Ok(())
}

#[tokio::test]
async fn classes_that_cannot_be_are_told() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "classes").await?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let snapshotter = open(&client, &[])?;
    let mut misspelt = bound.clone();
    misspelt.claim["metadata"]["annotations"] =
        json!({"ark.heptio.com/csi-volumesnapshot-class": "fodlers"});
    let made = misspelt.snapshot(snapshotter.as_ref(), &new_token()).await;
    let parts = [
        "VolumeSnapshotClass fodlers, which is not there",
        CLASS,
        RETAINING_CLASS,
    ];
    says(made, SnapshotErrorKind::Invalid, &parts);
    let misspelt = open(&client, &[("volumeSnapshotClass", "fodlers")])?;
    let made = bound.snapshot(misspelt.as_ref(), &new_token()).await;
    says(
        made,
        SnapshotErrorKind::Invalid,
        &["setting volumeSnapshotClass", "fodlers"],
    );
    // A setting that can be.
    let named = open(&client, &[("volumeSnapshotClass", RETAINING_CLASS)])?;
    let id = bound.snapshot(named.as_ref(), &new_token()).await?;
    let content = &contents_of(&client, &id).await?[0];
    assert_eq!(
        content.data["spec"]["volumeSnapshotClassName"],
        RETAINING_CLASS
    );
    until_ready(named.as_ref(), &id).await?;
    named.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_work_are_told() {
    let plane = ControlPlane::shared().await;
    for (key, value, part) in [
        ("snapshotTimeout", "soon", "\"soon\" cannot be read"),
        ("snapshotTimeout", "0s", "\"0s\" cannot be read"),
        ("region", "eu", "region is not a setting of csi"),
        ("volumeSnapshotClass", " ", "is empty"),
    ] {
        let opened = open(&plane.client(), &[(key, value)]);
        says(opened, SnapshotErrorKind::Invalid, &[key, part]);
    }
    let config = VolumeProviderConfig {
        name: CSI_PROVIDER.to_owned(),
        ..VolumeProviderConfig::default()
    };
    let opened = registry::open_snapshotter(&config, &Environment::default()).await;
    says(opened, SnapshotErrorKind::Invalid, &["csi"]);
}

#[tokio::test]
async fn drivers_that_a_cluster_lacks_are_told() -> Result<()> {
    let (plane, _csi) = (ControlPlane::shared().await, Csi::shared().await);
    let snapshotter = open(&plane.client(), &[])?;
    let id = SnapshotId("ebs.csi.aws.com/snap-0a1b".to_owned());
    let parts = ["no CSI driver ebs.csi.aws.com"];
    let offered = offer(snapshotter.as_ref(), &id, "default", &new_token()).await;
    says(offered, SnapshotErrorKind::NotSupported, &parts);
    let removed = snapshotter.delete_snapshot(&id).await;
    says(removed, SnapshotErrorKind::NotSupported, &parts);
    assert_eq!(state(snapshotter.as_ref(), &id).await?, SnapshotState::Gone);
    let id = SnapshotId("snap-0a1b".to_owned());
    says(
        snapshotter.delete_snapshot(&id).await,
        SnapshotErrorKind::Invalid,
        &["snap-0a1b"],
    );
    Ok(())
}

/// As it is with a csi-snapshotter that was shown an object as it was before its own last write: it does not ask again.
#[tokio::test]
async fn a_snapshot_that_was_forgotten_is_looked_at_again() -> Result<()> {
    let plane = ControlPlane::start(Options::default().nodes([])).await?;
    let csi = Csi::start_asking(&plane, ["10m"; 2]).await?;
    let client = plane.client();
    let bound = Bound::make(&csi, "default", "data").await?;
    let snapshotter = open(&client, &[("snapshotTimeout", "20s")])?;
    let volume = csi.handle_of("default", "data").await?;
    csi.set(&volume, Fault::NotReady, true)?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    let handle = id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned();
    // After that Ark changes nothing of it any more.
    wait_until("the content is let go", PATIENCE, async || {
        state(snapshotter.as_ref(), &id).await?;
        let contents = contents_of(&client, &id).await?;
        let finalizers = contents
            .iter()
            .flat_map(|content| content.metadata.finalizers.iter().flatten());
        let mut held = finalizers.filter(|finalizer| *finalizer == "ark.heptio.com/keep");
        Ok(held.next().is_none().then_some(()))
    })
    .await?;
    csi.set(&handle, Fault::NotReady, false)?;
    until_ready(snapshotter.as_ref(), &id).await?;
    snapshotter.delete_snapshot(&id).await?;
    Ok(())
}

#[tokio::test]
async fn a_cluster_without_snapshots_is_told() -> Result<()> {
    let plane = ControlPlane::start(Options::default().nodes([])).await?;
    let snapshotter = open(&plane.client(), &[])?;
    let parts = ["no VolumeSnapshots (snapshot.storage.k8s.io/v1)"];
    says(
        snapshotter.check().await,
        SnapshotErrorKind::NotSupported,
        &parts,
    );
    let volume = json!({
        "metadata": {"name": "v"},
        "spec": {"csi": {"driver": DRIVER, "volumeHandle": "h"}}, "status": {"phase": "Bound"},
    });
    let claim = json!({"metadata": {"name": "c", "namespace": "default"}});
    let bound = Bound {
        volume: crate::ask::object(volume),
        claim: crate::ask::object(claim),
        annotations: std::collections::BTreeMap::new(),
    };
    match snapshotter.fits(bound.as_volume()).await? {
        Fit::No(why) => assert!(why.contains(parts[0]), "{why}"),
        Fit::Volume(handle) => panic!("{handle:?}"),
    }
    assert_eq!(snapshotter.find_snapshots(&new_token()).await?, []);
    let id = SnapshotId(format!("{DRIVER}/h"));
    assert_eq!(state(snapshotter.as_ref(), &id).await?, SnapshotState::Gone);
    let offered = offer(snapshotter.as_ref(), &id, "default", &new_token()).await;
    says(offered, SnapshotErrorKind::NotSupported, &parts);
    says(
        snapshotter.delete_snapshot(&id).await,
        SnapshotErrorKind::NotSupported,
        &parts,
    );
    Ok(())
}

/// The controllers are an add-on of the cluster, and may be down.
#[tokio::test]
async fn controllers_that_do_not_run_are_named() -> Result<()> {
    let plane = ControlPlane::start(Options::default().nodes([])).await?;
    let csi = Csi::start(&plane).await?;
    let client = plane.client();
    let namespace = "default";
    let bound = Bound::make(&csi, namespace, "data").await?;
    let snapshotter = open(&client, &[])?;
    let id = bound.snapshot(snapshotter.as_ref(), &new_token()).await?;
    until_ready(snapshotter.as_ref(), &id).await?;

    let impatient = open(&client, &[("snapshotTimeout", "2s")])?;
    csi.stop("csi-snapshotter")?;
    let made = bound.snapshot(impatient.as_ref(), &new_token()).await;
    let part = format!("csi-snapshotter of driver {DRIVER} has taken no notice");
    says(made, SnapshotErrorKind::Unreachable, &[&part]);
    let offered = offer(impatient.as_ref(), &id, namespace, &new_token()).await;
    says(offered, SnapshotErrorKind::Unreachable, &[&part]);
    let removed = impatient.delete_snapshot(&id).await;
    says(
        removed,
        SnapshotErrorKind::Other,
        &[&id.0, "is not deleted yet"],
    );
    let elsewhere = SnapshotId(format!("{DRIVER}/snapshots/elsewhere"));
    let removed = impatient.delete_snapshot(&elsewhere).await;
    says(
        removed,
        SnapshotErrorKind::Unreachable,
        &["csi-snapshotter of driver"],
    );
    assert_eq!(
        contents_of(&client, &elsewhere).await?.len(),
        0,
        "nothing waits for nobody"
    );

    csi.stop("snapshot-controller")?;
    let made = bound.snapshot(impatient.as_ref(), &new_token()).await;
    says(
        made,
        SnapshotErrorKind::Unreachable,
        &["snapshot-controller has taken no notice"],
    );
    Ok(())
}
