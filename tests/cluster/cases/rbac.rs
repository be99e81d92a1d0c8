//! Cases 64 and 65: role bindings.

use ark::api::RestoreSpec;
use serde_json::json;

use super::*;

#[tokio::test]
async fn case_64_subjects_move_with_their_namespace() -> Result<()> {
    let case = Case::new(64).await?;
    let target = format!("{}-new", case.name);
    let outcome = case
        .restore_as(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: view, namespace: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects:
- {kind: ServiceAccount, name: worker, namespace: NAME}
- {kind: ServiceAccount, name: other, namespace: elsewhere}
- {kind: User, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccount:NAME:worker'}
- {kind: Group, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccounts:NAME'}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: worker, namespace: NAME}]
",
            RestoreSpec {
                namespace_mapping: [(case.name.clone(), target.clone())].into(),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_silent(&outcome);
    let of = "rolebindings.rbac.authorization.k8s.io";
    let view = case
        .get_in(of, Some(&target), "view")
        .await?
        .context("the binding")?;
    let subjects = &view["subjects"];
    assert_eq!(subjects[0]["namespace"], target);
    assert_eq!(subjects[1]["namespace"], "elsewhere");
    assert_eq!(
        subjects[2]["name"],
        format!("system:serviceaccount:{target}:worker")
    );
    assert_eq!(
        subjects[3]["name"],
        format!("system:serviceaccounts:{target}")
    );
    let of = "clusterrolebindings.rbac.authorization.k8s.io";
    let global = case.must_get_global(of, &case.name).await?;
    assert_eq!(
        global["subjects"],
        json!([{"kind": "ServiceAccount", "name": "worker", "namespace": target}])
    );
    Ok(())
}

#[tokio::test]
async fn case_65_an_escalation_is_an_error_of_that_object_alone() -> Result<()> {
    let case = Case::new(65).await?;
    // An account that may make bindings and roles, with no more rights than these.
    case.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME-restorer}
rules:
- {apiGroups: [''], resources: [namespaces, configmaps], verbs: [get, list, create]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [get, list, create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME-restorer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME-restorer}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: NAME-restorer}]
",
    )
    .await?;
    let limited = case
        .impersonating(&format!("{}-restorer", case.name))
        .await?;
    let outcome = limited
        .restore_as(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: strong, namespace: NAME}
rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: weak, namespace: NAME}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: weak, namespace: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: weak}
subjects: []
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
            RestoreSpec::default(),
        )
        .await?;
    assert_said(&outcome, &["error", "roles", "strong"]);
    case.must_get("configmaps", "thing").await?;
    case.must_get("rolebindings.rbac.authorization.k8s.io", "weak")
        .await?;
    Ok(())
}
