//! The command line: the tree of commands, and how each is carried out.
//!
//! One file a command. A command turns its flags into objects or queries, talks to the API server, and prints through
//! `output.rs` alone. It never talks to a store. Noun-first and verb-first forms share their arguments.

mod backup;
mod backup_location;
mod bug;
mod completion;
mod config;
mod context;
mod delete;
mod describe;
mod download;
mod flags;
mod get;
mod glog;
mod install;
mod location;
mod logs;
mod objects;
mod output;
mod plugin;
mod restic;
mod restore;
mod schedule;
mod snapshot_location;
mod surroundings;
mod table;
mod template;
mod version;
mod wait;
mod watch;

use std::fmt::Debug;

use clap::Subcommand;
use serde::Serialize;

use backup::create::BackupCreateArgs;
use backup::delete::BackupDeleteArgs;
use backup::describe::BackupDescribeArgs;
use backup::download::BackupDownloadArgs;
use backup_location::BackupLocationCommand;
use backup_location::create::BackupLocationCreateArgs;
use bug::BugArgs;
use completion::CompletionArgs;
use config::Settings;
use config::get::ConfigGetArgs;
use config::set::ConfigSetArgs;
use context::Context;
use delete::DeleteArgs;
use flags::{Format, LabelArgs};
use get::GetArgs;
use install::InstallArgs;
use logs::LogsArgs;
use plugin::add::PluginAddArgs;
use plugin::get::PluginGetArgs;
use plugin::remove::PluginRemoveArgs;
use restic::ResticArgs;
use restore::create::RestoreCreateArgs;
use restore::describe::RestoreDescribeArgs;
use schedule::ScheduleCommand;
use schedule::create::ScheduleCreateArgs;
use schedule::describe::ScheduleDescribeArgs;
use snapshot_location::SnapshotLocationCommand;
use snapshot_location::create::SnapshotLocationCreateArgs;
use table::Row;
use version::VersionArgs;

use crate::api::{Backup, BackupStorageLocation, Restore, Schedule, VolumeSnapshotLocation};

pub use completion::{CompleteArgs, complete};
pub use context::GlobalArgs;
pub use output::error as print_error;
pub use surroundings::Surroundings;

/// How a command ended that met no error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It did what it was asked.
    Done,
    /// It waited for a run that did not end as Completed.
    NotCompleted,
}

/// The client's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work with backups
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Work with restores
    #[command(subcommand)]
    Restore(RestoreCommand),
    /// Work with schedules
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Work with backup locations
    #[command(subcommand)]
    BackupLocation(BackupLocationCommand),
    /// Work with snapshot locations
    #[command(subcommand)]
    SnapshotLocation(SnapshotLocationCommand),
    /// Create a backup, a restore, a schedule or a location
    #[command(subcommand)]
    Create(CreateCommand),
    /// List backups, restores, schedules or locations
    #[command(subcommand)]
    Get(GetCommand),
    /// Describe backups, restores or schedules
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Delete backups, restores, schedules or locations
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Set Ark up in a cluster: its types, namespace, account and server
    Install(InstallArgs),
    /// List the server's plugins, add and remove them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Change the settings of this client
    #[command(subcommand)]
    Client(ClientCommand),
    /// Print a script that completes command lines in a shell
    Completion(CompletionArgs),
    /// Report a bug
    Bug(BugArgs),
    /// Say that file backups of volumes are not part of this Ark
    #[command(hide = true, disable_help_flag = true)]
    Restic(ResticArgs),
    /// Print the version of this program
    Version(VersionArgs),
}

/// `ark backup ...`
#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process makes one, and takes it apart at once"
)]
pub enum BackupCommand {
    /// Create a backup
    Create(BackupCreateArgs),
    /// List backups
    Get(GetArgs),
    /// Describe backups
    Describe(BackupDescribeArgs),
    /// Print the log of a backup
    Logs(LogsArgs),
    /// Download the objects of a backup
    Download(BackupDownloadArgs),
    /// Delete backups and all that is stored of them
    Delete(BackupDeleteArgs),
}

/// `ark restore ...`
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Create a restore
    Create(Box<RestoreCreateArgs>),
    /// List restores
    Get(GetArgs),
    /// Describe restores
    Describe(RestoreDescribeArgs),
    /// Print the log of a restore
    Logs(LogsArgs),
    /// Delete restores; what they restored stays
    Delete(DeleteArgs),
}

/// `ark create ...`
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Create a backup
    Backup(BackupCreateArgs),
    /// Create a restore
    Restore(Box<RestoreCreateArgs>),
    /// Create a schedule, which makes backups at fixed times
    Schedule(ScheduleCreateArgs),
    /// Create a backup location: a place where backups are kept
    BackupLocation(BackupLocationCreateArgs),
    /// Create a snapshot location: a place where volume snapshots are kept
    SnapshotLocation(SnapshotLocationCreateArgs),
}

/// `ark get ...`
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// List backups
    #[command(visible_alias = "backup")]
    Backups(GetArgs),
    /// List restores
    #[command(visible_alias = "restore")]
    Restores(GetArgs),
    /// List schedules
    #[command(visible_alias = "schedule")]
    Schedules(GetArgs),
    /// List backup locations
    #[command(visible_alias = "backup-location")]
    BackupLocations(GetArgs),
    /// List snapshot locations
    #[command(visible_alias = "snapshot-location")]
    SnapshotLocations(GetArgs),
}

/// `ark describe ...`
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// Describe backups
    #[command(visible_alias = "backup")]
    Backups(BackupDescribeArgs),
    /// Describe restores
    #[command(visible_alias = "restore")]
    Restores(RestoreDescribeArgs),
    /// Describe schedules
    #[command(visible_alias = "schedule")]
    Schedules(ScheduleDescribeArgs),
}

/// `ark delete ...`
#[derive(Debug, Subcommand)]
pub enum DeleteCommand {
    /// Delete backups and all that is stored of them
    #[command(visible_alias = "backups")]
    Backup(BackupDeleteArgs),
    /// Delete restores; what they restored stays
    #[command(visible_alias = "restores")]
    Restore(DeleteArgs),
    /// Delete schedules; the backups they made stay
    #[command(visible_alias = "schedules")]
    Schedule(DeleteArgs),
    /// Delete backup locations; what is stored in them stays
    #[command(visible_alias = "backup-locations")]
    BackupLocation(DeleteArgs),
    /// Delete snapshot locations; the snapshots in them stay
    #[command(visible_alias = "snapshot-locations")]
    SnapshotLocation(DeleteArgs),
}

/// `ark plugin ...`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Add a plugin to the server, or another version of one
    Add(PluginAddArgs),
    /// List the server's plugins
    Get(PluginGetArgs),
    /// Remove a plugin from the server
    Remove(PluginRemoveArgs),
}

/// `ark client ...`
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show and change the settings of this client
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `ark client config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings
    Get(ConfigGetArgs),
    /// Change settings
    Set(ConfigSetArgs),
}

/// Carries a command out.
///
/// # Errors
/// One sentence that says what is wrong and what to do, with its causes.
pub async fn run(
    global: GlobalArgs,
    command: Command,
    surroundings: &Surroundings,
) -> anyhow::Result<Outcome> {
    let settings = match &command {
        // These need no cluster, and the first repairs settings that cannot be read.
        Command::Client(_) | Command::Completion(_) | Command::Restic(_) | Command::Version(_) => {
            Settings::new()
        }
        _ => config::read_or_warn(surroundings),
    };
    let context = Context::new(global, &settings)?;
    let context = &context;
    match command {
        Command::Backup(BackupCommand::Create(args))
        | Command::Create(CreateCommand::Backup(args)) => backup::create::run(context, args).await,
        Command::Backup(BackupCommand::Get(args)) | Command::Get(GetCommand::Backups(args)) => {
            get::run::<Backup>(context, args).await
        }
        Command::Backup(BackupCommand::Describe(args))
        | Command::Describe(DescribeCommand::Backups(args)) => {
            backup::describe::run(context, args).await
        }
        Command::Backup(BackupCommand::Delete(args))
        | Command::Delete(DeleteCommand::Backup(args)) => backup::delete::run(context, args).await,
        Command::Restore(RestoreCommand::Create(args))
        | Command::Create(CreateCommand::Restore(args)) => {
            restore::create::run(context, *args).await
        }
        Command::Restore(RestoreCommand::Get(args)) | Command::Get(GetCommand::Restores(args)) => {
            get::run::<Restore>(context, args).await
        }
        Command::Restore(RestoreCommand::Describe(args))
        | Command::Describe(DescribeCommand::Restores(args)) => {
            restore::describe::run(context, args).await
        }
        Command::Restore(RestoreCommand::Delete(args))
        | Command::Delete(DeleteCommand::Restore(args)) => {
            restore::delete::run(context, args).await
        }
        Command::Backup(BackupCommand::Logs(args)) => logs::run::<Backup>(context, args).await,
        Command::Backup(BackupCommand::Download(args)) => {
            backup::download::run(context, args).await
        }
        Command::Restore(RestoreCommand::Logs(args)) => logs::run::<Restore>(context, args).await,
        Command::Schedule(command) => schedule::run(context, command).await,
        Command::Create(CreateCommand::Schedule(args)) => {
            schedule::create::run(context, args).await
        }
        Command::Get(GetCommand::Schedules(args)) => get::run::<Schedule>(context, args).await,
        Command::Describe(DescribeCommand::Schedules(args)) => {
            schedule::describe::run(context, args).await
        }
        Command::Delete(DeleteCommand::Schedule(args)) => {
            delete::run::<Schedule>(context, args, &()).await
        }
        Command::Delete(DeleteCommand::BackupLocation(args)) => {
            delete::run::<BackupStorageLocation>(context, args, &()).await
        }
        Command::Delete(DeleteCommand::SnapshotLocation(args)) => {
            delete::run::<VolumeSnapshotLocation>(context, args, &()).await
        }
        Command::BackupLocation(command) => backup_location::run(context, command).await,
        Command::Create(CreateCommand::BackupLocation(args)) => {
            backup_location::create::run(context, args).await
        }
        Command::Get(GetCommand::BackupLocations(args)) => {
            get::run::<BackupStorageLocation>(context, args).await
        }
        Command::SnapshotLocation(command) => snapshot_location::run(context, command).await,
        Command::Create(CreateCommand::SnapshotLocation(args)) => {
            snapshot_location::create::run(context, args).await
        }
        Command::Get(GetCommand::SnapshotLocations(args)) => {
            get::run::<VolumeSnapshotLocation>(context, args).await
        }
        Command::Install(args) => install::run(context, args).await,
        Command::Plugin(PluginCommand::Add(args)) => plugin::add::run(context, args).await,
        Command::Plugin(PluginCommand::Get(args)) => {
            plugin::get::run(context, surroundings, args).await
        }
        Command::Plugin(PluginCommand::Remove(args)) => plugin::remove::run(context, args).await,
        Command::Client(ClientCommand::Config(ConfigCommand::Get(args))) => {
            config::get::run(surroundings, args)
        }
        Command::Client(ClientCommand::Config(ConfigCommand::Set(args))) => {
            config::set::run(surroundings, &args)
        }
        Command::Completion(args) => completion::run(&args),
        Command::Bug(args) => bug::run(context, surroundings, args).await,
        Command::Restic(args) => restic::run(&args),
        Command::Version(args) => version::run(&args),
    }
}

/// Prints objects in the chosen format.
fn print_objects<K>(
    context: &Context,
    format: Format,
    labels: &LabelArgs,
    objects: &[K],
) -> anyhow::Result<()>
where
    K: Row + Clone + Debug + Serialize,
{
    let columns = labels.columns()?;
    let text = match format {
        Format::Table => table::render(objects, context.now(), &columns, labels.show_labels)?,
        Format::Json | Format::Yaml => output::encode(format, objects)?,
    };
    output::text(&text)
}
