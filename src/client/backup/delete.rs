//! `ark backup delete`: asks for a backup's removal, with all that is stored of it. The server carries it out; the
//! client never touches a store.

use clap::Args;
use kube::{Resource, ResourceExt};

use crate::api::{Backup, DeleteBackupRequest, DeleteBackupRequestSpec, labels, names};
use crate::client::context::{Cluster, Context};
use crate::client::delete::{self, Delete, DeleteArgs};
use crate::client::{Outcome, objects};

/// Which backups to delete, and what of them.
#[derive(Args, Debug)]
pub struct BackupDeleteArgs {
    #[command(flatten)]
    which: DeleteArgs,
    #[command(flatten)]
    how: How,
}

/// What of a backup to delete.
#[derive(Args, Debug)]
pub(crate) struct How {
    /// Leave the snapshots of its volumes where they are; nothing will know of them
    #[arg(long)]
    keep_snapshots: bool,
}

impl Delete for Backup {
    type How = How;

    const AFTERWARDS: Option<&'static str> = Some(
        "A backup disappears from `ark backup get` once its snapshots, stored files and restores are gone.",
    );

    fn warning(names: &str) -> String {
        format!(
            "This removes for good what is stored of: {names}. Their snapshots and restores go with them."
        )
    }

    async fn delete(&self, cluster: &Cluster, how: &How) -> anyhow::Result<String> {
        objects::create(cluster, &request(self, how)).await?;
        Ok(format!(
            "Request to delete backup \"{}\" has been submitted.",
            self.name_any()
        ))
    }
}

pub(crate) async fn run(context: &Context, args: BackupDeleteArgs) -> anyhow::Result<Outcome> {
    delete::run::<Backup>(context, args.which, &args.how).await
}

/// Makes the request to delete one backup; the UID keeps it from meeting a later backup of the same name.
fn request(backup: &Backup, how: &How) -> DeleteBackupRequest {
    let name = backup.name_any();
    let spec = DeleteBackupRequestSpec {
        backup_name: name.clone(),
        keep_snapshots: how.keep_snapshots,
    };
    let mut request = DeleteBackupRequest::new("", spec);
    let labels = [
        (labels::BACKUP_NAME, names::label_value(&name)),
        (labels::BACKUP_UID, backup.uid().unwrap_or_default()),
    ];
    let meta = request.meta_mut();
    meta.name = None;
    meta.generate_name = Some(format!("{name}-"));
    meta.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackupSpec;

    #[test]
    fn a_request_names_its_backup_and_uid() {
        let mut backup = Backup::new(&"x".repeat(80), BackupSpec::default());
        backup.metadata.uid = Some("u-1".into());
        let how = How {
            keep_snapshots: true,
        };
        let request = request(&backup, &how);
        assert!(request.spec.keep_snapshots);
        assert_eq!(request.metadata.name, None);
        assert_eq!(
            request.metadata.generate_name,
            Some(format!("{}-", "x".repeat(80)))
        );
        assert_eq!(request.spec.backup_name, "x".repeat(80));
        assert_eq!(request.labels()[labels::BACKUP_UID], "u-1");
        assert_eq!(request.labels()[labels::BACKUP_NAME].len(), 63);
    }
}
