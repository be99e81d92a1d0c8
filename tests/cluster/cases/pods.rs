//! Cases 25 to 29 and 33: Pods.

use super::*;

fn pod(name: &str, more_metadata: &str, spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: NAME{more_metadata}}}
spec: {{containers: [{{name: main, image: pause}}]{spec}}}
---
"
    )
}

#[tokio::test]
async fn case_25_mirror_pods_are_left_to_their_node() -> Result<()> {
    let case = Case::new(25).await?;
    let mirror = pod(
        "static",
        ", annotations: {kubernetes.io/config.mirror: abc}",
        "",
    );
    case.restore(&(mirror + &pod("own", "", ""))).await?;
    assert_eq!(case.get("pods", "static").await?, None);
    case.must_get("pods", "own").await?;
    Ok(())
}

#[tokio::test]
async fn case_26_what_has_ended_is_not_run_again() -> Result<()> {
    let case = Case::new(26).await?;
    let ended = |name: &str, phase: &str| {
        pod(name, "", "").replace("---", &format!("status: {{phase: {phase}}}\n---"))
    };
    case.restore(
        &(ended("succeeded", "Succeeded")
            + &ended("failed", "Failed")
            + &ended("running", "Running")
            + "
apiVersion: batch/v1
kind: Job
metadata: {name: done, namespace: NAME}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: pause}]}}}
status: {completionTime: '2026-01-01T00:00:00Z', succeeded: 1}
"),
    )
    .await?;
    assert_eq!(case.get("pods", "succeeded").await?, None);
    assert_eq!(case.get("pods", "failed").await?, None);
    assert_eq!(case.get("jobs.batch", "done").await?, None);
    case.must_get("pods", "running").await?;
    Ok(())
}

#[tokio::test]
async fn case_27_a_pod_is_scheduled_anew_and_its_class_comes_first() -> Result<()> {
    let case = Case::new(27).await?;
    case.restore(
        &(pod(
            "first",
            "",
            ", nodeName: gone-node, priority: 77, priorityClassName: NAME, nodeSelector: {no: where}",
        ) + "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: NAME}, value: 500}"),
    )
    .await?;
    let first = case.must_get("pods", "first").await?;
    assert_eq!(*at(&first, "/spec/nodeName"), Value::Null);
    assert_eq!(first["spec"]["priority"], 500);
    assert_eq!(first["spec"]["priorityClassName"], case.name.as_str());
    Ok(())
}

#[tokio::test]
async fn case_28_the_old_token_volume_is_left_out() -> Result<()> {
    let case = Case::new(28).await?;
    case.restore(
        "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker, namespace: NAME}}
---
apiVersion: v1
kind: Pod
metadata: {name: worker, namespace: NAME}
spec:
  serviceAccountName: worker
  automountServiceAccountToken: false
  nodeSelector: {no: where}
  initContainers:
  - {name: init, image: pause, volumeMounts: [{name: worker-token-x2k4b, mountPath: /token}]}
  containers:
  - name: main
    image: pause
    volumeMounts:
    - {name: worker-token-x2k4b, mountPath: /token}
    - {name: data, mountPath: /data}
  volumes:
  - {name: worker-token-x2k4b, secret: {secretName: worker-token-x2k4b}}
  - {name: data, emptyDir: {}}
",
    )
    .await?;
    let worker = case.must_get("pods", "worker").await?;
    assert_eq!(worker["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        *at(&worker, "/spec/initContainers/0/volumeMounts"),
        Value::Null
    );
    let mounts = &worker["spec"]["containers"][0]["volumeMounts"];
    assert_eq!(mounts[0]["name"], "data");
    assert_eq!(mounts.as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test]
async fn case_29_claims_and_volumes_come_before_pods() -> Result<()> {
    let case = Case::new(29).await?;
    // Selected by name alone: the claim and its volume are what it needs.
    let yaml = pod(
        "database",
        "",
        ", nodeSelector: {no: where}, volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]",
    ) + "
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
spec: {accessModes: [ReadWriteOnce], storageClassName: none, volumeName: NAME, resources: {requests: {storage: 1Gi}}}
";
    case.restore(&yaml).await?;
    let version = |object: &Value| -> Option<u64> {
        object["metadata"]["resourceVersion"].as_str()?.parse().ok()
    };
    let created = |object: &Value| object["metadata"]["creationTimestamp"].clone();
    let pod = case.must_get("pods", "database").await?;
    let claim = case.must_get("persistentvolumeclaims", "data").await?;
    let volume = case
        .must_get_global("persistentvolumes", &case.name)
        .await?;
    assert!(version(&pod).is_some() && !created(&claim).is_null() && !created(&volume).is_null());
    assert!(created(&volume).as_str() <= created(&pod).as_str());
    assert!(created(&claim).as_str() <= created(&pod).as_str());
    Ok(())
}

#[tokio::test]
async fn case_33_pods_are_adopted_by_the_controllers_that_had_them() -> Result<()> {
    let case = Case::new(33).await?;
    let labels = ", labels: {app: web, pod-template-hash: abc12}, ownerReferences: [{apiVersion: apps/v1, kind: \
                  ReplicaSet, name: web-abc12, uid: u-rs, controller: true}]";
    case.restore(
        &(pod("web-abc12-x1", labels, "")
            + &pod("web-abc12-x2", labels, "")
            + "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-abc12, namespace: NAME, uid: u-rs, labels: {app: web, pod-template-hash: abc12}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web, pod-template-hash: abc12}}
  template:
    metadata: {labels: {app: web, pod-template-hash: abc12}}
    spec: {containers: [{name: main, image: pause}]}
"),
    )
    .await?;
    let set = case.must_get("replicasets.apps", "web-abc12").await?;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(case.client.clone(), &case.name);
    // A controller that hears of its set first makes two of its own, and has two too many as soon as it adopts these.
    crate::support::wait_until("two pods are the set's", PATIENCE, async || {
        let mut pods = pods.list(&kube::api::ListParams::default()).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let adopted = pods.iter().filter(|pod| {
            let owners = pod.metadata.owner_references.as_deref();
            set["metadata"]["uid"]
                == owners
                    .unwrap_or_default()
                    .first()
                    .map_or("", |one| &one.uid)
        });
        Ok(((adopted.count(), pods.len()) == (2, 2)).then_some(()))
    })
    .await?;
    Ok(())
}
