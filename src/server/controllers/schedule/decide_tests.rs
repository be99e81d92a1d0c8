use kube::api::ObjectMeta;

use super::*;
use crate::api::{BackupSpec, BackupStatus, ScheduleSpec};

/// A time on the first of January 2026.
fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

fn hourly(status: ScheduleStatus) -> Schedule {
    Schedule {
        metadata: ObjectMeta {
            name: Some("hourly".into()),
            ..ObjectMeta::default()
        },
        spec: ScheduleSpec {
            schedule: "0 * * * *".into(),
            ..ScheduleSpec::default()
        },
        status: Some(status),
    }
}

/// An enabled schedule's status; an empty time is none.
fn status(last: &str, skipped: &str, next: &str) -> ScheduleStatus {
    let time = |time: &str| (!time.is_empty()).then(|| Time(at(time)));
    ScheduleStatus {
        phase: SchedulePhase::Enabled,
        last_backup: time(last),
        last_backup_name: if last.is_empty() {
            String::new()
        } else {
            names::timestamped("hourly", at(last))
        },
        last_skipped: time(skipped),
        next_backup: time(next),
        validation_errors: Vec::new(),
    }
}

/// Says what is decided: the phase and times of a status in the form `last skipped next`.
fn words(decision: &Decision) -> String {
    let time = |time: Option<&Time>| {
        time.map_or("-".to_owned(), |time| time.0.strftime("%H:%M").to_string())
    };
    let times = |status: &ScheduleStatus| {
        format!(
            "{} {} {} {}",
            status.phase,
            time(status.last_backup.as_ref()),
            time(status.last_skipped.as_ref()),
            time(status.next_backup.as_ref())
        )
    };
    match decision {
        Decision::Wait(None) => "wait".to_owned(),
        Decision::Wait(Some(until)) => format!("wait until {}", until.strftime("%H:%M")),
        Decision::Write(status) => format!("write {}", times(status)),
        Decision::Make(status) => format!("make {}: {}", status.last_backup_name, times(status)),
    }
}

#[test]
fn a_backup_is_due_after_the_last_one() {
    for (before, now, expected) in [
        // The first one is made at once, and before it is made it is promised.
        (
            ScheduleStatus::default(),
            "00:17:05",
            "write Enabled 00:17 - 00:17",
        ),
        (
            status("", "", ""),
            "00:17:05",
            "write Enabled 00:17 - 00:17",
        ),
        (
            status("00:17:05", "", "00:17:05"),
            "00:17:05",
            "make hourly-20260101001705: Enabled 00:17 - 01:00",
        ),
        (
            status("00:17:05", "", "01:00:00"),
            "00:17:05",
            "wait until 01:00",
        ),
        (
            status("00:17:05", "", "01:00:00"),
            "00:59:59",
            "wait until 01:00",
        ),
        (
            status("00:17:05", "", "01:00:00"),
            "01:00:00",
            "write Enabled 01:00 - 01:00",
        ),
        // Whatever was missed is one backup, and the next one counts from now.
        (
            status("00:17:05", "", "01:00:00"),
            "09:30:00",
            "write Enabled 09:30 - 09:30",
        ),
        (
            status("09:30:00", "", "09:30:00"),
            "09:30:00",
            "make hourly-20260101093000: Enabled 09:30 - 10:00",
        ),
        // A promise that a dead server left keeps its name.
        (
            status("01:00:00", "", "01:00:00"),
            "09:30:00",
            "make hourly-20260101010000: Enabled 01:00 - 10:00",
        ),
        // What lastBackup says counts, whatever was computed from it before.
        (
            status("00:17:05", "", "07:00:00"),
            "00:30:00",
            "write Enabled 00:17 - 01:00",
        ),
        (
            status("00:17:05", "", "07:00:00"),
            "02:00:00",
            "write Enabled 02:00 - 02:00",
        ),
        // A status of the original Ark names no next backup.
        (
            status("00:17:05", "", ""),
            "00:30:00",
            "write Enabled 00:17 - 01:00",
        ),
        (
            status("00:17:05", "", ""),
            "01:30:00",
            "write Enabled 01:30 - 01:30",
        ),
    ] {
        let decision = decide(&hourly(before.clone()), || false, at(now));
        assert_eq!(words(&decision), expected, "{now} {before:?}");
    }
}

#[test]
fn no_second_backup_while_one_runs() {
    for (before, now, expected) in [
        (
            status("00:17:05", "", "01:00:00"),
            "00:30:00",
            "wait until 01:00",
        ),
        (status("00:17:05", "", "01:00:00"), "01:00:00", "wait"),
        (status("00:17:05", "", "01:00:00"), "05:00:00", "wait"),
        (
            status("00:17:05", "", "07:00:00"),
            "05:00:00",
            "write Enabled 00:17 - 01:00",
        ),
        // A schedule that was deleted and made again, while a backup of the first runs.
        (ScheduleStatus::default(), "00:17:05", "write Enabled - - -"),
        (status("", "", ""), "00:17:05", "wait"),
        // What is promised is not another one.
        (
            status("00:17:05", "", "00:17:05"),
            "00:17:05",
            "make hourly-20260101001705: Enabled 00:17 - 01:00",
        ),
    ] {
        let decision = decide(&hourly(before.clone()), || true, at(now));
        assert_eq!(words(&decision), expected, "{now} {before:?}");
    }
}

#[test]
fn times_that_pass_in_a_pause_are_left_out() {
    for (paused, before, now, expected) in [
        // The pause begins.
        (
            true,
            status("00:17:05", "", "01:00:00"),
            "00:30:00",
            "write Enabled 00:17 00:30 -",
        ),
        (
            true,
            status("00:17:05", "", "01:00:00"),
            "05:30:00",
            "write Enabled 00:17 05:30 -",
        ),
        (
            true,
            ScheduleStatus::default(),
            "00:30:00",
            "write Enabled - 00:30 -",
        ),
        (
            true,
            status("00:17:05", "00:17:05", "01:00:00"),
            "00:30:00",
            "write Enabled 00:17 00:30 -",
        ),
        // It goes on.
        (true, status("00:17:05", "00:30:00", ""), "05:30:00", "wait"),
        (true, status("", "00:30:00", ""), "05:30:00", "wait"),
        // It ends.
        (
            false,
            status("00:17:05", "00:30:00", ""),
            "05:30:00",
            "write Enabled 00:17 05:30 06:00",
        ),
        (
            false,
            status("00:17:05", "05:30:00", "06:00:00"),
            "05:31:00",
            "wait until 06:00",
        ),
        (
            false,
            status("00:17:05", "05:30:00", "06:00:00"),
            "06:00:00",
            "write Enabled 06:00 05:30 06:00",
        ),
        (
            false,
            status("06:00:00", "05:30:00", "07:00:00"),
            "06:00:01",
            "wait until 07:00",
        ),
        // The first backup comes when there is a first chance.
        (
            false,
            status("", "00:30:00", ""),
            "05:30:00",
            "write Enabled 05:30 00:30 05:30",
        ),
        // A second pause, after a backup, is noted anew.
        (
            true,
            status("06:00:00", "05:30:00", "07:00:00"),
            "06:30:00",
            "write Enabled 06:00 06:30 -",
        ),
        // A promise is kept in a pause too: it was due before.
        (
            true,
            status("00:17:05", "", "00:17:05"),
            "00:18:00",
            "make hourly-20260101001705: Enabled 00:17 - 01:00",
        ),
    ] {
        let mut schedule = hourly(before.clone());
        schedule.spec.paused = paused;
        let decision = decide(&schedule, || false, at(now));
        assert_eq!(words(&decision), expected, "{paused} {now} {before:?}");
    }
}

#[test]
fn a_refused_schedule_may_be_corrected() {
    let good = "0 * * * *";
    let refused = |last: &str| ScheduleStatus {
        phase: SchedulePhase::FailedValidation,
        validation_errors: validate::schedule(
            "hourly",
            &ScheduleSpec {
                schedule: "hourly".into(),
                ..ScheduleSpec::default()
            },
        ),
        ..status(last, "", "")
    };
    for (cron, before, expected) in [
        (
            "hourly",
            ScheduleStatus::default(),
            "write FailedValidation - - -",
        ),
        (
            "",
            status("00:17:05", "", "01:00:00"),
            "write FailedValidation 00:17 - -",
        ),
        ("hourly", refused(""), "wait"),
        // Refused for another reason now.
        ("0 0 0 * *", refused(""), "write FailedValidation - - -"),
        (good, refused(""), "write Enabled 02:30 - 02:30"),
        (good, refused("02:17:05"), "write Enabled 02:17 - 03:00"),
        // What was missed because it was refused is made up for.
        (good, refused("00:17:05"), "write Enabled 02:30 - 02:30"),
    ] {
        let mut schedule = hourly(before.clone());
        schedule.spec.schedule = cron.into();
        let decision = decide(&schedule, || false, at("02:30:00"));
        assert_eq!(words(&decision), expected, "{cron:?} {before:?}");
        if let Decision::Write(status) = decision {
            let fine = status.phase == SchedulePhase::Enabled;
            assert_eq!(status.validation_errors.is_empty(), fine, "{status:?}");
        }
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let mut going = hourly(ScheduleStatus::default());
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(
        decide(&going, || false, at("02:30:00")),
        Decision::Wait(None)
    );
    let odd = hourly(ScheduleStatus {
        phase: SchedulePhase::Other("Odd".into()),
        ..ScheduleStatus::default()
    });
    assert_eq!(decide(&odd, || false, at("02:30:00")), Decision::Wait(None));
}

#[test]
fn fractions_of_a_second_say_nothing() {
    let schedule = hourly(status("00:17:05", "", "01:00:00"));
    let now: Timestamp = "2026-01-01T01:00:00.7Z".parse().unwrap();
    let Decision::Write(promised) = decide(&schedule, || false, now) else {
        panic!("nothing is due");
    };
    assert_eq!(promised.last_backup, Some(Time(at("01:00:00"))));
    assert_eq!(promised.last_backup_name, "hourly-20260101010000");
}

#[test]
fn a_backup_carries_template_and_labels() {
    let mut schedule = hourly(status("00:17:05", "", "00:17:05"));
    schedule.spec.template = BackupSpec {
        included_namespaces: vec!["a".into()],
        ..BackupSpec::default()
    };
    schedule.metadata.labels = Some(BTreeMap::from([
        ("team".to_owned(), "blue".to_owned()),
        (labels::SCHEDULE.to_owned(), "another".to_owned()),
    ]));
    let made_of = |schedule: &Schedule| {
        let backup = backup(schedule);
        assert_eq!(
            backup.metadata.name.as_deref(),
            Some("hourly-20260101001705")
        );
        assert_eq!(backup.spec, schedule.spec.template);
        assert_eq!(
            backup.metadata.owner_references, None,
            "backups outlive schedules"
        );
        backup
    };
    let plain = made_of(&schedule);
    assert_eq!(plain.schedule(), Some("hourly"));
    assert_eq!(plain.metadata.labels.as_ref().unwrap()["team"], "blue");
    assert_eq!(plain.metadata.annotations, None);
    schedule.spec.keep_newest = true;
    let kept = made_of(&schedule).metadata.annotations.unwrap();
    assert_eq!(kept[labels::KEEP_NEWEST], "true");
}

#[test]
fn backups_of_a_schedule_that_go_on() {
    let of = |schedule: &str, phase: Option<BackupPhase>| {
        let mut backup = Backup::new("b", BackupSpec::default());
        backup.metadata.labels = Some(BTreeMap::from([(
            labels::SCHEDULE.to_owned(),
            schedule.to_owned(),
        )]));
        backup.status = phase.map(|phase| BackupStatus {
            phase,
            ..BackupStatus::default()
        });
        backup
    };
    for (backup, expected) in [
        (of("hourly", None), true),
        (of("hourly", Some(BackupPhase::New)), true),
        (of("hourly", Some(BackupPhase::InProgress)), true),
        (
            of("hourly", Some(BackupPhase::WaitingForPluginOperations)),
            true,
        ),
        (of("hourly", Some(BackupPhase::Completed)), false),
        (of("hourly", Some(BackupPhase::Deleting)), false),
        (of("daily", Some(BackupPhase::InProgress)), false),
        (Backup::new("b", BackupSpec::default()), false),
    ] {
        assert_eq!(runs("hourly", &backup), expected, "{backup:?}");
    }
    let mut synced = of("hourly", None);
    synced.metadata.annotations = Some(BTreeMap::from([(
        labels::ORIGIN_UID.to_owned(),
        "1".to_owned(),
    )]));
    assert!(!runs("hourly", &synced) && !made("hourly", &synced));
    let mut going = of("hourly", None);
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert!(!runs("hourly", &going));
}
