//! Which objects of a backup a restore's spec asks for. Pure.
//!
//! Filters look at the original namespaces (case 22). A name that means nothing, neither in the backup nor in the
//! target, is a problem and never "everything"; so is an included namespace that the backup does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use glob::Pattern;
use kube::core::Selector;

use crate::api::filter::IncludesExcludes;
use crate::api::{RestoreSpec, selector, validate};
use crate::archive::{IndexEntry, TypeKey};
use crate::cluster::Discovery;

/// Which cluster-scoped objects are restored (case 23). Namespaces are no part of this.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum ClusterScoped {
    /// All that match.
    #[default]
    All,
    /// Those that chosen objects need: their volumes, the definitions of their types.
    Needed,
    /// None.
    Nothing,
}

/// Where the objects of a request are, whatever their labels and names.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    namespaces: IncludesExcludes,
    cluster_scoped: ClusterScoped,
}

impl Scope {
    /// Returns whether the request leaves out whatever is where an object is.
    pub(super) fn leaves_out(&self, entry: &IndexEntry) -> bool {
        match &entry.namespace {
            Some(namespace) => !self.namespaces.includes(namespace),
            None if is_namespace(&entry.type_key) => !self.namespaces.includes(&entry.name),
            None => self.cluster_scoped == ClusterScoped::Nothing,
        }
    }
}

/// What a spec asks for.
#[derive(Debug)]
pub(super) struct Selection {
    types: IncludesExcludes,
    namespaces: IncludesExcludes,
    /// Any of them has to match; none means all.
    labels: Vec<Selector>,
    /// Any of them has to match; none means all.
    items: Vec<Item>,
    /// Types whose objects get their status back.
    status: Option<IncludesExcludes>,
    pub(super) cluster_scoped: ClusterScoped,
}

impl Selection {
    /// Returns whether objects of a type may be restored.
    pub(super) fn admits_type(&self, group_resource: &str) -> bool {
        self.types.includes(group_resource)
    }

    /// Returns whether objects of a type may be restored that is called otherwise in the target.
    pub(super) fn admits_either(&self, stored: &str, target: &str) -> bool {
        (self.admits_type(stored) || self.admits_type(target))
            && !self.excludes_type(stored)
            && !self.excludes_type(target)
    }

    /// Returns whether objects of a type are left out by name.
    pub(super) fn excludes_type(&self, group_resource: &str) -> bool {
        self.types.excluded().contains(group_resource)
    }

    /// Returns whether objects of a type, that may be called otherwise in the target, get their status back (case 3).
    pub(super) fn restores_status(&self, stored: &str, target: &str) -> bool {
        self.status.as_ref().is_some_and(|types| {
            (types.includes(stored) || types.includes(target))
                && !types.excluded().contains(stored)
                && !types.excluded().contains(target)
        })
    }

    /// Returns where its objects are.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            namespaces: self.namespaces.clone(),
            cluster_scoped: self.cluster_scoped,
        }
    }

    /// Returns the items that have to match something, as they were asked for.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns whether an object of an admitted type is asked for.
    pub(super) fn asks_for(&self, entry: &IndexEntry, is_namespace: bool) -> bool {
        let placed = match &entry.namespace {
            Some(namespace) => self.namespaces.includes(namespace),
            None if is_namespace => self.namespaces.includes(&entry.name),
            None => {
                self.cluster_scoped == ClusterScoped::All
                    // One that is named is asked for, whatever else is.
                    || (self.cluster_scoped == ClusterScoped::Needed && !self.items.is_empty())
            }
        };
        let labelled = || {
            self.labels.is_empty()
                || self
                    .labels
                    .iter()
                    .any(|labels| selector::matches(Some(labels), &entry.labels))
        };
        placed && labelled()
    }
}

/// Objects asked for by type and name, with globs.
#[derive(Debug)]
pub(super) struct Item {
    /// As it was written.
    pub(super) text: String,
    types: BTreeSet<String>,
    namespace: Option<Pattern>,
    name: Pattern,
}

impl Item {
    /// Reads `type/name` or `type/namespace/name`.
    fn read(text: &str, contents: &Contents<'_>, target: &Discovery) -> Result<Self, String> {
        let (of, namespace, name) = validate::item(text)?;
        let pattern = |glob: &str| Pattern::new(glob).map_err(|error| error.to_string());
        let types = contents.resolve(of, target);
        if types.is_empty() {
            return Err(format!(
                "included items: {text:?}: {of:?} names no type, neither in the backup nor in this cluster"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            types,
            namespace: namespace.map(pattern).transpose()?,
            name: pattern(name)?,
        })
    }

    /// Returns whether an object is meant.
    pub(super) fn matches(&self, group_resource: &str, entry: &IndexEntry) -> bool {
        self.types.contains(group_resource)
            && self.name.matches(&entry.name)
            && self.namespace.as_ref().is_none_or(|pattern| {
                entry
                    .namespace
                    .as_deref()
                    .is_some_and(|namespace| pattern.matches(namespace))
            })
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
                None if is_namespace(&entry.type_key) => {
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

/// Returns whether a type is that of namespaces.
pub(super) fn is_namespace(key: &TypeKey) -> bool {
    key.resource == "namespaces" && key.group.is_empty()
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
    // A selector that cannot be read is among the problems of the spec.
    let labels = spec
        .label_selector
        .iter()
        .chain(&spec.or_label_selectors)
        .filter_map(|labels| selector::compile(labels).ok())
        .collect();
    let mut items = Vec::new();
    for text in &spec.included_items {
        match Item::read(text, contents, target) {
            Ok(item) => items.push(item),
            Err(problem) if !problems.contains(&problem) => problems.push(problem),
            Err(_) => {}
        }
    }
    let mut status_types = |names: &[String]| -> Vec<String> {
        let mut types = Vec::new();
        for name in names {
            let found = contents.resolve(name, target);
            if name == "*" {
                types.push(name.clone());
            } else if found.is_empty() {
                problems.push(format!(
                    "restored status: {name:?} names no type, neither in backup {backup} nor in this cluster; correct \
                     the name or remove it"
                ));
            }
            types.extend(found);
        }
        types
    };
    let status = spec.restore_status.as_ref().map(|status| {
        let included = status_types(&status.included_resources);
        let excluded = status_types(&status.excluded_resources);
        // Types that are left out alone ask for no other's.
        (!included.is_empty()).then(|| IncludesExcludes::new(&included, &excluded))
    });
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
        items,
        status: status.flatten(),
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
    fn statuses_are_asked_for_by_either_name() {
        let entries = entries();
        let contents = Contents::of(&entries);
        for (included, excluded, asked) in [
            (&["ingresses.extensions"][..], &[][..], true),
            (&["ingresses.networking.k8s.io"], &[], true),
            (&["*"], &["ingresses.extensions"], false),
            (&["*"], &["ingresses.networking.k8s.io"], false),
            (&["pods"], &[], false),
        ] {
            let spec = RestoreSpec {
                backup_name: "b".into(),
                restore_status: Some(crate::api::RestoreStatusSpec {
                    included_resources: list(included),
                    excluded_resources: list(excluded),
                }),
                ..RestoreSpec::default()
            };
            let selection = select(&spec, &contents, &target()).unwrap();
            let found =
                selection.restores_status("ingresses.extensions", "ingresses.networking.k8s.io");
            assert_eq!(found, asked, "{included:?} {excluded:?}");
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
