//! `ark install` and the manifests, on a cluster that knows nothing of Ark.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use std::process::Command;

use crate::support::control_plane::{ControlPlane, Options};
use crate::support::objects::apply_yaml;

const MANIFESTS: [&str; 6] = [
    include_str!("../../manifests/common/00-prereqs.yaml"),
    include_str!("../../manifests/common/10-deployment.yaml"),
    include_str!("../../manifests/minio/00-minio-deployment.yaml"),
    include_str!("../../manifests/minio/10-ark-config.yaml"),
    include_str!("../../manifests/minio/20-ark-deployment.yaml"),
    include_str!("../../manifests/nginx-app/base.yaml"),
];

fn ark(plane: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_ark"))
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(arguments)
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "ark {arguments:?}: {}",
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

#[tokio::test]
async fn installing_works_twice_and_says_beforehand_what_it_does() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();

    let before = Command::new(env!("CARGO_BIN_EXE_ark"))
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(["backup", "get"])
        .output()?;
    assert_eq!(before.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&before.stderr).into_owned();
    assert!(complaint.contains("ark install"), "{complaint}");

    let planned = ark(&plane, &["install", "--dry-run"])?;
    assert!(planned.contains("kind: Deployment"), "{planned}");
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "heptio-ark");
    assert!(
        accounts.get_opt("ark").await?.is_none(),
        "a dry run writes nothing"
    );

    ark(
        &plane,
        &["install", "--image", "registry.example.org/ark:1"],
    )?;
    ark(
        &plane,
        &["install", "--image", "registry.example.org/ark:2"],
    )?;
    accounts.get("ark").await?;
    let deployment = Api::<Deployment>::namespaced(client.clone(), "heptio-ark")
        .get("ark")
        .await?;
    let image = deployment
        .spec
        .and_then(|spec| spec.template.spec)
        .and_then(|pod| pod.containers.into_iter().next())
        .and_then(|container| container.image);
    assert_eq!(image.as_deref(), Some("registry.example.org/ark:2"));
    let table = ark(&plane, &["backup", "get"])?;
    assert_eq!(table, "NAME      STATUS    CREATED   EXPIRES   SELECTOR\n");
    Ok(())
}

#[tokio::test]
async fn every_manifest_is_accepted() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    for manifest in MANIFESTS {
        apply_yaml(&plane.client(), manifest).await?;
    }
    Ok(())
}
