//! Command lines against a small tree of the client's own commands.

use clap::Parser;

use super::*;
use crate::client::{self, GlobalArgs};

#[derive(Debug, Parser)]
#[command(name = "ark")]
struct Cli {
    #[command(flatten)]
    _global: GlobalArgs,
    #[command(subcommand)]
    _command: client::Command,
}

/// Reads a line; its words are what stands between single spaces, so a line may end with an empty word.
fn read_line(line: &str) -> Request {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    read(<Cli as clap::CommandFactory>::command(), &words)
}

fn offer(line: &str) -> Offer {
    read_line(line).offer
}

fn values(line: &str) -> Vec<String> {
    let request = read_line(line);
    match request.offer {
        Offer::Texts(texts) => texts
            .into_iter()
            .map(|text| text.value)
            .filter(|value| value.starts_with(&request.typed))
            .collect(),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn names(noun: Noun, but: &[&str]) -> Offer {
    Offer::Names {
        noun,
        but: but.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn commands_are_offered_where_they_can_stand() {
    for (line, offered) in [
        ("rest", &["restore"][..]),
        ("backup de", &["describe", "delete"]),
        ("-n ark backup de", &["describe", "delete"]),
        ("--namespace=ark backup de", &["describe", "delete"]),
        // A namespace may be called as a command is.
        ("-n backup restore cr", &["create"]),
        ("get rest", &["restores"]),
        (
            "backup frobnicate ",
            &["create", "get", "describe", "delete"],
        ),
        ("nonsense", &[]),
    ] {
        let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
        let found = values(line);
        assert!(
            offered.iter().all(|name| found.contains(name))
                && found.is_empty() == offered.is_empty(),
            "{line:?}: {found:?}"
        );
    }
}

#[test]
fn names_are_offered_where_they_can_stand() {
    for (line, expected) in [
        ("backup describe ", names(Noun::Backup, &[])),
        ("backup describe ngi", names(Noun::Backup, &[])),
        ("describe backups ", names(Noun::Backup, &[])),
        ("describe backup ", names(Noun::Backup, &[])),
        ("backup delete a b ", names(Noun::Backup, &["a", "b"])),
        ("backup delete --confirm a ", names(Noun::Backup, &["a"])),
        ("backup delete -- -a ", names(Noun::Backup, &["-a"])),
        ("get restores ", names(Noun::Restore, &[])),
        ("restore logs --follow ", names(Noun::Restore, &[])),
        ("schedule pause a ", names(Noun::Schedule, &["a"])),
        ("schedule create ", Offer::Texts(vec![])),
        ("backup create --from-schedule ", names(Noun::Schedule, &[])),
        (
            "schedule create s --storage-location ",
            names(Noun::BackupLocation, &[]),
        ),
        (
            "get snapshot-locations ",
            names(Noun::SnapshotLocation, &[]),
        ),
        ("backup download b -o ", Offer::Files),
        ("backup logs b --cacert ", Offer::Files),
        ("delete restore -n x a ", names(Noun::Restore, &["a"])),
        ("restore create ", names(Noun::Backup, &[])),
        ("restore create --from-backup ", names(Noun::Backup, &[])),
        ("restore create --from-backup=n", names(Noun::Backup, &[])),
        ("restore create --from-backup b ", Offer::Texts(vec![])),
        ("backup create ", Offer::Texts(vec![])),
        ("backup get -l ", Offer::Texts(vec![])),
        ("--kubeconfig ", Offer::Files),
        ("backup get --kubeconfig=/et", Offer::Files),
    ] {
        assert_eq!(offer(line), expected, "{line:?}");
    }
}

#[test]
fn flags_are_offered_after_a_dash() {
    let flags = values("backup get --");
    for flag in ["--selector", "--output", "--namespace", "--help"] {
        assert!(flags.contains(&flag.to_owned()), "{flags:?}");
    }
    // Hidden ones are accepted, not offered.
    assert!(!flags.contains(&"--vmodule".to_owned()), "{flags:?}");
    assert_eq!(values("backup get --sel"), ["--selector"]);
    assert_eq!(values("backup get -o "), ["table", "json", "yaml"]);
    assert_eq!(values("backup get -o j"), ["json"]);
    assert_eq!(values("backup get --output=y"), ["yaml"]);
    assert_eq!(read_line("backup get --output=y").prefix, "--output=");
}

#[test]
fn flags_before_the_word_are_known() {
    for line in [
        "-n x backup get ",
        "-nx backup get ",
        "-n=x backup get ",
        "backup get --namespace x ",
        "backup get --namespace=x ",
        "backup get -o json -n x ",
        "backup create b --snapshot-volumes -n x ",
    ] {
        let flags = read_line(line).flags;
        assert_eq!(
            flags.get("namespace").map(String::as_str),
            Some("x"),
            "{line:?}"
        );
    }
}

#[test]
fn words_of_bash_are_put_together() {
    for (words, joined) in [
        (&["a", "--b", "=", "c"][..], &["a", "--b=c"][..]),
        (&["--b", "=", ""], &["--b="]),
        (&["--b", "=", "c", "d"], &["--b=c", "d"]),
        (&["--m", "a", ":", "b", "c"], &["--m", "a:b", "c"]),
        (&["a", ""], &["a", ""]),
        (&["="], &["="]),
    ] {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(rejoin(words), joined);
    }
}

#[test]
fn no_line_is_too_odd() {
    for line in [
        "",
        "-",
        "--",
        "-- ",
        "--x=",
        "=",
        "-n",
        "-n ",
        "--namespace= ",
        "restic -x --y ",
        "-é ",
        "-é=",
        "backup describe -n",
        "a b c d ",
        "--- ",
    ] {
        read_line(line);
    }
}
