//! Commands for the places where volume snapshots are kept, one file each; and how a table shows one.

pub(crate) mod create;

use clap::Subcommand;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Outcome;
use super::context::Context;
use super::delete::{self, Delete, DeleteArgs};
use super::get::{self, GetArgs};
use super::table::Row;
use crate::api::VolumeSnapshotLocation;
use create::SnapshotLocationCreateArgs;

/// `ark snapshot-location ...`
#[derive(Debug, Subcommand)]
pub enum SnapshotLocationCommand {
    /// Create a snapshot location: a place where volume snapshots are kept
    Create(SnapshotLocationCreateArgs),
    /// List snapshot locations
    Get(GetArgs),
    /// Delete snapshot locations; the snapshots in them stay
    Delete(DeleteArgs),
}

pub(crate) async fn run(
    context: &Context,
    command: SnapshotLocationCommand,
) -> anyhow::Result<Outcome> {
    match command {
        SnapshotLocationCommand::Create(args) => create::run(context, args).await,
        SnapshotLocationCommand::Get(args) => {
            get::run::<VolumeSnapshotLocation>(context, args).await
        }
        SnapshotLocationCommand::Delete(args) => {
            delete::run::<VolumeSnapshotLocation>(context, args, &()).await
        }
    }
}

impl Delete for VolumeSnapshotLocation {
    type How = ();

    fn warning(names: &str) -> String {
        format!("This deletes the snapshot locations: {names}. The snapshots in them stay.")
    }
}

impl Row for VolumeSnapshotLocation {
    const COLUMNS: &'static [&'static str] = &["NAME", "PROVIDER", "STATUS"];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        vec![
            self.name_any(),
            self.spec.provider.clone(),
            status.phase.to_string(),
        ]
    }
}
