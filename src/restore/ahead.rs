//! What a restore finds out before it plans, or before it writes: whose volumes are whose, what objects need, whether what
//! the request names is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;

use crate::api::{self, labels, names};
use crate::archive::IndexEntry;
use crate::cluster::{ApiType, Cluster, Discovery, NamespaceState};

use super::open::Opened;
use super::plan::{PlannedType, RestorePlan, Volume};
use super::select::Contents;
use super::transform::Facts;
use super::volumes::OldVolume;
use super::{RestoreRequest, needs};
use crate::api::object::{self, Object};

/// Returns what the rules know beyond an object.
pub(super) fn facts(request: &RestoreRequest, plan: &mut RestorePlan) -> Facts {
    let spec = request.spec();
    let marks = if spec.label_restored == Some(false) {
        Vec::new()
    } else {
        let restore = names::label_value(request.name());
        vec![
            (labels::RESTORE, restore.clone()),
            (labels::RESTORE_NAME, restore),
            (labels::BACKUP_NAME, names::label_value(&spec.backup_name)),
        ]
    };
    Facts {
        namespace_mapping: spec.namespace_mapping.clone(),
        marks,
        provisioned_anew: std::mem::take(&mut plan.provisioned_anew),
        storage_classes: spec.storage_class_mapping.clone(),
        preserve_node_ports: spec.preserve_node_ports == Some(true),
        references: BTreeMap::new(),
        renamed_volumes: HashMap::new(),
    }
}

/// Returns the paths that follow the namespace mapping, by type: by its name in the target, by which it is looked up, too
/// where the request has it by its name in the backup.
///
/// # Errors
/// A sentence for each type that nobody knows.
pub(super) fn references(
    spec: &api::RestoreSpec,
    contents: &Contents<'_>,
    target: &Discovery,
    types: &[PlannedType],
) -> Result<BTreeMap<String, Vec<String>>, Vec<String>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    for reference in &spec.namespace_references {
        let found = contents.resolve(&reference.resource, target);
        if found.is_empty() {
            problems.push(format!(
                "namespace references: {:?} names no type, neither in the backup nor in this cluster; correct or remove it",
                reference.resource
            ));
        }
        for name in found {
            paths
                .entry(name)
                .or_default()
                .insert(reference.path.clone());
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for planned in types {
        // Each path once: followed twice, namespaces that change places would be back at the start.
        if let Some(stored) = paths.get(&planned.key.group_resource()).cloned() {
            paths
                .entry(planned.group_resource.clone())
                .or_default()
                .extend(stored);
        }
    }
    let listed = |(name, paths): (_, BTreeSet<String>)| (name, paths.into_iter().collect());
    Ok(paths.into_iter().map(listed).collect())
}

/// Checks that the storage classes that take the place of others are there, or come with the restore (case 60).
pub(super) async fn check_classes(
    cluster: &Cluster,
    spec: &api::RestoreSpec,
    plan: &RestorePlan,
    opened: &Opened,
) -> Result<(), Vec<String>> {
    const CLASSES: &str = "storageclasses.storage.k8s.io";
    let comes = |class: &str| {
        let mut steps = plan.waves.iter().flatten();
        steps.any(|step| {
            plan.types[step.planned_type].group_resource == CLASSES
                && *opened.entries()[step.entry].name == *class
        })
    };
    let classes = ApiType {
        group: "storage.k8s.io".to_owned(),
        version: "v1".to_owned(),
        resource: "storageclasses".to_owned(),
        ..ApiType::default()
    };
    let mut problems = Vec::new();
    let wanted: BTreeSet<&String> = spec.storage_class_mapping.values().collect();
    for class in wanted.into_iter().filter(|class| !comes(class)) {
        match cluster.get(&classes, None, class).await {
            Ok(Some(_)) => {}
            Ok(None) => problems.push(format!(
                "storage class mapping: this cluster has no storage class {class}, and the restore brings none"
            )),
            Err(error) => problems.push(format!("storage class mapping: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Returns a warning for each namespace that others are mapped onto and that is being deleted.
pub(super) async fn check_targets(cluster: &Cluster, spec: &api::RestoreSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    for (from, to) in &spec.namespace_mapping {
        // What cannot be asked is met when the namespace is made.
        if let Ok(Some(NamespaceState::Terminating)) = cluster.namespace_state(to).await {
            warnings.push(format!(
                "namespace mapping: {to}, onto which {from} is mapped, is being deleted; the restore waits until it is \
                 gone, and makes it anew"
            ));
        }
    }
    warnings
}

/// Finds what objects need, and what that needs, by reading those of types that name others.
pub(super) async fn read_needs(
    opened: &Opened,
    asked: Vec<usize>,
) -> Result<HashSet<usize>, String> {
    let entries = opened.entries();
    let types: HashMap<usize, String> = entries
        .iter()
        .map(|entry| (Arc::as_ptr(&entry.type_key).addr(), &entry.type_key))
        .collect::<HashMap<_, _>>()
        .into_iter()
        .map(|(place, key)| (place, needs::known_as(key)))
        .collect();
    let type_of = |entry: &IndexEntry| types[&Arc::as_ptr(&entry.type_key).addr()].as_str();
    // Of an object that stands there again the last one counts.
    let places: HashMap<(&str, Option<&str>, &str), usize> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            (
                (type_of(entry), entry.namespace.as_deref(), &*entry.name),
                at,
            )
        })
        .collect();
    let mut known: HashSet<usize> = asked.iter().copied().collect();
    let mut needed = HashSet::new();
    let mut next = asked;
    while !next.is_empty() {
        next.retain(|at| needs::NAMING.contains(&type_of(&entries[*at])));
        let mut frames = std::pin::pin!(opened.bodies(std::mem::take(&mut next)));
        while let Some(frame) = frames.next().await {
            for (at, body) in frame.map_err(|(_, error)| error.to_string())? {
                let entry = &entries[at];
                let object: Object = serde_json::from_slice(&body.bytes)
                    .map_err(|error| format!("{}: {error}", entry.path()))?;
                for (of, name) in needs::of(type_of(entry), &object) {
                    let namespace = entry.namespace.as_deref();
                    let place = places
                        .get(&(of, namespace, name.as_str()))
                        .or_else(|| places.get(&(of, None, name.as_str())));
                    if let Some(place) = place
                        && known.insert(*place)
                    {
                        needed.insert(*place);
                        next.push(*place);
                    }
                }
            }
        }
    }
    Ok(needed)
}

/// Reads what the plan has to know of persistent volumes: the index does not say whose they are.
pub(super) async fn read_volumes(opened: &Opened) -> Result<Vec<Volume>, String> {
    let places = opened
        .entries()
        .iter()
        .enumerate()
        .filter(|(_, entry)| {
            entry.type_key.resource == "persistentvolumes"
                && entry.type_key.group.is_empty()
                && !entry.outdated
        })
        .map(|(place, _)| place)
        .collect();
    let mut frames = std::pin::pin!(opened.bodies(places));
    let mut volumes = Vec::new();
    while let Some(frame) = frames.next().await {
        let bodies = frame.map_err(|(_, error)| error.to_string())?;
        for (place, body) in bodies {
            let entry = &opened.entries()[place];
            let object: Object = serde_json::from_slice(&body.bytes)
                .map_err(|error| format!("persistentvolumes {}: {error}", entry.name))?;
            let claim = |key: &str| object::text(&object, &["spec", "claimRef", key]).to_owned();
            volumes.push(Volume {
                name: entry.name.to_string(),
                deleted_with_claim: object::text(
                    &object,
                    &["spec", "persistentVolumeReclaimPolicy"],
                ) == "Delete",
                labels: object::at(&object, &["metadata", "labels"])
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                claim: Some((claim("namespace"), claim("name")))
                    .filter(|(_, name)| !name.is_empty()),
            });
        }
    }
    Ok(volumes)
}

/// Returns what the volumes of claims were like, by the claims' namespace and name.
pub(super) fn old_volumes(volumes: Vec<Volume>) -> HashMap<(String, String), OldVolume> {
    let of_claims = volumes.into_iter().filter_map(|volume| {
        let old = OldVolume {
            name: volume.name,
            kept: !volume.deleted_with_claim,
            labels: volume.labels,
        };
        Some((volume.claim?, old))
    });
    of_claims.collect()
}
