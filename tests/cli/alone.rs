//! Commands that need no cluster: settings, completion, bug reports, and flags that are accepted for old scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::ark;

/// Returns exit code, standard output and standard error, as one text.
fn transcript_at(home: &Path, args: &[&str]) -> String {
    let output = ark(args).env("HOME", home).output().unwrap();
    format!(
        "$ ark {}\n{}{}exit code {}\n",
        args.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap_or(-1)
    )
    .replace(home.to_str().unwrap(), "<home>")
}

#[test]
fn settings_are_set_and_shown() {
    let home = tempfile::tempdir().unwrap();
    let texts: Vec<String> = [
        &["client", "config", "get"][..],
        &["client", "config", "get", "namespace"],
        &[
            "client",
            "config",
            "set",
            "namespace=elsewhere",
            "colour=blue",
        ],
        &["client", "config", "get"],
        &["client", "config", "get", "colour", "taste"],
        &["client", "config", "set", "namespace=Ark", "colour=red"],
        &["client", "config", "set", "a=b=c", "namespace", "colour="],
        &["client", "config", "get"],
    ]
    .iter()
    .map(|args| transcript_at(home.path(), args))
    .collect();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(texts.join("\n"));
    });
    let file = home.path().join(".config/ark/config.json");
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "{\n  \"namespace\": \"elsewhere\"\n}\n"
    );
}

#[test]
fn the_namespace_comes_from_flag_then_settings() {
    let home = tempfile::tempdir().unwrap();
    let create = |more: &[&str]| {
        let args = [&["backup", "create", "b", "-o", "yaml"], more].concat();
        transcript_at(home.path(), &args)
    };
    assert!(create(&[]).contains("namespace: heptio-ark\n"));
    let set = transcript_at(
        home.path(),
        &["client", "config", "set", "namespace=elsewhere"],
    );
    assert!(set.ends_with("exit code 0\n"), "{set}");
    assert!(create(&[]).contains("namespace: elsewhere\n"));
    assert!(create(&["-n", "asked"]).contains("namespace: asked\n"));
}

#[test]
fn settings_that_cannot_be_read_stop_only_what_is_about_them() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/ark");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), "namespace = ark").unwrap();
    let mut texts: Vec<String> = [
        &["backup", "create", "b", "-o", "table"][..],
        &["version"],
        &["client", "config", "get"],
        &["client", "config", "set", "namespace=ark"],
    ]
    .iter()
    .map(|args| transcript_at(home.path(), args))
    .collect();
    let file = folder.join("config.json");
    assert_eq!(fs::read_to_string(&file).unwrap(), "namespace = ark");
    fs::write(&file, r#"{"namespace": "Not One"}"#).unwrap();
    texts.push(transcript_at(home.path(), &["backup", "get"]));
    insta::with_settings!({ omit_expression => true, filters => [(r"(?m)^(Version|Git commit|Git tree state): .+$", "$1: <set>")] }, {
        insta::assert_snapshot!(texts.join("\n"));
    });
}

#[test]
fn flags_of_the_logging_library_change_nothing() {
    let plain = ark(&["version"]).output().unwrap();
    for flags in [
        &["-v", "4"][..],
        &["-v=4"],
        &["-v4"],
        &["--v", "4"],
        &["--v=4", "--v=5"],
        &["--vmodule", "a=1,b=2"],
        &["--logtostderr"],
        &["--logtostderr=false", "--alsologtostderr"],
        &["--log_dir", "/tmp", "--log_backtrace_at=a.go:1"],
        &["--stderrthreshold", "ERROR"],
    ] {
        for args in [
            [flags, &["version"]].concat(),
            [&["version"], flags].concat(),
        ] {
            assert_eq!(ark(&args).output().unwrap(), plain, "{args:?}");
        }
    }
}

#[test]
fn scripts_for_shells() {
    for (shell, line) in [
        ("bash", "complete -F _ark ark"),
        ("zsh", "#compdef ark"),
        ("fish", "complete --command ark"),
    ] {
        let output = ark(&["completion", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shell}");
        assert!(
            script.lines().any(|one| one.starts_with(line)),
            "{shell}: {script}"
        );
        assert_eq!(script.starts_with("#compdef ark\n"), shell == "zsh");
    }
}

/// Loads the script into bash, presses the tab key behind `words` and returns what it offers.
fn offered_by_bash(words: &[&str]) -> Option<Vec<String>> {
    let folder = Path::new(env!("CARGO_BIN_EXE_ark")).parent()?;
    let output = Command::new("bash")
        .args(["--norc", "-c", PRESS_TAB, "bash"])
        .args(words)
        .env("PATH", with_path(folder))
        .env("HOME", "/nonexistent")
        .env_remove("KUBECONFIG")
        .output()
        // There may be no bash.
        .ok()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    let offered = String::from_utf8_lossy(&output.stdout);
    Some(offered.lines().map(str::to_owned).collect())
}

/// What bash does when the tab key is pressed behind its arguments.
const PRESS_TAB: &str = r#"
source <(ark completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_ark ark "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn with_path(folder: &Path) -> std::ffi::OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&others));
    std::env::join_paths(folders).unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    for (words, offered) in [
        (&["ark", "rest"][..], &["restore"][..]),
        (&["ark", "backup", "de"], &["describe", "delete"]),
        (&["ark", "backup", "get", "--sel"], &["--selector"]),
        (&["ark", "backup", "get", "-o", "j"], &["json"]),
        (&["ark", "backup", "get", "--output", "=", "y"], &["yaml"]),
        (&["ark", "completion", "z"], &["zsh"]),
        // There is no cluster, and not a word about it.
        (&["ark", "backup", "describe", ""], &[""]),
    ] {
        let Some(found) = offered_by_bash(words) else {
            return;
        };
        assert_eq!(found, offered, "{words:?}");
    }
}

/// Makes a folder with programs, which are scripts.
fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in scripts {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn bug(folder: &Path, display: Option<&str>) -> Output {
    let mut command = ark(&["bug", "--kubeconfig", "/some/kubeconfig"]);
    command.env("PATH", folder);
    if let Some(display) = display {
        command.env("DISPLAY", display);
    }
    command.output().unwrap()
}

#[test]
fn a_bug_report_is_printed_where_no_browser_is() {
    const KUBECTL: (&str, &str) = ("kubectl", "echo \"Client Version: v1.36.3 ($*)\"");
    let mut texts = Vec::new();
    for (scripts, display) in [
        (&[KUBECTL][..], None),
        // Nothing opens a browser, and kubectl does not work.
        (&[("kubectl", "echo no cluster >&2; exit 1")], Some(":0")),
        (&[KUBECTL, ("xdg-open", "exit 3")], Some(":0")),
    ] {
        let folder = programs(scripts);
        let output = bug(folder.path(), display);
        texts.push(format!(
            "{}{}{}\n",
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status
        ));
    }
    insta::with_settings!({ omit_expression => true, filters => [
        (r"(?m)^(Version|Git commit|Git tree state|Client): .+$", "$1: <set>"),
        (r"body=\S+", "body=<text>"),
    ] }, {
        insta::assert_snapshot!(texts.join("\n"));
    });
}

#[test]
fn a_bug_report_opens_in_a_browser() {
    let folder = programs(&[
        ("kubectl", "echo v1"),
        ("xdg-open", "printf '%s' \"$1\" > \"${0%/*}/opened\""),
    ]);
    let output = bug(folder.path(), Some(":0"));
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "The report is begun in your browser.\n"
    );
    let opened = fs::read_to_string(folder.path().join("opened")).unwrap();
    assert!(
        opened.starts_with("https://github.com/heptio/ark/issues/new?body="),
        "{opened}"
    );
    assert!(opened.contains("Git+commit%3A"), "{opened}");
}
