//! Volumes of CSI drivers in whole backups and restores, with the data that is in them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use ark::api::{Backup, BackupPhase, RestoreSpec, VolumeSnapshotPhase};
use ark::providers::snapshotter::SnapshotId;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cuts::forget;
use crate::objects::{contents_of, snapshots_of};
use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::csi::{Csi, DRIVER, Fault, LATE_CLASS};
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{
    all_of, assert_clean_backup, assert_clean_restore, moved, recorded, recorded_snapshots,
};
use crate::support::{PATIENCE, wait_until};

fn restore_of(backup: &str) -> RestoreSpec {
    RestoreSpec {
        backup_name: backup.to_owned(),
        ..RestoreSpec::default()
    }
}

/// Returns a pod that uses a claim.
fn pod(namespace: &str, name: &str, claim: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "containers": [{"name": "main", "image": "a", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}

async fn until_running(client: &kube::Client, namespace: &str, name: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    wait_until(&format!("pod {name} runs"), PATIENCE, async || {
        let phase = pods.get(name).await?.status.and_then(|status| status.phase);
        Ok((phase.as_deref() == Some("Running")).then_some(()))
    })
    .await
}

/// Returns the handles of the driver's snapshots of some volumes.
fn snapshots_of_volumes(csi: &Csi<'_>, volumes: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for snapshot in csi.snapshots()? {
        // One may go meanwhile that is of another test.
        if csi
            .source_of(&snapshot)
            .is_ok_and(|source| volumes.contains(&source))
        {
            found.insert(format!("{DRIVER}/{snapshot}"));
        }
    }
    Ok(found)
}

async fn delete_backup(ark: &Installation<'_>, name: &str) -> Result<()> {
    ark.ark(&["backup", "delete", name, "--confirm"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        let backups: Api<Backup> = ark.api();
        Ok(backups.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_lost_with_its_namespace_and_comes_back() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "whole").await?;
    let name = namespace.name();
    for claim in ["db", "kept"] {
        csi.claim(name, claim, "1Gi").await?;
        csi.write(name, claim, "who", claim).await?;
    }
    // The hooks write where the database would: what is in the snapshot was there between them.
    let folder = csi.folder_of(name, "db").await?;
    let write = |word: &str| {
        json!([
            "sh",
            "-c",
            format!("echo {word} > {}/state", folder.display())
        ])
    };
    let annotations = json!({
        "pre.hook.backup.ark.heptio.com/command": write("frozen").to_string(),
        "post.hook.backup.ark.heptio.com/command": write("thawed").to_string(),
    });
    apply_yaml(&client, &pod(name, "db", "db", &annotations).to_string()).await?;
    let late = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "late", "namespace": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": LATE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let user = pod(name, "user", "late", &json!({}));
    apply_yaml(&client, &format!("{late}\n---\n{user}")).await?;
    csi.write(name, "late", "who", "late").await?;
    until_running(&client, name, "db").await?;
    let (_, kept) = csi.volume_of(name, "kept").await?;
    let volumes = Api::<PersistentVolume>::all(client.clone());
    let kept = kept.metadata.name.context("a name")?;
    let retain = json!({
        "metadata": {"labels": {"owner": "me"}},
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    });
    volumes
        .patch(&kept, &PatchParams::default(), &Patch::Merge(&retain))
        .await?;

    let backup = ark.back_up("whole", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let snapshots = recorded_snapshots(&ark, &backup)?;
    assert_eq!(snapshots.len(), 3);
    assert_eq!(csi.read(name, "db", "state").await?, "thawed\n");
    assert_eq!(snapshots_of(&client, name).await?, [""; 0]);
    let shown = ark.ark(&["backup", "describe", "whole", "--details"])?;
    assert!(shown.contains("Snapshot Location:  csi"), "{shown}");

    // A volume that stays would be found by its claim, with its data.
    namespace.delete().await?;
    volumes.delete(&kept, &DeleteParams::default()).await?;
    wait_until("the volumes are gone", PATIENCE, async || {
        let left = recorded(&ark, &backup)?;
        for volume in left.keys() {
            if volumes.get_opt(volume).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let restored = ark.restore("whole", restore_of("whole")).await?;
    assert_clean_restore(&restored);
    for claim in ["db", "kept", "late"] {
        assert_eq!(csi.read(name, claim, "who").await?, claim);
    }
    assert_eq!(csi.read(name, "db", "state").await?, "frozen\n");
    let (_, kept) = csi.volume_of(name, "kept").await?;
    let spec = kept.spec.unwrap_or_default();
    assert_eq!(
        spec.persistent_volume_reclaim_policy.as_deref(),
        Some("Retain")
    );
    let labels = kept.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("owner").map(String::as_str), Some("me"));
    assert_eq!(
        snapshots_of(&client, name).await?,
        [""; 0],
        "what the claims were filled from is not needed any more"
    );

    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_have_the_data_of_the_backup_and_go_on_with_their_own() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "copied").await?;
    let name = namespace.name();
    for claim in ["db", "log"] {
        csi.claim(name, claim, "1Gi").await?;
        csi.write(name, claim, "who", claim).await?;
    }
    let backup = ark.back_up("first", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let snapshots = recorded_snapshots(&ark, &backup)?;
    csi.write(name, "db", "who", "changed since").await?;

    // Beside the original, in a cluster that does not know one of the snapshots.
    let db = snapshots.first().context("a snapshot")?;
    forget(&client, &SnapshotId(db.clone())).await?;
    let copy = format!("{name}-copy");
    assert_clean_restore(
        &ark.restore("copy", moved("first", &namespace, &copy))
            .await?,
    );
    for claim in ["db", "log"] {
        assert_eq!(csi.read(&copy, claim, "who").await?, claim);
    }
    assert_eq!(csi.read(name, "db", "who").await?, "changed since");
    // Once more: everything is there, and keeps its data.
    csi.write(&copy, "db", "who", "newer").await?;
    assert_clean_restore(
        &ark.restore("again", moved("first", &namespace, &copy))
            .await?,
    );
    assert_eq!(csi.read(&copy, "db", "who").await?, "newer");
    // What was restored can be backed up, and a claim without data does not wait for what filled it once.
    let mut of_copy = all_of(&namespace);
    of_copy.included_namespaces = vec![copy.clone()];
    assert_clean_backup(&ark.back_up("second", of_copy).await?);
    let target = format!("{name}-empty");
    let empty = RestoreSpec {
        restore_pvs: Some(false),
        empty_volumes: Some(true),
        namespace_mapping: [(copy, target.clone())].into(),
        ..restore_of("second")
    };
    ark.restore("empty", empty).await?;
    csi.handle_of(&target, "db").await?;
    assert!(csi.read(&target, "db", "who").await.is_err());

    for name in ["first", "second"] {
        delete_backup(&ark, name).await?;
    }
    for snapshot in &snapshots {
        assert_eq!(
            contents_of(&client, &SnapshotId(snapshot.clone()))
                .await?
                .len(),
            0
        );
        let handle = snapshot.trim_start_matches(&format!("{DRIVER}/"));
        assert!(!csi.snapshots()?.contains(&handle.to_owned()), "{snapshot}");
    }
    assert_eq!(ark.keys(), ["metadata/revision"]);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_come_to_nothing_are_told_and_removed() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "trouble").await?;
    let name = namespace.name();
    let mut handles = BTreeMap::new();
    for claim in ["good", "slow"] {
        csi.claim(name, claim, "1Gi").await?;
        handles.insert(claim, csi.handle_of(name, claim).await?);
    }
    csi.set(&handles["slow"], Fault::NotReady, true)?;
    let mut spec = all_of(&namespace);
    spec.csi_snapshot_timeout = Some("5s".to_owned());
    let backup = ark.back_up("trouble", spec).await?;
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:?}");
    assert_eq!(status.errors, Some(1), "{status:?}");
    let volumes = recorded(&ark, &backup)?;
    let of = |claim: &str| {
        let found = volumes
            .values()
            .find(|volume| volume.spec.claim == format!("{name}/{claim}"));
        found.expect("it is recorded").status.clone()
    };
    assert_eq!(of("good").phase, VolumeSnapshotPhase::Completed);
    assert_eq!(of("slow").phase, VolumeSnapshotPhase::Failed);
    assert!(
        of("slow").message.contains("not ready within 5s"),
        "{}",
        of("slow").message
    );
    // What is of no use is not kept, and nothing of it stays in the cluster.
    let mine: BTreeSet<String> = handles.into_values().collect();
    assert_eq!(
        snapshots_of_volumes(csi, &mine)?,
        recorded_snapshots(&ark, &backup)?
    );
    assert_eq!(snapshots_of(&client, name).await?, [""; 0]);
    delete_backup(&ark, "trouble").await?;
    assert_eq!(snapshots_of_volumes(csi, &mine)?.len(), 0);
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_while_its_snapshot_is_made() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "dies").await?;
    let name = namespace.name();
    csi.claim(name, "db", "1Gi").await?;
    csi.write(name, "db", "who", "db").await?;
    let volume = csi.handle_of(name, "db").await?;
    csi.set(&volume, Fault::Waits("CreateSnapshot"), true)?;
    let first = ark.serve().await?;
    let backups: Api<Backup> = ark.api();
    backups
        .create(
            &PostParams::default(),
            &Backup::new("dies", all_of(&namespace)),
        )
        .await?;
    wait_until("the snapshot is asked for", PATIENCE, async || {
        Ok((snapshots_of(&client, name).await?.len() == 1).then_some(()))
    })
    .await?;
    let noted = backups.get("dies").await?.status.unwrap_or_default();
    assert_eq!(noted.snapshots_pending.len(), 1, "{noted:?}");
    first.kill();
    let second = ark.serve().await?;
    wait_until("the run is taken over", PATIENCE, async || {
        let status = backups.get("dies").await?.status.unwrap_or_default();
        Ok(status.run.is_some_and(|run| run.attempt == 2).then_some(()))
    })
    .await?;
    csi.set(&volume, Fault::Waits("CreateSnapshot"), false)?;
    let backup = ark.backup_ended("dies").await?;
    assert_clean_backup(&backup);
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.snapshots_pending, []);
    assert_eq!(
        snapshots_of_volumes(csi, &[volume].into())?,
        recorded_snapshots(&ark, &backup)?,
        "what the first try made is removed"
    );
    assert_eq!(snapshots_of(&client, name).await?, [""; 0]);
    second.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_while_it_fills_a_claim() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "filled").await?;
    let name = namespace.name();
    csi.claim(name, "db", "1Gi").await?;
    csi.write(name, "db", "who", "db").await?;
    let volume = csi.handle_of(name, "db").await?;
    let first = ark.serve().await?;
    assert_clean_backup(&ark.back_up("filled", all_of(&namespace)).await?);
    namespace.delete().await?;
    let restores: Api<ark::api::Restore> = ark.api();
    restores
        .create(
            &PostParams::default(),
            &ark::api::Restore::new("filled", restore_of("filled")),
        )
        .await?;
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), name);
    wait_until("the claim is made", PATIENCE, async || {
        Ok(claims.get_opt("db").await?)
    })
    .await?;
    first.kill();
    let second = ark.serve().await?;
    assert_clean_restore(&ark.restore_ended("filled").await?);
    assert_eq!(csi.read(name, "db", "who").await?, "db");
    assert_ne!(csi.handle_of(name, "db").await?, volume);
    assert_eq!(snapshots_of(&client, name).await?, [""; 0]);
    second.stop()
}
