//! Backups in a bucket under object lock: they stay until their bucket lets them go, and say until when. The test moves
//! the server's clock; the bucket's is the real one.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use ark::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
};
use ark::providers::store::ObjectStore;
use ark::providers::{Environment, registry};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use crate::schedules::little;
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::minio::Minio;
use crate::support::runs::assert_clean_backup;
use crate::support::{PATIENCE, unique_name, wait_until};

/// Returns the keys that are about a backup.
async fn keys_of(store: &Arc<dyn ObjectStore>, name: &str) -> Result<Vec<String>> {
    let mut keys: Vec<String> = store
        .list(&format!("backups/{name}/"))
        .try_collect()
        .await?;
    keys.sort();
    Ok(keys)
}

#[tokio::test]
async fn an_expired_backup_waits_for_its_bucket_and_says_so() -> Result<()> {
    let minio = Minio::start().await?;
    let bucket = unique_name("locked");
    minio.create_locked_bucket(&bucket, 0).await?;
    let plane = ControlPlane::shared().await;
    let store = Store::minio(&minio, &bucket, &minio.endpoint())?;
    let environment: Environment = store
        .environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let provider = serde_json::from_value(store.provider.clone())?;
    let objects = registry::open(&provider, &environment).await?;
    let ark = Installation::with_store(plane, store).await?;
    let start = Timestamp::from_second(Timestamp::now().as_second())?;
    let server = ark.serve_by_hand(&start.to_string()).await?;
    for name in ["kept", "held"] {
        let mut spec = little(&ark);
        spec.ttl = Some("30m".into());
        assert_clean_backup(&ark.back_up(name, spec).await?);
    }
    let stored = keys_of(&objects, "kept").await?;
    let contents = stored.iter().find(|key| key.ends_with(".tar.zst"));
    let contents = contents.context("contents")?;
    // The record alone does not decide.
    let end = start + SignedDuration::from_hours(2);
    minio.retain(&bucket, contents, end).await?;
    minio
        .hold(&bucket, "backups/held/ark-backup.json", true)
        .await?;

    server.hand.set(start + SignedDuration::from_mins(31));
    let backups: Api<Backup> = ark.api();
    let requests: Api<DeleteBackupRequest> = ark.api();
    for (name, says) in [
        (
            "kept",
            format!("backup kept is locked by its bucket until {end}"),
        ),
        (
            "held",
            "backup held is under a legal hold in its bucket".to_owned(),
        ),
    ] {
        let backup = backups.get(name).await?;
        let request = format!("expired-{}", backup.uid().unwrap_or_default());
        let errors = wait_until(&format!("{name} is refused"), PATIENCE, async || {
            let status = requests.get(&request).await?.status.unwrap_or_default();
            let through = status.phase == DeleteBackupRequestPhase::Processed;
            Ok(through.then_some(status.errors))
        })
        .await?;
        assert!(errors[0].contains(&says), "{errors:?}");
        // Nothing of it is gone, and it can be restored.
        let backup = backups.get(name).await?;
        let status = backup.status.clone().unwrap_or_default();
        assert_eq!(status.phase, BackupPhase::Completed);
        assert_eq!(keys_of(&objects, name).await?.len(), stored.len());
        assert_eq!(backup.locked_until(), (name == "kept").then_some(end));
    }
    let described = ark.ark(&["backup", "describe", "kept"])?;
    let line = format!(
        "Locked in its bucket until:  {}",
        end.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
    );
    assert!(described.contains(&line), "{described}");
    assert!(described.contains(&format!("until {end}")), "{described}");
    crate::observability::events(&ark, "Backup", "kept", &["Locked"]).await?;

    // Nobody can hurry it.
    let spec = DeleteBackupRequestSpec {
        backup_name: "kept".into(),
        ..DeleteBackupRequestSpec::default()
    };
    let request = DeleteBackupRequest::new("impatient", spec);
    requests.create(&PostParams::default(), &request).await?;
    let errors = wait_until("the request is through", PATIENCE, async || {
        let status = requests.get("impatient").await?.status.unwrap_or_default();
        Ok((!status.errors.is_empty()).then_some(status.errors))
    })
    .await?;
    assert!(errors[0].contains(&end.to_string()), "{errors:?}");

    minio
        .hold(&bucket, "backups/held/ark-backup.json", false)
        .await?;
    server.hand.set(end);
    for name in ["kept", "held"] {
        wait_until(&format!("{name} is gone"), PATIENCE, async || {
            Ok(backups.get_opt(name).await?.is_none().then_some(()))
        })
        .await?;
        assert_eq!(keys_of(&objects, name).await?, Vec::<String>::new());
    }
    server.end().await
}
