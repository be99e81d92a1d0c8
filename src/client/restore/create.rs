//! `ark restore create`: asks for a restore.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{Backup, Restore, RestoreSpec, Schedule, names, validate};
use crate::client::context::Context;
use crate::client::flags::{
    CreateOutputArgs, OptionalBool, Problems, SelectionArgs, namespace_mappings, optional_bool,
};
use crate::client::{Outcome, objects, output, print_objects, wait};

/// What to restore, and how.
#[derive(Args, Debug)]
pub struct RestoreCreateArgs {
    /// Backup to restore from; with --from-backup or --from-schedule: name of the restore
    #[arg(value_name = "BACKUP|NAME", required_unless_present_any = ["from_backup", "from_schedule"])]
    name: Option<String>,
    /// Backup to restore from
    #[arg(long, value_name = "BACKUP", conflicts_with = "from_schedule")]
    from_backup: Option<String>,
    /// Schedule whose newest completed backup to restore from
    #[arg(long, value_name = "SCHEDULE")]
    from_schedule: Option<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Where the objects of a namespace go, as FROM:TO (comma-separated, may be repeated)
    #[arg(long, value_name = "FROM:TO,...")]
    namespace_mappings: Vec<String>,
    /// Whether to restore volumes from their snapshots [default: where there is one]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    restore_volumes: Option<OptionalBool>,
    /// Do not label restored objects with the names of the restore and its backup
    #[arg(long)]
    no_labels: bool,
    /// Wait for the end; exit with 1 unless the phase is Completed then
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl RestoreCreateArgs {
    /// Returns the backup or schedule to restore from; clap asks for one of the three.
    fn source(&self) -> Option<&String> {
        let flags = self.from_backup.as_ref().or(self.from_schedule.as_ref());
        flags.or(self.name.as_ref())
    }

    /// Returns the restore's own name. Without a flag that says what to restore from, the name is the backup's.
    fn own_name(&self) -> Option<&String> {
        let flagged = self.from_backup.is_some() || self.from_schedule.is_some();
        self.name.as_ref().filter(|_| flagged)
    }
}

pub(crate) async fn run(context: &Context, args: RestoreCreateArgs) -> anyhow::Result<Outcome> {
    let restore = request(&args, &context.namespace, context.now())?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[restore])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    if restore.spec.schedule_name.is_empty() {
        objects::get::<Backup>(&cluster, &restore.spec.backup_name).await?;
    } else {
        objects::get::<Schedule>(&cluster, &restore.spec.schedule_name).await?;
    }
    let created = if args.own_name().is_some() {
        objects::create(&cluster, &restore).await?
    } else {
        let make = |time| request(&args, &context.namespace, time);
        objects::create_timestamped(&cluster, context.now(), make).await?
    };
    let name = created.name_any();
    output::line(&format!("Restore request \"{name}\" has been submitted."))?;
    output::line(&format!(
        "To see how it goes: ark restore describe {name}, or ark restore logs {name}"
    ))?;
    if args.wait {
        return wait::wait(&cluster, &created).await;
    }
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(args: &RestoreCreateArgs, namespace: &str, now: Timestamp) -> anyhow::Result<Restore> {
    let own_name = args.own_name();
    let source = args.source().cloned().unwrap_or_default();
    let mut problems = Problems::default();
    let name = match own_name {
        Some(name) => {
            problems.take(names::check_resource_name(name, "restore"));
            name.clone()
        }
        None => names::timestamped(&source, now),
    };
    let (backup, schedule) = if args.from_schedule.is_some() {
        (String::new(), source)
    } else {
        (source, String::new())
    };
    let selection = args.selection.read(&mut problems);
    let spec = RestoreSpec {
        schedule_name: schedule,
        backup_name: backup,
        included_namespaces: selection.included_namespaces,
        excluded_namespaces: selection.excluded_namespaces,
        included_resources: selection.included_resources,
        excluded_resources: selection.excluded_resources,
        namespace_mapping: problems.take(namespace_mappings(&args.namespace_mappings)),
        label_selector: selection.label_selector,
        restore_pvs: args.restore_volumes.and_then(|given| given.0),
        include_cluster_resources: selection.include_cluster_resources,
        label_restored: args.no_labels.then_some(false),
        allow_empty: selection.allow_empty,
        ..RestoreSpec::default()
    };
    problems.extend(validate::restore(&spec));
    let mut restore = Restore::new(&name, spec);
    restore.metadata.namespace = Some(namespace.to_owned());
    restore.metadata.labels = selection.labels;
    problems.finish(restore)
}
