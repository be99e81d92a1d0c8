//! Cases 9 and 16 to 24: what is restored at all, and under which namespace.

use ark::api::{RestoreSpec, validate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;

#[test]
fn case_09_what_is_never_restored_may_not_be_asked_for() {
    for name in [
        "nodes",
        "events",
        "events.events.k8s.io",
        "csinodes.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "backups.velero.io",
        "restores.velero.io",
        "backuprepositories.velero.io",
        "resticrepositories.velero.io",
        "datauploads.velero.io",
        "datadownloads.velero.io",
        "deletebackuprequests.velero.io",
        "downloadrequests.velero.io",
        "backups.ark.heptio.com",
        "restores.ark.heptio.com",
    ] {
        let spec = RestoreSpec {
            backup_name: "b".into(),
            included_resources: vec![name.into()],
            ..RestoreSpec::default()
        };
        let problems = validate::restore(&spec).join("\n");
        assert!(problems.contains("never restored"), "{name}: {problems}");
    }
}

#[tokio::test]
async fn case_09_what_is_never_restored_is_left_out() -> Result<()> {
    let case = Case::new(9).await?;
    case.restore(
        "
{apiVersion: v1, kind: Node, metadata: {name: NAME}}
---
apiVersion: v1
kind: Event
metadata: {name: NAME, namespace: NAME}
involvedObject: {kind: Pod, name: a, namespace: NAME}
---
# Its type is served nowhere here, which is no error of what is never restored.
{apiVersion: velero.io/v2alpha1, kind: DataUpload, metadata: {name: a, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
    )
    .await?;
    assert_eq!(case.get_global("nodes", &case.name).await?, None);
    assert_eq!(case.get("events", &case.name).await?, None);
    case.must_get("configmaps", "thing").await?;
    Ok(())
}

#[tokio::test]
async fn case_18_a_missing_namespace_comes_back_under_its_new_name() -> Result<()> {
    let case = Case::new(18).await?;
    let target = format!("{}-new", case.name);
    let outcome = case
        .restore_as(
            "
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {team: blue, kubernetes.io/metadata.name: NAME}, annotations: {note: kept}}
spec: {finalizers: [kubernetes]}
status: {phase: Active}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
            RestoreSpec {
                namespace_mapping: [(case.name.clone(), target.clone())].into(),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_silent(&outcome);
    let made = case.must_get_global("namespaces", &target).await?;
    assert_eq!(made["metadata"]["labels"]["team"], "blue");
    assert_eq!(
        made["metadata"]["labels"]["kubernetes.io/metadata.name"],
        target
    );
    assert_eq!(made["metadata"]["annotations"]["note"], "kept");
    assert!(
        case.get_in("configmaps", Some(&target), "thing")
            .await?
            .is_some()
    );
    assert_eq!(case.get_global("namespaces", &case.name).await?, None);
    Ok(())
}

#[tokio::test]
async fn case_19_a_namespace_that_is_there_is_left_as_it_is() -> Result<()> {
    let case = Case::new(19).await?;
    case.apply("{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {team: red}}}")
        .await?;
    case.restore(
        "
{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {team: blue, more: labels}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
    )
    .await?;
    let there = case.must_get_global("namespaces", &case.name).await?;
    assert_eq!(there["metadata"]["labels"]["team"], "red");
    assert_eq!(*at(&there, "/metadata/labels/more"), Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_20_a_namespace_being_deleted_is_waited_for_once() -> Result<()> {
    let mut case = Case::new(20).await?;
    case.make_namespace().await?;
    case.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: NAME, finalizers: [example.org/held]}}",
    )
    .await?;
    let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(case.client.clone());
    namespaces
        .delete(&case.name, &kube::api::DeleteParams::default())
        .await?;
    case.options.terminating_timeout = Duration::from_secs(1);
    let yaml = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: NAME-other}}
";
    let outcome = case.restore_as(yaml, RestoreSpec::default()).await?;
    let errors = &outcome.results.errors;
    assert_eq!(errors.count(), 1, "{errors:?}");
    let line = &errors.namespaces[&case.name][0];
    assert!(
        line.contains("being deleted") && line.contains("2 objects"),
        "{line}"
    );
    let other = format!("{}-other", case.name);
    assert!(
        case.get_in("configmaps", Some(&other), "other")
            .await?
            .is_some()
    );

    // A mapping onto it is named beforehand.
    let onto = RestoreSpec {
        included_namespaces: vec![other.clone()],
        namespace_mapping: [(other.clone(), case.name.clone())].into(),
        ..RestoreSpec::default()
    };
    case.store("onto", yaml).await?;
    let Err(RestoreError::Failed { results, .. }) = case.run("onto", "onto", onto).await else {
        bail!("a namespace that is being deleted was restored into");
    };
    let said = &results.warnings.ark;
    assert!(
        said.iter()
            .any(|line| line.contains("is being deleted; the restore waits")),
        "{results:?}"
    );

    // Once it is gone, it is made anew.
    case.options.terminating_timeout = Duration::from_mins(1);
    let free = async {
        tokio::task::yield_now().await;
        let config_maps = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(
            case.client.clone(),
            &case.name,
        );
        let patch = serde_json::json!({"metadata": {"finalizers": null}});
        config_maps
            .patch(
                "held",
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(&patch),
            )
            .await?;
        anyhow::Ok(())
    };
    let (outcome, freed) = tokio::join!(case.restore_as(yaml, RestoreSpec::default()), free);
    freed?;
    assert_eq!(outcome?.results.errors.count(), 0);
    case.must_get("configmaps", "a").await?;
    Ok(())
}

#[tokio::test]
async fn case_21_a_namespace_that_was_not_backed_up_is_made_bare() -> Result<()> {
    let case = Case::new(21).await?;
    case.restore("{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}")
        .await?;
    let made = case.must_get_global("namespaces", &case.name).await?;
    assert_eq!(
        made["metadata"]["labels"]
            .as_object()
            .map(serde_json::Map::len),
        Some(1)
    );
    Ok(())
}

#[tokio::test]
async fn case_22_filters_look_at_original_namespaces() -> Result<()> {
    let case = Case::new(22).await?;
    let (from, to) = (case.name.clone(), format!("{}-new", case.name));
    let yaml = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME-other}}
";
    let mapping: std::collections::BTreeMap<_, _> = [(from.clone(), to.clone())].into();
    let spec = RestoreSpec {
        included_namespaces: vec![from.clone()],
        namespace_mapping: mapping.clone(),
        ..RestoreSpec::default()
    };
    assert_silent(&case.restore_as(yaml, spec).await?);
    assert!(
        case.get_in("configmaps", Some(&to), "thing")
            .await?
            .is_some()
    );
    assert_eq!(
        case.get_in("configmaps", Some(&format!("{from}-other")), "thing")
            .await?,
        None
    );
    let spec = RestoreSpec {
        included_namespaces: vec![to],
        namespace_mapping: mapping,
        ..RestoreSpec::default()
    };
    let refusal = case.refused(yaml, spec).await?;
    assert!(refusal.contains("holds no namespace"), "{refusal}");
    Ok(())
}

const SCOPES: &str = "
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAME}, rules: []}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: none
  hostPath: {path: /nowhere}
  claimRef: {namespace: NAME, name: data}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAME}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none
  volumeName: NAME
  resources: {requests: {storage: 1Gi}}
";

#[tokio::test]
async fn case_23_cluster_scoped_objects_come_as_the_scope_says() -> Result<()> {
    for (included, namespaces, role, volume) in [
        (None, false, true, true),
        (None, true, false, true),
        (Some(true), true, true, true),
        (Some(false), false, false, false),
    ] {
        let case = Case::new(23).await?;
        let outcome = case
            .restore_as(
                SCOPES,
                RestoreSpec {
                    include_cluster_resources: included,
                    included_namespaces: namespaces
                        .then(|| case.name.clone())
                        .into_iter()
                        .collect(),
                    ..RestoreSpec::default()
                },
            )
            .await?;
        assert_eq!(outcome.results.errors.count(), 0, "{outcome:?}");
        let found = case
            .get_global("clusterroles.rbac.authorization.k8s.io", &case.name)
            .await?;
        assert_eq!(found.is_some(), role, "{included:?} {namespaces}");
        let found = case.get_global("persistentvolumes", &case.name).await?;
        assert_eq!(found.is_some(), volume, "{included:?} {namespaces}");
        case.must_get("persistentvolumeclaims", "data").await?;
    }
    Ok(())
}

#[test]
fn case_24_one_kind_of_label_selector_at_a_time() {
    let selector = |value: &str| LabelSelector {
        match_labels: Some([("a".to_owned(), value.to_owned())].into()),
        ..LabelSelector::default()
    };
    let both = RestoreSpec {
        backup_name: "b".into(),
        label_selector: Some(selector("1")),
        or_label_selectors: vec![selector("2")],
        ..RestoreSpec::default()
    };
    assert!(!validate::restore(&both).is_empty());
    let either = RestoreSpec {
        label_selector: None,
        ..both
    };
    assert_eq!(validate::restore(&either), Vec::<String>::new());
}
