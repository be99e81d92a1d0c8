//! Cases 48 to 60, as far as no snapshot is needed: volumes and claims.

use std::sync::atomic::Ordering;

use ark::api::{ExistingResourcePolicy, RestoreSpec};
use serde_json::json;

use super::*;

fn volume(policy: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: NAME, annotations: {{pv.kubernetes.io/bound-by-controller: 'yes'}}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: {policy}
  storageClassName: NAME
  hostPath: {{path: /nowhere}}
  claimRef: {{apiVersion: v1, kind: PersistentVolumeClaim, namespace: NAME, name: data, uid: u-claim, resourceVersion: '7'}}
status: {{phase: Bound}}
---
"
    )
}

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  namespace: NAME
  uid: u-claim
  annotations:
    pv.kubernetes.io/bind-completed: 'yes'
    pv.kubernetes.io/bound-by-controller: 'yes'
    volume.beta.kubernetes.io/storage-provisioner: old
    volume.kubernetes.io/storage-provisioner: old
    volume.kubernetes.io/selected-node: gone
    velero.io/volume-snapshot-name: old
    mine: kept
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: NAME
  volumeName: NAME
  resources: {requests: {storage: 1Gi}}
status: {phase: Bound}
---
";

const CLASS: &str = "
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: NAME}, provisioner: kubernetes.io/no-provisioner}
---
";

#[tokio::test]
async fn case_48_a_claim_forgets_how_it_was_bound() -> Result<()> {
    let case = Case::new(48).await?;
    case.restore(&CLAIM.replace("volumeName: NAME", "volumeName: none"))
        .await?;
    let claim = case.must_get("persistentvolumeclaims", "data").await?;
    assert_eq!(claim["metadata"]["annotations"], json!({"mine": "kept"}));
    Ok(())
}

#[tokio::test]
async fn case_49_and_56_a_volume_that_went_with_its_claim_is_made_anew() -> Result<()> {
    let case = Case::new(49).await?;
    let yaml = CLASS.to_owned() + &volume("Delete") + CLAIM;
    let outcome = case.restore_as(&yaml, RestoreSpec::default()).await?;
    // Data is missing: that a user has to be told.
    assert_said(&outcome, &["warning", "data", "empty"]);
    assert_eq!(
        case.get_global("persistentvolumes", &case.name).await?,
        None
    );
    let claim = case.must_get("persistentvolumeclaims", "data").await?;
    assert_eq!(*at(&claim, "/spec/volumeName"), Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_53_a_volume_that_is_there_and_bound_stays() -> Result<()> {
    let case = Case::new(53).await?;
    case.restore(&(CLASS.to_owned() + &volume("Retain") + CLAIM))
        .await?;
    let bound = async || {
        crate::support::wait_until("the claim is bound", PATIENCE, async || {
            let claim = case.must_get("persistentvolumeclaims", "data").await?;
            Ok((claim["status"]["phase"] == "Bound").then_some(()))
        })
        .await
    };
    bound().await?;
    let before = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    case.restore(&(CLASS.to_owned() + &volume("Retain") + CLAIM))
        .await?;
    let after = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(before["spec"], after["spec"]);
    bound().await
}

#[tokio::test]
async fn case_53_a_volume_is_not_taken_from_its_claim_for_a_copy() -> Result<()> {
    let case = Case::new(53).await?;
    let yaml = CLASS.to_owned() + &volume("Retain") + CLAIM;
    case.restore(&yaml).await?;
    crate::support::wait_until("the claim is bound", PATIENCE, async || {
        let claim = case.must_get("persistentvolumeclaims", "data").await?;
        Ok((claim["status"]["phase"] == "Bound").then_some(()))
    })
    .await?;
    let other = yaml.replace("name: data", "name: other");
    for policy in [
        ExistingResourcePolicy::Update,
        ExistingResourcePolicy::Recreate,
    ] {
        let name = format!("{policy:?}").to_lowercase();
        case.store(&name, &other).await?;
        let spec = RestoreSpec {
            existing_resource_policy: Some(policy),
            ..RestoreSpec::default()
        };
        let outcome = case.run(&name, &name, spec).await?;
        assert_said(
            &outcome,
            &["warning", "spec.claimRef", "it has another claim"],
        );
    }
    let volume = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    assert_eq!(volume["spec"]["claimRef"]["name"], "data");
    assert_eq!(volume["status"]["phase"], "Bound");
    Ok(())
}

#[tokio::test]
async fn case_54_a_claim_that_was_lost_gets_its_volume_back() -> Result<()> {
    let case = Case::new(54).await?;
    let yaml = CLASS.to_owned() + &volume("Retain") + CLAIM;
    case.restore(&yaml).await?;
    let phase = async |resource: &str, of: &str, wanted: &str| {
        crate::support::wait_until(&format!("{of} is {wanted}"), PATIENCE, async || {
            let there = match resource {
                "persistentvolumes" => case.must_get_global(resource, of).await?,
                _ => case.must_get(resource, of).await?,
            };
            Ok((there["status"]["phase"] == wanted).then_some(()))
        })
        .await
    };
    phase("persistentvolumeclaims", "data", "Bound").await?;
    let before = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    let claims: kube::Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        kube::Api::namespaced(case.client.clone(), &case.name);
    let delete = async || {
        claims
            .delete("data", &kube::api::DeleteParams::default())
            .await
    };
    delete().await?;
    phase("persistentvolumes", &case.name, "Released").await?;

    case.store("later", &yaml).await?;
    assert_silent(&case.run("later", "later", RestoreSpec::default()).await?);
    phase("persistentvolumeclaims", "data", "Bound").await?;

    // Once more, while the claim is held on its way out: the volume is still bound when its turn comes.
    let hold = |finalizers: Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        kube::api::Patch::Merge(patch)
    };
    let params = kube::api::PatchParams::default();
    claims
        .patch("data", &params, &hold(json!(["example.org/held"])))
        .await?;
    delete().await?;
    case.store("again", &yaml).await?;
    let free = async {
        let started = case.cluster.stats().requests.load(Ordering::Relaxed);
        // Discovery and what follows: by then the restore has met the claim, or soon will.
        crate::support::wait_until("the restore runs", PATIENCE, async || {
            let now = case.cluster.stats().requests.load(Ordering::Relaxed);
            Ok((now > started + 5).then_some(()))
        })
        .await?;
        claims.patch("data", &params, &hold(json!(null))).await?;
        anyhow::Ok(())
    };
    let (outcome, freed) = tokio::join!(case.run("again", "again", RestoreSpec::default()), free);
    freed?;
    assert_silent(&outcome?);
    phase("persistentvolumeclaims", "data", "Bound").await?;
    let after = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_ne!(
        before["spec"]["claimRef"]["uid"],
        after["spec"]["claimRef"]["uid"]
    );
    Ok(())
}

#[tokio::test]
async fn case_57_a_volume_that_is_kept_finds_its_claim_again() -> Result<()> {
    let case = Case::new(57).await?;
    let target = format!("{}-new", case.name);
    let yaml = CLASS.to_owned() + &volume("Retain") + CLAIM;
    let outcome = case
        .restore_as(
            &yaml,
            RestoreSpec {
                namespace_mapping: [(case.name.clone(), target.clone())].into(),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_silent(&outcome);
    crate::support::wait_until("the two are bound", PATIENCE, async || {
        let claim = case
            .get_in("persistentvolumeclaims", Some(&target), "data")
            .await?
            .context("the claim")?;
        let volume = case
            .must_get_global("persistentvolumes", &case.name)
            .await?;
        let bound = claim["status"]["phase"] == "Bound"
            && volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"];
        Ok(bound.then_some(()))
    })
    .await
}

#[tokio::test]
async fn case_60_storage_classes_are_mapped_wherever_they_are_named() -> Result<()> {
    let case = Case::new(60).await?;
    let fast = format!("{}-fast", case.name);
    case.apply(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: NAME-fast}, provisioner: example.org/none}",
    )
    .await?;
    let yaml = volume("Retain")
        + CLAIM
        + "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NAME}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: main, image: pause}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: NAME, resources: {requests: {storage: 1Gi}}}
";
    let spec = |to: &str| RestoreSpec {
        storage_class_mapping: [(case.name.clone(), to.to_owned())].into(),
        ..RestoreSpec::default()
    };
    let refusal = case.refused(&yaml, spec("no-such-class")).await?;
    assert!(refusal.contains("no-such-class"), "{refusal}");
    assert_eq!(
        case.get_global("namespaces", &case.name).await?,
        None,
        "nothing was made"
    );

    assert_silent(&case.restore_as(&yaml, spec(&fast)).await?);
    let claim = case.must_get("persistentvolumeclaims", "data").await?;
    let volume = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    let set = case.must_get("statefulsets.apps", "db").await?;
    assert_eq!(claim["spec"]["storageClassName"], fast);
    assert_eq!(volume["spec"]["storageClassName"], fast);
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"],
        fast
    );
    Ok(())
}
