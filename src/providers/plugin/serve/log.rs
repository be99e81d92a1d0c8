//! A plugin's log: JSON lines on standard error, which hosts read.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Has events written to the host; its arguments say from which level on.
pub(super) fn init(arguments: impl Iterator<Item = String>) {
    let level = level(arguments);
    let subscriber = tracing_subscriber::registry().with(ToHost.with_filter(level));
    // The plugin may have its own.
    tracing::subscriber::set_global_default(subscriber).ok();
}

/// Reads `--log-level LEVEL` or `--log-level=LEVEL`.
fn level(arguments: impl Iterator<Item = String>) -> LevelFilter {
    let mut arguments = arguments;
    let mut word = None;
    while let Some(argument) = arguments.next() {
        if let Some(value) = argument.strip_prefix("--log-level=") {
            word = Some(value.to_owned());
        } else if argument == "--log-level" {
            word = arguments.next();
        }
    }
    let known = word.and_then(|word| match word.as_str() {
        "warning" => Some(LevelFilter::WARN),
        word => LevelFilter::from_str(word)
            .ok()
            .filter(|_| !word.is_empty()),
    });
    known.unwrap_or(LevelFilter::INFO)
}

struct ToHost;

impl<S: Subscriber> Layer<S> for ToHost {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = line(*event.metadata().level(), |fields| event.record(fields));
        line.push('\n');
        // One write a line: others write there, too. Whoever does not read it does not want it.
        std::io::stderr().lock().write_all(line.as_bytes()).ok();
    }
}

fn line(level: Level, record: impl FnOnce(&mut dyn Visit)) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let mut fields = Fields(Map::new());
    fields.0.insert("@level".to_owned(), Value::from(level));
    record(&mut fields);
    Value::Object(fields.0).to_string()
}

struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => "@message",
            name => name,
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::from(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_from_the_arguments() {
        for (arguments, expected) in [
            (&["p"][..], LevelFilter::INFO),
            (&["p", "--log-level", "debug"], LevelFilter::DEBUG),
            (
                &["p", "--features=x", "--log-level=warning"],
                LevelFilter::WARN,
            ),
            (&["p", "--log-level"], LevelFilter::INFO),
            (&["p", "--log-level", "loud"], LevelFilter::INFO),
        ] {
            let given = arguments.iter().map(|one| (*one).to_owned());
            assert_eq!(level(given), expected, "{arguments:?}");
        }
    }
}
