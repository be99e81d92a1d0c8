//! Case 84: owners.

use ark::api::RestoreSpec;

use super::*;

const FAMILY: &str = "
apiVersion: v1
kind: Secret
metadata:
  name: cub
  namespace: NAME
  uid: u-cub
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: lion, uid: u-lion, controller: true, blockOwnerDeletion: true}]
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: flea
  namespace: NAME
  ownerReferences: [{apiVersion: v1, kind: Secret, name: cub, uid: u-cub}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: lion, namespace: NAME, uid: u-lion}}
";

#[tokio::test]
async fn case_84_objects_belong_to_their_restored_owners() -> Result<()> {
    let case = Case::new(84).await?;
    case.restore(FAMILY).await?;
    let lion = case.must_get("configmaps", "lion").await?;
    let cub = case.must_get("secrets", "cub").await?;
    let flea = case.must_get("serviceaccounts", "flea").await?;
    let owner = &cub["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], lion["metadata"]["uid"]);
    assert_eq!(owner["controller"], true);
    assert_eq!(owner["blockOwnerDeletion"], true);
    assert_eq!(
        flea["metadata"]["ownerReferences"][0]["uid"],
        cub["metadata"]["uid"]
    );

    // Once more: nothing differs, and nobody loses an owner.
    case.restore(FAMILY).await?;
    let again = case.must_get("secrets", "cub").await?;
    assert_eq!(
        again["metadata"]["ownerReferences"],
        cub["metadata"]["ownerReferences"]
    );
    Ok(())
}

#[tokio::test]
async fn case_84_an_owner_that_is_absent_is_dropped_with_a_note() -> Result<()> {
    let case = Case::new(84).await?;
    let outcome = case
        .restore_as(
            "
apiVersion: v1
kind: Secret
metadata:
  name: cub
  namespace: NAME
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: lion, uid: u-lion, controller: true}]
",
            RestoreSpec::default(),
        )
        .await?;
    assert_said(&outcome, &["warning", "cub", "owner"]);
    let cub = case.must_get("secrets", "cub").await?;
    assert_eq!(*at(&cub, "/metadata/ownerReferences"), Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_84_a_job_belongs_to_its_cron_job() -> Result<()> {
    let case = Case::new(84).await?;
    let template = "{spec: {restartPolicy: Never, containers: [{name: main, image: pause}]}}";
    case.restore(&format!(
        "
apiVersion: batch/v1
kind: Job
metadata:
  name: nightly-1
  namespace: NAME
  ownerReferences: [{{apiVersion: batch/v1, kind: CronJob, name: nightly, uid: u-cron, controller: true}}]
spec: {{suspend: true, template: {template}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, namespace: NAME, uid: u-cron}}
spec: {{schedule: '0 0 1 1 *', suspend: true, jobTemplate: {{spec: {{template: {template}}}}}}}
"
    ))
    .await?;
    let nightly = case.must_get("cronjobs.batch", "nightly").await?;
    let job = case.must_get("jobs.batch", "nightly-1").await?;
    assert_eq!(
        job["metadata"]["ownerReferences"][0]["uid"],
        nightly["metadata"]["uid"]
    );
    Ok(())
}

#[tokio::test]
async fn case_84_what_belongs_to_a_workload_comes_after_it() -> Result<()> {
    let case = Case::new(84).await?;
    // The type of the dependent comes first otherwise.
    case.restore(
        "
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: NAME
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u-web}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAME, uid: u-web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: pause}]}}
",
    )
    .await?;
    let web = case.must_get("deployments.apps", "web").await?;
    let settings = case.must_get("configmaps", "settings").await?;
    assert_eq!(
        settings["metadata"]["ownerReferences"][0]["uid"],
        web["metadata"]["uid"]
    );
    Ok(())
}

#[tokio::test]
async fn case_84_a_pods_own_claim_is_made_anew_for_it() -> Result<()> {
    let case = Case::new(84).await?;
    let claim = "{accessModes: [ReadWriteOnce], storageClassName: NAME, resources: {requests: {storage: 1Gi}}}";
    case.restore(&format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: web-scratch
  namespace: NAME
  uid: u-claim
  ownerReferences: [{{apiVersion: v1, kind: Pod, name: web, uid: u-web, controller: true, blockOwnerDeletion: true}}]
spec: {claim}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: NAME, uid: u-web}}
spec:
  containers: [{{name: main, image: pause}}]
  volumes: [{{name: scratch, ephemeral: {{volumeClaimTemplate: {{spec: {claim}}}}}}}]
"
    ))
    .await?;
    let web = case.must_get("pods", "web").await?;
    // The controller of such volumes accepts no claim that is not this very Pod's.
    let claim = crate::support::wait_until("the claim is made", PATIENCE, async || {
        case.get("persistentvolumeclaims", "web-scratch").await
    })
    .await?;
    assert_eq!(
        claim["metadata"]["ownerReferences"][0]["uid"],
        web["metadata"]["uid"]
    );
    Ok(())
}
