//! What a restore will do: from the backup's index, the spec and what the target offers, a [`RestorePlan`]. Pure.

mod order;
mod planner;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::api::{RestoreSpec, Results};
use crate::archive::{IndexEntry, TypeKey};
use crate::cluster::{ApiType, Discovery};

use self::planner::Planner;
pub(super) use self::planner::unserved_line;
use super::convert::{self, Convert};
use super::owners::PlannedOwner;
use super::rules::Told;
use super::select::{self, Contents, Scope, is_namespace};
use super::volumes::Way;

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "9",
        about: "nodes, events, CSI nodes, volume attachments, backups and restores of Ark and Velero, repositories of Velero",
        says: "never restored; asking for them is refused",
    },
    Told {
        cases: "22",
        about: "every filter",
        says: "looks at the original namespace",
    },
    Told {
        cases: "23",
        about: "cluster-scoped objects",
        says: "all without a namespace filter; with one, what chosen objects need (volumes of claims, definitions of types); `--include-cluster-resources` decides otherwise",
    },
    Told {
        cases: "24, 85",
        about: "a request that contradicts itself, names what nobody has, or matches nothing",
        says: "refused before anything is made",
    },
    Told {
        cases: "16",
        about: "a type that the target does not serve",
        says: "one line with its number of objects, before anything is made, unless its API may come up meanwhile",
    },
    Told {
        cases: "17",
        about: "a type that the target serves in another version",
        says: "restored in that one; fields that it does not have are an error of the object",
    },
    Told {
        cases: "86",
        about: "one object in two groups",
        says: "restored once",
    },
];

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The objects of the backup.
    pub(super) entries: &'a [IndexEntry],
    /// The persistent volumes among them.
    pub(super) volumes: &'a [Volume],
    /// The places of what chosen objects need, if that is to be restored.
    pub(super) needed: &'a HashSet<usize>,
    /// What is asked for.
    pub(super) spec: &'a RestoreSpec,
    /// What the target offers.
    pub(super) target: &'a Discovery,
    /// How the data of volumes comes back, by their name, of those that had some saved.
    pub(super) ways: &'a BTreeMap<String, Way>,
    /// Types to restore first.
    pub(super) priorities: &'a [String],
}

/// What the plan has to know of a persistent volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Volume {
    /// Its name.
    pub(super) name: String,
    /// Whether it goes when its claim goes.
    pub(super) deleted_with_claim: bool,
    /// Its labels.
    pub(super) labels: BTreeMap<String, serde_json::Value>,
    /// Namespace and name of its claim.
    pub(super) claim: Option<(String, String)>,
}

/// Ordered steps, and what is left out.
#[derive(Debug, Default)]
pub(super) struct RestorePlan {
    /// The types of the steps.
    pub(super) types: Vec<PlannedType>,
    /// The namespaces to make sure of, before any wave.
    pub(super) namespaces: Vec<NamespaceStep>,
    /// The waves; the definitions, if there are any, are the first.
    pub(super) waves: Vec<Vec<Step>>,
    /// Whether the first wave is definitions.
    pub(super) has_definitions: bool,
    /// Those of the objects that own others, by their stored UID.
    pub(super) owners: HashMap<Box<str>, PlannedOwner>,
    /// Volumes that are not restored, since their claims get new ones.
    pub(super) provisioned_anew: HashSet<String>,
    /// Those of them whose data does not come back.
    pub(super) emptied: HashSet<String>,
    /// Those whose data is lost, and that are not restored without it.
    pub(super) lost_volumes: HashSet<String>,
    /// Where the request's objects are, for those that item actions name.
    pub(super) scope: Scope,
    /// What is left out in silence: number of objects by type and reason.
    pub(super) left_out: BTreeMap<(String, &'static str), u64>,
    /// What is known before the start.
    pub(super) results: Results,
}

impl RestorePlan {
    /// Returns the number of objects and namespaces to deal with.
    pub(super) fn items(&self) -> u64 {
        let steps: usize = self.waves.iter().map(Vec::len).sum();
        (self.namespaces.len() + steps) as u64
    }

    /// Returns the places in the index of everything that is to be read.
    pub(super) fn places(&self) -> Vec<usize> {
        let namespaces = self.namespaces.iter().filter_map(|step| step.entry);
        let steps = self.waves.iter().flatten().map(|step| step.entry);
        namespaces.chain(steps).collect()
    }
}

/// A type of which objects are restored.
#[derive(Clone, Debug)]
pub(super) struct PlannedType {
    /// The type in the backup.
    pub(super) key: Arc<TypeKey>,
    /// Its full name in the target.
    pub(super) group_resource: String,
    /// The type in the target; `None` while its definition is still to be restored, or its API is not up.
    pub(super) served: Option<Arc<ApiType>>,
    /// Whether it is of an aggregated API that is not up, but may be while the restore goes on.
    pub(super) late: bool,
    /// How its objects are turned into that, where they are of a version that is not served.
    pub(super) convert: Option<Convert>,
    /// Whether its objects are to have their status back.
    pub(super) status: bool,
    /// The resource modifiers that are for it, by their numbers.
    pub(super) modifiers: Vec<usize>,
    /// The item actions that may be for its objects, by their numbers.
    pub(super) actions: Vec<usize>,
    /// Whether the request's filters leave its objects out.
    pub(super) excluded: bool,
    /// Why none of its objects is ever restored, if so.
    pub(super) never: Option<&'static str>,
}

impl PlannedType {
    /// Finds what to restore it as among what the target offers now.
    pub(super) fn look_up(&mut self, target: &Discovery) {
        let served = serve(&self.key, target);
        self.convert = served.as_ref().and_then(|served| served.convert);
        self.served = served.map(|served| served.api_type);
    }
}

/// An object to restore.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Step {
    /// Which of the index's entries.
    pub(super) entry: usize,
    /// Which of [`RestorePlan::types`].
    pub(super) planned_type: usize,
    /// Which of [`RestorePlan::waves`].
    pub(super) wave: usize,
    /// Whether a Job that owns it is restored too.
    pub(super) job_restored: bool,
}

/// A namespace to make sure of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NamespaceStep {
    /// Its name in the target.
    pub(super) target: String,
    /// The stored Namespace; `None` if the backup has none (case 21).
    pub(super) entry: Option<usize>,
    /// How many objects go into it.
    pub(super) items: u64,
}

/// What a stored type is restored as.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// The type in the target.
    pub(super) api_type: Arc<ApiType>,
    /// How its objects are turned into that, where they are of a version that is not served.
    pub(super) convert: Option<Convert>,
}

/// Finds what to restore a type as: the stored version, else what a rule converts it to, else the version that the
/// target prefers.
pub(super) fn serve(key: &TypeKey, target: &Discovery) -> Option<Served> {
    let creatable =
        |api_type: &&Arc<ApiType>| api_type.verbs.is_empty() || api_type.allows(&["create"]);
    let as_it_is = |api_type: &Arc<ApiType>| Served {
        api_type: Arc::clone(api_type),
        convert: None,
    };
    if let Some(stored) = target
        .served(&key.group, &key.version, &key.resource)
        .filter(creatable)
    {
        return Some(as_it_is(stored));
    }
    if let Some(route) = convert::route(key)
        && let Some(new) = target
            .served(route.to.0, route.to.1, &key.resource)
            .filter(creatable)
    {
        return Some(Served {
            api_type: Arc::clone(new),
            convert: Some(route.convert),
        });
    }
    target
        .by_group_resource(&key.group_resource())
        .filter(creatable)
        .map(as_it_is)
}

/// Returns the places of the objects that the request asks for, without what these need.
///
/// # Errors
/// What is wrong with the request, a sentence each.
pub(super) fn asked(facts: &Facts<'_>) -> Result<Vec<usize>, Vec<String>> {
    let contents = Contents::of(facts.entries);
    let selection = select::select(facts.spec, &contents, facts.target)?;
    Planner::new(facts, selection).asked()
}

/// Makes the plan.
///
/// # Errors
/// What is wrong with the request, a sentence each.
pub(super) fn plan(facts: &Facts<'_>) -> Result<RestorePlan, Vec<String>> {
    let contents = Contents::of(facts.entries);
    let selection = select::select(facts.spec, &contents, facts.target)?;
    let mut planner = Planner::new(facts, selection);
    planner.choose()?;

    let restored: BTreeSet<&str> = planner
        .chosen_entries()
        .filter_map(|(_, entry)| original_namespace(entry))
        .collect();
    let (problems, idle) =
        select::check_mapping(&facts.spec.namespace_mapping, &restored, &contents);
    if !problems.is_empty() {
        return Err(problems);
    }
    for warning in idle {
        planner.plan.results.warnings.add_ark(warning);
    }
    let priorities = resolve_priorities(facts, &contents);
    Ok(planner.finish(&priorities))
}

/// Returns the namespace that an object is in, or is.
fn original_namespace(entry: &IndexEntry) -> Option<&str> {
    match &entry.namespace {
        Some(namespace) => Some(namespace),
        None if is_namespace(&entry.type_key) => Some(&entry.name),
        None => None,
    }
}

fn resolve_priorities(facts: &Facts<'_>, contents: &Contents<'_>) -> Vec<String> {
    let mut priorities: Vec<String> = Vec::new();
    for name in facts.priorities {
        let found = contents.resolve(name, facts.target);
        if found.is_empty() {
            // A server's setting names types that one backup or another does not have.
            tracing::debug!(%name, "a type to restore first is not known");
        }
        for full in found {
            if !priorities.contains(&full) {
                priorities.push(full);
            }
        }
    }
    priorities
}

#[cfg(test)]
mod tests;
