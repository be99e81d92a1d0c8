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
const CAPS: [(&str, LevelFilter); 12] = [
    ("kube_client", LevelFilter::ERROR),
    ("kube_runtime", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("tower", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("reqwest", LevelFilter::INFO),
    ("object_store", LevelFilter::INFO),
    // All of that family; RUSTSEC-2026-0275.
    ("azure_", LevelFilter::INFO),
    ("google_cloud", LevelFilter::INFO),
    ("gaxi", LevelFilter::INFO),
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
    fn all_of_azure_is_capped_whatever_is_asked() {
        for level in [LevelFilter::DEBUG, LevelFilter::TRACE] {
            let filter = filter(level);
            for target in [
                "azure_core::policies::transport",
                "azure_storage::authorization",
                "azure_storage_blobs::clients",
                "azure_svc_blobstorage",
            ] {
                assert!(!filter.would_enable(target, &Level::DEBUG), "{target}");
                assert!(filter.would_enable(target, &Level::INFO), "{target}");
            }
        }
    }

    /// Where a test's log goes.
    #[cfg(feature = "azure")]
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    #[cfg(feature = "azure")]
    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut written = self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What the azure store writes while it is used, under a filter.
    #[cfg(feature = "azure")]
    async fn log_of_azure(filter: Targets) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = crate::api::StorageProviderConfig {
            name: "azure".into(),
            bucket: "ark".into(),
            config: [
                ("storageAccount".to_owned(), "arktests".to_owned()),
                (
                    "storageAccountURI".to_owned(),
                    format!("http://{}", listener.local_addr().unwrap()),
                ),
            ]
            .into(),
            ..crate::api::StorageProviderConfig::default()
        };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let written = Written::default();
        let writer = written.clone();
        let lines = fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        let log = tracing::subscriber::set_default(subscriber);
        let key = [("AZURE_STORAGE_KEY".to_owned(), "aHVudGVyMg==".to_owned())];
        let store = crate::providers::registry::open(&config, &key.into_iter().collect())
            .await
            .unwrap();
        store.check().await.unwrap_err();
        drop(log);
        server.await.unwrap();
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    /// RUSTSEC-2026-0275: the crate writes its requests' signatures when it is debugged.
    #[cfg(feature = "azure")]
    #[tokio::test]
    async fn signatures_for_azure_are_not_written() {
        let without_caps = Targets::new().with_default(LevelFilter::TRACE);
        let log = log_of_azure(without_caps).await;
        assert!(log.contains("SharedKey "), "the crate is mended: {log}");
        let log = log_of_azure(filter(LevelFilter::TRACE)).await;
        assert!(!log.contains("SharedKey"), "{log}");
        assert!(log.contains("object store call failed"), "{log}");
    }

    #[test]
    fn caps_do_not_raise_the_level() {
        let filter = filter(LevelFilter::ERROR);
        assert!(!filter.would_enable("hyper::proto", &Level::INFO));
    }
}
