//! Case 11: the order of types, and cases 79, 82 and 85: what is decided before the first object.

use ark::api::{PatchData, ResourceModifiers, RestoreSpec};

use super::*;

#[tokio::test]
async fn case_11_everything_finds_what_it_needs() -> Result<()> {
    let case = Case::new(11).await?;
    // The other way round than they are needed, with a limit range that would change the Pod and a quota that would
    // refuse it.
    case.restore(
        "
apiVersion: v1
kind: ResourceQuota
metadata: {name: one, namespace: NAME}
spec: {hard: {pods: '1'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: small, namespace: NAME}
spec: {limits: [{type: Container, default: {cpu: 10m}, defaultRequest: {cpu: 10m}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: NAME}
spec:
  serviceAccountName: worker
  priorityClassName: NAME
  nodeSelector: {no: where}
  containers: [{name: main, image: pause}]
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: NAME}, value: 7}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: worker, namespace: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: worker}
subjects: [{kind: ServiceAccount, name: worker, namespace: NAME}]
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: worker, namespace: NAME}, rules: []}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: NAME, annotations: {kubernetes.io/service-account.name: worker}}
type: kubernetes.io/service-account-token
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker, namespace: NAME}}
---
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {team: blue}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: animals, kind: Animal}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
",
    )
    .await?;
    let pod = case.must_get("pods", "web").await?;
    assert_eq!(
        *at(&pod, "/spec/containers/0/resources/limits"),
        Value::Null
    );
    case.must_get("secrets", "token").await?;
    case.must_get("resourcequotas", "one").await?;
    case.must_get(&format!("animals.{}.example.org", case.name), "simba")
        .await?;
    Ok(())
}

const THINGS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NAME}, data: {color: red}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: NAME}, data: {color: green}}
";

fn modifiers(yaml: &str) -> Result<RestoreSpec> {
    let modifiers: ResourceModifiers = serde_saphyr::from_str(yaml)?;
    Ok(RestoreSpec {
        resource_modifiers: Some(modifiers),
        ..RestoreSpec::default()
    })
}

#[tokio::test]
async fn case_79_a_test_that_fails_changes_nothing() -> Result<()> {
    let case = Case::new(79).await?;
    let spec = modifiers(
        "
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps}
  patches:
  - {operation: test, path: /data/color, value: red}
  - {operation: replace, path: /data/color, value: blue}
",
    )?;
    assert_silent(&case.restore_as(THINGS, spec).await?);
    assert_eq!(
        case.must_get("configmaps", "a").await?["data"]["color"],
        "blue"
    );
    assert_eq!(
        case.must_get("configmaps", "b").await?["data"]["color"],
        "green"
    );
    Ok(())
}

#[tokio::test]
async fn case_79_an_object_whose_patch_fails_is_held_back() -> Result<()> {
    let case = Case::new(79).await?;
    let spec = modifiers(
        "
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps, resourceNameRegex: ^a$}
  patches: [{operation: remove, path: /data/none}]
",
    )?;
    let outcome = case.restore_as(THINGS, spec).await?;
    assert_said(&outcome, &["error", "configmaps", "a"]);
    assert_eq!(case.get("configmaps", "a").await?, None);
    case.must_get("configmaps", "b").await?;
    Ok(())
}

#[tokio::test]
async fn case_82_paused_objects_come_back_with_their_status_before_what_would_rebuild_them()
-> Result<()> {
    let case = Case::new(82).await?;
    let spec = RestoreSpec {
        restore_status: Some(ark::api::RestoreStatusSpec {
            included_resources: vec!["*".into()],
            excluded_resources: Vec::new(),
        }),
        ..RestoreSpec::default()
    };
    let outcome = case
        .restore_as(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusters.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: clusters, kind: Cluster}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: NAME.example.org/v1
kind: Cluster
metadata: {name: prod, namespace: NAME, uid: u-cluster}
spec: {paused: true}
status: {infrastructureReady: true}
---
apiVersion: v1
kind: Secret
metadata:
  name: prod-kubeconfig
  namespace: NAME
  ownerReferences: [{apiVersion: NAME.example.org/v1, kind: Cluster, name: prod, uid: u-cluster, controller: true}]
",
            spec,
        )
        .await?;
    assert_silent(&outcome);
    let prod = case
        .must_get(&format!("clusters.{}.example.org", case.name), "prod")
        .await?;
    assert_eq!(prod["spec"]["paused"], true);
    assert_eq!(prod["status"]["infrastructureReady"], true);
    let secret = case.must_get("secrets", "prod-kubeconfig").await?;
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["uid"],
        prod["metadata"]["uid"]
    );
    Ok(())
}

#[tokio::test]
async fn case_85_bad_requests_are_refused_before_anything_is_made() -> Result<()> {
    let case = Case::new(85).await?;
    let bad = |rules: ResourceModifiers| RestoreSpec {
        resource_modifiers: Some(rules),
        ..RestoreSpec::default()
    };
    let rule = |yaml: &str| -> Result<ResourceModifiers> { Ok(serde_saphyr::from_str(yaml)?) };
    let mut two_kinds = rule(
        "{version: v1, resourceModifierRules: [{conditions: {groupResource: configmaps}, patches: [{operation: remove, path: /data}]}]}",
    )?;
    two_kinds.resource_modifier_rules[0].merge_patches = vec![PatchData {
        patch_data: "{}".into(),
    }];
    for (spec, word) in [
        (bad(two_kinds), "patch"),
        (
            bad(rule(
                "{version: v1, resourceModifierRules: [{conditions: {groupResource: ghosts}, patches: [{operation: remove, path: /data}]}]}",
            )?),
            "ghosts",
        ),
        (
            RestoreSpec {
                included_items: vec!["configmaps/none-*".into()],
                ..RestoreSpec::default()
            },
            "none-*",
        ),
        (
            RestoreSpec {
                existing_resource_policy: Some(String::from("maybe").into()),
                ..RestoreSpec::default()
            },
            "maybe",
        ),
    ] {
        let refusal = case.refused(THINGS, spec).await?;
        assert!(refusal.contains(word), "{word}: {refusal}");
        assert_eq!(
            case.get_global("namespaces", &case.name).await?,
            None,
            "{word}"
        );
    }
    Ok(())
}
