//! Servers that die over snapshots: at each step of a snapshot's life nothing is left that nobody knows, and nothing is
//! made twice.

use anyhow::{Context as _, Result};
use ark::api::{Backup, BackupPhase, Restore, RestorePhase, RestoreSpec};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, PostParams};

use crate::disks::{Disks, lose};
use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::front::Trouble;
use crate::support::namespace::TestNamespace;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, recorded_snapshots};
use crate::support::{PATIENCE, wait_until};

/// Begins a backup of a namespace.
async fn begin(ark: &Installation<'_>, name: &str, namespace: &TestNamespace) -> Result<()> {
    let backups: Api<Backup> = ark.api();
    backups
        .create(
            &PostParams::default(),
            &Backup::new(name, all_of(namespace)),
        )
        .await?;
    Ok(())
}

/// Waits until the cloud has been asked something so often.
async fn asked(disks: &Disks, what: &str, times: usize) -> Result<()> {
    wait_until(&format!("{what} is asked for"), PATIENCE, async || {
        Ok((disks.front.count(what) >= times).then_some(()))
    })
    .await
}

/// Fails unless the cloud has exactly the snapshots that a backup recorded.
async fn nothing_is_orphaned(disks: &Disks, ark: &Installation<'_>, backup: &Backup) -> Result<()> {
    assert_clean_backup(backup);
    let recorded = recorded_snapshots(ark, backup)?;
    assert_eq!(recorded.len(), 1);
    let there = disks.snapshots().await?.into_keys().collect();
    assert_eq!(recorded, there);
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(status.run.map(|run| run.attempt), Some(2));
    assert_eq!(status.snapshots_pending, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_before_and_after_a_snapshot_is_made() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    for (name, call, trouble, made) in [
        ("asking", "Action=CreateSnapshot", Trouble::Hold, 0),
        ("answer", "Action=CreateSnapshot", Trouble::HoldAnswer, 1),
        // How it fares is looked at just before the backup is recorded.
        ("record", "snapshot-id", Trouble::Hold, 1),
    ] {
        let disks = Disks::start().await?;
        let ark = disks.install(plane).await?;
        let namespace = TestNamespace::new(plane, name).await?;
        disks
            .volume(&client, namespace.name(), "db", "Retain")
            .await?;
        let first = ark.serve().await?;
        disks.front.trouble_of(call, trouble, 1);
        begin(&ark, name, &namespace).await?;
        asked(&disks, call, 1).await?;
        wait_until("moto has done what it was asked", PATIENCE, async || {
            Ok((disks.snapshots().await?.len() == made).then_some(()))
        })
        .await?;
        // It was noted before.
        let backups: Api<Backup> = ark.api();
        let status = backups.get(name).await?.status.unwrap_or_default();
        assert_eq!(status.snapshots_pending.len(), 1, "{status:?}");
        let known = !status.snapshots_pending[0].snapshot_id.is_empty();
        assert_eq!(known, name == "record");
        first.kill();
        let second = ark.serve().await?;
        let backup = ark.backup_ended(name).await?;
        nothing_is_orphaned(&disks, &ark, &backup).await?;
        second.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_given_up_takes_its_snapshots_along() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let namespace = TestNamespace::new(plane, "deleted").await?;
    disks
        .volume(&client, namespace.name(), "db", "Retain")
        .await?;
    let server = ark.serve().await?;
    disks
        .front
        .trouble_of("Action=CreateSnapshot", Trouble::HoldAnswer, 1);
    begin(&ark, "deleted", &namespace).await?;
    wait_until("the snapshot is made", PATIENCE, async || {
        Ok((disks.snapshots().await?.len() == 1).then_some(()))
    })
    .await?;
    // Its resource is deleted, which ends the run, and with it goes all that was noted.
    let backups: Api<Backup> = ark.api();
    backups
        .delete("deleted", &kube::api::DeleteParams::default())
        .await?;
    disks.front.recover();
    wait_until("the snapshot is removed", PATIENCE, async || {
        Ok(disks.snapshots().await?.is_empty().then_some(()))
    })
    .await?;
    server.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_while_it_removes_snapshots() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let namespace = TestNamespace::new(plane, "removed").await?;
    disks
        .volume(&client, namespace.name(), "db", "Retain")
        .await?;
    let first = ark.serve().await?;
    assert_clean_backup(&ark.back_up("removed", all_of(&namespace)).await?);
    disks
        .front
        .trouble_of("Action=DeleteSnapshot", Trouble::Hold, 1);
    ark.ark(&["backup", "delete", "removed", "--confirm"])?;
    asked(&disks, "Action=DeleteSnapshot", 1).await?;
    let backups: Api<Backup> = ark.api();
    let phase = backups
        .get("removed")
        .await?
        .status
        .unwrap_or_default()
        .phase;
    assert_eq!(phase, BackupPhase::Deleting);
    assert!(
        ark.keys()
            .iter()
            .any(|key| key.ends_with("ark-backup.json")),
        "all else stays"
    );
    first.kill();
    let second = ark.serve().await?;
    wait_until("the backup is gone", PATIENCE, async || {
        Ok(backups.get_opt("removed").await?.is_none().then_some(()))
    })
    .await?;
    assert!(disks.snapshots().await?.is_empty());
    second.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_while_it_restores_a_volume() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let disks = Disks::start().await?;
    let ark = disks.install(plane).await?;
    let namespace = TestNamespace::new(plane, "restored").await?;
    let (disk, volume) = disks
        .volume(&client, namespace.name(), "db", "Retain")
        .await?;
    let first = ark.serve().await?;
    assert_clean_backup(&ark.back_up("restored", all_of(&namespace)).await?);
    lose(&client, &namespace, &[&volume]).await?;
    disks
        .front
        .trouble_of("Action=CreateVolume", Trouble::HoldAnswer, 1);
    let restores: Api<Restore> = ark.api();
    let spec = RestoreSpec {
        backup_name: "restored".into(),
        ..RestoreSpec::default()
    };
    restores
        .create(&PostParams::default(), &Restore::new("restored", spec))
        .await?;
    wait_until("the volume is made", PATIENCE, async || {
        Ok((disks.made().await?.len() == 1).then_some(()))
    })
    .await?;
    let phase = restores
        .get("restored")
        .await?
        .status
        .unwrap_or_default()
        .phase;
    assert_eq!(phase, RestorePhase::InProgress);
    first.kill();
    let second = ark.serve().await?;
    assert_clean_restore(&ark.restore_ended("restored").await?);
    let made = disks.made().await?;
    assert_eq!(made.len(), 1, "the one that was made is used");
    let restored = Api::<PersistentVolume>::all(client).get(&volume).await?;
    let csi = restored
        .spec
        .and_then(|spec| spec.csi)
        .context("a CSI volume")?;
    assert!(made.contains_key(&csi.volume_handle));
    assert_ne!(csi.volume_handle, disk);
    second.stop()
}
