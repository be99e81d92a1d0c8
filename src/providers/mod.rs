//! Ports to what Ark does not own, and what stands behind them: object stores today, snapshotters and item actions
//! later. Nothing above [`registry`] knows whether a provider is built in.

#[cfg(feature = "aws")]
mod aws;
mod blobs;
mod environment;
mod local;
pub mod registry;
mod settings;
pub mod store;

pub use environment::Environment;
