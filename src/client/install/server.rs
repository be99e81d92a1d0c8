//! The server's Deployment.

use serde_json::{Value, json};

/// The server's image, unless `--image` names another. It says no registry: whoever builds an image knows where it is.
pub(super) const DEFAULT_IMAGE: &str = concat!("ark:", env!("CARGO_PKG_VERSION"));
/// The Secret with the cloud's credentials.
pub(super) const SECRET: &str = "cloud-credentials";
/// The key of that Secret that becomes a file.
pub(super) const SECRET_KEY: &str = "cloud";

/// The port that serves metrics, `/healthz` and `/readyz`.
const METRICS_PORT: u16 = 8085;
/// The port that serves logs and contents of backups.
const DOWNLOADS_PORT: u16 = 8086;
/// A user without a name or rights on any node.
const USER: u32 = 65532;

/// How the server gets its cloud's credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Credentials {
    /// The Secret's key as a file, which this variable names.
    File(&'static str),
    /// Each key of the Secret as a variable of its own.
    Variables,
    /// From the account or the node that the server runs with.
    Identity,
}

impl Credentials {
    /// Returns how a provider's credentials are given; `aws` is the default, since most stores speak its protocol.
    pub(super) fn of_provider(provider: &str) -> Self {
        match provider {
            "azure" => Self::Variables,
            "velero.io/azure" => Self::File("AZURE_CREDENTIALS_FILE"),
            "gcp" | "velero.io/gcp" => Self::File("GOOGLE_APPLICATION_CREDENTIALS"),
            _ => Self::File("AWS_SHARED_CREDENTIALS_FILE"),
        }
    }
}

/// What installations differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    pub(super) namespace: &'a str,
    pub(super) image: &'a str,
    pub(super) credentials: Credentials,
    /// Annotations of the pod besides its own.
    pub(super) annotations: &'a [(&'a str, &'a str)],
}

impl Server<'_> {
    /// Returns the Deployment.
    pub(super) fn deployment(&self) -> Value {
        let mut annotations = json!({
            "prometheus.io/scrape": "true",
            "prometheus.io/port": METRICS_PORT.to_string(),
            "prometheus.io/path": "/metrics",
        });
        for (key, value) in self.annotations {
            annotations[*key] = json!(value);
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "ark", "namespace": self.namespace, "labels": { "component": "ark" } },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "component": "ark" } },
                "template": {
                    "metadata": { "labels": { "component": "ark" }, "annotations": annotations },
                    "spec": self.pod(),
                },
            },
        })
    }

    fn pod(&self) -> Value {
        let mut container = json!({
            "name": "ark",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/ark"],
            "args": ["server"],
            "ports": [
                { "name": "metrics", "containerPort": METRICS_PORT },
                { "name": "downloads", "containerPort": DOWNLOADS_PORT },
            ],
            "env": [
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
                field("POD_IP", "status.podIP"),
            ],
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
                // Backups of Velero and of an earlier Ark are read through a file there.
                { "name": "tmp", "mountPath": "/tmp" },
            ],
        });
        let mut volumes = json!([
            { "name": "plugins", "emptyDir": {} },
            { "name": "tmp", "emptyDir": {} },
        ]);
        match self.credentials {
            Credentials::File(variable) => {
                push(
                    &mut container["env"],
                    json!({ "name": variable, "value": format!("/credentials/{SECRET_KEY}") }),
                );
                push(
                    &mut container["volumeMounts"],
                    json!({ "name": SECRET, "mountPath": "/credentials", "readOnly": true }),
                );
                // Optional: a store may need none, or take the node's or the account's identity.
                push(
                    &mut volumes,
                    json!({ "name": SECRET, "secret": { "secretName": SECRET, "optional": true } }),
                );
            }
            Credentials::Variables => {
                container["envFrom"] =
                    json!([{ "secretRef": { "name": SECRET, "optional": true } }]);
            }
            Credentials::Identity => {}
        }
        json!({
            "serviceAccountName": "ark",
            // A server that is told to stop hands its lease over and leaves a record of what it was doing.
            "terminationGracePeriodSeconds": 60,
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [container],
            "volumes": volumes,
        })
    }
}

fn field(variable: &str, path: &str) -> Value {
    json!({ "name": variable, "valueFrom": { "fieldRef": { "fieldPath": path } } })
}

fn probe(path: &str, period: u32) -> Value {
    json!({ "httpGet": { "path": path, "port": "metrics" }, "periodSeconds": period, "timeoutSeconds": 5 })
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(items) = list {
        items.push(item);
    }
}
