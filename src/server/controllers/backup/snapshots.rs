//! The snapshots of a Backup: which locations they go to, and what is done about those that no record names.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Backups, decide};
use crate::api::{Backup, BackupPhase, SnapshotNote, VolumePolicies, labels};
use crate::server::controllers::config_map;
use crate::server::controllers::dispatch::{Controller as _, Outcome};
use crate::server::engines;
use crate::server::status::Read;

/// The field of a Backup's status that lists them.
pub(super) const SNAPSHOTS_PENDING: &str = "snapshotsPending";

/// What policies are called in problems.
const POLICIES: &str = "resource policy";

/// Why the volume policies that a Backup names are not in it.
pub(super) enum Unruled {
    /// They cannot be used.
    Problem(String),
    /// They could not be written.
    Unwritten(Outcome),
}

/// Returns the name of the ConfigMap that is to be read for a Backup, if there is one.
fn policies_of(backup: &Backup) -> Option<&str> {
    let new = backup
        .status
        .as_ref()
        .is_none_or(|status| status.phase == BackupPhase::New);
    let spec = &backup.spec;
    let reference = spec.resource_policy.as_ref().filter(|_| {
        new && backup.metadata.deletion_timestamp.is_none() && spec.volume_policies.is_none()
    });
    config_map::name_of(reference)
}

impl Backups {
    /// Writes the volume policies that a Backup names into it, if it names any.
    pub(super) async fn policies(
        &self,
        read: &Read<Backup>,
    ) -> Result<Option<Box<Read<Backup>>>, Unruled> {
        let Some(name) = policies_of(&read.object) else {
            return Ok(None);
        };
        let namespace = read.object.metadata.namespace.as_deref();
        let cluster = &self.context.cluster;
        let policies: VolumePolicies =
            config_map::read(cluster, namespace.unwrap_or_default(), name, POLICIES)
                .await
                .map_err(Unruled::Problem)?;
        let patch = json!({
            "metadata": {"annotations": {labels::VOLUME_POLICIES: name}},
            "spec": {"resourcePolicy": null, "volumePolicies": policies},
        });
        match read.patch(&self.context.apis.backups, patch).await {
            Ok(read) => Ok(Some(Box::new(read))),
            Err(error) => Err(Unruled::Unwritten(Outcome::of_write(
                Self::KIND,
                &read.name,
                Err(error),
            ))),
        }
    }

    /// Chooses the snapshot locations of a new Backup; `None` while they are being looked at, and else why they cannot be
    /// chosen, a sentence each.
    pub(super) async fn choose_snapshot_locations(
        &self,
        backup: &Backup,
    ) -> Result<Option<Result<Vec<String>, Vec<String>>>, Outcome> {
        let world = self.context.world.borrow().clone();
        if world.snapshots_are_pending() {
            return Ok(None);
        }
        let providers = world.snapshot_providers();
        // One that was made a moment ago may not have been told of yet.
        for name in &backup.spec.volume_snapshot_locations {
            if providers.contains_key(name) {
                continue;
            }
            let found = self.context.apis.snapshot_locations.get_opt(name).await;
            let found = found.map_err(|error| {
                tracing::warn!(location = name, %error, "cannot read a snapshot location");
                Outcome::Retry
            })?;
            if found.is_some() {
                return Err(Outcome::Retry);
            }
        }
        let defaults: BTreeMap<String, String> = world.default_snapshot_locations();
        Ok(Some(decide::choose_snapshot_locations(
            backup, &providers, &defaults,
        )))
    }

    /// Removes the snapshots that a Backup's status notes; returns the notes of those that could not be removed.
    pub(super) async fn remove_pending(&self, backup: &Backup) -> Vec<SnapshotNote> {
        let snapshotters = self.context.snapshotters(None);
        let left = engines::remove_pending_snapshots(&snapshotters, backup).await;
        left.into_iter()
            .map(|(note, problem)| {
                let name = backup.metadata.name.as_deref();
                tracing::warn!(
                    backup = name,
                    problem,
                    "a snapshot that no record names stays"
                );
                note
            })
            .collect()
    }
}
