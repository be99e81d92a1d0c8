//! What is found out before a run begins to write: what there is to back up, and whether that may be done.

use std::collections::BTreeSet;

use super::actions::ItemActions;
use super::hooks::Rules;
use super::read::{self, ReadLimits};
use super::select::{self, Selection};
use super::{BackupError, BackupRequest, collect, volumes};
use crate::api::Results;
use crate::cluster::{Cluster, ClusterError, Discovery};
use crate::storage::{Location, Run, RunMarker};

/// A run that may write.
pub(super) struct Begun {
    pub(super) discovery: Discovery,
    pub(super) namespaces: Namespaces,
    pub(super) selection: Selection,
    pub(super) hooks: Rules,
    /// Hooks that are for nothing; a sentence each.
    pub(super) idle_hooks: Vec<String>,
    pub(super) actions: ItemActions,
    /// Actions that take no part; a sentence each.
    pub(super) idle_actions: Vec<String>,
    pub(super) run: Run,
}

/// Finds out what there is to back up, and marks the run in the location.
pub(super) async fn begin(
    cluster: &Cluster,
    location: &Location,
    request: &BackupRequest,
    limits: ReadLimits,
) -> Result<Begun, BackupError> {
    let discovery = cluster.discover().await?;
    let namespaces = Namespaces::read(cluster, &discovery, limits).await?;
    let spec = &request.backup.spec;
    let (hooks, hook_problems) = Rules::new(&spec.hooks, &discovery);
    let selection = match select::select(spec, &discovery, &namespaces.names) {
        Ok(selection) if hook_problems.unknown.is_empty() => selection,
        Ok(_) => return Err(BackupError::Refused(hook_problems.unknown)),
        Err(mut problems) => {
            problems.extend(hook_problems.unknown);
            return Err(BackupError::Refused(problems));
        }
    };
    let can_snapshot = volumes::can_snapshot(&request.snapshotters, spec, &discovery);
    if spec.snapshot_volumes == Some(true) && !can_snapshot {
        return Err(BackupError::Refused(vec![
            "snapshotVolumes is true, but nothing here can snapshot a volume: there is no snapshot location (`ark \
             snapshot-location create` makes one), and the cluster serves no VolumeSnapshots"
                .to_owned(),
        ]));
    }
    let (actions, idle_actions) =
        ItemActions::ask(&request.actions, &request.backup, &discovery).await;
    let name = request.backup.metadata.name.clone().unwrap_or_default();
    let marker = RunMarker {
        attempt: request.attempt,
        backup_uid: request.backup.metadata.uid.clone().unwrap_or_default(),
        cluster_id: request.cluster_id.clone(),
        holder: request.holder.clone(),
        start_timestamp: request.start.to_string(),
    };
    match location.begin_run(&name, &marker).await {
        Ok(run) => Ok(Begun {
            discovery,
            namespaces,
            selection,
            hooks,
            idle_hooks: hook_problems.idle,
            actions,
            idle_actions,
            run,
        }),
        Err(error) if error.is_name_taken() => Err(BackupError::Refused(vec![error.to_string()])),
        Err(error) => Err(error.into()),
    }
}

/// The cluster's namespaces.
pub(super) struct Namespaces {
    pub(super) names: BTreeSet<String>,
    /// Those that carry a label which leaves them and their objects out.
    pub(super) excluded: BTreeSet<String>,
}

impl Namespaces {
    async fn read(
        cluster: &Cluster,
        discovery: &Discovery,
        limits: ReadLimits,
    ) -> Result<Self, ClusterError> {
        let mut namespaces = Self {
            names: BTreeSet::new(),
            excluded: BTreeSet::new(),
        };
        let Some(api_type) = discovery.by_group_resource("namespaces") else {
            return Ok(namespaces);
        };
        read::for_each(cluster, api_type, limits, |item| {
            if collect::is_excluded(&item.header) {
                namespaces.excluded.insert(item.header.name.clone());
            }
            namespaces.names.insert(item.header.name);
        })
        .await?;
        Ok(namespaces)
    }
}

/// Says what of the request does nothing, and which groups cannot be read.
pub(super) fn of_selection(selection: &Selection) -> Results {
    let mut results = Results::default();
    for name in &selection.idle_excludes {
        results
            .warnings
            .add_ark(format!("{name}; nothing was left out because of it"));
    }
    for failed in &selection.failed_groups {
        results.errors.add_ark(format!(
            "API group {}: {}; its objects, if it has any, are not in this backup. Mend the group, or exclude it with \
             --exclude-resources '*.{}'",
            failed.group_version,
            failed.reason,
            failed.group(),
        ));
    }
    results
}
