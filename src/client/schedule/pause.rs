//! `ark schedule pause` and `unpause`: whether schedules make backups.

use clap::Args;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::api::{FIELD_MANAGER, Schedule};
use crate::client::context::{Context, patiently};
use crate::client::{Outcome, objects, output};

/// Which schedules.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// Names of the schedules
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// What becomes of a schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Switch {
    Pause,
    Unpause,
}

pub(crate) async fn run(
    context: &Context,
    args: PauseArgs,
    switch: Switch,
) -> anyhow::Result<Outcome> {
    let cluster = context.cluster().await?;
    // All are looked for first: a misspelt name ends the command with nothing done.
    let schedules: Vec<Schedule> = objects::find(&cluster, &args.names, None).await?;
    let api = cluster.api::<Schedule>();
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let paused = switch == Switch::Pause;
    for schedule in &schedules {
        let name = schedule.name_any();
        if schedule.spec.paused == paused {
            let state = if paused { "paused" } else { "not paused" };
            output::line(&format!("Schedule \"{name}\" is {state} already."))?;
            continue;
        }
        let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
        patiently(|| api.patch(&name, &params, &patch))
            .await
            .map_err(|error| cluster.explain(&error))?;
        output::line(&match switch {
            Switch::Pause => format!("Schedule \"{name}\" has been paused."),
            Switch::Unpause => format!(
                "Schedule \"{name}\" is no longer paused; `ark schedule describe {name}` tells its next backup."
            ),
        })?;
    }
    Ok(Outcome::Done)
}
