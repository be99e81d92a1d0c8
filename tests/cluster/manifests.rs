//! The files of `manifests/`, each as its reader uses it: applied to a real API server, built by kustomize, rendered by
//! Helm.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::control_plane::assets::{self, Tool};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::objects::apply_yaml_strictly;
use crate::support::{PATIENCE, wait_until};

const CLOUDS: [&str; 5] = ["aws", "azure", "gcp", "ibm", "minio"];

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(manifests().join(path)).with_context(|| format!("read {path}"))
}

/// Returns the files of a folder, in the order in which they are applied.
fn files(folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(manifests().join(folder))? {
        names.push(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// Replaces what is left to the reader.
fn filled_in(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<YOUR_") {
        let (name, after) = after.split_once('>').expect("a placeholder ends");
        filled += before;
        filled += match name {
            "URL_ACCESS_POINT" => "https://s3.example.org",
            _ => "example",
        };
        rest = after;
    }
    filled + rest
}

/// Objects by what and where they are.
type Objects = BTreeMap<String, Value>;

fn objects(text: &str) -> Result<Objects> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(text)?;
    let mut objects = Objects::new();
    for object in documents.into_iter().flatten() {
        let key = format!(
            "{} {} {}",
            object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
        );
        ensure!(!objects.contains_key(&key), "{key} is there twice");
        objects.insert(key, object);
    }
    Ok(objects)
}

fn objects_of_files(paths: &[String]) -> Result<Objects> {
    let texts = paths.iter().map(|path| read(path));
    objects(&texts.collect::<Result<Vec<_>>>()?.join("\n---\n"))
}

/// Returns the files that say of a cloud what its overlay and the chart say, too.
fn cloud_files(cloud: &str) -> Result<Vec<String>> {
    let mut paths = vec!["common/00-prereqs.yaml".to_owned()];
    paths.extend(files(cloud)?.into_iter().filter(|path| {
        // The Config is the older form of the locations.
        !path.ends_with("-config.yaml")
            && !path.ends_with("-kube2iam.yaml")
            && !path.ends_with("-minio-deployment.yaml")
    }));
    Ok(paths)
}

#[track_caller]
fn assert_same(found: &Objects, expected: &Objects, what: &str) {
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>(),
        "{what}"
    );
    for (key, object) in expected {
        let difference = difference(&found[key], object, "");
        assert_eq!(difference, None, "{what}: {key}");
    }
}

/// Returns where two values differ first, and how. Kustomize writes numbers as it likes: 0 is 0.0.
fn difference(found: &Value, expected: &Value, path: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            b.iter().find_map(|(key, value)| {
                let own = a.get(key).unwrap_or(&Value::Null);
                difference(own, value, &format!("{path}/{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (a, b))| difference(a, b, &format!("{path}/{index}"))),
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: found {a}, expected {b}")),
    }
}

#[tokio::test]
async fn every_file_is_accepted() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let mut applied = Vec::new();
    for folder in ["common", "aws", "azure", "gcp", "ibm", "minio", "nginx-app"] {
        let paths = files(folder)?;
        applied.extend(
            paths
                .into_iter()
                // Not for the API server; the other tests read it.
                .filter(|path| !path.ends_with("/kustomization.yaml")),
        );
    }
    assert_eq!(applied.len(), 3 + 5 + 4 + 4 + 3 + 4 + 2, "{applied:?}");
    // Backup-only sorts before the full rights, and comes with types and namespace as they do.
    assert_eq!(applied[0], "common/00-prereqs-backup-only.yaml");
    for path in &applied {
        let text = filled_in(&read(path)?);
        assert!(!text.contains("<YOUR_"), "{path}");
        apply_yaml_strictly(&client, &text)
            .await
            .with_context(|| path.clone())?;
        if path.ends_with("00-prereqs-backup-only.yaml") {
            // What the strictest of Kubernetes' own profiles forbids never becomes a pod.
            let namespaces = Api::<Namespace>::all(client.clone());
            let strict = json!({"metadata": {"labels": {
                "pod-security.kubernetes.io/enforce": "restricted"
            }}});
            let params = PatchParams::default();
            namespaces
                .patch("heptio-ark", &params, &Patch::Merge(&strict))
                .await?;
        }
    }
    available(&client, "heptio-ark", "ark").await?;
    available(&client, "heptio-ark", "minio").await
}

async fn available(client: &kube::Client, namespace: &str, name: &str) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    wait_until(&format!("{name} is available"), PATIENCE, async || {
        let deployment = deployments.get(name).await?;
        let status = deployment.status.unwrap_or_default();
        Ok(
            (status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == Some(1)
                && status.available_replicas == Some(1))
            .then_some(()),
        )
    })
    .await
}

/// Builds a folder with the kustomize that is part of kubectl.
fn kustomize(folder: &Path) -> Result<String> {
    let output = Command::new(Tool::Kubectl.path())
        .arg("kustomize")
        .arg(folder)
        .output()
        .context("run kubectl")?;
    ensure!(
        output.status.success(),
        "kustomize {}: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

async fn tool(tool: Tool) -> Result<()> {
    tokio::task::spawn_blocking(move || assets::ensure(&[tool])).await?
}

#[tokio::test]
async fn kustomize_builds_what_the_files_say() -> Result<()> {
    tool(Tool::Kubectl).await?;
    let overlays = manifests().join("kustomize/overlays");
    let deployment = "common/10-deployment.yaml".to_owned();
    let full = ["common/00-prereqs.yaml".to_owned(), deployment.clone()];
    let base = kustomize(&manifests().join("kustomize/base"))?;
    assert_same(&objects(&base)?, &objects_of_files(&full)?, "base");

    let backup_only = ["common/00-prereqs-backup-only.yaml".to_owned(), deployment];
    let built = kustomize(&overlays.join("backup-only"))?;
    assert_same(
        &objects(&built)?,
        &objects_of_files(&backup_only)?,
        "backup-only",
    );
    for cloud in CLOUDS {
        let built = kustomize(&overlays.join(cloud))?;
        let expected = objects_of_files(&cloud_files(cloud)?)?;
        assert_same(&objects(&built)?, &expected, cloud);
    }
    let all = fs::read_dir(overlays)?.count();
    assert_eq!(all, CLOUDS.len() + 1, "an overlay that nobody has tested");
    Ok(())
}

#[tokio::test]
async fn a_kustomization_of_ones_own_takes_overlays_and_components() -> Result<()> {
    tool(Tool::Kubectl).await?;
    let folder = tempfile::tempdir()?;
    // It takes no absolute paths: up to the root, and down again.
    let up = fs::canonicalize(folder.path())?.components().count() - 1;
    let down = fs::canonicalize(manifests())?;
    let root = format!("{}{}", "../".repeat(up), down.strip_prefix("/")?.display());
    let text = format!(
        "\
resources: [{root}/kustomize/overlays/aws]
components: [{root}/kustomize/components/backup-only]
images: [{{name: ark, newName: registry.example.org/ark, newTag: '7'}}]
patches:
  - target: {{kind: BackupStorageLocation, name: default}}
    patch: |
      - {{op: replace, path: /spec/objectStorage/bucket, value: ours}}
"
    );
    fs::write(folder.path().join("kustomization.yaml"), text)?;
    let built = kustomize(folder.path())?;
    assert!(!built.contains("cluster-admin"), "{built}");
    assert!(built.contains("name: ark:backup-only"), "{built}");
    assert!(
        built.contains("image: registry.example.org/ark:7"),
        "{built}"
    );
    assert!(built.contains("bucket: ours"), "{built}");
    Ok(())
}

#[tokio::test]
async fn kubectl_applies_the_kustomize_base_and_then_an_overlay() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    // As docs/install.md has it: the types first, for the API server has to know them before their objects come.
    for folder in ["base", "overlays/minio"] {
        let output = plane
            .kubectl()
            .args(["apply", "--server-side", "--validate=strict", "-k"])
            .arg(manifests().join("kustomize").join(folder))
            .output()?;
        ensure!(
            output.status.success(),
            "{folder}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let output = plane
            .kubectl()
            .args(["wait", "--for=condition=Established", "--timeout=60s"])
            .args(["crd", "-l", "component=ark"])
            .output()?;
        ensure!(
            output.status.success(),
            "{folder}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Renders the chart with Helm's packages; the error is what Helm says of the values or the templates.
fn helm(namespace: &str, values: &Value) -> Result<String> {
    let mut child = Command::new(Tool::Helm.path())
        .arg(manifests().join("chart/ark"))
        .arg(namespace)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run the chart's renderer")?;
    child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(values.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns what `ark install` would apply, but for the Namespace, which is Helm's to make.
fn installed(flags: &[&str]) -> Result<Objects> {
    let output = Command::new(env!("CARGO_BIN_EXE_ark"))
        .args(["install", "--dry-run"])
        .args(flags)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(without_namespace(objects(&String::from_utf8(
        output.stdout,
    )?)?))
}

fn without_namespace(mut objects: Objects) -> Objects {
    objects.retain(|key, _| !key.starts_with("\"Namespace\""));
    objects
}

#[tokio::test]
async fn helm_renders_what_install_applies() -> Result<()> {
    tool(Tool::Helm).await?;
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("credentials");
    fs::write(&secret, "[default]\n")?;
    let secret = secret.to_str().context("a path")?;
    for (namespace, values, flags) in [
        ("heptio-ark", json!({}), &[][..]),
        ("elsewhere", json!({}), &["-n", "elsewhere"]),
        (
            "heptio-ark",
            json!({"rbac": {"profile": "backup-only"}}),
            &["--rbac", "backup-only"],
        ),
        (
            "elsewhere",
            json!({"rbac": {"profile": "backup-only"}}),
            &["--rbac", "backup-only", "-n", "elsewhere"],
        ),
        (
            "heptio-ark",
            json!({
                "image": {"repository": "registry.example.org:5000/ark", "tag": "7"},
                "location": {
                    "provider": "aws",
                    "bucket": "b",
                    "prefix": "p/q",
                    "config": {"region": "r", "s3ForcePathStyle": "true"},
                },
                "credentials": {"data": {"cloud": "[default]\n"}},
            }),
            &[
                "--image=registry.example.org:5000/ark:7",
                "--provider=aws",
                "--bucket=b",
                "--prefix=p/q",
                "--config=region=r,s3ForcePathStyle=true",
                "--secret-file",
                secret,
            ],
        ),
        (
            "heptio-ark",
            json!({
                "location": {"provider": "aws", "bucket": "b"},
                "credentials": {"mount": false},
            }),
            &["--provider=aws", "--bucket=b", "--no-secret"],
        ),
    ] {
        let rendered = objects(&helm(namespace, &values)?)?;
        assert_same(&rendered, &installed(flags)?, &values.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn helm_renders_each_cloud_as_its_files_have_it() -> Result<()> {
    tool(Tool::Helm).await?;
    for cloud in CLOUDS {
        let expected = without_namespace(objects_of_files(&cloud_files(cloud)?)?);
        let location = &expected["\"BackupStorageLocation\" \"heptio-ark\" \"default\""]["spec"];
        let snapshots: Vec<Value> = expected
            .values()
            .filter(|object| object["kind"] == "VolumeSnapshotLocation")
            .map(|object| {
                json!({
                    "name": object["metadata"]["name"],
                    "provider": object["spec"]["provider"],
                    "config": object["spec"].get("config").cloned().unwrap_or(json!({})),
                })
            })
            .collect();
        let values = json!({
            "location": {
                "provider": location["provider"],
                "bucket": location["objectStorage"]["bucket"],
                "config": location.get("config").cloned().unwrap_or(json!({})),
            },
            "snapshotLocations": snapshots,
        });
        let rendered = objects(&helm("heptio-ark", &values)?)?;
        assert_same(&rendered, &expected, cloud);
    }
    Ok(())
}

#[tokio::test]
async fn helm_refuses_values_that_mean_nothing() -> Result<()> {
    tool(Tool::Helm).await?;
    for (values, expected) in [
        (json!({"locatoin": {}}), "locatoin"),
        (json!({"rbac": {"profile": "admin"}}), "profile"),
        (json!({"location": {"provider": "aws"}}), "bucket"),
        (
            json!({"location": {"provider": "aws", "bucket": "b", "config": {"s3ForcePathStyle": true}}}),
            "s3ForcePathStyle",
        ),
        (json!({"snapshotLocations": [{"name": "a"}]}), "provider"),
    ] {
        let problem = helm("heptio-ark", &values)
            .err()
            .with_context(|| format!("{values} was accepted"))?;
        assert!(
            problem.to_string().contains(expected),
            "{values}: {problem}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_value_of_the_chart_is_accepted_by_the_api_server() -> Result<()> {
    tool(Tool::Helm).await?;
    let plane = ControlPlane::start(Options::default()).await?;
    let values = json!({
        "image": {
            "repository": "registry.example.org/ark",
            "tag": "7",
            "pullPolicy": "Always",
            "pullSecrets": [{"name": "registry"}],
        },
        "rbac": {"profile": "backup-only"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/ark"}},
        "location": {"provider": "aws", "bucket": "b", "prefix": "p", "config": {"region": "r"}},
        "snapshotLocations": [{"name": "one", "provider": "aws"}, {"name": "two", "provider": "aws"}],
        "credentials": {"mount": true, "data": {"cloud": "[default]\n"}},
        "replicas": 1,
        "extraArgs": ["--log-format=json"],
        "extraEnv": [{"name": "AWS_REGION", "value": "r"}],
        "extraVolumes": [{"name": "certificates", "configMap": {"name": "certificates", "optional": true}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/certificates"}],
        "podAnnotations": {"example.org/a": "b"},
        "resources": {"requests": {"cpu": "1m"}},
        "nodeSelector": {"kubernetes.io/os": "linux", "type": "kwok"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "type", "operator": "Exists"}]}],
        }}},
    });
    // A value that is missing here was never tried.
    let known: Value = serde_saphyr::from_str(&read("chart/ark/values.yaml")?)?;
    for key in known.as_object().context("a map")?.keys() {
        assert_ne!(&values[key], &Value::Null, "{key}");
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own"}});
    let text = format!("{namespace}\n---\n{}", helm("own", &values)?);
    apply_yaml_strictly(&plane.client(), &text).await?;
    available(&plane.client(), "own", "ark").await
}
