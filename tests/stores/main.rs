//! Every object store that Ark can open, against the one suite for all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::future_not_send,
    unreachable_pub,
    reason = "in a test, failing loudly is the way to report, and its futures are awaited where they are made"
)]

#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod breaks;
#[path = "../support/conformance.rs"]
mod conformance;
#[cfg(feature = "gcp")]
mod gcs;
#[cfg(feature = "aws")]
mod s3;
#[cfg(feature = "aws")]
mod s3_buckets;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
#[path = "../support/mod.rs"]
mod support;

use ark::api::StorageProviderConfig;
use ark::providers::{Environment, registry};

#[tokio::test(flavor = "multi_thread")]
async fn local_keeps_every_promise() {
    let dir = tempfile::tempdir().unwrap();
    let config = StorageProviderConfig {
        name: "local".into(),
        bucket: "ark".into(),
        config: [("path".to_owned(), dir.path().display().to_string())].into(),
        ..StorageProviderConfig::default()
    };
    let store = registry::open(&config, &Environment::default())
        .await
        .unwrap();
    conformance::object_store_conformance(store).await;
}
