//! What is cleared away: expired backups, their requests, and what dead runs left. The test moves the clock.

use std::fs;

use anyhow::Result;
use ark::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
    Restore, RestoreSpec, Schedule, ScheduleSpec, labels,
};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::schedules::{create, little};
use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::runs::assert_clean_backup;
use crate::support::{PATIENCE, wait_until};

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

async fn gone<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    wait_until(&format!("{name} is gone"), PATIENCE, async || {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Makes a backup that is kept for so long.
async fn back_up(ark: &Installation<'_>, name: &str, ttl: Option<&str>) -> Result<Backup> {
    let mut spec = little(ark);
    spec.ttl = ttl.map(str::to_owned);
    let backup = ark.back_up(name, spec).await?;
    assert_clean_backup(&backup);
    Ok(backup)
}

/// Returns the keys of the bucket that are about a backup or a restore.
fn keys_of(ark: &Installation<'_>, name: &str) -> Vec<String> {
    let mut keys = ark.keys();
    keys.retain(|key| key.contains(&format!("/{name}/")));
    keys
}

#[tokio::test]
async fn an_expired_backup_goes_with_all_that_is_stored_of_it() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    back_up(&ark, "short", Some("1h")).await?;
    back_up(&ark, "damaged", Some("1h")).await?;
    back_up(&ark, "long", Some("2h")).await?;
    back_up(&ark, "for-ever", Some("0")).await?;
    // Kept where it cannot be, and so refused: nothing is stored of it.
    let mut nowhere = little(&ark);
    nowhere.ttl = Some("1h".into());
    nowhere.storage_location = "nowhere".into();
    let refused = ark.back_up("refused", nowhere).await?;
    assert_eq!(
        refused.status.unwrap_or_default().phase,
        BackupPhase::FailedValidation
    );
    for backup in ["short", "long"] {
        let spec = RestoreSpec {
            backup_name: backup.into(),
            allow_empty: Some(true),
            ..RestoreSpec::default()
        };
        ark.restore(&format!("from-{backup}"), spec).await?;
        assert_eq!(keys_of(&ark, &format!("from-{backup}")).len(), 2);
    }
    // Somebody has removed a part and a marker by hand.
    let mut removed = 0;
    for key in keys_of(&ark, "damaged") {
        if key.ends_with(".tar.zst") || key.contains("/run-") {
            fs::remove_file(ark.bucket().join(key))?;
            removed += 1;
        }
    }
    assert_eq!(removed, 2);

    server.hand.set("2026-01-01T01:00:00Z".parse()?);
    let backups: Api<Backup> = ark.api();
    for name in ["short", "damaged", "refused"] {
        gone(&backups, name).await?;
        assert_eq!(keys_of(&ark, name), Vec::<String>::new());
    }
    let restores: Api<Restore> = ark.api();
    assert!(restores.get_opt("from-short").await?.is_none());
    assert_eq!(keys_of(&ark, "from-short"), Vec::<String>::new());
    assert!(restores.get_opt("from-long").await?.is_some());
    assert!(backups.get_opt("long").await?.is_some());

    server.hand.set("2027-01-01T00:00:00Z".parse()?);
    gone(&backups, "long").await?;
    gone(&restores, "from-long").await?;
    let requests: Api<DeleteBackupRequest> = ark.api();
    wait_until("no request is left", PATIENCE, async || {
        let left = requests.list(&ListParams::default()).await?;
        Ok(left.items.is_empty().then_some(()))
    })
    .await?;
    assert!(backups.get_opt("for-ever").await?.is_some());
    server.end().await
}

#[tokio::test]
async fn the_newest_backup_of_a_schedule_can_be_kept() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let mut template = little(&ark);
    template.ttl = Some("30m".into());
    let spec = ScheduleSpec {
        template,
        schedule: "0 * * * *".into(),
        keep_newest: true,
        ..ScheduleSpec::default()
    };
    create(&ark, "kept", spec).await?;
    ark.backup_ended("kept-20260101000000").await?;
    back_up(&ark, "witness", Some("30m")).await?;
    let backups: Api<Backup> = ark.api();
    server.hand.set("2026-01-01T00:59:00Z".parse()?);
    gone(&backups, "witness").await?;
    let kept = backups.get("kept-20260101000000").await?;
    assert_eq!(
        kept.status.unwrap_or_default().phase,
        BackupPhase::Completed
    );

    server.hand.set("2026-01-01T01:00:00Z".parse()?);
    gone(&backups, "kept-20260101000000").await?;
    // As long as there is the schedule.
    ark.backup_ended("kept-20260101010000").await?;
    let schedules: Api<Schedule> = ark.api();
    schedules.delete("kept", &DeleteParams::default()).await?;
    server.hand.set("2026-01-01T01:30:00Z".parse()?);
    gone(&backups, "kept-20260101010000").await?;
    server.end().await
}

#[tokio::test]
async fn a_removal_that_fails_is_shown_and_tried_again() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let backup = back_up(&ark, "stuck", Some("1h")).await?;
    // It may be anybody's: nothing is removed.
    let record = ark.bucket().join("backups/stuck/ark-backup.json");
    let whole = fs::read(&record)?;
    fs::write(&record, "garbage")?;
    let before = ark.keys();

    let requests: Api<DeleteBackupRequest> = ark.api();
    let name = format!("expired-{}", backup.uid().unwrap_or_default());
    let mut tried = String::new();
    for (time, what) in [
        ("2026-01-01T01:00:00Z", "first"),
        ("2026-01-01T01:01:00Z", "second"),
    ] {
        server.hand.set(time.parse()?);
        let request = wait_until(&format!("the {what} try fails"), PATIENCE, async || {
            let request = requests.get(&name).await?;
            let status = request.status.clone().unwrap_or_default();
            let through = status.phase == DeleteBackupRequestPhase::Processed;
            let new = request.uid().unwrap_or_default() != tried;
            Ok((through && new).then_some(request))
        })
        .await?;
        tried = request.uid().unwrap_or_default();
        let status = request.status.unwrap_or_default();
        assert!(
            status.errors.join("; ").contains("ark-backup.json"),
            "{status:?}"
        );
        let ended = status.completion_timestamp.map(|time| time.0.to_string());
        assert_eq!(ended.as_deref(), Some(time));
        let described = ark.ark(&["backup", "describe", "stuck"])?;
        assert!(described.contains("Deleting"), "{described}");
        assert!(
            described.contains("Deletion Attempts (1 failed)"),
            "{described}"
        );
        assert_eq!(ark.keys(), before);
    }

    fs::write(&record, whole)?;
    server.hand.set("2026-01-01T01:02:00Z".parse()?);
    gone(&ark.api::<Backup>(), "stuck").await?;
    assert_eq!(keys_of(&ark, "stuck"), Vec::<String>::new());
    gone(&requests, &name).await?;
    server.end().await
}

#[tokio::test]
async fn requests_meet_once_and_are_forgotten() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let requests: Api<DeleteBackupRequest> = ark.api();
    let request = |name: &str, backup: &str| {
        let spec = DeleteBackupRequestSpec {
            backup_name: backup.into(),
            ..DeleteBackupRequestSpec::default()
        };
        DeleteBackupRequest::new(name, spec)
    };
    let params = PostParams::default();
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let backup = back_up(&ark, "twice", None).await?;
    server.end().await?;
    // One that a server has left in its middle, and two that nobody has looked at.
    let mut left = request("left", "twice");
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    left.metadata.labels = Some(
        [
            label(labels::BACKUP_NAME, "twice"),
            label(labels::BACKUP_UID, &backup.uid().unwrap_or_default()),
        ]
        .into(),
    );
    requests.create(&params, &left).await?;
    let in_progress = Patch::Merge(json!({"status": {"phase": "InProgress"}}));
    requests
        .patch_status("left", &PatchParams::default(), &in_progress)
        .await?;
    for name in ["one", "another"] {
        requests.create(&params, &request(name, "twice")).await?;
    }
    requests
        .create(&params, &request("vain", "nothing"))
        .await?;

    let server = ark.serve_by_hand(NEW_YEAR).await?;
    gone(&ark.api::<Backup>(), "twice").await?;
    for name in ["left", "one", "another"] {
        gone(&requests, name).await?;
    }
    assert_eq!(keys_of(&ark, "twice"), Vec::<String>::new());
    let vain = wait_until("the vain request is through", PATIENCE, async || {
        let status = requests.get("vain").await?.status.unwrap_or_default();
        let through = status.phase == DeleteBackupRequestPhase::Processed;
        Ok(through.then_some(status))
    })
    .await?;
    assert_eq!(vain.errors, ["there is no backup nothing"]);
    server.hand.set("2026-01-02T00:00:00Z".parse()?);
    gone(&requests, "vain").await?;
    server.end().await
}

#[tokio::test]
async fn the_finalizer_of_an_early_ark_keeps_nobody() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let backup = back_up(&ark, "old", Some("1h")).await?;
    let backups: Api<Backup> = ark.api();
    let finalizer = json!({"metadata": {"finalizers": [labels::LEGACY_FINALIZER]}});
    backups
        .patch("old", &PatchParams::default(), &Patch::Merge(finalizer))
        .await?;
    wait_until("the finalizer is taken off", PATIENCE, async || {
        let finalizers = backups.get("old").await?.metadata.finalizers;
        Ok(finalizers.is_none_or(|list| list.is_empty()).then_some(()))
    })
    .await?;
    let params = DeleteParams::default();
    backups.delete(&backup.name_any(), &params).await?;
    gone(&backups, "old").await?;
    server.end().await
}

#[tokio::test]
async fn what_dead_runs_left_is_removed() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let backups: Api<Backup> = ark.api();
    // Two whose Backups are here: one has failed, one waits for a location that nobody has made.
    let mut uids = Vec::new();
    for (name, phase) in [("failed", "Failed"), ("running", "InProgress")] {
        let mut spec = little(&ark);
        spec.storage_location = "nowhere".into();
        let backup = Backup::new(name, spec);
        let backup = backups.create(&PostParams::default(), &backup).await?;
        let status = Patch::Merge(json!({"status": {"phase": phase}}));
        backups
            .patch_status(name, &PatchParams::default(), &status)
            .await?;
        uids.push(backup.uid().unwrap_or_default());
    }
    let plant = |name: &str, attempt: u32, uid: &str, start: &str| -> Result<()> {
        let folder = ark.bucket().join("backups").join(name);
        fs::create_dir_all(&folder)?;
        let marker = json!({
            "clusterId": "somebody", "holder": "dead", "startTimestamp": start,
            "attempt": attempt, "backupUid": uid,
        });
        fs::write(
            folder.join(format!("run-{attempt}.json")),
            serde_json::to_vec(&marker)?,
        )?;
        fs::write(folder.join(format!("{name}-{attempt}.tar.zst")), "half")?;
        Ok(())
    };
    plant("failed", 1, &uids[0], "2025-12-30T00:00:00Z")?;
    plant("running", 1, &uids[1], "2025-12-01T00:00:00Z")?;
    plant("elsewhere", 1, "unknown", "2025-12-30T00:00:00Z")?;
    plant("long-ago", 1, "unknown", "2025-12-01T00:00:00Z")?;

    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let left = |names: &[&str]| -> Vec<String> {
        let mut keys = Vec::new();
        for name in names {
            keys.push(format!("backups/{name}/{name}-1.tar.zst"));
            keys.push(format!("backups/{name}/run-1.json"));
        }
        keys.sort();
        keys
    };
    let gone = async |names: &[&str]| {
        wait_until(&format!("{names:?} are gone"), PATIENCE, async || {
            let there = |name: &&str| !keys_of(&ark, name).is_empty();
            Ok((!names.iter().any(there)).then_some(()))
        })
        .await
    };
    gone(&["failed", "long-ago"]).await?;
    assert_eq!(ark.keys(), left(&["elsewhere", "running"]));

    // A backup that counts loses nothing, and what lies beside it goes.
    let whole = back_up(&ark, "whole", None).await?;
    plant(
        "whole",
        7,
        &whole.uid().unwrap_or_default(),
        "2026-01-01T00:00:00Z",
    )?;
    let counts = whole.status.unwrap_or_default().parts;
    server.hand.set("2026-01-09T00:00:00Z".parse()?);
    gone(&["elsewhere"]).await?;
    wait_until("the debris beside a backup is gone", PATIENCE, async || {
        let there = ark.keys().iter().any(|key| key.contains("whole-7"));
        Ok((!there).then_some(()))
    })
    .await?;
    let keys = ark.keys();
    for part in counts {
        assert!(keys.contains(&part.key), "{} in {keys:?}", part.key);
    }
    assert_eq!(keys_of(&ark, "running"), left(&["running"]));
    server.end().await
}
