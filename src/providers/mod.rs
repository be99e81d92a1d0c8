//! Ports to what Ark does not own, and what stands behind them: object stores, snapshotters of volumes, item actions.
//! Nothing above [`registry`] knows whether a provider is built in.

pub mod actions;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod blobs;
#[cfg(feature = "csi")]
mod csi;
mod environment;
#[cfg(feature = "gcp")]
mod gcp;
pub mod ledger;
mod local;
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "csi"))]
mod patience;
#[cfg(feature = "plugins")]
pub mod plugin;
pub mod registry;
#[cfg(any(feature = "gcp", feature = "azure"))]
mod rest;
mod settings;
pub mod snapshotter;
pub mod snapshotters;
pub mod store;
#[cfg(any(feature = "aws", feature = "azure"))]
mod trust;
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod volumes;

pub use environment::Environment;
