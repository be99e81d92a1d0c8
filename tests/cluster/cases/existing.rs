//! Cases 69 to 74 and 83: objects that are there already.

use std::fmt::Write as _;

use ark::api::{ExistingResourcePolicy, RestoreSpec};
use serde_json::json;

use super::*;

fn policy(policy: ExistingResourcePolicy) -> RestoreSpec {
    RestoreSpec {
        existing_resource_policy: Some(policy),
        ..RestoreSpec::default()
    }
}

const STORED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAME, labels: {a: stored}}
data: {color: red, shape: round}
";

/// The same with another color and a field more.
const OTHER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAME, labels: {a: stored}}
data: {color: blue, shape: round, more: here}
";

#[tokio::test]
async fn case_69_an_object_that_is_the_same_is_passed_over_in_silence() -> Result<()> {
    let case = Case::new(69).await?;
    case.make_namespace().await?;
    // Applied by somebody else: its managed fields are others.
    case.apply(STORED).await?;
    let before = case.must_get("configmaps", "settings").await?;
    case.restore(STORED).await?;
    assert_eq!(case.must_get("configmaps", "settings").await?, before);
    Ok(())
}

#[tokio::test]
async fn case_69_many_that_are_there_are_asked_for_in_bulk() -> Result<()> {
    const MANY: usize = 250;
    let case = Case::new(69).await?;
    let mut yaml = String::new();
    for n in 0..MANY {
        let _ = write!(
            yaml,
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: thing-{n:03}, namespace: NAME}}, data: {{n: '{n}'}}}}\n---\n"
        );
    }
    case.store("many", &yaml).await?;
    case.run("many", "first", RestoreSpec::default()).await?;
    let requests = || {
        case.cluster
            .stats()
            .requests
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = requests();
    let outcome = case.run("many", "second", RestoreSpec::default()).await?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.skip, MANY as u64 + 1);
    let spent = requests() - before;
    assert!(spent < 30, "{spent} requests for {MANY} objects");
    Ok(())
}

#[tokio::test]
async fn case_70_an_object_that_differs_is_left_with_one_warning() -> Result<()> {
    let case = Case::new(70).await?;
    case.make_namespace().await?;
    case.apply(OTHER).await?;
    let before = case.must_get("configmaps", "settings").await?;
    let none = policy(ExistingResourcePolicy::None);
    for spec in [RestoreSpec::default(), none] {
        let outcome = case.restore_as(STORED, spec).await?;
        assert_said(
            &outcome,
            &[
                "warning",
                "configmaps",
                "settings",
                "data.color",
                "data.more",
            ],
        );
        assert_eq!(outcome.counts.conflict, 1);
    }
    assert_eq!(case.must_get("configmaps", "settings").await?, before);
    Ok(())
}

#[tokio::test]
async fn case_70_what_a_deployment_was_scaled_to_is_told_once() -> Result<()> {
    let case = Case::new(70).await?;
    case.make_namespace().await?;
    let deployment = |replicas: u32| {
        format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: NAME}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: main, image: pause}}]}}}}
"
        )
    };
    let replica_set = async |replicas: u32| {
        crate::support::wait_until("the ReplicaSet follows", PATIENCE, async || {
            let all = kube::Api::<k8s_openapi::api::apps::v1::ReplicaSet>::namespaced(
                case.client.clone(),
                &case.name,
            );
            let found = all.list(&kube::api::ListParams::default()).await?;
            let one = found.items.into_iter().next();
            Ok(one.filter(|one| {
                one.spec.as_ref().and_then(|spec| spec.replicas) == Some(replicas.cast_signed())
            }))
        })
        .await
    };
    case.apply(&deployment(1)).await?;
    let mut stored = serde_json::to_value(replica_set(1).await?)?;
    stored["apiVersion"] = json!("apps/v1");
    stored["kind"] = json!("ReplicaSet");
    case.apply(&deployment(3)).await?;
    replica_set(3).await?;
    let outcome = case
        .restore_as(
            &format!("{}---\n{stored}", deployment(1)),
            RestoreSpec::default(),
        )
        .await?;
    assert_said(
        &outcome,
        &["warning", "deployments.apps web", "spec.replicas"],
    );
    Ok(())
}

#[tokio::test]
async fn case_71_an_object_that_differs_is_updated_on_demand() -> Result<()> {
    let case = Case::new(71).await?;
    case.make_namespace().await?;
    case.apply(OTHER).await?;
    let before = case.must_get("configmaps", "settings").await?;
    let outcome = case
        .restore_as(STORED, policy(ExistingResourcePolicy::Update))
        .await?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.update, 1);
    let after = case.must_get("configmaps", "settings").await?;
    assert_eq!(after["data"], json!({"color": "red", "shape": "round"}));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}

const FROZEN: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: frozen, namespace: NAME}
immutable: true
data: {color: COLOR}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NAME}
spec:
  serviceName: COLOR
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: main, image: pause}]}}
";

#[tokio::test]
async fn case_72_what_may_not_be_changed_is_left_with_a_warning_or_made_anew() -> Result<()> {
    let case = Case::new(72).await?;
    case.make_namespace().await?;
    case.apply(&FROZEN.replace("COLOR", "blue")).await?;
    let stored = FROZEN.replace("COLOR", "red");
    let outcome = case
        .restore_as(&stored, policy(ExistingResourcePolicy::Update))
        .await?;
    let said = said(&outcome);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter().all(|line| line.starts_with("warning")),
        "{said:?}"
    );
    let frozen = case.must_get("configmaps", "frozen").await?;
    assert_eq!(frozen["data"]["color"], "blue");

    let outcome = case
        .restore_as(&stored, policy(ExistingResourcePolicy::Recreate))
        .await?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.recreate, 2);
    let anew = case.must_get("configmaps", "frozen").await?;
    assert_eq!(anew["data"]["color"], "red");
    assert_ne!(anew["metadata"]["uid"], frozen["metadata"]["uid"]);
    let set = case.must_get("statefulsets.apps", "db").await?;
    assert_eq!(set["spec"]["serviceName"], "red");
    Ok(())
}

#[tokio::test]
async fn case_72_nothing_is_deleted_for_what_would_be_refused() -> Result<()> {
    let case = Case::new(72).await?;
    case.make_namespace().await?;
    case.apply(OTHER).await?;
    let before = case.must_get("configmaps", "settings").await?;
    // Somebody wants no object of this color.
    case.apply(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  validations: [{expression: \"has(object.data) && object.data.color != 'red'\", message: no red here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
",
    )
    .await?;
    case.until_refused().await?;
    let recreate = RestoreSpec {
        excluded_resources: vec!["namespaces".into()],
        ..policy(ExistingResourcePolicy::Recreate)
    };
    let dry = RestoreSpec {
        dry_run: Some(true),
        ..recreate.clone()
    };
    let planned = case.restore_as(STORED, dry).await?;
    assert_eq!((planned.counts.conflict, planned.counts.recreate), (1, 0));
    let outcome = case.restore_as(STORED, recreate).await?;
    assert_said(
        &outcome,
        &["warning", "settings", "data.color", "no red here"],
    );
    assert_eq!(case.must_get("configmaps", "settings").await?, before);
    Ok(())
}

#[tokio::test]
async fn case_72_what_belongs_to_a_recreated_object_stays() -> Result<()> {
    let case = Case::new(72).await?;
    let family = |color: &str| {
        format!(
            "
apiVersion: v1
kind: ConfigMap
metadata: {{name: lion, namespace: NAME, uid: u-lion}}
data: {{color: {color}}}
---
apiVersion: v1
kind: Secret
metadata:
  name: cub
  namespace: NAME
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: lion, uid: u-lion}}]
---
apiVersion: v1
kind: Service
metadata: {{name: den, namespace: NAME, annotations: {{color: {color}}}}}
spec: {{type: NodePort, ports: [{{port: 80, nodePort: 32172}}]}}
"
        )
    };
    let ports = RestoreSpec {
        preserve_node_ports: Some(true),
        ..policy(ExistingResourcePolicy::Recreate)
    };
    assert_silent(&case.restore_as(&family("blue"), ports.clone()).await?);
    let cub = case.must_get("secrets", "cub").await?;
    case.store("red", &family("red")).await?;
    let outcome = case.run("red", "again", ports).await?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.recreate, 2);
    let lion = case.must_get("configmaps", "lion").await?;
    assert_eq!(lion["data"]["color"], "red");
    let after = case.must_get("secrets", "cub").await?;
    assert_eq!(after["metadata"]["uid"], cub["metadata"]["uid"]);
    assert_eq!(
        after["metadata"]["ownerReferences"][0]["uid"],
        lion["metadata"]["uid"]
    );
    let den = case.must_get("services", "den").await?;
    assert_eq!(den["spec"]["ports"][0]["nodePort"], 32172);
    Ok(())
}

#[tokio::test]
async fn case_71_what_another_namespace_may_share_is_not_changed_for_a_copy() -> Result<()> {
    let case = Case::new(71).await?;
    let yaml = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: worker, namespace: NAME}]
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker, namespace: NAME}}
";
    case.restore(yaml).await?;
    let before = case
        .must_get_global("clusterrolebindings.rbac.authorization.k8s.io", &case.name)
        .await?;
    let copy = format!("{}-copy", case.name);
    let spec = RestoreSpec {
        namespace_mapping: [(case.name.clone(), copy.clone())].into(),
        include_cluster_resources: Some(true),
        ..policy(ExistingResourcePolicy::Update)
    };
    case.store("copy", yaml).await?;
    let outcome = case.run("copy", "copy", spec).await?;
    assert_said(
        &outcome,
        &["warning", "subjects", "original of a mapped namespace"],
    );
    let after = case
        .must_get_global("clusterrolebindings.rbac.authorization.k8s.io", &case.name)
        .await?;
    assert_eq!(before, after);
    Ok(())
}

#[tokio::test]
async fn case_73_an_object_that_is_there_and_cannot_be_read_is_a_warning() -> Result<()> {
    let case = Case::new(73).await?;
    case.make_namespace().await?;
    case.apply(STORED).await?;
    case.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [''], resources: [namespaces], verbs: [get, list, create]}
- {apiGroups: [''], resources: [configmaps], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: NAME}]
",
    )
    .await?;
    let limited = case.impersonating(&case.name).await?;
    let outcome = limited.restore_as(STORED, RestoreSpec::default()).await?;
    assert_said(&outcome, &["warning", "settings", "could not be compared"]);
    Ok(())
}

#[tokio::test]
async fn case_74_an_error_about_an_object_that_is_there_is_weighed_against_it() -> Result<()> {
    let case = Case::new(74).await?;
    case.make_namespace().await?;
    case.apply(STORED).await?;
    // Nobody answers for this webhook; creates are refused whether or not the object is there.
    case.apply(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAME}
webhooks:
- name: no.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 1
  clientConfig: {service: {name: gone, namespace: NAME}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
  rules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
",
    )
    .await?;
    case.until_refused().await?;
    case.restore(STORED).await?;
    let missing = "{apiVersion: v1, kind: ConfigMap, metadata: {name: missing, namespace: NAME}}";
    let outcome = case
        .restore_as(&format!("{STORED}---\n{missing}"), RestoreSpec::default())
        .await?;
    assert_said(&outcome, &["error", "missing", "webhook"]);
    Ok(())
}

#[tokio::test]
async fn case_83_what_the_cluster_makes_for_itself_is_left_out() -> Result<()> {
    let case = Case::new(83).await?;
    case.restore(
        "
{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: lock, namespace: NAME}, spec: {holderIdentity: me}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: NAME}, data: {ca.crt: old}}
---
{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: db-1, namespace: NAME}, revision: 1}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
    )
    .await?;
    assert_eq!(case.get("leases.coordination.k8s.io", "lock").await?, None);
    assert_eq!(case.get("controllerrevisions.apps", "db-1").await?, None);
    case.must_get("configmaps", "thing").await?;
    Ok(())
}
