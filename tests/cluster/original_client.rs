//! What the clients of the original Ark send, as they send it: every list that is not set is `null`, times are `null`,
//! and there is a status of zero values. This server understands all of it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ark::api::{
    Backup, BackupPhase, DeleteBackupRequest, DownloadRequest, DownloadRequestPhase, Restore,
    RestorePhase, Schedule, SchedulePhase,
};
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, wait_until};

/// Posts an object as it is, the way a client without our types does.
async fn post(ark: &Installation<'_>, object: Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let kind = object.types.as_ref().context("a kind")?.kind.clone();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("ark.heptio.com", "v1", &kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(ark.plane().client(), ark.namespace(), &resource);
    Ok(api.create(&PostParams::default(), &object).await?)
}

fn backup_spec(namespace: &str) -> Value {
    json!({
        "includedNamespaces": [namespace],
        "excludedNamespaces": null,
        "includedResources": ["configmaps"],
        "excludedResources": null,
        "labelSelector": null,
        "snapshotVolumes": null,
        "ttl": "720h0m0s",
        "includeClusterResources": null,
        "hooks": {"resources": null},
    })
}

fn metadata(ark: &Installation<'_>, name: &str) -> Value {
    json!({"name": name, "namespace": ark.namespace(), "creationTimestamp": null})
}

/// Waits for what the original client waits for: a URL.
async fn download_url(ark: &Installation<'_>, name: &str) -> Result<String> {
    let requests: Api<DownloadRequest> = ark.api();
    wait_until(
        &format!("download {name} is processed"),
        PATIENCE,
        async || {
            let status = requests.get(name).await?.status.unwrap_or_default();
            if status.phase != DownloadRequestPhase::Processed {
                return Ok(None);
            }
            anyhow::ensure!(!status.download_url.is_empty(), "{}", status.message);
            Ok(Some(status.download_url))
        },
    )
    .await
}

#[tokio::test]
async fn requests_of_the_original_clients_are_understood() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve().await?;
    let namespace = ark.namespace().to_owned();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept", "namespace": namespace}, "data": {"a": "b"},
    });
    apply_yaml(&ark.plane().client(), &map.to_string()).await?;

    let uid = backups_are_made(&ark).await?;
    a_restore_is_carried_out(&ark).await?;
    files_are_offered(&ark).await?;
    a_schedule_makes_a_backup(&ark).await?;
    everything_of_a_backup_is_removed(&ark, &uid).await?;
    server.stop()
}

/// Has backups made by the clients of Ark 0.8 and 0.10; returns the first one's UID.
async fn backups_are_made(ark: &Installation<'_>) -> Result<String> {
    // Ark 0.8.
    let backup = json!({
        "kind": "Backup", "apiVersion": "ark.heptio.com/v1",
        "metadata": metadata(ark, "old"),
        "spec": backup_spec(ark.namespace()),
        "status": {"version": 0, "expiration": null, "phase": "", "volumeBackups": null, "validationErrors": null},
    });
    post(ark, backup).await?;
    let backup = ark.backup_ended("old").await?;
    let uid = backup.metadata.uid.context("a UID")?;
    let status = backup.status.context("a status")?;
    assert_eq!(
        status.phase,
        BackupPhase::Completed,
        "{:?}",
        status.validation_errors
    );
    let kept = status
        .expiration
        .context("it expires")?
        .0
        .duration_since(status.start_timestamp.context("it began")?.0);
    assert_eq!(Duration::try_from(kept)?, Duration::from_hours(720));

    // Ark 0.10 adds fields.
    let mut spec = backup_spec(ark.namespace());
    spec["storageLocation"] = json!("");
    spec["volumeSnapshotLocations"] = json!(null);
    let backup = json!({
        "kind": "Backup", "apiVersion": "ark.heptio.com/v1",
        "metadata": metadata(ark, "newer"),
        "spec": spec,
        "status": {"version": 0, "expiration": null, "phase": "", "validationErrors": null,
            "startTimestamp": null, "completionTimestamp": null,
            "volumeSnapshotsAttempted": 0, "volumeSnapshotsCompleted": 0},
    });
    post(ark, backup).await?;
    let newer = ark
        .backup_ended("newer")
        .await?
        .status
        .context("a status")?;
    assert_eq!(
        newer.phase,
        BackupPhase::Completed,
        "{:?}",
        newer.validation_errors
    );

    Ok(uid)
}

async fn a_restore_is_carried_out(ark: &Installation<'_>) -> Result<()> {
    let restore = json!({
        "kind": "Restore", "apiVersion": "ark.heptio.com/v1",
        "metadata": metadata(ark, "old-20260101000000"),
        "spec": {
            "backupName": "old", "includedNamespaces": ["*"], "excludedNamespaces": null,
            "includedResources": null, "excludedResources": null,
            "namespaceMapping": {}, "labelSelector": null, "restorePVs": null, "includeClusterResources": null,
        },
        "status": {"phase": "", "validationErrors": null, "warnings": 0, "errors": 0, "failureReason": ""},
    });
    post(ark, restore).await?;
    let restore: Restore = ark.restore_ended("old-20260101000000").await?;
    let status = restore.status.context("a status")?;
    assert_eq!(
        status.phase,
        RestorePhase::Completed,
        "{:?}",
        status.validation_errors
    );

    Ok(())
}

async fn files_are_offered(ark: &Installation<'_>) -> Result<()> {
    for (kind, target) in [
        ("BackupLog", "old"),
        ("BackupContents", "old"),
        ("RestoreLog", "old-20260101000000"),
        ("RestoreResults", "old-20260101000000"),
    ] {
        let name = format!("{target}-{}", kind.to_lowercase());
        let request = json!({
            "kind": "DownloadRequest", "apiVersion": "ark.heptio.com/v1",
            "metadata": metadata(ark, &name),
            "spec": {"target": {"kind": kind, "name": target}},
            "status": {"phase": "", "downloadURL": "", "expiration": null},
        });
        post(ark, request).await?;
        assert!(
            download_url(ark, &name).await?.starts_with("http"),
            "{kind}"
        );
    }

    Ok(())
}

async fn a_schedule_makes_a_backup(ark: &Installation<'_>) -> Result<()> {
    let schedule = json!({
        "kind": "Schedule", "apiVersion": "ark.heptio.com/v1",
        "metadata": metadata(ark, "daily"),
        "spec": {"template": backup_spec(ark.namespace()), "schedule": "@every 24h"},
        "status": {"phase": "", "lastBackup": null, "validationErrors": null},
    });
    post(ark, schedule).await?;
    let schedules: Api<Schedule> = ark.api();
    let made = wait_until("the schedule has made a backup", PATIENCE, async || {
        let status = schedules.get("daily").await?.status.unwrap_or_default();
        let enabled = status.phase == SchedulePhase::Enabled;
        Ok((enabled && status.last_backup.is_some()).then_some(status.last_backup_name))
    })
    .await?;
    let scheduled = ark.backup_ended(&made).await?;
    assert_eq!(
        scheduled.status.context("a status")?.phase,
        BackupPhase::Completed
    );

    Ok(())
}

async fn everything_of_a_backup_is_removed(ark: &Installation<'_>, uid: &str) -> Result<()> {
    let request = json!({
        "kind": "DeleteBackupRequest", "apiVersion": "ark.heptio.com/v1",
        "metadata": {"generateName": "old-", "namespace": ark.namespace(), "creationTimestamp": null, "labels": {
            "ark.heptio.com/backup-name": "old",
            "ark.heptio.com/backup-uid": uid,
        }},
        "spec": {"backupName": "old"},
        "status": {"phase": "", "errors": null},
    });
    post(ark, request).await?;
    let (backups, restores, requests): (Api<Backup>, Api<Restore>, Api<DeleteBackupRequest>) =
        (ark.api(), ark.api(), ark.api());
    wait_until(
        "backup, restore and request are gone",
        PATIENCE,
        async || {
            let gone = backups.get_opt("old").await?.is_none()
                && restores.get_opt("old-20260101000000").await?.is_none()
                && requests
                    .list(&ListParams::default())
                    .await?
                    .items
                    .is_empty();
            Ok(gone.then_some(()))
        },
    )
    .await?;
    let left: Vec<_> = ark.keys();
    assert!(
        !left
            .iter()
            .any(|key| key.starts_with("backups/old/") || key.starts_with("restores/")),
        "{left:?}"
    );
    Ok(())
}
