//! `ark`: parses arguments, hands over to the client or the server, turns an error into an exit code.
//!
//! Exit codes: 0 done; 1 an error, or with `--wait` a run that did not end as Completed; 2 wrong usage.

use std::process::ExitCode;

use ark::client::{self, CompleteArgs, GlobalArgs, Outcome, Surroundings};
use ark::providers::Environment;
#[cfg(feature = "plugins")]
use ark::providers::plugin::{LAUNCH_COMMAND, become_plugin, this_program};
use ark::server::{self, ServerArgs};
use clap::{CommandFactory as _, Parser, Subcommand};

/// Back up, restore and move the resources of Kubernetes clusters
#[derive(Debug, Parser)]
#[command(
    name = "ark",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done; 1 an error, or with --wait a run that did not end as Completed; 2 wrong usage."
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(client::Command),
    /// Run the server, which makes backups and carries out restores
    Server(ServerArgs),
    /// Say what can stand at the end of a command line; the scripts of `ark completion` ask this
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
    /// Become a plugin; the server starts its plugins so
    #[cfg(feature = "plugins")]
    #[command(name = LAUNCH_COMMAND, hide = true, disable_help_flag = true)]
    Plugin(LaunchArgs),
}

/// Which plugin to become.
#[cfg(feature = "plugins")]
#[derive(Debug, clap::Args)]
struct LaunchArgs {
    /// The process that asks for it
    parent: u32,
    /// The plugin's program
    file: std::path::PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<std::ffi::OsString>,
}

fn main() -> ExitCode {
    // Fails only where a provider is installed already, which would serve as well.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version come this way too, and go to standard output.
            usage.print().ok();
            return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // Before anything else is made that the plugin would inherit.
    #[cfg(feature = "plugins")]
    if let Command::Plugin(LaunchArgs { parent, file, args }) = &cli.command {
        let error = become_plugin(*parent, file, args);
        client::print_error(&anyhow::anyhow!(error).context(format!("start {}", file.display())));
        return ExitCode::FAILURE;
    }
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotCompleted) => ExitCode::FAILURE,
        Err(error) => {
            client::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Client(command) => {
            client::run(cli.global, command, &Surroundings::of_process()).await
        }
        #[cfg_attr(
            not(feature = "plugins"),
            expect(unused_mut, reason = "nothing is started through this program")
        )]
        Command::Server(mut args) => {
            #[cfg(feature = "plugins")]
            {
                args.launcher = this_program();
            }
            let (connect, namespace) = cli.global.for_server()?;
            let environment = Environment::of_process(&args.plugin_env);
            server::run(args, connect, namespace, environment).await?;
            Ok(Outcome::Done)
        }
        Command::Complete(args) => {
            client::complete(Cli::command(), &Surroundings::of_process(), &args)?;
            Ok(Outcome::Done)
        }
        #[cfg(feature = "plugins")]
        Command::Plugin(_) => anyhow::bail!("it has become a plugin"),
    }
}

#[cfg(test)]
#[path = "main/docs.rs"]
mod docs;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
