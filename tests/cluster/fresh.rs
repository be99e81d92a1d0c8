//! Restores in a cluster where what is stored is not shown yet: nothing is missed because it was asked for too early.

use anyhow::{Context as _, Result};
use ark::api::{Backup, Restore, RestorePhase, RestoreSpec, labels};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::locations::create;
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};
use crate::sync::{own, put, record};

/// Lets nobody write the status of a Backup of a namespace.
const NO_STATUS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules: [{apiGroups: [ark.heptio.com], apiVersions: [v1], resources: [backups/status], operations: [UPDATE]}]
  validations: [{expression: 'false', message: not now}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
";

/// Applies [`NO_STATUS`] to the namespace of an installation, and waits until it counts.
async fn refuse_statuses(ark: &Installation<'_>) -> Result<()> {
    let policy = NO_STATUS.replace("NAME", ark.namespace());
    apply_yaml(&ark.plane().client(), &policy).await?;
    let backups = ark.api::<Backup>();
    let probe = Backup::new("probe", ark::api::BackupSpec::default());
    backups.create(&PostParams::default(), &probe).await?;
    let status = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    wait_until("statuses are refused", PATIENCE, async || {
        let params = PatchParams::default();
        let refused = backups.patch_status("probe", &params, &status).await;
        Ok(refused.is_err().then_some(()))
    })
    .await?;
    backups.delete("probe", &DeleteParams::default()).await?;
    Ok(())
}

/// Ends what [`refuse_statuses`] began.
async fn allow_statuses(ark: &Installation<'_>) -> Result<()> {
    use k8s_openapi::api::admissionregistration::v1::{
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    };
    let client = ark.plane().client();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client);
    let name = ark.namespace();
    bindings.delete(name, &DeleteParams::default()).await?;
    policies.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_backup_that_is_shown_without_its_status_can_be_restored() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "fresh").await?;
    let settings = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE}
data: {colour: blue}
";
    apply_yaml(&client, &settings.replace("NAMESPACE", namespace.name())).await?;
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("stored", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    server.stop()?;

    let backups = ark.api::<Backup>();
    backups.delete("stored", &DeleteParams::default()).await?;
    refuse_statuses(&ark).await?;
    let server = ark.serve().await?;
    wait_until("the backup is shown", PATIENCE, async || {
        Ok(backups.get_opt("stored").await?)
    })
    .await?;
    let target = unique_name("fresh");
    let restore = ark
        .restore("early", moved("stored", &namespace, &target))
        .await?;
    assert_clean_restore(&restore);
    let restored: Api<ConfigMap> = Api::namespaced(client, &target);
    restored.get("settings").await?;
    let log = ark.ark(&["backup", "logs", "stored"])?;
    assert!(log.contains("the backup begins"), "{log}");
    assert_eq!(backups.get("stored").await?.status, None);

    allow_statuses(&ark).await?;
    server.stop()
}

#[tokio::test]
async fn the_newest_backup_of_a_schedule_is_chosen_when_all_are_shown() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    // More than are read at once; the newest one is read last.
    for day in 1..=28 {
        let name = format!("nightly-{day:02}");
        let mut stored = record(&name, &format!("uid-{name}"));
        stored["metadata"]["labels"] = json!({labels::SCHEDULE: "nightly"});
        stored["status"]["startTimestamp"] = format!("2026-11-{day:02}T00:00:00Z").into();
        let key = format!("backups/{name}/ark-backup.json");
        put(&ark, &key, &stored.to_string())?;
    }
    create(&ark, "default", own(&ark, |_| {})?).await?;
    let spec = RestoreSpec {
        schedule_name: "nightly".into(),
        ..RestoreSpec::default()
    };
    let restores = ark.api::<Restore>();
    let early = Restore::new("early", spec);
    restores.create(&PostParams::default(), &early).await?;
    let server = ark.serve().await?;
    // There is no more than a record of it.
    let ended = ark.restore_ended("early").await?;
    assert_eq!(ended.spec.backup_name, "nightly-28", "{:?}", ended.status);
    // Of the schedule itself there is nothing here.
    ark.ark(&["restore", "create", "again", "--from-schedule", "nightly"])?;
    let ended = ark.restore_ended("again").await?;
    assert_eq!(ended.spec.backup_name, "nightly-28", "{:?}", ended.status);
    server.stop()
}

#[tokio::test]
async fn a_restore_says_where_its_backup_may_be() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    create(&ark, "default", own(&ark, |_| {})?).await?;
    let broken = own(&ark, |spec| {
        spec.config.insert("path".into(), "/nowhere/at/all".into());
    })?;
    create(&ark, "far", broken).await?;
    let server = ark.serve().await?;
    let spec = RestoreSpec {
        backup_name: "lost".into(),
        ..RestoreSpec::default()
    };
    let restore = ark.restore("lost", spec).await?;
    let status = restore.status.context("a status")?;
    assert_eq!(status.phase, RestorePhase::FailedValidation);
    let said = status.validation_errors.join("; ");
    assert!(
        said.starts_with("there is no backup lost;")
            && said.ends_with("what cannot be looked into now: location far"),
        "{said}"
    );
    server.stop()
}
