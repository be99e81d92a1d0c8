use kube::api::ObjectMeta;

use super::*;
use crate::api::{BackupStatus, DeleteBackupRequestSpec, DeleteBackupRequestStatus};

fn request(phase: DeleteBackupRequestPhase, uid: Option<&str>) -> DeleteBackupRequest {
    DeleteBackupRequest {
        metadata: ObjectMeta {
            labels: uid.map(|uid| [(labels::BACKUP_UID.to_owned(), uid.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: DeleteBackupRequestSpec {
            backup_name: "b".into(),
            ..DeleteBackupRequestSpec::default()
        },
        status: Some(DeleteBackupRequestStatus {
            phase,
            ..DeleteBackupRequestStatus::default()
        }),
    }
}

fn backup(uid: &str, phase: BackupPhase) -> Backup {
    Backup {
        metadata: ObjectMeta {
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        },
        status: Some(BackupStatus {
            phase,
            ..BackupStatus::default()
        }),
        ..Backup::default()
    }
}

const USABLE: Location<'static> = Location::Usable {
    foreign: false,
    lock: None,
};

fn now() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

/// What a decision is about, without its words.
fn word(decision: &Decision) -> String {
    match decision {
        Decision::Nothing => "nothing".to_owned(),
        Decision::Process(_) => "process".to_owned(),
        Decision::Wait(Some(end), _) => format!("wait until {end}"),
        Decision::Wait(None, _) => "wait".to_owned(),
        Decision::Delete { uid, owner } if uid == owner => format!("delete {uid}"),
        Decision::Delete { uid, owner } => format!("delete {uid} of {owner}"),
    }
}

#[test]
fn decisions() {
    use DeleteBackupRequestPhase::{InProgress, New, Processed};
    let done = backup("1", BackupPhase::Completed);
    let going = backup("1", BackupPhase::Deleting);
    let running = backup("1", BackupPhase::InProgress);
    let other = backup("2", BackupPhase::Completed);
    let refused = backup("1", BackupPhase::FailedValidation);
    assert!(stored_nothing(&refused) && !stored_nothing(&done));
    let reasons = ["no bucket".to_owned()];
    let usable = USABLE;
    for (phase, uid, there, location, expected) in [
        (New, None, Some(&done), usable, "delete 1"),
        (New, Some("1"), Some(&done), usable, "delete 1"),
        (New, Some("1"), Some(&going), usable, "delete 1"),
        (New, Some("1"), Some(&other), usable, "process"),
        (New, None, Some(&running), usable, "process"),
        (New, None, None, usable, "process"),
        (New, Some("1"), None, usable, "process"),
        (
            New,
            None,
            Some(&done),
            Location::Usable {
                foreign: true,
                lock: Some(Lock::Held),
            },
            "process",
        ),
        (New, None, Some(&refused), Location::Unneeded, "delete 1"),
        (InProgress, Some("1"), None, Location::Unneeded, "delete 1"),
        (
            New,
            None,
            Some(&done),
            Location::ReadOnly("frozen"),
            "process",
        ),
        (New, None, Some(&done), Location::Unknown, "nothing"),
        (New, None, Some(&done), Location::RestoreOnly, "nothing"),
        (
            New,
            None,
            Some(&done),
            Location::Unusable(&reasons),
            "process",
        ),
        (InProgress, Some("1"), Some(&going), usable, "delete 1"),
        (InProgress, Some("1"), None, usable, "delete 1"),
        (InProgress, Some("1"), Some(&other), usable, "delete 1"),
        (
            InProgress,
            Some("1"),
            Some(&going),
            Location::Unusable(&reasons),
            "nothing",
        ),
        (InProgress, None, None, usable, "process"),
        (Processed, Some("1"), Some(&done), usable, "nothing"),
    ] {
        let decision = decide(&request(phase.clone(), uid), there, &[], location, now());
        assert_eq!(
            word(&decision),
            expected,
            "{phase} {uid:?} {location:?}: {decision:?}"
        );
    }
}

#[test]
fn a_locked_backup_stays_until_then() {
    use DeleteBackupRequestPhase::{InProgress, New};
    let until = |time: &str| Lock::Until(time.parse().unwrap());
    let done = backup("1", BackupPhase::Completed);
    for (lock, expected) in [
        (None, "delete 1"),
        (Some(until("2026-11-30T23:59:59Z")), "delete 1"),
        (Some(until("2026-12-01T00:00:00Z")), "delete 1"),
        (
            Some(until("2026-12-01T00:00:01Z")),
            "wait until 2026-12-01T00:00:01Z",
        ),
        (Some(Lock::Held), "wait"),
    ] {
        for phase in [New, InProgress] {
            let location = Location::Usable {
                foreign: false,
                lock,
            };
            let request = request(phase, Some("1"));
            let decision = decide(&request, Some(&done), &[], location, now());
            assert_eq!(word(&decision), expected, "{lock:?}");
        }
    }
    // Whoever may not remove it is told so first.
    let location = Location::Usable {
        foreign: false,
        lock: Some(Lock::Held),
    };
    for phase in [
        BackupPhase::InProgress,
        BackupPhase::WaitingForPluginOperations,
    ] {
        let running = backup("1", phase);
        let decision = decide(&request(New, None), Some(&running), &[], location, now());
        assert_eq!(word(&decision), "process");
    }
}

#[test]
fn other_requests_for_the_same_backup() {
    use DeleteBackupRequestPhase::New;
    for (label, name, expected) in [
        (None, "b", true),
        (Some("1"), "b", true),
        // For one of that name before, or after.
        (Some("2"), "b", false),
        (Some("1"), "c", false),
    ] {
        let mut one = request(New, label);
        one.spec.backup_name = name.into();
        assert_eq!(is_same(&one, "b", "1"), expected, "{label:?} {name}");
    }
}

#[test]
fn a_backup_that_is_being_restored_stays() {
    let done = backup("1", BackupPhase::Completed);
    let request = request(DeleteBackupRequestPhase::New, None);
    let Decision::Process(errors) = decide(&request, Some(&done), &["r".to_owned()], USABLE, now())
    else {
        panic!("not refused");
    };
    assert!(errors[0].contains("being restored by r"), "{errors:?}");
}

#[test]
fn a_synced_backup_owns_what_its_origin_stored() {
    let mut synced = backup("1", BackupPhase::Completed);
    synced.metadata.annotations = Some([(labels::ORIGIN_UID.to_owned(), "0".to_owned())].into());
    let request = request(DeleteBackupRequestPhase::New, None);
    let decision = decide(&request, Some(&synced), &[], USABLE, now());
    assert_eq!(word(&decision), "delete 1 of 0");
}
