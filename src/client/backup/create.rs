//! `ark backup create`: asks for a backup.

use clap::Args;
use kube::ResourceExt;

use crate::api::{Backup, BackupSpec, duration, names, validate};
use crate::client::context::Context;
use crate::client::flags::{
    CreateOutputArgs, OptionalBool, Problems, SelectionArgs, optional_bool,
};
use crate::client::{Outcome, objects, output, print_objects, wait};

/// What to back up, and how.
#[derive(Args, Debug)]
pub struct BackupCreateArgs {
    /// Name of the new backup
    name: String,
    #[command(flatten)]
    selection: SelectionArgs,
    /// How long to keep the backup, such as 720h or 30d; 0 keeps it for ever
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "720h0m0s",
        allow_hyphen_values = true
    )]
    ttl: String,
    /// Whether to snapshot persistent volumes [default: where a provider can]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    snapshot_volumes: Option<OptionalBool>,
    /// Wait for the end; exit with 1 unless the phase is Completed then
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

pub(crate) async fn run(context: &Context, args: BackupCreateArgs) -> anyhow::Result<Outcome> {
    let backup = request(&args, &context.namespace)?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[backup])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    let created = objects::create(&cluster, &backup).await?;
    let name = created.name_any();
    output::line(&format!("Backup request \"{name}\" has been submitted."))?;
    output::line(&format!("To see how it goes: ark backup describe {name}"))?;
    if args.wait {
        return wait::wait(&cluster, &created).await;
    }
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(args: &BackupCreateArgs, namespace: &str) -> anyhow::Result<Backup> {
    let mut problems = Problems::default();
    problems.take(names::check_resource_name(&args.name, "backup"));
    let selection = args.selection.read(&mut problems);
    let ttl =
        problems.take(duration::parse(&args.ttl).map_err(|problem| format!("--ttl: {problem}")));
    let spec = BackupSpec {
        included_namespaces: selection.included_namespaces,
        excluded_namespaces: selection.excluded_namespaces,
        included_resources: selection.included_resources,
        excluded_resources: selection.excluded_resources,
        label_selector: selection.label_selector,
        snapshot_volumes: args.snapshot_volumes.and_then(|given| given.0),
        ttl: Some(duration::format(ttl)),
        include_cluster_resources: selection.include_cluster_resources,
        allow_empty: selection.allow_empty,
        ..BackupSpec::default()
    };
    problems.extend(validate::backup(&spec));
    let mut backup = Backup::new(&args.name, spec);
    backup.metadata.namespace = Some(namespace.to_owned());
    backup.metadata.labels = selection.labels;
    problems.finish(backup)
}
