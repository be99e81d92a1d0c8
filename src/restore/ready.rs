//! Makes a restore ready: its plan, and what else is made of the request before anything is written.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::actions::{self, ItemActions};
use super::modifiers::Modifiers;
use super::open::Opened;
use super::plan::{self, RestorePlan};
use super::select::Contents;
use super::volumes::{self, OldVolume, Sources};
use super::{RestoreError, RestoreOptions, RestoreRequest, ahead};
use crate::cluster::{Cluster, Discovery};

/// A plan, and what else is made of the request beforehand.
pub(super) struct Planned {
    pub(super) plan: RestorePlan,
    pub(super) modifiers: Modifiers,
    pub(super) references: BTreeMap<String, Vec<String>>,
    pub(super) sources: Sources,
    /// What the volumes of claims were like, by the claims' original namespace and name.
    pub(super) old_volumes: HashMap<(String, String), OldVolume>,
    pub(super) actions: ItemActions,
}

/// Makes the plan, and checks the rest of the request. Nothing is written.
pub(super) async fn make_plan(
    cluster: &Cluster,
    request: &RestoreRequest,
    actions: &actions::Run,
    options: &RestoreOptions,
    opened: &Opened,
    target: &Discovery,
) -> Result<Planned, RestoreError> {
    let failed = |reason: String| RestoreError::Failed {
        reason,
        results: Box::default(),
    };
    let spec = request.spec();
    let read = ahead::read_volumes(opened).await.map_err(failed)?;
    if spec.restore_pvs == Some(true) && request.snapshotters.locations().is_empty() {
        return Err(RestoreError::Refused(vec![
            "restorePVs is true, but there is no snapshot location to restore volumes from; make one with `ark \
             snapshot-location create`"
                .to_owned(),
        ]));
    }
    let nothing = HashSet::new();
    let (ways, mut sources) = volumes::ways(
        opened.volumes(),
        spec,
        (request.name(), request.uid()),
        &request.snapshotters,
    );
    sources.renamed = volumes::look_for_copies(cluster, &read, spec, &sources).await;
    let mut planning = plan::Facts {
        entries: opened.entries(),
        volumes: &read,
        needed: &nothing,
        spec,
        target,
        ways: &ways,
        priorities: &options.priorities,
    };
    let needed = match spec.with_dependencies {
        Some(true) => {
            let asked = plan::asked(&planning).map_err(RestoreError::Refused)?;
            ahead::read_needs(opened, asked).await.map_err(failed)?
        }
        _ => HashSet::new(),
    };
    planning.needed = &needed;
    let mut plan = plan::plan(&planning).map_err(RestoreError::Refused)?;
    let contents = Contents::of(opened.entries());
    let modifiers = Modifiers::read(spec.resource_modifiers.as_ref(), &contents, target)
        .map_err(RestoreError::Refused)?;
    for planned in &mut plan.types {
        let stored = planned.key.group_resource();
        planned.modifiers = modifiers.for_type(&stored, &planned.group_resource);
    }
    let references =
        ahead::references(spec, &contents, target, &plan.types).map_err(RestoreError::Refused)?;
    ahead::check_classes(cluster, spec, &plan, opened)
        .await
        .map_err(RestoreError::Refused)?;
    let targets = ahead::check_targets(cluster, spec).await;
    for warning in targets.iter().chain(opened.doubts()) {
        plan.results.warnings.add_ark(warning.clone());
    }
    let asked = &request.actions.actions;
    let actions = ItemActions::ask(asked, actions, &mut plan, &contents, target).await;
    Ok(Planned {
        plan,
        modifiers,
        actions,
        references,
        sources,
        old_volumes: ahead::old_volumes(read),
    })
}
