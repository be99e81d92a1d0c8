//! Which objects of a backup a restore's spec asks for. Pure.
//!
//! Filters look at the original namespaces (case 22). A name that means nothing, neither in the backup nor in the
//! target, is a problem and never "everything"; so is an included namespace that the backup does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::core::Selector;

use crate::api::filter::IncludesExcludes;
use crate::api::{RestoreSpec, selector, validate};
use crate::archive::{IndexEntry, TypeKey};
use crate::cluster::Discovery;

/// Which cluster-scoped objects are restored (case 23). Namespaces are no part of this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClusterScoped {
    /// All that match.
    All,
    /// Those that chosen objects need: their volumes, the definitions of their types.
    Needed,
    /// None.
    Nothing,
}

/// What a spec asks for.
#[derive(Debug)]
pub(super) struct Selection {
    types: IncludesExcludes,
    namespaces: IncludesExcludes,
    labels: Option<Selector>,
    pub(super) cluster_scoped: ClusterScoped,
}

impl Selection {
    /// Returns whether objects of a type may be restored.
    pub(super) fn admits_type(&self, group_resource: &str) -> bool {
        self.types.includes(group_resource)
    }

    /// Returns whether an object of an admitted type is asked for.
    pub(super) fn asks_for(&self, entry: &IndexEntry, is_namespace: bool) -> bool {
        let placed = match &entry.namespace {
            Some(namespace) => self.namespaces.includes(namespace),
            None if is_namespace => self.namespaces.includes(&entry.name),
            None => self.cluster_scoped == ClusterScoped::All,
        };
        placed && selector::matches(self.labels.as_ref(), &entry.labels)
    }
}

/// What a backup holds, as far as names go.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    /// Its types, by full name.
    pub(super) types: BTreeMap<String, &'a Arc<TypeKey>>,
    /// Its namespaces: those it holds as objects, and those it holds objects of.
    pub(super) namespaces: BTreeSet<&'a str>,
}

impl<'a> Contents<'a> {
    pub(super) fn of(entries: &'a [IndexEntry]) -> Self {
        let mut contents = Self::default();
        let mut last: Option<&Arc<TypeKey>> = None;
        for entry in entries {
            // Entries come type by type, so the name of the type is made a few dozen times, not for each.
            if last.is_none_or(|last| !Arc::ptr_eq(last, &entry.type_key)) {
                contents
                    .types
                    .entry(entry.type_key.group_resource())
                    .or_insert(&entry.type_key);
                last = Some(&entry.type_key);
            }
            match &entry.namespace {
                Some(namespace) => {
                    contents.namespaces.insert(namespace);
                }
                None if entry.type_key.resource == "namespaces"
                    && entry.type_key.group.is_empty() =>
                {
                    contents.namespaces.insert(&entry.name);
                }
                None => {}
            }
        }
        contents
    }

    /// Finds the full names of the types that a name means, here or in the target; `*.group` means all of a group.
    pub(super) fn resolve(&self, name: &str, target: &Discovery) -> BTreeSet<String> {
        let lower = name.to_lowercase();
        if let Some(group) = lower.strip_prefix("*.") {
            let there = target.types().iter().filter(|one| one.group == group);
            return self
                .types
                .iter()
                .filter(|(_, key)| key.group == group)
                .map(|(name, _)| name.clone())
                .chain(there.map(|one| one.group_resource()))
                .collect();
        }
        let in_target = target.resolve(name).map(|one| one.group_resource());
        // The same bare name may be of another group here: `ingresses` was in `extensions` for years.
        match in_target {
            Some(full) if self.types.contains_key(&full) => [full].into(),
            in_target => in_target
                .into_iter()
                .chain(self.resolve_here(&lower))
                .collect(),
        }
    }

    /// Finds a type by its full name, plural name or kind; of several groups, the core one or else the first by name.
    fn resolve_here(&self, lower: &str) -> Option<String> {
        if self.types.contains_key(lower) {
            return Some(lower.to_owned());
        }
        let (resource, group) = lower
            .split_once('.')
            .map_or((lower, None), |(resource, group)| (resource, Some(group)));
        self.types
            .iter()
            .filter(|(_, key)| {
                group.is_none_or(|group| {
                    key.group == group || format!("{}.{}", key.version, key.group) == group
                }) && (key.resource == resource || key.kind.to_lowercase() == resource)
            })
            .min_by_key(|(full, key)| (!key.group.is_empty(), (*full).clone()))
            .map(|(full, _)| full.clone())
    }
}

/// Reads a spec against what the backup holds and the target offers.
///
/// # Errors
/// The problems, a sentence each.
pub(super) fn select(
    spec: &RestoreSpec,
    contents: &Contents<'_>,
    target: &Discovery,
) -> Result<Selection, Vec<String>> {
    let mut problems = validate::restore(spec);
    let backup = &spec.backup_name;

    for name in spec.included_namespaces.iter().filter(|name| *name != "*") {
        if !contents.namespaces.contains(name.as_str()) {
            problems.push(format!(
                "included namespaces: backup {backup} holds no namespace {name:?}; correct the name or remove it"
            ));
        }
    }
    let mut included = Vec::new();
    for name in &spec.included_resources {
        if name == "*" {
            included.push(name.clone());
            continue;
        }
        let found = contents.resolve(name, target);
        if found.is_empty() {
            problems.push(format!(
                "included resources: {name:?} names no type, neither in backup {backup} nor in this cluster; correct \
                 the name or remove it"
            ));
        }
        // By another name, it is still not restored.
        for full in found.iter().filter(|full| *full != name) {
            if validate::NEVER_RESTORED.contains(&full.as_str()) {
                problems.push(format!(
                    "included resources: {name} ({full}) are never restored; remove them from the list"
                ));
            }
        }
        included.extend(found);
    }
    let mut excluded = Vec::new();
    for name in spec.excluded_resources.iter().filter(|name| *name != "*") {
        let found = contents.resolve(name, target);
        // The original Ark writes these into each restore, whatever the cluster serves.
        if found.is_empty() && !validate::NEVER_RESTORED.contains(&name.as_str()) {
            problems.push(format!(
                "excluded resources: {name:?} names no type, neither in backup {backup} nor in this cluster; correct \
                 the name or remove it"
            ));
        }
        excluded.extend(found);
    }
    let labels = match spec.label_selector.as_ref().map(selector::compile) {
        // The problem is among those of the spec.
        Some(Err(_)) | None => None,
        Some(Ok(labels)) => Some(labels),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let namespaces = IncludesExcludes::new(&spec.included_namespaces, &spec.excluded_namespaces);
    let cluster_scoped = match spec.include_cluster_resources {
        Some(true) => ClusterScoped::All,
        Some(false) => ClusterScoped::Nothing,
        None if namespaces.is_unfiltered() => ClusterScoped::All,
        None => ClusterScoped::Needed,
    };
    Ok(Selection {
        types: IncludesExcludes::new(&included, &excluded),
        namespaces,
        labels,
        cluster_scoped,
    })
}

/// Returns what is wrong with a namespace mapping, given which original namespaces are restored, and what of it does
/// nothing.
pub(super) fn check_mapping(
    mapping: &BTreeMap<String, String>,
    restored: &BTreeSet<&str>,
    contents: &Contents<'_>,
) -> (Vec<String>, Vec<String>) {
    let mut problems = Vec::new();
    let mut idle = Vec::new();
    for (from, to) in mapping {
        if !contents.namespaces.contains(from.as_str()) {
            idle.push(format!(
                "namespace mapping: the backup holds no namespace {from:?}; its mapping to {to} did nothing"
            ));
        }
        let stays = restored.contains(to.as_str()) && !mapping.contains_key(to);
        if stays && restored.contains(from.as_str()) {
            problems.push(format!(
                "namespace mapping: {from} would become {to}, which is restored as well, and their objects would \
                 collide; map {to} too, or exclude it"
            ));
        }
    }
    (problems, idle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::testing::{api_type, entry};

    fn entries() -> Vec<IndexEntry> {
        vec![
            entry("namespaces", "", "zoo"),
            entry("namespaces", "", "empty"),
            entry("pods", "zoo", "a"),
            entry("deployments.apps", "zoo", "a"),
            entry("ingresses.extensions", "zoo", "a"),
            entry("animals.zoo.example.org", "zoo", "simba"),
            entry("pods", "bare", "a"),
        ]
    }

    fn target() -> Discovery {
        let mut deployments = api_type("deployments.apps", true);
        deployments.short_names = vec!["deploy".into()];
        Discovery::from_types(
            vec![
                api_type("pods", true),
                api_type("nodes", false),
                deployments,
                api_type("ingresses.networking.k8s.io", true),
                api_type("jobs.batch", true),
            ],
            Vec::new(),
        )
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_mean_types_of_either_side() {
        let entries = entries();
        let contents = Contents::of(&entries);
        for (name, types) in [
            ("pods", &["pods"][..]),
            ("Pod", &["pods"]),
            ("deploy", &["deployments.apps"]),
            ("deployments.apps", &["deployments.apps"]),
            (
                "ingresses",
                &["ingresses.networking.k8s.io", "ingresses.extensions"],
            ),
            ("animals", &["animals.zoo.example.org"]),
            ("Animal", &["animals.zoo.example.org"]),
            ("*.zoo.example.org", &["animals.zoo.example.org"]),
            ("jobs", &["jobs.batch"]),
            ("lions", &[]),
        ] {
            let found = contents.resolve(name, &target());
            assert_eq!(
                found,
                types.iter().map(|one| (*one).to_owned()).collect(),
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_names_are_problems() {
        let entries = entries();
        let contents = Contents::of(&entries);
        for (spec, problem) in [
            (
                RestoreSpec {
                    included_resources: list(&["lions"]),
                    ..RestoreSpec::default()
                },
                "\"lions\" names no type",
            ),
            (
                RestoreSpec {
                    excluded_resources: list(&["lions"]),
                    ..RestoreSpec::default()
                },
                "\"lions\" names no type",
            ),
            (
                RestoreSpec {
                    included_resources: list(&["Node"]),
                    ..RestoreSpec::default()
                },
                "never restored",
            ),
            (
                RestoreSpec {
                    included_namespaces: list(&["zoo", "moo"]),
                    ..RestoreSpec::default()
                },
                "no namespace \"moo\"",
            ),
        ] {
            let spec = RestoreSpec {
                backup_name: "b".into(),
                ..spec
            };
            let problems = select(&spec, &contents, &target()).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(problem), "{problems:?}");
        }
    }

    #[test]
    fn mappings_must_not_collide() {
        let entries = entries();
        let contents = Contents::of(&entries);
        let restored: BTreeSet<&str> = ["zoo", "bare"].into();
        let mapping = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
                .collect()
        };
        for (pairs, problems, idle) in [
            (&[("zoo", "new")][..], 0, 0),
            (&[("zoo", "bare")], 1, 0),
            (&[("zoo", "bare"), ("bare", "zoo")], 0, 0),
            (&[("gone", "zoo")], 0, 1),
            (&[("zoo", "empty")], 0, 0),
        ] {
            let found = check_mapping(&mapping(pairs), &restored, &contents);
            assert_eq!(
                (found.0.len(), found.1.len()),
                (problems, idle),
                "{pairs:?}"
            );
        }
    }
}
