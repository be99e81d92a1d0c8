//! `ark plugin get`: says which plugins there are, as the server sees them or as a directory holds them.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use tabwriter::TabWriter;

use crate::api::{
    PluginInfo, ServerStatusRequest, ServerStatusRequestPhase, ServerStatusRequestSpec, duration,
    names,
};
use crate::client::context::Context;
use crate::client::flags::Format;
use crate::client::surroundings::Surroundings;
use crate::client::{Outcome, objects, output, table, watch};

/// Which plugins to list, and how.
#[derive(Args, Debug)]
pub struct PluginGetArgs {
    /// Start the programs of this directory and ask them, instead of asking the server
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// How long the server may take to answer
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    timeout: String,
    /// How to print
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    output: Format,
}

pub(crate) async fn run(
    context: &Context,
    surroundings: &Surroundings,
    args: PluginGetArgs,
) -> anyhow::Result<Outcome> {
    let limit =
        duration::parse(&args.timeout).map_err(|problem| anyhow!("--timeout: {problem}"))?;
    let plugins = match &args.plugin_dir {
        Some(directory) => ask_programs(context, surroundings, directory).await?,
        None => ask_server(context, limit).await?,
    };
    let text = match args.output {
        Format::Table => draw(&plugins)?,
        format @ (Format::Json | Format::Yaml) => {
            output::encode_value(format, &serde_json::to_value(&plugins)?)?
        }
    };
    output::text(&text)?;
    // Of one's own directory one wants to know whether it would work.
    let all_ready = plugins.iter().all(|plugin| plugin.state == "Ready");
    if args.plugin_dir.is_some() && !all_ready {
        bail!("not all of these plugins can be used; their states say why");
    }
    Ok(Outcome::Done)
}

fn draw(plugins: &[PluginInfo]) -> anyhow::Result<String> {
    let mut drawn = TabWriter::new(Vec::new()).minwidth(7).padding(3);
    writeln!(drawn, "NAME\tKIND\tPROTOCOL\tFILE\tSTATE").context("drawing a table")?;
    for plugin in plugins {
        let cells = [
            &plugin.name,
            &plugin.kind,
            &plugin.protocol,
            &plugin.file,
            &plugin.state,
        ];
        let cells = cells.map(|cell| table::cell_text(cell));
        writeln!(drawn, "{}", cells.join("\t")).context("drawing a table")?;
    }
    table::into_text(drawn)
}

/// Asks the server that leads.
async fn ask_server(context: &Context, limit: Duration) -> anyhow::Result<Vec<PluginInfo>> {
    let cluster = context.cluster().await?;
    let mut request = ServerStatusRequest::new("", ServerStatusRequestSpec {});
    request.metadata.name = None;
    let name = names::timestamped("plugins", context.now());
    request.metadata.generate_name = Some(format!("{name}-"));
    let request = objects::create(&cluster, &request).await?;
    let answered = watch::until(&cluster, &request, |request: &ServerStatusRequest| {
        let status = request.status.as_ref()?;
        let is_answered = status.phase == ServerStatusRequestPhase::Processed;
        is_answered.then(|| status.plugins.clone())
    });
    let answer = tokio::time::timeout(limit, answered).await;
    objects::remove_request(&cluster, &request).await;
    answer.map_err(|_| {
        anyhow!(
            "the server has not answered within {}; check that it runs in namespace {:?}, or give it longer with \
             --timeout",
            duration::format(limit),
            cluster.namespace
        )
    })?
}

/// Starts the programs of a directory and asks them.
#[cfg(feature = "plugins")]
async fn ask_programs(
    context: &Context,
    surroundings: &Surroundings,
    directory: &std::path::Path,
) -> anyhow::Result<Vec<PluginInfo>> {
    use crate::providers::plugin::{PluginLimits, PluginOptions, Plugins};
    let directory = std::path::absolute(directory)
        .with_context(|| format!("--plugin-dir {}", directory.display()))?;
    if !directory.is_dir() {
        bail!("--plugin-dir: {} is not a directory", directory.display());
    }
    let plugins = Plugins::new(PluginOptions {
        directory,
        launcher: surroundings.launcher.clone(),
        environment: surroundings.providers.clone(),
        namespace: context.namespace.clone(),
        log_level: tracing::level_filters::LevelFilter::INFO,
        limits: PluginLimits::default(),
    });
    let found = plugins.statuses().await;
    let problems = plugins.problems().await;
    plugins.shutdown().await;
    if found.is_empty() && !problems.is_empty() {
        bail!(problems.join("; "));
    }
    Ok(found)
}

#[cfg(not(feature = "plugins"))]
#[expect(clippy::unused_async, reason = "as with plugins")]
async fn ask_programs(
    _: &Context,
    _: &Surroundings,
    _: &std::path::Path,
) -> anyhow::Result<Vec<PluginInfo>> {
    bail!(
        "this ark was built without the feature \"plugins\"; ask the server, without --plugin-dir"
    )
}
