//! The README's quick start: an application is backed up, lost and restored, through the command line.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::minio::Minio;
use crate::support::namespace::delete_namespace;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, unique_name, wait_until};

const NGINX: &str = include_str!("../../manifests/nginx-app/base.yaml");

#[tokio::test]
async fn nginx_is_lost_and_restored_from_a_local_store() -> Result<()> {
    let plane = ControlPlane::start(crate::support::control_plane::Options::default()).await?;
    let store = Store::local(&plane)?;
    walk(&plane, store).await
}

#[tokio::test]
async fn nginx_is_lost_and_restored_from_minio() -> Result<()> {
    let plane = ControlPlane::start(crate::support::control_plane::Options::default()).await?;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let store = Store::minio(&minio, &bucket, &minio.endpoint())?;
    walk(&plane, store).await
}

async fn walk(plane: &ControlPlane, store: Store) -> Result<()> {
    let client = plane.client();
    let ark = Installation::with_store(plane, store).await?;
    let server = ark.serve().await?;
    apply_yaml(&client, NGINX).await?;
    available(&client).await?;

    let made = ark.ark(&[
        "backup",
        "create",
        "nginx-backup",
        "--selector",
        "app=nginx",
        "--wait",
    ])?;
    assert!(made.contains("Completed"), "{made}");
    let table = ark.ark(&["backup", "get"])?;
    let row = table.lines().nth(1).context("a backup")?;
    assert!(row.starts_with("nginx-backup   Completed   "), "{table}");
    assert!(row.ends_with("   app=nginx"), "{table}");

    delete_namespace(&client, "nginx-example").await?;
    let restored = ark.ark(&["restore", "create", "nginx-backup", "--wait"])?;
    assert!(restored.contains("Completed"), "{restored}");
    available(&client).await?;

    let table = ark.ark(&["restore", "get"])?;
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "NAME                          BACKUP         STATUS      WARNINGS   ERRORS    CREATED                         \
             SELECTOR"
        )
    );
    let row = lines.next().context("a restore")?;
    // The time is the cluster's; all around it is fixed.
    let (head, rest) = row.split_at("nginx-backup-".len());
    let (stamp, rest) = rest.split_at(14);
    assert_eq!(head, "nginx-backup-");
    assert!(stamp.bytes().all(|b| b.is_ascii_digit()), "{table}");
    let (columns, rest) =
        rest.split_at("   nginx-backup   Completed   0          0         ".len());
    assert_eq!(
        columns, "   nginx-backup   Completed   0          0         ",
        "{table}"
    );
    assert_eq!(&rest[19..], " +0000 UTC   <none>", "{table}");

    // The namespace came back with its own labels, not as a bare one.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let labels = namespaces
        .get("nginx-example")
        .await?
        .metadata
        .labels
        .unwrap_or_default();
    assert_eq!(labels.get("app").map(String::as_str), Some("nginx"));

    let described = ark.ark(&["backup", "describe", "nginx-backup"])?;
    assert!(described.contains("Completed"), "{described}");
    ark.ark(&["backup", "delete", "nginx-backup", "--confirm"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        Ok((!ark.ark(&["backup", "get"])?.contains("nginx-backup")).then_some(()))
    })
    .await?;
    server.stop()
}

async fn available(client: &kube::Client) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), "nginx-example");
    wait_until("the deployment is available", PATIENCE, async || {
        let status = deployments
            .get("nginx-deployment")
            .await?
            .status
            .unwrap_or_default();
        Ok((status.available_replicas == Some(2)).then_some(()))
    })
    .await
}
