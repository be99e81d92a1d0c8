//! Removes snapshots that no record names and that could not be removed when their backup ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::api::error::chain;
use crate::api::{Backup, BackupPhase};
use crate::server::engines;
use crate::server::leader::{Standing, Term};
use crate::server::status;

/// How often they are looked for.
const PERIOD: Duration = Duration::from_hours(1);

/// Removes until the term is over or `stopping` is cancelled.
pub(crate) async fn run(
    context: Arc<Context>,
    term: Term,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = remove(&context, &term) => match ended? {},
        () = term.lost().cancelled() => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

async fn remove(context: &Context, term: &Term) -> anyhow::Result<Infallible> {
    loop {
        let next = context.clock.now().saturating_add(PERIOD)?;
        context.clock.sleep_until(next).await;
        let known = context.world.borrow().clone();
        if known.restore_only() || known.snapshots_are_pending() {
            continue;
        }
        let cluster = context.cluster_id.as_str();
        let owing = context.watched.backups.select(|entry| {
            let backup = entry.object.as_ref();
            backup.is_ok_and(|backup| owes(backup, cluster))
        });
        for (name, entry) in owing {
            if term.confirm().await != Standing::Held {
                break;
            }
            let Ok(backup) = entry.object else {
                continue;
            };
            let left =
                engines::remove_pending_snapshots(&context.snapshotters(None), &backup).await;
            let notes: Vec<_> = left
                .into_iter()
                .map(|(note, problem)| {
                    tracing::warn!(
                        backup = name,
                        problem,
                        "a snapshot that no record names stays"
                    );
                    note
                })
                .collect();
            let fields = json!({"snapshotsPending": notes});
            let api = &context.apis.backups;
            if let Err(error) = status::patch_fields(api, &name, &entry.uid, fields).await {
                tracing::warn!(
                    backup = name,
                    error = chain(&error),
                    "it could not be noted that snapshots are removed"
                );
            }
        }
    }
}

/// Returns whether a Backup of this cluster has ended and notes snapshots that are to be removed.
fn owes(backup: &Backup, cluster: &str) -> bool {
    backup.status.as_ref().is_some_and(|status| {
        status.phase.is_terminal()
            && status.phase != BackupPhase::Deleting
            && !status.snapshots_pending.is_empty()
            // Another cluster's are removed there, where they were asked for.
            && status.cluster_id.as_deref().is_none_or(|id| id == cluster)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BackupStatus, SnapshotNote};

    #[test]
    fn only_what_has_ended_here_owes() {
        for (phase, notes, cluster, expected) in [
            (BackupPhase::Failed, 1, Some("here"), true),
            (BackupPhase::PartiallyFailed, 1, Some("here"), true),
            (BackupPhase::FailedValidation, 1, None, true),
            (BackupPhase::Failed, 0, Some("here"), false),
            (BackupPhase::Completed, 1, Some("there"), false),
            (BackupPhase::InProgress, 1, Some("here"), false),
            (BackupPhase::Deleting, 1, Some("here"), false),
        ] {
            let backup = Backup {
                status: Some(BackupStatus {
                    phase: phase.clone(),
                    snapshots_pending: vec![SnapshotNote::default(); notes],
                    cluster_id: cluster.map(str::to_owned),
                    ..BackupStatus::default()
                }),
                ..Backup::default()
            };
            assert_eq!(
                owes(&backup, "here"),
                expected,
                "{phase} {notes} {cluster:?}"
            );
        }
    }
}
