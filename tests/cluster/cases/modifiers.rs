//! Case 79: what resource modifiers make of objects, as Velero and the API server would; and rules by old names of types.

use anyhow::ensure;
use ark::api::{NamespaceReference, ResourceModifiers, RestoreStatusSpec};

use super::*;

fn modifiers(yaml: &str) -> Result<RestoreSpec> {
    let modifiers: ResourceModifiers = serde_saphyr::from_str(yaml)?;
    Ok(RestoreSpec {
        resource_modifiers: Some(modifiers),
        ..RestoreSpec::default()
    })
}

fn claim(name: &str, class: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: NAME}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}{class}}}
---
"
    )
}

#[tokio::test]
async fn case_79_rules_that_swap_classes_leave_claims_without_one_alone() -> Result<()> {
    let case = Case::new(79).await?;
    let objects = claim("gold", ", storageClassName: gold")
        + &claim("silver", ", storageClassName: silver")
        + &claim("none", "");
    let spec = modifiers(
        "
version: v1
resourceModifierRules:
- conditions: {groupResource: persistentvolumeclaims, matches: [{path: /spec/storageClassName, value: gold}]}
  mergePatches: [{patchData: 'spec: {storageClassName: silver}'}]
- conditions: {groupResource: persistentvolumeclaims, matches: [{path: /spec/storageClassName, value: silver}]}
  mergePatches: [{patchData: 'spec: {storageClassName: gold}'}]
# The example of Velero's documents.
- conditions: {groupResource: persistentvolumeclaims, resourceNameRegex: '.*'}
  patches:
  - {operation: test, path: /spec/storageClassName, value: premium}
  - {operation: replace, path: /spec/storageClassName, value: standard}
",
    )?;
    assert_silent(&case.restore_as(&objects, spec).await?);
    for (name, class) in [
        ("gold", Value::from("silver")),
        ("silver", Value::from("gold")),
        ("none", Value::Null),
    ] {
        let claim = case.must_get("persistentvolumeclaims", name).await?;
        assert_eq!(*at(&claim, "/spec/storageClassName"), class, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn case_79_namespaces_leave_no_cluster_scoped_object_out() -> Result<()> {
    let case = Case::new(79).await?;
    let spec = modifiers(
        "
version: v1
resourceModifierRules:
- conditions: {groupResource: '*.rbac.authorization.k8s.io', namespaces: [other]}
  mergePatches: [{patchData: 'metadata: {annotations: {seen: yes-it-was}}'}]
",
    )?;
    let outcome = case
        .restore_as(
            "
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAME}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: inner, namespace: NAME}}
",
            spec,
        )
        .await?;
    assert_silent(&outcome);
    let seen = "/metadata/annotations/seen";
    let outer = case
        .must_get_global("clusterroles.rbac.authorization.k8s.io", &case.name)
        .await?;
    assert_eq!(*at(&outer, seen), "yes-it-was");
    let inner = case
        .must_get("roles.rbac.authorization.k8s.io", "inner")
        .await?;
    assert_eq!(*at(&inner, seen), Value::Null);
    Ok(())
}

/// Objects and patches, and where to look afterwards.
fn patched() -> Vec<(&'static str, &'static str, &'static str)> {
    const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: OBJECT, namespace: NAME}
spec:
  replicas: 0
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {a: '1'}
      initContainers: [{name: i, image: i}, {name: j, image: j}]
      containers:
      - {name: a, image: a, args: [one, two], ports: [{containerPort: 80, name: http}]}
      - {name: b, image: b, env: [{name: A, value: '1'}, {name: B, value: '1'}]}
      - {name: c, image: c}
      volumes: [{name: v, emptyDir: {}}, {name: w, emptyDir: {}}]
";
    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: OBJECT, namespace: NAME}
spec: {ports: [{port: 80, name: a}, {port: 81, name: b}]}
";
    const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: OBJECT, namespace: NAME}
imagePullSecrets: [{name: a}]
";
    const BUDGET: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: OBJECT, namespace: NAME}
spec: {minAvailable: 1, selector: {matchLabels: {a: '1'}}}
";
    let mut patched = vec![
        (
            SERVICE,
            r#"{"spec": {"ports": [{"port": 82, "name": "c"}, {"port": 81, "name": "d"}]}}"#,
            "/spec/ports",
        ),
        (
            ACCOUNT,
            r#"{"imagePullSecrets": [{"name": "b"}]}"#,
            "/imagePullSecrets",
        ),
        (
            BUDGET,
            r#"{"spec": {"selector": {"matchLabels": {"b": "2"}}}}"#,
            "/spec/selector",
        ),
    ];
    let deployments = [
        r#"{"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "d"},
            {"name": "b", "env": [{"name": "C", "value": "2"}, {"name": "B", "value": "2"}]}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "b", "$patch": "delete"},
            {"name": "a", "$deleteFromPrimitiveList/args": ["one"], "ports": [{"containerPort": 81}]}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "n"}, {"name": "a"}],
            "containers": [{"name": "n", "image": "n"}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"initContainers": [{"name": "j", "image": "k"}, {"name": "i", "image": "l"}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"volumes": [
            {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"$patch": "replace"}, {"name": "only", "image": "i"}],
            "initContainers": null}}}}"#,
        r#"{"spec": {"template": {"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}}}}}"#,
        r#"{"spec": {"template": {"spec": {"nodeSelector": {"$patch": "delete"}}}}}"#,
    ];
    patched.extend(deployments.map(|patch| (DEPLOYMENT, patch, "/spec")));
    patched
}

#[tokio::test]
async fn case_79_strategic_patches_do_what_they_do_in_the_api_server() -> Result<()> {
    let case = Case::new(79).await?;
    case.make_namespace().await?;
    let mut stored = String::new();
    let mut rules = Vec::new();
    let mut wanted = Vec::new();
    for (number, (object, patch, path)) in patched().into_iter().enumerate() {
        let kind = object
            .lines()
            .find_map(|line| line.strip_prefix("kind: "))
            .context("a kind")?;
        case.apply(&object.replace("OBJECT", &format!("patched-{number}")))
            .await?;
        let output = case
            .plane
            .kubectl()
            .args(["patch", kind, &format!("patched-{number}")])
            .args(["-n", &case.name, "--type", "strategic", "-p", patch])
            .args(["-o", "json"])
            .output()?;
        ensure!(output.status.success(), "{patch}: {output:?}");
        let by_server: Value = serde_json::from_slice(&output.stdout)?;
        wanted.push((number, patch, path, by_server));

        stored += &object.replace("OBJECT", &format!("restored-{number}"));
        stored += "---";
        rules.push(serde_json::json!({
            "conditions": {"groupResource": kind, "resourceNameRegex": format!("-{number}$")},
            "strategicPatches": [{"patchData": patch}],
        }));
    }
    let rules = serde_json::json!({"version": "v1", "resourceModifierRules": rules});
    let spec = modifiers(&rules.to_string())?;
    assert_silent(&case.restore_as(&stored, spec).await?);
    for (number, patch, path, by_server) in wanted {
        let of = match by_server["kind"].as_str().context("a kind")? {
            "Deployment" => "deployments.apps",
            "Service" => "services",
            "ServiceAccount" => "serviceaccounts",
            _ => "poddisruptionbudgets.policy",
        };
        let restored = case.must_get(of, &format!("restored-{number}")).await?;
        assert_eq!(at(&restored, path), at(&by_server, path), "{patch}");
    }
    Ok(())
}

#[tokio::test]
async fn case_85_a_directive_that_is_none_is_refused_before_anything_is_made() -> Result<()> {
    let case = Case::new(85).await?;
    let spec = modifiers(
        "
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps}
  strategicPatches: [{patchData: 'data: {$retainkeys: [a]}'}]
",
    )?;
    let things = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NAME}}";
    let refusal = case.refused(things, spec).await?;
    assert!(refusal.contains("$retainkeys"), "{refusal}");
    assert_eq!(case.get_global("namespaces", &case.name).await?, None);
    Ok(())
}

const OLD: &str = "
{apiVersion: v1, kind: Secret, metadata: {name: certificate, namespace: NAME-old}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NAME-old}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: unused, namespace: NAME-old}}
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: web, namespace: NAME-old}
spec:
  replicas: 0
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: pause, envFrom: [{configMapRef: {name: settings}}]}]}
status: {observedGeneration: 1, replicas: 7}
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: web, namespace: NAME-old, annotations: {home: NAME-old}}
spec: {backend: {serviceName: web, servicePort: 80}, tls: [{secretName: certificate}]}
";

#[tokio::test]
async fn case_15_rules_and_needs_know_types_by_their_old_and_new_names() -> Result<()> {
    for [deployments, ingresses] in [
        ["deployments.extensions", "ingresses.extensions"],
        ["deployments.apps", "ingresses.networking.k8s.io"],
    ] {
        let case = Case::new(15).await?;
        let rules = modifiers(&format!(
            "
version: v1
resourceModifierRules:
- conditions: {{groupResource: {deployments}}}
  strategicPatches: [{{patchData: 'spec: {{template: {{spec: {{containers: [{{name: main, image: new}}]}}}}}}'}}]
"
        ))?;
        let spec = RestoreSpec {
            namespace_mapping: [(format!("{}-old", case.name), case.name.clone())].into(),
            namespace_references: vec![NamespaceReference {
                resource: ingresses.into(),
                path: "metadata.annotations.home".into(),
            }],
            restore_status: Some(RestoreStatusSpec {
                included_resources: vec![deployments.into()],
                ..RestoreStatusSpec::default()
            }),
            included_items: vec![format!("{deployments}/web"), format!("{ingresses}/web")],
            with_dependencies: Some(true),
            ..rules
        };
        assert_silent(&case.restore_as(OLD, spec).await?);
        let web = case.must_get("deployments.apps", "web").await?;
        let image = at(&web, "/spec/template/spec/containers/0/image");
        assert_eq!(*image, "new", "{deployments}");
        let web = case.must_get("ingresses.networking.k8s.io", "web").await?;
        assert_eq!(*at(&web, "/metadata/annotations/home"), *case.name);
        case.must_get("configmaps", "settings").await?;
        case.must_get("secrets", "certificate").await?;
        assert_eq!(case.get("configmaps", "unused").await?, None);
    }
    Ok(())
}
