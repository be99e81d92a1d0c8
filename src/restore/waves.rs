//! Which types are restored together, and which after which.
//!
//! The order is the one backups are stored in ([`crate::api::order`], case 11), cut into waves: types within a wave do
//! not depend on each other and are created side by side, and a wave ends before the next begins. So there is a wave
//! - for the definitions, whose types must be served before the objects of these types come;
//! - for the namespaces;
//! - for what others name (classes, volumes, roles, accounts), and what has to be in force before a Pod starts;
//! - for what names those: claims, bindings, Secrets (a token Secret without its account is removed again);
//! - for Pods;
//! - for limit ranges: a Pod that is newer than its limit range has been given its defaults already, and one that is
//!   older shall not be changed or refused by it;
//! - for `ReplicaSets` (which adopt Pods) and Endpoints (which a Service would make again), then for Services, then for
//!   all others: Deployments adopt their `ReplicaSets`, `StatefulSets` their Pods;
//! - for what refuses or changes objects: quotas (whose use is not yet worked out when they are new: a Pod that comes
//!   right after is refused), aggregated APIs, policies, webhooks (case 68).

use super::rules::Told;
use crate::cluster::ApiType;

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const NAMESPACES: &str = "namespaces";

const FIRST: [&[&str]; 7] = [
    &[
        "storageclasses.storage.k8s.io",
        "volumesnapshotclasses.snapshot.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
        "persistentvolumes",
        "clusterroles.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "serviceaccounts",
        "configmaps",
        "priorityclasses.scheduling.k8s.io",
        "runtimeclasses.node.k8s.io",
        // No Pod shall be reachable for longer than it was before.
        "networkpolicies.networking.k8s.io",
        "volumesnapshotcontents.snapshot.storage.k8s.io",
    ],
    &[
        "volumesnapshots.snapshot.storage.k8s.io",
        "persistentvolumeclaims",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "secrets",
    ],
    &["pods"],
    &["limitranges"],
    &[
        "replicasets.apps",
        "clusterclasses.cluster.x-k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
    ],
    &["services"],
    &[],
];

const LAST: [&[&str]; 8] = [
    // What builds whole clusters out of other objects has to find these (case 82).
    &["clusterbootstraps.run.tanzu.vmware.com"],
    &["clusters.cluster.x-k8s.io"],
    &["clusterresourcesets.addons.cluster.x-k8s.io"],
    &["apps.kappctrl.k14s.io"],
    &["packageinstalls.packaging.carvel.dev"],
    &["resourcequotas", "apiservices.apiregistration.k8s.io"],
    &[
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    ],
    &[
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    ],
];

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "11",
        about: "all types",
        says: "definitions; namespaces; classes, volumes, roles, accounts, ConfigMaps; claims, bindings, Secrets; Pods; limit ranges; ReplicaSets and Endpoints; Services; all others; Cluster API and Carvel packages; quotas, aggregated APIs; policies; webhooks",
    },
    Told {
        cases: "12, 13",
        about: "custom resources",
        says: "wait until their definition is in force; one that never is costs its own type alone",
    },
    Told {
        cases: "29",
        about: "claims and their volumes",
        says: "come before the Pods that use them",
    },
    Told {
        cases: "32, 33",
        about: "Pods, ReplicaSets, Deployments, StatefulSets",
        says: "in this order, so that each is adopted by its controller",
    },
    Told {
        cases: "42",
        about: "Endpoints",
        says: "come before Services",
    },
    Told {
        cases: "82",
        about: "Cluster API: ClusterClasses, Clusters, ClusterResourceSets; Carvel's packages",
        says: "come before and after all others, in this order; paused ones keep still with their status \
               (`--status-include-resources`)",
    },
    Told {
        cases: "65",
        about: "roles",
        says: "come before bindings; an escalation that is refused is an error of that object alone",
    },
    Told {
        cases: "68",
        about: "webhooks and aggregated APIs",
        says: "come last",
    },
];

/// Returns a number by which types are ordered; types of the same number may be restored side by side.
///
/// `priorities` (full names) come in their own order, one wave each, before all but definitions and namespaces: without
/// these two nothing else can be created.
pub(super) fn wave(group_resource: &str, priorities: &[String]) -> usize {
    let place = |waves: &[&[&str]]| waves.iter().position(|wave| wave.contains(&group_resource));
    match group_resource {
        DEFINITIONS => return 0,
        NAMESPACES => return 1,
        _ => {}
    }
    if let Some(at) = priorities.iter().position(|name| name == group_resource) {
        return 2 + at;
    }
    let base = 2 + priorities.len();
    place(&FIRST)
        .or_else(|| place(&LAST).map(|at| FIRST.len() + at))
        // The place left open for all others.
        .unwrap_or(FIRST.len() - 1)
        + base
}

/// Returns whether this is the type of the definitions of custom types.
pub(super) fn is_definition(group_resource: &str) -> bool {
    group_resource == DEFINITIONS
}

/// Returns the name of the definition that makes a custom type.
pub(super) fn definition_of(resource: &str, group: &str) -> String {
    format!("{resource}.{group}")
}

/// Returns whether an object's scope is the one that the target gives its type.
pub(super) fn same_scope(api_type: &ApiType, namespace: Option<&str>) -> bool {
    api_type.namespaced == namespace.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::order;

    #[test]
    fn waves_follow_the_order_of_dependence() {
        let order = [
            DEFINITIONS,
            NAMESPACES,
            "serviceaccounts",
            "secrets",
            "pods",
            "replicasets.apps",
            "services",
            "deployments.apps",
            "resourcequotas",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        ];
        let waves: Vec<usize> = order.iter().map(|name| wave(name, &[])).collect();
        assert!(waves.is_sorted_by(|a, b| a < b), "{waves:?}");
        assert_eq!(
            wave("deployments.apps", &[]),
            wave("lions.example.org", &[])
        );
    }

    #[test]
    fn a_dependency_of_the_common_order_is_never_turned_round() {
        for (first, second) in [
            ("persistentvolumes", "persistentvolumeclaims"),
            ("serviceaccounts", "secrets"),
            ("priorityclasses.scheduling.k8s.io", "pods"),
            ("pods", "replicasets.apps"),
            ("endpoints", "services"),
            ("replicasets.apps", "deployments.apps"),
            ("clusterclasses.cluster.x-k8s.io", "lions.example.org"),
            ("lions.example.org", "clusters.cluster.x-k8s.io"),
            (
                "clusters.cluster.x-k8s.io",
                "clusterresourcesets.addons.cluster.x-k8s.io",
            ),
        ] {
            assert!(wave(first, &[]) < wave(second, &[]), "{first} {second}");
            assert!(
                order::rank(first, &[]) < order::rank(second, &[]),
                "{first} {second}"
            );
        }
        assert!(wave("pods", &[]) < wave("limitranges", &[]));
        assert!(wave("limitranges", &[]) < wave("replicasets.apps", &[]));
    }

    #[test]
    fn priorities_come_first_but_for_what_all_need() {
        let priorities = ["deployments.apps".to_owned(), "pods".to_owned()];
        assert!(wave("deployments.apps", &priorities) < wave("pods", &priorities));
        assert!(wave("pods", &priorities) < wave("secrets", &priorities));
        assert!(wave(NAMESPACES, &priorities) < wave("deployments.apps", &priorities));
    }
}
