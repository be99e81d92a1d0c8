//! Servers that die: what they had begun is finished by another, once, and nothing is lost or doubled.

use anyhow::Result;
use ark::api::{Backup, BackupPhase, Restore, RestorePhase};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::minio::Minio;
use crate::support::namespace::TestNamespace;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

/// So many that a restore of them takes seconds: it is interrupted long before its end.
const MANY: usize = 4_000;

async fn fill(client: &kube::Client, namespace: &str, count: usize) -> Result<()> {
    use futures::{StreamExt as _, TryStreamExt as _, stream};
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    stream::iter(0..count)
        .map(|n| {
            let config_maps = &config_maps;
            async move {
                let object = serde_json::from_value(json!({
                    "metadata": {"name": format!("object-{n:05}")}, "data": {"n": n.to_string()},
                }))?;
                config_maps.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(16)
        .try_for_each(|()| async { Ok(()) })
        .await
}

#[tokio::test]
async fn a_backup_is_made_again_by_the_next_server() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let proxy = Proxy::to(minio.port()).await?;
    let ark =
        Installation::with_store(plane, Store::minio(&minio, &bucket, &proxy.http_url())?).await?;
    let namespace = TestNamespace::new(plane, "survivor").await?;
    fill(&client, namespace.name(), 50).await?;

    let first = ark.serve().await?;
    let second = ark.start_server()?;
    first
        .wait_for("the store is in use", |metrics| {
            metrics.contains("ark_location_available{location=\"default\"} 1")
        })
        .await?;
    // The store takes everything and answers nothing: the run hangs in its middle.
    proxy.set(Behaviour::Swallow);
    let backups: Api<Backup> = ark.api();
    let spec = all_of(&namespace);
    backups
        .create(&PostParams::default(), &Backup::new("survivor", spec))
        .await?;
    wait_until("the backup is in progress", PATIENCE, async || {
        let phase = backups
            .get("survivor")
            .await?
            .status
            .map(|status| status.phase);
        Ok((phase == Some(BackupPhase::InProgress)).then_some(()))
    })
    .await?;
    first.kill();
    proxy.set(Behaviour::Forward);

    let backup = ark.backup_ended("survivor").await?;
    assert_clean_backup(&backup);
    let run = backup
        .status
        .clone()
        .unwrap_or_default()
        .run
        .unwrap_or_default();
    assert_eq!(run.attempt, 2, "the second server made it anew");

    let target = unique_name("target");
    let spec = moved("survivor", &namespace, &target);
    assert_clean_restore(&ark.restore("survivor", spec).await?);
    let restored = Api::<ConfigMap>::namespaced(client, &target)
        .list(&ListParams::default().labels("ark-restore"))
        .await?;
    assert_eq!(restored.items.len(), 50);
    second.stop()
}

#[tokio::test]
async fn a_restore_goes_on_under_the_next_server() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "many").await?;
    fill(&client, namespace.name(), MANY).await?;
    let first = ark.serve().await?;
    let second = ark.start_server()?;
    let spec = all_of(&namespace);
    assert_clean_backup(&ark.back_up("many", spec).await?);

    let target = unique_name("target");
    let restores: Api<Restore> = ark.api();
    let spec = moved("many", &namespace, &target);
    restores
        .create(&PostParams::default(), &Restore::new("many", spec))
        .await?;
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), &target);
    let marked = ListParams::default().labels("ark-restore");
    wait_until("the restore is in its middle", PATIENCE, async || {
        Ok((config_maps.list(&marked).await?.items.len() > 20).then_some(()))
    })
    .await?;
    first.kill();
    let phase = restores
        .get("many")
        .await?
        .status
        .map(|status| status.phase);
    assert_eq!(
        phase,
        Some(RestorePhase::InProgress),
        "it was killed before the end"
    );

    let restore = ark.restore_ended("many").await?;
    assert_clean_restore(&restore);
    assert_eq!(config_maps.list(&marked).await?.items.len(), MANY);
    second.stop()
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_hands_over() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let first = ark.serve().await?;
    let second = ark.start_server()?;
    second
        .wait_for("the second server stands by", |metrics| {
            metrics.contains("ark_leader 0")
        })
        .await?;
    second.get("/readyz").await?;
    first.stop()?;
    second
        .wait_for("the second server leads", |metrics| {
            metrics.contains("ark_leader 1")
        })
        .await?;
    second.stop()
}

#[tokio::test]
async fn a_backup_that_outlasts_the_grace_is_left_to_the_next_server() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let proxy = Proxy::to(minio.port()).await?;
    let mut ark =
        Installation::with_store(plane, Store::minio(&minio, &bucket, &proxy.http_url())?).await?;
    ark.server_arguments(["--shutdown-grace", "1s"]);
    let namespace = TestNamespace::new(plane, "slow").await?;
    let first = ark.serve().await?;
    first
        .wait_for("the store is in use", |metrics| {
            metrics.contains("ark_location_available{location=\"default\"} 1")
        })
        .await?;
    proxy.set(Behaviour::Swallow);
    let backups: Api<Backup> = ark.api();
    let spec = all_of(&namespace);
    backups
        .create(&PostParams::default(), &Backup::new("slow", spec.clone()))
        .await?;
    let gone = Backup::new("gone", spec);
    backups.create(&PostParams::default(), &gone).await?;
    first
        .wait_for("both run", |metrics| {
            metrics.contains("ark_backups_running 2")
        })
        .await?;
    // The run of a resource that is deleted ends, whatever the store does.
    backups
        .delete("gone", &kube::api::DeleteParams::default())
        .await?;
    first
        .wait_for("one runs", |metrics| {
            metrics.contains("ark_backups_running 1")
        })
        .await?;
    first.stop()?;
    let status = backups.get("slow").await?.status.unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::InProgress, "{status:?}");

    proxy.set(Behaviour::Forward);
    let second = ark.serve().await?;
    let backup = ark.backup_ended("slow").await?;
    assert_clean_backup(&backup);
    let run = backup.status.unwrap_or_default().run.unwrap_or_default();
    assert_eq!(run.attempt, 2);
    second.stop()
}
