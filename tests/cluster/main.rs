//! Ark against a real API server and real stores, as its users run it: the server is a process, requests go through the
//! API or the command line.
//!
//! Tests that take everything in the cluster, or break something of it, start a plane of their own.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod broken_group;
mod install;
mod mapping;
mod objects;
mod quick_start;
mod rbac;
mod selectors;
mod takeover;
mod zoo;
