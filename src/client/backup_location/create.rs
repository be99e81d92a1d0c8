//! `ark backup-location create`: names a place where backups are kept.

use clap::{Args, ValueEnum};
use kube::ResourceExt;

use crate::api::{
    AccessMode, BackupStorageLocation, BackupStorageLocationSpec, ObjectStorageLocation, duration,
    names, validate,
};
use crate::client::context::Context;
use crate::client::flags::{CreateOutputArgs, Problems};
use crate::client::location::ProviderArgs;
use crate::client::{Outcome, objects, output, print_objects};

/// Where backups are to be kept.
#[derive(Args, Debug)]
pub struct BackupLocationCreateArgs {
    /// Name of the new location; that of backups which name none is called "default"
    name: String,
    #[command(flatten)]
    provider: ProviderArgs,
    /// Bucket that holds the backups
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// What all keys in the bucket begin with, so that others can use it too
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// What servers may do with it; with `ReadOnly` backups are only restored from it
    #[arg(long, value_enum, value_name = "MODE", default_value = "ReadWrite")]
    access_mode: Access,
    /// Make it the location of backups that name none
    #[arg(long)]
    default: bool,
    /// How often to look for new backups in it, such as 5m [default: as often as in all]
    #[arg(long, value_name = "DURATION")]
    backup_sync_period: Option<String>,
    #[command(flatten)]
    output: CreateOutputArgs,
}

/// An access mode, as it is written everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Access {
    #[value(name = "ReadWrite")]
    ReadWrite,
    #[value(name = "ReadOnly")]
    ReadOnly,
}

pub(crate) async fn run(
    context: &Context,
    args: BackupLocationCreateArgs,
) -> anyhow::Result<Outcome> {
    let location = request(&args, &context.namespace)?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[location])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    let created = objects::create(&cluster, &location).await?;
    let name = created.name_any();
    output::line(&format!(
        "Backup location \"{name}\" has been created. `ark backup-location get {name}` tells whether it can be used."
    ))?;
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(
    args: &BackupLocationCreateArgs,
    namespace: &str,
) -> anyhow::Result<BackupStorageLocation> {
    let mut problems = Problems::default();
    problems.take(names::check_resource_name(&args.name, "backup location"));
    let period = args.backup_sync_period.as_deref().map(|text| {
        problems.take(
            duration::parse(text).map_err(|problem| format!("--backup-sync-period: {problem}")),
        )
    });
    let provider = args.provider.read(&mut problems);
    let spec = BackupStorageLocationSpec {
        provider: provider.name,
        config: provider.config,
        object_storage: ObjectStorageLocation {
            // Slashes around them are a habit of those who write URLs.
            bucket: args.bucket.trim_matches('/').to_owned(),
            prefix: args
                .prefix
                .as_deref()
                .unwrap_or_default()
                .trim_matches('/')
                .to_owned(),
        },
        access_mode: match args.access_mode {
            Access::ReadWrite => None,
            Access::ReadOnly => Some(AccessMode::ReadOnly),
        },
        default: args.default,
        credential: provider.credential,
        backup_sync_period: period.map(duration::format),
    };
    problems.extend(validate::storage_location(&spec));
    let mut location = BackupStorageLocation::new(&args.name, spec);
    location.metadata.namespace = Some(namespace.to_owned());
    location.metadata.labels = provider.labels;
    problems.finish(location)
}
