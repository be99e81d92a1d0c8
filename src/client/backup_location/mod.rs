//! Commands for the places where backups are kept, one file each; and how a table shows one.

pub(crate) mod create;

use clap::Subcommand;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Outcome;
use super::context::Context;
use super::delete::{self, Delete, DeleteArgs};
use super::get::{self, GetArgs};
use super::table::{self, Row};
use crate::api::BackupStorageLocation;
use create::BackupLocationCreateArgs;

/// `ark backup-location ...`
#[derive(Debug, Subcommand)]
pub enum BackupLocationCommand {
    /// Create a backup location: a place where backups are kept
    Create(BackupLocationCreateArgs),
    /// List backup locations
    Get(GetArgs),
    /// Delete backup locations; what is stored in them stays
    Delete(DeleteArgs),
}

pub(crate) async fn run(
    context: &Context,
    command: BackupLocationCommand,
) -> anyhow::Result<Outcome> {
    match command {
        BackupLocationCommand::Create(args) => create::run(context, args).await,
        BackupLocationCommand::Get(args) => get::run::<BackupStorageLocation>(context, args).await,
        BackupLocationCommand::Delete(args) => {
            delete::run::<BackupStorageLocation>(context, args, &()).await
        }
    }
}

impl Delete for BackupStorageLocation {
    type How = ();

    fn warning(names: &str) -> String {
        format!(
            "This deletes the backup locations: {names}. What is stored in them stays; this cluster no longer sees it."
        )
    }
}

impl Row for BackupStorageLocation {
    const COLUMNS: &'static [&'static str] = &[
        "NAME",
        "PROVIDER",
        "BUCKET/PREFIX",
        "STATUS",
        "ACCESS MODE",
        "LAST SYNCED",
    ];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let store = &self.spec.object_storage;
        let status = self.status.clone().unwrap_or_default();
        let place = if store.prefix.is_empty() {
            store.bucket.clone()
        } else {
            format!("{}/{}", store.bucket, store.prefix)
        };
        vec![
            self.name_any(),
            self.spec.provider.clone(),
            place,
            status.phase.to_string(),
            self.spec.access().to_string(),
            table::relative(status.last_synced_time.map(|time| time.0), now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{
        AccessMode, BackupStorageLocationPhase, BackupStorageLocationSpec,
        BackupStorageLocationStatus, ObjectStorageLocation,
    };

    #[test]
    fn a_table_shows_where_and_whether() {
        let location = |name: &str, bucket: &str, prefix: &str| {
            BackupStorageLocation::new(
                name,
                BackupStorageLocationSpec {
                    provider: "aws".into(),
                    object_storage: ObjectStorageLocation {
                        bucket: bucket.into(),
                        prefix: prefix.into(),
                    },
                    ..BackupStorageLocationSpec::default()
                },
            )
        };
        let mut there = location("default", "ark-backups", "prod");
        there.spec.access_mode = Some(AccessMode::ReadOnly);
        there.status = Some(BackupStorageLocationStatus {
            phase: BackupStorageLocationPhase::Available,
            last_synced_time: Some(Time("2017-07-27T20:05:24Z".parse().unwrap())),
            ..BackupStorageLocationStatus::default()
        });
        let rows = [there, location("new", "ark", "")];
        let now = "2017-07-27T20:06:00Z".parse().unwrap();
        assert_eq!(
            table::render(&rows, now, &[], false).unwrap(),
            concat!(
                "NAME      PROVIDER   BUCKET/PREFIX      STATUS      ACCESS MODE   LAST SYNCED\n",
                "default   aws        ark-backups/prod   Available   ReadOnly      36s ago\n",
                "new       aws        ark                New         ReadWrite     n/a\n",
            )
        );
    }
}
