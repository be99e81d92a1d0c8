//! CSI snapshots against the real controllers, and a driver that keeps volumes as folders.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::future_not_send,
    reason = "in a test, failing loudly is the way to report, and its futures are awaited where they are made"
)]

#[path = "../support/mod.rs"]
mod support;

mod ask;
mod conformance;
mod cuts;
mod life;
mod mortal;
mod objects;
mod rights;
mod runs;
mod stack;
mod trouble;
