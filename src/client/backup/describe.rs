//! `ark backup describe`: shows backups in full.

use clap::Args;
use kube::{Resource, ResourceExt};

use crate::api::{Backup, DeleteBackupRequest, labels, names};
use crate::client::context::{Cluster, Context};
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
}

pub(crate) async fn run(context: &Context, args: BackupDescribeArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let mut backups: Vec<Backup> =
        objects::find(&cluster, &args.names, selector.as_deref()).await?;
    table::sort_backups(&mut backups);
    for (at, backup) in backups.iter().enumerate() {
        let deletions = deletions(&cluster, backup).await?;
        let gap = if at == 0 { "" } else { "\n\n" };
        output::text(&format!("{gap}{}", describe::backup(backup, &deletions)?))?;
    }
    Ok(Outcome::Done)
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
