//! Makes a plan step by step: chooses what is asked for and what that needs, takes out what cannot be restored, orders
//! the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Facts, NamespaceStep, PlannedType, RestorePlan, Step, is_namespace, order, serve};
use crate::archive::{IndexEntry, TypeKey};
use crate::cluster::{Discovery, FailedGroup};
use crate::restore::report::list_names;
use crate::restore::select::{ClusterScoped, Selection};
use crate::restore::volumes::Way;
use crate::restore::{convert, derived, owners, waves};

const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";

/// A type of the backup as the planner sees it.
struct TypeState {
    planned: PlannedType,
    admitted: bool,
}

pub(super) struct Planner<'a> {
    facts: &'a Facts<'a>,
    selection: Selection,
    /// For each entry whether it is restored.
    chosen: Vec<bool>,
    types: Vec<TypeState>,
    type_of: HashMap<*const TypeKey, usize>,
    pub(super) plan: RestorePlan,
}

impl<'a> Planner<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, selection: Selection) -> Self {
        Self {
            facts,
            selection,
            chosen: vec![false; facts.entries.len()],
            types: Vec::new(),
            type_of: HashMap::new(),
            plan: RestorePlan::default(),
        }
    }

    /// Chooses what is restored.
    ///
    /// # Errors
    /// A sentence if that is nothing.
    pub(super) fn choose(&mut self) -> Result<(), Vec<String>> {
        self.choose_asked()?;
        self.choose_needed();
        self.choose_volumes();
        self.choose_definitions();
        self.refuse_nothing()?;
        self.drop_unserved();
        self.drop_doubles();
        Ok(())
    }

    /// Returns the places of what is asked for, without what that needs.
    pub(super) fn asked(mut self) -> Result<Vec<usize>, Vec<String>> {
        self.choose_asked()?;
        Ok(self.chosen_entries().map(|(at, _)| at).collect())
    }

    pub(super) fn chosen_entries(&self) -> impl Iterator<Item = (usize, &'a IndexEntry)> + '_ {
        let entries = self.facts.entries;
        entries
            .iter()
            .enumerate()
            .filter(|(at, _)| self.chosen[*at])
    }

    /// Returns the place of an entry's type. Types are shared among the entries of an index, so the place of the
    /// shared key tells them apart.
    fn type_index(&mut self, key: &Arc<TypeKey>) -> usize {
        let pointer = Arc::as_ptr(key);
        if let Some(at) = self.type_of.get(&pointer) {
            return *at;
        }
        let at = self
            .types
            .iter()
            .position(|known| known.planned.key == *key);
        let at = at.unwrap_or_else(|| {
            let served = serve(key, self.facts.target);
            let stored = key.group_resource();
            let group_resource = served
                .as_ref()
                .map_or_else(|| stored.clone(), |served| served.api_type.group_resource());
            let admitted = self.selection.admits_either(&stored, &group_resource);
            self.types.push(TypeState {
                admitted,
                planned: PlannedType {
                    key: Arc::clone(key),
                    status: self.selection.restores_status(&stored, &group_resource),
                    modifiers: Vec::new(),
                    actions: Vec::new(),
                    excluded: !admitted,
                    never: derived::by_type(&group_resource),
                    group_resource,
                    convert: served.as_ref().and_then(|served| served.convert),
                    served: served.map(|served| served.api_type),
                    late: false,
                },
            });
            self.types.len() - 1
        });
        self.type_of.insert(pointer, at);
        at
    }

    /// Chooses what the spec asks for.
    fn choose_asked(&mut self) -> Result<(), Vec<String>> {
        let mut used = vec![false; self.selection.items().len()];
        for (at, entry) in self.facts.entries.iter().enumerate() {
            let index = self.type_index(&entry.type_key);
            let state = &self.types[index];
            if entry.outdated
                || !state.admitted
                || !self
                    .selection
                    .asks_for(entry, is_namespace(&entry.type_key))
            {
                continue;
            }
            if !self.is_an_item(&state.planned, entry, &mut used) {
                continue;
            }
            let reason = state
                .planned
                .never
                .or_else(|| derived::by_header(&state.planned.group_resource, entry));
            match reason {
                Some(reason) => {
                    let key = (state.planned.group_resource.clone(), reason);
                    *self.plan.left_out.entry(key).or_default() += 1;
                }
                None => self.chosen[at] = true,
            }
        }
        self.check_items(&used)
    }

    /// Returns whether an object is one of those that are asked for by name, if any are.
    fn is_an_item(&self, planned: &PlannedType, entry: &IndexEntry, used: &mut [bool]) -> bool {
        let items = self.selection.items();
        let mut found = items.is_empty();
        for (item, used) in items.iter().zip(used) {
            if item.matches(&planned.group_resource, entry)
                || (planned.convert.is_some() && item.matches(&planned.key.group_resource(), entry))
            {
                *used = true;
                found = true;
            }
        }
        found
    }

    /// Refuses items that match nothing, unless a restore of nothing is wanted.
    fn check_items(&mut self, used: &[bool]) -> Result<(), Vec<String>> {
        let idle: Vec<String> = self
            .selection
            .items()
            .iter()
            .zip(used)
            .filter(|(_, used)| !**used)
            .map(|(item, _)| {
                format!(
                    "included items: {:?} matches nothing that backup {} holds and the other filters let through",
                    item.text, self.facts.spec.backup_name
                )
            })
            .collect();
        if idle.is_empty() {
            return Ok(());
        }
        if self.facts.spec.allow_empty != Some(true) {
            return Err(idle);
        }
        for line in idle {
            self.plan.results.warnings.add_ark(line);
        }
        Ok(())
    }

    /// Adds what chosen objects need, as far as it is not left out by name.
    fn choose_needed(&mut self) {
        for (at, entry) in self.facts.entries.iter().enumerate() {
            if !self.facts.needed.contains(&at) {
                continue;
            }
            let index = self.type_index(&entry.type_key);
            let state = &self.types[index];
            let full = &state.planned.group_resource;
            let refused = self.selection.excludes_type(full)
                || state.planned.never.is_some()
                || entry.namespace.is_none()
                    && self.selection.cluster_scoped == ClusterScoped::Nothing
                || derived::by_header(full, entry).is_some();
            self.chosen[at] |= !refused;
        }
    }

    /// Adds the volumes of chosen claims (case 23), and takes out those whose claims get new ones (cases 55, 56).
    fn choose_volumes(&mut self) {
        let mut entries: HashMap<&str, usize> = HashMap::new();
        let mut claims: HashSet<(&str, &str)> = HashSet::new();
        for (at, entry) in self.facts.entries.iter().enumerate() {
            if !entry.type_key.group.is_empty() {
                continue;
            }
            match (&*entry.type_key.resource, &entry.namespace) {
                ("persistentvolumes", None) => {
                    entries.insert(&entry.name, at);
                }
                ("persistentvolumeclaims", Some(namespace)) if self.chosen[at] => {
                    claims.insert((namespace, &entry.name));
                }
                _ => {}
            }
        }
        let may_add = self.selection.cluster_scoped != ClusterScoped::Nothing
            && self.selection.admits_type("persistentvolumes");
        let empty = self.facts.spec.empty_volumes == Some(true);
        let mut lost: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for volume in self.facts.volumes {
            let Some(&at) = entries.get(volume.name.as_str()) else {
                continue;
            };
            let claimed = volume.claim.as_ref().is_some_and(|(namespace, name)| {
                claims.contains(&(namespace.as_str(), name.as_str()))
            });
            self.chosen[at] |= claimed && may_add;
            let wanted = claimed || self.chosen[at];
            match self.facts.ways.get(&volume.name) {
                // The new one takes its place, whatever became of the old one.
                Some(Way::Volume) => continue,
                Some(Way::Claim) => {
                    self.plan.provisioned_anew.insert(volume.name.clone());
                    self.chosen[at] = false;
                    continue;
                }
                Some(Way::Lost(why)) => {
                    if wanted {
                        lost.entry(why).or_default().push(&volume.name);
                    }
                    if !empty {
                        // An empty one in its place would be taken for it.
                        if volume.deleted_with_claim {
                            self.plan.lost_volumes.insert(volume.name.clone());
                            self.chosen[at] = false;
                        }
                        continue;
                    }
                }
                None => {}
            }
            if volume.deleted_with_claim || (empty && volume.claim.is_some()) {
                self.plan.provisioned_anew.insert(volume.name.clone());
                self.plan.emptied.insert(volume.name.clone());
                self.chosen[at] = false;
            }
        }
        let instead = if empty {
            "so that their claims get new, empty volumes"
        } else {
            "and their claims get no other volume unless --empty-volumes says so"
        };
        for (why, names) in lost {
            self.plan.results.errors.cluster.push(format!(
                "persistentvolumes {}: their data is not brought back, {instead}: {why}",
                list_names(&names)
            ));
        }
    }

    /// Adds the definitions of chosen types that the target does not serve.
    fn choose_definitions(&mut self) {
        if self.selection.cluster_scoped == ClusterScoped::Nothing {
            return;
        }
        let mut used = vec![false; self.types.len()];
        for (_, entry) in self.chosen_entries() {
            if let Some(at) = self.type_of.get(&Arc::as_ptr(&entry.type_key)) {
                used[*at] = true;
            }
        }
        let wanted: HashSet<String> = self
            .types
            .iter()
            .zip(used)
            .filter(|(state, used)| *used && state.planned.served.is_none())
            .map(|(state, _)| {
                waves::definition_of(&state.planned.key.resource, &state.planned.key.group)
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        for (at, entry) in self.facts.entries.iter().enumerate() {
            let index = self.type_index(&entry.type_key);
            let state = &self.types[index];
            if state.admitted
                && !entry.outdated
                && waves::is_definition(&state.planned.group_resource)
                && wanted.contains(&*entry.name)
            {
                self.chosen[at] = true;
            }
        }
    }

    fn refuse_nothing(&self) -> Result<(), Vec<String>> {
        if self.facts.spec.allow_empty == Some(true) || self.chosen.contains(&true) {
            return Ok(());
        }
        let backup = &self.facts.spec.backup_name;
        let left_out: BTreeSet<&str> = self
            .plan
            .left_out
            .keys()
            .map(|(group_resource, _)| group_resource.as_str())
            .collect();
        Err(vec![if left_out.is_empty() {
            format!(
                "the selection matches nothing in backup {backup}; correct the namespaces, resources or selector, or \
                 accept an empty restore with --allow-empty (spec.allowEmpty)"
            )
        } else {
            let names: Vec<&str> = left_out.into_iter().collect();
            format!(
                "the selection matches nothing in backup {backup} but objects that the cluster makes itself ({}); \
                 correct the namespaces, resources or selector",
                list_names(&names)
            )
        }])
    }

    /// Takes out the objects of types that the target does not serve and will not, a line for each type (case 16).
    fn drop_unserved(&mut self) {
        let mut served_uids: HashSet<&str> = HashSet::new();
        let mut definitions: HashSet<&str> = HashSet::new();
        // Groups of aggregated APIs that may come up: those that do not answer now, and those of restored APIServices.
        let failed = self.facts.target.failed().iter();
        let mut coming: HashSet<&str> = failed.map(FailedGroup::group).collect();
        let mut unserved = Vec::new();
        for (at, entry) in self.chosen_entries() {
            let Some(&index) = self.type_of.get(&Arc::as_ptr(&entry.type_key)) else {
                continue;
            };
            let planned = &self.types[index].planned;
            if waves::is_definition(&planned.group_resource) {
                definitions.insert(&entry.name);
            }
            if planned.group_resource == API_SERVICES
                && let Some((_version, group)) = entry.name.split_once('.')
            {
                coming.insert(group);
            }
            match &planned.served {
                // Of another scope than it was: no path leads there.
                Some(served) if waves::same_scope(served, entry.namespace.as_deref()) => {
                    served_uids.insert(&entry.uid);
                }
                Some(_) | None => unserved.push((at, index)),
            }
        }
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for (at, index) in unserved {
            let planned = &self.types[index].planned;
            let definition = waves::definition_of(&planned.key.resource, &planned.key.group);
            if planned.served.is_none() && definitions.contains(definition.as_str()) {
                continue;
            }
            if planned.served.is_none() && coming.contains(planned.key.group.as_str()) {
                self.types[index].planned.late = true;
                continue;
            }
            self.chosen[at] = false;
            let uid = &*self.facts.entries[at].uid;
            // One object in two groups is restored in the one that is served (case 86).
            if uid.is_empty() || !served_uids.contains(uid) {
                *counts.entry(index).or_default() += 1;
            }
        }
        for (index, count) in counts {
            let line = unserved_line(&self.types[index].planned, count, self.facts.target);
            self.plan.results.errors.add_ark(line);
        }
    }

    /// Of one object that is stored in two groups, of which one has to be converted, takes that one out (case 86).
    fn drop_doubles(&mut self) {
        let targets: HashSet<&str> = self
            .types
            .iter()
            .filter(|state| state.planned.convert.is_some())
            .map(|state| state.planned.group_resource.as_str())
            .collect();
        if targets.is_empty() {
            return;
        }
        let mut kept: HashSet<(&str, Option<&str>, &str)> = HashSet::new();
        let mut converted = Vec::new();
        for (at, entry) in self.chosen_entries() {
            let Some(&index) = self.type_of.get(&Arc::as_ptr(&entry.type_key)) else {
                continue;
            };
            let planned = &self.types[index].planned;
            let name = planned.group_resource.as_str();
            let place = (name, entry.namespace.as_deref(), &*entry.name);
            if planned.convert.is_some() {
                converted.push((at, place));
            } else if targets.contains(name) {
                kept.insert(place);
            }
        }
        let doubles: Vec<usize> = converted
            .into_iter()
            .filter(|(_, place)| !kept.insert(*place))
            .map(|(at, _)| at)
            .collect();
        for at in doubles {
            self.chosen[at] = false;
        }
    }

    /// Orders what is chosen.
    pub(super) fn finish(mut self, priorities: &[String]) -> RestorePlan {
        let waves_of: Vec<usize> = self
            .types
            .iter()
            .map(|state| waves::wave(&state.planned.group_resource, priorities))
            .collect();
        let jobs: HashSet<&str> = self
            .chosen_entries()
            .filter(|(_, entry)| {
                entry.type_key.resource == "jobs" && entry.type_key.group == "batch"
            })
            .map(|(_, entry)| &*entry.uid)
            .filter(|uid| !uid.is_empty())
            .collect();
        let mut places = self.tie_owners(&waves_of);
        let mut waves: BTreeMap<order::Place, Vec<Step>> = BTreeMap::new();
        let mut items: BTreeMap<&str, u64> = BTreeMap::new();
        for (at, entry) in self.chosen_entries() {
            if is_namespace(&entry.type_key) {
                items.entry(&entry.name).or_default();
                continue;
            }
            if let Some(namespace) = &entry.namespace {
                *items.entry(namespace).or_default() += 1;
            }
            let Some(&index) = self.type_of.get(&Arc::as_ptr(&entry.type_key)) else {
                continue;
            };
            let place = places.remove(&at).unwrap_or((waves_of[index], 0));
            waves.entry(place).or_default().push(Step {
                entry: at,
                planned_type: index,
                wave: 0,
                job_restored: entry
                    .owners
                    .iter()
                    .any(|owner| jobs.contains(owner.as_str())),
            });
        }
        let namespaces = self.namespace_steps(&items);
        self.plan.namespaces = namespaces;
        self.plan.has_definitions = waves.contains_key(&(0, 0));
        self.plan.waves = waves.into_values().collect();
        for (at, wave) in self.plan.waves.iter_mut().enumerate() {
            for step in wave {
                step.wave = at;
            }
        }
        self.plan.scope = self.selection.scope();
        self.plan.types = self.types.into_iter().map(|state| state.planned).collect();
        self.plan
    }

    /// Finds the owners among what is chosen, and the places of those whom that moves.
    fn tie_owners(&mut self, waves_of: &[usize]) -> HashMap<usize, order::Place> {
        let owned: HashSet<&str> = self
            .chosen_entries()
            .flat_map(|(_, entry)| entry.owners.iter().map(String::as_str))
            .collect();
        if owned.is_empty() {
            return HashMap::new();
        }
        let index_of =
            |entry: &IndexEntry| self.type_of.get(&Arc::as_ptr(&entry.type_key)).copied();
        let owners: HashMap<&str, (usize, usize)> = self
            .chosen_entries()
            .filter(|(_, entry)| owned.contains(&*entry.uid) && !is_namespace(&entry.type_key))
            .filter_map(|(at, entry)| Some((&*entry.uid, (at, index_of(entry)?))))
            .collect();
        let mut places = HashMap::new();
        let mut ties = Vec::new();
        let mut planned = HashMap::new();
        for (at, entry) in self.chosen_entries() {
            let Some(index) = index_of(entry) else {
                continue;
            };
            for uid in entry.owners.iter() {
                let Some(&(owner, owner_index)) = owners.get(uid.as_str()) else {
                    continue;
                };
                let owner_type = &self.types[owner_index].planned;
                let dependent = &self.types[index].planned.group_resource;
                let key = &owner_type.key;
                if owner == at || owners::adopts((&key.group, &key.kind), dependent) {
                    continue;
                }
                places.insert(owner, (waves_of[owner_index], 0));
                places.insert(at, (waves_of[index], 0));
                ties.push(order::Tie {
                    owner,
                    dependent: at,
                    workload: owners::is_workload(&owner_type.group_resource),
                });
                let owner = owners::PlannedOwner {
                    planned_type: owner_index,
                };
                planned.insert(uid.as_str().into(), owner);
            }
        }
        self.plan.owners = planned;
        order::order(&mut places, &ties);
        places
    }

    fn namespace_steps(&self, items: &BTreeMap<&str, u64>) -> Vec<NamespaceStep> {
        let stored: HashMap<&str, usize> = self
            .facts
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_namespace(&entry.type_key))
            .map(|(at, entry)| (&*entry.name, at))
            .collect();
        items
            .iter()
            .map(|(original, items)| NamespaceStep {
                target: self
                    .facts
                    .spec
                    .namespace_mapping
                    .get(*original)
                    .map_or_else(|| (*original).to_owned(), Clone::clone),
                entry: stored.get(original).copied(),
                items: *items,
            })
            .collect()
    }
}

/// Says that the objects of a type are not restored, and why.
pub(in crate::restore) fn unserved_line(
    planned: &PlannedType,
    count: u64,
    target: &Discovery,
) -> String {
    let name = &planned.group_resource;
    let what = format!(
        "{name}: {count} object{} in version {} not restored",
        if count == 1 { "" } else { "s" },
        planned.key.version
    );
    if let Some(says) = convert::gone(&planned.key) {
        return format!("{what}: {says}");
    }
    let group = &planned.key.group;
    if let Some(failed) = target
        .failed()
        .iter()
        .find(|failed| failed.group() == group)
    {
        return format!(
            "{what}: API group {}: {}",
            failed.group_version, failed.reason
        );
    }
    if planned.served.is_some() {
        return format!(
            "{what}: this cluster serves the type in another scope or not for creating"
        );
    }
    format!(
        "{what}: this cluster does not serve the type in any version, and the restore does not include a definition \
         of it"
    )
}
