//! `ark restic`: says that this Ark has no file backups of volumes.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

use super::Outcome;

/// Whatever somebody asks of restic.
#[derive(Args, Debug)]
pub struct ResticArgs {
    #[arg(
        value_name = "WORD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

pub(crate) fn run(_: &ResticArgs) -> anyhow::Result<Outcome> {
    bail!(
        "file backups of volumes with restic are not part of this Ark; take snapshots with the storage system's own tools"
    )
}
