//! Tables byte by byte, with a fixed clock.

use std::time::Duration;

use super::*;
use crate::api::{BackupPhase, BackupSpec, BackupStatus, RestorePhase, RestoreSpec, RestoreStatus};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2017-07-27T20:10:00Z")
}

fn backup(name: &str, created: &str) -> Backup {
    let mut backup = Backup::new(name, BackupSpec::default());
    backup.metadata.creation_timestamp = Some(Time(at(created)));
    backup
}

fn restore(name: &str, warnings: u64, errors: u64) -> Restore {
    let spec = RestoreSpec {
        backup_name: "nginx-backup".into(),
        ..RestoreSpec::default()
    };
    let mut restore = Restore::new(name, spec);
    restore.metadata.labels = None;
    restore.metadata.creation_timestamp = Some(Time(at("2017-07-27T20:05:24Z")));
    restore.status = Some(RestoreStatus {
        phase: RestorePhase::Completed,
        warnings,
        errors,
        ..RestoreStatus::default()
    });
    restore
}

fn names(backups: &[Backup]) -> Vec<String> {
    backups.iter().map(ResourceExt::name_any).collect()
}

#[test]
fn restores_look_as_they_always_did() {
    let table = render(
        &[restore("nginx-backup-20170727200524", 0, 0)],
        now(),
        &[],
        false,
    )
    .unwrap();
    assert_eq!(
        table,
        concat!(
            "NAME                          BACKUP         STATUS      WARNINGS   ERRORS    CREATED                         SELECTOR\n",
            "nginx-backup-20170727200524   nginx-backup   Completed   0          0         2017-07-27 20:05:24 +0000 UTC   <none>\n",
        )
    );
}

#[test]
fn a_table_without_rows_has_its_heading() {
    assert_eq!(
        render::<Backup>(&[], now(), &[], false).unwrap(),
        "NAME      STATUS    CREATED   EXPIRES   STORAGE LOCATION   SELECTOR\n"
    );
    assert_eq!(
        render::<Restore>(&[], now(), &[], false).unwrap(),
        "NAME      BACKUP    STATUS    WARNINGS   ERRORS    CREATED   SELECTOR\n"
    );
}

#[test]
fn backups_show_phase_times_and_selector() {
    let mut done = backup("done", "2017-07-26T15:41:14Z");
    done.spec.storage_location = "second".into();
    done.spec.label_selector = Some(selector::parse("app=nginx").unwrap());
    done.status = Some(BackupStatus {
        phase: BackupPhase::Completed,
        start_timestamp: Some(Time(at("2017-07-26T11:00:00-04:00"))),
        expiration: Some(Time(at("2017-08-25T15:00:00Z"))),
        ..BackupStatus::default()
    });
    let mut fresh = backup("fresh", "2017-07-27T20:09:59Z");
    fresh.spec.ttl = Some("720h0m0s".into());
    let mut leaving = backup("leaving", "2017-07-27T17:00:00Z");
    leaving.spec.ttl = Some("10m".into());
    leaving.metadata.deletion_timestamp = Some(Time(now()));
    let mut kept = backup("kept", "2017-07-27T17:00:00Z");
    kept.spec.ttl = Some("0s".into());
    kept.status = Some(BackupStatus {
        phase: "Uploading".to_owned().into(),
        ..BackupStatus::default()
    });
    let table = render(&[done, fresh, leaving, kept], now(), &[], false).unwrap();
    assert_eq!(
        table,
        concat!(
            "NAME      STATUS      CREATED                         EXPIRES   STORAGE LOCATION   SELECTOR\n",
            "done      Completed   2017-07-26 15:00:00 +0000 UTC   28d       second             app=nginx\n",
            "fresh     New         2017-07-27 20:09:59 +0000 UTC   29d       <none>             <none>\n",
            "leaving   Deleting    2017-07-27 17:00:00 +0000 UTC   3h ago    <none>             <none>\n",
            "kept      Uploading   2017-07-27 17:00:00 +0000 UTC   n/a       <none>             <none>\n",
        )
    );
}

#[test]
fn labels_get_columns() {
    let mut labelled = restore("a", 1, 12);
    labelled.metadata.labels = Some(
        [("app", "nginx"), ("example.org/tier", "web")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    let columns = ["example.org/tier".to_owned(), "zone".to_owned()];
    let table = render(&[labelled, restore("b", 0, 0)], now(), &columns, true).unwrap();
    assert_eq!(
        table,
        concat!(
            "NAME      BACKUP         STATUS      WARNINGS   ERRORS    CREATED                         SELECTOR   TIER      ZONE      LABELS\n",
            "a         nginx-backup   Completed   1          12        2017-07-27 20:05:24 +0000 UTC   <none>     web       <none>    app=nginx,example.org/tier=web\n",
            "b         nginx-backup   Completed   0          0         2017-07-27 20:05:24 +0000 UTC   <none>     <none>    <none>    <none>\n",
        )
    );
}

#[test]
fn backups_are_sorted_by_name_and_series_newest_first() {
    let mut backups: Vec<Backup> = [
        "daily-20170726010000",
        "zoo",
        "daily-20170728010000",
        "daily-2017072701000",
        "daily",
        "daily-20170727010000",
        "alpha",
        "daily-x-20170101000000",
    ]
    .map(|name| backup(name, "2017-07-26T15:41:14Z"))
    .into();
    sort_backups(&mut backups);
    assert_eq!(
        names(&backups),
        [
            "alpha",
            "daily",
            "daily-20170728010000",
            "daily-20170727010000",
            "daily-20170726010000",
            "daily-2017072701000",
            "daily-x-20170101000000",
            "zoo",
        ]
    );
}

#[test]
fn durations_have_one_unit() {
    for (seconds, text) in [
        (0, "0s"),
        (45, "45s"),
        (59, "59s"),
        (60, "1m"),
        (10 * 60 + 59, "10m"),
        (5 * 3600 + 3599, "5h"),
        (30 * 86400 - 1, "29d"),
        (364 * 86400, "364d"),
        (730 * 86400, "2y"),
    ] {
        assert_eq!(
            short_duration(SignedDuration::from_secs(seconds)),
            text,
            "{seconds}"
        );
    }
}

#[test]
fn times_are_relative_to_the_given_clock() {
    assert_eq!(relative(None, now()), "n/a");
    assert_eq!(relative(Some(now() + Duration::from_secs(90)), now()), "1m");
    assert_eq!(
        relative(Some(now() - Duration::from_hours(3)), now()),
        "3h ago"
    );
}

#[test]
fn a_cell_cannot_break_the_table() {
    let mut odd = restore("a", 0, 0);
    odd.spec.backup_name = "x\ty\nz".into();
    let table = render(&[odd], now(), &[], false).unwrap();
    assert_eq!(table.lines().count(), 2);
    assert!(table.contains("x y z"), "{table}");
}
