//! `ark snapshot-location create`: names a place where volume snapshots are kept.

use clap::Args;
use kube::ResourceExt;

use crate::api::{VolumeSnapshotLocation, VolumeSnapshotLocationSpec, names, validate};
use crate::client::context::Context;
use crate::client::flags::{CreateOutputArgs, Problems};
use crate::client::location::ProviderArgs;
use crate::client::{Outcome, objects, output, print_objects};

/// Where volume snapshots are to be kept.
#[derive(Args, Debug)]
pub struct SnapshotLocationCreateArgs {
    /// Name of the new location
    name: String,
    #[command(flatten)]
    provider: ProviderArgs,
    #[command(flatten)]
    output: CreateOutputArgs,
}

pub(crate) async fn run(
    context: &Context,
    args: SnapshotLocationCreateArgs,
) -> anyhow::Result<Outcome> {
    let location = request(&args, &context.namespace)?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[location])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    let created = objects::create(&cluster, &location).await?;
    let name = created.name_any();
    output::line(&format!("Snapshot location \"{name}\" has been created."))?;
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(
    args: &SnapshotLocationCreateArgs,
    namespace: &str,
) -> anyhow::Result<VolumeSnapshotLocation> {
    let mut problems = Problems::default();
    problems.take(names::check_resource_name(&args.name, "snapshot location"));
    let provider = args.provider.read(&mut problems);
    let spec = VolumeSnapshotLocationSpec {
        provider: provider.name,
        config: provider.config,
        credential: provider.credential,
    };
    problems.extend(validate::snapshot_location(&spec));
    let mut location = VolumeSnapshotLocation::new(&args.name, spec);
    location.metadata.namespace = Some(namespace.to_owned());
    location.metadata.labels = provider.labels;
    problems.finish(location)
}
