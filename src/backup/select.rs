//! What a backup takes: from its spec, and from what the cluster offers, a [`Selection`]. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::filter::IncludesExcludes;
use crate::api::{BackupSpec, order, selector, validate};
use crate::cluster::{ApiType, Discovery, FailedGroup, ListScope};

/// The verbs a type must allow: what cannot be created again is of no use in a backup (ark.md, 5).
const NEEDED_VERBS: [&str; 4] = ["list", "create", "get", "delete"];

/// With up to this many namespaces each is listed on its own; with more, one list of the whole cluster that is
/// filtered here costs the API server less.
const NAMESPACE_LISTS: usize = 16;

/// Types that are served in several groups and hold the same objects; the first group in the server's order is taken.
const COHABITING: [&str; 6] = [
    "deployments",
    "daemonsets",
    "replicasets",
    "networkpolicies",
    "ingresses",
    "events",
];

/// Which cluster-scoped objects a backup takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClusterScoped {
    /// All that match.
    All,
    /// Those that chosen objects need.
    Needed,
    /// None but Namespaces.
    Nothing,
}

/// What a backup takes.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The types to list, in restore order.
    pub(crate) types: Vec<SelectedType>,
    /// Which namespaces' objects are taken.
    pub(crate) namespaces: IncludesExcludes,
    /// The label selector, in the API's form.
    pub(crate) label_selector: Option<String>,
    /// Which cluster-scoped objects are taken.
    pub(crate) cluster_scoped: ClusterScoped,
    /// Types by full name that may not be taken even where chosen objects need them.
    excluded_types: BTreeSet<String>,
    /// The only types by full name that may be taken; `None` for all.
    included_types: Option<BTreeSet<String>>,
    /// Groups that could not be described and might hold selected types.
    pub(crate) failed_groups: Vec<FailedGroup>,
    /// Names that were excluded and mean nothing here.
    pub(crate) idle_excludes: Vec<String>,
}

/// A type to list, and where.
#[derive(Debug)]
pub(crate) struct SelectedType {
    pub(crate) api_type: Arc<ApiType>,
    pub(crate) scopes: Vec<ListScope>,
}

impl Selection {
    /// Returns whether an object of this type and namespace passes the filters by type and namespace.
    ///
    /// Labels are not looked at: what chosen objects need is taken whatever its labels.
    pub(crate) fn admits(&self, api_type: &ApiType, namespace: &str) -> bool {
        let name = api_type.group_resource();
        if self.excluded_types.contains(&name)
            || self
                .included_types
                .as_ref()
                .is_some_and(|included| !included.contains(&name))
        {
            return false;
        }
        if api_type.namespaced {
            self.namespaces.includes(namespace)
        } else {
            name == "namespaces" || self.cluster_scoped != ClusterScoped::Nothing
        }
    }
}

/// Decides what a backup takes.
///
/// `namespaces` are those of the cluster. A name that resolves to nothing is a problem, never "everything" (ark.md, 5,
/// corrected); an excluded one is only noted, since a schedule must outlive what it excludes.
///
/// # Errors
/// The problems, a sentence each.
pub(crate) fn select(
    spec: &BackupSpec,
    discovery: &Discovery,
    namespaces: &BTreeSet<String>,
) -> Result<Selection, Vec<String>> {
    let mut problems = validate::backup(spec);
    let mut idle_excludes = Vec::new();

    for name in spec.included_namespaces.iter().filter(|name| *name != "*") {
        if !namespaces.contains(name) {
            problems.push(format!(
                "included namespaces: there is no namespace {name:?} in this cluster; correct the name or remove it"
            ));
        }
    }
    idle_excludes.extend(
        spec.excluded_namespaces
            .iter()
            .filter(|name| !namespaces.contains(*name))
            .map(|name| format!("excluded namespace {name:?} does not exist")),
    );

    let mut included_types = BTreeSet::new();
    let mut excluded_types = BTreeSet::new();
    let mut excluded_groups = BTreeSet::new();
    for name in &spec.included_resources {
        if name == "*" {
            continue;
        }
        let types = resolve(discovery, name);
        if types.is_empty() {
            problems.push(unknown_type(discovery, name));
        }
        included_types.extend(types);
    }
    for name in spec.excluded_resources.iter().filter(|name| *name != "*") {
        excluded_groups.extend(name.strip_prefix("*.").map(str::to_owned));
        let types = resolve(discovery, name);
        // A group that is left out because it is broken is left out.
        if types.is_empty() && !is_broken_group(discovery, name) {
            idle_excludes.push(format!(
                "excluded type {name:?} is not served by this cluster"
            ));
        }
        excluded_types.extend(types);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let listed = spec.included_resources.iter().any(|name| name != "*");
    let included_types = listed.then_some(included_types);

    let namespaces_filter =
        IncludesExcludes::new(&spec.included_namespaces, &spec.excluded_namespaces);
    let cluster_scoped = match spec.include_cluster_resources {
        Some(true) => ClusterScoped::All,
        Some(false) => ClusterScoped::Nothing,
        None if namespaces_filter.is_unfiltered() => ClusterScoped::All,
        None => ClusterScoped::Needed,
    };
    let mut selection = Selection {
        types: Vec::new(),
        namespaces: namespaces_filter,
        label_selector: spec
            .label_selector
            .as_ref()
            .map(selector::format)
            .filter(|text| !text.is_empty()),
        cluster_scoped,
        excluded_types,
        included_types,
        failed_groups: Vec::new(),
        idle_excludes,
    };
    selection.types = list_types(&selection, discovery);
    if selection.included_types.is_none() {
        selection.failed_groups = discovery
            .failed()
            .iter()
            .filter(|failed| !excluded_groups.contains(failed.group()))
            .cloned()
            .collect();
    }
    Ok(selection)
}

/// Returns the types to list, in restore order, each with the places to list it in.
fn list_types(selection: &Selection, discovery: &Discovery) -> Vec<SelectedType> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let mut types = Vec::new();
    for api_type in discovery
        .types()
        .iter()
        .filter(|api_type| api_type.allows(&NEEDED_VERBS))
    {
        let admitted = if api_type.namespaced {
            selection.includes_type(&api_type.group_resource())
        } else {
            selection.admits(api_type, "")
                && (selection.cluster_scoped == ClusterScoped::All
                    || api_type.group_resource() == "namespaces")
        };
        if !admitted {
            continue;
        }
        if COHABITING.contains(&api_type.resource.as_str()) {
            let group = *taken.entry(&api_type.resource).or_insert(&api_type.group);
            if group != api_type.group {
                continue;
            }
        }
        types.push(SelectedType {
            scopes: scopes(selection, api_type),
            api_type: Arc::clone(api_type),
        });
    }
    types.sort_by_cached_key(|one| order::rank(&one.api_type.group_resource(), &[]));
    types
}

impl Selection {
    fn includes_type(&self, name: &str) -> bool {
        !self.excluded_types.contains(name)
            && self
                .included_types
                .as_ref()
                .is_none_or(|included| included.contains(name))
    }
}

fn scopes(selection: &Selection, api_type: &ApiType) -> Vec<ListScope> {
    match selection.namespaces.listed() {
        Some(names) if api_type.namespaced && names.len() <= NAMESPACE_LISTS => {
            let mut names: Vec<&String> = names
                .iter()
                .filter(|name| selection.namespaces.includes(name))
                .collect();
            // The order of the server's keys, in which `zoo-data/x` comes before `zoo/x`.
            names.sort_by_key(|name| format!("{name}/"));
            names
                .into_iter()
                .cloned()
                .map(ListScope::Namespace)
                .collect()
        }
        _ => vec![ListScope::Cluster],
    }
}

/// Resolves a name of a type to full names, none if there is no such type; `*.group` means all of a group.
pub(super) fn resolve(discovery: &Discovery, name: &str) -> Vec<String> {
    match name.strip_prefix("*.") {
        Some(group) => discovery
            .types()
            .iter()
            .filter(|one| one.group == group)
            .map(|one| one.group_resource())
            .collect(),
        None => discovery
            .resolve(name)
            .map(|one| one.group_resource())
            .into_iter()
            .collect(),
    }
}

/// Returns whether a name is `*.group` of a group that cannot be described.
fn is_broken_group(discovery: &Discovery, name: &str) -> bool {
    name.strip_prefix("*.").is_some_and(|group| {
        discovery
            .failed()
            .iter()
            .any(|failed| failed.group() == group)
    })
}

/// Says that a name of a type that was included means nothing.
pub(super) fn unknown_type(discovery: &Discovery, name: &str) -> String {
    let broken = discovery
        .failed()
        .iter()
        .find(|failed| !failed.group().is_empty() && name.ends_with(failed.group()));
    match broken {
        Some(failed) => format!(
            "included resources: {name:?} cannot be looked up, because the API group {} is broken: {}",
            failed.group_version, failed.reason
        ),
        None => format!(
            "included resources: this cluster serves no type {name:?}; `kubectl api-resources` lists those it does"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_type(group: &str, resource: &str, namespaced: bool) -> ApiType {
        ApiType {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            namespaced,
            verbs: NEEDED_VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
            ..ApiType::default()
        }
    }

    fn discovery() -> Discovery {
        let mut read_only = api_type("metrics.k8s.io", "pods", true);
        read_only.verbs = vec!["list".into(), "get".into()];
        Discovery::from_types(
            vec![
                api_type("", "pods", true),
                api_type("", "nodes", false),
                api_type("", "namespaces", false),
                api_type("", "events", true),
                api_type("apps", "deployments", true),
                api_type("events.k8s.io", "events", true),
                api_type("extensions", "deployments", true),
                read_only,
            ],
            vec![FailedGroup {
                group_version: "broken.example.org/v1".into(),
                reason: "no answer".into(),
            }],
        )
    }

    fn run(spec: &BackupSpec) -> Result<Selection, Vec<String>> {
        select(spec, &discovery(), &["a", "b"].map(str::to_owned).into())
    }

    fn names(selection: &Selection) -> Vec<String> {
        selection
            .types
            .iter()
            .map(|one| one.api_type.group_resource())
            .collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn takes_everything_once_and_in_restore_order() {
        let selection = run(&BackupSpec::default()).unwrap();
        assert_eq!(
            names(&selection),
            ["namespaces", "pods", "deployments.apps", "events", "nodes"]
        );
        assert_eq!(selection.cluster_scoped, ClusterScoped::All);
        assert_eq!(selection.failed_groups.len(), 1);
    }

    #[test]
    fn namespaces_narrow_the_lists_and_the_cluster_scope() {
        let selection = run(&BackupSpec {
            included_namespaces: list(&["a"]),
            ..BackupSpec::default()
        })
        .unwrap();
        assert_eq!(
            names(&selection),
            ["namespaces", "pods", "deployments.apps", "events"]
        );
        assert_eq!(
            selection.types[1].scopes,
            [ListScope::Namespace("a".into())]
        );
        assert_eq!(selection.types[0].scopes, [ListScope::Cluster]);
        assert!(selection.admits(&api_type("", "nodes", false), ""));
        assert!(!selection.admits(&api_type("", "pods", true), "b"));
    }

    #[test]
    fn cluster_scope_can_be_forced_both_ways() {
        for (include, cluster_types) in [(Some(true), true), (Some(false), false)] {
            let selection = run(&BackupSpec {
                included_namespaces: list(&["a"]),
                include_cluster_resources: include,
                ..BackupSpec::default()
            })
            .unwrap();
            assert_eq!(
                names(&selection).contains(&"nodes".to_owned()),
                cluster_types
            );
            assert_eq!(
                selection.admits(&api_type("", "nodes", false), ""),
                cluster_types
            );
            assert!(selection.admits(&api_type("", "namespaces", false), ""));
        }
    }

    #[test]
    fn names_that_mean_nothing_are_problems() {
        for (spec, problem) in [
            (
                BackupSpec {
                    included_resources: list(&["lions"]),
                    ..BackupSpec::default()
                },
                "this cluster serves no type \"lions\"",
            ),
            (
                BackupSpec {
                    included_resources: list(&["x.broken.example.org"]),
                    ..BackupSpec::default()
                },
                "the API group broken.example.org/v1 is broken",
            ),
            (
                BackupSpec {
                    included_namespaces: list(&["a", "c"]),
                    ..BackupSpec::default()
                },
                "there is no namespace \"c\"",
            ),
        ] {
            let problems = run(&spec).unwrap_err();
            assert_eq!(problems.len(), 1);
            assert!(problems[0].contains(problem), "{problems:?}");
        }
    }

    #[test]
    fn excluded_names_may_be_gone() {
        let selection = run(&BackupSpec {
            excluded_namespaces: list(&["gone"]),
            excluded_resources: list(&["lions", "pods", "*.broken.example.org"]),
            ..BackupSpec::default()
        })
        .unwrap();
        assert_eq!(
            selection.idle_excludes.len(),
            2,
            "{:?}",
            selection.idle_excludes
        );
        assert!(!names(&selection).contains(&"pods".to_owned()));
        assert!(selection.failed_groups.is_empty());
    }

    #[test]
    fn types_listed_one_by_one_are_the_only_ones() {
        let selection = run(&BackupSpec {
            included_resources: list(&["deployments.extensions", "*.events.k8s.io"]),
            ..BackupSpec::default()
        })
        .unwrap();
        assert_eq!(
            names(&selection),
            ["deployments.extensions", "events.events.k8s.io"]
        );
        assert!(!selection.admits(&api_type("", "namespaces", false), ""));
    }
}
