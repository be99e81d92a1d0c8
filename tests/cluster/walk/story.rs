//! Tells the transcript of a walk: runs commands as a user with a home of their own, writes down what they say without
//! what varies, and knows which commands there are.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::support::ark::Installation;
use crate::support::{PATIENCE, wait_until};

/// Commands that the walk passes by, and why.
const PASSED_BY: [(&str, &str); 2] = [
    ("install", "it sets up a cluster; install.rs walks it"),
    ("server", "it does not end; it is what answers the walk"),
];

/// What is different each time, and what stands in its place: in tables something of the same width.
const VARIES: [(&str, &str); 19] = [
    (r"\bark-[0-9a-f]{8}\b", "<ark>"),
    (r"\bwalk-[0-9a-f]{8}\b", "<shop>"),
    (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC",
        "2017-07-26 11:41:14 +0000 UTC",
    ),
    (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
        "2017-07-26T11:41:14Z",
    ),
    (r"-\d{14}\b", "-20170726114114"),
    (r"\b\d\d[sm] ago", "0s ago "),
    (r"\b\d[smh] ago", "0s ago"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (
        r#"(resourceVersion"?): ["']?\d+["']?"#,
        r#"$1: "<version>""#,
    ),
    (r#"(generation"?): \d+"#, "$1: <generation>"),
    (r#"("?size"?): \d+"#, "$1: <size>"),
    (r"\d+ bytes", "<size> bytes"),
    (r"after \d+\.\ds", "after <seconds>"),
    (
        r"(?m)^(Version|Git commit|Git tree state): .+$",
        "$1: <set>",
    ),
    (r"(?m)^Client: \S+$", "Client: <os>/<arch>"),
    (r"body=\S+", "body=<report>"),
    // The lines of progress: how often one comes, and what it has seen by then, is a matter of time.
    (
        r"(?m)^(New: waiting for the server to begin|New|InProgress(: \d+ of \d+ items.*)?)\n",
        "",
    ),
    (r"(?m) +$", ""),
];

/// A user with a home of their own, and what they have seen.
pub(super) struct Story {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
    ran: Vec<Vec<String>>,
    text: String,
    hidden: Vec<(String, &'static str)>,
}

impl Story {
    pub(super) fn begin(ark: &Installation<'_>) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let hidden = vec![
            (
                ark.bucket()
                    .parent()
                    .context("a folder")?
                    .display()
                    .to_string(),
                "<store>",
            ),
            (home.path().display().to_string(), "<home>"),
        ];
        Ok(Self {
            program: PathBuf::from(env!("CARGO_BIN_EXE_ark")),
            kubeconfig: ark.plane().kubeconfig().to_owned(),
            home,
            ran: Vec::new(),
            text: String::new(),
            hidden,
        })
    }

    /// Returns the directory that commands run in.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs `ark` with nothing of the caller's environment: no display, no kubectl, no settings but the story's own.
    fn output(&self, words: &[&str], answer: &str) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(self.home.path())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run ark")?;
        // A command that asks nothing may have ended before it is answered.
        child
            .stdin
            .take()
            .context("a pipe")?
            .write_all(answer.as_bytes())
            .ok();
        child.wait_with_output().context("wait for ark")
    }

    fn tell(&mut self, line: &str, answer: &str, most: usize) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.output(&words, answer)?;
        self.ran
            .push(words.into_iter().map(str::to_owned).collect());
        let out = String::from_utf8(output.stdout)?;
        let err = String::from_utf8(output.stderr)?;
        let mut shown: String = out.split_inclusive('\n').take(most).collect();
        if shown.len() < out.len() {
            shown.push_str("...\n");
        }
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push_str("<no end of line>\n");
        }
        let code = output.status.code().context("an exit code")?;
        let asked = if answer.is_empty() {
            String::new()
        } else {
            format!(" <<< {}", answer.trim())
        };
        for (path, name) in &self.hidden {
            shown = shown.replace(path, name);
        }
        let line = self
            .hidden
            .iter()
            .fold(line.to_owned(), |line, (path, name)| {
                line.replace(path, name)
            });
        let err = self
            .hidden
            .iter()
            .fold(err, |err, (path, name)| err.replace(path, name));
        let code = if code == 0 {
            String::new()
        } else {
            format!("exit code {code}\n")
        };
        self.text
            .extend(["$ ark ", &line, &asked, "\n", &shown, &err, &code, "\n"]);
        Ok(out)
    }

    /// Runs a command and returns what it printed.
    pub(super) fn run(&mut self, line: &str) -> Result<String> {
        self.tell(line, "", usize::MAX)
    }

    /// Runs a command that asks, with this answer.
    pub(super) fn answer(&mut self, line: &str, answer: &str) -> Result<String> {
        self.tell(line, &format!("{answer}\n"), usize::MAX)
    }

    /// Runs a command of whose output only the first line is told.
    pub(super) fn first_line(&mut self, line: &str) -> Result<String> {
        self.tell(line, "", 1)
    }

    /// Waits until a command prints what it should. The waiting is not told.
    pub(super) async fn until(
        &self,
        line: &str,
        seen: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        wait_until(&format!("`ark {line}` shows it"), PATIENCE, async || {
            let output = self.output(&words, "")?;
            let out = String::from_utf8(output.stdout)?;
            ensure!(output.status.success() && seen(&out), "{out}");
            Ok(Some(()))
        })
        .await
    }

    /// Ends a chapter: compares what was told since the last one.
    pub(super) fn chapter(&mut self, name: &str) {
        let text = std::mem::take(&mut self.text);
        insta::with_settings!({ omit_expression => true, filters => VARIES }, {
            insta::assert_snapshot!(name, text);
        });
    }

    /// Returns the commands below `path` that do something, with their aliases, as `--help` names them.
    fn commands(&self, path: &[String]) -> Result<Vec<Vec<String>>> {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = String::from_utf8(self.output(&words, "")?.stdout)?;
        let Some((_, listed)) = help.split_once("\nCommands:\n") else {
            return Ok(vec![path.to_vec()]);
        };
        let (listed, _) = listed.split_once("\n\n").unwrap_or((listed, ""));
        let mut found = Vec::new();
        // What stands further to the right goes on with the line before.
        for entry in listed.replace("\n   ", " ").lines() {
            let name = entry.split_whitespace().next().context("a command")?;
            let aliases = entry
                .split_once("[alias")
                .map_or("", |(_, aliases)| aliases);
            let aliases = aliases
                .trim_end_matches(']')
                .split([' ', ',', ':', ']'])
                .skip(1);
            for name in [name]
                .into_iter()
                .chain(aliases.filter(|name| !name.is_empty()))
            {
                let below = [path, &[name.to_owned()]].concat();
                found.extend(self.commands(&below)?);
            }
        }
        Ok(found)
    }

    /// Ends the story: every command was run.
    pub(super) fn end(&self) -> Result<()> {
        let commands = self.commands(&[])?;
        // The reading of the help has seen commands of every depth, and aliases.
        for known in [
            "version",
            "backup create",
            "client config set",
            "get backup",
            "delete snapshot-locations",
        ] {
            assert!(
                commands.iter().any(|path| path.join(" ") == known),
                "{known}: {commands:?}"
            );
        }
        let missed: Vec<String> = commands
            .iter()
            .filter(|path| !self.ran.iter().any(|words| words.starts_with(path)))
            .map(|path| path.join(" "))
            .collect();
        let passed_by: Vec<&str> = PASSED_BY.iter().map(|(name, _)| *name).collect();
        assert_eq!(missed, passed_by, "commands that the walk never ran");
        Ok(())
    }
}
