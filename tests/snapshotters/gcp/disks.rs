//! What is made: names, labels, places, types, keys.

use std::collections::BTreeSet;

use ark::providers::snapshotter::{
    Fit, SnapshotErrorKind, SnapshotId, SnapshotState, VolumeHandle, VolumeId,
};
use serde_json::{Value, json};

use super::{Form, World, described, volume, with_key};
use crate::common::{object, one_line, open};
use crate::support::clouds::compute_engine::{PROJECT, Pace};
use crate::support::snapshotter_conformance::{
    Cloud as _, ask, backup_tags, new_token, restore_tags, snapshotter_conformance, whole,
};

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_labels_and_stand_in_the_description() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let token = new_token();
    let snapshot = ask(&world, &test, &token).await.unwrap();
    whole(world.snapshotter(), &snapshot).await;
    let made = world.fake.snapshot(&snapshot.0).unwrap();
    assert_eq!(
        made["labels"],
        json!({
            "ark-heptio-com-backup": "nightly-20261127030000",
            "ark-heptio-com-pv": "pvc-4f8e2c1a-0000-4000-8000-000000000001",
            "ark-heptio-com-cluster-id": "0b1c6f3e-0000-4000-8000-000000000002",
            "ark-heptio-com-token": token,
            "team": "a",
        })
    );
    let mut all = backup_tags(&token);
    all.insert("kubernetes.io/created-for/pvc/name".into(), "data".into());
    assert_eq!(described(&made), all);
    let name = made["name"].as_str().unwrap();
    assert!(name.len() <= 63, "{name}");
    assert!(
        name.starts_with("gke-cluster-") && name.ends_with(&token),
        "{name}"
    );

    let restore = new_token();
    let info = world.info(&test).await;
    let disk = world.make(&snapshot, &info, &restore).await.unwrap();
    let disk = world.fake.disk(&disk.0).unwrap();
    assert_eq!(disk["name"], format!("restore-{restore}"));
    assert_eq!(disk["labels"]["team"], "a");
    assert_eq!(disk["labels"]["ark-heptio-com-token"], restore.as_str());
    assert_eq!(
        disk["labels"]["ark-heptio-com-backup"],
        "nightly-20261127030000"
    );
    all.extend(restore_tags(&restore));
    assert_eq!(described(&disk), all);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_the_disk_as_it_was_during_the_call() {
    let world = World::plain().await;
    world.fake.pace(Pace {
        cut: 3,
        upload: 3,
        ..Pace::default()
    });
    let test = world.make_volume().await;
    let disk = world.handle(&test).await.id;
    let snapshot = ask(&world, &test, &new_token()).await.unwrap();
    world.fake.write(&disk.0, "second");
    let info = world.info(&test).await;
    // Google makes no disk of it yet.
    let early = world
        .make(&snapshot, &info, &new_token())
        .await
        .unwrap_err();
    one_line(&early);
    assert_eq!(early.kind, SnapshotErrorKind::NotReady, "{early}");
    whole(world.snapshotter(), &snapshot).await;
    let made = world.make(&snapshot, &info, &new_token()).await.unwrap();
    assert_eq!(world.fake.content(&made.0).as_deref(), Some("first"));
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_made_where_it_is_asked_for() {
    let world = World::plain().await;
    let (test, snapshot) = world.snapshot().await;
    let was = world.info(&test).await;
    assert!(
        was.volume_type
            .ends_with("/zones/europe-west1-b/diskTypes/pd-ssd")
    );
    for (zone, place) in [
        ("europe-west1-d", "zones/europe-west1-d"),
        ("us-east1-b__us-east1-c", "regions/us-east1"),
    ] {
        let mut info = was.clone();
        zone.clone_into(&mut info.zone);
        let id = world.make(&snapshot, &info, &new_token()).await.unwrap();
        assert!(
            id.0.starts_with(&format!("projects/{PROJECT}/{place}/disks/")),
            "{id}"
        );
        let made = VolumeHandle {
            id: id.clone(),
            zone: String::new(),
        };
        let found = world.snapshotter.info(&made).await.unwrap();
        assert_eq!(found.zone, zone);
        assert!(
            found
                .volume_type
                .ends_with(&format!("/{place}/diskTypes/pd-ssd"))
        );
        let mut moved = test.volume.clone();
        world.maker().set_volume(&mut moved, &id).await.unwrap();
        assert_eq!(moved["spec"]["csi"]["volumeHandle"], id.0);
    }
    let mut nowhere = was.clone();
    nowhere.zone.clear();
    let error = world
        .make(&snapshot, &nowhere, &new_token())
        .await
        .unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Invalid);
    assert!(
        error.to_string().contains("topology.kubernetes.io/zone"),
        "{error}"
    );
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_provisioned_and_encrypted_stays_so() {
    let world = World::plain().await;
    let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
    let path = format!("projects/{PROJECT}/zones/europe-west1-b/disks/fast");
    let more = json!({
        "provisionedIops": "3000", "provisionedThroughput": "140",
        "diskEncryptionKey": {"kmsKeyName": format!("{key}/cryptoKeyVersions/3")},
    });
    world.fake.add_disk(&path, "hyperdisk-balanced", &more);
    let mut test = world.make_volume().await;
    test.volume["spec"]["csi"]["volumeHandle"] = path.into();
    let info = world.info(&test).await;
    assert_eq!((info.iops, info.throughput), (Some(3000), Some(140)));
    assert_eq!(info.size, Some(10 << 30));
    let snapshot = ask(&world, &test, &new_token()).await.unwrap();
    whole(world.snapshotter(), &snapshot).await;
    let made = world.make(&snapshot, &info, &new_token()).await.unwrap();
    let made = world.fake.disk(&made.0).unwrap();
    assert_eq!(made["provisionedIops"], "3000");
    assert_eq!(made["provisionedThroughput"], "140");
    assert_eq!(made["diskEncryptionKey"], json!({ "kmsKeyName": key }));
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_where_snapshots_go() {
    let world = World::new(
        Form::Csi,
        &[
            ("project", "vault"),
            ("snapshotLocation", "eu"),
            ("snapshotType", "ARCHIVE"),
        ],
    )
    .await;
    snapshotter_conformance(&world).await;
    let (_, snapshot) = world.snapshot().await;
    assert!(
        snapshot.0.starts_with("projects/vault/global/snapshots/"),
        "{snapshot}"
    );
    let made = world.fake.snapshot(&snapshot.0).unwrap();
    assert_eq!(made["storageLocations"], json!(["eu"]));
    assert_eq!(made["snapshotType"], "ARCHIVE");

    // Its id means the same to a location that says nothing of all this.
    let endpoint = ("computeEndpoint", world.fake.address.as_str());
    let other = open("gcp", &[endpoint], &with_key(&world.key))
        .await
        .unwrap();
    other.delete_snapshot(&snapshot).await.unwrap();
    assert_eq!(world.fake.snapshots(), [""; 0]);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_earlier_arks_wrote_are_read() {
    let world = World::plain().await;
    let (_, snapshot) = world.snapshot().await;
    let bare = SnapshotId(snapshot.0.rsplit('/').next().unwrap().to_owned());
    let states = world
        .snapshotter
        .snapshot_states(std::slice::from_ref(&bare))
        .await
        .unwrap();
    let size = Some(10 << 30);
    assert_eq!(states, [SnapshotState::Ready { size }]);
    world.snapshotter.delete_snapshot(&bare).await.unwrap();
    assert_eq!(world.fake.snapshots(), [""; 0]);

    world.fake.add_disk(
        "projects/tests/zones/us-east1-b/disks/d",
        "pd-balanced",
        &json!({}),
    );
    let bare = |id: &str, zone: &str| VolumeHandle {
        id: VolumeId(id.to_owned()),
        zone: zone.to_owned(),
    };
    let info = world
        .snapshotter
        .info(&bare("d", "us-east1-b"))
        .await
        .unwrap();
    assert!(info.volume_type.ends_with("/pd-balanced"));
    for odd in [
        bare("", "us-east1-b"),
        bare("d", ""),
        bare("a/b", "us-east1-b"),
    ] {
        let error = world.snapshotter.info(&odd).await.unwrap_err();
        one_line(&error);
        assert_eq!(error.kind, SnapshotErrorKind::Invalid, "{error}");
    }
    for odd in ["", "vault/snapshot", "projects/p/global/images/i"] {
        let odd = SnapshotId(odd.to_owned());
        let error = world.snapshotter.delete_snapshot(&odd).await.unwrap_err();
        assert_eq!(error.kind, SnapshotErrorKind::Invalid, "{error}");
    }
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_are_read_and_a_volume_without_one_is_told() {
    let world = World::plain().await;
    let fits = async |json: Value| {
        let object = object(json);
        world.snapshotter.fits(volume(&object)).await
    };
    let in_tree = |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"gcePersistentDisk": {"pdName": "d"}}});
    let disk = |place: &str| format!("projects/{PROJECT}/{place}/disks/d");
    let csi = |handle: String| json!({"spec": {"csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": handle}}});
    for (what, json, id, zone) in [
        (
            "today's label",
            in_tree(json!({"topology.kubernetes.io/zone": "us-east1-b"})),
            disk("zones/us-east1-b"),
            "us-east1-b",
        ),
        (
            "the old label",
            in_tree(json!({"failure-domain.beta.kubernetes.io/zone": "us-east1-b"})),
            disk("zones/us-east1-b"),
            "us-east1-b",
        ),
        (
            "a regional disk",
            in_tree(json!({"topology.kubernetes.io/zone": "us-east1-c__us-east1-b"})),
            disk("regions/us-east1"),
            "us-east1-b__us-east1-c",
        ),
        (
            "a handle alone",
            csi("projects/p/zones/us-east1-b/disks/d".into()),
            "projects/p/zones/us-east1-b/disks/d".into(),
            "us-east1-b",
        ),
        (
            "a regional handle alone",
            csi("projects/p/regions/us-east1/disks/d".into()),
            "projects/p/regions/us-east1/disks/d".into(),
            "",
        ),
    ] {
        let expected = VolumeHandle {
            id: VolumeId(id),
            zone: zone.into(),
        };
        assert_eq!(fits(json).await.unwrap(), Fit::Volume(expected), "{what}");
    }
    let error = fits(in_tree(json!({}))).await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Invalid);
    assert!(error.to_string().contains("disk d"), "{error}");
    assert!(
        error.to_string().contains("topology.kubernetes.io/zone"),
        "{error}"
    );
}

/// The role in docs/providers/gcp.md is what is needed, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_role_is_enough_and_not_more() {
    let page = include_str!("../../../docs/providers/gcp.md");
    let permission =
        regex::Regex::new(r"compute\.(?:disks|snapshots|[a-z]+Operations)\.[a-zA-Z]+").unwrap();
    let documented: BTreeSet<String> = permission
        .find_iter(page)
        .map(|found| found.as_str().to_owned())
        .collect();
    let mut needed = BTreeSet::new();
    for form in [Form::Csi, Form::CsiRegional] {
        let world = World::new(form, &[]).await;
        world.fake.grant(documented.clone());
        snapshotter_conformance(&world).await;
        needed.extend(world.fake.needed());
    }
    assert_eq!(needed, documented);
}
