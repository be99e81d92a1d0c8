//! Every snapshotter that Ark can open, against the one suite for all of them, and against what goes wrong.
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
mod common;
#[cfg(feature = "aws")]
mod ebs;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
#[path = "../support/mod.rs"]
mod support;
