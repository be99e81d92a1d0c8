//! Volumes: how their data comes back.
//!
//! [`ways`] decides that for each volume before anything is planned. [`bring`] makes a volume from its snapshot just
//! before its PersistentVolume is created, or a source just before its claim is. [`hand_over`] gives a claim back the
//! volume that is still there. [`settle`] sees at the end whether filled claims have their volumes.

mod bring;
mod hand_over;
mod settle;
mod ways;
mod zones;

pub(super) use settle::{Awaited, OldVolume};
pub(super) use ways::{Sources, Way, look_for_copies, ways};

/// The type of claims.
pub(super) const CLAIMS: &str = "persistentvolumeclaims";
/// The type of volumes.
pub(super) const VOLUMES: &str = "persistentvolumes";
