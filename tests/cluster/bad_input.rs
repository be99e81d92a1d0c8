//! Requests and settings that cannot work: each is one clear sentence, and nothing is left behind.

use std::fs;

use anyhow::Result;
use ark::api::{
    Backup, BackupPhase, BackupSpec, Config, ConfigPhase, RestorePhase, RestoreSpec, selector,
};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::{ControlPlane, ports};
use crate::support::minio::Minio;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

#[tokio::test]
async fn backups_that_cannot_work_are_refused() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "refused").await?;
    let here = all_of(&namespace);
    let strings = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    for (name, spec, problem) in [
        (
            "nothing",
            BackupSpec {
                label_selector: selector::parse("color=none").ok(),
                ..here.clone()
            },
            "the selection matches no object",
        ),
        (
            "unknown-type",
            BackupSpec {
                included_resources: strings(&["lions"]),
                ..here.clone()
            },
            "this cluster serves no type \"lions\"",
        ),
        (
            "unknown-namespace",
            BackupSpec {
                included_namespaces: strings(&["nowhere"]),
                ..BackupSpec::default()
            },
            "there is no namespace \"nowhere\"",
        ),
        (
            "star-and-more",
            BackupSpec {
                included_resources: strings(&["*", "pods"]),
                ..here.clone()
            },
            "\"*\" already means all",
        ),
        (
            "bad-ttl",
            BackupSpec {
                ttl: Some("soon".into()),
                ..here.clone()
            },
            "\"soon\" is not a duration",
        ),
        (
            "snapshots",
            BackupSpec {
                snapshot_volumes: Some(true),
                ..here.clone()
            },
            "snapshot",
        ),
    ] {
        let status = ark.back_up(name, spec).await?.status.unwrap_or_default();
        assert_eq!(
            status.phase,
            BackupPhase::FailedValidation,
            "{name}: {status:?}"
        );
        assert!(
            status
                .validation_errors
                .iter()
                .any(|error| error.contains(problem)),
            "{name}: {status:?}"
        );
        assert_eq!(
            ark.keys(),
            Vec::<String>::new(),
            "{name} left something behind"
        );
    }
    let empty = BackupSpec {
        label_selector: selector::parse("color=none").ok(),
        allow_empty: Some(true),
        ..here
    };
    assert_clean_backup(&ark.back_up("empty", empty).await?);
    server.stop()
}

#[tokio::test]
async fn a_taken_name_is_refused_and_its_deletion_removes_nothing() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "taken").await?;
    let spec = all_of(&namespace);
    assert_clean_backup(&ark.back_up("taken", spec.clone()).await?);
    let stored = ark.keys();
    assert!(
        stored.contains(&"backups/taken/ark-backup.json".to_owned()),
        "{stored:?}"
    );

    // The resource goes, what it stored stays: as after the loss of a cluster.
    let backups: Api<Backup> = ark.api();
    backups.delete("taken", &DeleteParams::default()).await?;
    wait_until("the resource is gone", PATIENCE, async || {
        Ok(backups.get_opt("taken").await?.is_none().then_some(()))
    })
    .await?;
    let again = ark.back_up("taken", spec).await?.status.unwrap_or_default();
    assert_eq!(again.phase, BackupPhase::FailedValidation, "{again:?}");
    assert!(again.validation_errors[0].contains("taken"), "{again:?}");
    assert_eq!(ark.keys(), stored);

    ark.ark(&["backup", "delete", "taken", "--confirm"])?;
    wait_until("the refused backup is gone", PATIENCE, async || {
        Ok(backups.get_opt("taken").await?.is_none().then_some(()))
    })
    .await?;
    assert_eq!(
        ark.keys(),
        stored,
        "another backup's parts are not this one's to remove"
    );
    server.stop()
}

#[tokio::test]
async fn restores_that_cannot_work_are_refused() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "refusing").await?;
    let spec = all_of(&namespace);
    assert_clean_backup(&ark.back_up("good", spec).await?);
    let from_good = RestoreSpec {
        backup_name: "good".into(),
        ..RestoreSpec::default()
    };
    let mapping = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect()
    };
    for (name, spec, problem) in [
        (
            "missing",
            RestoreSpec {
                backup_name: "bad".into(),
                ..RestoreSpec::default()
            },
            "bad",
        ),
        ("nameless", RestoreSpec::default(), "no backup is named"),
        (
            "merged",
            RestoreSpec {
                namespace_mapping: mapping(&[("a", "c"), ("b", "c")]),
                ..from_good.clone()
            },
            "a and b would all become c",
        ),
        (
            "nodes",
            RestoreSpec {
                included_resources: vec!["nodes".into()],
                ..from_good.clone()
            },
            "nodes are never restored",
        ),
        (
            "nothing",
            RestoreSpec {
                label_selector: selector::parse("color=none").ok(),
                ..from_good.clone()
            },
            "match",
        ),
        (
            "unknown-type",
            RestoreSpec {
                included_resources: vec!["lions".into()],
                ..from_good.clone()
            },
            "lions",
        ),
    ] {
        let status = ark.restore(name, spec).await?.status.unwrap_or_default();
        assert_eq!(
            status.phase,
            RestorePhase::FailedValidation,
            "{name}: {status:?}"
        );
        assert!(
            status
                .validation_errors
                .iter()
                .any(|error| error.contains(problem)),
            "{name}: {status:?}"
        );
    }
    server.stop()
}

#[tokio::test]
async fn a_damaged_backup_creates_nothing() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "damaged").await?;
    let spec = all_of(&namespace);
    assert_clean_backup(&ark.back_up("good", spec).await?);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(plane.client());
    let key = |ending: &str| {
        ark.keys()
            .into_iter()
            .find(|key| key.ends_with(ending))
            .expect("the part is there")
    };
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    for (name, part, damage) in [
        (
            "flipped-contents",
            ".tar.zst",
            &flip as &dyn Fn(&mut Vec<u8>),
        ),
        ("cut-contents", ".tar.zst", &cut),
        ("flipped-index", "-index.json.zst", &flip),
        ("cut-index", "-index.json.zst", &cut),
    ] {
        let path = ark.bucket().join(key(part));
        let whole = fs::read(&path)?;
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, &bytes)?;
        let target = unique_name("target");
        let spec = moved("good", &namespace, &target);
        let status = ark.restore(name, spec).await?.status.unwrap_or_default();
        assert_eq!(status.phase, RestorePhase::Failed, "{name}: {status:?}");
        assert!(status.failure_reason.is_some(), "{name}: {status:?}");
        assert!(
            namespaces.get_opt(&target).await?.is_none(),
            "{name}: nothing was created"
        );
        fs::write(&path, &whole)?;
    }
    server.stop()
}

#[tokio::test]
async fn settings_that_cannot_work_are_reported_and_can_be_corrected() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let store = Store::minio(&minio, "there", &minio.endpoint())?;
    minio.create_bucket("there").await?;
    let ark = Installation::without_config(plane, store.clone()).await?;
    let server = ark.serve().await?;
    let configs: Api<Config> = ark.api();
    let [closed] = ports::free()?;
    let changed = |pointer: &str, value: Value| {
        let mut provider = store.provider.clone();
        *provider.pointer_mut(pointer).expect("a field") = value;
        provider
    };
    for (provider, problem) in [
        (changed("/name", json!("floppy")), "floppy"),
        (changed("/bucket", json!("absent")), "absent"),
        (changed("/bucket", json!("")), "bucket"),
        (
            changed("/config/s3Url", json!(format!("http://127.0.0.1:{closed}"))),
            "127.0.0.1",
        ),
        (
            json!({"name": "gcp", "bucket": "x", "config": {"region": "x"}}),
            "gcp",
        ),
        (
            json!({"name": "local", "bucket": "x", "config": {"path": "/nowhere/at/all"}}),
            "/nowhere/at/all",
        ),
        (
            json!({"name": "local", "bucket": "x", "config": {"pth": "/tmp"}}),
            "pth",
        ),
    ] {
        ark.configure(&provider).await?;
        wait_until(&format!("{provider} is reported"), PATIENCE, async || {
            let status = configs.get("default").await?.status.unwrap_or_default();
            let named = status
                .validation_errors
                .iter()
                .any(|error| error.contains(problem));
            Ok((status.phase == ConfigPhase::Unavailable && named).then_some(()))
        })
        .await?;
    }
    let refused = ark
        .back_up("refused", BackupSpec::default())
        .await?
        .status
        .unwrap_or_default();
    assert_eq!(refused.phase, BackupPhase::FailedValidation, "{refused:?}");

    ark.configure(&store.provider).await?;
    wait_until("the corrected settings are in use", PATIENCE, async || {
        let status = configs.get("default").await?.status.unwrap_or_default();
        Ok((status.phase == ConfigPhase::Available).then_some(()))
    })
    .await?;
    let spec = BackupSpec {
        included_namespaces: vec![ark.namespace().to_owned()],
        ..BackupSpec::default()
    };
    assert_clean_backup(&ark.back_up("accepted", spec).await?);
    server.stop()
}

#[tokio::test]
async fn wrong_credentials_are_reported() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    minio.create_bucket("guarded").await?;
    let mut store = Store::minio(&minio, "guarded", &minio.endpoint())?;
    let wrong = plane.dir().join(unique_name("credentials"));
    fs::write(
        &wrong,
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = swordfish\n",
    )?;
    store.environment = vec![("AWS_SHARED_CREDENTIALS_FILE", wrong.display().to_string())];
    let ark = Installation::with_store(plane, store).await?;
    let server = ark.serve().await?;
    let configs: Api<Config> = ark.api();
    let errors = wait_until("the credentials are reported", PATIENCE, async || {
        let status = configs.get("default").await?.status.unwrap_or_default();
        Ok((status.phase == ConfigPhase::Unavailable).then_some(status.validation_errors))
    })
    .await?;
    assert!(errors[0].contains("credentials"), "{errors:?}");
    assert!(!errors[0].contains("swordfish"), "{errors:?}");
    assert!(!server.log().contains("swordfish"));
    server.stop()
}

#[tokio::test]
async fn null_lists_and_malformed_resources_stop_nobody() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "null").await?;
    // As the original client writes them.
    apply_yaml(
        &client,
        &format!(
            "apiVersion: ark.heptio.com/v1
kind: Backup
metadata: {{name: nulls, namespace: {ark}}}
spec:
  includedNamespaces: [{namespace}]
  excludedNamespaces: null
  includedResources: null
  excludedResources: null
  labelSelector: null
  snapshotVolumes: null
  ttl: 720h0m0s
  includeClusterResources: null
  hooks: {{resources: null}}
",
            ark = ark.namespace(),
            namespace = namespace.name(),
        ),
    )
    .await?;
    let backup = ark.backup_ended("nulls").await?;
    assert_clean_backup(&backup);
    let expiration = backup.status.unwrap_or_default().expiration;
    assert!(expiration.is_some(), "a ttl gives an expiration");

    let backups: Api<Backup> = ark.api();
    let error = backups
        .create(
            &PostParams::default(),
            &Backup::new("Upper_Case", BackupSpec::default()),
        )
        .await
        .expect_err("the API server refuses such a name");
    assert!(error.to_string().contains("Upper_Case"), "{error}");
    server.stop()
}
