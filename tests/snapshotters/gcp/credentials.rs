//! Who asks: keys, the metadata server, nobody, strangers, and those whose time is up.

use std::time::Duration;

use ark::providers::snapshotter::SnapshotErrorKind;

use super::{Form, World, with_key};
use crate::common::{environment, open, refusal};
use crate::support::clouds::compute_engine::PROJECT;
use crate::support::gcs::{ACCOUNT, AccountKey};
use crate::support::snapshotter_conformance::{
    Cloud as _, ask, new_token, snapshotter_conformance,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_sentence() {
    let world = World::plain().await;
    let endpoint = ("computeEndpoint", world.fake.address.as_str());
    let nowhere = || environment(&[("GCE_METADATA_HOST", "127.0.0.1:1")]);
    let with = |text: String| nowhere().with_credentials(text.into_bytes()).unwrap();

    // The project has to be known before anybody is asked.
    let nobody = refusal("gcp", &[endpoint], &nowhere()).await;
    assert_eq!(nobody.kind, SnapshotErrorKind::Invalid);
    assert!(
        nobody.to_string().contains("set config.volumeProject"),
        "{nobody}"
    );
    let project = ("volumeProject", PROJECT);
    let nobody = refusal("gcp", &[endpoint, project], &nowhere()).await;
    assert_eq!(nobody.kind, SnapshotErrorKind::Denied);
    let said = nobody.to_string();
    assert!(
        said.contains("there are no Google Cloud credentials"),
        "{said}"
    );

    let stranger = world.key.file("somebody@else.iam.gserviceaccount.com");
    let stranger = refusal("gcp", &[endpoint], &with(stranger)).await;
    assert_eq!(stranger.kind, SnapshotErrorKind::Denied);
    assert!(stranger.to_string().contains("status 401"), "{stranger}");

    let garbled = world.key.file(ACCOUNT).replace("MII", "Mii");
    let garbled = refusal("gcp", &[endpoint], &with(garbled)).await;
    assert_eq!(garbled.kind, SnapshotErrorKind::Denied);
    let not_json = refusal("gcp", &[endpoint], &with("hunter2".to_owned())).await;
    assert_eq!(not_json.kind, SnapshotErrorKind::Denied);
    assert!(not_json.to_string().contains("is not JSON"), "{not_json}");

    let good = with_key(&world.key);
    let unreachable = ("computeEndpoint", "http://127.0.0.1:1");
    let error = refusal("gcp", &[unreachable], &good).await;
    assert_eq!(error.kind, SnapshotErrorKind::Unreachable);
    assert!(
        error.to_string().contains("config.computeEndpoint"),
        "{error}"
    );
    let unknown = refusal("gcp", &[("region", "x")], &good).await;
    assert_eq!(unknown.kind, SnapshotErrorKind::Invalid);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_lacks_is_named() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let all = [
        "compute.disks.get",
        "compute.snapshots.get",
        "compute.disks.createSnapshot",
    ];
    world.fake.grant(all.map(str::to_owned));
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Denied);
    let said = error.to_string();
    assert!(said.contains("compute.snapshots.create"), "{said}");
    assert!(said.contains("docs/providers/gcp.md"), "{said}");
    assert!(said.contains("pvc-4f8e2c1a"), "it names the disk: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_server_gives_tokens_and_the_project() {
    let mut world = World::with_metadata(&[]).await;
    world.form = Form::InTree;
    snapshotter_conformance(&world).await;
    assert_eq!(world.fake.tokens(), 1, "it is kept while it is good");
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_mid_run_is_replaced() {
    let world = World::with_metadata(&[]).await;
    let test = world.make_volume().await;
    ask(&world, &test, &new_token()).await.unwrap();
    world.fake.expire_tokens();
    ask(&world, &test, &new_token()).await.unwrap();
    assert_eq!(world.fake.tokens(), 2);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_withdrawn_end_in_one_sentence() {
    let world = World::with_metadata(&[]).await;
    let test = world.make_volume().await;
    let token = new_token();
    ask(&world, &test, &token).await.unwrap();
    // Whatever is given out from now on is worth nothing.
    world.fake.tokens_last(Duration::ZERO);
    world.fake.expire_tokens();
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Denied);
    assert!(error.to_string().contains("status 401"), "{error}");
    // Once they are good again, so is the snapshotter.
    world.fake.tokens_last(Duration::from_hours(1));
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_is_read_again() {
    let world = World::plain().await;
    let endpoint = ("computeEndpoint", world.fake.address.as_str());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    let stranger = world.key.file("somebody@else.iam.gserviceaccount.com");
    std::fs::write(&file, stranger).unwrap();
    let variables = [
        ("GCE_METADATA_HOST", "127.0.0.1:1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()),
    ];
    let snapshotter = open("gcp", &[endpoint], &environment(&variables))
        .await
        .unwrap();
    let error = snapshotter.check().await.unwrap_err();
    assert_eq!(error.kind, SnapshotErrorKind::Denied, "{error}");
    std::fs::write(&file, AccountKey::make().await.unwrap().file(ACCOUNT)).unwrap();
    snapshotter.check().await.unwrap();
}
