use super::*;
use crate::api::{BackupStatus, RestoreSpec};

fn restore(phase: RestorePhase, attempt: u32) -> Restore {
    Restore {
        spec: RestoreSpec {
            backup_name: "b".into(),
            ..RestoreSpec::default()
        },
        status: Some(RestoreStatus {
            phase,
            run: (attempt > 0).then(|| RunHolder {
                holder: "dead".into(),
                attempt,
            }),
            ..RestoreStatus::default()
        }),
        ..Restore::default()
    }
}

fn record(phase: BackupPhase) -> Backup {
    Backup {
        status: Some(BackupStatus {
            version: Some(Backup::OUR_VERSION),
            phase,
            ..BackupStatus::default()
        }),
        ..Backup::default()
    }
}

/// What a decision is about, without its words.
fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Nothing => "nothing",
        Decision::Refuse(_) => "refuse",
        Decision::Run(1) => "run 1",
        Decision::Run(_) => "run again",
        Decision::Fail(_) => "fail",
    }
}

#[test]
fn decisions() {
    use RestorePhase::{Completed, Failed, FailedValidation, InProgress, New};
    let good = record(BackupPhase::Completed);
    let partial = record(BackupPhase::PartiallyFailed);
    let bad = record(BackupPhase::Failed);
    let mut early = record(BackupPhase::Failed);
    early.status.as_mut().unwrap().version = Some(1);
    let reasons = ["no bucket".to_owned()];
    let unseen = ["far".to_owned()];
    let stored = Source::Stored(&good);
    for (phase, attempt, source, expected) in [
        (New, 0, &stored, "run 1"),
        (New, 0, &Source::Stored(&partial), "run 1"),
        (New, 0, &Source::Stored(&bad), "refuse"),
        // An earlier Ark stored what it had.
        (New, 0, &Source::Stored(&early), "run 1"),
        (New, 0, &Source::Missing(None, &[]), "refuse"),
        (
            New,
            0,
            &Source::Missing(Some(BackupPhase::InProgress), &[]),
            "refuse",
        ),
        (New, 0, &Source::Unusable(&reasons), "refuse"),
        (New, 0, &Source::Unknown, "nothing"),
        (InProgress, 1, &stored, "run again"),
        (InProgress, 9, &stored, "run again"),
        (InProgress, 10, &stored, "fail"),
        (
            RestorePhase::WaitingForPluginOperations,
            1,
            &stored,
            "run again",
        ),
        (InProgress, 1, &Source::Unusable(&reasons), "nothing"),
        (InProgress, 1, &Source::Unknown, "nothing"),
        (InProgress, 1, &Source::Missing(None, &[]), "fail"),
        // It may be where nobody can look now.
        (InProgress, 1, &Source::Missing(None, &unseen), "nothing"),
        (New, 0, &Source::Missing(None, &unseen), "refuse"),
        (Completed, 1, &stored, "nothing"),
        (Failed, 1, &stored, "nothing"),
        (FailedValidation, 0, &stored, "nothing"),
        (RestorePhase::Other("Paused".into()), 0, &stored, "nothing"),
    ] {
        let decision = decide(&restore(phase.clone(), attempt), source);
        assert_eq!(
            word(&decision),
            expected,
            "{phase} {attempt} {source:?}: {decision:?}"
        );
    }
}

#[test]
fn a_restore_without_a_backup_has_one_problem() {
    let mut nameless = restore(RestorePhase::New, 0);
    nameless.spec.backup_name.clear();
    let Decision::Refuse(problems) = decide(&nameless, &Source::Missing(None, &[])) else {
        panic!("not refused");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn where_nobody_can_look_is_said() {
    let unseen = ["far".to_owned(), "farther".to_owned()];
    let mut scheduled = restore(RestorePhase::New, 0);
    scheduled.spec.backup_name.clear();
    scheduled.spec.schedule_name = "s".into();
    for (restore, source) in [
        (
            restore(RestorePhase::New, 0),
            Source::Missing(None, &unseen),
        ),
        (
            restore(RestorePhase::New, 0),
            Source::Missing(Some(BackupPhase::Completed), &unseen),
        ),
        (scheduled, Source::NoneOfSchedule(&unseen)),
    ] {
        let Decision::Refuse(problems) = decide(&restore, &source) else {
            panic!("not refused: {source:?}");
        };
        let end = "what cannot be looked into now: location far, farther";
        assert!(problems[0].ends_with(end), "{problems:?}");
    }
}

#[test]
fn a_schedule_stands_for_its_newest_backup() {
    let good = record(BackupPhase::Completed);
    let stored = Source::Stored(&good);
    let from = |backup: &str, schedule: &str, chosen: Option<&str>| {
        let mut one = restore(RestorePhase::New, 0);
        one.spec.backup_name = backup.into();
        one.spec.schedule_name = schedule.into();
        one.metadata.annotations =
            chosen.map(|name| [(labels::CHOSEN_BACKUP.to_owned(), name.to_owned())].into());
        one
    };
    for (backup, schedule, chosen, source, choose, expected) in [
        ("", "s", None, &Source::Unknown, true, "nothing"),
        ("", "s", None, &Source::NoneOfSchedule(&[]), true, "refuse"),
        ("b", "", None, &stored, false, "run 1"),
        ("b", "s", Some("b"), &stored, false, "run 1"),
        // Both are named, and not by the server.
        ("b", "s", None, &stored, false, "refuse"),
        ("c", "s", Some("b"), &stored, false, "refuse"),
        ("", "", None, &Source::Missing(None, &[]), false, "refuse"),
    ] {
        let one = from(backup, schedule, chosen);
        assert_eq!(is_to_be_chosen(&one), choose, "{backup} {schedule}");
        let decision = decide(&one, source);
        assert_eq!(
            word(&decision),
            expected,
            "{backup} {schedule}: {decision:?}"
        );
    }
    let Decision::Refuse(problems) = decide(&from("", "s", None), &Source::NoneOfSchedule(&[]))
    else {
        panic!("not refused");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("schedule s has no Completed backup"));
    let mut begun = from("", "s", None);
    begun.status.as_mut().unwrap().phase = RestorePhase::Failed;
    assert!(!is_to_be_chosen(&begun));
}

#[test]
fn the_cluster_and_the_location_together() {
    let good = record(BackupPhase::Completed);
    let mut early = record(BackupPhase::Failed);
    early.status.as_mut().unwrap().version = Some(1);
    for (resource, stored, expected) in [
        (None, Some(&good), "stored"),
        (Some(BackupPhase::Completed), Some(&good), "stored"),
        // Its name was taken in the location: what is stored there is another backup.
        (Some(BackupPhase::FailedValidation), Some(&good), "missing"),
        (Some(BackupPhase::Deleting), Some(&good), "missing"),
        (Some(BackupPhase::Failed), Some(&good), "missing"),
        (Some(BackupPhase::Failed), Some(&early), "stored"),
        (Some(BackupPhase::Completed), None, "missing"),
        (None, None, "missing"),
    ] {
        let found = match source(resource.clone(), stored, &[]) {
            Source::Stored(_) => "stored",
            Source::Missing(..) => "missing",
            Source::Unknown | Source::Unusable(_) | Source::NoneOfSchedule(_) => "other",
        };
        assert_eq!(found, expected, "{resource:?}");
    }
}

#[test]
fn endings() {
    let (start, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
    let first = taken(&RestoreStatus::default(), "one", 1, start);
    let second = taken(&first, "two", 2, later);
    assert_eq!(second.start_timestamp, Some(Time(start)));
    assert_eq!(
        finished(&second, 1, 0, later).phase,
        RestorePhase::Completed
    );
    assert_eq!(
        finished(&second, 0, 1, later).phase,
        RestorePhase::PartiallyFailed
    );
    assert_eq!(
        failed(&second, "why".into(), later).phase,
        RestorePhase::Failed
    );
}
