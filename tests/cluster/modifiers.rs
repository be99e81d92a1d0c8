//! Resource modifiers from a ConfigMap and from a file, and what chosen objects need, as a user asks for them.

use anyhow::{Context as _, Result};
use ark::api::{Restore, RestorePhase};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore};
use crate::support::unique_name;

const OBJECTS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NAMESPACE}, data: {color: red}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: unused, namespace: NAMESPACE}, data: {color: red}}
---
{apiVersion: v1, kind: Secret, metadata: {name: registry, namespace: NAMESPACE}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker, namespace: NAMESPACE}, imagePullSecrets: [{name: registry}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-a, namespace: NAMESPACE}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: worker
      containers: [{name: main, image: 'old/pause', envFrom: [{configMapRef: {name: settings}}]}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: NAMESPACE}
spec:
  replicas: 0
  selector: {matchLabels: {app: other}}
  template: {metadata: {labels: {app: other}}, spec: {containers: [{name: main, image: pause}]}}
";

const RULES: &str = "
version: v1
resourceModifierRules:
- conditions: {groupResource: deployments.apps, resourceNameRegex: ^web-}
  strategicPatches: [{patchData: 'spec: {template: {spec: {containers: [{name: main, image: new/pause}]}}}'}]
";

#[allow(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn named_objects_come_changed_and_with_what_they_need() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "modified").await?;
    apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    assert_clean_backup(&ark.back_up("modified", all_of(&namespace)).await?);

    let rules: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "rules"}, "data": {"rules.yaml": RULES},
    }))?;
    let own: Api<ConfigMap> = Api::namespaced(client.clone(), ark.namespace());
    own.create(&PostParams::default(), &rules).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, RULES)?;
    let file = file.display().to_string();

    for (name, source) in [
        (
            "from-config-map",
            ["--resource-modifier-configmap", "rules"],
        ),
        ("from-file", ["--resource-modifiers", &file]),
    ] {
        let target = unique_name(name);
        let mapping = format!("{}:{target}", namespace.name());
        let mut flags = vec![
            "restore",
            "create",
            name,
            "--from-backup",
            "modified",
            "--include",
            "deploy/web-*",
            "--with-dependencies",
            "--namespace-mappings",
            &mapping,
            "--wait",
        ];
        flags.extend(source);
        ark.ark(&flags)?;
        assert_clean_restore(&ark.restore_ended(name).await?);
        let found = |kind: &str, of: &str| -> Result<String> {
            let output = plane
                .kubectl()
                .args(["get", kind, "-n", &target, "-o", of])
                .output()?;
            Ok(String::from_utf8(output.stdout)?)
        };
        let images = found(
            "deployments",
            "jsonpath={.items[*].spec.template.spec.containers[*].image}",
        )?;
        assert_eq!(images, "new/pause", "one deployment, changed");
        for (kind, names) in [
            ("configmaps", "settings"),
            ("secrets", "registry"),
            ("persistentvolumeclaims", "data"),
        ] {
            let listed = found(kind, "jsonpath={.items[*].metadata.name}")?;
            let listed = listed.replace("kube-root-ca.crt", "");
            assert_eq!(listed.trim(), names, "{kind}");
        }
        assert!(found("serviceaccounts", "jsonpath={.items[*].metadata.name}")?.contains("worker"));
    }
    let restores: Api<Restore> = ark.api();
    let spec = restores.get("from-config-map").await?.spec;
    assert!(
        spec.resource_modifiers.is_some(),
        "what was used is written down"
    );

    // Rules that nobody can read, and rules that are not there, are refused before anything is made.
    let bad: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "bad"}, "data": {"rules.yaml": "version: v1\nrules: []"},
    }))?;
    own.create(&PostParams::default(), &bad).await?;
    for (name, config_map, word) in [
        ("bad-rules", "bad", "ConfigMap bad"),
        ("no-rules", "none", "there is no ConfigMap"),
    ] {
        let target = unique_name("never-made");
        let mapping = format!("{}:{target}", namespace.name());
        let created = ark.ark(&[
            "restore",
            "create",
            name,
            "--from-backup",
            "modified",
            "--namespace-mappings",
            &mapping,
            "--resource-modifier-configmap",
            config_map,
            "--wait",
        ]);
        assert!(created.is_err(), "{created:?}");
        let status = restores.get(name).await?.status.context("a status")?;
        assert_eq!(status.phase, RestorePhase::FailedValidation);
        assert!(
            status.validation_errors.join(" ").contains(word),
            "{status:?}"
        );
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        assert!(namespaces.get_opt(&target).await?.is_none());
    }
    server.stop()
}
