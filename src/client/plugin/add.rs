//! `ark plugin add`: gives the server a plugin.

use clap::{Args, ValueEnum};

use super::deployment::{self, Plugin};
use crate::client::context::Context;
use crate::client::{Outcome, output};

/// Which plugin to add.
#[derive(Args, Debug)]
pub struct PluginAddArgs {
    /// Image of the plugin; its last part, without the tag, names the plugin
    image: String,
    /// When nodes pull the image
    #[arg(
        long,
        value_enum,
        value_name = "POLICY",
        default_value = "IfNotPresent",
        ignore_case = true
    )]
    image_pull_policy: PullPolicy,
}

// Documented variants would make clap spread the help text over twice the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PullPolicy {
    #[value(name = "Always")]
    Always,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    #[value(name = "Never")]
    Never,
}

impl PullPolicy {
    /// Returns what Kubernetes calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

pub(crate) async fn run(context: &Context, args: PluginAddArgs) -> anyhow::Result<Outcome> {
    let plugin = Plugin {
        name: deployment::name_of(&args.image).map_err(anyhow::Error::msg)?,
        image: args.image,
        pull_policy: args.image_pull_policy.name(),
    };
    let cluster = context.cluster().await?;
    let changed =
        super::change_deployment(&cluster, |object| deployment::add(object, &plugin)).await?;
    let Plugin { name, image, .. } = &plugin;
    output::line(&if changed {
        format!(
            "Plugin \"{name}\" of image {image} has been added; the server starts anew with it."
        )
    } else {
        format!("Plugin \"{name}\" of image {image} is there already; nothing has been changed.")
    })?;
    Ok(Outcome::Done)
}
