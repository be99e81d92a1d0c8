//! Descriptions of backups, whole.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{
    BackupPhase, BackupResourceHookSpec, BackupSpec, DeleteBackupRequestPhase,
    DeleteBackupRequestSpec, DeleteBackupRequestStatus, ExecHook, Part, Progress, RunHolder,
    VolumeBackupInfo, selector,
};

fn at(text: &str) -> Time {
    Time(text.parse().unwrap())
}

fn named(spec: BackupSpec) -> Backup {
    let mut backup = Backup::new("nginx-backup", spec);
    backup.metadata.namespace = Some("heptio-ark".into());
    backup.metadata.creation_timestamp = Some(at("2017-07-27T20:05:24Z"));
    backup.metadata.labels = None;
    backup
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn a_new_backup() {
    let new = named(BackupSpec {
        ttl: Some("720h".into()),
        ..BackupSpec::default()
    });
    insta::assert_snapshot!(backup(&new, &[]).unwrap());
}

#[test]
fn a_running_backup() {
    let mut running = named(BackupSpec::default());
    running.status = Some(BackupStatus {
        phase: BackupPhase::InProgress,
        start_timestamp: Some(at("2017-07-27T20:05:25Z")),
        progress: Some(Progress {
            items_done: 120,
            total_items: 500,
        }),
        run: Some(RunHolder {
            holder: "ark-0".into(),
            attempt: 2,
        }),
        ..BackupStatus::default()
    });
    let text = backup(&running, &[]).unwrap();
    assert!(text.contains("Run by:     ark-0 (attempt 2)\n"), "{text}");
    assert!(text.contains("Progress:   120 of 500 items\n"), "{text}");
}

#[test]
fn a_backup_with_everything() {
    let exec = |command: &[&str]| BackupResourceHook {
        exec: Some(ExecHook {
            command: texts(command),
            ..ExecHook::default()
        }),
    };
    let mut spec = BackupSpec {
        included_namespaces: texts(&["shop", "web"]),
        excluded_resources: texts(&["events"]),
        label_selector: Some(selector::parse("tier in (db,web)").unwrap()),
        snapshot_volumes: Some(false),
        include_cluster_resources: Some(true),
        allow_empty: Some(true),
        ..BackupSpec::default()
    };
    spec.hooks.resources = vec![BackupResourceHookSpec {
        name: "freeze".into(),
        included_namespaces: texts(&["shop"]),
        hooks: vec![exec(&["fsfreeze", "--freeze", "/data"])],
        post: vec![exec(&["fsfreeze", "--unfreeze", "/data"])],
        ..BackupResourceHookSpec::default()
    }];
    let mut full = named(spec);
    full.metadata.labels = Some(
        [("app", "nginx"), ("tier", "web")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    full.status = Some(BackupStatus {
        version: Some(2),
        format_version: Some("2.0.0".into()),
        expiration: Some(at("2017-08-26T20:05:24Z")),
        phase: BackupPhase::PartiallyFailed,
        validation_errors: texts(&["one thing", "another\nthing"]),
        failure_reason: Some("the store went away".into()),
        start_timestamp: Some(at("2017-07-27T20:05:25Z")),
        completion_timestamp: Some(at("2017-07-27T20:06:00Z")),
        warnings: Some(2),
        errors: Some(1),
        progress: Some(Progress {
            items_done: 500,
            total_items: 500,
        }),
        parts: vec![Part {
            key: "backups/nginx-backup/nginx-backup-1.tar.zst".into(),
            size: 4096,
            sha256: "00".into(),
        }],
        volume_backups: [(
            "pv-1".to_owned(),
            VolumeBackupInfo {
                snapshot_id: "snap-1".into(),
                volume_type: "gp2".into(),
                availability_zone: "us-east-1a".into(),
                iops: None,
            },
        )]
        .into(),
        ..BackupStatus::default()
    });
    let mut attempt = DeleteBackupRequest::new("x", DeleteBackupRequestSpec::default());
    attempt.metadata.creation_timestamp = Some(at("2017-07-28T00:00:00Z"));
    attempt.status = Some(DeleteBackupRequestStatus {
        phase: DeleteBackupRequestPhase::Processed,
        errors: texts(&["snapshot snap-1: in use", "bucket: denied"]),
    });
    insta::assert_snapshot!(backup(&full, &[attempt]).unwrap());
}
