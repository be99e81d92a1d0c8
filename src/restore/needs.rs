//! What an object names and needs to work: claims, accounts, ConfigMaps and Secrets. Pure.

use serde_json::Value;

use crate::archive::TypeKey;

use super::convert;
use crate::api::object::{self, Object};

/// Types of which objects name others, as they are called today.
pub(super) const NAMING: [&str; 10] = [
    "pods",
    "replicationcontrollers",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "serviceaccounts",
    "ingresses.networking.k8s.io",
];

/// Something that is needed: its type's full name, and its name; it is in the namespace of who needs it, or has none.
pub(super) type Need = (&'static str, String);

const CLAIMS: &str = "persistentvolumeclaims";
const CONFIG_MAPS: &str = "configmaps";
const SECRETS: &str = "secrets";
const ACCOUNTS: &str = "serviceaccounts";
const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

/// Returns the name of a stored type today: old groups name what is needed in the same fields (case 15).
pub(super) fn known_as(key: &TypeKey) -> String {
    let route = convert::route(key).filter(|route| route.to.0 != key.group);
    route.map_or_else(
        || key.group_resource(),
        |route| format!("{}.{}", key.resource, route.to.0),
    )
}

/// Returns what an object of a type names.
pub(super) fn of(group_resource: &str, object: &Object) -> Vec<Need> {
    let mut needs = Vec::new();
    match group_resource {
        "pods" => of_pod(object, &["spec"], &mut needs),
        "cronjobs.batch" => of_pod(
            object,
            &["spec", "jobTemplate", "spec", "template", "spec"],
            &mut needs,
        ),
        "serviceaccounts" => {
            for list in ["secrets", "imagePullSecrets"] {
                names(object, &[list], &["name"], SECRETS, &mut needs);
            }
        }
        "ingresses.networking.k8s.io" => {
            names(
                object,
                &["spec", "tls"],
                &["secretName"],
                SECRETS,
                &mut needs,
            );
        }
        _ => of_pod(object, &["spec", "template", "spec"], &mut needs),
    }
    if group_resource == "statefulsets.apps" {
        of_templates(object, &mut needs);
    }
    needs.sort();
    needs.dedup();
    needs
}

/// The claims that a `StatefulSet` makes of its templates, one for each replica.
fn of_templates(set: &Object, needs: &mut Vec<Need>) {
    let spec = object::at(set, &["spec"]);
    let number = |path: &str| spec.and_then(|spec| spec.get(path)?.as_u64());
    let replicas = number("replicas").unwrap_or(1);
    let first = object::at(set, &["spec", "ordinals"])
        .and_then(|ordinals| ordinals.get("start")?.as_u64())
        .unwrap_or(0);
    let name = object::text(set, &["metadata", "name"]);
    for template in object::list(set, &["spec", "volumeClaimTemplates"]) {
        let template = object::text(template, &["metadata", "name"]);
        for ordinal in first..first.saturating_add(replicas) {
            needs.push((CLAIMS, format!("{template}-{name}-{ordinal}")));
        }
    }
}

fn of_pod(object: &Object, path: &[&str], needs: &mut Vec<Need>) {
    let Some(spec) = object::at(object, path) else {
        return;
    };
    let mut add = |of: &'static str, name: &str| {
        if !name.is_empty() {
            needs.push((of, name.to_owned()));
        }
    };
    add(ACCOUNTS, object::text(spec, &["serviceAccountName"]));
    add(CLASSES, object::text(spec, &["priorityClassName"]));
    for volume in object::list(spec, &["volumes"]) {
        add(
            CLAIMS,
            object::text(volume, &["persistentVolumeClaim", "claimName"]),
        );
        add(CONFIG_MAPS, object::text(volume, &["configMap", "name"]));
        add(SECRETS, object::text(volume, &["secret", "secretName"]));
        add(
            SECRETS,
            object::text(volume, &["csi", "nodePublishSecretRef", "name"]),
        );
        for source in object::list(volume, &["projected", "sources"]) {
            add(CONFIG_MAPS, object::text(source, &["configMap", "name"]));
            add(SECRETS, object::text(source, &["secret", "name"]));
        }
    }
    for list in ["containers", "initContainers"] {
        for container in object::list(spec, &[list]) {
            for source in object::list(container, &["envFrom"]) {
                add(CONFIG_MAPS, object::text(source, &["configMapRef", "name"]));
                add(SECRETS, object::text(source, &["secretRef", "name"]));
            }
            for variable in object::list(container, &["env"]) {
                let from = |key: &'static str| {
                    object::at(variable, &["valueFrom", key])
                        .map_or("", |source| object::text(source, &["name"]))
                };
                add(CONFIG_MAPS, from("configMapKeyRef"));
                add(SECRETS, from("secretKeyRef"));
            }
        }
    }
    names(spec, &["imagePullSecrets"], &["name"], SECRETS, needs);
}

fn names(object: &Object, list: &[&str], name: &[&str], of: &'static str, needs: &mut Vec<Need>) {
    let found = list
        .split_last()
        .and_then(|(last, before)| object::at(object, before)?.get(*last)?.as_array());
    for one in found.into_iter().flatten().filter_map(Value::as_object) {
        let name = object::text(one, name);
        if !name.is_empty() {
            needs.push((of, name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_types_are_known_by_their_names_today() {
        for (group, version, resource, name) in [
            ("extensions", "v1beta1", "deployments", "deployments.apps"),
            ("extensions", "v1beta1", "daemonsets", "daemonsets.apps"),
            ("extensions", "v1beta1", "replicasets", "replicasets.apps"),
            (
                "extensions",
                "v1beta1",
                "ingresses",
                "ingresses.networking.k8s.io",
            ),
            ("apps", "v1beta1", "statefulsets", "statefulsets.apps"),
            ("batch", "v2alpha1", "cronjobs", "cronjobs.batch"),
            ("", "v1", "pods", "pods"),
        ] {
            let key = TypeKey {
                group: group.into(),
                version: version.into(),
                resource: resource.into(),
                kind: String::new(),
            };
            assert_eq!(known_as(&key), name);
            assert!(NAMING.contains(&name));
        }
    }

    #[test]
    fn what_objects_name() {
        let spec = json!({
            "serviceAccountName": "worker", "priorityClassName": "high", "imagePullSecrets": [{"name": "registry"}],
            "volumes": [
                {"persistentVolumeClaim": {"claimName": "data"}}, {"configMap": {"name": "settings"}},
                {"secret": {"secretName": "keys"}}, {"emptyDir": {}},
                {"projected": {"sources": [{"secret": {"name": "more"}}, {"configMap": {"name": "other"}}]}},
            ],
            "containers": [{"envFrom": [{"secretRef": {"name": "env"}}],
                "env": [{"valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}}, {"value": "plain"}]}],
        });
        let all = [
            (CONFIG_MAPS, "one"),
            (CONFIG_MAPS, "other"),
            (CONFIG_MAPS, "settings"),
            (CLAIMS, "data"),
            (CLASSES, "high"),
            (SECRETS, "env"),
            (SECRETS, "keys"),
            (SECRETS, "more"),
            (SECRETS, "registry"),
            (ACCOUNTS, "worker"),
        ];
        for (of, object, expected) in [
            ("pods", json!({"spec": spec}), &all[..]),
            (
                "deployments.apps",
                json!({"spec": {"template": {"spec": spec}}}),
                &all,
            ),
            (
                "cronjobs.batch",
                json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
                &all,
            ),
            (
                "serviceaccounts",
                json!({"secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "b"}]}),
                &[(SECRETS, "a"), (SECRETS, "b")],
            ),
            (
                "statefulsets.apps",
                json!({"metadata": {"name": "db"}, "spec": {"replicas": 2,
                    "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}}),
                &[(CLAIMS, "data-db-0"), (CLAIMS, "data-db-1")],
            ),
            (
                "ingresses.networking.k8s.io",
                json!({"spec": {"tls": [{"secretName": "tls"}]}}),
                &[(SECRETS, "tls")],
            ),
        ] {
            let Value::Object(object) = object else {
                panic!("no object");
            };
            let found = super::of(of, &object);
            let found: Vec<(&str, &str)> = found.iter().map(|(of, name)| (*of, &**name)).collect();
            assert_eq!(found, expected, "{of}");
        }
    }
}
