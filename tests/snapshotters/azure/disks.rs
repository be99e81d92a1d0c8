//! What is made: names, tags, places, types, keys.

use std::collections::BTreeSet;

use ark::providers::snapshotter::{
    SnapshotErrorKind, SnapshotId, SnapshotState, VolumeHandle, VolumeId,
};
use serde_json::{Value, json};

use super::{Form, World, application, tagged};
use crate::common::{one_line, open};
use crate::support::clouds::managed_disks::{NODES, Pace, SUBSCRIPTION, VAULT, disk_id};
use crate::support::snapshotter_conformance::{
    Cloud as _, ask, backup_tags, new_token, restore_tags, snapshotter_conformance, whole,
};

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_beside_the_disks() {
    let settings = [("resourceGroup", VAULT), ("tags", "cost=42,team=vault")];
    let world = World::new(Form::Csi, &settings).await;
    let test = world.make_volume().await;
    let token = new_token();
    let snapshot = ask(&world, &test, &token).await.unwrap();
    let group = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{VAULT}/providers/Microsoft.Compute/snapshots/"
    );
    let name = snapshot.0.strip_prefix(&group).unwrap();
    assert!(
        name.len() <= 80 && name.starts_with("pvc-4f8e2c1a"),
        "{name}"
    );
    assert!(name.ends_with(&token), "{name}");
    let made = world.fake.resource(&snapshot.0).unwrap();
    assert_eq!(made["tags"]["ark.heptio.com-token"], token.as_str());
    let mut all = backup_tags(&token);
    all.insert("kubernetes.io-created-for-pvc-name".into(), "data".into());
    all.insert("cost".into(), "42".into());
    all.insert("team".into(), "vault".into());
    assert_eq!(tagged(&made), all);

    let restore = new_token();
    let info = world.info(&test).await;
    let disk = world.make(&snapshot, &info, &restore).await.unwrap();
    assert_eq!(disk.0, disk_id(&format!("restore-{restore}")));
    all.extend(restore_tags(&restore));
    assert_eq!(tagged(&world.fake.resource(&disk.0).unwrap()), all);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_the_disk_as_it_was_during_the_call() {
    let world = World::new(Form::Csi, &[("incremental", "true")]).await;
    world.fake.pace(Pace {
        operation: 3,
        copy: 3,
    });
    let test = world.make_volume().await;
    let disk = world.handle(&test).await.id;
    let snapshot = ask(&world, &test, &new_token()).await.unwrap();
    world.fake.write(&disk.0, "second");
    let made = world.fake.resource(&snapshot.0).unwrap();
    assert_eq!(made["properties"]["incremental"], true);
    // No disk is made of it while its data travels.
    let info = world.info(&test).await;
    let states = world
        .snapshotter
        .snapshot_states(std::slice::from_ref(&snapshot))
        .await
        .unwrap();
    assert!(
        matches!(states[..], [SnapshotState::Pending(Some(1..=99))]),
        "{states:?}"
    );
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
async fn snapshots_are_incremental_where_it_is_said_or_where_they_have_to_be() {
    for (form, settings, expected) in [
        (Form::Csi, &[][..], false),
        (Form::Csi, &[("incremental", "true")], true),
        (Form::Provisioned, &[], true),
    ] {
        let world = World::new(form, settings).await;
        let (_, snapshot) = world.snapshot().await;
        let made = world.fake.resource(&snapshot.0).unwrap();
        assert_eq!(made["properties"]["incremental"], expected, "{form:?}");
        assert!(snapshot.0.contains(NODES), "the disks' group: {snapshot}");
        world.fake.kept();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_made_where_it_is_asked_for() {
    let world = World::plain().await;
    let (test, snapshot) = world.snapshot().await;
    let was = world.info(&test).await;
    assert_eq!(was.volume_type, "Premium_LRS");
    assert_eq!(was.zone, "westeurope-2");
    assert_eq!(was.size, Some(10 << 30));
    assert_eq!(was.iops, None, "it cannot be chosen");
    for (zone, sku, zones) in [
        ("westeurope-3", "Premium_LRS", json!(["3"])),
        ("", "StandardSSD_LRS", Value::Null),
        ("westeurope-1", "Premium_ZRS", Value::Null),
    ] {
        let mut info = was.clone();
        zone.clone_into(&mut info.zone);
        sku.clone_into(&mut info.volume_type);
        let id = world.make(&snapshot, &info, &new_token()).await.unwrap();
        let made = world.fake.resource(&id.0).unwrap();
        assert_eq!(made["sku"]["name"], sku);
        assert_eq!(made["zones"], zones, "{sku} in {zone:?}");
        assert_eq!(made["location"], "westeurope");
    }
    let mut elsewhere = was.clone();
    "northeurope-1".clone_into(&mut elsewhere.zone);
    let error = world
        .make(&snapshot, &elsewhere, &new_token())
        .await
        .unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Invalid);
    assert!(error.to_string().contains("it is in westeurope"), "{error}");
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_provisioned_and_encrypted_stays_so() {
    let world = World::new(Form::Provisioned, &[]).await;
    let test = world.make_volume().await;
    let id = world.handle(&test).await.id;
    let set = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/diskEncryptionSets/k";
    let encryption = json!({"type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": set});
    // Azure writes the names of regions in both ways.
    let more = json!({
        "location": "West Europe", "zones": ["2"],
        "properties": {
            "diskIOPSReadWrite": 4000, "diskMBpsReadWrite": 200, "encryption": encryption,
        },
    });
    world.fake.add_disk(&id.0, "PremiumV2_LRS", more);
    let info = world.info(&test).await;
    assert_eq!((info.iops, info.throughput), (Some(4000), Some(200)));
    assert_eq!(info.zone, "westeurope-2");
    let snapshot = ask(&world, &test, &new_token()).await.unwrap();
    whole(world.snapshotter(), &snapshot).await;
    let made = world.make(&snapshot, &info, &new_token()).await.unwrap();
    let made = world.fake.resource(&made.0).unwrap();
    assert_eq!(made["properties"]["diskIOPSReadWrite"], 4000);
    assert_eq!(made["properties"]["diskMBpsReadWrite"], 200);
    assert_eq!(made["properties"]["encryption"], encryption);
    assert_eq!(made["location"], "West Europe");
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_in_tree_volume_gets_name_and_id() {
    let world = World::new(Form::InTree, &[]).await;
    let (test, snapshot) = world.snapshot().await;
    let info = world.info(&test).await;
    let made = world.make(&snapshot, &info, &new_token()).await.unwrap();
    let mut volume = test.volume.clone();
    world.maker().set_volume(&mut volume, &made).await.unwrap();
    let name = made.0.rsplit('/').next().unwrap();
    assert_eq!(
        volume["spec"]["azureDisk"],
        json!({"diskName": name, "diskURI": made.0, "kind": "Managed"})
    );
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_earlier_arks_wrote_are_read() {
    let world = World::plain().await;
    let (test, snapshot) = world.snapshot().await;
    // An id means the same to a location with another group, whatever its case.
    let other = open("azure", &[], &application(&world.fake)).await.unwrap();
    let shouted = SnapshotId(snapshot.0.to_uppercase());
    let ready = SnapshotState::Ready {
        size: Some(10 << 30),
    };
    let states = other
        .snapshot_states(&[snapshot.clone(), shouted])
        .await
        .unwrap();
    assert_eq!(states, [ready.clone(), ready.clone()]);
    let bare = SnapshotId(snapshot.0.rsplit('/').next().unwrap().to_owned());
    let bare = std::slice::from_ref(&bare);
    assert_eq!(
        world.snapshotter.snapshot_states(bare).await.unwrap(),
        [ready]
    );
    let elsewhere = other.snapshot_states(bare).await.unwrap();
    assert_eq!(elsewhere, [SnapshotState::Gone]);

    let by_name = |name: &str| VolumeHandle {
        id: VolumeId(name.to_owned()),
        zone: String::new(),
    };
    let id = world.handle(&test).await.id;
    let name = id.0.rsplit('/').next().unwrap();
    let info = world.snapshotter.info(&by_name(name)).await.unwrap();
    assert_eq!(info, world.info(&test).await);
    for odd in ["", "vault/disk", snapshot.0.as_str()] {
        let error = world.snapshotter.info(&by_name(odd)).await.unwrap_err();
        one_line(&error);
        assert_eq!(error.kind, SnapshotErrorKind::Invalid, "{error}");
    }
    let error = world
        .snapshotter
        .delete_snapshot(&SnapshotId(id.0))
        .await
        .unwrap_err();
    assert_eq!(error.kind, SnapshotErrorKind::Invalid, "{error}");
    world.snapshotter.delete_snapshot(&bare[0]).await.unwrap();
    assert_eq!(world.fake.count("snapshots"), 0);
    world.fake.kept();
}

/// The role in docs/providers/azure.md is what is needed, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_role_is_enough_and_not_more() {
    let page = include_str!("../../../docs/providers/azure.md");
    let action = regex::Regex::new(r"Microsoft\.Compute/(?:disks|snapshots)/[a-zA-Z/]+").unwrap();
    let documented: BTreeSet<String> = action
        .find_iter(page)
        .map(|found| found.as_str().to_owned())
        .collect();
    let world = World::plain().await;
    world.fake.grant(documented.clone());
    snapshotter_conformance(&world).await;
    let mut needed = world.fake.needed();
    // The subscription's own; without it, what was begun is followed by its state.
    assert!(needed.remove("Microsoft.Compute/locations/diskOperations/read"));
    assert_eq!(needed, documented);
    world.fake.kept();
}
