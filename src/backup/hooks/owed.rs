//! Post hooks that a server which died still owed: whatever else becomes of its run, a frozen file system must thaw.

use futures::{StreamExt as _, stream};

use super::run::{PODS_AT_ONCE, PodRunner};
use super::{HookNotes, Rules};
use crate::api::{Backup, HookErrorMode, HookOwed};
use crate::cluster::{ApiType, Cluster, ClusterError, Item, ItemHeader};

/// Runs the post hooks that a Backup's status says are owed, each once. What fails becomes a warning.
///
/// A pod that has taken the place and name of the one that was hooked gets them too: it has the same volumes.
///
/// # Errors
/// The cluster could not be asked about the pods: nothing is settled, try again later.
pub async fn run_owed(cluster: &Cluster, backup: &Backup) -> Result<HookNotes, ClusterError> {
    let owed = backup
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.hooks_owed);
    let discovery = cluster.discover().await?;
    let Some(pods) = discovery.by_group_resource("pods") else {
        return Ok(HookNotes::default());
    };
    // What is wrong with the rules is told by the run that follows.
    let (rules, _) = Rules::new(&backup.spec.hooks, &discovery);
    let mut notes = HookNotes::default();
    let mut done = stream::iter(owed.to_vec())
        .map(async |owed| run_for(cluster, pods, &rules, &owed).await)
        .buffer_unordered(PODS_AT_ONCE);
    let mut unsettled = None;
    while let Some(one) = done.next().await {
        match one {
            Ok(one) => {
                notes.counts.add(one.counts);
                notes.results.merge(one.results);
            }
            Err(error) => unsettled = Some(error),
        }
    }
    match unsettled {
        None => Ok(notes),
        Some(error) => Err(error),
    }
}

async fn run_for(
    cluster: &Cluster,
    pods: &ApiType,
    rules: &Rules,
    owed: &HookOwed,
) -> Result<HookNotes, ClusterError> {
    let HookOwed { namespace, pod } = owed;
    let mut notes = HookNotes::default();
    let body = cluster.get(pods, Some(namespace), pod).await?;
    let item = body.and_then(|body| {
        let header = ItemHeader::parse(&body).ok()?;
        Some(Item { header, body })
    });
    let hooks = item.as_ref().and_then(|item| rules.of(item));
    match hooks {
        Some(mut hooks) if hooks.running => {
            // The backup that they belonged to is lost already: no pod is left out because of them.
            for hook in &mut hooks.post {
                hook.on_error = HookErrorMode::Continue;
            }
            tracing::info!(
                namespace,
                pod,
                "running the post hooks that a server which died owed"
            );
            let mut runner = PodRunner {
                cluster,
                pod: owed,
                containers: &hooks.containers,
                notes: &mut notes,
            };
            runner.run_post(&hooks.post).await;
        }
        Some(_) | None => {
            let why = if item.is_none() {
                "it is gone"
            } else if hooks.is_none() {
                "it has no hooks any more"
            } else {
                "it does not run"
            };
            tracing::warn!(
                namespace,
                pod,
                why,
                "the post hooks of a pod are owed and cannot run"
            );
            notes.results.warnings.add(
                Some(namespace),
                format!("pods {pod}: post hooks that a server which died owed cannot run: {why}"),
            );
        }
    }
    Ok(notes)
}
