//! The pages on the command line, `docs/cli.md` and `docs/ark.1`: made from the tree of commands, and compared with what
//! is committed. To write them anew: `make docs`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

/// What the pages say of one command.
struct Entry {
    /// The command as it is typed.
    name: String,
    about: String,
    /// The line of its use.
    usage: String,
    /// Other forms of the command.
    also: Vec<String>,
    arguments: Vec<Argument>,
    after: String,
}

/// What the pages say of one argument.
struct Argument {
    term: String,
    help: String,
}

/// What the tree does not say: a heading and its text each.
const NOTES: [(&str, &str); 2] = [
    (
        "Settings",
        "`ark client config` keeps the settings of the client in `$HOME/.config/ark/config.json`, where the original \
         Ark has them too; `XDG_CONFIG_HOME` is not looked at. Their `namespace` stands for `-n` where that is not \
         given. A file that cannot be read is warned of and left out. The server does not read it.",
    ),
    (
        "Flags of older scripts",
        "The flags of the original's logging library are accepted with every command and change nothing: `-v`, `--v`, \
         `--vmodule`, `--logtostderr`, `--alsologtostderr`, `--log_dir`, `--log_backtrace_at` and `--stderrthreshold`. \
         The client logs nothing, and the server has `--log-level`. `--namespace` and its like may stand before or \
         behind a command.",
    ),
];

/// The groups of verb-first forms. What is in them stands with the noun-first form.
const VERBS: [&str; 4] = ["create", "get", "describe", "delete"];

/// Returns the entries of `ark` itself and of every command that does something.
fn entries() -> Vec<Entry> {
    let mut tree = Cli::command();
    tree.build();
    let mut found = vec![entry(&tree, &["ark"], Vec::new(), |_| true)];
    collect(&tree, &tree, &["ark"], &mut found);
    found
}

fn collect(root: &Command, group: &Command, path: &[&str], found: &mut Vec<Entry>) {
    // Flags of all commands stand with the root alone.
    let is_own = |argument: &Arg| {
        root.get_arguments()
            .all(|one| one.get_id() != argument.get_id())
    };
    for command in group.get_subcommands().filter(|c| !c.is_hide_set()) {
        let path = [path, &[command.get_name()]].concat();
        match path[..] {
            [_, verb] if VERBS.contains(&verb) => {}
            _ if command.has_subcommands() => collect(root, command, &path, found),
            _ => found.push(entry(command, &path, verb_first(root, &path), is_own)),
        }
    }
}

/// Returns the verb-first form of a command, if there is one.
fn verb_first(root: &Command, path: &[&str]) -> Vec<String> {
    let [_, noun, verb] = path else {
        return Vec::new();
    };
    root.find_subcommand(verb)
        .into_iter()
        .filter_map(|group| group.find_subcommand(noun))
        .flat_map(Command::get_name_and_visible_aliases)
        .map(|name| format!("ark {verb} {name}"))
        .collect()
}

fn entry(
    command: &Command,
    path: &[&str],
    also: Vec<String>,
    is_shown: impl Fn(&Arg) -> bool,
) -> Entry {
    let usage = command.clone().render_usage().to_string();
    // As in the line of use, arguments that have a place come first.
    let (placed, flags): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && is_shown(argument))
        .partition(|argument| argument.is_positional());
    Entry {
        name: path.join(" "),
        also,
        about: text(command.get_about()),
        usage: usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned(),
        arguments: placed.into_iter().chain(flags).map(argument).collect(),
        after: text(command.get_after_help()),
    }
}

fn argument(argument: &Arg) -> Argument {
    let mut help = text(argument.get_help());
    if argument.get_action().takes_values() {
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let possible = argument
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        for (what, values) in [("default", default), ("one of", possible)] {
            let values: Vec<String> = values;
            if !values.is_empty() && !argument.is_hide_possible_values_set() {
                let _ = write!(help, " [{what}: {}]", values.join(", "));
            }
        }
    }
    let term = argument.to_string();
    let term = match argument.get_short() {
        Some(short) if !argument.is_positional() => format!("-{short}, {term}"),
        _ => term,
    };
    Argument { term, help }
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn markdown(entries: &[Entry]) -> String {
    let mut out = String::from(
        "<!-- Made from the code; do not edit. To make it again: make docs -->\n\n# The command line\n",
    );
    for entry in entries {
        let _ = write!(
            out,
            "\n## {}\n\n{}.\n\n```\n{}\n```\n",
            entry.name, entry.about, entry.usage
        );
        if !entry.also.is_empty() {
            let _ = write!(out, "\nAlso: `{}`.\n", entry.also.join("`, `"));
        }
        if !entry.arguments.is_empty() {
            out.push_str("\n| | |\n|---|---|\n");
        }
        for Argument { term, help } in &entry.arguments {
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {} |", cell(term), cell(help));
        }
        match entry.after.lines().count() {
            0 => {}
            1 => {
                let _ = write!(out, "\n{}\n", entry.after);
            }
            _ => {
                let _ = write!(out, "\n```\n{}\n```\n", entry.after);
            }
        }
    }
    for (heading, text) in NOTES {
        let _ = write!(out, "\n## {heading}\n\n{text}\n");
    }
    out
}

fn man(entries: &[Entry]) -> String {
    let (root, commands) = entries.split_first().unwrap();
    let mut out = format!(
        ".\\\" Made from the code; do not edit. To make it again: make docs\n\
         .TH ARK 1 \"\" \"ark {}\" \"Ark\"\n.nh\n.SH NAME\nark \\- {}\n.SH SYNOPSIS\n{}\n.SH OPTIONS\n",
        env!("CARGO_PKG_VERSION"),
        roff(&root.about),
        as_it_stands(&root.usage)
    );
    out += &man_arguments(root);
    out += ".SH COMMANDS\n";
    for entry in commands {
        let _ = write!(
            out,
            ".SS {}\n{}.\n.PP\n{}\n",
            roff(&entry.name),
            roff(&entry.about),
            as_it_stands(&entry.usage)
        );
        if !entry.also.is_empty() {
            let _ = write!(out, ".PP\nAlso: {}.\n", roff(&entry.also.join(", ")));
        }
        out += &man_arguments(entry);
        if !entry.after.is_empty() {
            let _ = write!(out, ".PP\n{}\n", as_it_stands(&entry.after));
        }
    }
    for (heading, text) in NOTES {
        let _ = write!(out, ".SH {}\n{}\n", heading.to_uppercase(), roff(text));
    }
    let _ = write!(out, ".SH EXIT STATUS\n{}\n", roff(&root.after));
    out
}

fn man_arguments(entry: &Entry) -> String {
    let mut out = String::new();
    for Argument { term, help } in &entry.arguments {
        let _ = write!(out, ".TP\n\\fB{}\\fR\n{}\n", roff(term), roff(help));
    }
    out
}

/// Writes lines that are not to be filled.
fn as_it_stands(text: &str) -> String {
    format!(".nf\n{}\n.fi", roff(text))
}

/// Escapes what means something to roff: backslashes, dashes that are no hyphens, dots and quotes at a line's start.
fn roff(text: &str) -> String {
    let escape = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        format!("{guard}{line}")
    };
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[test]
fn docs_match_the_commands() {
    let entries = entries();
    let mut drifted = Vec::new();
    for (name, made) in [("cli.md", markdown(&entries)), ("ark.1", man(&entries))] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &made).unwrap();
        }
        if fs::read_to_string(&file).unwrap_or_default() != made {
            drifted.push(name);
        }
    }
    assert!(
        drifted.is_empty(),
        "in docs/, {} differ from the commands; run `make docs` and commit the result",
        drifted.join(" and ")
    );
}

#[test]
fn what_means_something_to_roff_is_escaped() {
    assert_eq!(roff(".a\n'b\nc-d\\e"), "\\&.a\n\\&'b\nc\\-d\\ee");
}
