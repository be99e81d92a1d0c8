//! The command line: the tree of commands, and how each is carried out.
//!
//! One file a command. A command turns its flags into objects or queries, talks to the API server, and prints through
//! `output.rs` alone. It never talks to a store. Noun-first and verb-first forms share their arguments.

mod backup;
mod context;
mod describe;
mod flags;
mod install;
mod objects;
mod output;
mod restore;
mod table;
mod version;
mod wait;

use std::fmt::Debug;

use clap::Subcommand;
use serde::Serialize;

use backup::create::BackupCreateArgs;
use backup::delete::BackupDeleteArgs;
use backup::describe::BackupDescribeArgs;
use backup::get::BackupGetArgs;
use context::Context;
use flags::{Format, LabelArgs};
use install::InstallArgs;
use restore::create::RestoreCreateArgs;
use restore::delete::RestoreDeleteArgs;
use restore::describe::RestoreDescribeArgs;
use restore::get::RestoreGetArgs;
use table::Row;
use version::VersionArgs;

pub use context::GlobalArgs;
pub use output::error as print_error;

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
    /// Create a backup or a restore
    #[command(subcommand)]
    Create(CreateCommand),
    /// List backups or restores
    #[command(subcommand)]
    Get(GetCommand),
    /// Describe backups or restores
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Delete backups or restores
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Set Ark up in a cluster: its types, namespace, account and server
    Install(InstallArgs),
    /// Print the version of this program
    Version(VersionArgs),
}

/// `ark backup ...`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Create a backup
    Create(BackupCreateArgs),
    /// List backups
    Get(BackupGetArgs),
    /// Describe backups
    Describe(BackupDescribeArgs),
    /// Delete backups and all that is stored of them
    Delete(BackupDeleteArgs),
}

/// `ark restore ...`
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Create a restore
    Create(RestoreCreateArgs),
    /// List restores
    Get(RestoreGetArgs),
    /// Describe restores
    Describe(RestoreDescribeArgs),
    /// Delete restores; what they restored stays
    Delete(RestoreDeleteArgs),
}

/// `ark create ...`
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Create a backup
    Backup(BackupCreateArgs),
    /// Create a restore
    Restore(RestoreCreateArgs),
}

/// `ark get ...`
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// List backups
    #[command(visible_alias = "backup")]
    Backups(BackupGetArgs),
    /// List restores
    #[command(visible_alias = "restore")]
    Restores(RestoreGetArgs),
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
}

/// `ark delete ...`
#[derive(Debug, Subcommand)]
pub enum DeleteCommand {
    /// Delete backups and all that is stored of them
    #[command(visible_alias = "backups")]
    Backup(BackupDeleteArgs),
    /// Delete restores; what they restored stays
    #[command(visible_alias = "restores")]
    Restore(RestoreDeleteArgs),
}

/// Carries a command out.
///
/// # Errors
/// One sentence that says what is wrong and what to do, with its causes.
pub async fn run(global: GlobalArgs, command: Command) -> anyhow::Result<Outcome> {
    let context = Context::new(global)?;
    let context = &context;
    match command {
        Command::Backup(BackupCommand::Create(args))
        | Command::Create(CreateCommand::Backup(args)) => backup::create::run(context, args).await,
        Command::Backup(BackupCommand::Get(args)) | Command::Get(GetCommand::Backups(args)) => {
            backup::get::run(context, args).await
        }
        Command::Backup(BackupCommand::Describe(args))
        | Command::Describe(DescribeCommand::Backups(args)) => {
            backup::describe::run(context, args).await
        }
        Command::Backup(BackupCommand::Delete(args))
        | Command::Delete(DeleteCommand::Backup(args)) => backup::delete::run(context, args).await,
        Command::Restore(RestoreCommand::Create(args))
        | Command::Create(CreateCommand::Restore(args)) => {
            restore::create::run(context, args).await
        }
        Command::Restore(RestoreCommand::Get(args)) | Command::Get(GetCommand::Restores(args)) => {
            restore::get::run(context, args).await
        }
        Command::Restore(RestoreCommand::Describe(args))
        | Command::Describe(DescribeCommand::Restores(args)) => {
            restore::describe::run(context, args).await
        }
        Command::Restore(RestoreCommand::Delete(args))
        | Command::Delete(DeleteCommand::Restore(args)) => {
            restore::delete::run(context, args).await
        }
        Command::Install(args) => install::run(context, args).await,
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
