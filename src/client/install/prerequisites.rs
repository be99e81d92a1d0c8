//! The objects that Ark needs in a cluster, as plain data.

use anyhow::Context as _;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::api::{
    Backup, Config, DEFAULT_NAMESPACE, DeleteBackupRequest, DownloadRequest, Restore, Schedule,
};

/// The server's image, unless `--image` names another. It says no registry: whoever builds an image knows where it is.
pub(super) const DEFAULT_IMAGE: &str = concat!("ark:", env!("CARGO_PKG_VERSION"));

/// The port that serves metrics, `/healthz` and `/readyz`.
const METRICS_PORT: u16 = 8085;
/// A user without a name or rights on any node.
const USER: u32 = 65532;

/// Returns the types, and the namespace and account that the server runs with.
pub(super) fn common(namespace: &str) -> anyhow::Result<Vec<Value>> {
    let definitions = [
        Backup::crd(),
        Config::crd(),
        DeleteBackupRequest::crd(),
        DownloadRequest::crd(),
        Restore::crd(),
        Schedule::crd(),
    ];
    let mut objects = definitions
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()
        .context("writing the types")?;
    objects.extend([
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "component": "ark" } },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "ark", "namespace": namespace, "labels": { "component": "ark" } },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": binding_name(namespace), "labels": { "component": "ark" } },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "ark", "namespace": namespace }],
        }),
    ]);
    Ok(objects)
}

/// Bindings have no namespace: a second Ark in another namespace must not take the first one's rights away.
fn binding_name(namespace: &str) -> String {
    if namespace == DEFAULT_NAMESPACE {
        "ark".to_owned()
    } else {
        format!("ark-{namespace}")
    }
}

/// Returns the server's Deployment.
pub(super) fn deployment(namespace: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "ark", "namespace": namespace, "labels": { "component": "ark" } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "component": "ark" } },
            "template": {
                "metadata": {
                    "labels": { "component": "ark" },
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": METRICS_PORT.to_string(),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": pod(image),
            },
        },
    })
}

fn pod(image: &str) -> Value {
    json!({
        "serviceAccountName": "ark",
        // A server that is told to stop hands its lease over and leaves a record of what it was doing.
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [{
            "name": "ark",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/ark"],
            "args": ["server"],
            "ports": [{ "name": "metrics", "containerPort": METRICS_PORT }],
            "env": [{ "name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/credentials/cloud" }],
            // The memory limit leaves room for one page of the largest Secrets a list can hold.
            "resources": {
                "requests": { "cpu": "100m", "memory": "128Mi" },
                "limits": { "cpu": "1", "memory": "512Mi" },
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "livenessProbe": probe("/healthz", 30),
            "readinessProbe": probe("/readyz", 10),
            "volumeMounts": [
                { "name": "plugins", "mountPath": "/plugins" },
                { "name": "cloud-credentials", "mountPath": "/credentials", "readOnly": true },
            ],
        }],
        "volumes": [
            { "name": "plugins", "emptyDir": {} },
            // Optional: a store may need none, or take the node's or the account's identity.
            { "name": "cloud-credentials", "secret": { "secretName": "cloud-credentials", "optional": true } },
        ],
    })
}

fn probe(path: &str, period: u32) -> Value {
    json!({ "httpGet": { "path": path, "port": "metrics" }, "periodSeconds": period, "timeoutSeconds": 5 })
}
