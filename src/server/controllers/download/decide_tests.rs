use crate::api::{BackupStatus, DownloadServer, DownloadTarget, labels};

use super::*;

const LOG: File = File::Backup(PartKind::Logs);
const RESULTS: File = File::Backup(PartKind::Results);
const RESTORE_LOG: File = File::Restore(RestoreFile::Log);

fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn target(kind: DownloadTargetKind, name: &str) -> DownloadTarget {
    DownloadTarget {
        kind,
        name: name.to_owned(),
    }
}

fn at() -> Found {
    Found::At {
        location: "default".into(),
        file: StoredFile {
            key: "k".into(),
            size: Some(1),
        },
    }
}

#[test]
fn a_request_is_answered_kept_and_removed() {
    let request = |phase, expires: Option<i64>, created: i64| {
        let mut request = DownloadRequest::default();
        request.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        request.status = Some(DownloadRequestStatus {
            phase,
            expiration: expires.map(|second| Time(Timestamp::from_second(second).unwrap())),
            ..DownloadRequestStatus::default()
        });
        request
    };
    let processed = || DownloadRequestPhase::Processed;
    let keep = |second| Step::Keep(Timestamp::from_second(second).unwrap());
    for (request, expected) in [
        (DownloadRequest::default(), Step::Answer),
        (request(DownloadRequestPhase::New, None, 0), Step::Answer),
        (request(processed(), Some(10_001), 0), keep(10_001)),
        (request(processed(), Some(10_000), 0), Step::Remove),
        (request(processed(), Some(9_000), 0), Step::Remove),
        (request(processed(), None, 9_999), keep(10_599)),
        (request(processed(), None, 0), Step::Remove),
        (
            request(DownloadRequestPhase::Other("Odd".into()), None, 0),
            Step::Nothing,
        ),
    ] {
        assert_eq!(step(&request, now()), expected, "{:?}", request.status);
        let mut deleted = request;
        deleted.metadata.deletion_timestamp = Some(Time(now()));
        assert_eq!(step(&deleted, now()), Step::Nothing);
    }
}

#[test]
fn every_kind_of_file() {
    use DownloadTargetKind as Kind;
    for (kind, expected, is_log) in [
        (Kind::BackupLog, LOG, true),
        (
            Kind::BackupContents,
            File::Backup(PartKind::Contents),
            false,
        ),
        (
            Kind::BackupVolumeSnapshots,
            File::Backup(PartKind::VolumeSnapshots),
            false,
        ),
        (Kind::BackupResults, RESULTS, false),
        (Kind::RestoreLog, RESTORE_LOG, true),
        (
            Kind::RestoreResults,
            File::Restore(RestoreFile::Results),
            false,
        ),
    ] {
        let file = File::of(&target(kind.clone(), "b")).unwrap();
        assert_eq!(file, expected);
        assert_eq!(file.is_log(), is_log);
        let problem = File::of(&target(kind.clone(), "")).unwrap_err();
        assert!(problem.contains("set spec.target.name"), "{problem}");
        assert!(File::of(&target(kind, "../../pods/p")).is_err());
    }
    let problem = File::of(&target(Kind::Other("BackupIndex".into()), "b")).unwrap_err();
    assert!(problem.contains("called BackupIndex"), "{problem}");
}

#[test]
fn runs_are_seen_from_one_server() {
    let backup = |phase, holder: &str| {
        let status = BackupStatus {
            phase,
            run: Some(RunHolder {
                holder: holder.into(),
                attempt: 1,
            }),
            failure_reason: Some("no disk".into()),
            validation_errors: vec!["a".into(), "b".into()],
            ..BackupStatus::default()
        };
        Backup {
            status: Some(status),
            ..Backup::default()
        }
    };
    for (phase, holder, expected) in [
        (BackupPhase::New, "", Run::New),
        (BackupPhase::InProgress, "me", Run::Here),
        (BackupPhase::WaitingForPluginOperations, "me", Run::Here),
        (
            BackupPhase::InProgress,
            "them",
            Run::Elsewhere("them".into()),
        ),
        (
            BackupPhase::FailedValidation,
            "",
            Run::Refused("a; b".into()),
        ),
        (BackupPhase::Failed, "me", Run::Failed("no disk".into())),
        (BackupPhase::Completed, "me", Run::Ended),
        (BackupPhase::PartiallyFailed, "them", Run::Ended),
        (BackupPhase::Deleting, "me", Run::Ended),
    ] {
        assert_eq!(Run::of_backup(&backup(phase, holder), "me"), expected);
    }
    assert_eq!(Run::of_backup(&Backup::default(), "me"), Run::New);
    let mut synced = Backup::default();
    synced.metadata.annotations = Some([(labels::ORIGIN_UID.to_owned(), "u".to_owned())].into());
    assert_eq!(Run::of_backup(&synced, "me"), Run::Ended);
    assert_eq!(Run::of_restore(&Restore::default(), "me"), Run::New);
}

#[test]
fn what_is_stored_is_served() {
    for run in [Run::Ended, Run::Missing, Run::Failed("x".into())] {
        for file in [LOG, RESULTS, RESTORE_LOG] {
            let answer = answer(file, "b", &run, at());
            assert!(
                matches!(answer, Answer::Serve { .. }),
                "{run:?}: {answer:?}"
            );
        }
    }
}

#[test]
fn whatever_is_not_there_is_explained() {
    let nothing = || Found::Nothing(Vec::new());
    let unseen = Found::Nothing(vec!["far".into()]);
    let snapshots = File::Backup(PartKind::VolumeSnapshots);
    let refused = Run::Refused("bad ttl".into());
    let failed = Run::Failed("no disk".into());
    let elsewhere = Run::Elsewhere("them".into());
    for (file, run, found, expected) in [
        (LOG, &Run::Missing, nothing(), "there is no backup b"),
        (RESTORE_LOG, &Run::Missing, nothing(), "`ark restore get`"),
        (LOG, &Run::Missing, unseen, "location far"),
        (LOG, &Run::New, nothing(), "has not begun yet"),
        (RESULTS, &Run::Here, nothing(), "is in progress"),
        (LOG, &elsewhere, nothing(), "begun by server them"),
        (
            LOG,
            &refused,
            nothing(),
            "was refused and has no log: bad ttl",
        ),
        (LOG, &failed, nothing(), "failed and left no log: no disk"),
        (LOG, &Run::Ended, nothing(), "is stored any more"),
        (RESTORE_LOG, &Run::Ended, nothing(), "no log of restore b"),
        (LOG, &Run::Ended, Found::Lacking, "backup b has no log"),
        (
            snapshots,
            &Run::Ended,
            Found::Lacking,
            "backup b has no volume snapshots",
        ),
        (
            LOG,
            &Run::Ended,
            Found::Lost("backups/b/b-1-logs.gz".into()),
            "backups/b/b-1-logs.gz is missing",
        ),
        (
            LOG,
            &Run::Ended,
            Found::Unusable(vec!["no answer".into()]),
            "cannot be looked for now: no answer",
        ),
    ] {
        let given = answer(file, "b", run, found.clone());
        let Answer::Say(message) = &given else {
            panic!("{run:?} {found:?}: {given:?}");
        };
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_is_not_known_yet_waits() {
    for (file, run, found, expected) in [
        (LOG, Run::Ended, Found::Unknown, Answer::None),
        (LOG, Run::Missing, Found::Unknown, Answer::None),
        (LOG, Run::Here, Found::Nothing(Vec::new()), Answer::Later),
        (
            RESTORE_LOG,
            Run::Here,
            Found::Nothing(Vec::new()),
            Answer::Later,
        ),
    ] {
        assert_eq!(answer(file, "b", &run, found), expected, "{run:?}");
    }
}

#[test]
fn the_files_of_an_earlier_run_of_the_name_are_not_taken() {
    for (run, expected) in [
        (Run::Missing, true),
        (Run::Ended, true),
        (Run::Failed(String::new()), true),
        (Run::New, false),
        (Run::Here, false),
        (Run::Elsewhere(String::new()), false),
        (Run::Refused(String::new()), false),
    ] {
        assert_eq!(run.may_have_stored(), expected, "{run:?}");
    }
}

#[test]
fn links_of_the_store_and_of_the_server() {
    let own = || {
        Ok(Link {
            url: "http://server/download/x".into(),
            server: DownloadServer {
                pod: "p".into(),
                port: 1,
                path: "/download/x".into(),
            },
        })
    };
    let signed = || Ok("https://store/x".to_owned());
    let broken = || Err("no key".to_owned());
    for (store, server, url, has_server, message) in [
        (Some(signed()), Some(own()), "https://store/x", true, ""),
        (Some(signed()), None, "https://store/x", false, ""),
        (None, Some(own()), "http://server/download/x", true, ""),
        (
            Some(broken()),
            Some(own()),
            "http://server/download/x",
            true,
            "the store's link could not be made: no key",
        ),
        (
            Some(broken()),
            None,
            "",
            false,
            "the store's link could not be made: no key",
        ),
        (
            None,
            Some(Err("odd".into())),
            "",
            false,
            "the server's link could not be made: odd",
        ),
        (None, None, "", false, "--download-address"),
    ] {
        let status = served(store, server, now());
        assert_eq!(status.phase, DownloadRequestPhase::Processed);
        assert_eq!(status.download_url, url);
        assert_eq!(status.server.is_some(), has_server, "{status:?}");
        assert_eq!(status.expiration, Some(Time(now() + LIFE)));
        assert_eq!(status.message.is_empty(), message.is_empty(), "{status:?}");
        assert!(status.message.contains(message), "{status:?}");
    }
}
