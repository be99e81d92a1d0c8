//! Backups that the original Ark 0.9 and Velero 1.18 really wrote: shown, described, downloaded, and restored.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ark::api::{Backup, RestorePhase, RestoreSpec};
use kube::api::Api;
use serde_json::Value;

use crate::objects::Objects;
use crate::support::ark::Installation;
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::objects::apply_yaml;
use crate::support::runs::assert_clean_restore;
use crate::support::{PATIENCE, wait_until};
use crate::zoo::{CUSTOM, NAMESPACES, ZOO, comparable, settled};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/backups")
        .join(name)
}

/// Copies what another program stored into a bucket.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Returns the objects of the zoo that a fixture holds.
fn stored(tar_gz: &Path) -> Result<Objects> {
    let mut objects = Objects::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(File::open(tar_gz)?));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let parts: Vec<&str> = path.split('/').collect();
        let [_, of, "namespaces" | "cluster", ..] = parts[..] else {
            continue;
        };
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let object: Value = serde_json::from_str(&text)?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let of_zoo = NAMESPACES.contains(&namespace)
            || (namespace.is_empty() && object["metadata"]["labels"]["app"] == "zoo");
        if of_zoo && of != "namespaces" {
            objects.insert(format!("{of} {namespace}/{name}"), object);
        }
    }
    Ok(objects)
}

/// Returns the documents of the zoo of some kinds.
fn only(kinds: &[&str]) -> String {
    let all = format!("{ZOO}\n---\n{CUSTOM}");
    let documents = all.split("\n---\n").filter(|text| {
        kinds
            .iter()
            .any(|kind| text.lines().any(|line| line == format!("kind: {kind}")))
    });
    documents.collect::<Vec<_>>().join("\n---\n")
}

/// Takes out what items of lists come without, and what is each cluster's own.
fn typeless(mut objects: Objects) -> Objects {
    // The authority's certificate is each cluster's own.
    objects.retain(|key, _| !key.ends_with("/kube-root-ca.crt"));
    for object in objects.values_mut().filter_map(Value::as_object_mut) {
        object.remove("apiVersion");
        object.remove("kind");
        // So is the node.
        object
            .get_mut("spec")
            .and_then(Value::as_object_mut)
            .map(|spec| spec.remove("nodeName"));
    }
    objects
}

async fn comes_back(layout: &str, tar_gz: &str, lacking: &[&str], made_by: &str) -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = Installation::new(&plane).await?;
    copy(&fixture(layout), &ark.bucket())?;
    let before_sync = ark.keys();
    let server = ark.serve().await?;
    let backups: Api<Backup> = ark.api();
    wait_until("the backup is shown", PATIENCE, async || {
        let shown = backups.get_opt("zoo").await?;
        Ok(shown.filter(|backup| backup.status.is_some()))
    })
    .await?;
    let listed = ark.ark(&["backup", "get"])?;
    assert!(
        listed.contains("zoo") && listed.contains("Completed"),
        "{listed}"
    );
    let described = ark.ark(&["backup", "describe", "zoo"])?;
    assert!(described.contains(made_by), "{described}");

    if !lacking.is_empty() {
        apply_yaml(&client, &only(lacking)).await?;
    }
    let spec = RestoreSpec {
        backup_name: "zoo".into(),
        included_namespaces: NAMESPACES.map(str::to_owned).into(),
        include_cluster_resources: Some(true),
        ..RestoreSpec::default()
    };
    let restore = ark.restore("zoo", spec).await?;
    let said = ark.ark(&["restore", "describe", "zoo"])?;
    assert_eq!(
        restore.status.as_ref().map(|status| status.phase.clone()),
        Some(RestorePhase::Completed),
        "{said}"
    );
    assert_eq!(
        restore
            .status
            .as_ref()
            .map(|status| (status.warnings, status.errors)),
        Some((0, 0)),
        "{said}"
    );
    assert_clean_restore(&restore);

    let expected = typeless(comparable(&stored(&fixture(tar_gz))?));
    let found = typeless(comparable(&settled(&client).await?));
    for (key, object) in &expected {
        let now = found
            .get(key)
            .with_context(|| format!("{key} is not there"))?;
        assert!(now == object, "{key} was\n{object:#}\nand is\n{now:#}");
    }
    assert!(expected.len() > 30, "{:?}", expected.keys());
    let more: Vec<&String> = found
        .keys()
        .filter(|key| !expected.contains_key(*key) && !key.starts_with("namespaces "))
        .collect();
    assert_eq!(more.len(), lacking.len(), "nothing else is there: {more:?}");

    // Whose the animals are.
    let animal = |name: &str| {
        let output = plane
            .kubectl()
            .args([
                "get",
                "animals.zoo.example.org",
                name,
                "-n",
                "zoo",
                "-o",
                "json",
            ])
            .output();
        anyhow::Ok(serde_json::from_slice::<Value>(&output?.stdout)?)
    };
    assert_eq!(
        animal("nala")?["metadata"]["ownerReferences"][0]["uid"],
        animal("simba")?["metadata"]["uid"]
    );

    // What others stored is as it was, but for what Ark writes about its restore.
    let after: Vec<String> = ark
        .keys()
        .into_iter()
        .filter(|key| !key.starts_with("restores/") && key != "metadata/revision")
        .collect();
    assert_eq!(before_sync, after);
    let refused = ark.ark(&["backup", "delete", "zoo", "--confirm"]);
    drop(refused);
    assert!(ark.keys().iter().any(|key| key.ends_with("zoo.tar.gz")));
    server.stop()
}

#[tokio::test]
async fn a_backup_of_ark_0_9_comes_back() -> Result<()> {
    comes_back("ark-0.9", "ark-0.9/zoo/zoo.tar.gz", &[], "Ark").await
}

#[tokio::test]
async fn a_backup_of_velero_comes_back() -> Result<()> {
    let lacking = ["StorageClass", "ValidatingWebhookConfiguration"];
    comes_back(
        "velero-1.18",
        "velero-1.18/backups/zoo/zoo.tar.gz",
        &lacking,
        "Velero",
    )
    .await
}

#[tokio::test]
async fn a_backup_of_ark_0_10_is_restored_elsewhere() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    // Ark 0.10 stored the same files one level deeper.
    copy(&fixture("ark-0.9/zoo"), &ark.bucket().join("backups/zoo"))?;
    let server = ark.serve().await?;
    let target = crate::support::unique_name("ark-0-10");
    let spec = RestoreSpec {
        backup_name: "zoo".into(),
        included_namespaces: vec!["zoo".into()],
        included_resources: vec!["configmaps".into(), "secrets".into()],
        namespace_mapping: [("zoo".to_owned(), target.clone())].into(),
        ..RestoreSpec::default()
    };
    assert_clean_restore(&ark.restore("elsewhere", spec).await?);
    let config_maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(plane.client(), &target);
    assert_eq!(config_maps.get("frozen").await?.immutable, Some(true));
    server.stop()
}

#[tokio::test]
async fn a_damaged_archive_is_refused_before_anything_is_made() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    copy(&fixture("velero-1.18"), &ark.bucket())?;
    let file = ark.bucket().join("backups/zoo/zoo.tar.gz");
    let whole = fs::read(&file)?;
    fs::write(&file, &whole[..whole.len() / 2])?;
    let server = ark.serve().await?;
    let target = crate::support::unique_name("damaged");
    let spec = RestoreSpec {
        backup_name: "zoo".into(),
        namespace_mapping: [("zoo".to_owned(), target.clone())].into(),
        ..RestoreSpec::default()
    };
    let restore = ark.restore("damaged", spec).await?;
    let status = restore.status.context("a status")?;
    assert_eq!(status.phase, RestorePhase::Failed, "{status:?}");
    let reason = status.failure_reason.unwrap_or_default();
    assert!(reason.contains("zoo.tar.gz is damaged"), "{reason}");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(plane.client());
    assert!(namespaces.get_opt(&target).await?.is_none());
    server.stop()
}
