//! The one place that prints. Results and questions go to standard output, errors to standard error.
//!
//! Text from the cluster passes [`one_line`] before it reaches a terminal; JSON and YAML escape it themselves.

use std::io::{self, BufRead, Write};

use anyhow::Context as _;
use kube::Resource;
use serde::Serialize;

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

/// Prints an error with its causes as one line to standard error; a reader of our output that has gone is no error.
pub fn error(error: &anyhow::Error) {
    let is_gone = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if is_gone {
        return;
    }
    let message = one_line(&format!("{error:#}"));
    // Where standard error is gone as well there is nobody left to tell.
    writeln!(io::stderr(), "An error occurred: {message}").ok();
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
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&value).context("encoding JSON")?;
            Ok(format!("{json}\n"))
        }
        // A table is the caller's to draw; whoever asks here wants the objects themselves.
        Format::Yaml | Format::Table => yaml(&value),
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
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\t"), "a b [31mc");
    }
}
