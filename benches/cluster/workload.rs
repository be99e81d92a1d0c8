//! The objects that are measured: a mix of what fills a cluster, in namespaces of a thousand each.

use anyhow::Result;
use ark::api::names::sha256_hex;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::floor;
use crate::support::namespace::create_namespace;

/// Objects in a namespace.
const NAMESPACE_SIZE: usize = 1_000;
/// The benchmark's item action is for the first of so many objects.
pub(crate) const LOOKED_AT: usize = 200;
/// Creates at once.
pub(crate) const WRITERS: usize = 16;

/// Makes `count` objects and returns the namespaces they are in.
pub(crate) async fn load(client: &kube::Client, count: usize) -> Result<Vec<String>> {
    let namespaces: Vec<String> = (0..count.div_ceil(NAMESPACE_SIZE))
        .map(|n| format!("load-{n:03}"))
        .collect();
    for namespace in &namespaces {
        create_namespace(client, namespace).await?;
    }
    stream::iter(0..count)
        .map(|n| {
            let namespace = &namespaces[n / NAMESPACE_SIZE];
            let (path, body) = object(namespace, n);
            async move { floor::create(client, &path, body).await }
        })
        .buffer_unordered(WRITERS)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok(namespaces)
}

/// Returns the path and the JSON of object `n`.
fn object(namespace: &str, n: usize) -> (String, Vec<u8>) {
    let (api, resource, kind, mut object) = match n % 20 {
        0..8 => (
            "v1",
            "configmaps",
            "ConfigMap",
            json!({"data": {"settings": text(n, 900)}}),
        ),
        8..12 => (
            "v1",
            "secrets",
            "Secret",
            json!({"stringData": {"password": text(n, 400)}}),
        ),
        12 | 13 => ("v1", "serviceaccounts", "ServiceAccount", json!({})),
        14 => (
            "v1",
            "services",
            "Service",
            json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}}),
        ),
        15 => (
            "rbac.authorization.k8s.io/v1",
            "roles",
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        16 => (
            "rbac.authorization.k8s.io/v1",
            "rolebindings",
            "RoleBinding",
            json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
            }),
        ),
        17 | 18 => ("v1", "pods", "Pod", pod(n)),
        _ => (
            "apps/v1",
            "deployments",
            "Deployment",
            json!({"spec": {
                // Nothing rolls out while it is measured.
                "replicas": 0,
                "selector": {"matchLabels": {"app": format!("d{n}")}},
                "template": {"metadata": {"labels": {"app": format!("d{n}")}}, "spec": pod(n)["spec"]},
            }}),
        ),
    };
    object["apiVersion"] = Value::from(api);
    object["kind"] = Value::from(kind);
    object["metadata"] = json!({
        "name": format!("object-{n:06}"),
        "labels": {"app": format!("app-{}", n % 50), "team": "bench"},
        "annotations": {"example.org/note": text(n, 80)},
    });
    if n.is_multiple_of(LOOKED_AT) {
        object["metadata"]["labels"]["example.org/looked-at"] = json!("yes");
    }
    let root = if api == "v1" { "/api" } else { "/apis" };
    (
        format!("{root}/{api}/namespaces/{namespace}/{resource}"),
        object.to_string().into_bytes(),
    )
}

fn pod(n: usize) -> Value {
    json!({"spec": {
        // Nobody schedules it: a pod that runs would be a pod that changes.
        "schedulerName": "nobody",
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "main",
            "image": format!("registry.example.org/app:{}", n % 7),
            "env": [{"name": "SETTING", "value": text(n, 200)}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }],
    }})
}

/// Returns text of some length that no other object has.
fn text(n: usize, length: usize) -> String {
    let mut text = String::new();
    let mut round = 0;
    while text.len() < length {
        text.push_str(&sha256_hex(format!("{n}/{round}").as_bytes()));
        round += 1;
    }
    text.truncate(length);
    text
}
