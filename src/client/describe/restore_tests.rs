//! Descriptions of restores, whole.

use super::*;
use crate::api::{Progress, RestorePhase, RestoreSpec, RestoreStatus, Results};

#[test]
fn a_new_restore() {
    let mut new = Restore::new(
        "nginx-backup-20170727200524",
        RestoreSpec {
            backup_name: "nginx-backup".into(),
            ..RestoreSpec::default()
        },
    );
    new.metadata.namespace = Some("heptio-ark".into());
    new.metadata.labels = None;
    insta::assert_snapshot!(restore(&new, &Found::NotRead).unwrap());
}

#[test]
fn a_restore_with_errors() {
    let mut done = Restore::new(
        "r",
        RestoreSpec {
            backup_name: "nginx-backup".into(),
            schedule_name: "nightly".into(),
            namespace_mapping: [("a", "b"), ("c", "d")]
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into(),
            restore_pvs: Some(true),
            empty_volumes: Some(true),
            label_restored: Some(false),
            ..RestoreSpec::default()
        },
    );
    done.metadata.namespace = Some("heptio-ark".into());
    done.status = Some(RestoreStatus {
        phase: RestorePhase::PartiallyFailed,
        warnings: 3,
        errors: 1,
        start_timestamp: Some(Time("2017-07-27T20:05:24Z".parse().unwrap())),
        completion_timestamp: Some(Time("2017-07-27T20:05:30Z".parse().unwrap())),
        progress: Some(Progress {
            items_done: 40,
            total_items: 40,
            ..Progress::default()
        }),
        ..RestoreStatus::default()
    });
    let mut results = Results::default();
    results
        .warnings
        .add(Some("web"), "services nginx: node port dropped");
    results.warnings.add(Some("web"), "pods old: left out");
    results.warnings.add(None, "clusterroles view: differs");
    results.errors.add_ark("the log could not be stored");
    insta::assert_snapshot!(restore(&done, &Found::Read(Box::new(results))).unwrap());
}
