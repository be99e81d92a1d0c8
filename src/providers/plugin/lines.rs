//! What a plugin writes, as events: JSON lines as Go's and Ark's plugins log, and whatever else comes.
//!
//! Lines are cut at 64 KiB, and those of a plugin that floods its output are counted instead of passed on, so that it
//! fills neither the memory nor the logs.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::time::Instant;
use tracing::{Level, Span};

/// The longest line that is passed on whole.
const LONGEST: usize = 64 << 10;
/// How many lines of a plugin are passed on within [`WINDOW`].
const MOST: u32 = 1000;
/// See [`MOST`].
const WINDOW: Duration = Duration::from_secs(1);
/// How many of the last lines are remembered, to say why a plugin ended.
const REMEMBERED: usize = 3;

/// Where a process's lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The name of the program's file.
    plugin: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the lines belong to.
    span: Span,
    window: Instant,
    passed: u32,
    left_out: u64,
    last: Vec<String>,
}

/// A line, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    level: Level,
    text: String,
}

impl Lines {
    pub(super) fn new(plugin: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                plugin: plugin.to_owned(),
                state: Mutex::new(State {
                    span: Span::none(),
                    window: Instant::now(),
                    passed: 0,
                    left_out: 0,
                    last: Vec::new(),
                }),
            }),
        }
    }

    /// Returns the name of the program's file.
    pub(super) fn plugin(&self) -> &str {
        &self.shared.plugin
    }

    /// Has the lines from now on belong to a span.
    pub(super) fn belong_to(&self, span: Span) {
        // The old one is dropped outside the lock: closing it may log.
        let _old = std::mem::replace(&mut self.state().span, span);
    }

    /// Returns the last lines, to say why a plugin ended; empty if it said nothing.
    pub(super) fn last(&self) -> String {
        let said: Vec<String> = self
            .state()
            .last
            .iter()
            .map(|line| line.chars().take(300).collect())
            .collect();
        said.join(" / ")
    }

    /// Passes on what a plugin writes until it closes its end.
    pub(super) async fn drain(self, from: impl AsyncRead + Unpin, unreadable: Level) {
        let mut from = BufReader::with_capacity(LONGEST, from);
        let mut line = Vec::new();
        loop {
            let available = match from.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(available) => available,
            };
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            let room = LONGEST.saturating_sub(line.len());
            line.extend_from_slice(&available[..taken.min(room)]);
            from.consume(taken);
            if end.is_some() {
                self.say(&line, unreadable);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.say(&line, unreadable);
        }
    }

    /// Passes on a piece of output that may hold several lines.
    pub(super) fn say_all(&self, text: &[u8], unreadable: Level) {
        for line in text.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                self.say(line, unreadable);
            }
        }
    }

    fn say(&self, line: &[u8], unreadable: Level) {
        let text = String::from_utf8_lossy(line);
        let line = parse(text.trim_end(), unreadable);
        if line.text.is_empty() {
            return;
        }
        let (span, left_out) = {
            let mut state = self.state();
            // Nobody would have seen the others.
            if line.level <= Level::INFO {
                if state.last.len() == REMEMBERED {
                    state.last.remove(0);
                }
                state.last.push(line.text.clone());
            }
            let Some(left_out) = state.admit(Instant::now()) else {
                return;
            };
            (state.span.clone(), left_out)
        };
        if left_out > 0 {
            let note = format!("{left_out} more lines are left out, the plugin writes too many");
            emit(&span, &self.shared.plugin, Level::WARN, &note);
        }
        emit(&span, &self.shared.plugin, line.level, &line.text);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes one more line: `None` leaves it out, a number passes it on and is that of the lines left out before.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let mut left_out = 0;
        if now.duration_since(self.window) >= WINDOW {
            self.window = now;
            self.passed = 0;
            left_out = std::mem::take(&mut self.left_out);
        }
        self.passed += 1;
        if self.passed > MOST {
            self.left_out += 1;
            return None;
        }
        Some(left_out)
    }
}

/// Says a line within a span. Levels are constants to tracing.
fn emit(span: &Span, plugin: &str, level: Level, text: &str) {
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(parent: span.id(), $level, pluginName = plugin, "{text}")
        };
    }
    match level {
        Level::ERROR => say!(Level::ERROR),
        Level::WARN => say!(Level::WARN),
        Level::INFO => say!(Level::INFO),
        Level::DEBUG => say!(Level::DEBUG),
        Level::TRACE => say!(Level::TRACE),
    }
}

/// Reads a line: JSON as hclog writes it, a level in brackets, or text, which has the level `unreadable`.
fn parse(line: &str, unreadable: Level) -> Line {
    if let Ok(Value::Object(fields)) = serde_json::from_str(line)
        && let Some(message) = fields.get("@message").and_then(Value::as_str)
    {
        let level = fields.get("@level").and_then(Value::as_str);
        return Line {
            level: level.and_then(level_of).unwrap_or(Level::INFO),
            text: with_fields(message, &fields),
        };
    }
    let prefixed = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .and_then(|(word, text)| Some((level_of(&word.to_lowercase())?, text)));
    match prefixed {
        Some((level, text)) => Line {
            level,
            text: text.trim().to_owned(),
        },
        None => Line {
            level: unreadable,
            text: line.trim().to_owned(),
        },
    }
}

/// Returns a message with its other fields behind it, as logrus writes them; the time is the host's own.
fn with_fields(message: &str, fields: &Map<String, Value>) -> String {
    let mut text = message.trim().to_owned();
    for (key, value) in fields {
        if key.starts_with('@')
            || matches!(key.as_str(), "time" | "timestamp" | "level" | "pluginName")
        {
            continue;
        }
        // Writing into a String cannot fail.
        let _ = match value {
            Value::String(value) if value.chars().all(|c| c.is_ascii_graphic() && c != '"') => {
                write!(text, " {key}={value}")
            }
            Value::String(value) => write!(text, " {key}={value:?}"),
            value => write!(text, " {key}={value}"),
        };
    }
    text
}

fn level_of(word: &str) -> Option<Level> {
    Some(match word {
        "error" | "err" | "fatal" | "panic" => Level::ERROR,
        "warn" | "warning" => Level::WARN,
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        for (line, level, text) in [
            (
                r#"{"@level":"warn","@message":"slow","@timestamp":"2018-01-01","logSource":"a.go:1","bucket":"my bucket","n":3,"pluginName":"x"}"#,
                Level::WARN,
                "slow logSource=a.go:1 bucket=\"my bucket\" n=3",
            ),
            (r#"{"@message":"plain"}"#, Level::INFO, "plain"),
            (r#"{"@message":"odd","@level":"loud"}"#, Level::INFO, "odd"),
            (
                r#"{"message":"not hclog"}"#,
                Level::DEBUG,
                r#"{"message":"not hclog"}"#,
            ),
            ("[INFO] starting", Level::INFO, "starting"),
            ("[ERR] broke", Level::ERROR, "broke"),
            ("[something] else", Level::DEBUG, "[something] else"),
            ("panic: oh", Level::DEBUG, "panic: oh"),
            ("", Level::DEBUG, ""),
        ] {
            let text = text.to_owned();
            assert_eq!(parse(line, Level::DEBUG), Line { level, text }, "{line}");
        }
    }

    #[tokio::test]
    async fn long_lines_are_cut() {
        let lines = Lines::new("p");
        let mut output = vec![b'x'; 3 * LONGEST];
        output.extend_from_slice(b"\nshort\nno end");
        lines.clone().drain(&output[..], Level::INFO).await;
        let state = lines.state();
        assert_eq!(state.last.len(), 3);
        assert_eq!(state.last[0].len(), LONGEST);
        assert_eq!(state.last[1..], ["short", "no end"]);
    }

    #[test]
    fn floods_are_counted() {
        let lines = Lines::new("p");
        let mut state = lines.state();
        let begin = state.window;
        for _ in 0..MOST {
            assert_eq!(state.admit(begin), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(state.admit(begin + WINDOW / 2), None);
        }
        assert_eq!(state.admit(begin + WINDOW), Some(7));
        assert_eq!(state.admit(begin + WINDOW), Some(0));
    }
}
