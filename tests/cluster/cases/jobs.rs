//! Cases 32 and 34: what controllers run.

use super::*;

#[tokio::test]
async fn case_32_a_replica_set_is_adopted_by_its_deployment() -> Result<()> {
    let case = Case::new(32).await?;
    let template = "
  template:
    metadata: {labels: LABELS}
    spec: {containers: [{name: main, image: pause}]}
";
    case.restore(&format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: NAME, uid: u-d, annotations: {{deployment.kubernetes.io/revision: '1'}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}{}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: web-abc12
  namespace: NAME
  labels: {{app: web, pod-template-hash: abc12}}
  annotations: {{deployment.kubernetes.io/revision: '1'}}
  ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: u-d, controller: true}}]
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web, pod-template-hash: abc12}}}}{}
",
        template.replace("LABELS", "{app: web}"),
        template.replace("LABELS", "{app: web, pod-template-hash: abc12}"),
    ))
    .await?;
    let deployment = case.must_get("deployments.apps", "web").await?;
    crate::support::wait_until("the replica set is adopted", PATIENCE, async || {
        let set = case.must_get("replicasets.apps", "web-abc12").await?;
        let owner = at(&set, "/metadata/ownerReferences/0/uid");
        Ok((*owner == deployment["metadata"]["uid"]).then_some(()))
    })
    .await?;
    // Its template is the deployment's, so that no other set is made beside it.
    crate::support::wait_until("the deployment is done", PATIENCE, async || {
        let deployment = case.must_get("deployments.apps", "web").await?;
        Ok((deployment["status"]["readyReplicas"] == 1).then_some(()))
    })
    .await?;
    let sets: kube::Api<k8s_openapi::api::apps::v1::ReplicaSet> =
        kube::Api::namespaced(case.client.clone(), &case.name);
    assert_eq!(
        sets.list(&kube::api::ListParams::default())
            .await?
            .items
            .len(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn case_34_a_job_finds_its_pods_by_its_new_uid() -> Result<()> {
    let case = Case::new(34).await?;
    case.restore(
        "
apiVersion: batch/v1
kind: Job
metadata:
  name: work
  namespace: NAME
  uid: u-job
  labels: {controller-uid: u-job, batch.kubernetes.io/controller-uid: u-job, job-name: work}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u-job}}
  suspend: true
  template:
    metadata:
      labels: {controller-uid: u-job, batch.kubernetes.io/controller-uid: u-job, job-name: work, mine: kept}
    spec: {restartPolicy: Never, containers: [{name: main, image: pause}]}
status: {active: 1}
",
    )
    .await?;
    let work = case.must_get("jobs.batch", "work").await?;
    let uid = &work["metadata"]["uid"];
    let selector = &work["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["batch.kubernetes.io/controller-uid"], *uid);
    let labels = &work["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], *uid);
    assert_eq!(labels["controller-uid"], *uid);
    assert_eq!(labels["mine"], "kept");
    Ok(())
}
