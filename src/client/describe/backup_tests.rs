//! Descriptions of backups, whole.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{
    BackupPhase, BackupResourceHookSpec, BackupSpec, DeleteBackupRequestPhase,
    DeleteBackupRequestSpec, DeleteBackupRequestStatus, ExecHook, HookOwed, Part, Progress,
    Results, RunHolder, VolumeBackupInfo, selector,
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
    insta::assert_snapshot!(backup(&new, &Found::NotRead, &Found::NotRead, &[]).unwrap());
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
            operations_done: 1,
            total_operations: 2,
        }),
        run: Some(RunHolder {
            holder: "ark-0".into(),
            attempt: 2,
        }),
        ..BackupStatus::default()
    });
    let text = backup(&running, &Found::NotRead, &Found::NotRead, &[]).unwrap();
    assert!(text.contains("Run by:      ark-0 (attempt 2)\n"), "{text}");
    assert!(text.contains("Progress:    120 of 500 items\n"), "{text}");
    assert!(text.contains("Operations:  1 of 2 ended\n"), "{text}");
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
    // A rule without a name, whose `hooks` do not count.
    let patient = ExecHook {
        container: "db".into(),
        command: texts(&["/bin/sh", "-c", "flush && sync"]),
        on_error: "Continue".into(),
        timeout: Some("180s".into()),
    };
    spec.hooks.resources.push(BackupResourceHookSpec {
        excluded_namespaces: texts(&["web"]),
        included_resources: texts(&["pods"]),
        label_selector: Some(selector::parse("app=db").unwrap()),
        hooks: vec![exec(&["never"])],
        pre: vec![
            exec(&["first"]),
            BackupResourceHook {
                exec: Some(patient),
            },
        ],
        ..BackupResourceHookSpec::default()
    });
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
        backup_item_operations_attempted: Some(3),
        backup_item_operations_completed: Some(2),
        backup_item_operations_failed: Some(1),
        hooks_attempted: Some(4),
        hooks_failed: Some(1),
        hooks_owed: vec![HookOwed {
            namespace: "shop".into(),
            pod: "db-0".into(),
        }],
        progress: Some(Progress {
            items_done: 500,
            total_items: 500,
            ..Progress::default()
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
        ..DeleteBackupRequestStatus::default()
    });
    insta::assert_snapshot!(backup(&full, &Found::NotRead, &Found::NotRead, &[attempt]).unwrap());
}

#[test]
fn the_details_of_a_backup() {
    let mut made = named(BackupSpec::default());
    made.status = Some(BackupStatus {
        phase: BackupPhase::PartiallyFailed,
        warnings: Some(1),
        errors: Some(3),
        volume_snapshots_attempted: Some(3),
        volume_snapshots_completed: Some(2),
        ..BackupStatus::default()
    });
    let mut results = Results::default();
    results.warnings.add_ark("slow");
    results.errors.add(None, "nodes n1: gone");
    results.errors.add(Some("web"), "pods a: gone");
    results.errors.add(Some("web"), "pods b:\n\u{1b}[31mgone");
    let text = backup(&made, &Found::Read(Box::new(results)), &Found::NotRead, &[]).unwrap();
    for part in [
        concat!(
            "Warnings:\n",
            "  Ark:         slow\n",
            "  Cluster:     <none>\n",
            "  Namespaces:  <none>\n",
            "\n",
            "Errors:\n",
            "  Ark:      <none>\n",
            "  Cluster:  nodes n1: gone\n",
            "  Namespaces:\n",
            "    web:  pods a: gone\n",
            "          pods b:  [31mgone\n",
        ),
        "Persistent Volumes:  2 of 3 snapshots completed\n",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    for (found, line) in [
        (Found::NotRead, "Details:   <shown with --details>\n"),
        (
            Found::Unreadable("no server\nanswers".into()),
            "Details:   <cannot be read: no server answers>\n",
        ),
    ] {
        let text = backup(&made, &found, &Found::NotRead, &[]).unwrap();
        assert!(text.contains(line), "{line} is not in:\n{text}");
        assert!(text.contains("Errors:    3\n"), "{text}");
    }
}

#[test]
fn the_volumes_of_a_backup() {
    let volumes = serde_json::json!([
        {"spec": {"persistentVolumeName": "pv-1", "claim": "shop/db", "location": "aws-default", "provider": "aws",
            "volumeType": "gp3", "volumeAZ": "us-east-1a", "volumeIOPS": 3000},
         "status": {"phase": "Completed", "providerSnapshotID": "snap-1", "size": 1_073_741_824}},
        {"spec": {"persistentVolumeName": "pv-2", "provider": "csi", "claim": "shop/log"},
         "status": {"phase": "InProgress", "providerSnapshotID": "d/s", "message": "10% of its data were through"}},
        {"spec": {"persistentVolumeName": "pv-3"},
         "status": {"phase": "Skipped", "message": "volume policy 1 says skip"}},
    ]);
    let volumes = Found::Read(Box::new(serde_json::from_value(volumes).unwrap()));
    let mut made = named(BackupSpec {
        volume_policies: Some(
            serde_json::from_value(serde_json::json!({"version": "v1", "volumePolicies": [
                {"conditions": {"nfs": {}}, "action": {"type": "skip"}},
                {"conditions": {}, "action": {"type": "snapshot"}},
            ]}))
            .unwrap(),
        ),
        ..BackupSpec::default()
    });
    made.status = Some(BackupStatus {
        phase: BackupPhase::Completed,
        volume_snapshots_attempted: Some(2),
        volume_snapshots_completed: Some(2),
        volumes_skipped: Some(1),
        snapshots_pending: vec![crate::api::SnapshotNote {
            token: "t".into(),
            persistent_volume: "pv-9".into(),
            ..crate::api::SnapshotNote::default()
        }],
        ..BackupStatus::default()
    });
    let text = backup(&made, &Found::NotRead, &volumes, &[]).unwrap();
    let volumes = text.split_once("Persistent Volumes").unwrap().1;
    insta::assert_snapshot!(volumes);
    assert!(
        text.contains("Volume Policies:     skip: {\"nfs\":{}}"),
        "{text}"
    );
    let text = backup(&made, &Found::NotRead, &Found::NotRead, &[]).unwrap();
    assert!(
        text.contains("2 of 2 snapshots completed, 1 not to be snapshot\n"),
        "{text}"
    );
}
