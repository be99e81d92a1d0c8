//! `ark backup get`: lists backups.

use clap::Args;

use crate::api::Backup;
use crate::client::context::Context;
use crate::client::flags::{GetOutputArgs, api_selector};
use crate::client::{Outcome, objects, print_objects, table};

/// Which backups to list, and how.
#[derive(Args, Debug)]
pub struct BackupGetArgs {
    /// Names of the backups; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List only backups whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
    #[command(flatten)]
    output: GetOutputArgs,
}

pub(crate) async fn run(context: &Context, args: BackupGetArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let mut backups: Vec<Backup> =
        objects::find(&cluster, &args.names, selector.as_deref()).await?;
    table::sort_backups(&mut backups);
    print_objects(context, args.output.output, &args.output.labels, &backups)?;
    Ok(Outcome::Done)
}
