//! What is not restored because the cluster makes it itself: of other objects, for each node, for each namespace.
//!
//! Restoring such an object would at best do nothing and at worst name things that are gone; Velero's restores end
//! with warnings about them that no user needs (cases 25, 26, 43, 46, 66, 83). Leaving them out is silent: nothing is
//! missing afterwards.

use serde_json::Value;

use crate::api::validate::NEVER_RESTORED;
use crate::archive::IndexEntry;

use super::rules::Told;
use super::transform::{TOKEN_ACCOUNT, TOKEN_TYPE};
use crate::api::object::{self, Object};

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "9",
        about: "nodes, events, CSI nodes, volume attachments",
        says: "never restored",
    },
    Told {
        cases: "83",
        about: "leases, controller revisions, IP addresses, storage capacities, resource slices",
        says: "made anew",
    },
    Told {
        cases: "83",
        about: "ConfigMap `kube-root-ca.crt`, the API server's own objects",
        says: "made for each namespace, or by the server",
    },
    Told {
        cases: "9",
        about: "the definitions of Ark's resources",
        says: "kept up to date by `ark install`",
    },
    Told {
        cases: "43",
        about: "EndpointSlices and Endpoints that controllers made",
        says: "made from their Service",
    },
    Told {
        cases: "66",
        about: "API services that the server made",
        says: "made from a definition, or built in",
    },
    Told {
        cases: "25",
        about: "Pods that mirror a file of their node",
        says: "made by the node",
    },
    Told {
        cases: "26",
        about: "Pods and Jobs that have ended",
        says: "not run again",
    },
    Told {
        cases: "33",
        about: "Pods of a DaemonSet, and of a Job that is restored",
        says: "started anew by it",
    },
    Told {
        cases: "84",
        about: "claims that were made for one Pod (generic ephemeral volumes, device claims)",
        says: "made anew for the Pod that comes",
    },
    Told {
        cases: "46",
        about: "token Secrets that older clusters made for an account",
        says: "made for the account",
    },
];

/// How the names of the definitions of Ark's resources end.
const OWN_DEFINITIONS: &str = ".ark.heptio.com";

/// Types of which every object is made by some controller, node or driver.
const DERIVED_TYPES: [&str; 7] = [
    "leases.coordination.k8s.io",
    "leasecandidates.coordination.k8s.io",
    "controllerrevisions.apps",
    "ipaddresses.networking.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "resourceslices.resource.k8s.io",
    "storageversions.internal.apiserver.k8s.io",
];

/// Returns why no object of a type is restored.
pub(super) fn by_type(group_resource: &str) -> Option<&'static str> {
    if NEVER_RESTORED.contains(&group_resource) {
        Some("never restored")
    } else if DERIVED_TYPES.contains(&group_resource) {
        Some("made anew by the cluster")
    } else {
        None
    }
}

/// Returns why an object is not restored, as far as its name and labels tell.
pub(super) fn by_header(group_resource: &str, entry: &IndexEntry) -> Option<&'static str> {
    let namespace = entry.namespace.as_deref().unwrap_or_default();
    let has_label = |key: &str| entry.labels.contains_key(key);
    match (group_resource, namespace, &*entry.name) {
        ("configmaps", _, "kube-root-ca.crt") => Some("made for each namespace"),
        (
            "configmaps",
            "kube-system",
            "extension-apiserver-authentication"
            | "kube-apiserver-legacy-service-account-token-tracking",
        )
        | ("services" | "endpoints", "default", "kubernetes")
        | ("servicecidrs.networking.k8s.io", _, "kubernetes") => Some("the API server's own"),
        // What controllers make of Services and Endpoints; people's own slices have no such label, or another value.
        ("endpointslices.discovery.k8s.io", _, name) => {
            let manager = entry.labels.get("endpointslice.kubernetes.io/managed-by");
            (matches!(
                manager.map(String::as_str),
                Some(
                    "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io"
                )
            ) || (namespace == "default" && name == "kubernetes"))
                .then_some("made from its Service or Endpoints")
        }
        ("endpoints", _, _) if has_label("endpoints.kubernetes.io/managed-by") => {
            Some("made from its Service")
        }
        ("apiservices.apiregistration.k8s.io", _, _)
            if has_label("kube-aggregator.kubernetes.io/automanaged") =>
        {
            Some("made from a definition or built in")
        }
        // The running server's, which `ark install` keeps up to date; those of another version would break it.
        ("customresourcedefinitions.apiextensions.k8s.io", _, name)
            if name.ends_with(OWN_DEFINITIONS) =>
        {
            Some("Ark's own")
        }
        _ => None,
    }
}

/// Returns why an object is not restored, as its body tells. `job_restored` is whether a Job that owns it is restored.
pub(super) fn by_body(
    group_resource: &str,
    object: &Object,
    job_restored: bool,
) -> Option<&'static str> {
    match group_resource {
        "pods" => pod(object, job_restored),
        "persistentvolumeclaims" | "resourceclaims.resource.k8s.io" => pods_claim(object),
        "jobs.batch" => job(object),
        "secrets" => token(object),
        "endpoints" => endpoints(object),
        _ => None,
    }
}

fn pod(pod: &Object, job_restored: bool) -> Option<&'static str> {
    if has_annotation(pod, "kubernetes.io/config.mirror") {
        return Some("mirrors a file of its node");
    }
    if matches!(
        object::text(pod, &["status", "phase"]),
        "Succeeded" | "Failed"
    ) {
        return Some("has ended");
    }
    if job_restored {
        // Without the old UID the Job cannot adopt it and starts another one.
        return Some("its Job starts it anew");
    }
    object::list(pod, &["metadata", "ownerReferences"])
        .any(|owner| {
            object::text(owner, &["kind"]) == "DaemonSet"
                && object::text(owner, &["apiVersion"]).starts_with("apps/")
        })
        .then_some("its DaemonSet starts it anew")
}

/// A claim that a controller made for one Pod, whose name it begins with. For another Pod of that name, which every
/// restored one is, the controller makes it again, and accepts no other (`VolumeIsForPod` in Kubernetes'
/// `component-helpers/storage/ephemeral`).
///
/// The claims of a `StatefulSet` are called after their template: they stay, though a Pod may own them while it goes.
fn pods_claim(claim: &Object) -> Option<&'static str> {
    let name = object::text(claim, &["metadata", "name"]);
    object::list(claim, &["metadata", "ownerReferences"])
        .any(|owner| {
            (
                object::text(owner, &["apiVersion"]),
                object::text(owner, &["kind"]),
            ) == ("v1", "Pod")
                && owner.get("controller") == Some(&Value::Bool(true))
                && name
                    .strip_prefix(object::text(owner, &["name"]))
                    .is_some_and(|rest| rest.starts_with('-'))
        })
        .then_some("made anew for its Pod")
}

fn job(job: &Object) -> Option<&'static str> {
    let ended = !object::text(job, &["status", "completionTime"]).is_empty()
        || object::list(job, &["status", "conditions"]).any(|condition| {
            matches!(object::text(condition, &["type"]), "Complete" | "Failed")
                && object::text(condition, &["status"]) == "True"
        });
    ended.then_some("has ended")
}

/// Case 46: the token Secrets that older clusters made for each account.
fn token(secret: &Object) -> Option<&'static str> {
    if object::text(secret, &["type"]) != TOKEN_TYPE {
        return None;
    }
    let account = object::text(secret, &["metadata", "annotations", TOKEN_ACCOUNT]);
    object::text(secret, &["metadata", "name"])
        .strip_prefix(account)
        .is_some_and(|rest| !account.is_empty() && rest.starts_with("-token-"))
        .then_some("made for its service account")
}

/// Endpoints that the endpoints controller made (older ones carry no label of it), or that held a leader's lock.
fn endpoints(endpoints: &Object) -> Option<&'static str> {
    if has_annotation(
        endpoints,
        "endpoints.kubernetes.io/last-change-trigger-time",
    ) {
        return Some("made from its Service");
    }
    has_annotation(endpoints, "control-plane.alpha.kubernetes.io/leader").then_some("a lock")
}

fn has_annotation(object: &Object, key: &str) -> bool {
    object::at(object, &["metadata", "annotations"])
        .is_some_and(|annotations| annotations.contains_key(key))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::restore::testing;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn types_by_name() {
        for (name, left_out) in [
            ("nodes", true),
            ("events.events.k8s.io", true),
            ("leases.coordination.k8s.io", true),
            ("controllerrevisions.apps", true),
            ("pods", false),
            ("controllerrevisions.example.org", false),
        ] {
            assert_eq!(by_type(name).is_some(), left_out, "{name}");
        }
    }

    #[test]
    fn objects_by_header() {
        const MANAGED: &str = "endpointslice.kubernetes.io/managed-by";
        for (case, of, namespace, name, label, left_out) in [
            ("83", "configmaps", "a", "kube-root-ca.crt", ("", ""), true),
            ("83", "configmaps", "a", "settings", ("", ""), false),
            (
                "43",
                "endpointslices.discovery.k8s.io",
                "a",
                "x-1",
                (MANAGED, "endpointslice-controller.k8s.io"),
                true,
            ),
            (
                "43",
                "endpointslices.discovery.k8s.io",
                "a",
                "x-1",
                (MANAGED, "endpointslicemirroring-controller.k8s.io"),
                true,
            ),
            (
                "43",
                "endpointslices.discovery.k8s.io",
                "a",
                "x-1",
                (MANAGED, "staff"),
                false,
            ),
            (
                "66",
                "apiservices.apiregistration.k8s.io",
                "",
                "v1.x.example.org",
                ("kube-aggregator.kubernetes.io/automanaged", "true"),
                true,
            ),
            ("42", "endpoints", "a", "x", ("", ""), false),
            (
                "42",
                "endpoints",
                "a",
                "x",
                ("endpoints.kubernetes.io/managed-by", "endpoint-controller"),
                true,
            ),
            ("-", "services", "default", "kubernetes", ("", ""), true),
            ("-", "services", "a", "kubernetes", ("", ""), false),
        ] {
            let mut entry = testing::entry(of, namespace, name);
            if !label.0.is_empty() {
                entry.labels = Arc::new([(label.0.to_owned(), label.1.to_owned())].into());
            }
            assert_eq!(
                by_header(of, &entry).is_some(),
                left_out,
                "case {case}: {of} {name}"
            );
        }
    }

    #[test]
    fn objects_by_body() {
        let owned = |kind: &str, api_version: &str| {
            json!({"metadata": {"name": "x", "ownerReferences": [{"kind": kind, "apiVersion": api_version, "uid": "u"}]},
                   "status": {"phase": "Running"}})
        };
        let claim = |name: &str, controller: bool| {
            json!({"metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "u", "controller": controller},
            ]}})
        };
        let token = |name: &str| json!({"type": TOKEN_TYPE, "metadata": {"name": name, "annotations": {TOKEN_ACCOUNT: "keeper"}}});
        for (case, of, body, left_out) in [
            (
                "25",
                "pods",
                json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}}}),
                true,
            ),
            (
                "26",
                "pods",
                json!({"status": {"phase": "Succeeded"}}),
                true,
            ),
            ("26", "pods", json!({"status": {"phase": "Failed"}}), true),
            ("26", "pods", json!({"status": {"phase": "Running"}}), false),
            ("-", "pods", owned("DaemonSet", "apps/v1"), true),
            ("-", "pods", owned("DaemonSet", "example.org/v1"), false),
            ("33", "pods", owned("ReplicaSet", "apps/v1"), false),
            (
                "26",
                "jobs.batch",
                json!({"status": {"completionTime": "2026-01-01T00:00:00Z"}}),
                true,
            ),
            (
                "26",
                "jobs.batch",
                json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}),
                true,
            ),
            (
                "26",
                "jobs.batch",
                json!({"status": {"conditions": [{"type": "Suspended", "status": "True"}]}}),
                false,
            ),
            (
                "84",
                "persistentvolumeclaims",
                claim("web-0-scratch", true),
                true,
            ),
            (
                "84",
                "persistentvolumeclaims",
                claim("web-0-scratch", false),
                false,
            ),
            (
                "84",
                "persistentvolumeclaims",
                claim("data-web-0", true),
                false,
            ),
            (
                "84",
                "resourceclaims.resource.k8s.io",
                claim("web-0-gpu-x5k2p", true),
                true,
            ),
            ("46", "secrets", token("keeper-token-x5k2p"), true),
            ("47", "secrets", token("keeper-long-lived"), false),
            (
                "46",
                "secrets",
                json!({"type": "Opaque", "metadata": {"name": "keeper-token-x"}}),
                false,
            ),
            (
                "42",
                "endpoints",
                json!({"metadata": {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "t"}}}),
                true,
            ),
            (
                "42",
                "endpoints",
                json!({"metadata": {}, "subsets": []}),
                false,
            ),
        ] {
            let body = object(body);
            assert_eq!(
                by_body(of, &body, false).is_some(),
                left_out,
                "case {case}: {of} {body:?}"
            );
        }
        assert!(by_body("pods", &object(owned("Job", "batch/v1")), true).is_some());
        assert!(by_body("pods", &object(owned("Job", "batch/v1")), false).is_none());
    }
}
