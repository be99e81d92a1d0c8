//! What the server may do: everything, or what backups need and nothing else.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::api::{DEFAULT_NAMESPACE, GROUP};

const RBAC: &str = "rbac.authorization.k8s.io";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// The core group's types that are objects of their own. Named one by one, since `*` would also be `nodes/proxy`,
/// `pods/proxy` and `services/proxy`, where reading is enough to change things: a GET of `nodes/proxy` reaches the
/// kubelet's exec.
const CORE: [&str; 15] = [
    "configmaps",
    "endpoints",
    "events",
    "limitranges",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "services",
];

/// Kubernetes' other groups, whose subresources only tell what the objects tell, too.
const GROUPS: [&str; 17] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    RBAC,
    "scheduling.k8s.io",
    SNAPSHOTS,
    "storage.k8s.io",
];

/// Which rights the server gets.
// Documented variants would make clap spread the help text over twice the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Profile {
    Full,
    BackupOnly,
}

impl Profile {
    /// Returns the profile that is not this one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Full => Self::BackupOnly,
            Self::BackupOnly => Self::Full,
        }
    }
}

/// Returns the objects that give the server its rights.
///
/// No object of one profile has the name of one of the other: the role of a binding cannot be changed, and who gives an
/// installation fewer rights has to see that the binding to cluster-admin goes.
pub(super) fn objects(namespace: &str, profile: Profile) -> Vec<Value> {
    match profile {
        // A restore creates whatever was stored, roles and bindings too, and the API server lets nobody give rights
        // that he does not have.
        Profile::Full => vec![binding(
            &cluster_name(namespace),
            "cluster-admin",
            namespace,
        )],
        Profile::BackupOnly => backup_only(namespace),
    }
}

fn backup_only(namespace: &str) -> Vec<Value> {
    let name = format!("{}:backup-only", cluster_name(namespace));
    vec![
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": name, "labels": { "component": "ark" } },
            "rules": [
                rule(&["*"], &["*"], &["list", "watch"]),
                rule(&[""], &CORE, &["get"]),
                rule(&GROUPS, &["*"], &["get"]),
                // Hooks run commands in pods. The server asks with a GET; newer API servers want `create` for it, too.
                rule(&[""], &["pods/exec"], &["get", "create"]),
                // CSI snapshots are asked for and removed by objects of these types. None of them is a user's: a
                // VolumeSnapshot stands in his namespace until the driver has begun.
                rule(&[SNAPSHOTS], &["volumesnapshots"], &["create", "delete"]),
                rule(&[SNAPSHOTS], &["volumesnapshotcontents"], &["create", "patch", "delete"]),
                rule(&[SNAPSHOTS], &["volumesnapshotcontents/status"], &["patch"]),
                json!({
                    "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/version"],
                    "verbs": ["get"],
                }),
            ],
        }),
        binding(&name, &name, namespace),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": { "name": "ark", "namespace": namespace, "labels": { "component": "ark" } },
            "rules": [
                rule(
                    &[GROUP],
                    &["*"],
                    &["get", "list", "watch", "create", "update", "patch", "delete"],
                ),
                rule(&["coordination.k8s.io"], &["leases"], &["get", "create", "update", "patch"]),
                rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
                rule(&[""], &["configmaps", "secrets"], &["get", "list", "watch"]),
            ],
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": { "name": "ark", "namespace": namespace, "labels": { "component": "ark" } },
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": "ark" },
            "subjects": [{ "kind": "ServiceAccount", "name": "ark", "namespace": namespace }],
        }),
    ]
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

fn binding(name: &str, role: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name, "labels": { "component": "ark" } },
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": "ark", "namespace": namespace }],
    })
}

/// Objects of the cluster have no namespace: a second Ark in another one must not take the first one's rights away.
fn cluster_name(namespace: &str) -> String {
    if namespace == DEFAULT_NAMESPACE {
        "ark".to_owned()
    } else {
        format!("ark-{namespace}")
    }
}
