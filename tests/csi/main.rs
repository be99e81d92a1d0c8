//! CSI snapshots against the real controllers, and a driver that keeps volumes as folders.

#[path = "../support/mod.rs"]
mod support;

mod stack;
