//! The one place that prints. Results and questions go to standard output, errors and warnings to standard error.
//!
//! Text from the cluster passes [`one_line`] before it reaches a terminal; JSON and YAML escape it themselves.

use std::io::{self, BufRead, IsTerminal as _, Write};

use anyhow::Context as _;
use kube::Resource;
use serde::Serialize;

use super::download::Interrupted;
use super::flags::Format;

/// Prints text as it is.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to standard output")
}

/// Prints a line.
pub(crate) fn line(line: &str) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Prints a line to standard error that is no error: what goes on beside the result.
pub(crate) fn note(line: &str) {
    // Where standard error is gone there is nobody left to tell.
    writeln!(io::stderr(), "{}", one_line(line)).ok();
}

/// Prints an error with its causes as one line to standard error; a reader of our output that has gone is no error, and
/// neither is a user who has ended it.
pub fn error(error: &anyhow::Error) {
    let is_gone = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    let is_interrupted = error
        .chain()
        .any(<dyn std::error::Error>::is::<Interrupted>);
    if is_gone || is_interrupted {
        return;
    }
    let message = one_line(&format!("{error:#}"));
    // Where standard error is gone as well there is nobody left to tell.
    writeln!(io::stderr(), "An error occurred: {message}").ok();
}

/// Prints a warning as one line to standard error.
pub(crate) fn warn(message: &str) {
    // Where standard error is gone there is nobody to warn.
    writeln!(io::stderr(), "Warning: {}.", one_line(message)).ok();
}

/// Prints a log as it comes. On a terminal it is printed line by line, with nothing in it that could move the cursor.
#[derive(Debug)]
pub(crate) struct Log<W> {
    out: W,
    is_terminal: bool,
    line: Vec<u8>,
}

impl Log<io::Stdout> {
    /// Prints to standard output.
    pub(crate) fn new() -> Self {
        let out = io::stdout();
        Self {
            is_terminal: out.is_terminal(),
            out,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Log<W> {
    /// Prints a last line that does not end as one.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.write_all(b"\n")?;
        }
        self.flush()
    }
}

impl<W: Write> Write for Log<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.out.write(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.line);
                writeln!(self.out, "{}", one_line(&line))?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Asks a question until it is answered with yes or no; an input that has ended means no.
pub(crate) fn confirm(question: &str, mut input: impl BufRead) -> bool {
    loop {
        if text(&format!("{question} (Y/N)? ")).is_err() {
            return false;
        }
        let mut answer = String::new();
        match input.read_line(&mut answer) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match answer.trim() {
            "y" | "Y" => return true,
            "n" | "N" => return false,
            _ => {}
        }
    }
}

/// Returns text with everything that could move a cursor or break a line turned into spaces.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    spaced.trim().to_owned()
}

/// Writes objects as JSON or YAML: a single one bare, else in a `List`. Managed fields are left out, as kubectl does.
pub(crate) fn encode<K>(format: Format, objects: &[K]) -> anyhow::Result<String>
where
    K: Clone + Resource + Serialize,
{
    let values = objects
        .iter()
        .map(|object| {
            let mut object = object.clone();
            object.meta_mut().managed_fields = None;
            serde_json::to_value(object)
        })
        .collect::<Result<Vec<_>, _>>()
        .context("encoding the objects")?;
    let value = match <[_; 1]>::try_from(values) {
        Ok([single]) => single,
        Err(items) => serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    };
    encode_value(format, &value)
}

/// Writes a value as JSON or YAML.
pub(crate) fn encode_value(format: Format, value: &serde_json::Value) -> anyhow::Result<String> {
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(value).context("encoding JSON")?;
            Ok(format!("{json}\n"))
        }
        // A table is the caller's to draw; whoever asks here wants the objects themselves.
        Format::Yaml | Format::Table => yaml(value),
    }
}

/// Writes a value as one YAML document, ending with a newline.
pub(crate) fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut yaml = serde_saphyr::to_string(value).context("encoding YAML")?;
    if !yaml.ends_with('\n') {
        yaml.push('\n');
    }
    Ok(yaml)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Backup, BackupSpec};

    #[test]
    fn questions_are_asked_until_answered() {
        for (typed, answer) in [
            ("y\n", true),
            ("Y\n", true),
            ("n\n", false),
            ("maybe\n\nN\n", false),
            ("perhaps\ny\n", true),
            ("", false),
            ("yes", false),
        ] {
            assert_eq!(confirm("Sure", typed.as_bytes()), answer, "{typed:?}");
        }
    }

    #[test]
    fn one_object_is_bare_and_several_are_a_list() {
        let backup = Backup::new("a", BackupSpec::default());
        let json = encode(Format::Json, std::slice::from_ref(&backup)).unwrap();
        assert!(json.contains("\"kind\": \"Backup\""), "{json}");
        assert!(!json.contains("\"List\""), "{json}");
        let yaml = encode(Format::Yaml, &[backup.clone(), backup]).unwrap();
        assert!(
            yaml.starts_with("apiVersion: v1\nkind: List\nitems:\n"),
            "{yaml}"
        );
        let none = encode::<Backup>(Format::Json, &[]).unwrap();
        assert!(none.contains("\"items\": []"), "{none}");
    }

    #[test]
    fn yaml_quotes_what_other_readers_would_misread() {
        let value = serde_json::json!({ "a": "yes", "b": "1", "c": "1e3", "d": "null", "e": "", "f": "2017-01-01",
            "g": "on", "h": "a: b", "i": "*", "j": "0x1f", "k": "~", "l": "1:30", "m": "0o17", "n": "017" });
        insta::assert_snapshot!(yaml(&value).unwrap());
    }

    #[test]
    fn a_log_on_a_terminal_is_harmless_and_elsewhere_as_it_is() {
        for (is_terminal, printed) in [
            (true, "a [31mb\nlong line\nlast\n"),
            (false, "a\u{1b}[31mb\nlong line\nlast"),
        ] {
            let mut out = Vec::new();
            let mut log = Log {
                out: &mut out,
                is_terminal,
                line: Vec::new(),
            };
            for piece in ["a\u{1b}[31mb\nlong", " line\nla", "st"] {
                log.write_all(piece.as_bytes()).unwrap();
            }
            log.finish().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), printed);
        }
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\t"), "a b [31mc");
    }
}
