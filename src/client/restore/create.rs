//! `ark restore create`: asks for a restore.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use crate::api::{
    Backup, ConfigMapRef, NamespaceReference, Restore, RestoreSpec, RestoreStatusSpec, Schedule,
    duration, names, selector, validate,
};
use crate::client::context::{Cluster, Context};
use crate::client::download::{DownloadArgs, Downloads};
use crate::client::flags::{
    CreateOutputArgs, OptionalBool, Problems, SelectionArgs, namespace_mappings, optional_bool,
    pairs, yaml_file,
};
use crate::client::restore::dry_run;
use crate::client::{Outcome, objects, output, print_objects, wait};

/// What to restore, and how.
#[allow(clippy::struct_excessive_bools, reason = "flags are what they are")]
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
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Whether to restore volumes from their snapshots [default: where there is one]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    restore_volumes: Option<OptionalBool>,
    /// Give claims whose data does not come from a snapshot new, empty volumes
    #[arg(long)]
    empty_volumes: bool,
    /// How long an operation that an item action has begun may take [default: 4h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    item_operation_timeout: Option<Duration>,
    /// Do not label restored objects with the names of the restore and its backup
    #[arg(long)]
    no_labels: bool,
    /// Wait for the end; exit with 1 unless the phase is Completed then
    #[arg(short, long)]
    wait: bool,
    /// Say what the restore would do, and change nothing; with -o, print that in full
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: list every object
    #[arg(long, requires = "dry_run")]
    details: bool,
    #[command(flatten)]
    download: DownloadArgs,
    #[command(flatten)]
    output: CreateOutputArgs,
}

/// What of the selection is restored.
#[derive(Args, Debug)]
struct ScopeArgs {
    /// Restore objects that match any of these selectors, as 'a=b or c=d' (may be repeated)
    #[arg(long, value_name = "SELECTOR", conflicts_with = "selector")]
    or_selector: Vec<String>,
    /// Restore only these objects, as TYPE/NAME or TYPE/NAMESPACE/NAME with globs (comma-separated, may be repeated)
    #[arg(long, value_name = "TYPE/NAME,...", value_delimiter = ',')]
    include: Vec<String>,
    /// Restore what chosen objects name, too: claims, service accounts, ConfigMaps, Secrets
    #[arg(long)]
    with_dependencies: bool,
}

/// What is changed on the way, and what becomes of what is there.
#[derive(Args, Debug)]
struct ChangeArgs {
    /// What becomes of an object that is there and differs: none, update or recreate [default: none]
    #[arg(long, value_name = "POLICY")]
    existing_resource_policy: Option<String>,
    /// Types whose stored status is restored (comma-separated, "*" for all)
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    status_include_resources: Vec<String>,
    /// Types whose status is not restored all the same (comma-separated)
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    status_exclude_resources: Vec<String>,
    /// Whether Services keep all of their node ports [default: those that somebody asked for]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    preserve_nodeports: Option<OptionalBool>,
    /// ConfigMap in the server's namespace with changes to make to objects
    #[arg(long, value_name = "NAME", conflicts_with = "resource_modifiers")]
    resource_modifier_configmap: Option<String>,
    /// File with such changes
    #[arg(long, value_name = "PATH")]
    resource_modifiers: Option<PathBuf>,
    /// Which storage class takes the place of which, as OLD:NEW (comma-separated, may be repeated)
    #[arg(long, value_name = "OLD:NEW,...")]
    storage_class_mappings: Vec<String>,
    /// Fields that name namespaces and follow the mapping, as TYPE=PATH (may be repeated)
    #[arg(long, value_name = "TYPE=PATH")]
    namespace_references: Vec<String>,
}

impl ScopeArgs {
    /// Reads the selectors of which any has to match.
    fn selectors(&self, problems: &mut Problems) -> Vec<LabelSelector> {
        let mut selectors = Vec::new();
        for text in self.or_selector.iter().flat_map(|text| text.split(" or ")) {
            let read = selector::parse(text.trim());
            selectors
                .push(problems.take(read.map_err(|problem| format!("--or-selector: {problem}"))));
        }
        selectors
    }
}

impl ChangeArgs {
    /// Puts what is asked for into a spec.
    fn fill(&self, spec: &mut RestoreSpec, problems: &mut Problems) {
        spec.existing_resource_policy = self.existing_resource_policy.clone().map(Into::into);
        let included = self.status_include_resources.clone();
        let excluded = self.status_exclude_resources.clone();
        spec.restore_status =
            (!included.is_empty() || !excluded.is_empty()).then_some(RestoreStatusSpec {
                included_resources: included,
                excluded_resources: excluded,
            });
        spec.preserve_node_ports = self.preserve_nodeports.as_ref().and_then(|given| given.0);
        spec.resource_modifier = self
            .resource_modifier_configmap
            .as_deref()
            .map(ConfigMapRef::named);
        spec.resource_modifiers = self
            .resource_modifiers
            .as_ref()
            .map(|path| problems.take(yaml_file("--resource-modifiers", path)));
        spec.storage_class_mapping = problems.take(pairs(
            "--storage-class-mappings",
            &self.storage_class_mappings,
            ':',
        ));
        for text in &self.namespace_references {
            let read = text
                .split_once('=')
                .map(|(resource, path)| NamespaceReference {
                    resource: resource.to_owned(),
                    path: path.to_owned(),
                });
            spec.namespace_references
                .push(problems.take(read.ok_or_else(|| {
                    format!(
                        "--namespace-references: {text:?} is no TYPE=PATH, such as \
                         servicemonitors.monitoring.coreos.com=spec.namespaceSelector.matchNames[*]"
                    )
                })));
        }
    }
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
    if let Some(format) = args.output.output.filter(|_| !args.dry_run) {
        print_objects(context, format, &args.output.labels, &[restore])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    if restore.spec.schedule_name.is_empty() {
        objects::get::<Backup>(&cluster, &restore.spec.backup_name).await?;
    } else {
        check_schedule(&cluster, &restore.spec.schedule_name).await?;
    }
    let created = if args.own_name().is_some() {
        objects::create(&cluster, &restore).await?
    } else {
        let make = |time| request(&args, &context.namespace, time);
        objects::create_timestamped(&cluster, context.now(), make).await?
    };
    let name = created.name_any();
    if args.dry_run {
        let means = args.download.read()?;
        let downloads = Downloads::new(context, &cluster, means);
        let how = dry_run::Show {
            format: args.output.output,
            details: args.details,
            named: args.own_name().is_some(),
        };
        return dry_run::show(&cluster, &downloads, &created, &how).await;
    }
    output::line(&format!("Restore request \"{name}\" has been submitted."))?;
    output::line(&format!(
        "To see how it goes: ark restore describe {name}, or ark restore logs {name}"
    ))?;
    if args.wait {
        return wait::wait(&cluster, &created).await;
    }
    Ok(Outcome::Done)
}

/// Checks that there is a schedule, or a backup of it: in a new cluster there may be nothing else of it.
async fn check_schedule(cluster: &Cluster, schedule: &str) -> anyhow::Result<()> {
    let Err(missing) = objects::get::<Schedule>(cluster, schedule).await else {
        return Ok(());
    };
    let selector = Backup::selector_of_schedule(schedule);
    let backups = objects::find::<Backup>(cluster, &[], Some(&selector)).await?;
    if backups.is_empty() {
        bail!("{missing:#}; nor is a backup of it shown in this cluster");
    }
    Ok(())
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
    let mut spec = RestoreSpec {
        or_label_selectors: args.scope.selectors(&mut problems),
        included_items: args.scope.include.clone(),
        with_dependencies: args.scope.with_dependencies.then_some(true),
        dry_run: args.dry_run.then_some(true),
        schedule_name: schedule,
        backup_name: backup,
        included_namespaces: selection.included_namespaces,
        excluded_namespaces: selection.excluded_namespaces,
        included_resources: selection.included_resources,
        excluded_resources: selection.excluded_resources,
        namespace_mapping: problems.take(namespace_mappings(&args.namespace_mappings)),
        label_selector: selection.label_selector,
        restore_pvs: args.restore_volumes.and_then(|given| given.0),
        empty_volumes: args.empty_volumes.then_some(true),
        item_operation_timeout: args.item_operation_timeout.map(duration::format),
        include_cluster_resources: selection.include_cluster_resources,
        label_restored: args.no_labels.then_some(false),
        allow_empty: selection.allow_empty,
        ..RestoreSpec::default()
    };
    args.changes.fill(&mut spec, &mut problems);
    problems.extend(validate::restore(&spec));
    let mut restore = Restore::new(&name, spec);
    restore.metadata.namespace = Some(namespace.to_owned());
    restore.metadata.labels = selection.labels;
    problems.finish(restore)
}
