//! `ark backup describe`: shows backups in full.

use clap::Args;
use futures::stream::{self, StreamExt as _};
use kube::{Resource, ResourceExt};

use crate::api::{Backup, DeleteBackupRequest, DownloadTargetKind, labels, names};
use crate::client::context::{Cluster, Context};
use crate::client::describe::Found;
use crate::client::download::{Downloads, SIDE_BY_SIDE, TrustArgs};
use crate::client::flags::api_selector;
use crate::client::{Outcome, describe, objects, output, table};

/// Which backups to describe.
#[derive(Args, Debug)]
pub struct BackupDescribeArgs {
    /// Names of the backups; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Describe only backups whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
    /// List warnings and errors, which are read from the store
    #[arg(long, alias = "volume-details")]
    details: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) async fn run(context: &Context, args: BackupDescribeArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let means = args.trust.read()?;
    let cluster = context.cluster().await?;
    let downloads = Downloads::new(context, &cluster, means);
    let mut backups: Vec<Backup> =
        objects::find(&cluster, &args.names, selector.as_deref()).await?;
    table::sort_backups(&mut backups);
    // Side by side: where nobody answers, each waits its time out.
    let mut found = stream::iter(&backups)
        .map(|backup| found(&downloads, backup, args.details))
        .buffered(SIDE_BY_SIDE);
    for (at, backup) in backups.iter().enumerate() {
        let found = found.next().await.transpose()?.unwrap_or(Found::NotRead);
        let deletions = deletions(&cluster, backup).await?;
        let gap = if at == 0 { "" } else { "\n\n" };
        let text = describe::backup(backup, &found, &deletions)?;
        output::text(&format!("{gap}{text}"))?;
    }
    Ok(Outcome::Done)
}

/// Returns a backup's warnings and errors, if it has any and somebody wants to see them.
async fn found(downloads: &Downloads<'_>, backup: &Backup, details: bool) -> anyhow::Result<Found> {
    let status = backup.status.clone().unwrap_or_default();
    if !details || status.warnings.unwrap_or(0) + status.errors.unwrap_or(0) == 0 {
        return Ok(Found::NotRead);
    }
    let kind = DownloadTargetKind::BackupResults;
    downloads.found(kind, &backup.name_any()).await
}

/// Returns the requests to delete this very backup, oldest first.
async fn deletions(cluster: &Cluster, backup: &Backup) -> anyhow::Result<Vec<DeleteBackupRequest>> {
    let selector = format!(
        "{}={},{}={}",
        labels::BACKUP_NAME,
        names::label_value(&backup.name_any()),
        labels::BACKUP_UID,
        backup.uid().unwrap_or_default()
    );
    let mut requests: Vec<DeleteBackupRequest> =
        objects::find(cluster, &[], Some(&selector)).await?;
    requests.sort_by_key(|request| request.meta().creation_timestamp.clone());
    Ok(requests)
}
