//! `ark restore get`: lists restores.

use clap::Args;

use crate::api::Restore;
use crate::client::context::Context;
use crate::client::flags::{GetOutputArgs, api_selector};
use crate::client::{Outcome, objects, print_objects};

/// Which restores to list, and how.
#[derive(Args, Debug)]
pub struct RestoreGetArgs {
    /// Names of the restores; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List only restores whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
    #[command(flatten)]
    output: GetOutputArgs,
}

pub(crate) async fn run(context: &Context, args: RestoreGetArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let restores: Vec<Restore> = objects::find(&cluster, &args.names, selector.as_deref()).await?;
    print_objects(context, args.output.output, &args.output.labels, &restores)?;
    Ok(Outcome::Done)
}
