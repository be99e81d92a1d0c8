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
