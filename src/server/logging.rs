//! Sets up what the server writes to standard error, and what goes into the logs of runs.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::args::LogFormat;
use super::run_log::RunLogs;

/// Crates that say more than anybody should read, and the most they may say whatever level is asked for.
///
/// kube's client writes the whole body of an answer that it cannot read, Secrets included, as a warning. The others
/// write headers and signed requests when they are debugged.
const CAPS: [(&str, LevelFilter); 11] = [
    ("kube_client", LevelFilter::ERROR),
    ("kube_runtime", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("tower", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("reqwest", LevelFilter::INFO),
    ("object_store", LevelFilter::INFO),
    ("azure_core", LevelFilter::INFO),
    ("azure_storage", LevelFilter::INFO),
];

/// Sets up logging for the whole process; returns where the logs of runs are kept.
///
/// The first call counts: further servers of the same process share what it set up.
pub(crate) fn init(level: LevelFilter, format: LogFormat) -> RunLogs {
    static RUN_LOGS: OnceLock<RunLogs> = OnceLock::new();
    RUN_LOGS.get_or_init(|| set_up(level, format)).clone()
}

fn set_up(level: LevelFilter, format: LogFormat) -> RunLogs {
    let run_logs = RunLogs::default();
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    // The file of a run says how it went even where the process is asked to be quiet.
    let run_level = level.max(LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter(level)))
        .with(run_logs.layer().with_filter(filter(run_level)));
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging is set up already");
    }
    run_logs
}

/// Returns the filter for a level, with the caps on single crates.
fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level)
        .with_targets(CAPS.map(|(target, cap)| (target, cap.min(level))))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn bodies_and_headers_are_never_written() {
        let filter = filter(LevelFilter::TRACE);
        assert!(filter.would_enable("ark::server", &Level::TRACE));
        assert!(!filter.would_enable("kube_client::client", &Level::WARN));
        assert!(!filter.would_enable("azure_core::policies", &Level::DEBUG));
        assert!(filter.would_enable("azure_core::policies", &Level::INFO));
    }

    #[test]
    fn caps_do_not_raise_the_level() {
        let filter = filter(LevelFilter::ERROR);
        assert!(!filter.would_enable("hyper::proto", &Level::INFO));
    }
}
