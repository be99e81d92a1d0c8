//! Ark: disaster recovery for Kubernetes.
//!
//! The rooms, each of which imports only from those to its right:
//! `main -> client, server -> backup, restore -> archive, cluster, storage -> providers -> api`.

pub mod api;
pub mod archive;
pub mod backup;
pub mod client;
pub mod cluster;
pub mod providers;
pub mod restore;
pub mod server;
pub mod storage;

/// What a plugin written in Rust is made of.
#[cfg(feature = "plugins")]
pub use providers::plugin::serve as plugin;
