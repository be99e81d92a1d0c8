//! Schedules and locations through the command line. No server runs: what one would write into their status is written
//! here.

use anyhow::Result;
use ark::api::{Backup, BackupStorageLocation, Restore, Schedule, VolumeSnapshotLocation, labels};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::{PATIENCE, wait_until};

/// Runs `ark` once the API server is ready for the types, which it is not for a moment after their definition.
async fn first(ark: &Installation<'_>, arguments: &[&str]) -> Result<String> {
    wait_until("the first command", PATIENCE, async || {
        Ok(Some(ark.ark(arguments)?))
    })
    .await
}

/// Runs `ark`, which must fail, and returns what it says.
fn refused(ark: &Installation<'_>, arguments: &[&str]) -> Result<String> {
    let output = ark.command().args(arguments).output()?;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn patch_status<K>(api: &Api<K>, name: &str, status: Value) -> Result<()>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test]
async fn schedules_are_made_paused_shown_and_deleted() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    let schedules: Api<Schedule> = ark.api();
    let create = [
        "schedule",
        "create",
        "nightly",
        "--schedule",
        "0 3 * * *",
        "--labels",
        "tier=web",
        "-l",
        "app=nginx",
        "--include-cluster-resources",
        "--ttl",
        "24h",
        "--keep-newest",
    ];
    let said = first(&ark, &create).await?;
    assert_eq!(said, "Schedule \"nightly\" has been created.\n");
    let said = refused(&ark, &create)?;
    assert!(
        said.contains("schedule \"nightly\" exists already"),
        "{said}"
    );
    let made = schedules.get("nightly").await?;
    assert_eq!(made.labels()["tier"], "web");
    assert_eq!(made.spec.template.include_cluster_resources, Some(true));
    assert!(made.spec.keep_newest);

    patch_status(
        &schedules,
        "nightly",
        json!({
            "phase": "Enabled",
            "lastBackup": "2017-07-27T03:00:00Z",
            "lastBackupName": "nightly-20170727030000",
            "nextBackup": "2017-07-28T03:00:00Z",
        }),
    )
    .await?;
    let table = ark.ark(&["get", "schedules"])?;
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "NAME      STATUS    CREATED                         SCHEDULE    BACKUP TTL   LAST BACKUP   SELECTOR"
        )
    );
    let row = lines.next().unwrap_or_default();
    assert!(row.starts_with("nightly   Enabled   20"), "{table}");
    assert!(row.contains("   0 3 * * *   24h0m0s      "), "{table}");
    assert!(row.ends_with("y ago        app=nginx"), "{table}");
    let text = ark.ark(&["schedule", "describe", "nightly"])?;
    assert!(
        text.contains("Last Backup Name:  nightly-20170727030000\n"),
        "{text}"
    );

    // A misspelt name ends it before anything is done.
    let said = refused(&ark, &["schedule", "pause", "nightly", "nightlyy"])?;
    assert!(
        said.contains("schedule \"nightlyy\" does not exist"),
        "{said}"
    );
    assert!(!schedules.get("nightly").await?.spec.paused);
    let said = ark.ark(&["schedule", "pause", "nightly"])?;
    assert_eq!(said, "Schedule \"nightly\" has been paused.\n");
    assert!(schedules.get("nightly").await?.spec.paused);
    assert!(
        ark.ark(&["schedule", "get", "nightly"])?
            .contains("nightly   Paused    ")
    );
    let said = ark.ark(&["schedule", "pause", "nightly"])?;
    assert_eq!(said, "Schedule \"nightly\" is paused already.\n");
    ark.ark(&["schedule", "unpause", "nightly"])?;
    let after = schedules.get("nightly").await?;
    assert_eq!(after.spec, made.spec, "only pausing was changed, and back");

    let said = ark.ark(&["schedule", "delete", "nightly", "--confirm"])?;
    assert_eq!(said, "Schedule \"nightly\" has been deleted.\n");
    assert!(
        schedules
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn backups_and_restores_from_schedules() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    first(
        &ark,
        &[
            "schedule",
            "create",
            "nightly",
            "--schedule",
            "@daily",
            "--labels",
            "tier=web",
            "--include-namespaces",
            "shop",
            "--storage-location",
            "second",
        ],
    )
    .await?;

    ark.ark(&["backup", "create", "--from-schedule", "nightly"])?;
    let backups = ark
        .api::<Backup>()
        .list(&ListParams::default())
        .await?
        .items;
    let [backup] = &backups[..] else {
        panic!("one backup: {backups:?}");
    };
    let name = backup.name_any();
    let (series, stamp) = name.rsplit_once('-').unwrap_or_default();
    assert_eq!((series, stamp.len()), ("nightly", 14), "{name}");
    assert_eq!(backup.labels()[labels::SCHEDULE], "nightly");
    assert_eq!(backup.labels()["tier"], "web");
    assert_eq!(backup.spec.storage_location, "second");
    assert_eq!(backup.spec.included_namespaces, ["shop"]);
    let table = ark.ark(&["backup", "get", &name])?;
    assert!(
        table.contains("   STORAGE LOCATION   SELECTOR\n"),
        "{table}"
    );
    assert!(table.contains("   second             <none>\n"), "{table}");

    ark.ark(&["restore", "create", "--from-schedule", "nightly"])?;
    let restores = ark
        .api::<Restore>()
        .list(&ListParams::default())
        .await?
        .items;
    let [restore] = &restores[..] else {
        panic!("one restore: {restores:?}");
    };
    assert!(restore.name_any().starts_with("nightly-"), "{restore:?}");
    assert_eq!(restore.spec.schedule_name, "nightly");
    assert_eq!(restore.spec.backup_name, "");
    for verb in [["backup", "create"], ["restore", "create"]] {
        let said = refused(&ark, &[verb[0], verb[1], "--from-schedule", "weekly"])?;
        assert!(
            said.contains("schedule \"weekly\" does not exist"),
            "{said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn locations_are_made_shown_and_deleted() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    let locations: Api<BackupStorageLocation> = ark.api();
    let create = [
        "backup-location",
        "create",
        "second",
        "--provider",
        "aws",
        "--bucket",
        "ark",
        "--prefix",
        "prod",
        "--labels",
        "tier=web",
        "--access-mode",
        "ReadOnly",
    ];
    first(&ark, &create).await?;
    let said = refused(&ark, &create)?;
    assert!(
        said.contains("backup-location \"second\" exists already"),
        "{said}"
    );
    assert_eq!(locations.get("second").await?.labels()["tier"], "web");
    patch_status(
        &locations,
        "second",
        json!({"phase": "Unavailable", "message": "no"}),
    )
    .await?;
    assert_eq!(
        ark.ark(&["get", "backup-locations", "-l", "tier=web"])?,
        concat!(
            "NAME      PROVIDER   BUCKET/PREFIX   STATUS        ACCESS MODE   LAST SYNCED\n",
            "second    aws        ark/prod        Unavailable   ReadOnly      n/a\n",
        )
    );
    ark.ark(&["delete", "backup-location", "second", "--confirm"])?;
    assert!(
        locations
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );

    let snapshots: Api<VolumeSnapshotLocation> = ark.api();
    ark.ark(&[
        "snapshot-location",
        "create",
        "ebs",
        "--provider",
        "aws",
        "--labels",
        "tier=web",
    ])?;
    assert_eq!(snapshots.get("ebs").await?.labels()["tier"], "web");
    assert_eq!(
        ark.ark(&["snapshot-location", "get"])?,
        "NAME      PROVIDER   STATUS\nebs       aws        New\n"
    );
    ark.ark(&["snapshot-location", "delete", "ebs", "--confirm"])?;
    assert!(
        snapshots
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );
    Ok(())
}
