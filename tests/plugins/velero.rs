//! Velero's own plugin for AWS, as it is built from its module.

use ark::providers::store::ErrorKind;
use ark::providers::{Environment, registry};

use crate::support::control_plane::assets::{self, Tool};
use crate::support::minio::{Minio, REGION};
use crate::support::plugins::PluginDir;
use crate::{conformance, location};

async fn plugin_dir() -> PluginDir {
    tokio::task::spawn_blocking(|| assets::ensure(&[Tool::VeleroPluginForAws]))
        .await
        .unwrap()
        .unwrap();
    PluginDir::new().with("velero-plugin-for-aws", &Tool::VeleroPluginForAws.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn veleros_plugin_for_aws_keeps_every_promise() {
    let dir = plugin_dir().await;
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("ark").await.unwrap();
    let credentials = minio.credentials_file().unwrap();
    let text = std::fs::read(&credentials).unwrap();
    let plugins = dir.plugins();
    // Its credentials come as those of the location.
    let environment = Environment::default()
        .with_plugins(plugins.clone())
        .with_credentials(text)
        .unwrap();
    let endpoint = minio.endpoint();
    let settings = [
        ("region", REGION),
        ("s3ForcePathStyle", "true"),
        ("s3Url", endpoint.as_str()),
    ];
    let statuses = plugins.statuses().await;
    let shown: Vec<(&str, &str, &str)> = statuses
        .iter()
        .map(|one| (one.name.as_str(), one.kind.as_str(), one.state.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("velero.io/aws", "ObjectStore", "Ready"),
            ("velero.io/aws", "VolumeSnapshotter", "Ready"),
        ]
    );
    let config = location("velero.io/aws", &settings);
    let store = registry::open(&config, &environment).await.unwrap();
    assert!(store.capabilities().sign);
    conformance::object_store_conformance(store).await;

    let mut absent = config.clone();
    absent.bucket = "absent".into();
    let store = registry::open(&absent, &environment).await.unwrap();
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoBucket, "{error}");
    let odd = location("velero.io/aws", &[("regoin", "x")]);
    let error = registry::open(&odd, &environment).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("regoin"), "{error}");
    let wrong = Environment::default()
        .with_plugins(plugins.clone())
        .with_credentials(
            b"[default]\naws_access_key_id = nobody\naws_secret_access_key = hunter2\n".to_vec(),
        )
        .unwrap();
    let store = registry::open(&config, &wrong).await.unwrap();
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("hunter2"));
    plugins.shutdown().await;
}
