//! `ark completion`: prints the script that completes Ark's command line in a shell.
//!
//! The scripts know nothing of Ark's commands. They ask `ark __complete` with the words typed so far, so they fit every
//! later version too, and names come from the cluster. Whatever goes wrong there, nothing is printed and nothing offered.

mod names;
mod words;

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::context::{Context, GlobalArgs};
use super::surroundings::Surroundings;
use super::{Outcome, config, output};
use words::{Offer, Request};

/// What a script does about this line is up to its shell: completing the name of a file.
const FILES: &str = ":files";

/// Which shell to print a script for.
#[derive(Args, Debug)]
#[command(after_help = "To complete from now on:
  bash  echo 'source <(ark completion bash)' >> ~/.bashrc
  zsh   ark completion zsh > \"${fpath[1]}/_ark\"
  fish  ark completion fish > ~/.config/fish/completions/ark.fish")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

// Documented variants would make clap spread the help text over twice the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("ark.bash"),
            Self::Zsh => include_str!("ark.zsh"),
            Self::Fish => include_str!("ark.fish"),
        }
    }
}

pub(crate) fn run(args: &CompletionArgs) -> anyhow::Result<Outcome> {
    output::text(args.shell.script())?;
    Ok(Outcome::Done)
}

/// The words of a command line that is being typed.
#[derive(Args, Debug)]
pub struct CompleteArgs {
    /// The shell that asks
    #[arg(value_enum)]
    shell: Shell,
    /// The words after the program's name, up to the one to complete
    #[arg(last = true, value_name = "WORD")]
    words: Vec<OsString>,
}

/// Prints what can stand for the last of the words, a line each, with a description after a tab.
///
/// # Errors
/// Standard output is gone.
pub fn complete(
    tree: clap::Command,
    surroundings: &Surroundings,
    args: &CompleteArgs,
) -> anyhow::Result<()> {
    let typed: Vec<String> = args
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let typed = match args.shell {
        Shell::Bash => words::rejoin(typed),
        Shell::Zsh | Shell::Fish => typed,
    };
    let request = words::read(tree, &typed);
    // bash takes the equals sign for the end of a word.
    let prefix = match args.shell {
        Shell::Bash => "",
        Shell::Zsh | Shell::Fish => &request.prefix,
    };
    let lines = match &request.offer {
        Offer::Files => vec![FILES.to_owned()],
        Offer::Texts(texts) => texts
            .iter()
            .filter(|text| text.value.starts_with(&request.typed))
            .map(|text| format!("{prefix}{}\t{}", text.value, output::one_line(&text.help)))
            .collect(),
        Offer::Names { noun, but } => names::of(*noun, context(&request, surroundings))
            .into_iter()
            .filter(|name| name.starts_with(&request.typed) && !but.contains(name))
            .map(|name| format!("{prefix}{name}\t{}", noun.word()))
            .collect(),
    };
    for line in lines {
        output::line(&line)?;
    }
    Ok(())
}

/// Returns the cluster and namespace that the typed flags and the settings mean; `None` if they mean none.
fn context(request: &Request, surroundings: &Surroundings) -> Option<Context> {
    let settings = config::SettingsFile::of(surroundings)
        .and_then(|file| file.read())
        .unwrap_or_default();
    let flag = |name: &str| request.flags.get(name).cloned();
    let global = GlobalArgs::of(flag("kubeconfig"), flag("kubecontext"), flag("namespace"));
    Context::new(global, &settings).ok()
}
