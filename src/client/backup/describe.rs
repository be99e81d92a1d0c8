//! `ark backup describe`: shows backups in full.

use clap::Args;
use futures::stream::{self, StreamExt as _};
use kube::{Resource, ResourceExt};

use crate::api::{Backup, DeleteBackupRequest, DownloadTargetKind, VolumeSnapshot, labels, names};
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
    /// List warnings and errors, and what was done with each volume; they are read from the store
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
        let found = found.next().await.transpose()?;
        let (results, volumes) = found.unwrap_or((Found::NotRead, Found::NotRead));
        let deletions = deletions(&cluster, backup).await?;
        let gap = if at == 0 { "" } else { "\n\n" };
        let text = describe::backup(backup, &results, &volumes, &deletions)?;
        output::text(&format!("{gap}{text}"))?;
    }
    Ok(Outcome::Done)
}

/// Returns a backup's warnings and errors, and what was done with its volumes, as far as there are any and somebody wants
/// to see them.
async fn found(
    downloads: &Downloads<'_>,
    backup: &Backup,
    details: bool,
) -> anyhow::Result<(Found, Found<Vec<VolumeSnapshot>>)> {
    let status = backup.status.clone().unwrap_or_default();
    let name = backup.name_any();
    let has = |counts: [Option<u64>; 2]| details && counts.iter().flatten().sum::<u64>() > 0;
    let results = if has([status.warnings, status.errors]) {
        let kind = DownloadTargetKind::BackupResults;
        downloads.found(kind, &name).await?
    } else {
        Found::NotRead
    };
    let volumes = if has([status.volume_snapshots_attempted, status.volumes_skipped]) {
        let kind = DownloadTargetKind::BackupVolumeSnapshots;
        downloads.found(kind, &name).await?
    } else {
        Found::NotRead
    };
    Ok((results, volumes))
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
