//! Volumes whose disks are EBS volumes of moto, and what becomes of their snapshots.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ark::api::{VolumeSnapshotLocation, VolumeSnapshotLocationSpec};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::front::Front;
use crate::support::moto::{Moto, REGION, element};
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, wait_until};

/// The zone of all disks.
pub(crate) const ZONE: &str = "us-east-1b";

/// A cloud with disks, and what stands before it.
pub(crate) struct Disks {
    pub(crate) moto: Moto,
    pub(crate) front: Front,
}

impl Disks {
    pub(crate) async fn start() -> Result<Self> {
        let moto = Moto::start().await?;
        let front = moto.front().await?;
        Ok(Self { moto, front })
    }

    /// Installs Ark with a local store and a snapshot location in this cloud.
    pub(crate) async fn install<'a>(&self, plane: &'a ControlPlane) -> Result<Installation<'a>> {
        let mut store = Store::local(plane)?;
        store.environment = vec![
            ("AWS_ACCESS_KEY_ID", "a".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "s".to_owned()),
        ];
        let ark = Installation::with_store(plane, store).await?;
        self.locate(&ark, "disks").await?;
        Ok(ark)
    }

    /// Makes a snapshot location in this cloud.
    pub(crate) async fn locate(&self, ark: &Installation<'_>, name: &str) -> Result<()> {
        let config = [("region", REGION), ("ec2Url", &self.front.address())];
        locate(ark, name, "aws", &config).await
    }

    /// Makes a disk, its PersistentVolume and a claim that is bound to it; returns the names of disk and volume.
    pub(crate) async fn volume(
        &self,
        client: &kube::Client,
        namespace: &str,
        claim: &str,
        policy: &str,
    ) -> Result<(String, String)> {
        let disk = self.moto.create_volume(ZONE, &[("Size", "1")]).await?;
        let volume = format!("{namespace}-{claim}");
        make_volume(client, &volume, namespace, claim, policy, &disk).await?;
        until_bound(client, namespace, claim).await?;
        Ok((disk, volume))
    }

    /// Returns the snapshots that Ark made, each with its tags.
    pub(crate) async fn snapshots(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.tagged("DescribeSnapshots", "snapshotId").await
    }

    /// Returns the disks that Ark made, each with its tags.
    pub(crate) async fn made(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.tagged("DescribeVolumes", "volumeId").await
    }

    async fn tagged(
        &self,
        action: &str,
        id: &str,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let filter = [
            ("Filter.1.Name", "tag-key"),
            ("Filter.1.Value.1", "ark.heptio.com/token"),
        ];
        let answer = self.moto.ec2(action, &filter).await?;
        let mut found = BTreeMap::new();
        for part in answer.split(&format!("<{id}>")).skip(1) {
            let (name, _) = part.split_once('<').context("an id")?;
            found.insert(name.to_owned(), self.moto.tags(name).await?);
        }
        Ok(found)
    }

    /// Returns the snapshot that a disk was made from.
    pub(crate) async fn origin(&self, disk: &str) -> Result<Option<String>> {
        let answer = self
            .moto
            .ec2("DescribeVolumes", &[("VolumeId.1", disk)])
            .await?;
        Ok(element(&answer, "snapshotId").filter(|id| !id.is_empty()))
    }
}

/// Makes a snapshot location.
pub(crate) async fn locate(
    ark: &Installation<'_>,
    name: &str,
    provider: &str,
    config: &[(&str, &str)],
) -> Result<()> {
    let spec = VolumeSnapshotLocationSpec {
        provider: provider.to_owned(),
        config: config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        credential: None,
    };
    let locations: Api<VolumeSnapshotLocation> = ark.api();
    let location = VolumeSnapshotLocation::new(name, spec);
    wait_until("the location is made", PATIENCE, async || {
        locations.create(&PostParams::default(), &location).await?;
        Ok(Some(()))
    })
    .await
}

/// Makes a PersistentVolume on a disk, and its claim.
pub(crate) async fn make_volume(
    client: &kube::Client,
    volume: &str,
    namespace: &str,
    claim: &str,
    policy: &str,
    disk: &str,
) -> Result<()> {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": volume, "labels": {"topology.kubernetes.io/zone": ZONE}},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": policy, "storageClassName": "disks",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": disk},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "disks", "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
    ];
    for object in objects {
        apply_yaml(client, &object.to_string()).await?;
    }
    Ok(())
}

/// Makes a PersistentVolume that no snapshotter is for, and its claim.
pub(crate) async fn make_share(
    client: &kube::Client,
    volume: &str,
    namespace: &str,
    claim: &str,
) -> Result<()> {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "shares",
                "nfs": {"server": "nfs.example.org", "path": "/"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"], "storageClassName": "shares", "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
    ];
    for object in objects {
        apply_yaml(client, &object.to_string()).await?;
    }
    until_bound(client, namespace, claim).await
}

/// Waits until a claim has its volume.
pub(crate) async fn until_bound(client: &kube::Client, namespace: &str, claim: &str) -> Result<()> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    wait_until(&format!("claim {claim} is bound"), PATIENCE, async || {
        let phase = claims
            .get(claim)
            .await?
            .status
            .and_then(|status| status.phase);
        Ok((phase.as_deref() == Some("Bound")).then_some(()))
    })
    .await
}

/// Removes a namespace and volumes, as a disaster would: the disks stay.
pub(crate) async fn lose(
    client: &kube::Client,
    namespace: &TestNamespace,
    volumes: &[&str],
) -> Result<()> {
    let all = Api::<PersistentVolume>::all(client.clone());
    // Else a volume that goes with its claim would wait for somebody who removes its disk.
    namespace.delete().await?;
    for volume in volumes {
        let gone = json!({"metadata": {"finalizers": null}});
        let patch = kube::api::Patch::Merge(&gone);
        all.delete(volume, &DeleteParams::default()).await?;
        // It may be gone by now.
        drop(
            all.patch(volume, &kube::api::PatchParams::default(), &patch)
                .await,
        );
        wait_until(&format!("volume {volume} is gone"), PATIENCE, async || {
            Ok(all.get_opt(volume).await?.is_none().then_some(()))
        })
        .await?;
    }
    Ok(())
}
