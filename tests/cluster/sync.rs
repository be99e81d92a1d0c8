//! What is stored in a location is there as a Backup: in another cluster, after somebody changed the store by hand, and
//! whatever else lies there.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ark::api::{
    Backup, BackupPhase, BackupSpec, BackupStorageLocation, BackupStorageLocationSpec,
    BackupStorageLocationStatus, Config, DeleteBackupRequest, DeleteBackupRequestPhase,
    DeleteBackupRequestSpec, RestoreSpec, StorageProviderConfig, labels, names,
};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::locations::{create, location};
use crate::support::ark::{Installation, Store, TimedServer};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::minio::Minio;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

const START: &str = "2026-11-01T00:00:00Z";
const MINUTE: Duration = Duration::from_mins(1);

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE, labels: {app: moved}}
data: {colour: blue}
";

/// Describes the store of an installation as a location.
pub(crate) fn own(
    ark: &Installation<'_>,
    change: impl FnOnce(&mut BackupStorageLocationSpec),
) -> Result<BackupStorageLocationSpec> {
    let store: StorageProviderConfig = serde_json::from_value(ark.provider().clone())?;
    Ok(location(&store, change))
}

/// A record that another cluster's Ark could have stored.
pub(crate) fn record(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "ark.heptio.com/v1",
        "kind": "Backup",
        "metadata": {
            "name": name,
            "namespace": "elsewhere",
            "uid": uid,
            "labels": {"made": "elsewhere"},
            "finalizers": ["gc.ark.heptio.com"],
        },
        "spec": {"includedNamespaces": ["shop"], "storageLocation": "theirs"},
        "status": {"version": 2, "phase": "Completed", "clusterId": "another-cluster"},
    })
}

/// Stores an object, as somebody with access to the bucket could: it is there at once or not at all.
pub(crate) fn put(ark: &Installation<'_>, key: &str, content: &str) -> Result<()> {
    let file = ark.bucket().join(key);
    let folder = file.parent().context("a key has a folder")?;
    fs::create_dir_all(folder)?;
    let aside = ark.plane().dir().join(unique_name("object"));
    fs::write(&aside, content)?;
    fs::rename(aside, &file)?;
    Ok(())
}

fn put_record(ark: &Installation<'_>, prefix: &str, name: &str, uid: &str) -> Result<()> {
    let key = format!("{prefix}backups/{name}/ark-backup.json");
    put(ark, &key, &record(name, uid).to_string())
}

fn put_revision(ark: &Installation<'_>, prefix: &str) -> Result<()> {
    let revision = unique_name("revision");
    put(ark, &format!("{prefix}metadata/revision"), &revision)
}

/// Returns the digest of everything in the bucket, restores' files aside.
fn digests(ark: &Installation<'_>) -> Result<BTreeMap<String, String>> {
    ark.keys()
        .into_iter()
        .filter(|key| !key.starts_with("restores/"))
        .map(|key| {
            let content = fs::read(ark.bucket().join(&key))?;
            Ok((key, names::sha256_hex(&content)))
        })
        .collect()
}

/// Waits until a Backup is there with a status, and returns it.
async fn shown(ark: &Installation<'_>, name: &str) -> Result<Backup> {
    let backups = ark.api::<Backup>();
    wait_until(&format!("backup {name} is shown"), PATIENCE, async || {
        Ok(backups
            .get_opt(name)
            .await?
            .filter(|backup| backup.status.is_some()))
    })
    .await
}

/// Waits until there is no Backup of a name.
async fn gone(ark: &Installation<'_>, name: &str) -> Result<()> {
    let backups = ark.api::<Backup>();
    wait_until(&format!("backup {name} is gone"), PATIENCE, async || {
        Ok(backups.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Waits until the status of a location is as wanted, and returns it.
async fn status(
    ark: &Installation<'_>,
    name: &str,
    what: &str,
    wanted: fn(&BackupStorageLocationStatus) -> bool,
) -> Result<BackupStorageLocationStatus> {
    let locations = ark.api::<BackupStorageLocation>();
    wait_until(&format!("{name}: {what}"), PATIENCE, async || {
        let status = locations.get(name).await?.status.unwrap_or_default();
        Ok(wanted(&status).then_some(status))
    })
    .await
}

/// Waits until a location has been looked into so often with this outcome.
async fn looked(server: &TimedServer, location: &str, outcome: &str, times: u32) -> Result<()> {
    let counter =
        format!("ark_location_syncs_total{{location=\"{location}\",outcome=\"{outcome}\"}} ");
    wait_until(&format!("{counter}{times}"), PATIENCE, async || {
        let metrics = server.get("/metrics").await?;
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&counter)?.parse::<u32>().ok());
        Ok((count >= Some(times)).then_some(()))
    })
    .await
}

fn origin(backup: &Backup) -> Option<&str> {
    let annotations = backup.metadata.annotations.as_ref()?;
    annotations.get(labels::ORIGIN_UID).map(String::as_str)
}

async fn cluster_id(plane: &ControlPlane) -> Result<String> {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    let system = namespaces.get("kube-system").await?;
    system.metadata.uid.context("a UID")
}

#[tokio::test]
async fn a_second_control_plane_restores_what_the_first_one_backed_up() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let first = Installation::new(plane).await?;
    let server = first.serve().await?;
    let namespace = TestNamespace::new(plane, "moving").await?;
    let objects = OBJECTS.replace("NAMESPACE", namespace.name());
    apply_yaml(&plane.client(), &objects).await?;
    let mut request = Backup::new("moving", all_of(&namespace));
    request.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
    request.metadata.annotations = Some([("why".to_owned(), "because".to_owned())].into());
    let backups = first.api::<Backup>();
    backups.create(&PostParams::default(), &request).await?;
    let made = first.backup_ended("moving").await?;
    assert_clean_backup(&made);
    server.stop()?;
    let before = digests(&first)?;

    let other = ControlPlane::start(Options::default()).await?;
    let store = Store {
        provider: first.provider().clone(),
        environment: Vec::new(),
    };
    let mut reader = Installation::with_store(&other, store.clone()).await?;
    reader.server_arguments(["--restore-only"]);
    assert_ne!(reader.namespace(), first.namespace());
    let server = reader.serve().await?;
    let image = shown(&reader, "moving").await?;
    assert_eq!(image.status, made.status);
    assert_eq!(image.spec, made.spec);
    assert_eq!(
        image.metadata.namespace.as_deref(),
        Some(reader.namespace())
    );
    let found = image.metadata.labels.clone().unwrap_or_default();
    assert_eq!(found["team"], "blue");
    assert_eq!(found[labels::STORAGE_LOCATION], "default");
    let annotations = image.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["why"], "because");
    assert_eq!(origin(&image), made.metadata.uid.as_deref());
    reader.ark(&[
        "restore",
        "create",
        "moved",
        "--from-backup",
        "moving",
        "--wait",
    ])?;
    assert_clean_restore(&reader.restore_ended("moved").await?);
    let restored = Api::<ConfigMap>::namespaced(other.client(), namespace.name());
    let settings = restored.get("settings").await?;
    assert_eq!(settings.data.unwrap_or_default()["colour"], "blue");
    server.stop()?;
    assert_eq!(digests(&first)?, before, "only the restore's files are new");

    // A server that also makes backups there says that it is not alone.
    let writer = Installation::without_config(&other, store).await?;
    create(&writer, "default", own(&writer, |_| {})?).await?;
    let server = writer.serve().await?;
    shown(&writer, "moving").await?;
    // The message and what was found are written by two controllers.
    let said = status(&writer, "default", "it is shared", |status| {
        !status.message.is_empty() && !status.other_clusters.is_empty()
    })
    .await?;
    assert_eq!(said.other_clusters, [cluster_id(plane).await?]);
    assert!(said.message.contains("other clusters"), "{}", said.message);
    assert!(said.last_synced_time.is_some() && said.sync_errors.is_empty());
    let table = other
        .kubectl()
        .args(["get", "backupstoragelocations", "-o", "wide", "-n"])
        .arg(writer.namespace())
        .output()?;
    let table = String::from_utf8(table.stdout)?;
    assert!(table.contains("other clusters"), "{table}");
    let target = unique_name("target");
    let spec = moved("moving", &namespace, &target);
    assert_clean_restore(&writer.restore("elsewhere", spec).await?);
    server.stop()
}

#[tokio::test]
async fn a_backup_whose_data_is_gone_goes_too() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve_by_hand(START).await?;
    let namespace = TestNamespace::new(plane, "gone").await?;
    assert_clean_backup(&ark.back_up("stays", all_of(&namespace)).await?);
    assert_clean_backup(&ark.back_up("goes", all_of(&namespace)).await?);
    let refused = BackupSpec {
        ttl: Some("soon".into()),
        ..all_of(&namespace)
    };
    ark.back_up("refused", refused).await?;
    put_record(&ark, "", "theirs", "uid-1")?;
    fs::remove_file(ark.bucket().join("backups/goes/ark-backup.json"))?;
    server.hand.advance(MINUTE);
    gone(&ark, "goes").await?;
    let image = shown(&ark, "theirs").await?;
    assert_eq!(origin(&image), Some("uid-1"));

    // The name is given to another backup: the image of the first one makes way.
    put_record(&ark, "", "theirs", "uid-2")?;
    put_revision(&ark, "")?;
    server.hand.advance(Duration::from_hours(1));
    let backups = ark.api::<Backup>();
    wait_until("the new backup is shown", PATIENCE, async || {
        let image = backups.get_opt("theirs").await?;
        let new = image.filter(|image| origin(image) == Some("uid-2") && image.status.is_some());
        Ok(new.map(drop))
    })
    .await?;
    for name in ["stays", "refused"] {
        assert!(backups.get_opt(name).await?.is_some(), "{name}");
    }
    server.end().await
}

/// Deletions and looks race; a watch tells whether any Backup was made meanwhile.
#[tokio::test]
async fn a_backup_that_is_deleted_here_does_not_come_back() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve_by_hand(START).await?;
    let names: Vec<String> = (0..8).map(|n| format!("deleted-{n}")).collect();
    for name in &names {
        put_record(&ark, "", name, &format!("uid-{name}"))?;
    }
    server.hand.advance(MINUTE);
    for name in &names {
        shown(&ark, name).await?;
    }
    let backups = ark.api::<Backup>();
    let version = backups.list(&ListParams::default()).await?.metadata;
    let version = version.resource_version.context("a version")?;
    let mut events = backups
        .watch(&WatchParams::default(), &version)
        .await?
        .boxed();
    let deletions = ark.api::<DeleteBackupRequest>();
    for name in &names {
        let spec = DeleteBackupRequestSpec {
            backup_name: name.clone(),
            ..DeleteBackupRequestSpec::default()
        };
        let request = DeleteBackupRequest::new(name, spec);
        deletions.create(&PostParams::default(), &request).await?;
    }
    let mut deleted = 0;
    while deleted < names.len() {
        // Without a revision of its own making every look is a listing.
        server.hand.advance(MINUTE);
        match timeout(PATIENCE, events.try_next()).await?? {
            Some(WatchEvent::Deleted(_)) => deleted += 1,
            Some(WatchEvent::Modified(_)) => {}
            other => anyhow::bail!("of {deleted} deleted Backups one came back: {other:?}"),
        }
    }
    server.hand.advance(Duration::from_hours(1));
    put_record(&ark, "", "last", "uid-last")?;
    put_revision(&ark, "")?;
    server.hand.advance(MINUTE);
    shown(&ark, "last").await?;
    let left = backups.list(&ListParams::default()).await?.items;
    assert_eq!(left.len(), 1, "{left:?}");
    server.end().await
}

#[tokio::test]
async fn whatever_lies_in_the_bucket_good_backups_are_shown() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    put_record(&ark, "", "good", "uid-good")?;
    // As Ark 0.10 stored it, with its nulls.
    let old = json!({
        "kind": "Backup",
        "apiVersion": "ark.heptio.com/v1",
        "metadata": {
            "name": "old", "namespace": "heptio-ark", "uid": "uid-old", "creationTimestamp": null,
            "selfLink": "/apis/ark.heptio.com/v1/namespaces/heptio-ark/backups/old",
        },
        "spec": {
            "includedNamespaces": ["*"], "excludedNamespaces": null, "includedResources": null,
            "excludedResources": null, "labelSelector": null, "snapshotVolumes": null,
            "ttl": "720h0m0s", "includeClusterResources": null, "hooks": {"resources": null},
            "storageLocation": "default", "volumeSnapshotLocations": null,
        },
        "status": {
            "version": 1, "expiration": "2018-12-01T00:00:00Z", "phase": "Completed",
            "validationErrors": null, "startTimestamp": "2018-11-01T00:00:00Z",
            "completionTimestamp": "2018-11-01T00:01:00Z", "volumeBackups": null,
            "volumeSnapshotsAttempted": 0, "volumeSnapshotsCompleted": 0,
        },
    });
    put(&ark, "backups/old/ark-backup.json", &old.to_string())?;
    put(&ark, "backups/old/old.tar.gz", "contents")?;
    put(&ark, "backups/broken/ark-backup.json", "{\"kind\": ")?;
    let mut unfinished = record("unfinished", "uid-unfinished");
    unfinished["status"]["phase"] = "InProgress".into();
    put(
        &ark,
        "backups/unfinished/ark-backup.json",
        &unfinished.to_string(),
    )?;
    let mut invalid = record("invalid", "uid-invalid");
    invalid["metadata"]["labels"] = json!({"made": "not a label value!"});
    put(
        &ark,
        "backups/invalid/ark-backup.json",
        &invalid.to_string(),
    )?;
    put_record(&ark, "backups/nested/", "nested", "uid-nested")?;
    put(&ark, "backups/Not A Name/ark-backup.json", "{}")?;
    put(&ark, "backups/notes.txt", "mine")?;
    put(&ark, "velero/thing.json", "theirs")?;
    let before = digests(&ark)?;

    create(&ark, "default", own(&ark, |_| {})?).await?;
    let server = ark.serve().await?;
    let good = shown(&ark, "good").await?;
    assert_eq!(good.metadata.finalizers, None);
    assert_eq!(good.spec.storage_location, "default");
    let shown_labels = good.metadata.labels.unwrap_or_default();
    assert_eq!(shown_labels["made"], "elsewhere");
    let old = shown(&ark, "old").await?;
    let old_status = old.status.unwrap_or_default();
    assert_eq!(
        (old_status.phase, old_status.version),
        (BackupPhase::Completed, Some(1))
    );
    let said = status(&ark, "default", "it was looked into", |status| {
        status.last_synced_time.is_some() && !status.message.is_empty()
    })
    .await?;
    assert_eq!(said.sync_errors.len(), 3, "{said:?}");
    for (name, error) in ["broken", "invalid", "unfinished"]
        .iter()
        .zip(&said.sync_errors)
    {
        assert!(error.starts_with(&format!("backup {name}")), "{error}");
    }
    assert!(
        said.message.contains("3 of its backups cannot be shown"),
        "{}",
        said.message
    );
    let listed = ark.api::<Backup>().list(&ListParams::default()).await?;
    assert_eq!(listed.items.len(), 2);
    server.stop()?;
    assert_eq!(digests(&ark)?, before, "sync writes nothing");
    Ok(())
}

#[tokio::test]
async fn a_location_whose_revision_stays_is_listed_once_an_hour() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    put_record(&ark, "", "first", "uid-1")?;
    put_revision(&ark, "")?;
    create(&ark, "default", own(&ark, |_| {})?).await?;
    let server = ark.serve_by_hand(START).await?;
    shown(&ark, "first").await?;
    let synced = status(&ark, "default", "it is listed", |status| {
        status.last_synced_time.is_some()
    })
    .await?;
    let synced_at = synced.last_synced_time.context("a time")?;
    assert_eq!(synced_at.0, START.parse()?);
    assert_eq!(
        synced.last_synced_revision,
        fs::read_to_string(ark.bucket().join("metadata/revision"))?
    );

    put_record(&ark, "", "quiet", "uid-2")?;
    server.hand.advance(MINUTE);
    looked(&server, "default", "unchanged", 1).await?;
    server.hand.advance(58 * MINUTE);
    looked(&server, "default", "unchanged", 2).await?;
    let backups = ark.api::<Backup>();
    assert!(backups.get_opt("quiet").await?.is_none(), "nobody said so");
    server.hand.advance(MINUTE);
    shown(&ark, "quiet").await?;

    put_record(&ark, "", "loud", "uid-3")?;
    put_revision(&ark, "")?;
    server.hand.advance(MINUTE);
    shown(&ark, "loud").await?;
    server.end().await
}

#[tokio::test]
async fn of_two_backups_of_one_name_the_default_locations_is_shown() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    let (winner, loser) = ("default", "another");
    for name in [loser, winner] {
        put_record(&ark, &format!("{name}/"), "same", &format!("uid-{name}"))?;
        put_revision(&ark, &format!("{name}/"))?;
        let spec = own(&ark, |spec| spec.object_storage.prefix = name.to_owned())?;
        create(&ark, name, spec).await?;
    }
    let server = ark.serve_by_hand(START).await?;
    let image = shown(&ark, "same").await?;
    assert_eq!(image.spec.storage_location, winner);
    let said = status(&ark, loser, "it says so", |status| {
        !status.sync_errors.is_empty()
    })
    .await?;
    let expected = format!("another one of location {winner}");
    assert!(said.sync_errors[0].contains(&expected), "{said:?}");
    let all_well = status(&ark, winner, "it is listed", |status| {
        status.last_synced_time.is_some()
    })
    .await?;
    assert!(all_well.sync_errors.is_empty(), "{all_well:?}");
    assert_eq!(origin(&image), Some(format!("uid-{winner}").as_str()));

    // When the first one is gone the other is shown, though nothing has changed in its own location.
    fs::remove_dir_all(ark.bucket().join(format!("{winner}/backups/same")))?;
    put_revision(&ark, &format!("{winner}/"))?;
    server.hand.advance(MINUTE);
    looked(&server, winner, "listed", 2).await?;
    server.hand.advance(MINUTE);
    let backups = ark.api::<Backup>();
    wait_until("the other one is shown", PATIENCE, async || {
        let image = backups.get_opt("same").await?;
        let other = image.filter(|image| origin(image) == Some("uid-another"));
        Ok(other.filter(|image| image.spec.storage_location == loser))
    })
    .await?;
    status(&ark, loser, "all is well", |status| {
        status.sync_errors.is_empty() && !status.message.contains("cannot be shown")
    })
    .await?;
    server.end().await
}

#[tokio::test]
async fn restore_only_servers_store_nothing_but_restores() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let maker = Installation::new(plane).await?;
    // Made so long ago that it has expired.
    let server = maker.serve_by_hand("2020-01-01T00:00:00Z").await?;
    let namespace = TestNamespace::new(plane, "kept").await?;
    let objects = OBJECTS.replace("NAMESPACE", namespace.name());
    apply_yaml(&plane.client(), &objects).await?;
    let short = BackupSpec {
        ttl: Some("1h".into()),
        ..all_of(&namespace)
    };
    assert_clean_backup(&maker.back_up("kept", short).await?);
    server.end().await?;

    let store = Store {
        provider: maker.provider().clone(),
        environment: Vec::new(),
    };
    let ark = Installation::with_store(plane, store).await?;
    let configs = ark.api::<Config>();
    let only = Patch::Merge(json!({"restoreOnlyMode": true}));
    configs
        .patch("default", &PatchParams::default(), &only)
        .await?;
    let backups = ark.api::<Backup>();
    let wanted = Backup::new("wanted", all_of(&namespace));
    backups.create(&PostParams::default(), &wanted).await?;
    // A run of a dead server that was its last try, with what it left.
    let dead = Backup::new("dead", all_of(&namespace));
    let dead = backups.create(&PostParams::default(), &dead).await?;
    let status =
        json!({"status": {"phase": "InProgress", "run": {"holder": "dead", "attempt": 3}}});
    backups
        .patch_status("dead", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    let mut marker = json!({
        "clusterId": cluster_id(plane).await?, "holder": "dead", "startTimestamp": "2020-01-01T00:00:00Z",
        "attempt": 3, "backupUid": dead.metadata.uid,
    });
    put(&ark, "backups/dead/run-3.json", &marker.to_string())?;
    put(&ark, "backups/dead/dead-3.tar.zst", "half")?;
    // One that nobody knows, and that anybody may clear away by now.
    marker["backupUid"] = "uid-stale".into();
    put(&ark, "backups/stale/run-3.json", &marker.to_string())?;
    // A sync that died between the creation of a Backup and its status.
    let record: Value = serde_json::from_slice(&fs::read(
        ark.bucket().join("backups/kept/ark-backup.json"),
    )?)?;
    let half = json!({
        "apiVersion": "ark.heptio.com/v1",
        "kind": "Backup",
        "metadata": {
            "name": "kept",
            "labels": {labels::STORAGE_LOCATION: "default"},
            "annotations": {labels::ORIGIN_UID: record["metadata"]["uid"]},
        },
        "spec": {"storageLocation": "default"},
    });
    let half: Backup = serde_json::from_value(half)?;
    backups.create(&PostParams::default(), &half).await?;
    let deletions = ark.api::<DeleteBackupRequest>();
    let request = DeleteBackupRequest::new(
        "unwanted",
        DeleteBackupRequestSpec {
            backup_name: "kept".into(),
            ..DeleteBackupRequestSpec::default()
        },
    );
    deletions.create(&PostParams::default(), &request).await?;
    let before = digests(&ark)?;

    let server = ark.serve().await?;
    wait_until("the status is made up for", PATIENCE, async || {
        let status = backups.get("kept").await?.status;
        Ok(status.filter(|status| status.phase == BackupPhase::Completed))
    })
    .await?;
    let target = unique_name("target");
    let spec = RestoreSpec {
        backup_name: "kept".into(),
        namespace_mapping: [(namespace.name().to_owned(), target)].into(),
        ..RestoreSpec::default()
    };
    assert_clean_restore(&ark.restore("back", spec).await?);
    server.stop()?;
    assert_eq!(digests(&ark)?, before);
    let restores: Vec<String> = ark
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("restores/"))
        .collect();
    assert_eq!(
        restores,
        [
            "restores/back/restore-back-logs.gz",
            "restores/back/restore-back-results.gz"
        ]
    );
    let phase = |backup: Backup| backup.status.unwrap_or_default().phase;
    assert_eq!(phase(backups.get("wanted").await?), BackupPhase::New);
    assert_eq!(phase(backups.get("dead").await?), BackupPhase::InProgress);
    assert_eq!(phase(backups.get("kept").await?), BackupPhase::Completed);
    let request = deletions.get("unwanted").await?.status.unwrap_or_default();
    assert_eq!(request.phase, DeleteBackupRequestPhase::New);
    Ok(())
}

#[tokio::test]
async fn a_location_that_hangs_blocks_no_other() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let proxy = Proxy::to(minio.port()).await?;
    let hanging = Store::minio(&minio, &bucket, &proxy.http_url())?;
    let store = Store {
        environment: hanging.environment,
        ..Store::local(plane)?
    };
    let ark = Installation::without_config(plane, store).await?;
    let far: StorageProviderConfig = serde_json::from_value(hanging.provider)?;
    create(&ark, "far", location(&far, |_| {})).await?;
    create(&ark, "near", own(&ark, |_| {})?).await?;
    let server = ark.serve_by_hand(START).await?;
    looked(&server, "far", "listed", 1).await?;
    looked(&server, "near", "listed", 1).await?;
    proxy.set(Behaviour::Swallow);
    put_record(&ark, "", "near", "uid-near")?;
    server.hand.advance(MINUTE);
    let image = shown(&ark, "near").await?;
    assert_eq!(image.spec.storage_location, "near");
    looked(&server, "near", "listed", 2).await?;
    put_record(&ark, "", "nearer", "uid-nearer")?;
    server.hand.advance(MINUTE);
    shown(&ark, "nearer").await?;
    proxy.set(Behaviour::Forward);
    server.end().await
}
