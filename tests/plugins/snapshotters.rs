//! Snapshotters that live in plugins.

use std::collections::BTreeMap;

use ark::api::VolumeProviderConfig;
use ark::providers::registry;
use ark::providers::snapshotter::{
    Fit, Restores, SnapshotErrorKind, SnapshotId, SnapshotRequest, Volume, VolumeHandle, VolumeId,
    VolumeRequest,
};
use serde_json::json;

use crate::support::plugins::PluginDir;
use crate::with;

fn config(name: &str, pairs: &[(&str, &str)]) -> VolumeProviderConfig {
    VolumeProviderConfig {
        name: name.into(),
        config: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_familys_snapshotters_make_and_restore_snapshots() {
    for (file, provider) in [
        ("velero", "velero.io/cloud"),
        ("ten", "cloud"),
        ("ark-cloudprovider-old", "old"),
    ] {
        let dir = PluginDir::new().with_test_plugin(file);
        let plugins = dir.plugins();
        let environment = with(&plugins);
        let error = registry::open_snapshotter(&config(provider, &[]), &environment)
            .await
            .unwrap_err();
        assert_eq!(error.kind, SnapshotErrorKind::Invalid);
        assert!(error.message.contains("region is missing"), "{error}");
        let config = config(provider, &[("region", "r")]);
        let snapshotter = registry::open_snapshotter(&config, &environment)
            .await
            .unwrap();
        snapshotter.check().await.unwrap();
        let capabilities = snapshotter.capabilities();
        assert!(!capabilities.find && !capabilities.states);

        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": "pv", "labels": { "topology.kubernetes.io/zone": "z" } },
            "spec": { "test": { "volume": "v1" } },
        });
        let mut volume = volume.as_object().unwrap().clone();
        let other = json!({ "metadata": { "name": "other" }, "spec": { "nfs": {} } });
        let other = other.as_object().unwrap();
        let fit = |volume| {
            snapshotter.fits(Volume {
                volume,
                claim: None,
            })
        };
        assert!(matches!(fit(other).await.unwrap(), Fit::No(_)));
        let Fit::Volume(handle) = fit(&volume).await.unwrap() else {
            panic!("it is the plugin's");
        };
        let expected = VolumeHandle {
            id: VolumeId("v1".into()),
            zone: "z".into(),
        };
        assert_eq!(handle, expected);

        let info = snapshotter.info(&handle).await.unwrap();
        assert_eq!((info.volume_type.as_str(), info.iops), ("fast", Some(100)));
        assert_eq!(info.zone, "z");
        let gone = VolumeHandle {
            id: VolumeId("gone".into()),
            ..VolumeHandle::default()
        };
        let error = snapshotter.info(&gone).await.unwrap_err();
        assert_eq!(error.kind, SnapshotErrorKind::NotFound);

        let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let request = SnapshotRequest {
            volume: Volume {
                volume: &volume,
                claim: None,
            },
            handle: &handle,
            token: "t",
            tags: &tags,
            annotations: &tags,
        };
        let snapshot = snapshotter.create_snapshot(&request).await.unwrap();
        assert_eq!(snapshot.0, "snap-v1-z");
        let Restores::Volumes(maker) = snapshotter.restores() else {
            panic!("it makes volumes");
        };
        let request = VolumeRequest {
            snapshot: &snapshot,
            info: &info,
            token: "t",
            tags: &tags,
        };
        let made = maker.create_volume(&request).await.unwrap();
        assert_eq!(made.0, "fast-z-Some(100)-0");
        maker.set_volume(&mut volume, &made).await.unwrap();
        assert_eq!(volume["spec"]["test"]["volume"], "fast-z-Some(100)-0");
        assert_eq!(volume["metadata"]["name"], "pv");

        snapshotter.delete_snapshot(&snapshot).await.unwrap();
        snapshotter
            .delete_snapshot(&snapshot)
            .await
            .expect("deleting twice is fine");
        let error = maker.create_volume(&request).await.unwrap_err();
        assert_eq!(error.kind, SnapshotErrorKind::NotFound);
        let absent = SnapshotId("absent".into());
        let error = snapshotter.snapshot_states(&[absent]).await.unwrap_err();
        assert_eq!(error.kind, SnapshotErrorKind::NotSupported);
    }
}
