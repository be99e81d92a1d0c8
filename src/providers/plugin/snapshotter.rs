//! A snapshotter that lives in a plugin: Velero's `VolumeSnapshotter`, or the `BlockStore` of Ark.
//!
//! The protocol can make, remove and restore snapshots, and nothing else: one whose answer got lost cannot be found again,
//! how it fares is not told, and a volume that is asked for twice is made twice. Volumes get the tags of their snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

use super::catalog::Offer;
use super::error::{CallError, CallErrorKind};
use super::init::{Init, Service};
use super::pool::{Lease, Pool};
use super::protocol::{ark08, ark10, velero::generated as velero};
use crate::api::{VolumeProviderConfig, object};
use crate::providers::Environment;
use crate::providers::snapshotter::{
    Fit, MakeVolumes, Object, Restores, SnapshotCapabilities, SnapshotError, SnapshotErrorKind,
    SnapshotId, SnapshotRequest, SnapshotState, Volume, VolumeHandle, VolumeId, VolumeInfo,
    VolumeRequest, VolumeSnapshotter,
};

/// A snapshotter that lives in a plugin.
#[derive(Debug)]
struct PluginSnapshotter {
    pool: Arc<Pool>,
    init: Init,
}

/// Opens a snapshotter: gives the plugin its settings.
pub(super) async fn open(
    offer: &Offer,
    config: &VolumeProviderConfig,
    environment: &Environment,
    scratch: &Path,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let init = Init::new(
        offer.snapshotter_service(),
        &offer.plugin,
        config.config.clone(),
        environment.credentials(),
        scratch,
    )
    .map_err(|error| {
        SnapshotError::new(
            SnapshotErrorKind::Other,
            format!(
                "the location's credentials cannot be written for the plugin to {}: {error}",
                scratch.display()
            ),
        )
    })?;
    let snapshotter = PluginSnapshotter {
        pool: Arc::clone(&offer.pool),
        init,
    };
    match snapshotter.take().await {
        Ok(_) => Ok(Arc::new(snapshotter)),
        // What a plugin says of its settings has no kind of its own.
        Err(error) if error.kind == CallErrorKind::Other => Err(SnapshotError::new(
            SnapshotErrorKind::Invalid,
            error.message,
        )),
        Err(error) => Err(snapshot_error(error)),
    }
}

impl PluginSnapshotter {
    async fn take(&self) -> Result<Lease, CallError> {
        self.pool.take(Some(&self.init)).await
    }
}

#[async_trait]
impl VolumeSnapshotter for PluginSnapshotter {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities {
            find: false,
            states: false,
            ready_within: None,
        }
    }

    /// Only the settings are checked, again: the protocol has no question that touches nothing.
    async fn check(&self) -> Result<(), SnapshotError> {
        self.take().await.map(drop).map_err(snapshot_error)
    }

    async fn fits(&self, volume: Volume<'_>) -> Result<Fit, SnapshotError> {
        let name = name_of(volume.volume);
        let lease = self.take().await.map_err(snapshot_error)?;
        let asking = calls::volume_id(self, &lease, json(volume.volume)?);
        let id = lease
            .call(&format!("say which volume {name} is"), asking)
            .await
            .map_err(snapshot_error)?;
        Ok(if id.is_empty() {
            Fit::No(format!("{} has no such volume", self.init.plugin()))
        } else {
            Fit::Volume(VolumeHandle {
                id: VolumeId(id),
                zone: zone_of(volume.volume).to_owned(),
            })
        })
    }

    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        let lease = self.take().await.map_err(snapshot_error)?;
        let asking = calls::info(self, &lease, volume);
        let (volume_type, iops) = lease
            .call(&format!("describe volume {}", volume.id), asking)
            .await
            .map_err(snapshot_error)?;
        Ok(VolumeInfo {
            volume_type,
            iops: (iops != 0).then_some(iops),
            zone: volume.zone.clone(),
            ..VolumeInfo::default()
        })
    }

    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError> {
        let tried = format!("snapshot volume {}", request.handle.id);
        let lease = self.take().await.map_err(snapshot_error)?;
        let making = calls::create_snapshot(self, &lease, request.handle, request.tags.clone());
        let id = lease.call(&tried, making).await.map_err(snapshot_error)?;
        if id.is_empty() {
            return Err(SnapshotError::new(
                SnapshotErrorKind::Other,
                format!("the plugin was to {tried} and gives no id of a snapshot"),
            ));
        }
        Ok(SnapshotId(id))
    }

    async fn find_snapshots(&self, _token: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        Err(not_supported("find snapshots"))
    }

    async fn snapshot_states(
        &self,
        _snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError> {
        Err(not_supported("say how snapshots fare"))
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError> {
        let lease = self.take().await.map_err(snapshot_error)?;
        let removing = calls::delete_snapshot(self, &lease, &snapshot.0);
        let removed = lease
            .call(&format!("remove snapshot {snapshot}"), removing)
            .await;
        match removed {
            Err(error) if error.kind == CallErrorKind::NotFound => Ok(()),
            removed => removed.map_err(snapshot_error),
        }
    }

    fn restores(&self) -> Restores<'_> {
        Restores::Volumes(self)
    }
}

#[async_trait]
impl MakeVolumes for PluginSnapshotter {
    async fn create_volume(&self, request: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError> {
        let tried = format!("make a volume of snapshot {}", request.snapshot);
        let lease = self.take().await.map_err(snapshot_error)?;
        let making = calls::create_volume(self, &lease, request);
        let id = lease.call(&tried, making).await.map_err(snapshot_error)?;
        if id.is_empty() {
            return Err(SnapshotError::new(
                SnapshotErrorKind::Other,
                format!("the plugin was to {tried} and gives no id of a volume"),
            ));
        }
        Ok(VolumeId(id))
    }

    async fn set_volume(&self, volume: &mut Object, id: &VolumeId) -> Result<(), SnapshotError> {
        let tried = format!("have {} stand for volume {id}", name_of(volume));
        let lease = self.take().await.map_err(snapshot_error)?;
        let setting = calls::set_volume_id(self, &lease, json(volume)?, &id.0);
        let changed = lease.call(&tried, setting).await.map_err(snapshot_error)?;
        let mut changed: Object = serde_json::from_slice(&changed).map_err(|error| {
            SnapshotError::new(
                SnapshotErrorKind::Other,
                format!("the plugin was to {tried} and gives no object: {error}"),
            )
        })?;
        changed.retain(|field, _| TYPE.iter().all(|(known, _)| field != known));
        take_over(volume, changed);
        Ok(())
    }
}

/// Writes the calls of one service: the same, but that requests name the plugin (`$plugin`) or not.
macro_rules! calls {
    ($name:ident, $words:path, $module:ident, $client:ident $(, $plugin:ident)?) => {
        mod $name {
            use $words as words;
            use words::$module::$client;

            use super::*;

            fn client(lease: &Lease) -> $client<Channel> {
                let limit = lease.message_limit();
                $client::new(lease.channel())
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit)
            }

            pub(super) async fn volume_id(
                _of: &PluginSnapshotter,
                lease: &Lease,
                persistent_volume: Bytes,
            ) -> Result<String, Status> {
                let request = words::GetVolumeIdRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    persistent_volume,
                };
                Ok(client(lease).get_volume_id(request).await?.into_inner().volume_id)
            }

            pub(super) async fn set_volume_id(
                _of: &PluginSnapshotter,
                lease: &Lease,
                persistent_volume: Bytes,
                volume_id: &str,
            ) -> Result<Bytes, Status> {
                let request = words::SetVolumeIdRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    persistent_volume,
                    volume_id: volume_id.to_owned(),
                };
                Ok(client(lease).set_volume_id(request).await?.into_inner().persistent_volume)
            }

            pub(super) async fn info(
                _of: &PluginSnapshotter,
                lease: &Lease,
                volume: &VolumeHandle,
            ) -> Result<(String, i64), Status> {
                let request = words::GetVolumeInfoRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    volume_id: volume.id.0.clone(),
                    volume_az: volume.zone.clone(),
                };
                let info = client(lease).get_volume_info(request).await?.into_inner();
                Ok((info.volume_type, info.iops))
            }

            pub(super) async fn create_snapshot(
                _of: &PluginSnapshotter,
                lease: &Lease,
                volume: &VolumeHandle,
                tags: BTreeMap<String, String>,
            ) -> Result<String, Status> {
                let request = words::CreateSnapshotRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    volume_id: volume.id.0.clone(),
                    volume_az: volume.zone.clone(),
                    tags,
                };
                Ok(client(lease).create_snapshot(request).await?.into_inner().snapshot_id)
            }

            pub(super) async fn delete_snapshot(
                _of: &PluginSnapshotter,
                lease: &Lease,
                snapshot_id: &str,
            ) -> Result<(), Status> {
                let request = words::DeleteSnapshotRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    snapshot_id: snapshot_id.to_owned(),
                };
                client(lease).delete_snapshot(request).await?;
                Ok(())
            }

            pub(super) async fn create_volume(
                _of: &PluginSnapshotter,
                lease: &Lease,
                request: &VolumeRequest<'_>,
            ) -> Result<String, Status> {
                let request = words::CreateVolumeRequest {
                    $($plugin: _of.init.plugin().to_owned(),)?
                    snapshot_id: request.snapshot.0.clone(),
                    volume_type: request.info.volume_type.clone(),
                    volume_az: request.info.zone.clone(),
                    iops: request.info.iops.unwrap_or_default(),
                };
                let answer = client(lease).create_volume_from_snapshot(request).await?;
                Ok(answer.into_inner().volume_id)
            }
        }
    };
}

calls!(
    snapshotter,
    super::velero,
    volume_snapshotter_client,
    VolumeSnapshotterClient,
    plugin
);
calls!(
    block_store,
    super::ark10,
    block_store_client,
    BlockStoreClient,
    plugin
);
calls!(
    old_block_store,
    super::ark08,
    block_store_client,
    BlockStoreClient
);

/// The calls, in whichever service's words.
mod calls {
    use super::{
        BTreeMap, Bytes, Lease, PluginSnapshotter, Service, Status, VolumeHandle, VolumeRequest,
        block_store, old_block_store, snapshotter,
    };

    macro_rules! dispatch {
        ($($call:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {$(
            pub(super) async fn $call(
                of: &PluginSnapshotter,
                lease: &Lease,
                $($name: $type),*
            ) -> Result<$answer, Status> {
                match of.init.service() {
                    Service::OldBlockStore => old_block_store::$call(of, lease, $($name),*).await,
                    Service::BlockStore => block_store::$call(of, lease, $($name),*).await,
                    Service::VolumeSnapshotter => snapshotter::$call(of, lease, $($name),*).await,
                    Service::ObjectStore | Service::OldObjectStore => {
                        Err(Status::unimplemented("this is a store"))
                    }
                }
            }
        )*};
    }

    dispatch! {
        volume_id(volume: Bytes) -> String;
        set_volume_id(volume: Bytes, id: &str) -> Bytes;
        info(volume: &VolumeHandle) -> (String, i64);
        create_snapshot(volume: &VolumeHandle, tags: BTreeMap<String, String>) -> String;
        delete_snapshot(snapshot: &str) -> ();
        create_volume(request: &VolumeRequest<'_>) -> String;
    }
}

/// The type of each PersistentVolume.
const TYPE: [(&str, &str); 2] = [("apiVersion", "v1"), ("kind", "PersistentVolume")];

/// The labels by which volumes say their zone, the newest first.
const ZONE_LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];

/// Returns the zone that a PersistentVolume names, by label or else by the nodes that it fits; of several the first.
fn zone_of(volume: &Object) -> &str {
    const TERMS: &[&str] = &["spec", "nodeAffinity", "required", "nodeSelectorTerms"];
    if let Some(labels) = object::at(volume, &["metadata", "labels"]) {
        let label = |key: &&str| labels.get(*key)?.as_str();
        if let Some(zone) = ZONE_LABELS.iter().find_map(label) {
            return zone;
        }
    }
    object::list(volume, TERMS)
        .flat_map(|term| object::list(term, &["matchExpressions"]))
        .filter(|one| {
            let key = object::text(one, &["key"]);
            // Drivers have keys of their own, such as topology.ebs.csi.aws.com/zone.
            ZONE_LABELS.contains(&key) || key.ends_with("/zone")
        })
        .find_map(|one| one.get("values")?.as_array()?.first()?.as_str())
        .unwrap_or_default()
}

/// Takes over what a plugin has changed of an object. Go's plugins write objects as they know them: fields that are newer
/// are missing from their answers, and empty ones are there that were not.
fn take_over(object: &mut Object, changed: Object) {
    for (key, value) in changed {
        match (object.get_mut(&key), value) {
            (Some(Value::Object(before)), Value::Object(after)) => take_over(before, after),
            (Some(before), after) => {
                if !is_empty(&after) {
                    *before = after;
                }
            }
            (None, after) => {
                if !is_empty(&after) {
                    object.insert(key, after);
                }
            }
        }
    }
}

/// Returns whether a value is one that Go writes where there is none.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn name_of(volume: &Object) -> &str {
    object::text(volume, &["metadata", "name"])
}

/// Writes a PersistentVolume with its type, which objects from lists lack and plugins want.
fn json(volume: &Object) -> Result<Bytes, SnapshotError> {
    let mut whole = volume.clone();
    for (field, value) in TYPE {
        whole.entry(field).or_insert_with(|| Value::from(value));
    }
    serde_json::to_vec(&whole)
        .map(Bytes::from)
        .map_err(|error| {
            SnapshotError::new(
                SnapshotErrorKind::Other,
                format!("volume {} cannot be written: {error}", name_of(volume)),
            )
        })
}

fn not_supported(what: &str) -> SnapshotError {
    SnapshotError::new(
        SnapshotErrorKind::NotSupported,
        format!("plugins cannot {what}"),
    )
}

fn snapshot_error(error: CallError) -> SnapshotError {
    let kind = match error.kind {
        CallErrorKind::NotFound => SnapshotErrorKind::NotFound,
        CallErrorKind::NotReady => SnapshotErrorKind::NotReady,
        CallErrorKind::Denied => SnapshotErrorKind::Denied,
        CallErrorKind::Unreachable | CallErrorKind::TimedOut => SnapshotErrorKind::Unreachable,
        CallErrorKind::NotSupported => SnapshotErrorKind::NotSupported,
        CallErrorKind::Invalid => SnapshotErrorKind::Invalid,
        CallErrorKind::Gone
        | CallErrorKind::TooLarge
        | CallErrorKind::AlreadyExists
        | CallErrorKind::Other => SnapshotErrorKind::Other,
    };
    SnapshotError::new(kind, error.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zones_of_volumes() {
        for (volume, zone) in [
            (json!({}), ""),
            (
                json!({ "metadata": { "labels": { "failure-domain.beta.kubernetes.io/zone": "old" } } }),
                "old",
            ),
            (
                json!({ "metadata": { "labels": {
                    "failure-domain.beta.kubernetes.io/zone": "old", "topology.kubernetes.io/zone": "new",
                } } }),
                "new",
            ),
            (
                json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [
                    { "matchFields": [] },
                    { "matchExpressions": [
                        { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] },
                        { "key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["z"] },
                    ] },
                ] } } } }),
                "z",
            ),
        ] {
            let object = volume.as_object().unwrap();
            assert_eq!(zone_of(object), zone, "{volume}");
        }
    }

    #[test]
    fn only_what_a_plugin_changes_is_taken_over() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut volume = object(json!({
            "metadata": { "name": "pv" },
            "spec": { "csi": { "volumeHandle": "old", "newer": 1 }, "capacity": { "storage": "1Gi" } },
        }));
        take_over(
            &mut volume,
            object(json!({
                "metadata": { "name": "pv", "creationTimestamp": null },
                "spec": {
                    "csi": { "volumeHandle": "new", "fsType": "ext4" },
                    "capacity": { "storage": "1Gi" },
                },
                "status": {},
            })),
        );
        assert_eq!(
            Value::Object(volume),
            json!({
                "metadata": { "name": "pv" },
                "spec": {
                    "csi": { "volumeHandle": "new", "newer": 1, "fsType": "ext4" },
                    "capacity": { "storage": "1Gi" },
                },
            })
        );
    }
}
