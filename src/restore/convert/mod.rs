//! Turns objects of API versions that no server offers any more into ones of a version that is served: a table of routes,
//! each with a function of its type.
//!
//! A route is taken only where the target does not serve the stored version. What a newer version means by default is
//! said outright where the old one meant something else, so that an object does the same as before.

mod definitions;
mod ingresses;
mod policies;
mod webhooks;
mod workloads;

#[cfg(test)]
mod tests;

use crate::archive::TypeKey;

use crate::api::object::Object;

/// Changes an object of an old version.
///
/// # Errors
/// Why the object cannot be said in the new version.
pub(super) type Convert = fn(&mut Object) -> Result<(), String>;

/// A way from old versions of a type to a newer one.
#[derive(Debug)]
pub(super) struct Route {
    /// The stored type's group and resource.
    pub(super) from: (&'static str, &'static str),
    /// The stored versions.
    pub(super) versions: &'static [&'static str],
    /// The new group and version; the resource and the kind stay.
    pub(super) to: (&'static str, &'static str),
    /// What is changed besides the version, in a sentence; empty for nothing.
    pub(super) says: &'static str,
    pub(super) convert: Convert,
}

/// What is only called differently.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature is that of all routes"
)]
fn same(_: &mut Object) -> Result<(), String> {
    Ok(())
}

const APPS: &[&str] = &["v1beta1", "v1beta2"];
const BETA: &[&str] = &["v1beta1"];
const EARLY: &[&str] = &["v1alpha1", "v1beta1"];

const fn renamed(
    from: (&'static str, &'static str),
    versions: &'static [&'static str],
    to: (&'static str, &'static str),
) -> Route {
    Route {
        from,
        versions,
        to,
        says: "",
        convert: same,
    }
}

/// All routes.
pub(super) const ROUTES: &[Route] = &[
    Route {
        from: ("apiextensions.k8s.io", "customresourcedefinitions"),
        versions: BETA,
        to: ("apiextensions.k8s.io", "v1"),
        says: "schema, columns and subresources move to each version; unknown fields are kept where they were",
        convert: definitions::convert,
    },
    Route {
        from: ("extensions", "deployments"),
        versions: BETA,
        to: ("apps", "v1"),
        says: "the selector and the old defaults are said outright",
        convert: workloads::extensions_deployment,
    },
    Route {
        from: ("apps", "deployments"),
        versions: APPS,
        to: ("apps", "v1"),
        says: "the selector and the old defaults are said outright",
        convert: workloads::deployment,
    },
    Route {
        from: ("extensions", "daemonsets"),
        versions: BETA,
        to: ("apps", "v1"),
        says: "the selector and the old update strategy OnDelete are said outright",
        convert: workloads::extensions_daemon_set,
    },
    Route {
        from: ("apps", "daemonsets"),
        versions: &["v1beta2"],
        to: ("apps", "v1"),
        says: "the selector is said outright",
        convert: workloads::with_selector,
    },
    Route {
        from: ("extensions", "replicasets"),
        versions: BETA,
        to: ("apps", "v1"),
        says: "the selector is said outright",
        convert: workloads::with_selector,
    },
    Route {
        from: ("apps", "replicasets"),
        versions: &["v1beta2"],
        to: ("apps", "v1"),
        says: "the selector is said outright",
        convert: workloads::with_selector,
    },
    Route {
        from: ("apps", "statefulsets"),
        versions: APPS,
        to: ("apps", "v1"),
        says: "the selector is said outright, and in v1beta1 the old update strategy OnDelete",
        convert: workloads::stateful_set,
    },
    renamed(("apps", "controllerrevisions"), APPS, ("apps", "v1")),
    Route {
        from: ("extensions", "ingresses"),
        versions: BETA,
        to: ("networking.k8s.io", "v1"),
        says: "backends name a service and its port; a path without a type is ImplementationSpecific, and an empty one stays so",
        convert: ingresses::convert,
    },
    Route {
        from: ("networking.k8s.io", "ingresses"),
        versions: BETA,
        to: ("networking.k8s.io", "v1"),
        says: "backends name a service and its port; a path without a type is ImplementationSpecific, and an empty one stays so",
        convert: ingresses::convert,
    },
    renamed(
        ("networking.k8s.io", "ingressclasses"),
        BETA,
        ("networking.k8s.io", "v1"),
    ),
    renamed(
        ("extensions", "networkpolicies"),
        BETA,
        ("networking.k8s.io", "v1"),
    ),
    Route {
        from: ("rbac.authorization.k8s.io", "clusterrolebindings"),
        versions: EARLY,
        to: ("rbac.authorization.k8s.io", "v1"),
        says: "subjects name a group instead of a version",
        convert: policies::binding,
    },
    Route {
        from: ("rbac.authorization.k8s.io", "rolebindings"),
        versions: EARLY,
        to: ("rbac.authorization.k8s.io", "v1"),
        says: "subjects name a group instead of a version",
        convert: policies::binding,
    },
    renamed(
        ("rbac.authorization.k8s.io", "clusterroles"),
        EARLY,
        ("rbac.authorization.k8s.io", "v1"),
    ),
    renamed(
        ("rbac.authorization.k8s.io", "roles"),
        EARLY,
        ("rbac.authorization.k8s.io", "v1"),
    ),
    Route {
        from: ("policy", "poddisruptionbudgets"),
        versions: BETA,
        to: ("policy", "v1"),
        says: "an empty selector, which chose no Pod, still chooses none",
        convert: policies::disruption_budget,
    },
    renamed(
        ("batch", "cronjobs"),
        &["v1beta1", "v2alpha1"],
        ("batch", "v1"),
    ),
    Route {
        from: ("autoscaling", "horizontalpodautoscalers"),
        versions: &["v2beta1"],
        to: ("autoscaling", "v2"),
        says: "metrics have their targets in a field of their own",
        convert: policies::autoscaler,
    },
    renamed(
        ("autoscaling", "horizontalpodautoscalers"),
        &["v2beta2"],
        ("autoscaling", "v2"),
    ),
    renamed(
        ("scheduling.k8s.io", "priorityclasses"),
        EARLY,
        ("scheduling.k8s.io", "v1"),
    ),
    renamed(
        ("storage.k8s.io", "storageclasses"),
        BETA,
        ("storage.k8s.io", "v1"),
    ),
    renamed(
        ("storage.k8s.io", "csidrivers"),
        BETA,
        ("storage.k8s.io", "v1"),
    ),
    renamed(
        ("coordination.k8s.io", "leases"),
        BETA,
        ("coordination.k8s.io", "v1"),
    ),
    Route {
        from: ("node.k8s.io", "runtimeclasses"),
        versions: BETA,
        to: ("node.k8s.io", "v1"),
        says: "",
        convert: same,
    },
    renamed(
        ("apiregistration.k8s.io", "apiservices"),
        BETA,
        ("apiregistration.k8s.io", "v1"),
    ),
    Route {
        from: (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
        ),
        versions: BETA,
        to: ("admissionregistration.k8s.io", "v1"),
        says: "the old defaults (Ignore, Exact, 30 s, review v1beta1) are said outright",
        convert: webhooks::convert,
    },
    Route {
        from: (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
        ),
        versions: BETA,
        to: ("admissionregistration.k8s.io", "v1"),
        says: "the old defaults (Ignore, Exact, 30 s, review v1beta1) are said outright",
        convert: webhooks::convert,
    },
    Route {
        from: ("discovery.k8s.io", "endpointslices"),
        versions: BETA,
        to: ("discovery.k8s.io", "v1"),
        says: "node and zone move out of the topology, of which v1 takes no more",
        convert: policies::endpoint_slice,
    },
    renamed(
        ("snapshot.storage.k8s.io", "volumesnapshots"),
        BETA,
        ("snapshot.storage.k8s.io", "v1"),
    ),
    renamed(
        ("snapshot.storage.k8s.io", "volumesnapshotcontents"),
        BETA,
        ("snapshot.storage.k8s.io", "v1"),
    ),
    renamed(
        ("snapshot.storage.k8s.io", "volumesnapshotclasses"),
        BETA,
        ("snapshot.storage.k8s.io", "v1"),
    ),
];

/// Types that went without a successor, and what took their place.
const GONE: [(&str, &str, &str); 3] = [
    (
        "policy",
        "podsecuritypolicies",
        "Kubernetes 1.25 removed them; label the namespaces for Pod Security admission instead",
    ),
    (
        "extensions",
        "podsecuritypolicies",
        "Kubernetes 1.25 removed them; label the namespaces for Pod Security admission instead",
    ),
    (
        "settings.k8s.io",
        "podpresets",
        "Kubernetes 1.20 removed them; a mutating webhook or policy can do the same",
    ),
];

/// Finds the route of a stored type.
pub(super) fn route(key: &TypeKey) -> Option<&'static Route> {
    ROUTES.iter().find(|route| {
        route.from == (key.group.as_str(), key.resource.as_str())
            && route.versions.contains(&key.version.as_str())
    })
}

/// Returns what became of a type that went without a successor.
pub(super) fn gone(key: &TypeKey) -> Option<&'static str> {
    GONE.iter()
        .find(|(group, resource, _)| (*group, *resource) == (&*key.group, &*key.resource))
        .map(|(_, _, says)| *says)
}
