//! `ark bug`: begins a bug report in a browser, or prints what one would say.
//!
//! It never waits long: for `kubectl version` and for the browser's start there is a limit each, and without a display
//! nothing is started.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use tokio::process::Command;
use tokio::time::timeout;
use url::Url;

use super::context::Context;
use super::surroundings::Surroundings;
use super::{Outcome, output, version};

/// Where reports go.
const ISSUES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues/new");
/// How long `kubectl version` may take; it asks the cluster.
const KUBECTL_LIMIT: Duration = Duration::from_secs(5);
/// How long to watch whether a browser starts. Most openers end at once; one that goes on is the browser itself.
const BROWSER_LIMIT: Duration = Duration::from_secs(3);

/// Nothing to choose.
#[derive(Args, Debug)]
pub struct BugArgs {}

pub(crate) async fn run(
    context: &Context,
    surroundings: &Surroundings,
    _: BugArgs,
) -> anyhow::Result<Outcome> {
    let kubectl = kubectl_version(context).await.unwrap_or_else(|problem| {
        output::warn(&format!(
            "the report lacks the versions of kubectl and the cluster: {problem:#}"
        ));
        "unknown".to_owned()
    });
    let body = body(&version::lines(), &kubectl);
    let url = Url::parse_with_params(ISSUES, [("body", body.as_str())])
        .context("writing the report's address")?;
    if let Some((program, arguments)) = opener(std::env::consts::OS, surroundings.has_display)
        && opened(program, arguments, &url).await
    {
        output::line("The report is begun in your browser.")?;
        return Ok(Outcome::Done);
    }
    output::line(&format!(
        "To report a bug, open this address:\n\n{url}\n\nIt begins the report with this text:\n\n{body}"
    ))?;
    Ok(Outcome::Done)
}

/// Writes the text that a report begins with.
fn body(version: &str, kubectl: &str) -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "**What happened**\n\n\n\
         **What you expected instead**\n\n\n\
         **How to make it happen again**\n\n\n\
         **Where it happened**\n\
         ```\n{version}Client: {os}/{arch}\n```\n\
         `kubectl version`:\n\
         ```\n{}\n```\n",
        kubectl.trim()
    )
}

/// Asks kubectl for its version and the cluster's.
async fn kubectl_version(context: &Context) -> anyhow::Result<String> {
    let options = context.connect_options();
    let mut command = Command::new("kubectl");
    command.arg("version");
    if let Some(path) = &options.kubeconfig {
        command.arg("--kubeconfig").arg(path);
    }
    if let Some(name) = &options.context {
        command.arg("--context").arg(name);
    }
    output_of(command, KUBECTL_LIMIT)
        .await
        .context("running `kubectl version`")
}

/// Runs a program and returns what it printed; it is killed at the limit.
async fn output_of(mut command: Command, limit: Duration) -> anyhow::Result<String> {
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(limit, child)
        .await
        .map_err(|_| anyhow!("no answer within {}s", limit.as_secs()))??;
    // Without a cluster kubectl fails after it has said its own version, which is better than nothing.
    if !output.status.success() && output.stdout.is_empty() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the program that opens an address in a browser, with its first arguments; `None` where no browser can show
/// itself.
fn opener(os: &str, has_display: bool) -> Option<(&'static str, &'static [&'static str])> {
    match os {
        "macos" => Some(("open", &[])),
        "windows" => Some(("rundll32", &["url.dll,FileProtocolHandler"])),
        _ if has_display => Some(("xdg-open", &[])),
        _ => None,
    }
}

/// Starts the browser and returns whether that worked.
async fn opened(program: &str, arguments: &[&str], url: &Url) -> bool {
    let child = Command::new(program)
        .args(arguments)
        .arg(url.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    match timeout(BROWSER_LIMIT, child.wait()).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(_)) => false,
        // The opener has become the browser; it goes on without us.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_need_a_display() {
        for (os, has_display, program) in [
            ("macos", true, Some("open")),
            ("windows", true, Some("rundll32")),
            ("linux", true, Some("xdg-open")),
            ("linux", false, None),
            ("freebsd", true, Some("xdg-open")),
        ] {
            assert_eq!(
                opener(os, has_display).map(|(program, _)| program),
                program,
                "{os}"
            );
        }
    }

    #[test]
    fn reports_go_to_the_project() {
        let url = Url::parse_with_params(ISSUES, [("body", "a b&c")]).unwrap();
        assert_eq!(
            url.as_str(),
            "https://github.com/heptio/ark/issues/new?body=a+b%26c"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("3600");
        let problem = output_of(command, Duration::from_millis(1)).await;
        assert!(problem.unwrap_err().to_string().starts_with("no answer"));
    }
}
