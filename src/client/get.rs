//! What all get commands share: which objects to list, and how.

use std::fmt::Debug;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::flags::{GetOutputArgs, api_selector};
use super::objects::{self, Kind};
use super::table::Row;
use super::{Outcome, print_objects};

/// Which objects to list, and how.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// Names of those to list; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List only those whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
    #[command(flatten)]
    output: GetOutputArgs,
}

pub(crate) async fn run<K>(context: &Context, args: GetArgs) -> anyhow::Result<Outcome>
where
    K: Kind + Row + Clone + Debug + Serialize,
{
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let mut found: Vec<K> = objects::find(&cluster, &args.names, selector.as_deref()).await?;
    K::sort(&mut found);
    print_objects(context, args.output.output, &args.output.labels, &found)?;
    Ok(Outcome::Done)
}
