//! `ark version`: says which build this is, without asking anybody.

use clap::Args;

use super::{Outcome, output};

/// Nothing to choose.
#[derive(Args, Debug)]
pub struct VersionArgs {}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set by the build script from the environment or git.
const COMMIT: Option<&str> = option_env!("ARK_GIT_COMMIT");
/// `clean` or `dirty`; set as the commit is.
const TREE_STATE: Option<&str> = option_env!("ARK_GIT_TREE_STATE");

pub(crate) fn run(_: &VersionArgs) -> anyhow::Result<Outcome> {
    let unknown = "<unknown>";
    output::line(&format!("Version: {VERSION}"))?;
    output::line(&format!("Git commit: {}", COMMIT.unwrap_or(unknown)))?;
    output::line(&format!(
        "Git tree state: {}",
        TREE_STATE.unwrap_or(unknown)
    ))?;
    Ok(Outcome::Done)
}

/// Returns what the API server's logs call this program.
pub(crate) fn user_agent() -> String {
    agent("ark")
}

/// Returns what the API server's logs call the server.
pub(crate) fn server_user_agent() -> String {
    agent("ark-server")
}

fn agent(name: &str) -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = match (COMMIT, TREE_STATE) {
        (None, _) => String::new(),
        (Some(commit), None | Some("clean")) => format!(" {commit}"),
        (Some(commit), Some(state)) => format!(" {commit}-{state}"),
    };
    format!("{name}/{VERSION} ({os}/{arch}){build}")
}
