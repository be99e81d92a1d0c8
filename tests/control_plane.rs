//! The tests' own foundation: that the control plane does what the other tests take for granted, and that nothing of it
//! outlives them.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod};
use kube::api::{Api, AttachParams, ListParams};
use support::control_plane::{ControlPlane, Options};
use support::namespace::TestNamespace;
use support::objects::apply_yaml;
use support::proxy::{Behaviour, Proxy};
use support::{PATIENCE, wait_until};
use tokio::io::AsyncReadExt as _;

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec:
  selector: {app: web}
  ports: [{port: 80}]
";

#[tokio::test]
async fn deployments_roll_services_find_pods_and_commands_run_in_them() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "web").await?;
    apply_yaml(&client, &WEB.replace("NAMESPACE", namespace.name())).await?;

    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace.name());
    wait_until("the deployment is available", PATIENCE, async || {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        Ok((status.available_replicas == Some(2)).then_some(()))
    })
    .await?;
    let endpoints = Api::<Endpoints>::namespaced(client.clone(), namespace.name());
    wait_until("the service has addresses", PATIENCE, async || {
        let subsets = endpoints.get("web").await?.subsets.unwrap_or_default();
        Ok(subsets
            .iter()
            .any(|subset| subset.addresses.as_ref().is_some_and(|all| all.len() == 2))
            .then_some(()))
    })
    .await?;

    let pods = Api::<Pod>::namespaced(client, namespace.name());
    let pod = pods
        .list(&ListParams::default())
        .await?
        .items
        .pop()
        .context("a pod")?
        .metadata
        .name
        .unwrap_or_default();
    let mut exec = pods
        .exec(
            &pod,
            ["sh", "-c", "echo $((6 * 7))"],
            &AttachParams::default().stderr(false),
        )
        .await?;
    let mut output = String::new();
    exec.stdout()
        .context("its output")?
        .read_to_string(&mut output)
        .await?;
    assert_eq!(output, "42\n");
    assert!(
        pods.logs(&pod, &kube::api::LogParams::default())
            .await?
            .contains("kwok")
    );

    namespace.delete().await
}

#[tokio::test]
async fn crds_and_their_objects_can_be_applied_in_one_go() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let text = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: cups.tests.example.com}
spec:
  group: tests.example.com
  scope: Cluster
  names: {kind: Cup, plural: cups, singular: cup}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: tests.example.com/v1
kind: Cup
metadata: {name: full}
spec: {of: tea}
";
    let applied = apply_yaml(&plane.client(), text).await?;
    assert_eq!(applied[1].data["spec"]["of"], "tea");
    Ok(())
}

#[tokio::test]
async fn a_proxy_breaks_connections_and_mends_them() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let proxy = Proxy::to(plane.port()).await?;
    let client = plane.client_through(proxy.port());
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    maps.list(&ListParams::default())
        .await
        .context("through the proxy")?;
    for broken in [
        Behaviour::Refuse,
        Behaviour::CutAfterSent(100),
        Behaviour::CutAfterReceived(100),
    ] {
        proxy.set(broken);
        assert!(
            maps.list(&ListParams::default()).await.is_err(),
            "{broken:?}"
        );
    }
    proxy.set(Behaviour::Forward);
    wait_until("it works again", PATIENCE, async || {
        Ok(maps.list(&ListParams::default()).await.map(Some)?)
    })
    .await?;
    Ok(())
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn minio_has_buckets_and_checks_signatures() -> Result<()> {
    use object_store::ObjectStoreExt as _;
    use object_store::aws::AmazonS3Builder;

    let minio = support::minio::Minio::start().await?;
    minio.create_bucket("ark").await?;
    let store = |secret: &str| {
        AmazonS3Builder::new()
            .with_endpoint(minio.endpoint())
            .with_allow_http(true)
            .with_region(support::minio::REGION)
            .with_bucket_name("ark")
            .with_access_key_id(minio.access_key())
            .with_secret_access_key(secret)
            .build()
    };
    let path = object_store::path::Path::from("a/b");
    store(minio.secret_key())?
        .put(&path, "hello".into())
        .await?;
    assert_eq!(
        store(minio.secret_key())?.get(&path).await?.bytes().await?,
        "hello"
    );
    assert!(store("wrong")?.get(&path).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_flag_that_the_api_server_refuses_is_reported_with_its_words() -> Result<()> {
    let error = ControlPlane::start(Options::default().api_server_flag("--no-such-flag"))
        .await
        .map(drop);
    let error = format!("{:#}", error.expect_err("it cannot have started"));
    ensure!(error.contains("unknown flag: --no-such-flag"), "{error}");
    Ok(())
}

/// Set for the process that the test below starts from this binary, and kills.
const VICTIM: &str = "ARK_TESTS_CONTROL_PLANE_VICTIM";

#[tokio::test]
async fn nothing_outlives_a_killed_test() -> Result<()> {
    if std::env::var_os(VICTIM).is_some() {
        // In the process to kill: starts a plane, says where it is, and hangs.
        let plane = ControlPlane::start(Options::default()).await?;
        println!("\nplane {}", plane.dir().display());
        return std::future::pending().await;
    }
    // Built already, so that the wait below is for the start only.
    ControlPlane::shared().await;
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "nothing_outlives_a_killed_test", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(victim.stdout.take().context("its output")?);
    let folder = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("plane ").map(str::to_owned))
        .context("it started no plane")?;
    ensure!(
        !programs_of(&folder)?.is_empty(),
        "the programs of {folder} cannot be seen"
    );

    victim.kill()?;
    victim.wait()?;
    wait_until(
        "its programs and its folder are gone",
        PATIENCE,
        async || {
            Ok((programs_of(&folder)?.is_empty() && !Path::new(&folder).exists()).then_some(()))
        },
    )
    .await
}

/// Returns the command lines that name `folder`.
fn programs_of(folder: &str) -> Result<Vec<String>> {
    let lines: Vec<String> = if Path::new("/proc/self/cmdline").exists() {
        // A slim container has no `ps`.
        let files = std::fs::read_dir("/proc")?
            .flatten()
            .map(|entry| entry.path().join("cmdline"));
        files
            .filter_map(|file| {
                Some(String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned())
            })
            .collect()
    } else {
        let output = Command::new("ps")
            .args(["-A", "-o", "args="])
            .output()
            .context("run ps")?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    Ok(lines
        .into_iter()
        .filter(|line| line.contains(folder))
        .collect())
}
