//! What the cluster tests, the benchmarks and the demo share: a real control plane, a real S3 server, a proxy that
//! breaks connections, and the few helpers every such test needs.
//!
//! Include it with `mod support;` (from a benchmark: `#[path = "../tests/support/mod.rs"] mod support;`).
//! docs/development.md tells more; `tests/control-plane` declares the programs behind it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of this module"
)]
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::future_not_send,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test support: failing loudly is its way to report, its futures are awaited where they are made, it prints, reads the environment and the real clock"
)]

pub mod ark;
#[cfg(feature = "azure")]
pub mod azurite;
#[cfg(any(feature = "azure", feature = "gcp"))]
pub mod clouds;
pub mod control_plane;
pub mod csi;
pub mod front;
#[cfg(feature = "gcp")]
pub mod gcs;
#[cfg(feature = "aws")]
pub mod minio;
#[cfg(feature = "aws")]
pub mod moto;
pub mod namespace;
pub mod objects;
#[cfg(feature = "plugins")]
pub mod plugins;
pub mod pods;
pub mod proxy;
pub mod runs;
#[cfg(feature = "aws")]
pub mod signing;
pub mod snapshotter_conformance;
pub mod stored;
pub mod webhook;

use std::time::Duration;

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// Prepares the process for kube and S3 clients; every test that makes one calls this first, repeating it is free.
///
/// rustls has no default provider compiled in (one crypto library in the binary), so a client made before this panics.
pub fn init() {
    // An error says that another test of this binary was faster. kube logs each refused connection as an error, and a
    // server that starts refuses many.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| EnvFilter::new("error,ark=info,kube_client=off")),
        )
        .with_test_writer()
        .try_init();
}

/// How long [`wait_until`] waits in most tests: long enough for a busy machine, since nobody waits it out on success.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Polls `condition` until it gives a value, and returns that value.
///
/// An error of the condition is taken as "not yet" (an API server that starts refuses connections) and becomes part of
/// the report when time runs out.
pub async fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = std::time::Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let last = match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if started.elapsed() > patience {
            return Err(anyhow!("{what}: not so after {patience:?}{last}"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Returns a name that no other test of this or another process uses, valid as a namespace or a bucket.
pub fn unique_name(prefix: &str) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &id[..8])
}
