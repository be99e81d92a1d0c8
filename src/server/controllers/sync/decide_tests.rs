use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::*;
use crate::api::BackupStatus;

const HERE: &str = "here";

fn backup(uid: &str, phase: BackupPhase) -> Backup {
    let mut backup = Backup::new("b", crate::api::BackupSpec::default());
    backup.metadata.uid = Some(uid.into());
    backup.spec.storage_location = HERE.into();
    backup.status = Some(BackupStatus {
        phase,
        cluster_id: Some("cluster-1".into()),
        ..BackupStatus::default()
    });
    backup
}

/// A Backup that sync made of the record with this UID.
fn synced(origin: &str, phase: BackupPhase) -> Backup {
    let mut backup = backup("new", phase);
    backup.metadata.annotations = Some([(labels::ORIGIN_UID.to_owned(), origin.to_owned())].into());
    backup
}

fn at(location: &str, mut backup: Backup) -> Backup {
    backup.spec.storage_location = location.into();
    backup
}

fn labelled(location: &str, backup: Backup) -> Backup {
    let mut backup = at("", backup);
    backup.metadata.labels =
        Some([(labels::STORAGE_LOCATION.to_owned(), location.to_owned())].into());
    backup
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Nothing => "nothing",
        Decision::Create => "create",
        Decision::Finish => "finish",
        Decision::Pin => "pin",
        Decision::Replace => "replace",
        Decision::Hidden(_) => "hidden",
    }
}

fn time(hours: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + hours * 3_600).unwrap()
}

#[test]
fn a_location_is_listed_when_its_revision_changes_and_every_hour() {
    let looked = Memory {
        read_all: Some(time(0)),
        revision: Some("r".into()),
        ..Memory::default()
    };
    let undone = Memory {
        revision: None,
        ..looked.clone()
    };
    let soon = time(0) + Duration::from_mins(59);
    for (memory, revision, unhidden, now, expected) in [
        (
            &Memory::default(),
            Some("r"),
            false,
            soon,
            Some(Extent::All),
        ),
        (&looked, Some("r"), false, soon, None),
        (&looked, Some("s"), false, soon, Some(Extent::New)),
        (&looked, None, false, soon, Some(Extent::New)),
        (&looked, Some("r"), true, soon, Some(Extent::New)),
        (&looked, Some("r"), false, time(1), Some(Extent::All)),
        (&looked, Some("s"), false, time(1), Some(Extent::All)),
        (&looked, Some("r"), false, time(-1), Some(Extent::All)),
        (&undone, Some("r"), false, soon, Some(Extent::New)),
        (&undone, None, false, soon, Some(Extent::New)),
    ] {
        assert_eq!(
            extent(memory, revision, unhidden, now),
            expected,
            "{memory:?} {revision:?} {unhidden} {now}"
        );
    }
}

/// Returns what is done about a backup `u` that is stored here, by its resource. There is a location `there`.
fn decided(resource: &Backup) -> &'static str {
    let record = backup("u", BackupPhase::Completed);
    word(&decide(Resource::Backup(resource), &record, HERE, |name| {
        name == "there"
    }))
}

#[test]
fn a_backups_own_resource_is_made_whole() {
    use BackupPhase::{Completed, Deleting, Failed, InProgress, New, PartiallyFailed};
    for (resource, expected) in [
        (backup("u", Completed), "nothing"),
        (backup("u", PartiallyFailed), "nothing"),
        (backup("u", New), "nothing"),
        (backup("u", InProgress), "nothing"),
        (backup("u", Deleting), "nothing"),
        (at("", backup("u", Completed)), "pin"),
        (at("", backup("u", InProgress)), "nothing"),
        (labelled(HERE, backup("u", Completed)), "pin"),
        (labelled("there", backup("u", Completed)), "nothing"),
        (at("there", backup("u", Completed)), "nothing"),
        (at("gone", backup("u", Completed)), "pin"),
        (labelled("gone", backup("u", Completed)), "pin"),
    ] {
        assert_eq!(decided(&resource), expected, "{resource:?}");
    }
    for (phase, expected) in [
        (Completed, "nothing"),
        (New, "finish"),
        (Failed, "nothing"),
        (Deleting, "nothing"),
    ] {
        assert_eq!(decided(&synced("u", phase)), expected);
    }
}

#[test]
fn another_backups_resource_is_left_alone() {
    use BackupPhase::{Completed, Deleting, Failed, FailedValidation, InProgress, New};
    for resource in [
        backup("v", New),
        backup("v", InProgress),
        backup("v", Failed),
        backup("v", FailedValidation),
        backup("v", Deleting),
        at("there", backup("v", Completed)),
        at("there", synced("v", Completed)),
        at("", backup("v", Completed)),
        at("gone", synced("v", Completed)),
        synced("v", New),
    ] {
        assert_eq!(decided(&resource), "hidden", "{resource:?}");
    }
    let record = backup("u", Completed);
    let decision = decide(Resource::Unreadable, &record, HERE, |_| true);
    assert_eq!(word(&decision), "hidden");
    let mut going = backup("v", Completed);
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(decided(&going), "nothing");
}

#[test]
fn what_is_not_shown_yet_is() {
    use BackupPhase::{Completed, Failed, PartiallyFailed};
    let record = backup("u", Completed);
    let decision = decide(Resource::None, &record, HERE, |_| true);
    assert_eq!(decision, Decision::Create);
    // The one that was stored here before makes way.
    for resource in [
        backup("v", Completed),
        backup("v", PartiallyFailed),
        synced("v", Completed),
        synced("v", Failed),
        labelled(HERE, synced("v", Completed)),
    ] {
        assert_eq!(decided(&resource), "replace", "{resource:?}");
    }
}

#[test]
fn whoever_is_shown_needs_no_further_look() {
    let seen = Seen {
        uid: "u".into(),
        cluster_id: None,
        foreign: false,
    };
    let shown = |backup: &Backup| is_shown(backup, &seen, HERE, |_| false);
    assert!(shown(&backup("u", BackupPhase::Completed)));
    assert!(shown(&synced("u", BackupPhase::Completed)));
    assert!(!shown(&synced("u", BackupPhase::New)));
    assert!(!shown(&backup("v", BackupPhase::Completed)));
    assert!(!shown(&at("", backup("u", BackupPhase::Completed))));
}

#[test]
fn only_what_stands_for_something_stored_here_goes_with_it() {
    use BackupPhase::{Completed, Deleting, Failed, InProgress, New, PartiallyFailed};
    let mut going = backup("u", Completed);
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    for (resource, goes) in vec![
        (backup("u", Completed), true),
        (backup("u", PartiallyFailed), true),
        (synced("u", Completed), true),
        (synced("u", Failed), true),
        (synced("u", BackupPhase::Other("Odd".into())), true),
        (labelled(HERE, backup("u", Completed)), true),
        (backup("u", Failed), false),
        (backup("u", New), false),
        (synced("u", New), false),
        (backup("u", InProgress), false),
        (backup("u", Deleting), false),
        (at("there", backup("u", Completed)), false),
        (at("", backup("u", Completed)), false),
        (labelled("there", backup("u", Completed)), false),
        (going, false),
    ] {
        assert_eq!(stands_for_stored(&resource, HERE), goes, "{resource:?}");
    }
    let long = "x".repeat(70);
    let resource = labelled(&names::label_value(&long), backup("u", Completed));
    assert!(stands_for_stored(&resource, &long));
}

#[test]
fn records_that_are_no_backups_end_are_not_shown() {
    use BackupPhase::{Completed, Deleting, Failed, InProgress, New};
    for (record, expected) in [
        (backup("u", Completed), None),
        (backup("u", Failed), None),
        (backup("u", BackupPhase::Other("Odd".into())), None),
        (backup("u", New), Some("says New")),
        (backup("u", InProgress), Some("says InProgress")),
        (
            backup("u", BackupPhase::WaitingForPluginOperations),
            Some("says Waiting"),
        ),
        (backup("u", Deleting), Some("says Deleting")),
        (backup("", Completed), Some("no UID")),
    ] {
        match (check(&record), expected) {
            (Ok(()), None) => {}
            (Err(problem), Some(words)) => assert!(problem.contains(words), "{problem}"),
            (found, _) => panic!("{record:?}: {found:?}"),
        }
    }
}

#[test]
fn an_image_keeps_what_means_something_everywhere() {
    let mut record = backup("u", BackupPhase::Completed);
    record.metadata.namespace = Some("theirs".into());
    record.metadata.resource_version = Some("7".into());
    record.metadata.generate_name = Some("b".into());
    record.metadata.finalizers = Some(vec!["gc.ark.heptio.com".into()]);
    record.metadata.owner_references = Some(vec![OwnerReference::default()]);
    record.metadata.labels = Some(
        [
            ("app", "nginx"),
            (labels::SCHEDULE, "nightly"),
            (labels::STORAGE_LOCATION, "theirs"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    record.metadata.annotations = Some([("why".to_owned(), "because".to_owned())].into());
    record.spec.storage_location = "theirs".into();
    record.spec.ttl = Some("1h".into());
    let long = "x".repeat(70);
    let image = image(&record, &long);
    let expected = ObjectMeta {
        name: Some("b".into()),
        labels: Some(
            [
                ("app", "nginx"),
                (labels::SCHEDULE, "nightly"),
                (labels::STORAGE_LOCATION, &names::label_value(&long)),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ),
        annotations: Some(
            [("why", "because"), (labels::ORIGIN_UID, "u")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        ..ObjectMeta::default()
    };
    assert_eq!(image.metadata, expected);
    assert_eq!(image.spec.storage_location, long);
    assert_eq!(image.spec.ttl.as_deref(), Some("1h"));
    assert_eq!(image.status, record.status);
    assert!(owns(&image, &record));
}

#[test]
fn other_clusters_are_named_once() {
    let seen = ["b", "ours", "a", "b", "", &"x".repeat(600)].map(|id| Seen {
        uid: "u".into(),
        cluster_id: Some(id.into()),
        foreign: false,
    });
    let unknown = Seen {
        uid: "u".into(),
        cluster_id: None,
        foreign: false,
    };
    let found = other_clusters(seen.iter().chain([&unknown]), "ours");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn long_lists_and_sentences_are_cut() {
    let many: Vec<String> = (0..13).map(|n| n.to_string()).collect();
    let said = first_few(many.iter().map(String::as_str));
    assert_eq!(said.len(), 11);
    assert_eq!(said[10], "and 3 more");
    assert_eq!(first_few(["a", "b"].into_iter()), ["a", "b"]);
    let long = format!("x{}", "ä".repeat(400));
    let said = first_few([long.as_str()].into_iter());
    assert!(
        said[0].len() <= 503 && said[0].ends_with("ä..."),
        "{said:?}"
    );
}

#[test]
fn a_note_says_what_to_do() {
    assert_eq!(note(&[], 0), "");
    let both = note(&["a".into(), "b".into()], 2);
    assert!(both.contains("other clusters (a, b); give each"), "{both}");
    assert!(
        both.contains("; 2 of its backups cannot be shown"),
        "{both}"
    );
}
