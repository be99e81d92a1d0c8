//! `ark backup delete`: asks for a backup's removal, with all that is stored of it. The server carries it out; the
//! client never touches a store.

use std::io;

use clap::Args;
use kube::{Resource, ResourceExt};

use crate::api::{Backup, DeleteBackupRequest, DeleteBackupRequestSpec, labels, names};
use crate::client::context::Context;
use crate::client::{Outcome, objects, output};

/// Which backups to delete.
#[derive(Args, Debug)]
pub struct BackupDeleteArgs {
    /// Names of the backups
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
}

pub(crate) async fn run(context: &Context, args: BackupDeleteArgs) -> anyhow::Result<Outcome> {
    let cluster = context.cluster().await?;
    // All are looked for before anything is asked: a misspelt name ends the command with nothing done.
    let backups: Vec<Backup> = objects::find(&cluster, &args.names, None).await?;
    if !args.confirm {
        let listed = args.names.join(", ");
        output::line(&format!(
            "This removes for good what is stored of: {listed}. Their snapshots and restores go with them."
        ))?;
        if !output::confirm("Are you sure that you want this", io::stdin().lock()) {
            output::line("Nothing has been deleted.")?;
            return Ok(Outcome::Done);
        }
    }
    for backup in &backups {
        objects::create(&cluster, &request(backup)).await?;
        let name = backup.name_any();
        output::line(&format!(
            "Request to delete backup \"{name}\" has been submitted."
        ))?;
    }
    output::line(
        "A backup disappears from `ark backup get` once its snapshots, stored files and restores are gone.",
    )?;
    Ok(Outcome::Done)
}

/// Makes the request to delete one backup; the UID keeps it from meeting a later backup of the same name.
fn request(backup: &Backup) -> DeleteBackupRequest {
    let name = backup.name_any();
    let spec = DeleteBackupRequestSpec {
        backup_name: name.clone(),
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
        let request = request(&backup);
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
