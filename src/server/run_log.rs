//! The log of a run: what is said within the run's span, as lines of text in a gzip file that is stored beside the
//! run's results.
//!
//! A span belongs to a run if it has the field `run`, whose value is `backup/<name>` or `restore/<name>`. The lines have
//! the form in which Ark has always written them, so that whoever reads such files keeps reading them.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::clock;

/// The name of the span field that ties a span to a run.
const RUN_FIELD: &str = "run";
/// The most bytes of a compressed log. Hundreds of thousands of lines fit; what comes later is counted, not kept.
const LIMIT: usize = 4 << 20;

/// The logs of the runs that go on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLogs {
    buffers: Arc<Mutex<HashMap<String, Arc<Mutex<Buffer>>>>>,
}

/// The log of one run; what is said after it is finished or dropped is not kept.
#[derive(Debug)]
pub(crate) struct RunLog {
    logs: RunLogs,
    run: String,
    buffer: Arc<Mutex<Buffer>>,
}

/// Compressed lines.
struct Buffer {
    encoder: GzEncoder<Vec<u8>>,
    left_out: u64,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("size", &self.encoder.get_ref().len())
            .field("left_out", &self.left_out)
            .finish()
    }
}

impl Buffer {
    fn new() -> Self {
        Self {
            encoder: GzEncoder::new(Vec::new(), Compression::default()),
            left_out: 0,
        }
    }

    fn add(&mut self, line: &str) {
        if self.encoder.get_ref().len() >= LIMIT {
            self.left_out += 1;
        } else {
            self.write(line);
        }
    }

    fn write(&mut self, line: &str) {
        // Writing into memory cannot fail.
        self.encoder.write_all(line.as_bytes()).ok();
    }

    fn finish(&mut self) -> Bytes {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let note = format!("{left_out} more lines are left out, the log would become too long");
            self.write(&line(clock::now(), Level::WARN, &note, ""));
        }
        let encoder = std::mem::replace(&mut self.encoder, Self::new().encoder);
        encoder.finish().unwrap_or_default().into()
    }
}

impl RunLogs {
    /// Begins to keep what is said within spans whose field `run` is `run`.
    pub(crate) fn begin(&self, run: &str) -> RunLog {
        let buffer = Arc::new(Mutex::new(Buffer::new()));
        lock(&self.buffers).insert(run.to_owned(), Arc::clone(&buffer));
        RunLog {
            logs: self.clone(),
            run: run.to_owned(),
            buffer,
        }
    }

    /// Returns the layer that fills the logs.
    pub(crate) fn layer(&self) -> RunLogLayer {
        RunLogLayer { logs: self.clone() }
    }

    fn buffer(&self, run: &str) -> Option<Arc<Mutex<Buffer>>> {
        lock(&self.buffers).get(run).map(Arc::clone)
    }
}

impl RunLog {
    /// Ends the log and returns its gzip file.
    pub(crate) fn finish(self) -> Bytes {
        lock(&self.buffer).finish()
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        let mut buffers = lock(&self.logs.buffers);
        // A later run of the same name may have begun its own.
        if buffers
            .get(&self.run)
            .is_some_and(|buffer| Arc::ptr_eq(buffer, &self.buffer))
        {
            buffers.remove(&self.run);
        }
    }
}

/// Fills the logs of runs.
#[derive(Debug)]
pub(crate) struct RunLogLayer {
    logs: RunLogs,
}

/// The run that a span belongs to, kept in the span's extensions.
struct RunName(String);

impl<S> Layer<S> for RunLogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut finder = RunFinder(None);
        attributes.record(&mut finder);
        if let (Some(run), Some(span)) = (finder.0, context.span(id)) {
            span.extensions_mut().insert(RunName(run));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        let run = scope
            .into_iter()
            .find_map(|span| span.extensions().get::<RunName>().map(|run| run.0.clone()));
        let Some(buffer) = run.and_then(|run| self.logs.buffer(&run)) else {
            return;
        };
        let mut words = Words::default();
        event.record(&mut words);
        let line = line(
            clock::now(),
            *event.metadata().level(),
            &words.message,
            &words.fields,
        );
        lock(&buffer).add(&line);
    }
}

struct RunFinder(Option<String>);

impl Visit for RunFinder {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == RUN_FIELD {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == RUN_FIELD {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// The message and the fields of an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(self.fields, " {}={}", field.name(), quoted(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn line(time: Timestamp, level: Level, message: &str, fields: &str) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("time=\"{time}\" level={level} msg={message:?}{fields}\n")
}

/// Returns a field's value as logrus writes it: in quotes if it would fall apart without.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+:".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Locks; a thread that panicked while it held the lock has at worst lost a line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn text(gzip: &[u8]) -> String {
        let mut text = String::new();
        GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn keeps_what_is_said_within_the_run() {
        let logs = RunLogs::default();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            let (one, other) = (logs.begin("backup/a"), logs.begin("backup/b"));
            tracing::info!("outside");
            tracing::info_span!("run", run = "backup/a").in_scope(|| {
                tracing::info_span!("inner").in_scope(|| {
                    tracing::warn!(namespace = "n", count = 3, why = "two words", "inside");
                });
            });
            tracing::info_span!("run", run = "restore/a").in_scope(|| tracing::info!("elsewhere"));
            let kept = text(&one.finish());
            assert!(
                kept.ends_with(
                    "level=warning msg=\"inside\" namespace=n count=3 why=\"two words\"\n"
                ),
                "{kept}"
            );
            assert_eq!(kept.lines().count(), 1);
            assert_eq!(text(&other.finish()), "");
            assert!(lock(&logs.buffers).is_empty());
        });
    }

    #[test]
    fn a_new_run_of_the_same_name_keeps_its_own_log() {
        let logs = RunLogs::default();
        let first = logs.begin("backup/a");
        let second = logs.begin("backup/a");
        drop(first);
        assert!(logs.buffer("backup/a").is_some());
        drop(second);
        assert!(logs.buffer("backup/a").is_none());
    }

    #[test]
    fn long_logs_are_cut_and_say_so() {
        let mut buffer = Buffer::new();
        buffer.encoder.get_mut().resize(LIMIT, 0);
        buffer.add("lost\n");
        assert_eq!(buffer.left_out, 1);
    }
}
