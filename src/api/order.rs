//! In which order types are stored and restored: what others refer to comes first.

/// The types that come first, in this order (velero.md, case 11); all others follow by name.
const FIRST: [&str; 23] = [
    "customresourcedefinitions.apiextensions.k8s.io",
    "namespaces",
    "storageclasses.storage.k8s.io",
    "volumesnapshotclasses.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
    "volumesnapshots.snapshot.storage.k8s.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    "clusterroles.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "secrets",
    "configmaps",
    "limitranges",
    "priorityclasses.scheduling.k8s.io",
    "pods",
    "replicasets.apps",
    "clusterclasses.cluster.x-k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "services",
];

/// The types that come last, in this order: what builds clusters out of other objects (case 82), then what may refuse or
/// change what is created after it (case 68).
const LAST: [&str; 10] = [
    "clusterbootstraps.run.tanzu.vmware.com",
    "clusters.cluster.x-k8s.io",
    "clusterresourcesets.addons.cluster.x-k8s.io",
    "apps.kappctrl.k14s.io",
    "packageinstalls.packaging.carvel.dev",
    "resourcequotas",
    "apiservices.apiregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// Returns a sort key: types sorted by it are in restore order.
///
/// `priorities` come before everything else, in their own order; what they leave out keeps its place.
pub fn rank(group_resource: &str, priorities: &[String]) -> (usize, usize, String) {
    let by_name = group_resource.to_owned();
    if let Some(at) = place(priorities.iter().map(String::as_str), group_resource) {
        (0, at, by_name)
    } else if let Some(at) = place(FIRST, group_resource) {
        (1, at, by_name)
    } else if let Some(at) = place(LAST, group_resource) {
        (3, at, by_name)
    } else {
        (2, 0, by_name)
    }
}

fn place<'a>(list: impl IntoIterator<Item = &'a str>, name: &str) -> Option<usize> {
    list.into_iter().position(|one| one == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_what_is_referred_to_first() {
        let mut types = [
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "statefulsets.apps",
            "pods",
            "animals.zoo.example.org",
            "namespaces",
            "secrets",
        ];
        types.sort_by_key(|name| rank(name, &[]));
        assert_eq!(types[..3], ["namespaces", "secrets", "pods"]);
        assert_eq!(
            types[3..5],
            ["animals.zoo.example.org", "statefulsets.apps"]
        );
        let first = ["statefulsets.apps".to_owned()];
        types.sort_by_key(|name| rank(name, &first));
        assert_eq!(types[0], "statefulsets.apps");
    }
}
