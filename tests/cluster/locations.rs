//! Several locations: each on its own, whatever state the others are in.

use anyhow::Result;
use ark::api::{
    Backup, BackupPhase, BackupSpec, BackupStorageLocation, BackupStorageLocationPhase,
    BackupStorageLocationSpec, RestorePhase, RestoreSpec, SecretKey, StorageProviderConfig,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::minio::Minio;
use crate::support::{PATIENCE, unique_name, wait_until};

/// Describes a location in the store of an installation, below a prefix.
pub(crate) fn location(
    store: &StorageProviderConfig,
    change: impl FnOnce(&mut BackupStorageLocationSpec),
) -> BackupStorageLocationSpec {
    let mut spec = BackupStorageLocationSpec {
        provider: store.name.clone(),
        config: store.config.clone(),
        ..BackupStorageLocationSpec::default()
    };
    spec.object_storage.bucket.clone_from(&store.bucket);
    change(&mut spec);
    spec
}

pub(crate) async fn create(
    ark: &Installation<'_>,
    name: &str,
    spec: BackupStorageLocationSpec,
) -> Result<()> {
    let locations = ark.api::<BackupStorageLocation>();
    let object = BackupStorageLocation::new(name, spec);
    wait_until("the location is created", PATIENCE, async || {
        Ok(locations
            .create(&PostParams::default(), &object)
            .await
            .ok()
            .map(drop))
    })
    .await
}

/// Waits until a location has been looked at, and returns its phase and message.
async fn looked_at(
    ark: &Installation<'_>,
    name: &str,
) -> Result<(BackupStorageLocationPhase, String)> {
    let locations = ark.api::<BackupStorageLocation>();
    wait_until("the location is looked at", PATIENCE, async || {
        let status = locations.get(name).await?.status.unwrap_or_default();
        let seen = status.phase != BackupStorageLocationPhase::New;
        Ok(seen.then_some((status.phase, status.message)))
    })
    .await
}

fn in_location(name: &str, namespace: &str) -> BackupSpec {
    BackupSpec {
        included_namespaces: vec![namespace.to_owned()],
        included_resources: vec!["configmaps".into()],
        storage_location: name.to_owned(),
        allow_empty: Some(true),
        ..BackupSpec::default()
    }
}

#[tokio::test]
async fn each_location_is_used_on_its_own() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::with_store(plane, Store::local(plane)?).await?;
    let store: StorageProviderConfig = serde_json::from_value(ark.provider().clone())?;
    create(
        &ark,
        "second",
        location(&store, |spec| spec.object_storage.prefix = "second".into()),
    )
    .await?;
    create(
        &ark,
        "broken",
        location(&store, |spec| {
            spec.config.insert("path".into(), "/nowhere/at/all".into());
        }),
    )
    .await?;
    create(
        &ark,
        "frozen",
        location(&store, |spec| {
            spec.object_storage.prefix = "second".into();
            spec.access_mode = Some(ark::api::AccessMode::ReadOnly);
        }),
    )
    .await?;
    let server = ark.serve().await?;

    let (phase, _) = looked_at(&ark, "second").await?;
    assert_eq!(phase, BackupStorageLocationPhase::Available);
    let (phase, message) = looked_at(&ark, "broken").await?;
    assert_eq!(phase, BackupStorageLocationPhase::Unavailable);
    assert!(message.contains("/nowhere/at/all"), "{message}");

    let namespace = ark.namespace().to_owned();
    let done = ark
        .back_up("in-second", in_location("second", &namespace))
        .await?;
    assert_eq!(done.status.unwrap().phase, BackupPhase::Completed);
    let default = ark
        .back_up("in-default", in_location("", &namespace))
        .await?;
    assert_eq!(
        default.status.as_ref().unwrap().phase,
        BackupPhase::Completed
    );
    assert_eq!(default.spec.storage_location, "default");
    let keys = ark.keys();
    assert!(
        keys.contains(&"second/backups/in-second/ark-backup.json".to_owned()),
        "{keys:?}"
    );
    assert!(
        keys.contains(&"backups/in-default/ark-backup.json".to_owned()),
        "{keys:?}"
    );

    for (name, expected) in [
        ("broken", "/nowhere/at/all"),
        ("frozen", "read-only"),
        ("missing", "there is no location missing"),
    ] {
        let refused: Backup = ark
            .back_up(&format!("in-{name}"), in_location(name, &namespace))
            .await?;
        let status = refused.status.unwrap();
        assert_eq!(status.phase, BackupPhase::FailedValidation, "{name}");
        let problems = status.validation_errors.join("; ");
        assert!(problems.contains(expected), "{name}: {problems}");
    }

    let unknown = BackupSpec {
        volume_snapshot_locations: vec!["nowhere".into()],
        ..in_location("", &namespace)
    };
    let refused = ark
        .back_up("in-no-snapshots", unknown)
        .await?
        .status
        .unwrap();
    assert_eq!(refused.phase, BackupPhase::FailedValidation);
    let problems = refused.validation_errors.join("; ");
    assert!(
        problems.contains("there is no location nowhere"),
        "{problems}"
    );

    let restored = ark
        .restore(
            "from-second",
            RestoreSpec {
                backup_name: "in-second".into(),
                allow_empty: Some(true),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_eq!(restored.status.unwrap().phase, RestorePhase::Completed);
    server.stop()
}

/// Writes the Secret with a location's credentials.
async fn write_secret(ark: &Installation<'_>, minio: &Minio, secret_key: &str) -> Result<()> {
    let credentials = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {secret_key}\n",
        minio.access_key()
    );
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cloud"},
        "stringData": {"credentials": credentials},
    });
    let params = PatchParams::apply("ark-tests").force();
    ark.api::<Secret>()
        .patch("cloud", &params, &Patch::Apply(&secret))
        .await?;
    Ok(())
}

/// Waits until a location is as wanted.
async fn becomes(
    ark: &Installation<'_>,
    phase: BackupStorageLocationPhase,
    message: &str,
) -> Result<()> {
    let locations: Api<BackupStorageLocation> = ark.api();
    let what = format!("the location is {phase}: {message}");
    wait_until(&what, PATIENCE, async || {
        let status = locations.get("cloud").await?.status.unwrap_or_default();
        Ok((status.phase == phase && status.message.contains(message)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_locations_credentials_count_as_soon_as_they_are_corrected() -> Result<()> {
    use BackupStorageLocationPhase::{Available, Unavailable};
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    // The server itself has no credentials: whatever works, works by the Secret.
    let store = Store {
        environment: Vec::new(),
        ..Store::minio(&minio, &bucket, &minio.endpoint())?
    };
    let cloud: StorageProviderConfig = serde_json::from_value(store.provider.clone())?;
    let ark = Installation::without_config(plane, store).await?;
    let spec = location(&cloud, |spec| {
        spec.credential = Some(SecretKey {
            name: "cloud".into(),
            key: "credentials".into(),
        });
    });
    create(&ark, "cloud", spec).await?;
    let server = ark.serve().await?;
    becomes(&ark, Unavailable, "Secret cloud").await?;
    let refused = "does not accept the credentials";
    write_secret(&ark, &minio, "wrong").await?;
    becomes(&ark, Unavailable, refused).await?;
    write_secret(&ark, &minio, minio.secret_key()).await?;
    becomes(&ark, Available, "").await?;
    let namespace = ark.namespace().to_owned();
    let made = ark
        .back_up("in-cloud", in_location("cloud", &namespace))
        .await?;
    assert_eq!(made.status.unwrap().phase, BackupPhase::Completed);

    // What works is looked at again after minutes; a change of its Secret is seen long before.
    write_secret(&ark, &minio, "wrong").await?;
    becomes(&ark, Unavailable, refused).await?;
    write_secret(&ark, &minio, minio.secret_key()).await?;
    becomes(&ark, Available, "").await?;
    server.stop()
}
