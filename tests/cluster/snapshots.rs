//! Volumes in whole backups and restores: snapshot, lost, brought back, removed. The cloud is moto's EC2, reached through this
//! process: so tests have several threads, since some wait for a command line.

use anyhow::{Context as _, Result};
use ark::api::{
    Backup, BackupPhase, BackupSpec, DeleteBackupRequest, DeleteBackupRequestPhase,
    DeleteBackupRequestSpec, RestorePhase, RestoreSpec, VolumeSnapshotLocation,
    VolumeSnapshotLocationPhase, VolumeSnapshotPhase,
};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::disks::{Disks, ZONE, locate, lose, make_share, make_volume, until_bound};
use crate::foreign::{copy, fixture};
use crate::hooked::{Marks, pod, results, start};
use crate::support::ark::Installation;
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::front::Trouble;
use crate::support::moto::element;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{
    all_of, assert_clean_backup, assert_clean_restore, moved, recorded, recorded_snapshots,
};
use crate::support::{PATIENCE, unique_name, wait_until};
use crate::zoo;

/// Returns the disk that a PersistentVolume stands for.
pub(crate) async fn disk_of(client: &kube::Client, volume: &str) -> Result<String> {
    let volume = Api::<PersistentVolume>::all(client.clone())
        .get(volume)
        .await?;
    let csi = volume
        .spec
        .and_then(|spec| spec.csi)
        .context("a CSI volume")?;
    Ok(csi.volume_handle)
}

/// Says of a claim whether its volume is to be snapshot.
const ANNOTATION: &str = "backup.ark.heptio.com/snapshot-volume";

fn restore_of(backup: &str) -> RestoreSpec {
    RestoreSpec {
        backup_name: backup.to_owned(),
        ..RestoreSpec::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_lost_and_come_back_with_their_data() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "data").await?;
    // One goes with its claim, one stays; both are gone after the disaster.
    let (first, db) = disks
        .volume(&client, namespace.name(), "db", "Delete")
        .await?;
    let (_, log) = disks
        .volume(&client, namespace.name(), "log", "Retain")
        .await?;

    let backup = ark.back_up("data", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.volume_snapshots_attempted, Some(2));
    assert_eq!(status.volume_snapshots_completed, Some(2));
    assert_eq!(status.snapshots_pending, []);
    assert_eq!(backup.spec.volume_snapshot_locations, ["disks"]);
    let volumes = recorded(&ark, &backup)?;
    assert_eq!(volumes[&db].spec.provider_volume_id, first);
    assert_eq!(volumes[&db].spec.volume_az, ZONE);
    let snapshots = disks.snapshots().await?;
    assert_eq!(snapshots.len(), 2);
    let tags = &snapshots[&volumes[&db].status.provider_snapshot_id];
    assert_eq!(tags["ark.heptio.com/backup"], "data");
    assert_eq!(tags["ark.heptio.com/pv"], db);
    assert_eq!(tags["ark.heptio.com/token"], volumes[&db].spec.token);
    let shown = ark.ark(&["backup", "describe", "data", "--details"])?;
    for part in [&db, "Snapshot:           Completed", "disks (aws)"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }

    lose(&client, &namespace, &[&db, &log]).await?;
    let dry = RestoreSpec {
        dry_run: Some(true),
        ..restore_of("data")
    };
    assert_clean_restore(&ark.restore("dry", dry).await?);
    assert_eq!(disks.made().await?.len(), 0, "a dry run makes nothing");
    let shown = ark.ark(&["restore", "describe", "dry", "--details"])?;
    assert!(
        shown.contains("with its data from snapshot snap-"),
        "{shown}"
    );

    assert_clean_restore(&ark.restore("data", restore_of("data")).await?);
    for (claim, volume) in [("db", &db), ("log", &log)] {
        until_bound(&client, namespace.name(), claim).await?;
        let disk = disk_of(&client, volume).await?;
        assert_ne!(disk, volumes[volume].spec.provider_volume_id);
        let snapshot = &volumes[volume].status.provider_snapshot_id;
        assert_eq!(disks.origin(&disk).await?.as_ref(), Some(snapshot));
        assert_eq!(
            disks.moto.tags(&disk).await?["ark.heptio.com/restore"],
            "data"
        );
    }
    // Once more: all is there, and nothing is made anew.
    assert_clean_restore(&ark.restore("again", restore_of("data")).await?);
    assert_eq!(disks.made().await?.len(), 2);

    ark.ark(&["backup", "delete", "data", "--confirm"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        let backups: Api<Backup> = ark.api();
        Ok(backups.get_opt("data").await?.is_none().then_some(()))
    })
    .await?;
    assert_eq!(disks.snapshots().await?.len(), 0);
    assert_eq!(ark.keys(), ["metadata/revision"]);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zoo_s_disk_comes_back() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(&plane).await?;
    let server = ark.serve().await?;
    let disk = disks
        .moto
        .create_volume("us-east-1a", &[("Size", "1")])
        .await?;
    let zoo = zoo::ZOO.replace("vol-0123456789abcdef0", &disk);
    assert_ne!(zoo, zoo::ZOO);
    apply_yaml(&client, &zoo).await?;
    zoo::finish(&client).await?;
    until_bound(&client, "zoo-data", "db").await?;

    let spec = BackupSpec {
        included_namespaces: zoo::NAMESPACES.map(str::to_owned).into(),
        include_cluster_resources: Some(true),
        ..BackupSpec::default()
    };
    let backup = ark.back_up("zoo", spec).await?;
    assert_clean_backup(&backup);
    let volumes = recorded(&ark, &backup)?;
    let VolumeSnapshotPhase::Completed = volumes["zoo-ebs"].status.phase else {
        panic!("{volumes:?}");
    };
    zoo::wipe(&client).await?;
    disks.moto.delete_volume(&disk).await?;

    assert_clean_restore(&ark.restore("zoo", restore_of("zoo")).await?);
    until_bound(&client, "zoo-data", "db").await?;
    let volume = Api::<PersistentVolume>::all(client).get("zoo-ebs").await?;
    let source = volume.spec.and_then(|spec| spec.aws_elastic_block_store);
    let now = source.context("an EBS volume")?.volume_id;
    assert_ne!(now, disk);
    let snapshot = &volumes["zoo-ebs"].status.provider_snapshot_id;
    assert_eq!(disks.origin(&now).await?.as_ref(), Some(snapshot));
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_s_volumes_are_taken_between_its_hooks() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let namespace = TestNamespace::new(plane, "hooked").await?;
    let marks = Marks::new(plane)?;
    for claim in ["one", "two"] {
        disks
            .volume(&client, namespace.name(), claim, "Retain")
            .await?;
    }
    // What the hooks see: the number of snapshots that were asked for.
    let annotations = json!({
        "pre.hook.backup.ark.heptio.com/command": marks.block("db", "freeze")?,
        "pre.hook.backup.ark.heptio.com/timeout": "5m",
        "post.hook.backup.ark.heptio.com/command": marks.block_on("db", "thaw", "held"),
        "post.hook.backup.ark.heptio.com/timeout": "5m",
    });
    std::fs::write(marks.0.join("held"), "")?;
    let mut db = pod("db", &annotations);
    db["spec"]["volumes"] = json!([
        {"name": "one", "persistentVolumeClaim": {"claimName": "one"}},
        {"name": "two", "persistentVolumeClaim": {"claimName": "two"}},
    ]);
    start(&client, namespace.name(), vec![db]).await?;
    let server = ark.serve().await?;
    let backups: Api<Backup> = ark.api();
    backups
        .create(
            &PostParams::default(),
            &Backup::new("hooked", all_of(&namespace)),
        )
        .await?;
    marks.wait_for("db", "freeze").await?;
    assert_eq!(
        disks.snapshots().await?.len(),
        0,
        "not before the pod is frozen"
    );
    marks.release()?;
    marks.wait_for("db", "freeze thaw").await?;
    assert_eq!(disks.snapshots().await?.len(), 2, "before it thaws");
    std::fs::remove_file(marks.0.join("held"))?;
    let backup = ark.backup_ended("hooked").await?;
    assert_clean_backup(&backup);
    assert_eq!(recorded_snapshots(&ark, &backup)?.len(), 2);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_annotations_say_which_volumes() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "chosen").await?;
    let mut names = Vec::new();
    for claim in ["plain", "labelled", "refused", "asked"] {
        names.push(
            disks
                .volume(&client, namespace.name(), claim, "Retain")
                .await?
                .1,
        );
    }
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace.name());
    let change = async |claim: &str, metadata: serde_json::Value| {
        let patch = json!({ "metadata": metadata });
        let patch = kube::api::Patch::Merge(&patch);
        claims
            .patch(claim, &kube::api::PatchParams::default(), &patch)
            .await
    };
    change("labelled", json!({"labels": {"tier": "cache"}})).await?;
    change(
        "asked",
        json!({"labels": {"tier": "cache"}, "annotations": {ANNOTATION: "true"}}),
    )
    .await?;
    change("refused", json!({"annotations": {ANNOTATION: "false"}})).await?;
    // A volume that no snapshotter is for.
    let nfs = format!("{}-nfs", namespace.name());
    make_share(&client, &nfs, namespace.name(), "share").await?;
    let policies = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "policies", "namespace": ark.namespace()},
        "data": {"policies.yaml": "version: v1\nvolumePolicies:\n- conditions: {pvcLabels: {tier: cache}}\n  action: {type: skip}\n"},
    });
    apply_yaml(&client, &policies.to_string()).await?;
    ark.ark(&[
        "backup",
        "create",
        "chosen",
        "--include-namespaces",
        namespace.name(),
        "--resource-policies-configmap",
        "policies",
        "--wait",
    ])?;
    let backups: Api<Backup> = ark.api();
    let backup = backups.get("chosen").await?;
    assert_clean_backup(&backup);
    assert!(
        backup.spec.volume_policies.is_some(),
        "whoever takes it over has them"
    );
    let volumes = recorded(&ark, &backup)?;
    let fate = |name: &str| {
        let status = &volumes[name].status;
        (status.phase.as_str().to_owned(), status.message.clone())
    };
    for (name, phase, why) in [
        (&names[0], "Completed", ""),
        (&names[1], "Skipped", "volume policy 1 says skip"),
        (&names[2], "Skipped", "annotation"),
        (&names[3], "Completed", ""),
        (&nfs, "Skipped", "no snapshotter is for it"),
    ] {
        let (found, message) = fate(name);
        assert_eq!(found, phase, "{name}: {message}");
        assert!(message.contains(why), "{name}: {message}");
    }
    let status = backup.status.unwrap_or_default();
    assert_eq!(status.volumes_skipped, Some(3));
    let shown = ark.ark(&["backup", "describe", "chosen", "--details"])?;
    assert!(shown.contains("volume policy 1 says skip"), "{shown}");

    // Off is off, and says so.
    let spec = BackupSpec {
        snapshot_volumes: Some(false),
        ..all_of(&namespace)
    };
    let before = disks.snapshots().await?.len();
    let backup = ark.back_up("none", spec).await?;
    assert_clean_backup(&backup);
    assert_eq!(disks.snapshots().await?.len(), before);
    let volumes = recorded(&ark, &backup)?;
    assert_eq!(volumes.len(), 5);
    assert!(
        volumes
            .values()
            .all(|one| one.status.message.contains("snapshotVolumes"))
    );
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_volumes_in_one_backup() -> Result<()> {
    const MANY: usize = 100;
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "hundred").await?;
    for n in 0..MANY {
        let disk = disks.moto.create_volume(ZONE, &[("Size", "1")]).await?;
        let (volume, claim) = (format!("{}-{n:03}", namespace.name()), format!("c{n:03}"));
        make_volume(&client, &volume, namespace.name(), &claim, "Retain", &disk).await?;
    }
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace.name());
    wait_until("all claims are bound", PATIENCE, async || {
        let all = claims.list(&ListParams::default()).await?;
        let bound = all.iter().filter(|claim| {
            let status = claim.status.as_ref();
            status.and_then(|status| status.phase.as_deref()) == Some("Bound")
        });
        Ok((bound.count() == MANY).then_some(()))
    })
    .await?;
    let backup = ark.back_up("hundred", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    assert_eq!(recorded_snapshots(&ark, &backup)?.len(), MANY);
    assert_eq!(disks.snapshots().await?.len(), MANY);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_once_where_it_belongs() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "wrong").await?;
    let (disk, gone) = disks
        .volume(&client, namespace.name(), "gone", "Retain")
        .await?;
    let (_, well) = disks
        .volume(&client, namespace.name(), "well", "Retain")
        .await?;
    disks.moto.delete_volume(&disk).await?;

    // A volume that is gone.
    let backup = ark.back_up("gone", all_of(&namespace)).await?;
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::PartiallyFailed);
    let errors = results(&ark, &backup)?.errors;
    assert_eq!(errors.count(), 1, "{errors:?}");
    assert!(
        errors.cluster[0].contains(&gone) && errors.cluster[0].contains(&disk),
        "{errors:?}"
    );
    let volumes = recorded(&ark, &backup)?;
    assert_eq!(volumes[&gone].status.phase, VolumeSnapshotPhase::Failed);
    assert_eq!(volumes[&well].status.phase, VolumeSnapshotPhase::Completed);
    assert_eq!(status.snapshots_pending, []);

    // A share that is used up.
    let quota = "<Response><Errors><Error><Code>SnapshotLimitExceeded</Code><Message>enough</Message></Error></Errors></Response>";
    disks.front.trouble_of(
        "Action=CreateSnapshot",
        Trouble::Answer(400, quota.into()),
        usize::MAX,
    );
    let backup = ark.back_up("quota", all_of(&namespace)).await?;
    disks.front.recover();
    let errors = results(&ark, &backup)?.errors;
    assert_eq!(errors.count(), 2, "{errors:?}");
    assert!(
        errors
            .cluster
            .iter()
            .any(|line| line.contains("SnapshotLimitExceeded")),
        "{errors:?}"
    );
    assert_eq!(backup.status.unwrap_or_default().snapshots_pending, []);

    // A provider that there is not, beside one that there is: said once, and the rest is snapshot.
    for share in ["share-1", "share-2"] {
        let volume = format!("{}-{share}", namespace.name());
        make_share(&client, &volume, namespace.name(), share).await?;
    }
    locate(&ark, "odd", "floppy", &[]).await?;
    let locations: Api<VolumeSnapshotLocation> = ark.api();
    let told = wait_until("the location is looked at", PATIENCE, async || {
        let status = locations.get("odd").await?.status.unwrap_or_default();
        Ok((status.phase != VolumeSnapshotLocationPhase::New).then_some(status))
    })
    .await?;
    assert_eq!(told.phase, VolumeSnapshotLocationPhase::Unavailable);
    assert!(told.message.contains("floppy"), "{told:?}");
    let backup = ark.back_up("odd", all_of(&namespace)).await?;
    let volumes = recorded(&ark, &backup)?;
    assert_eq!(volumes[&well].status.phase, VolumeSnapshotPhase::Completed);
    let errors = results(&ark, &backup)?.errors;
    assert_eq!(errors.count(), 2, "{errors:?}");
    assert!(
        errors.ark[0].contains("floppy") && errors.ark[0].contains("2 volumes"),
        "{errors:?}"
    );
    let shown = ark.ark(&["snapshot-location", "get"])?;
    assert!(shown.contains("Unavailable"), "{shown}");

    // Snapshots that cannot be removed keep their backup, until somebody does without them.
    disks.front.trouble_of(
        "Action=DeleteSnapshot",
        Trouble::Answer(403, String::new()),
        usize::MAX,
    );
    let requests: Api<DeleteBackupRequest> = ark.api();
    let spec = DeleteBackupRequestSpec {
        backup_name: "odd".into(),
        ..DeleteBackupRequestSpec::default()
    };
    requests
        .create(
            &PostParams::default(),
            &DeleteBackupRequest::new("odd", spec),
        )
        .await?;
    let errors = wait_until("the deletion is through", PATIENCE, async || {
        let status = requests.get("odd").await?.status.unwrap_or_default();
        Ok((status.phase == DeleteBackupRequestPhase::Processed).then_some(status.errors))
    })
    .await?;
    assert!(errors[0].contains("--keep-snapshots"), "{errors:?}");
    let backups: Api<Backup> = ark.api();
    assert!(backups.get_opt("odd").await?.is_some());
    ark.ark(&["backup", "delete", "odd", "--confirm", "--keep-snapshots"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        Ok(backups.get_opt("odd").await?.is_none().then_some(()))
    })
    .await?;
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_original_gets_volumes_of_its_own() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "copied").await?;
    let (disk, volume) = disks
        .volume(&client, namespace.name(), "db", "Retain")
        .await?;
    assert_clean_backup(&ark.back_up("copied", all_of(&namespace)).await?);
    let target = unique_name("copy");
    let spec = moved("copied", &namespace, &target);
    assert_clean_restore(&ark.restore("copied", spec).await?);
    until_bound(&client, &target, "db").await?;
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &target);
    let spec = claims.get("db").await?.spec.unwrap_or_default();
    let copy = spec.volume_name.context("a volume")?;
    assert!(copy.starts_with("ark-clone-"), "{copy}");
    let made = Api::<PersistentVolume>::all(client.clone())
        .get(&copy)
        .await?;
    assert_eq!(
        made.metadata.annotations.unwrap_or_default()["ark.heptio.com/original-pv-name"],
        volume
    );
    // The original is untouched.
    assert_eq!(disk_of(&client, &volume).await?, disk);
    assert_ne!(disk_of(&client, &copy).await?, disk);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_provider_is_another_objects_come_and_data_is_named() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "abroad").await?;
    let (_, volume) = disks
        .volume(&client, namespace.name(), "db", "Delete")
        .await?;
    assert_clean_backup(&ark.back_up("abroad", all_of(&namespace)).await?);
    lose(&client, &namespace, &[&volume]).await?;
    let locations: Api<VolumeSnapshotLocation> = ark.api();
    locations
        .delete("disks", &kube::api::DeleteParams::default())
        .await?;

    // Without a word nothing takes the data's place.
    let restore = restore_until(
        &ark,
        "plain",
        restore_of("abroad"),
        "there is no snapshot location",
    )
    .await?;
    let status = restore.status.unwrap_or_default();
    assert_eq!(status.phase, RestorePhase::PartiallyFailed, "{status:?}");
    assert_eq!((status.errors, status.warnings), (1, 0), "{status:?}");
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace.name());
    let spec = claims.get("db").await?.spec.unwrap_or_default();
    assert_eq!(
        spec.volume_name,
        Some(volume.clone()),
        "it waits for its volume"
    );
    claims
        .delete("db", &kube::api::DeleteParams::default())
        .await?;

    let spec = RestoreSpec {
        empty_volumes: Some(true),
        ..restore_of("abroad")
    };
    let restore = restore_until(&ark, "empty", spec, "empty").await?;
    let status = restore.status.unwrap_or_default();
    assert_eq!(status.phase, RestorePhase::PartiallyFailed, "{status:?}");
    let spec = claims.get("db").await?.spec.unwrap_or_default();
    assert_eq!(spec.volume_name, None, "it asks for a new one");
    server.stop()
}

/// Restores, and checks that the results say something.
async fn restore_until(
    ark: &Installation<'_>,
    name: &str,
    spec: RestoreSpec,
    part: &str,
) -> Result<ark::api::Restore> {
    let restore = ark.restore(name, spec).await?;
    let shown = ark.ark(&["restore", "describe", name])?;
    assert!(shown.contains(part), "{part} is not in:\n{shown}");
    Ok(restore)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_of_early_arks_names_a_provider_too() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let locations: Api<VolumeSnapshotLocation> = ark.api();
    locations
        .delete("disks", &kube::api::DeleteParams::default())
        .await?;
    let configs: Api<ark::api::Config> = ark.api();
    let provider = json!({"persistentVolumeProvider": {"name": "aws", "config": {
        "region": crate::support::moto::REGION, "ec2Url": disks.front.address(),
    }}});
    configs
        .patch(
            "default",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&provider),
        )
        .await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "early").await?;
    disks
        .volume(&client, namespace.name(), "db", "Retain")
        .await?;
    let backup = ark.back_up("early", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    assert_eq!(recorded_snapshots(&ark, &backup)?.len(), 1);
    assert_eq!(backup.spec.volume_snapshot_locations, ["default"]);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_ark_0_9_recorded_are_restored() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(&plane).await?;
    // What the original wrote, had it snapshot the zoo's disk.
    let disk = disks
        .moto
        .create_volume("us-east-1a", &[("Size", "1")])
        .await?;
    let made = disks
        .moto
        .ec2("CreateSnapshot", &[("VolumeId", &disk)])
        .await?;
    let snapshot = element(&made, "snapshotId").context("a snapshot")?;
    copy(&fixture("ark-0.9"), &ark.bucket())?;
    let record = ark.bucket().join("zoo/ark-backup.json");
    let mut backup: serde_json::Value = serde_json::from_slice(&std::fs::read(&record)?)?;
    let mut record_snapshot = |id: &str| {
        backup["status"]["volumeBackups"] = json!({"zoo-ebs": {
            "snapshotID": id, "type": "gp2", "availabilityZone": "us-east-1a", "iops": null,
        }});
        std::fs::write(&record, backup.to_string())
    };
    record_snapshot("snap-00000000000000000")?;
    let server = ark.serve().await?;
    let spec = RestoreSpec {
        included_namespaces: vec!["zoo-data".into()],
        included_resources: [
            "persistentvolumeclaims",
            "persistentvolumes",
            "storageclasses",
        ]
        .map(str::to_owned)
        .into(),
        include_cluster_resources: Some(true),
        label_selector: Some(ark::api::selector::parse("app=zoo").expect("a selector")),
        ..restore_of("zoo")
    };

    // There is no such snapshot; and then no node where the disk will be.
    let nodes = Api::<Node>::all(client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.metadata.name.context("a name")?;
        let zone = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "elsewhere"}}});
        let patch = kube::api::Patch::Merge(&zone);
        nodes
            .patch(&name, &kube::api::PatchParams::default(), &patch)
            .await?;
    }
    let dry = |spec: &RestoreSpec| RestoreSpec {
        dry_run: Some(true),
        ..spec.clone()
    };
    ark.restore("gone", dry(&spec)).await?;
    let shown = ark.ark(&["restore", "describe", "gone", "--details"])?;
    assert!(shown.contains("there is no such snapshot"), "{shown}");
    record_snapshot(&snapshot)?;
    ark.restore("zones", dry(&spec)).await?;
    let shown = ark.ark(&["restore", "describe", "zones", "--details"])?;
    for part in [&snapshot, "it is in zone us-east-1a", "elsewhere only"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    assert_clean_restore(&ark.restore("zoo", spec).await?);
    until_bound(&client, "zoo-data", "db").await?;
    let volume = Api::<PersistentVolume>::all(client).get("zoo-ebs").await?;
    let source = volume.spec.and_then(|spec| spec.aws_elastic_block_store);
    let now = source.context("an EBS volume")?.volume_id;
    assert_eq!(disks.origin(&now).await?, Some(snapshot));
    server.stop()
}
