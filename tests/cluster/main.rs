//! Ark against a real API server and real stores, as its users run it: the server is a process, requests go through the
//! API or the command line.
//!
//! Tests that take everything in the cluster, or break something of it, start a plane of their own.

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod bad_input;
mod broken_group;
mod bulk;
mod cases;
mod client_commands;
mod client_downloads;
mod client_nouns;
mod disks;
mod downloads;
mod dry_run;
mod exec;
mod expiry;
mod foreign;
mod fresh;
mod hooked;
mod hooks;
mod install;
mod late_group;
mod locations;
mod locked;
mod manifests;
mod mapping;
mod modifiers;
mod objects;
mod observability;
mod original_client;
mod owed_hooks;
#[cfg(feature = "plugins")]
mod plugins;
mod quick_start;
mod rbac;
mod retries;
mod schedules;
mod scripted;
mod selectors;
mod snapshot_kills;
mod snapshots;
mod sync;
mod takeover;
mod walk;
mod zoo;
