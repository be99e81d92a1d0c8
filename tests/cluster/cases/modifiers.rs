//! Case 79: what resource modifiers make of objects, as Velero would; and rules by old names of types.

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
