use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{
    BackupSpec, BackupStatus, DeleteBackupRequestStatus, RestorePhase, RestoreSpec, RestoreStatus,
    ScheduleSpec,
};

/// A time on the first of January 2026.
fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}:00Z").parse().unwrap()
}

/// A backup that expires at noon.
fn backup(phase: BackupPhase) -> Backup {
    let mut backup = Backup::new("b", BackupSpec::default());
    backup.metadata.uid = Some("1".into());
    backup.status = Some(BackupStatus {
        phase,
        version: Some(2),
        expiration: Some(Time(at("12:00"))),
        cluster_id: Some("here".into()),
        ..BackupStatus::default()
    });
    backup
}

fn changed(change: impl FnOnce(&mut Backup)) -> Backup {
    let mut backup = backup(BackupPhase::Completed);
    change(&mut backup);
    backup
}

fn status(backup: &mut Backup) -> &mut BackupStatus {
    backup.status.get_or_insert_default()
}

/// A request for that backup; it was through at this time.
fn asked(name: &str, phase: DeleteBackupRequestPhase, end: Option<&str>) -> DeleteBackupRequest {
    let mut request = request(&("b".into(), "1".into()));
    request.metadata.name = Some(name.into());
    request.metadata.uid = Some(format!("uid-of-{name}"));
    request.status = Some(DeleteBackupRequestStatus {
        phase,
        completion_timestamp: end.map(|end| Time(at(end))),
        ..DeleteBackupRequestStatus::default()
    });
    request
}

#[derive(Default)]
struct World {
    backups: Vec<Backup>,
    requests: Vec<DeleteBackupRequest>,
    restores: Vec<Restore>,
    schedules: Vec<Schedule>,
    inactive: bool,
    read_only: bool,
}

impl World {
    fn of(backups: &[Backup]) -> Self {
        Self {
            backups: backups.to_vec(),
            ..Self::default()
        }
    }

    /// Says what is planned.
    fn plan(&self, now: &str) -> String {
        let facts = Facts {
            backups: &self.backups.iter().collect::<Vec<_>>(),
            requests: &self.requests.iter().collect::<Vec<_>>(),
            restores: &self.restores.iter().collect::<Vec<_>>(),
            schedules: &self.schedules.iter().collect::<Vec<_>>(),
            cluster_id: "here",
            active: !self.inactive,
            is_removable: &|_| !self.read_only,
        };
        let plan = plan(&facts, at(now));
        let actions = plan.actions.iter().map(|action| match action {
            Action::Strip((name, _)) => format!("strip {name}"),
            Action::Expire {
                backup: (name, _),
                replaces: None,
            } => format!("expire {name}"),
            Action::Expire {
                backup: (name, _),
                replaces: Some((old, _)),
            } => format!("expire {name} for {old}"),
            Action::Stamp((name, _)) => format!("stamp {name}"),
            Action::Forget((name, _)) => format!("forget {name}"),
        });
        let next = plan.next.map(|next| next.strftime("%d %H:%M").to_string());
        let words: Vec<String> = actions
            .chain(next.map(|next| format!("until {next}")))
            .collect();
        words.join(", ")
    }
}

#[test]
fn a_backup_goes_when_its_time_has_come() {
    use BackupPhase::{
        Completed, Deleting, Failed, FailedValidation, InProgress, New, PartiallyFailed,
    };
    for (phase, expected) in [
        (Completed, "expire b"),
        (PartiallyFailed, "expire b"),
        (Failed, "expire b"),
        (FailedValidation, "expire b"),
        (Deleting, "expire b"),
        (New, ""),
        (InProgress, ""),
        (BackupPhase::WaitingForPluginOperations, ""),
        (BackupPhase::Other("Odd".into()), ""),
    ] {
        let world = World::of(&[backup(phase.clone())]);
        assert_eq!(world.plan("12:00"), expected, "{phase}");
        let waits = if expected.is_empty() {
            ""
        } else {
            "until 01 12:00"
        };
        assert_eq!(world.plan("11:59"), waits, "{phase}");
    }
}

#[test]
fn a_locked_backup_waits_for_its_bucket() {
    use DeleteBackupRequestPhase::Processed;
    let locked = |until: &str| {
        changed(|one| {
            let until = (labels::LOCKED_UNTIL.to_owned(), until.to_owned());
            one.metadata.annotations = Some([until].into());
        })
    };
    let refused = asked("expired-1", Processed, Some("12:00"));
    for (until, now, expected) in [
        ("2026-01-01T15:00:00Z", "12:00", "until 01 15:00"),
        ("2026-01-01T15:00:00Z", "14:59", "until 01 15:00"),
        (
            "2026-01-01T15:00:00Z",
            "15:00",
            "expire b for expired-1, until 02 12:00",
        ),
        // Neither a time before it expires nor what is none changes anything.
        ("2026-01-01T11:00:00Z", "12:00", "until 01 12:01"),
        ("soon", "12:00", "until 01 12:01"),
    ] {
        let mut world = World::of(&[locked(until)]);
        world.requests = vec![refused.clone()];
        assert_eq!(world.plan(now), expected, "{until} {now}");
    }
}

#[test]
fn some_backups_stay() {
    for (what, backup) in [
        ("for ever", changed(|one| status(one).expiration = None)),
        (
            "only a ttl",
            changed(|one| {
                one.spec.ttl = Some("1s".into());
                status(one).expiration = None;
            }),
        ),
        (
            "of the original Ark",
            changed(|one| status(one).version = Some(1)),
        ),
        (
            "of another program",
            changed(|one| status(one).version = None),
        ),
        (
            "going already",
            changed(|one| one.metadata.deletion_timestamp = Some(Time(at("11:00")))),
        ),
    ] {
        assert_eq!(World::of(&[backup]).plan("13:00"), "", "{what}");
    }
    let mut world = World::of(&[backup(BackupPhase::Completed)]);
    world.read_only = true;
    assert_eq!(world.plan("13:00"), "");
    // Nothing is stored of a refused one.
    world.backups = vec![backup(BackupPhase::FailedValidation)];
    assert_eq!(world.plan("13:00"), "expire b");
    world.inactive = true;
    assert_eq!(world.plan("13:00"), "");
}

#[test]
fn a_backup_that_is_restored_stays_for_so_long() {
    let restore = |backup: &str, phase: Option<RestorePhase>| Restore {
        spec: RestoreSpec {
            backup_name: backup.into(),
            ..RestoreSpec::default()
        },
        status: phase.map(|phase| RestoreStatus {
            phase,
            ..RestoreStatus::default()
        }),
        ..Restore::default()
    };
    for (restore, expected) in [
        (restore("b", None), ""),
        (restore("b", Some(RestorePhase::InProgress)), ""),
        (restore("b", Some(RestorePhase::Completed)), "expire b"),
        (restore("c", Some(RestorePhase::InProgress)), "expire b"),
    ] {
        let mut world = World::of(&[backup(BackupPhase::Completed)]);
        world.restores = vec![restore.clone()];
        assert_eq!(world.plan("12:00"), expected, "{restore:?}");
    }
}

#[test]
fn a_failed_removal_is_tried_again_with_growing_pauses() {
    use DeleteBackupRequestPhase::{InProgress, New, Processed};
    for (tries, now, expected) in [
        (vec![asked("expired-1", New, None)], "15:00", ""),
        (vec![asked("expired-1", InProgress, None)], "15:00", ""),
        (
            vec![asked("expired-1", Processed, Some("12:00"))],
            "12:00",
            "until 01 12:01",
        ),
        (
            vec![asked("expired-1", Processed, Some("12:00"))],
            "12:01",
            "expire b for expired-1, until 02 12:00",
        ),
        (
            vec![asked("expired-1", Processed, Some("12:08"))],
            "12:15",
            "until 01 12:16",
        ),
        (
            vec![asked("expired-1", Processed, Some("12:08"))],
            "12:16",
            "expire b for expired-1, until 02 12:08",
        ),
        (
            vec![asked("expired-1", Processed, Some("17:00"))],
            "17:59",
            "until 01 18:00",
        ),
        (
            vec![asked("expired-1", Processed, Some("17:00"))],
            "18:00",
            "expire b for expired-1, until 02 17:00",
        ),
        // Somebody tried by hand; that one stays to be read.
        (
            vec![asked("b-x2x4", Processed, Some("11:00"))],
            "12:00",
            "expire b, until 02 11:00",
        ),
        (
            vec![asked("b-x2x4", Processed, Some("12:30"))],
            "12:59",
            "until 01 13:00",
        ),
        (
            vec![asked("b-x2x4", Processed, Some("12:30"))],
            "13:00",
            "expire b, until 02 12:30",
        ),
        (
            vec![
                asked("b-x2x4", New, None),
                asked("expired-1", Processed, Some("12:00")),
            ],
            "15:00",
            "until 02 12:00",
        ),
        // One of an older server.
        (
            vec![asked("expired-1", Processed, None)],
            "15:00",
            "stamp expired-1",
        ),
    ] {
        let mut world = World::of(&[backup(BackupPhase::Deleting)]);
        world.requests.clone_from(&tries);
        assert_eq!(world.plan(now), expected, "{now} {tries:?}");
    }
    // Meant for one that had the name before.
    let mut other = asked("b-x2x4", New, None);
    let label = (labels::BACKUP_UID.to_owned(), "0".to_owned());
    other.metadata.labels = Some([label].into());
    let mut world = World::of(&[backup(BackupPhase::Completed)]);
    world.requests = vec![other];
    assert_eq!(world.plan("12:00"), "expire b");
}

#[test]
fn requests_that_are_through_are_kept_for_a_day() {
    use DeleteBackupRequestPhase::{InProgress, Processed};
    let day_before = Time("2025-12-31T12:00:00Z".parse().unwrap());
    let mut old = asked("old", Processed, None);
    old.status.get_or_insert_default().completion_timestamp = Some(day_before);
    let world = World {
        requests: vec![
            old,
            asked("young", Processed, Some("11:00")),
            asked("unknown", Processed, None),
            asked("open", InProgress, None),
        ],
        ..World::default()
    };
    assert_eq!(
        world.plan("12:00"),
        "forget old, stamp unknown, until 02 11:00"
    );
    assert_eq!(world.plan("11:59"), "stamp unknown, until 01 12:00");
}

#[test]
fn the_newest_backup_of_a_schedule_is_kept_if_it_says_so() {
    let of = |name: &str, start: &str, phase: BackupPhase| {
        let mut backup = backup(phase);
        backup.metadata.name = Some(name.into());
        backup.metadata.uid = Some(name.into());
        let label = (labels::SCHEDULE.to_owned(), "hourly".to_owned());
        backup.metadata.labels = Some([label].into());
        status(&mut backup).start_timestamp = Some(Time(at(start)));
        backup
    };
    let hourly = |keep_newest: bool| {
        let spec = ScheduleSpec {
            keep_newest,
            ..ScheduleSpec::default()
        };
        Schedule::new("hourly", spec)
    };
    let mut world = World::of(&[
        of("a", "01:00", BackupPhase::Completed),
        of("b", "03:00", BackupPhase::Completed),
        of("c", "02:00", BackupPhase::Completed),
        of("d", "04:00", BackupPhase::PartiallyFailed),
    ]);
    let all = "expire a, expire b, expire c, expire d";
    assert_eq!(world.plan("12:00"), all);
    world.schedules = vec![hourly(false)];
    assert_eq!(world.plan("12:00"), all);
    world.schedules = vec![hourly(true)];
    assert_eq!(world.plan("12:00"), "expire a, expire c, expire d");

    // Another cluster's schedule of this name is another one; it says by a note on its backups what it keeps.
    for backup in &mut world.backups {
        status(backup).cluster_id = Some("there".into());
    }
    assert_eq!(world.plan("12:00"), all);
    let note = (labels::KEEP_NEWEST.to_owned(), "true".to_owned());
    world.schedules.clear();
    world.backups[1].metadata.annotations = Some([note].into());
    assert_eq!(world.plan("12:00"), "expire a, expire c, expire d");
}

#[test]
fn the_finalizer_of_an_early_ark_is_taken_off() {
    let mut world = World::of(&[changed(|one| {
        one.metadata.finalizers = Some(vec!["other".into(), labels::LEGACY_FINALIZER.into()]);
        one.metadata.deletion_timestamp = Some(Time(at("11:00")));
    })]);
    assert_eq!(world.plan("12:00"), "strip b");
    world.inactive = true;
    assert_eq!(world.plan("12:00"), "strip b");
    world.backups[0].metadata.finalizers = Some(vec!["other".into()]);
    assert_eq!(world.plan("12:00"), "");
}

#[test]
fn a_request_is_for_one_backup() {
    let long = "x".repeat(80);
    let request = request(&(long.clone(), "1".into()));
    assert_eq!(request.metadata.name.as_deref(), Some("expired-1"));
    assert_eq!(request.spec.backup_name, long);
    assert!(is_same(&request, &long, "1") && !is_same(&request, &long, "2"));
    assert_eq!(
        request.metadata.labels.unwrap()[labels::BACKUP_NAME].len(),
        63
    );
}
