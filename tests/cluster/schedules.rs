//! Schedules, with a clock that the test moves: backups when they are due, once, whatever happens in between.

use anyhow::Result;
use ark::api::{
    Backup, BackupPhase, BackupSpec, RestorePhase, RestoreSpec, Schedule, SchedulePhase,
    ScheduleSpec, ScheduleStatus, labels,
};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::runs::assert_clean_backup;
use crate::support::{PATIENCE, wait_until};

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

/// Returns the spec of a backup of next to nothing.
pub(crate) fn little(ark: &Installation<'_>) -> BackupSpec {
    BackupSpec {
        included_namespaces: vec![ark.namespace().to_owned()],
        included_resources: vec!["configmaps".into()],
        allow_empty: Some(true),
        ..BackupSpec::default()
    }
}

fn hourly(ark: &Installation<'_>) -> ScheduleSpec {
    ScheduleSpec {
        template: little(ark),
        schedule: "0 * * * *".into(),
        ..ScheduleSpec::default()
    }
}

pub(crate) async fn create(ark: &Installation<'_>, name: &str, spec: ScheduleSpec) -> Result<()> {
    let schedule = Schedule::new(name, spec);
    ark.api()
        .create(&PostParams::default(), &schedule)
        .await
        .map(drop)?;
    Ok(())
}

pub(crate) async fn change(ark: &Installation<'_>, name: &str, spec: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let schedules = ark.api::<Schedule>();
    schedules
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn set_status(ark: &Installation<'_>, name: &str, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    let schedules = ark.api::<Schedule>();
    schedules
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// Waits until a schedule's status is so, and returns it.
async fn status(
    ark: &Installation<'_>,
    name: &str,
    what: &str,
    condition: impl Fn(&ScheduleStatus) -> bool + Send + Sync,
) -> Result<ScheduleStatus> {
    let schedules = ark.api::<Schedule>();
    wait_until(&format!("{name}: {what}"), PATIENCE, async || {
        let status = schedules.get(name).await?.status.unwrap_or_default();
        Ok(condition(&status).then_some(status))
    })
    .await
}

/// Waits until the schedule's next backup is due at this time.
async fn next(ark: &Installation<'_>, name: &str, time: &str) -> Result<ScheduleStatus> {
    let time = time.parse()?;
    status(ark, name, "the next backup is known", |status| {
        status
            .next_backup
            .as_ref()
            .is_some_and(|next| next.0 == time)
    })
    .await
}

/// Returns the names of a schedule's backups, sorted.
async fn backups_of(ark: &Installation<'_>, schedule: &str) -> Result<Vec<String>> {
    let params = ListParams::default().labels(&format!("{}={schedule}", labels::SCHEDULE));
    let backups = ark.api::<Backup>().list(&params).await?;
    let mut names: Vec<String> = backups.iter().map(Backup::name_any).collect();
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn backups_are_made_when_they_are_due() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let mut schedule = Schedule::new("hourly", hourly(&ark));
    schedule.spec.template.ttl = Some("720h".into());
    schedule.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
    let schedules = ark.api::<Schedule>();
    schedules.create(&PostParams::default(), &schedule).await?;

    // The first one at once.
    let first = ark.backup_ended("hourly-20260101000000").await?;
    assert_clean_backup(&first);
    assert_eq!(first.labels()["team"], "blue");
    assert_eq!(first.schedule(), Some("hourly"));
    assert_eq!(first.spec.ttl.as_deref(), Some("720h"));
    let expiration = first.status.unwrap_or_default().expiration;
    let expiration = expiration.map(|time| time.0.to_string());
    assert_eq!(expiration.as_deref(), Some("2026-01-31T00:00:00Z"));
    let told = next(&ark, "hourly", "2026-01-01T01:00:00Z").await?;
    assert_eq!(told.phase, SchedulePhase::Enabled);
    assert_eq!(told.last_backup_name, "hourly-20260101000000");
    assert_eq!(
        told.last_backup.map(|time| time.0.to_string()).as_deref(),
        Some(NEW_YEAR)
    );

    server.hand.set("2026-01-01T01:00:00Z".parse()?);
    ark.backup_ended("hourly-20260101010000").await?;
    next(&ark, "hourly", "2026-01-01T02:00:00Z").await?;
    // Several at a time that nobody was there for: one.
    server.hand.set("2026-01-01T09:30:00Z".parse()?);
    ark.backup_ended("hourly-20260101093000").await?;
    next(&ark, "hourly", "2026-01-01T10:00:00Z").await?;
    let three = [
        "hourly-20260101000000",
        "hourly-20260101010000",
        "hourly-20260101093000",
    ];
    assert_eq!(backups_of(&ark, "hourly").await?, three);

    // Backups outlive their schedule.
    schedules
        .delete("hourly", &DeleteParams::foreground())
        .await?;
    wait_until("the schedule is gone", PATIENCE, async || {
        Ok(schedules.get_opt("hourly").await?.is_none().then_some(()))
    })
    .await?;
    server.hand.set("2026-01-01T12:00:00Z".parse()?);
    create(&ark, "witness", hourly(&ark)).await?;
    ark.backup_ended("witness-20260101120000").await?;
    assert_eq!(backups_of(&ark, "hourly").await?, three);
    server.end().await
}

#[tokio::test]
async fn a_pause_leaves_out_what_passes_meanwhile() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    create(&ark, "hourly", hourly(&ark)).await?;
    ark.backup_ended("hourly-20260101000000").await?;
    next(&ark, "hourly", "2026-01-01T01:00:00Z").await?;

    change(&ark, "hourly", json!({"paused": true})).await?;
    status(&ark, "hourly", "the pause is noted", |status| {
        status.next_backup.is_none()
    })
    .await?;
    server.hand.set("2026-01-01T05:30:00Z".parse()?);
    change(&ark, "hourly", json!({"paused": false})).await?;
    let told = next(&ark, "hourly", "2026-01-01T06:00:00Z").await?;
    assert_eq!(told.last_backup_name, "hourly-20260101000000");
    server.hand.set("2026-01-01T06:00:00Z".parse()?);
    ark.backup_ended("hourly-20260101060000").await?;
    assert_eq!(
        backups_of(&ark, "hourly").await?,
        ["hourly-20260101000000", "hourly-20260101060000"]
    );
    server.end().await
}

#[tokio::test]
async fn no_second_backup_while_one_runs() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    // One that goes on for as long as the test wants: its location is not there.
    let mut running = Backup::new("hourly-by-hand", little(&ark));
    running.spec.storage_location = "nowhere".into();
    running.metadata.labels = Some([(labels::SCHEDULE.to_owned(), "hourly".to_owned())].into());
    let backups = ark.api::<Backup>();
    backups.create(&PostParams::default(), &running).await?;
    ark.backup_ended("hourly-by-hand").await?;
    let phase = async |phase: BackupPhase| {
        let patch = Patch::Merge(json!({"status": {"phase": phase}}));
        backups
            .patch_status("hourly-by-hand", &PatchParams::default(), &patch)
            .await
    };
    phase(BackupPhase::InProgress).await?;

    create(&ark, "hourly", hourly(&ark)).await?;
    create(&ark, "witness", hourly(&ark)).await?;
    let told = status(&ark, "hourly", "it is looked at", |status| {
        status.phase == SchedulePhase::Enabled
    })
    .await?;
    assert_eq!(told.last_backup, None);
    for (time, witness) in [
        (NEW_YEAR, "witness-20260101000000"),
        ("2026-01-01T01:00:00Z", "witness-20260101010000"),
    ] {
        server.hand.set(time.parse()?);
        ark.backup_ended(witness).await?;
    }
    assert_eq!(backups_of(&ark, "hourly").await?, ["hourly-by-hand"]);

    server.hand.set("2026-01-01T03:20:00Z".parse()?);
    phase(BackupPhase::Completed).await?;
    ark.backup_ended("hourly-20260101032000").await?;
    next(&ark, "hourly", "2026-01-01T04:00:00Z").await?;
    assert_eq!(
        backups_of(&ark, "hourly").await?,
        ["hourly-20260101032000", "hourly-by-hand"]
    );
    server.end().await
}

#[tokio::test]
async fn a_broken_schedule_says_why_and_can_be_corrected() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let mut broken = hourly(&ark);
    broken.schedule = "every hour".into();
    broken.template.ttl = Some("soon".into());
    create(&ark, "hourly", broken).await?;
    let refused = |status: &ScheduleStatus| status.phase == SchedulePhase::FailedValidation;
    let told = status(&ark, "hourly", "it is refused", refused).await?;
    let problems = &told.validation_errors;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("schedule: "), "{problems:?}");
    assert!(problems[1].starts_with("template: ttl: "), "{problems:?}");

    let corrected = json!({"schedule": "0 * * * *", "template": {"ttl": "1h"}});
    change(&ark, "hourly", corrected).await?;
    ark.backup_ended("hourly-20260101000000").await?;
    let told = next(&ark, "hourly", "2026-01-01T01:00:00Z").await?;
    assert_eq!(told.validation_errors, Vec::<String>::new());

    change(&ark, "hourly", json!({"schedule": "61 * * * *"})).await?;
    let told = status(&ark, "hourly", "it is refused again", refused).await?;
    assert_eq!(told.next_backup, None);
    assert_eq!(told.last_backup_name, "hourly-20260101000000");
    server.end().await
}

#[tokio::test]
async fn servers_that_die_neither_lose_nor_double_a_backup() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    // As servers leave them that die after the promise, and after the backup.
    let promise = |name: &str| {
        json!({
            "phase": "Enabled",
            "lastBackup": NEW_YEAR,
            "lastBackupName": format!("{name}-20260101000000"),
            "nextBackup": NEW_YEAR,
        })
    };
    for name in ["promised", "made"] {
        create(&ark, name, hourly(&ark)).await?;
        set_status(&ark, name, promise(name)).await?;
    }
    let mut made = Backup::new("made-20260101000000", little(&ark));
    made.metadata.labels = Some([(labels::SCHEDULE.to_owned(), "made".to_owned())].into());
    let backups = ark.api::<Backup>();
    backups.create(&PostParams::default(), &made).await?;

    let server = ark.serve_by_hand("2026-01-01T00:20:00Z").await?;
    for name in ["promised", "made"] {
        ark.backup_ended(&format!("{name}-20260101000000")).await?;
        next(&ark, name, "2026-01-01T01:00:00Z").await?;
    }
    server.end().await?;

    // Nobody is there for two days.
    let server = ark.serve_by_hand("2026-01-03T00:20:00Z").await?;
    for name in ["promised", "made"] {
        ark.backup_ended(&format!("{name}-20260103002000")).await?;
        next(&ark, name, "2026-01-03T01:00:00Z").await?;
        assert_eq!(
            backups_of(&ark, name).await?,
            [
                format!("{name}-20260101000000"),
                format!("{name}-20260103002000")
            ]
        );
    }
    server.end().await
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_passed_over() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    ark.back_up("hourly-20260101000000", little(&ark)).await?;
    create(&ark, "hourly", hourly(&ark)).await?;
    status(&ark, "hourly", "a backup is promised", |status| {
        !status.last_backup_name.is_empty()
    })
    .await?;
    server.hand.set("2026-01-01T00:00:01Z".parse()?);
    ark.backup_ended("hourly-20260101000001").await?;
    next(&ark, "hourly", "2026-01-01T01:00:00Z").await?;
    server.end().await
}

#[tokio::test]
async fn a_server_for_restores_only_leaves_schedules_alone() -> Result<()> {
    let mut ark = Installation::new(ControlPlane::shared().await).await?;
    ark.server_arguments(["--restore-only"]);
    create(&ark, "hourly", hourly(&ark)).await?;
    let mut broken = hourly(&ark);
    broken.schedule.clear();
    create(&ark, "broken", broken).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    let refused = ark.restore("witness", RestoreSpec::default()).await?;
    assert_eq!(
        refused.status.unwrap_or_default().phase,
        RestorePhase::FailedValidation
    );
    server.end().await?;
    for name in ["hourly", "broken"] {
        let schedule = ark.api::<Schedule>().get(name).await?;
        assert_eq!(schedule.status, None, "{name}");
    }
    assert_eq!(backups_of(&ark, "hourly").await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_restore_from_a_schedule_takes_the_newest_completed_backup() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve_by_hand(NEW_YEAR).await?;
    create(&ark, "hourly", hourly(&ark)).await?;
    ark.backup_ended("hourly-20260101000000").await?;
    next(&ark, "hourly", "2026-01-01T01:00:00Z").await?;
    server.hand.set("2026-01-01T01:00:00Z".parse()?);
    ark.backup_ended("hourly-20260101010000").await?;
    next(&ark, "hourly", "2026-01-01T02:00:00Z").await?;
    // The newest one is none to restore from.
    change(
        &ark,
        "hourly",
        json!({"template": {"storageLocation": "nowhere"}}),
    )
    .await?;
    server.hand.set("2026-01-01T02:00:00Z".parse()?);
    let failed = ark.backup_ended("hourly-20260101020000").await?;
    let phase = failed.status.unwrap_or_default().phase;
    assert_eq!(phase, BackupPhase::FailedValidation);

    let from = |schedule: &str| RestoreSpec {
        schedule_name: schedule.into(),
        allow_empty: Some(true),
        ..RestoreSpec::default()
    };
    let restored = ark.restore("newest", from("hourly")).await?;
    let phase = restored.status.clone().unwrap_or_default().phase;
    assert_eq!(phase, RestorePhase::Completed, "{restored:?}");
    assert_eq!(restored.spec.backup_name, "hourly-20260101010000");
    assert_eq!(restored.spec.schedule_name, "hourly");

    let both = RestoreSpec {
        backup_name: "hourly-20260101010000".into(),
        ..from("hourly")
    };
    for (name, spec, problem) in [
        ("both", both, "set only one of"),
        (
            "none",
            from("daily"),
            "schedule daily has no Completed backup",
        ),
    ] {
        let refused = ark.restore(name, spec).await?.status.unwrap_or_default();
        assert_eq!(refused.phase, RestorePhase::FailedValidation, "{refused:?}");
        let problems = refused.validation_errors.join("; ");
        assert!(problems.contains(problem), "{problems}");
    }
    server.end().await
}
