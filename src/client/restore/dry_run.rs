//! What a dry run found: waited for, fetched and shown.

use anyhow::anyhow;
use kube::ResourceExt;
use serde_json::json;

use crate::api::{PlanItem, Restore, RestorePhase, Results, duration};
use crate::client::context::Cluster;
use crate::client::download::Downloads;
use crate::client::flags::Format;
use crate::client::{Outcome, describe, output, watch};

/// How a dry run is shown.
pub(super) struct Show {
    /// As a document, in this format.
    pub(super) format: Option<Format>,
    /// With a line for each object.
    pub(super) details: bool,
    /// Whether the user chose the name, which is taken now.
    pub(super) named: bool,
}

/// Waits for the end of a dry run and shows what it found.
///
/// # Errors
/// The server does not begin, the Restore is deleted meanwhile, or what it found cannot be read.
pub(super) async fn show(
    cluster: &Cluster,
    downloads: &Downloads<'_>,
    created: &Restore,
    how: &Show,
) -> anyhow::Result<Outcome> {
    let name = created.name_any();
    let ended = wait(cluster, downloads, created).await?;
    let status = ended.status.clone().unwrap_or_default();
    let went_through = !matches!(
        status.phase,
        RestorePhase::Failed | RestorePhase::FailedValidation
    );
    let reasons: Vec<&String> = status
        .failure_reason
        .iter()
        .chain(&status.validation_errors)
        .collect();
    let (items, results) = if went_through {
        found(downloads, &ended).await?
    } else {
        Default::default()
    };
    let counts = status.counts.unwrap_or_default();
    match how.format {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let document = json!({
                "restore": name,
                "backup": ended.spec.backup_name,
                "phase": status.phase,
                "reasons": reasons,
                "counts": counts,
                "warnings": results.warnings,
                "errors": results.errors,
                "items": items,
            });
            if matches!(format, Format::Json) {
                output::line(&serde_json::to_string_pretty(&document)?)?;
            } else {
                output::text(&output::yaml(&document)?)?;
            }
        }
        Some(Format::Table) | None if went_through => {
            output::line(&format!(
                "Dry run \"{name}\" of a restore from backup {}:",
                output::one_line(&ended.spec.backup_name)
            ))?;
            output::text(&describe::plan(&counts, &items, &results, how.details)?)?;
            let other_name = if how.named {
                ", and under another name"
            } else {
                ""
            };
            output::line(&format!(
                "\nNothing was changed. To restore, give the same command without --dry-run{other_name}."
            ))?;
        }
        Some(Format::Table) | None => {
            output::line(&format!("The dry run \"{name}\" is {}:", status.phase))?;
            for reason in reasons {
                output::line(&format!("  {}", output::one_line(reason)))?;
            }
        }
    }
    Ok(if went_through {
        Outcome::Done
    } else {
        Outcome::NotCompleted
    })
}

/// Waits for the end of a dry run, once the server has begun with it.
async fn wait(
    cluster: &Cluster,
    downloads: &Downloads<'_>,
    created: &Restore,
) -> anyhow::Result<Restore> {
    let name = created.name_any();
    let phase = |restore: &Restore| {
        let status = restore.status.clone().unwrap_or_default();
        status.phase
    };
    let begun = watch::until(cluster, created, |restore: &Restore| {
        (phase(restore) != RestorePhase::New).then_some(())
    });
    let patience = downloads.silence();
    tokio::time::timeout(patience, begun).await.map_err(|_| {
        anyhow!(
            "the server has not begun the dry run within {}; check that it runs in namespace {:?}, or give it longer \
             with --timeout. It may still begin: `ark restore describe {name}` shows what it finds",
            duration::format(patience),
            cluster.namespace
        )
    })??;
    watch::until(cluster, created, |restore: &Restore| {
        phase(restore).is_terminal().then(|| restore.clone())
    })
    .await
}

/// Fetches the lines of a dry run, and its warnings and errors.
pub(super) async fn found(
    downloads: &Downloads<'_>,
    restore: &Restore,
) -> anyhow::Result<(Vec<PlanItem>, Results)> {
    let name = restore.name_any();
    let items = downloads.plan(&name).await?;
    let status = restore.status.clone().unwrap_or_default();
    let results = if status.warnings + status.errors == 0 {
        Results::default()
    } else {
        downloads.restore_results(&name).await?
    };
    Ok((items, results))
}
