//! Ark with its backups in a plugin's store: the example's, and velero-plugin-for-aws as others have built it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ark::api::{Backup, BackupSpec, RestoreSpec};
use serde_json::json;

use crate::disks::{Disks, locate, lose, until_bound};
use crate::snapshots::disk_of;
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::control_plane::assets::{self, Tool};
use crate::support::minio::Minio;
use crate::support::moto;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::plugins::{PluginDir, program};
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

/// The bucket of each test's own MinIO.
const BUCKET: &str = "ark";

/// Returns the processes whose program is in a directory.
fn processes(dir: &PluginDir) -> Vec<String> {
    let directory = dir.path().display().to_string();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.starts_with(&directory))
        .collect()
}

async fn all_gone(dir: &PluginDir) -> Result<()> {
    wait_until("no plugin runs", PATIENCE, async || {
        Ok(processes(dir).is_empty().then_some(()))
    })
    .await
}

/// Backs up, loses, restores and deletes something; returns the logs of backup and restore.
async fn walk(plane: &'static ControlPlane, ark: &Installation<'_>) -> Result<[String; 2]> {
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "plugins").await?;
    let name = namespace.name();
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" },
        "metadata": { "name": "settings", "namespace": name },
    });
    apply_yaml(&client, &settings.to_string()).await?;
    let made = ark.ark(&[
        "backup",
        "create",
        "one",
        "--include-namespaces",
        name,
        "--wait",
    ])?;
    ensure!(made.contains("Completed"), "{made}");
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client.clone(), name);
    maps.delete("settings", &kube::api::DeleteParams::default())
        .await?;
    let restored = ark.ark(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--wait",
    ])?;
    ensure!(restored.contains("Completed"), "{restored}");
    let map = maps.get("settings").await?;
    ensure!(map.data.context("data")?["a"] == "b");
    let logs = [
        ark.ark(&["backup", "logs", "one"])?,
        ark.ark(&["restore", "logs", "back"])?,
    ];
    ensure!(logs[0].contains("the backup begins"), "{}", logs[0]);
    ensure!(logs[1].contains("the restore begins"), "{}", logs[1]);
    let target = ark.plane().dir().join(unique_name("download"));
    let file = target.display().to_string();
    ark.ark(&["backup", "download", "one", "--output", &file])?;
    ensure!(fs::metadata(&target)?.len() > 0);
    ark.ark(&["backup", "delete", "one", "--confirm"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        Ok((!ark.ark(&["backup", "get"])?.contains("one ")).then_some(()))
    })
    .await?;
    Ok(logs)
}

#[tokio::test]
async fn backups_live_in_a_plugins_store() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let dir = PluginDir::new().with("directory", &program("plugin-directory-store"));
    let Store {
        mut provider,
        environment,
    } = Store::local(plane)?;
    provider["name"] = json!("example.org/directory");
    let path = provider["config"]["path"].as_str().context("a path")?;
    fs::create_dir(Path::new(path).join("ark"))?;
    let store = Store {
        provider,
        environment,
    };
    let mut ark = Installation::with_store(plane, store).await?;
    let directory = dir.path().display().to_string();
    ark.server_arguments(["--plugin-dir", &directory]);
    let server = ark.serve().await?;
    let [log, restore_log] = walk(plane, &ark).await?;
    // What the plugin said for this backup stands in its log, and what it said for others does not.
    let stored: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("an object is stored") && line.contains("pluginName=directory")
        })
        .collect();
    assert!(
        stored.iter().any(|line| line.contains("key=backups/one/")),
        "{log}"
    );
    assert!(
        !stored.iter().any(|line| line.contains("restores/")),
        "{log}"
    );
    // The contents are read once, since each frame would be read from the beginning otherwise.
    let reads = |part: &str| {
        let is_read = |line: &&str| line.contains("an object is read") && line.contains(part);
        restore_log.lines().filter(is_read).count()
    };
    assert_eq!(reads(".tar.zst"), 1, "{restore_log}");
    let left = ark.keys();
    assert_eq!(left, ["metadata/revision"]);

    let dir = dir.with_script("chatty", "echo Hello");
    let shown = ark.ark(&["plugin", "get"])?;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{shown}");
    assert!(
        lines[1].contains("Unusable: the plugin program")
            && lines[1].contains("it wrote \"Hello\""),
        "{shown}"
    );
    assert!(
        lines[2].starts_with("example.org/directory   ObjectStore   Velero ")
            && lines[2].ends_with("/directory   Ready"),
        "{shown}"
    );
    let asked: kube::Api<ark::api::ServerStatusRequest> = ark.api();
    assert!(
        asked
            .list(&kube::api::ListParams::default())
            .await?
            .items
            .is_empty()
    );

    assert!(!processes(&dir).is_empty());
    server.stop()?;
    assert_eq!(processes(&dir), [""; 0], "a server takes its plugins along");

    let server = ark.serve().await?;
    wait_until("the plugin runs", PATIENCE, async || {
        Ok((!processes(&dir).is_empty()).then_some(()))
    })
    .await?;
    server.kill();
    all_gone(&dir).await
}

/// Returns a plugin directory with velero-plugin-for-aws.
async fn aws_plugin() -> Result<PluginDir> {
    tokio::task::spawn_blocking(|| assets::ensure(&[Tool::VeleroPluginForAws])).await??;
    Ok(PluginDir::new().with("velero-plugin-for-aws", &Tool::VeleroPluginForAws.path()))
}

/// Returns a bucket of MinIO that the plugin keeps.
async fn aws_store(minio: &Minio) -> Result<Store> {
    minio.create_bucket(BUCKET).await?;
    let mut store = Store::minio(minio, BUCKET, &minio.endpoint())?;
    store.provider["name"] = json!("velero.io/aws");
    Ok(store)
}

#[tokio::test]
async fn backups_live_in_the_store_of_veleros_plugin_for_aws() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let dir = aws_plugin().await?;
    let minio = Minio::start().await?;
    let store = aws_store(&minio).await?;
    let mut ark = Installation::with_store(plane, store).await?;
    let directory = dir.path().display().to_string();
    ark.server_arguments(["--plugin-dir", &directory]);
    let server = ark.serve().await?;
    walk(plane, &ark).await?;
    server.stop()?;
    assert_eq!(processes(&dir), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn veleros_plugin_for_aws_keeps_objects_and_volumes_until_they_expire() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let dir = aws_plugin().await?;
    let minio = Minio::start().await?;
    let disks = Disks::start().await?;
    let mut store = aws_store(&minio).await?;
    // Amazon's library for Go knows this variable; the store's endpoint is the location's own.
    store
        .environment
        .push(("AWS_ENDPOINT_URL_EC2", disks.moto.endpoint()));
    let mut ark = Installation::with_store(plane, store).await?;
    let directory = dir.path().display().to_string();
    ark.server_arguments(["--plugin-dir", &directory]);
    let config = [("region", moto::REGION)];
    locate(&ark, "disks", "velero.io/aws", &config).await?;
    let server = ark.serve_by_hand("2026-01-01T00:00:00Z").await?;
    let namespace = TestNamespace::new(plane, "data").await?;
    let (disk, volume) = disks
        .volume(&client, namespace.name(), "db", "Delete")
        .await?;

    let mut spec = all_of(&namespace);
    spec.ttl = Some("1h".to_owned());
    let backup = ark.back_up("data", spec).await?;
    assert_clean_backup(&backup);
    let status = backup.status.unwrap_or_default();
    assert_eq!(status.volume_snapshots_completed, Some(1));
    let snapshots = disks.snapshots().await?;
    let (snapshot, tags) = snapshots.first_key_value().context("a snapshot")?;
    assert_eq!(tags["ark.heptio.com/backup"], "data");
    assert_eq!(tags["ark.heptio.com/pv"], volume);

    lose(&client, &namespace, &[&volume]).await?;
    disks.moto.delete_volume(&disk).await?;
    let spec = RestoreSpec {
        backup_name: "data".to_owned(),
        ..RestoreSpec::default()
    };
    assert_clean_restore(&ark.restore("back", spec).await?);
    until_bound(&client, namespace.name(), "db").await?;
    let now = disk_of(&client, &volume).await?;
    assert_ne!(now, disk);
    assert_eq!(disks.origin(&now).await?.as_ref(), Some(snapshot));

    server.hand.set("2026-01-01T01:00:00Z".parse()?);
    wait_until("the backup is gone", PATIENCE, async || {
        let backups: kube::Api<Backup> = ark.api();
        Ok(backups.get_opt("data").await?.is_none().then_some(()))
    })
    .await?;
    assert_eq!(disks.snapshots().await?.len(), 0);
    let left = minio.read(&format!("/{BUCKET}?list-type=2")).await?;
    assert_eq!(left.matches("<Key>").count(), 1, "{left}");
    assert!(left.contains("<Key>metadata/revision</Key>"), "{left}");
    server.end().await
}

#[tokio::test]
async fn item_actions_of_plugins_take_part_in_backups_and_restores() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let dir = PluginDir::new().with("item-action", &program("plugin-item-action"));
    let mut ark = Installation::with_store(plane, Store::local(plane)?).await?;
    let directory = dir.path().display().to_string();
    ark.server_arguments(["--plugin-dir", &directory]);
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "acting").await?;
    let name = namespace.name();
    for object in [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" },
            "metadata": {
                "name": "settings", "namespace": name, "labels": { "app": "a" },
                "annotations": { "example.org/needs-secrets": "token" },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "token", "namespace": name },
        }),
    ] {
        apply_yaml(&client, &object.to_string()).await?;
    }
    let selected = ["--include-namespaces", name, "--selector", "app=a"];
    let create = ["backup", "create", "one", "--wait"];
    let made = ark.ark(&[&create[..], &selected[..]].concat())?;
    ensure!(made.contains("Completed"), "{made}");
    let log = ark.ark(&["backup", "logs", "one"])?;
    let noted: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("a ConfigMap is noted") && line.contains("pluginName=item-action")
        })
        .collect();
    assert_eq!(noted.len(), 1, "{log}");
    assert!(noted[0].contains("name=settings"), "{log}");
    namespace.delete().await?;
    let restored = ark.ark(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--wait",
    ])?;
    ensure!(restored.contains("Completed"), "{restored}");
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client.clone(), name);
    let annotations = maps
        .get("settings")
        .await?
        .metadata
        .annotations
        .context("annotations")?;
    assert_eq!(annotations["example.org/backed-up-by"], "one");
    assert_eq!(annotations["example.org/restored-by"], "back");
    let restore_log = ark.ark(&["restore", "logs", "back"])?;
    let line = "a restored ConfigMap is noted";
    assert_eq!(restore_log.matches(line).count(), 1, "{restore_log}");
    assert!(!log.contains(line), "{log}");
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(client.clone(), name);
    secrets
        .get("token")
        .await
        .context("what the plugin named")?;

    // One that cannot be asked is an error of the run, and no more than that.
    let dir = dir.with_script("broken", "echo Hello");
    let create = ["backup", "create", "two", "--wait"];
    let made = ark
        .command()
        .args([&create[..], &selected[..]].concat())
        .output()?;
    let said = String::from_utf8_lossy(&made.stdout);
    ensure!(said.contains("PartiallyFailed"), "{made:?}");
    let log = ark.ark(&["backup", "logs", "two"])?;
    assert!(log.contains("/broken is no plugin"), "{log}");
    // Of a deletion, too, which goes on.
    ark.ark(&["backup", "delete", "two", "--confirm"])?;
    let requests: kube::Api<ark::api::DeleteBackupRequest> = ark.api();
    let errors = wait_until("the deletion is through", PATIENCE, async || {
        let all = requests.list(&kube::api::ListParams::default()).await?;
        let ended = all.items.into_iter().filter_map(|request| request.status);
        let mut ended = ended.filter(|status| status.completion_timestamp.is_some());
        Ok(ended.next().map(|status| status.errors))
    })
    .await?;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("/broken is no plugin"), "{errors:?}");
    ensure!(!ark.ark(&["backup", "get"])?.contains("two "));
    server.stop()?;
    assert_eq!(processes(&dir), [""; 0]);
    Ok(())
}

/// Makes a namespace with an object that the tests' plugin cares for, and what it names with it.
async fn cared_for(plane: &'static ControlPlane) -> Result<TestNamespace> {
    let namespace = TestNamespace::new(plane, "cared-for").await?;
    for (kind, name, labels) in [
        ("ConfigMap", "a", json!({"example.org/cared-for": "yes"})),
        ("ConfigMap", "a-after", json!({})),
        ("Secret", "a-named", json!({})),
        ("Secret", "a-related", json!({})),
        ("Secret", "unnamed", json!({})),
    ] {
        let object = json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace.name(), "labels": labels },
        });
        apply_yaml(&plane.client(), &object.to_string()).await?;
    }
    Ok(namespace)
}

/// Returns the names of a namespace's objects, as far as [`cared_for`] made them.
async fn cared_for_in(plane: &ControlPlane, namespace: &str) -> Result<Vec<String>> {
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(plane.client(), namespace);
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(plane.client(), namespace);
    let all = kube::api::ListParams::default();
    let maps = maps.list(&all).await?.items.into_iter();
    let secrets = secrets.list(&all).await?.items.into_iter();
    let names = maps.filter_map(|map| map.metadata.name);
    let names = names.chain(secrets.filter_map(|secret| secret.metadata.name));
    let mut names: Vec<String> = names.filter(|name| name != "kube-root-ca.crt").collect();
    names.sort();
    Ok(names)
}

/// Returns what the tests' plugin noted on the object that it cares for: of the backup, and of the restore.
async fn noted(plane: &ControlPlane, namespace: &str) -> Result<[Option<String>; 2]> {
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(plane.client(), namespace);
    let mut annotations = maps
        .get("a")
        .await?
        .metadata
        .annotations
        .unwrap_or_default();
    let of = ["example.org/backup", "example.org/restore"];
    Ok(of.map(|annotation| annotations.remove(annotation)))
}

#[tokio::test]
async fn a_plugin_of_every_kind_of_action_takes_part_in_a_backups_whole_life() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let dir = PluginDir::new().with_test_plugin("cares");
    let mut ark = Installation::with_store(plane, Store::local(plane)?).await?;
    let directory = dir.path().display().to_string();
    ark.server_arguments(["--plugin-dir", &directory]);
    let server = ark.serve().await?;
    let namespace = cared_for(plane).await?;
    let shown = ark.ark(&["plugin", "get"])?;
    for kind in [
        "BackupItemActionV2",
        "RestoreItemActionV2",
        "DeleteItemAction",
        "ItemBlockAction",
    ] {
        assert!(shown.contains(&format!(" {kind} ")), "{shown}");
    }

    let made = ark.ark(&[
        "backup",
        "create",
        "one",
        "--include-namespaces",
        namespace.name(),
        "--selector",
        "example.org/cared-for=yes",
        "--wait",
    ])?;
    ensure!(made.contains("Completed"), "{made}");
    let described = ark.ark(&["backup", "describe", "one"])?;
    assert!(
        described.contains("1 of 1 completed, 0 failed"),
        "{described}"
    );
    let log = ark.ark(&["backup", "logs", "one"])?;
    let asked = "an operation is asked for";
    assert_eq!(log.matches(asked).count(), 3, "{log}");
    assert!(log.contains("operation=\"copying a\""), "{log}");

    let target = unique_name("cared-for");
    let mapping = format!("{}:{target}", namespace.name());
    let restored = ark.ark(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--namespace-mappings",
        &mapping,
        "--wait",
    ])?;
    ensure!(restored.contains("Completed"), "{restored}");
    let all = ["a", "a-after", "a-named", "a-related"];
    assert_eq!(cared_for_in(plane, &target).await?, all);
    let [backup, restore] = noted(plane, &target).await?;
    assert_eq!(backup.as_deref(), Some("velero.io/v1 one"));
    assert_eq!(restore.as_deref(), Some("velero.io/v1 back"));
    let described = ark.ark(&["restore", "describe", "back"])?;
    assert!(
        described.contains("1 of 1 completed, 0 failed"),
        "{described}"
    );
    let log = ark.ark(&["restore", "logs", "back"])?;
    assert_eq!(log.matches(asked).count(), 3, "{log}");

    ark.ark(&["backup", "delete", "one", "--confirm"])?;
    wait_until("the backup is gone", PATIENCE, async || {
        let backups: kube::Api<Backup> = ark.api();
        Ok(backups.get_opt("one").await?.is_none().then_some(()))
    })
    .await?;
    let log = server.log();
    let gone = log
        .lines()
        .filter(|line| line.contains("what belongs to an item goes"));
    let gone: Vec<&str> = gone.collect();
    assert_eq!(gone.len(), 1, "{log}");
    assert!(gone[0].contains("pluginName=\"cares\""), "{gone:?}");
    assert_eq!(ark.keys(), ["metadata/revision"]);
    server.stop()
}

#[tokio::test]
async fn actions_made_for_earlier_arks_run_as_they_are() -> Result<()> {
    let plane = ControlPlane::shared().await;
    for programs in [
        &["cares-ten"][..],
        &["ark-backupitemaction-cares", "ark-restoreitemaction-cares"],
    ] {
        let mut dir = PluginDir::new();
        for program in programs {
            dir = dir.with_test_plugin(program);
        }
        let mut ark = Installation::with_store(plane, Store::local(plane)?).await?;
        let directory = dir.path().display().to_string();
        ark.server_arguments(["--plugin-dir", &directory]);
        let server = ark.serve().await?;
        let namespace = cared_for(plane).await?;
        let spec = BackupSpec {
            label_selector: serde_json::from_value(json!({
                "matchLabels": {"example.org/cared-for": "yes"},
            }))?,
            ..all_of(&namespace)
        };
        assert_clean_backup(&ark.back_up("one", spec).await?);
        let target = unique_name("cared-for");
        let restore = ark
            .restore("back", moved("one", &namespace, &target))
            .await?;
        assert_clean_restore(&restore);
        // Of what this plugin could say, what names objects is older than the rest.
        assert_eq!(cared_for_in(plane, &target).await?, ["a", "a-named"]);
        let [backup, restore] = noted(plane, &target).await?;
        assert_eq!(backup.as_deref(), Some("ark.heptio.com/v1 one"));
        assert_eq!(restore.as_deref(), Some("ark.heptio.com/v1 back"));
        server.stop()?;
        assert_eq!(processes(&dir), [""; 0], "{programs:?}");
    }
    Ok(())
}
