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
    output::text(&lines())?;
    Ok(Outcome::Done)
}

/// Returns what there is to say of this build, a line each.
pub(crate) fn lines() -> String {
    let unknown = "<unknown>";
    format!(
        "Version: {VERSION}\nGit commit: {}\nGit tree state: {}\n",
        COMMIT.unwrap_or(unknown),
        TREE_STATE.unwrap_or(unknown)
    )
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
