use kube::api::ObjectMeta;

use super::*;
use crate::api::BackupSpec;

fn backup(uid: &str, phase: BackupPhase, attempt: u32) -> Backup {
    Backup {
        metadata: ObjectMeta {
            name: Some("b".into()),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        },
        spec: BackupSpec::default(),
        status: Some(BackupStatus {
            phase,
            run: (attempt > 0).then(|| RunHolder {
                holder: "dead".into(),
                attempt,
            }),
            ..BackupStatus::default()
        }),
    }
}

/// What a decision is about, without its words.
fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Nothing => "nothing",
        Decision::Refuse(_) => "refuse",
        Decision::Run(1) => "run 1",
        Decision::Run(2) => "run 2",
        Decision::Run(3) => "run 3",
        Decision::Run(_) => "run more",
        Decision::Adopt(_) => "adopt",
        Decision::Fail(_) => "fail",
    }
}

#[test]
fn decisions() {
    use BackupPhase::{Completed, Deleting, Failed, InProgress, New, WaitingForPluginOperations};
    let reasons = ["no bucket".to_owned()];
    let ours = backup("1", Completed, 1);
    let other = backup("9", Completed, 1);
    let free = Location::Usable(None);
    for (phase, attempt, location, expected) in [
        (New, 0, &free, "run 1"),
        (New, 0, &Location::Unknown, "nothing"),
        (New, 0, &Location::RestoreOnly, "nothing"),
        (New, 0, &Location::Unusable(&reasons), "refuse"),
        (New, 0, &Location::Usable(Some(&other)), "refuse"),
        (New, 0, &Location::Usable(Some(&ours)), "adopt"),
        (InProgress, 1, &free, "run 2"),
        (InProgress, 2, &free, "run 3"),
        (InProgress, 3, &free, "fail"),
        (InProgress, 0, &free, "run 2"),
        (WaitingForPluginOperations, 1, &free, "run 2"),
        (WaitingForPluginOperations, 1, &Location::Unknown, "nothing"),
        (InProgress, 1, &Location::Unknown, "nothing"),
        (InProgress, 1, &Location::RestoreOnly, "nothing"),
        (InProgress, 3, &Location::Unusable(&reasons), "nothing"),
        (InProgress, 3, &Location::Usable(Some(&ours)), "adopt"),
        (InProgress, 1, &Location::Usable(Some(&other)), "fail"),
        (Completed, 1, &free, "nothing"),
        (Failed, 1, &free, "nothing"),
        (Deleting, 1, &free, "nothing"),
        (BackupPhase::Other("Paused".into()), 1, &free, "nothing"),
    ] {
        let decision = decide(&backup("1", phase.clone(), attempt), location);
        assert_eq!(
            word(&decision),
            expected,
            "{phase} {attempt} {location:?}: {decision:?}"
        );
    }
}

#[test]
fn every_problem_is_named() {
    let mut bad = backup("1", BackupPhase::New, 0);
    bad.spec.ttl = Some("soon".into());
    bad.spec.volume_policies = Some(crate::api::VolumePolicies::default());
    let reasons = ["no bucket".to_owned()];
    let Decision::Refuse(problems) = decide(&bad, &Location::Unusable(&reasons)) else {
        panic!("not refused");
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    // A request that can never work is refused whatever the Config will be.
    assert_eq!(word(&decide(&bad, &Location::Unknown)), "refuse");
}

#[test]
fn a_backup_being_deleted_is_left_alone() {
    let mut going = backup("1", BackupPhase::New, 0);
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(decide(&going, &Location::Usable(None)), Decision::Nothing);
}

#[test]
fn records_belong_by_uid_or_origin() {
    let record = backup("origin", BackupPhase::Completed, 1);
    let mut synced = backup("new", BackupPhase::Completed, 0);
    assert!(!owns(&synced, &record));
    synced.metadata.annotations =
        Some([(labels::ORIGIN_UID.to_owned(), "origin".to_owned())].into());
    assert!(owns(&synced, &record));
    // Between its creation and its status a synced Backup looks new.
    synced.status = None;
    assert_eq!(
        word(&decide(&synced, &Location::Usable(Some(&record)))),
        "adopt"
    );
    assert_eq!(word(&decide(&synced, &Location::Usable(None))), "nothing");
    assert_eq!(word(&decide(&synced, &Location::Unusable(&[]))), "nothing");
    let nameless = backup("", BackupPhase::Completed, 1);
    assert!(
        !owns(&backup("", BackupPhase::New, 0), &nameless),
        "no UID is nobody's"
    );
}

#[test]
fn the_ttl_counts_from_the_start() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (ttl, expiration) in [
        (None, None),
        (Some("0"), None),
        (Some("720h0m0s"), Some("2026-01-31T00:00:00Z")),
    ] {
        let mut one = backup("1", BackupPhase::New, 0);
        one.spec.ttl = ttl.map(str::to_owned);
        let status = taken(&one, "me", 1, "cluster", now);
        let expires = status.expiration.as_ref().map(|time| time.0.to_string());
        assert_eq!(expires.as_deref(), expiration);
        assert_eq!(status.phase, BackupPhase::InProgress);
        let refused = refused(&one, vec!["no".into()], now);
        assert_eq!(refused.expiration, status.expiration);
        assert_eq!(refused.phase, BackupPhase::FailedValidation);
    }
}

#[test]
fn endings() {
    let now = Timestamp::UNIX_EPOCH;
    let taken = taken(&backup("1", BackupPhase::New, 0), "me", 2, "cluster", now);
    let status = finished(&taken, Vec::new(), 3, 0, 7, now);
    assert_eq!(status.phase, BackupPhase::Completed);
    assert_eq!((status.warnings, status.errors), (Some(3), Some(0)));
    assert_eq!(status.run.as_ref().map(|run| run.attempt), Some(2));
    assert_eq!(
        finished(&taken, Vec::new(), 0, 1, 7, now).phase,
        BackupPhase::PartiallyFailed
    );
    let status = failed(&taken, "why".into(), now);
    assert_eq!(status.phase, BackupPhase::Failed);
    assert!(status.start_timestamp.is_some());
}

#[test]
fn operations_of_an_earlier_attempt_are_known_to_the_next_and_to_nobody_after() {
    let mut before = backup("1", BackupPhase::WaitingForPluginOperations, 1);
    let left = vec![crate::api::OperationNote::default()];
    before.status.as_mut().unwrap().operations_pending = left.clone();
    let now = Timestamp::UNIX_EPOCH;
    let taken = taken(&before, "me", 2, "cluster", now);
    assert_eq!(taken.operations_pending, left);
    let ends = [
        finished(&taken, Vec::new(), 0, 0, 1, now),
        failed(&taken, "why".into(), now),
        refused(&before, Vec::new(), now),
    ];
    assert!(ends.iter().all(|end| end.operations_pending.is_empty()));
}

#[test]
fn snapshot_locations_are_one_a_provider() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = pairs.iter();
        owned
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let (a, b, g) = (("a", "aws"), ("b", "aws"), ("g", "gcp"));
    for (named, switch, there, defaults, expected) in [
        (&[][..], None, &[a, g][..], &[][..], Ok(&["a", "g"][..])),
        (&["b"], None, &[a, b, g], &[], Ok(&["b", "g"])),
        (&[], None, &[a, b], &[("aws", "b")], Ok(&["b"])),
        (
            &[],
            None,
            &[a, b],
            &[("aws", "gone")],
            Err("aws has several locations (a, b)"),
        ),
        (
            &[],
            Some(true),
            &[a, b],
            &[],
            Err("aws has several locations (a, b)"),
        ),
        // Whoever wants no snapshots need not choose.
        (&[], Some(false), &[a, b], &[], Ok(&[])),
        (
            &["x"],
            Some(false),
            &[a],
            &[],
            Err("there is no location x"),
        ),
        (
            &["a", "b"],
            None,
            &[a, b],
            &[],
            Err("a and b are both of provider aws"),
        ),
        // One that cannot be read has no provider.
        (&[], None, &[a, ("broken", "")], &[], Ok(&["a"])),
        (&[], None, &[], &[], Ok(&[])),
    ] {
        let mut one = backup("1", BackupPhase::New, 0);
        one.spec.snapshot_volumes = switch;
        one.spec.volume_snapshot_locations = named.iter().map(|name| (*name).to_owned()).collect();
        let chosen = choose_snapshot_locations(&one, &map(there), &map(defaults));
        match expected {
            Ok(expected) => assert_eq!(chosen.unwrap(), expected),
            Err(part) => {
                let problems = chosen.unwrap_err();
                assert!(problems[0].contains(part), "{problems:?}");
            }
        }
    }
}

#[test]
fn notes_of_earlier_attempts_are_kept() {
    let mut one = backup("1", BackupPhase::InProgress, 1);
    let note = crate::api::SnapshotNote {
        token: "t".into(),
        ..crate::api::SnapshotNote::default()
    };
    one.status.as_mut().unwrap().snapshots_pending = vec![note.clone()];
    let status = taken(&one, "me", 2, "cluster", Timestamp::UNIX_EPOCH);
    assert_eq!(status.snapshots_pending, [note]);
}
