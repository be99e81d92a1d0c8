//! What becomes of an object that is there and differs (cases 53, 70 to 72): the policy, and where it does not count.

use crate::api::ExistingResourcePolicy;

/// Types of which nothing is recreated: too much hangs on them, or goes with them.
const NEVER_RECREATED: [&str; 6] = [
    "namespaces",
    "customresourcedefinitions.apiextensions.k8s.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    // The snapshot itself would be deleted.
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

/// What is decided on.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the object"
)]
pub(super) struct Situation<'a> {
    pub(super) policy: &'a ExistingResourcePolicy,
    pub(super) group_resource: &'a str,
    pub(super) cluster_scoped: bool,
    /// Whether the restore maps any namespace.
    pub(super) namespaces_mapped: bool,
    /// Whether a controller makes the object that is there.
    pub(super) controlled: bool,
    /// Whether the cluster made it when the restore made its namespace.
    pub(super) made_with_namespace: bool,
    /// Whether it is a volume that has another claim than the stored one.
    pub(super) other_claim: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Treatment {
    /// It stays as it is, which a warning says with the reason.
    Leave(&'static str),
    /// It is changed to what is stored.
    Update,
    /// It is deleted and created.
    Recreate,
}

/// Decides.
pub(super) fn treat(on: &Situation<'_>) -> Treatment {
    let shared = on.cluster_scoped && on.namespaces_mapped;
    match on.policy {
        _ if on.made_with_namespace && on.group_resource == "serviceaccounts" => Treatment::Update,
        ExistingResourcePolicy::None | ExistingResourcePolicy::Other(_) => {
            Treatment::Leave("left as it is")
        }
        _ if shared => Treatment::Leave(
            "left as it is, since it may belong to the original of a mapped namespace",
        ),
        _ if on.other_claim => Treatment::Leave("left as it is, since it has another claim"),
        ExistingResourcePolicy::Update => Treatment::Update,
        ExistingResourcePolicy::Recreate if NEVER_RECREATED.contains(&on.group_resource) => {
            Treatment::Leave("objects of this type are never recreated; left as it is")
        }
        ExistingResourcePolicy::Recreate if on.controlled => {
            Treatment::Leave("left to its controller")
        }
        ExistingResourcePolicy::Recreate => Treatment::Recreate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_counts_where_nothing_is_lost_by_it() {
        use ExistingResourcePolicy::{None, Recreate, Update};
        const PLAIN: Situation<'_> = Situation {
            policy: &None,
            group_resource: "configmaps",
            cluster_scoped: false,
            namespaces_mapped: false,
            controlled: false,
            made_with_namespace: false,
            other_claim: false,
        };
        const CLUSTER_SCOPED: Situation<'_> = Situation {
            group_resource: "clusterrolebindings.rbac.authorization.k8s.io",
            cluster_scoped: true,
            ..PLAIN
        };
        let with = |policy, on: Situation<'static>| Situation { policy, ..on };
        let done = |on: &Situation<'_>| match treat(on) {
            Treatment::Leave(_) => "leave",
            Treatment::Update => "update",
            Treatment::Recreate => "recreate",
        };
        let mapped = Situation {
            namespaces_mapped: true,
            ..PLAIN
        };
        let shared = Situation {
            namespaces_mapped: true,
            ..CLUSTER_SCOPED
        };
        let controlled = Situation {
            controlled: true,
            ..PLAIN
        };
        let account = Situation {
            group_resource: "serviceaccounts",
            made_with_namespace: true,
            ..PLAIN
        };
        let volume = Situation {
            group_resource: "persistentvolumes",
            other_claim: true,
            ..CLUSTER_SCOPED
        };
        for (why, on, by_none, by_update, by_recreate) in [
            ("plain", PLAIN, "leave", "update", "recreate"),
            (
                "cluster-scoped",
                CLUSTER_SCOPED,
                "leave",
                "update",
                "recreate",
            ),
            ("mapped", mapped, "leave", "update", "recreate"),
            ("shared", shared, "leave", "leave", "leave"),
            ("controlled", controlled, "leave", "update", "leave"),
            (
                "a new namespace's account",
                account,
                "update",
                "update",
                "update",
            ),
            (
                "a volume of another claim",
                volume,
                "leave",
                "leave",
                "leave",
            ),
        ] {
            for (policy, becomes) in [
                (&None, by_none),
                (&Update, by_update),
                (&Recreate, by_recreate),
            ] {
                assert_eq!(done(&with(policy, on)), becomes, "{why} {policy:?}");
            }
        }
        for group_resource in NEVER_RECREATED {
            let on = Situation {
                policy: &Recreate,
                group_resource,
                ..PLAIN
            };
            assert_eq!(done(&on), "leave", "{group_resource}");
        }
    }
}
