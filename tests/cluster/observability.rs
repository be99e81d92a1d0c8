//! What a server tells of its work beside statuses and logs: metrics, and Events on the objects.

use std::collections::BTreeSet;

use anyhow::Result;
use ark::api::{BackupPhase, BackupSpec, RestorePhase, RestoreSpec};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::{PATIENCE, wait_until};

/// Waits until an object has an Event of each of these reasons, and returns their types.
pub(crate) async fn events(
    ark: &Installation<'_>,
    kind: &str,
    name: &str,
    reasons: &[&str],
) -> Result<BTreeSet<(String, String)>> {
    let events: Api<Event> = Api::namespaced(ark.plane().client(), ark.namespace());
    let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let params = ListParams::default().fields(&selector);
    wait_until(
        &format!("{kind} {name} has its Events"),
        PATIENCE,
        async || {
            let found: BTreeSet<_> = events
                .list(&params)
                .await?
                .into_iter()
                .map(|event| {
                    (
                        event.reason.unwrap_or_default(),
                        event.type_.unwrap_or_default(),
                    )
                })
                .collect();
            let all = reasons
                .iter()
                .all(|wanted| found.iter().any(|(reason, _)| reason == wanted));
            Ok(all.then_some(found))
        },
    )
    .await
}

#[tokio::test]
async fn runs_are_told_in_events_and_counted() -> Result<()> {
    let ark = Installation::new(ControlPlane::shared().await).await?;
    let server = ark.serve().await?;
    let spec = BackupSpec {
        included_namespaces: vec![ark.namespace().to_owned()],
        included_resources: vec!["configmaps".into(), "serviceaccounts".into()],
        ..BackupSpec::default()
    };
    let backup = ark.back_up("told", spec.clone()).await?.status.unwrap();
    assert_eq!(backup.phase, BackupPhase::Completed);
    let restore = RestoreSpec {
        backup_name: "told".into(),
        ..RestoreSpec::default()
    };
    let restored = ark.restore("told", restore).await?.status.unwrap();
    assert_eq!(restored.phase, RestorePhase::Completed);
    let refused = BackupSpec {
        ttl: Some("soon".into()),
        ..spec
    };
    let refused = ark.back_up("refused", refused).await?.status.unwrap();
    assert_eq!(refused.phase, BackupPhase::FailedValidation);

    let normal = |reason: &str| (reason.to_owned(), "Normal".to_owned());
    let found = events(&ark, "Backup", "told", &["Started", "Completed"]).await?;
    assert_eq!(
        found,
        BTreeSet::from([normal("Started"), normal("Completed")])
    );
    let found = events(&ark, "Restore", "told", &["Started", "Completed"]).await?;
    assert_eq!(
        found,
        BTreeSet::from([normal("Started"), normal("Completed")])
    );
    let found = events(&ark, "Backup", "refused", &["FailedValidation"]).await?;
    assert_eq!(
        found,
        BTreeSet::from([("FailedValidation".to_owned(), "Warning".to_owned())])
    );

    let items = backup.progress.unwrap().items_done;
    let metrics = server.get("/metrics").await?;
    for line in [
        "ark_backup_attempt_total{schedule=\"\"} 1".to_owned(),
        "ark_backup_success_total{schedule=\"\"} 1".to_owned(),
        "ark_backup_validation_failure_total{schedule=\"\"} 1".to_owned(),
        format!("ark_backup_items_total{{schedule=\"\"}} {items}"),
        "ark_restore_success_total{schedule=\"\"} 1".to_owned(),
        "ark_restore_duration_seconds_count{schedule=\"\"} 1".to_owned(),
        "ark_backups_running 0".to_owned(),
        "ark_restores_running 0".to_owned(),
        "ark_location_available{location=\"default\"} 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    for started in [
        "ark_backup_newest_age_seconds{schedule=\"\"} ",
        "ark_restore_bytes_total{schedule=\"\"} ",
        "ark_api_requests_total ",
    ] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(started));
        let value: f64 = value.expect(started).parse()?;
        assert!(value > 0.0, "{started}{value}");
    }
    server.stop()
}
