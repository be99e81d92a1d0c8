//! `ark restore describe`: shows restores in full.

use clap::Args;
use futures::stream::{self, StreamExt as _};
use kube::ResourceExt;

use crate::api::{DownloadTargetKind, Restore, Results};
use crate::client::context::Context;
use crate::client::describe::Found;
use crate::client::download::{Downloads, SIDE_BY_SIDE, TrustArgs};
use crate::client::flags::api_selector;
use crate::client::{Outcome, describe, objects, output};

/// Which restores to describe.
#[derive(Args, Debug)]
pub struct RestoreDescribeArgs {
    /// Names of the restores; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Describe only restores whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
    /// Of a dry run, list every object
    #[arg(long, alias = "volume-details")]
    details: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) async fn run(context: &Context, args: RestoreDescribeArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let means = args.trust.read()?;
    let cluster = context.cluster().await?;
    let downloads = Downloads::new(context, &cluster, means);
    let restores: Vec<Restore> = objects::find(&cluster, &args.names, selector.as_deref()).await?;
    // Side by side: where nobody answers, each waits its time out.
    let mut found = stream::iter(&restores)
        .map(|restore| found(&downloads, restore))
        .buffered(SIDE_BY_SIDE);
    for (at, restore) in restores.iter().enumerate() {
        let found = found.next().await.transpose()?.unwrap_or(Found::NotRead);
        let gap = if at == 0 { "" } else { "\n\n" };
        let text = describe::restore(restore, &found)?;
        output::text(&format!("{gap}{text}"))?;
        if restore.spec.dry_run == Some(true) {
            output::text(&plan(&downloads, restore, args.details).await?)?;
        }
    }
    Ok(Outcome::Done)
}

/// Returns a restore's warnings and errors, if it has any.
async fn found(downloads: &Downloads<'_>, restore: &Restore) -> anyhow::Result<Found> {
    let status = restore.status.clone().unwrap_or_default();
    if status.warnings + status.errors == 0 {
        return Ok(Found::NotRead);
    }
    let kind = DownloadTargetKind::RestoreResults;
    downloads.found(kind, &restore.name_any()).await
}

/// Returns what a dry run found, if there is anything.
async fn plan(
    downloads: &Downloads<'_>,
    restore: &Restore,
    details: bool,
) -> anyhow::Result<String> {
    let Some(counts) = restore.status.as_ref().and_then(|status| status.counts) else {
        return Ok(String::new());
    };
    match downloads.plan(&restore.name_any()).await {
        // Warnings and errors stand above.
        Ok(items) => {
            let text = describe::plan(&counts, &items, &Results::default(), details)?;
            Ok(format!("\n{text}"))
        }
        Err(error) => Ok(format!("\nWhat it found cannot be read: {error:#}\n")),
    }
}
