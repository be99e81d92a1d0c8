//! The log of a run: what is said within the run's span, as lines of text in a gzip file that is stored beside the
//! run's results, and that can be read while it grows.
//!
//! A span belongs to a run if it has the field `run`, whose value is `backup/<name>` or `restore/<name>`. The lines have
//! the form in which Ark has always written them, so that whoever reads such files keeps reading them.

mod live;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::clock;

pub(crate) use self::live::{LiveLog, Until};

/// The name of the span field that ties a span to a run.
const RUN_FIELD: &str = "run";
/// The most bytes of a compressed log. Hundreds of thousands of lines fit; what comes later is counted, not kept.
const LIMIT: usize = 4 << 20;

/// The logs of the runs that go on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLogs {
    logs: Arc<Mutex<HashMap<String, Arc<Log>>>>,
    begun: Arc<AtomicU64>,
}

/// The log of one run, kept for as long as the run goes on; what is said after it is finished is not kept.
#[derive(Debug)]
pub(crate) struct RunLog {
    logs: RunLogs,
    run: String,
    log: Arc<Log>,
}

/// A log that is written, and read by any number of others.
#[derive(Debug)]
struct Log {
    /// Tells apart the logs of this process, also those of one name.
    number: u64,
    buffer: Mutex<Buffer>,
    /// Tells those who read it that there is more, or that it is finished.
    grown: watch::Sender<()>,
}

/// Compressed lines.
struct Buffer {
    lines: Lines,
    left_out: u64,
}

enum Lines {
    /// There may be more of them. `waiting`: the encoder holds some back.
    Open {
        encoder: Box<GzEncoder<Vec<u8>>>,
        waiting: bool,
    },
    /// The whole file.
    Finished(Bytes),
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("size", &self.file().len())
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}

impl Buffer {
    fn new() -> Self {
        Self {
            lines: Lines::Open {
                encoder: Box::new(GzEncoder::new(Vec::new(), Compression::default())),
                waiting: false,
            },
            left_out: 0,
        }
    }

    fn add(&mut self, line: &str) {
        if self.file().len() >= LIMIT {
            self.left_out += 1;
        } else {
            self.write(line);
        }
    }

    fn write(&mut self, line: &str) {
        if let Lines::Open { encoder, waiting } = &mut self.lines {
            // Writing into memory cannot fail.
            encoder.write_all(line.as_bytes()).ok();
            *waiting = true;
        }
    }

    /// Returns the file as far as it has left the encoder.
    fn file(&self) -> &[u8] {
        match &self.lines {
            Lines::Open { encoder, .. } => encoder.get_ref(),
            Lines::Finished(file) => file,
        }
    }

    /// Gets everything out of the encoder; only done for readers, since it costs some of the compression.
    fn flush(&mut self) {
        if let Lines::Open { encoder, waiting } = &mut self.lines
            && std::mem::take(waiting)
        {
            encoder.flush().ok();
        }
    }

    /// Ends the file and returns it.
    fn finish(&mut self) -> Bytes {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let note = format!("{left_out} more lines are left out, the log would become too long");
            self.write(&line(clock::now(), Level::WARN, &note, ""));
        }
        let lines = std::mem::replace(&mut self.lines, Lines::Finished(Bytes::new()));
        let file = match lines {
            Lines::Open { encoder, .. } => encoder.finish().unwrap_or_default().into(),
            Lines::Finished(file) => file,
        };
        self.lines = Lines::Finished(file.clone());
        file
    }
}

impl Log {
    fn add(&self, line: &str) {
        lock(&self.buffer).add(line);
        self.grown.send_replace(());
    }

    fn finish(&self) -> Bytes {
        let file = lock(&self.buffer).finish();
        self.grown.send_replace(());
        file
    }
}

impl RunLogs {
    /// Begins to keep what is said within spans whose field `run` is `run`.
    pub(crate) fn begin(&self, run: &str) -> RunLog {
        let log = Arc::new(Log {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            buffer: Mutex::new(Buffer::new()),
            grown: watch::Sender::default(),
        });
        lock(&self.logs).insert(run.to_owned(), Arc::clone(&log));
        RunLog {
            logs: self.clone(),
            run: run.to_owned(),
            log,
        }
    }

    /// Returns the log of a run that goes on in this process, to be read.
    pub(crate) fn live(&self, run: &str) -> Option<LiveLog> {
        self.log(run).map(LiveLog::new)
    }

    /// Returns the layer that fills the logs.
    pub(crate) fn layer(&self) -> RunLogLayer {
        RunLogLayer { logs: self.clone() }
    }

    fn log(&self, run: &str) -> Option<Arc<Log>> {
        lock(&self.logs).get(run).map(Arc::clone)
    }
}

impl RunLog {
    /// Ends the log and returns its gzip file.
    pub(crate) fn finish(&self) -> Bytes {
        self.log.finish()
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        // Whoever reads it waits for its end, however the run ended.
        self.log.finish();
        let mut logs = lock(&self.logs.logs);
        // A later run of the same name may have begun its own.
        if logs
            .get(&self.run)
            .is_some_and(|log| Arc::ptr_eq(log, &self.log))
        {
            logs.remove(&self.run);
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
        let Some(log) = run.and_then(|run| self.logs.log(&run)) else {
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
        log.add(&line);
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
            drop((one, other));
            assert!(lock(&logs.logs).is_empty());
        });
    }

    #[test]
    fn a_new_run_of_the_same_name_keeps_its_own_log() {
        let logs = RunLogs::default();
        let first = logs.begin("backup/a");
        let second = logs.begin("backup/a");
        drop(first);
        assert!(logs.log("backup/a").is_some());
        drop(second);
        assert!(logs.log("backup/a").is_none());
    }

    #[test]
    fn long_logs_are_cut_and_say_so() {
        let mut buffer = Buffer::new();
        let Lines::Open { encoder, .. } = &mut buffer.lines else {
            panic!("a new log is open");
        };
        encoder.get_mut().resize(LIMIT, 0);
        buffer.add("lost\n");
        assert_eq!(buffer.left_out, 1);
    }
}
