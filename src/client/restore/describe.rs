//! `ark restore describe`: shows restores in full.

use clap::Args;

use crate::api::Restore;
use crate::client::context::Context;
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
}

pub(crate) async fn run(context: &Context, args: RestoreDescribeArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let restores: Vec<Restore> = objects::find(&cluster, &args.names, selector.as_deref()).await?;
    for (at, restore) in restores.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n\n" };
        output::text(&format!("{gap}{}", describe::restore(restore)?))?;
    }
    Ok(Outcome::Done)
}
