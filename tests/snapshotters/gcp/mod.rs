//! The `gcp` snapshotter against a contract fake of Compute Engine.

mod credentials;
mod disks;
mod troubles;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark::providers::Environment;
use ark::providers::snapshotter::{
    MakeVolumes, Object, Restores, SnapshotError, SnapshotId, Volume, VolumeHandle, VolumeId,
    VolumeInfo, VolumeRequest, VolumeSnapshotter,
};
use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use crate::common::{environment, object, one_line, open};
use crate::support::clouds::compute_engine::{ComputeEngine, PROJECT};
use crate::support::clouds::{Listening, Reply, Trouble};
use crate::support::gcs::{ACCOUNT, AccountKey};
use crate::support::snapshotter_conformance::{
    Cloud, Tags, TestVolume, ask, handle, new_token, restore_tags, snapshotter_conformance, whole,
};

/// How a PersistentVolume names its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    InTree,
    InTreeRegional,
    Csi,
    CsiRegional,
    /// As an in-tree volume looks that was moved to CSI.
    Unspecified,
}

/// A fake, and a snapshotter that asks it.
struct World {
    fake: Listening<ComputeEngine>,
    key: AccountKey,
    snapshotter: Arc<dyn VolumeSnapshotter>,
    form: Form,
    made: AtomicUsize,
}

impl World {
    async fn new(form: Form, settings: &[(&str, &str)]) -> Self {
        let key = AccountKey::make().await.unwrap();
        let fake = ComputeEngine::start(&key).await;
        let mut all = vec![("computeEndpoint", fake.address.as_str())];
        all.extend(settings);
        let snapshotter = open("gcp", &all, &with_key(&key)).await.unwrap();
        Self {
            fake,
            key,
            snapshotter,
            form,
            made: AtomicUsize::new(0),
        }
    }

    async fn plain() -> Self {
        Self::new(Form::Csi, &[]).await
    }

    /// Returns the metadata server's world: tokens come from there.
    async fn with_metadata(settings: &[(&str, &str)]) -> Self {
        let mut world = Self::plain().await;
        let mut all = vec![("computeEndpoint", world.fake.address.as_str())];
        all.extend(settings);
        let machine = environment(&[("GCE_METADATA_HOST", world.fake.metadata_host())]);
        world.snapshotter = open("gcp", &all, &machine).await.unwrap();
        world
    }

    /// Has the next requests go wrong.
    fn trouble(&self, method: Method, end: &str, times: usize, reply: Reply) {
        self.fake.trouble(Trouble {
            method,
            end: end.to_owned(),
            times,
            reply,
            afterwards: false,
        });
    }

    async fn handle(&self, test: &TestVolume) -> VolumeHandle {
        handle(self.snapshotter(), volume(&test.volume)).await
    }

    async fn info(&self, test: &TestVolume) -> VolumeInfo {
        let handle = self.handle(test).await;
        self.snapshotter.info(&handle).await.unwrap()
    }

    /// Returns the error of a snapshot that cannot be made.
    async fn refused(&self, test: &TestVolume) -> SnapshotError {
        let error = ask(self, test, &new_token()).await.unwrap_err();
        one_line(&error);
        error
    }

    /// Makes a whole snapshot of a new disk.
    async fn snapshot(&self) -> (TestVolume, SnapshotId) {
        let test = self.make_volume().await;
        let snapshot = ask(self, &test, &new_token()).await.unwrap();
        whole(self.snapshotter(), &snapshot).await;
        (test, snapshot)
    }

    fn maker(&self) -> &dyn MakeVolumes {
        match self.snapshotter.restores() {
            Restores::Volumes(maker) => maker,
            Restores::Claims(_) => panic!("disks are made"),
        }
    }

    async fn make(
        &self,
        snapshot: &SnapshotId,
        info: &VolumeInfo,
        token: &str,
    ) -> Result<VolumeId, SnapshotError> {
        let tags = restore_tags(token);
        self.maker()
            .create_volume(&VolumeRequest {
                snapshot,
                info,
                token,
                tags: &tags,
            })
            .await
    }
}

fn volume(volume: &Object) -> Volume<'_> {
    Volume {
        volume,
        claim: None,
    }
}

/// An environment with the account's key in which nobody else answers.
fn with_key(key: &AccountKey) -> Environment {
    environment(&[("GCE_METADATA_HOST", "127.0.0.1:1")])
        .with_credentials(key.file(ACCOUNT).into_bytes())
        .unwrap()
}

/// Returns the tags in a description.
fn described(resource: &Value) -> Tags {
    serde_json::from_str(resource["description"].as_str().unwrap()).unwrap()
}

fn affinity(zones: &[&str]) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "topology.gke.io/zone", "operator": "In", "values": zones},
    ]}]}})
}

#[async_trait]
impl Cloud for World {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        &*self.snapshotter
    }

    async fn make_volume(&self) -> TestVolume {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // As long as a provisioner's, which begin alike.
        let name = format!("gke-cluster-0123456789-pvc-4f8e2c1a-0000-4000-8000-{number:012}");
        let regional = matches!(self.form, Form::InTreeRegional | Form::CsiRegional);
        let place = if regional {
            "regions/europe-west1"
        } else {
            "zones/europe-west1-b"
        };
        let path = format!("projects/{PROJECT}/{place}/disks/{name}");
        self.fake.add_disk(&path, "pd-ssd", &json!({}));
        let csi = |handle: &str, zones: &[&str]| {
            json!({
                "metadata": {"name": "pv"},
                "spec": {
                    "csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": handle},
                    "nodeAffinity": affinity(zones),
                },
            })
        };
        let in_tree = |zones: &str| {
            json!({
                "metadata": {"name": "pv", "labels": {"topology.kubernetes.io/zone": zones}},
                "spec": {"gcePersistentDisk": {"pdName": name, "fsType": "ext4"}},
            })
        };
        let zones = ["europe-west1-c", "europe-west1-b"];
        let volume = match self.form {
            Form::InTree => in_tree("europe-west1-b"),
            Form::InTreeRegional => in_tree("europe-west1-b__europe-west1-c"),
            Form::Csi => csi(&path, &["europe-west1-b"]),
            Form::CsiRegional => csi(&path, &zones),
            Form::Unspecified => csi(
                &format!("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/{name}"),
                &["europe-west1-b"],
            ),
        };
        TestVolume {
            volume: object(volume),
            claim: None,
        }
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        self.fake.remove_disk(&volume.0);
    }

    fn others(&self) -> Vec<(&'static str, Object)> {
        let csi = |driver: &str, handle: &str| {
            object(json!({"spec": {"csi": {"driver": driver, "volumeHandle": handle}}}))
        };
        vec![
            (
                "an NFS share",
                object(json!({"spec": {"nfs": {"server": "s", "path": "/"}}})),
            ),
            (
                "a volume of EBS",
                csi("ebs.csi.aws.com", "vol-0123456789abcdef0"),
            ),
            (
                "a share of Filestore",
                csi("filestore.csi.storage.gke.io", "modeInstance/z/i/s"),
            ),
            (
                "an in-tree disk of Azure",
                object(json!({"spec": {"azureDisk": {"diskName": "d", "diskURI": "u"}}})),
            ),
            (
                "a disk without a path",
                csi("pd.csi.storage.gke.io", "some-disk"),
            ),
        ]
    }

    fn absent_snapshot(&self) -> SnapshotId {
        SnapshotId(format!("projects/{PROJECT}/global/snapshots/never-was"))
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        Some(described(&self.fake.snapshot(&snapshot.0).unwrap()))
    }

    async fn volume_tags(&self, volume: &VolumeId) -> Option<Tags> {
        Some(described(&self.fake.disk(&volume.0).unwrap()))
    }
}

#[rstest::rstest]
#[case(Form::InTree)]
#[case(Form::InTreeRegional)]
#[case(Form::Csi)]
#[case(Form::CsiRegional)]
#[case(Form::Unspecified)]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept(#[case] form: Form) {
    let world = World::new(form, &[]).await;
    snapshotter_conformance(&world).await;
    world.fake.kept();
    assert_eq!(world.fake.snapshots(), [""; 0], "nothing is left");
    assert_eq!(world.fake.disks(), [""; 0]);
}
