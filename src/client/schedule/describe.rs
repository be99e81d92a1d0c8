//! `ark schedule describe`: shows schedules in full.

use clap::Args;

use crate::api::Schedule;
use crate::client::context::Context;
use crate::client::flags::api_selector;
use crate::client::{Outcome, describe, objects, output};

/// Which schedules to describe.
#[derive(Args, Debug)]
pub struct ScheduleDescribeArgs {
    /// Names of the schedules; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Describe only schedules whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,
}

pub(crate) async fn run(context: &Context, args: ScheduleDescribeArgs) -> anyhow::Result<Outcome> {
    let selector = api_selector(args.selector.as_deref())?;
    let cluster = context.cluster().await?;
    let schedules: Vec<Schedule> =
        objects::find(&cluster, &args.names, selector.as_deref()).await?;
    for (at, schedule) in schedules.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n\n" };
        output::text(&format!("{gap}{}", describe::schedule(schedule)?))?;
    }
    Ok(Outcome::Done)
}
