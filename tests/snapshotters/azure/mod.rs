//! The `azure` snapshotter against a contract fake of Azure Resource Manager.

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
use crate::support::clouds::managed_disks::{
    CLIENT, Follow, ManagedDisks, NODES, SECRET, SUBSCRIPTION, TENANT, VAULT, disk_id,
};
use crate::support::clouds::{Listening, Reply, Trouble};
use crate::support::snapshotter_conformance::{
    Cloud, Tags, TestVolume, ask, handle, new_token, restore_tags, snapshotter_conformance, whole,
};

/// How a PersistentVolume names its disk, and of what type the disk is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    InTree,
    Csi,
    /// In all zones of its region.
    ZoneRedundant,
    /// Of which only incremental snapshots can be made.
    Provisioned,
    /// In a region without zones.
    WithoutZones,
}

/// A fake, and a snapshotter that asks it.
struct World {
    fake: Listening<ManagedDisks>,
    snapshotter: Arc<dyn VolumeSnapshotter>,
    form: Form,
    made: AtomicUsize,
}

impl World {
    async fn new(form: Form, settings: &[(&str, &str)]) -> Self {
        let fake = ManagedDisks::start().await;
        let snapshotter = open("azure", settings, &application(&fake)).await.unwrap();
        Self {
            fake,
            snapshotter,
            form,
            made: AtomicUsize::new(0),
        }
    }

    async fn plain() -> Self {
        Self::new(Form::Csi, &[("resourceGroup", VAULT)]).await
    }

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
        let volume = Volume {
            volume: &test.volume,
            claim: None,
        };
        handle(self.snapshotter(), volume).await
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

/// Returns the variables of an application with its secret.
fn variables(fake: &ManagedDisks) -> Vec<(&str, &str)> {
    vec![
        ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION),
        ("AZURE_RESOURCE_GROUP", NODES),
        ("AZURE_AUTHORITY_HOST", &fake.address),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", &fake.address),
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_CLIENT_SECRET", SECRET),
    ]
}

fn application(fake: &ManagedDisks) -> Environment {
    environment(&variables(fake))
}

/// Returns a resource's tags under the names that they were given.
fn tagged(resource: &Value) -> Tags {
    let tags = resource["tags"].as_object().unwrap();
    tags.iter()
        .map(|(name, value)| {
            let name = name.replacen("ark.heptio.com-", "ark.heptio.com/", 1);
            (name, value.as_str().unwrap().to_owned())
        })
        .collect()
}

#[async_trait]
impl Cloud for World {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        &*self.snapshotter
    }

    async fn make_volume(&self) -> TestVolume {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("pvc-4f8e2c1a-0000-4000-8000-{number:012}");
        let id = disk_id(&name);
        let (sku, more) = match self.form {
            Form::InTree | Form::Csi => ("Premium_LRS", json!({"zones": ["2"]})),
            Form::ZoneRedundant => ("Premium_ZRS", json!({})),
            Form::WithoutZones => ("StandardSSD_LRS", json!({})),
            Form::Provisioned => (
                "PremiumV2_LRS",
                json!({
                    "zones": ["2"],
                    "properties": {"diskIOPSReadWrite": 4000, "diskMBpsReadWrite": 200},
                }),
            ),
        };
        self.fake.add_disk(&id, sku, more);
        let zones = match self.form {
            Form::ZoneRedundant => &["westeurope-1", "westeurope-2", "westeurope-3"][..],
            Form::WithoutZones => &[""],
            _ => &["westeurope-2"],
        };
        let volume = if self.form == Form::InTree {
            json!({
                "metadata": {"name": "pv", "labels": {"topology.kubernetes.io/zone": "westeurope-2"}},
                "spec": {"azureDisk": {"diskName": name, "diskURI": id, "kind": "Managed"}},
            })
        } else {
            json!({
                "metadata": {"name": "pv"},
                "spec": {
                    "csi": {"driver": "disk.csi.azure.com", "volumeHandle": id},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "topology.disk.csi.azure.com/zone", "operator": "In", "values": zones},
                    ]}]}},
                },
            })
        };
        TestVolume {
            volume: object(volume),
            claim: None,
        }
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        self.fake.remove(&volume.0);
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
                "a share of Azure Files",
                csi("file.csi.azure.com", "rg#account#share#"),
            ),
            (
                "an unmanaged disk",
                object(json!({"spec": {"azureDisk": {
                    "diskName": "d", "diskURI": "https://a.blob.core.windows.net/vhds/d.vhd",
                }}})),
            ),
            (
                "a disk without an id",
                csi("disk.csi.azure.com", "some-disk"),
            ),
        ]
    }

    fn absent_snapshot(&self) -> SnapshotId {
        SnapshotId(format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/{VAULT}/providers/Microsoft.Compute/snapshots/never-was"
        ))
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        Some(tagged(&self.fake.resource(&snapshot.0).unwrap()))
    }

    async fn volume_tags(&self, volume: &VolumeId) -> Option<Tags> {
        Some(tagged(&self.fake.resource(&volume.0).unwrap()))
    }
}

#[rstest::rstest]
#[case(Form::InTree, Follow::Operation, VAULT)]
#[case(Form::Csi, Follow::Operation, VAULT)]
#[case(Form::Csi, Follow::Location, NODES)]
#[case(Form::Csi, Follow::State, VAULT)]
#[case(Form::ZoneRedundant, Follow::Operation, VAULT)]
#[case(Form::Provisioned, Follow::Operation, VAULT)]
#[case(Form::WithoutZones, Follow::Operation, VAULT)]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept(#[case] form: Form, #[case] follow: Follow, #[case] group: &str) {
    let world = World::new(form, &[("resourceGroup", group)]).await;
    world.fake.follow(follow);
    snapshotter_conformance(&world).await;
    world.fake.kept();
    assert_eq!(world.fake.count("snapshots"), 0, "nothing is left");
    assert_eq!(world.fake.count("disks"), 0);
}
