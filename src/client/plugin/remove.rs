//! `ark plugin remove`: takes a plugin from the server.

use clap::Args;

use super::deployment;
use crate::client::context::Context;
use crate::client::{Outcome, output};

/// Which plugin to remove.
#[derive(Args, Debug)]
pub struct PluginRemoveArgs {
    /// Name or image of the plugin
    #[arg(value_name = "NAME|IMAGE")]
    plugin: String,
}

pub(crate) async fn run(context: &Context, args: PluginRemoveArgs) -> anyhow::Result<Outcome> {
    let cluster = context.cluster().await?;
    let removed =
        super::change_deployment(&cluster, |object| deployment::remove(object, &args.plugin))
            .await?;
    output::line(&format!(
        "Plugin \"{removed}\" has been removed; the server starts anew without it."
    ))?;
    Ok(Outcome::Done)
}
