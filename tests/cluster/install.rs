//! `ark install`, on a cluster that knows nothing of Ark.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use ark::api::{BackupStorageLocation, BackupStorageLocationPhase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::Value;

use crate::rbac::kubeconfig_of_account;
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::minio::Minio;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, unique_name, wait_until};

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
    assert_eq!(
        table,
        "NAME      STATUS    CREATED   EXPIRES   STORAGE LOCATION   SELECTOR\n"
    );
    Ok(())
}

#[tokio::test]
async fn one_command_installs_an_ark_that_works() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let credentials = minio.credentials_file()?;
    let config = format!(
        "region={},s3ForcePathStyle=true,s3Url={}",
        crate::support::minio::REGION,
        minio.endpoint()
    );
    let said = ark(
        &plane,
        &[
            "install",
            "--provider=aws",
            "--bucket",
            &bucket,
            "--prefix=clusters/one",
            "--config",
            &config,
            "--secret-file",
            credentials.to_str().unwrap_or_default(),
        ],
    )?;
    assert!(said.contains(&format!("in bucket \"{bucket}\"")), "{said}");

    // What the kubelet would mount, and the server as the Deployment would start it.
    let client = plane.client();
    let secret = Api::<Secret>::namespaced(client.clone(), "heptio-ark")
        .get("cloud-credentials")
        .await?;
    let mounted = plane.dir().join("cloud");
    fs::write(&mounted, &secret.data.unwrap_or_default()["cloud"].0)?;
    let store = Store {
        provider: Value::Null,
        environment: vec![("AWS_SHARED_CREDENTIALS_FILE", mounted.display().to_string())],
    };
    let kubeconfig = kubeconfig_of_account(&plane, "heptio-ark").await?;
    let installation =
        Installation::in_namespace(&plane, store, "heptio-ark".to_owned(), kubeconfig)?;
    let server = installation.serve().await?;
    let locations = installation.api::<BackupStorageLocation>();
    wait_until("the location answers", PATIENCE, async || {
        let status = locations.get("default").await?.status.unwrap_or_default();
        Ok((status.phase == BackupStorageLocationPhase::Available).then_some(()))
    })
    .await?;
    let made = ark(
        &plane,
        &[
            "backup",
            "create",
            "first",
            "--include-namespaces=default",
            "--wait",
        ],
    )?;
    assert!(made.contains("Completed"), "{made}");
    server.stop()
}

#[tokio::test]
async fn fewer_rights_take_the_others_back() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    let names = async || -> Result<Vec<String>> {
        let ours = ListParams::default().labels("component=ark");
        let found = bindings.list(&ours).await?;
        Ok(found.iter().map(kube::ResourceExt::name_any).collect())
    };
    ark(&plane, &["install"])?;
    // A second one, whose rights are its own.
    ark(&plane, &["install", "-n", "second"])?;
    assert_eq!(names().await?, ["ark", "ark-second"]);
    let said = ark(&plane, &["install", "--rbac", "backup-only"])?;
    assert!(
        said.contains("ClusterRoleBinding \"ark\" is removed."),
        "{said}"
    );
    assert_eq!(names().await?, ["ark-second", "ark:backup-only"]);
    ark(&plane, &["install"])?;
    assert_eq!(names().await?, ["ark", "ark-second"]);
    let roles = Api::<ClusterRole>::all(client.clone());
    assert!(roles.get_opt("ark:backup-only").await?.is_none());

    // Somebody else's binding of that name is not removed.
    bindings.delete("ark", &DeleteParams::default()).await?;
    let foreign = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "ark"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "noah"}]}"#;
    apply_yaml(&client, foreign).await?;
    ark(&plane, &["install", "--rbac", "backup-only"])?;
    bindings.get("ark").await?;
    Ok(())
}
