//! Velero's own plugin for AWS, as it is built from its module.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark::api::VolumeProviderConfig;
use ark::providers::snapshotter::{Object, SnapshotId, VolumeId, VolumeSnapshotter};
use ark::providers::store::ErrorKind;
use ark::providers::{Environment, registry};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::control_plane::assets::{self, Tool};
use crate::support::minio::{Minio, REGION};
use crate::support::moto::{self, Moto};
use crate::support::plugins::PluginDir;
use crate::support::snapshotter_conformance::{Cloud, Tags, TestVolume, snapshotter_conformance};
use crate::{conformance, location};

const ZONE: &str = "us-east-1b";

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

/// EBS volumes, snapshot by the plugin.
struct Ebs {
    moto: Moto,
    snapshotter: Arc<dyn VolumeSnapshotter>,
    is_csi: bool,
    made: AtomicUsize,
}

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

#[async_trait]
impl Cloud for Ebs {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        &*self.snapshotter
    }

    async fn make_volume(&self) -> TestVolume {
        let kinds: [&[(&str, &str)]; 2] = [
            &[("VolumeType", "gp2"), ("Size", "4")],
            &[("VolumeType", "io1"), ("Size", "10"), ("Iops", "400")],
        ];
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let kind = kinds[number % kinds.len()];
        let id = self.moto.create_volume(ZONE, kind).await.unwrap();
        let source = if self.is_csi {
            json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": id, "fsType": "ext4"}})
        } else {
            json!({"awsElasticBlockStore": {"volumeID": id}})
        };
        TestVolume {
            volume: object(json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "spec": source,
                "metadata": {
                    "name": format!("pv-{id}"),
                    "labels": { "topology.kubernetes.io/zone": ZONE },
                },
            })),
            claim: None,
        }
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        self.moto.delete_volume(&volume.0).await.unwrap();
    }

    fn others(&self) -> Vec<(&'static str, Object)> {
        vec![
            (
                "a volume of EFS",
                object(
                    json!({"spec": {"csi": {"driver": "efs.csi.aws.com", "volumeHandle": "fs-1"}}}),
                ),
            ),
            (
                "a disk of Google's",
                object(json!({"spec": {"gcePersistentDisk": {"pdName": "vol-1"}}})),
            ),
        ]
    }

    fn absent_snapshot(&self) -> SnapshotId {
        SnapshotId("snap-0123456789abcdef0".into())
    }

    fn errors_have_kinds(&self) -> bool {
        false
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        Some(self.moto.tags(&snapshot.0).await.unwrap())
    }

    async fn volume_tags(&self, _: &VolumeId) -> Option<Tags> {
        // It gives them the snapshot's tags; others the protocol does not carry.
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn veleros_plugin_for_aws_snapshots_volumes() {
    let dir = plugin_dir().await;
    for is_csi in [true, false] {
        let moto = Moto::start().await.unwrap();
        // Amazon's library for Go knows this variable.
        let endpoint = moto.endpoint();
        let mut options = dir.options();
        options.environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
        let plugins = ark::providers::plugin::Plugins::new(options);
        let config = VolumeProviderConfig {
            name: "velero.io/aws".into(),
            config: [("region".to_owned(), moto::REGION.to_owned())].into(),
        };
        let environment = Environment::default().with_plugins(plugins.clone());
        let snapshotter = registry::open_snapshotter(&config, &environment)
            .await
            .unwrap();
        snapshotter_conformance(&Ebs {
            moto,
            snapshotter,
            is_csi,
            made: AtomicUsize::new(0),
        })
        .await;
        plugins.shutdown().await;
    }
}
