//! What a dry run found: waited for, fetched and shown.

use kube::ResourceExt;
use serde_json::json;

use crate::api::{PlanItem, Restore, RestorePhase, Results};
use crate::client::context::Cluster;
use crate::client::download::Downloads;
use crate::client::flags::Format;
use crate::client::{Outcome, describe, output, watch};

/// Waits for the end of a dry run and shows what it found.
///
/// # Errors
/// The Restore is deleted meanwhile, or what it found cannot be read.
pub(super) async fn show(
    cluster: &Cluster,
    downloads: &Downloads<'_>,
    created: &Restore,
    format: Option<Format>,
    details: bool,
) -> anyhow::Result<Outcome> {
    let ended = watch::until(cluster, created, |restore: &Restore| {
        let phase = &restore.status.as_ref()?.phase;
        phase.is_terminal().then(|| restore.clone())
    })
    .await?;
    let name = ended.name_any();
    let status = ended.status.clone().unwrap_or_default();
    if matches!(
        status.phase,
        RestorePhase::Failed | RestorePhase::FailedValidation
    ) {
        output::line(&format!("The dry run \"{name}\" is {}:", status.phase))?;
        for reason in status
            .failure_reason
            .iter()
            .chain(&status.validation_errors)
        {
            output::line(&format!("  {}", output::one_line(reason)))?;
        }
        return Ok(Outcome::NotCompleted);
    }
    let (items, results) = found(downloads, &ended).await?;
    match format {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let document = json!({
                "restore": name,
                "backup": ended.spec.backup_name,
                "counts": status.counts.unwrap_or_default(),
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
        Some(Format::Table) | None => {
            output::line(&format!(
                "Dry run \"{name}\" of a restore from backup {}:",
                output::one_line(&ended.spec.backup_name)
            ))?;
            let counts = status.counts.unwrap_or_default();
            output::text(&describe::plan(&counts, &items, &results, details)?)?;
            output::line(
                "\nNothing was changed. To restore, give the same command without --dry-run.",
            )?;
        }
    }
    Ok(Outcome::Done)
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
