//! The volumes of a backup: which of them are snapshot, by whom, and what came of it.
//!
//! [`bindings`] reads which volumes are whose, [`facts`] what a volume and its claim say; [`policy`] decides from that
//! whether it is wanted. [`take`] asks the snapshotters which is for it; a pod's volumes are taken together, between its
//! pre and its post hooks. [`ask`] writes down that a snapshot is about to be asked for, and asks. [`track`] sees the snapshots through until the backup is
//! recorded, [`remove`] takes away those that no record will name.

mod ask;
mod bindings;
mod facts;
mod policy;
mod remove;
mod take;
mod track;

pub use remove::{remove_pending, remove_recorded};
pub(crate) use take::{Scope, TakeRequest, VolumeTaker, can_snapshot};
pub(crate) use track::Taken;
