//! Dry runs: they say what a restore then does, and change nothing.

use anyhow::{Context as _, Result};
use ark::api::{PlanAction, PlanItem, Restore, RestoreCounts, RestorePhase, RestoreSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::snapshot;
use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup};
use crate::support::unique_name;

const OBJECTS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: same, namespace: NAMESPACE}, data: {a: b}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: lost, namespace: NAMESPACE}, data: {a: b}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: changed, namespace: NAMESPACE}, data: {color: red}}
---
{apiVersion: v1, kind: Secret, metadata: {name: secret, namespace: NAMESPACE}, stringData: {password: hunter2}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: pause}]}}
";

fn printed(output: &str) -> Result<(RestoreCounts, Vec<PlanItem>)> {
    let document: Value = serde_json::from_str(output)?;
    Ok((
        serde_json::from_value(document["counts"].clone())?,
        serde_json::from_value(document["items"].clone())?,
    ))
}

#[allow(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn a_dry_run_says_what_the_restore_does_and_changes_nothing() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "dry").await?;
    apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    assert_clean_backup(&ark.back_up("dry", all_of(&namespace)).await?);

    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace.name());
    config_maps.delete("lost", &DeleteParams::default()).await?;
    let blue = Patch::Merge(json!({"data": {"color": "blue"}}));
    config_maps
        .patch("changed", &PatchParams::default(), &blue)
        .await?;
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(client.clone(), namespace.name());
    let other = Patch::Merge(json!({"stringData": {"password": "correct horse"}}));
    secrets
        .patch("secret", &PatchParams::default(), &other)
        .await?;
    let before = snapshot(&client, &[namespace.name()], "none=none").await?;

    let flags = [
        "restore",
        "create",
        "try",
        "--from-backup",
        "dry",
        "--dry-run",
    ];
    let (counts, items) = printed(&ark.ark(&[&flags[..], &["-o", "json"]].concat())?)?;
    assert_eq!(
        (
            counts.create,
            counts.update,
            counts.recreate,
            counts.conflict,
            counts.unchecked
        ),
        (1, 0, 0, 2, 0),
        "{items:#?}"
    );
    assert_eq!(counts.skip, items.len() as u64 - 3);
    let find = |items: &[PlanItem], of: &str, name: &str| {
        let item = items
            .iter()
            .find(|item| item.resource == of && item.name == name);
        item.cloned()
            .with_context(|| format!("{of} {name} in {items:#?}"))
    };
    assert_eq!(
        find(&items, "configmaps", "lost")?.action,
        PlanAction::Create
    );
    assert_eq!(find(&items, "configmaps", "same")?.action, PlanAction::Skip);
    let changed = find(&items, "configmaps", "changed")?;
    assert_eq!(changed.action, PlanAction::Conflict);
    assert_eq!(changed.differences[0].path, "data.color");
    assert_eq!(changed.differences[0].backup.as_deref(), Some("\"red\""));
    assert_eq!(changed.differences[0].cluster.as_deref(), Some("\"blue\""));
    let secret = find(&items, "secrets", "secret")?;
    assert_eq!(secret.differences[0].path, "data.password");
    assert!(!format!("{secret:?}").contains("aHVudGVyMg"), "{secret:?}");

    // With another policy, as it is printed for people.
    let text = ark.ark(&[
        "restore",
        "create",
        "try-update",
        "--from-backup",
        "dry",
        "--dry-run",
        "--existing-resource-policy",
        "update",
    ])?;
    assert!(text.contains("Create: 1, update: 2, recreate: 0"), "{text}");
    assert!(
        text.contains("data.color: \"blue\" in the cluster, \"red\" in the backup"),
        "{text}"
    );
    assert!(text.contains("Nothing was changed."), "{text}");
    let described = ark.ark(&["restore", "describe", "try-update", "--details"])?;
    assert!(
        described.contains("configmaps") && described.contains("lost"),
        "{described}"
    );

    let after = snapshot(&client, &[namespace.name()], "none=none").await?;
    assert_eq!(before, after, "a dry run changes nothing");

    // The restore does what was said.
    let restore = ark
        .restore(
            "do",
            RestoreSpec {
                backup_name: "dry".into(),
                existing_resource_policy: Some(String::from("update").into()),
                ..RestoreSpec::default()
            },
        )
        .await?;
    let status = restore.status.context("a status")?;
    assert_eq!(status.phase, RestorePhase::Completed, "{status:?}");
    assert_eq!((status.warnings, status.errors), (0, 0), "{status:?}");
    let done = status.counts.context("counts")?;
    assert_eq!((done.create, done.update, done.conflict), (1, 2, 0));
    let now = config_maps.get("changed").await?;
    assert_eq!(now.data.context("data")?["color"], "red");
    server.stop()
}

#[tokio::test]
async fn what_cannot_be_checked_says_why() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "unchecked").await?;
    apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    assert_clean_backup(&ark.back_up("unchecked", all_of(&namespace)).await?);
    let target = unique_name("dry-target");
    let mapping = format!("{}:{target}", namespace.name());
    let (counts, items) = printed(&ark.ark(&[
        "restore",
        "create",
        "try",
        "--from-backup",
        "unchecked",
        "--dry-run",
        "--namespace-mappings",
        &mapping,
        "-o",
        "json",
    ])?)?;
    assert!(counts.unchecked >= 5 && counts.conflict == 0, "{counts:?}");
    let made = items
        .iter()
        .find(|item| item.resource == "namespaces")
        .context("the namespace")?;
    assert_eq!(
        (made.name.as_str(), made.action),
        (target.as_str(), PlanAction::Create)
    );
    let item = items
        .iter()
        .find(|item| item.name == "lost")
        .context("an object")?;
    assert!(
        item.unchecked.contains("is made by the restore"),
        "{item:?}"
    );
    let restores: Api<Restore> = ark.api();
    assert_eq!(restores.get("try").await?.spec.dry_run, Some(true));
    // One that is refused is told as a document, too.
    let refused = ark
        .command()
        .args(["restore", "create", "refused", "--from-backup"])
        .args([
            "unchecked",
            "--dry-run",
            "-o",
            "json",
            "--include",
            "secrets/none-*",
        ])
        .output()?;
    assert!(!refused.status.success());
    let document: Value = serde_json::from_slice(&refused.stdout)?;
    assert_eq!(document["phase"], "FailedValidation");
    let reason = document["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("secrets/none-*"), "{document}");
    let listed = ark.ark(&["restore", "get"])?;
    assert!(listed.contains("Completed (dry run)"), "{listed}");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    assert!(
        namespaces.get_opt(&target).await?.is_none(),
        "nothing is made"
    );

    // Bad input is refused with its reason, and the command says so.
    let refused = ark.ark(&[
        "restore",
        "create",
        "bad",
        "--from-backup",
        "unchecked",
        "--dry-run",
        "--include",
        "configmaps/none-*",
    ]);
    let refused = format!("{refused:?}");
    assert!(refused.contains("matches nothing"), "{refused}");

    // The plan goes with the backup, as all that is stored of its restores does.
    assert!(
        ark.keys()
            .into_iter()
            .any(|key| key.contains("restore-try-plan"))
    );
    ark.ark(&["backup", "delete", "unchecked", "--confirm"])?;
    crate::support::wait_until(
        "the plan is removed",
        crate::support::PATIENCE,
        async || {
            let left = ark
                .keys()
                .into_iter()
                .any(|key| key.contains("restore-try-plan"));
            Ok((!left).then_some(()))
        },
    )
    .await?;
    server.stop()
}
