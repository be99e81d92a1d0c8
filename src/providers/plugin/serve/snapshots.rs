//! Serving a snapshotter of volumes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use tonic::{Code, Request, Response, Status};

use super::{Family, Named, Server, Services, add_service, guarded};
use crate::providers::plugin::protocol::{ark08, ark10, velero::generated as velero};
use crate::providers::snapshotter::{Object, SnapshotError, SnapshotErrorKind, VolumeInfo};

/// Makes snapshots of a provider's volumes, and volumes of snapshots.
///
/// # Guarantees
/// What its implementations must keep: every call may be repeated, and a snapshot holds the volume as it was during the
/// call that made it.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// Takes the location's settings, with `credentialsFile` beside them where it has credentials of its own. May be
    /// called again, with others.
    async fn init(&self, config: BTreeMap<String, String>) -> Result<(), SnapshotError>;

    /// Returns the provider's id of the volume that a PersistentVolume stands for; empty if it is none of the provider's.
    async fn volume_id(&self, volume: &Object) -> Result<String, SnapshotError>;

    /// Has a PersistentVolume stand for another volume.
    async fn set_volume_id(&self, volume: &mut Object, id: &str) -> Result<(), SnapshotError>;

    /// Returns what a volume is like: its type, and its operations a second where the type has them.
    async fn info(&self, volume: &str, zone: &str) -> Result<VolumeInfo, SnapshotError>;

    /// Makes a snapshot, and returns its id.
    async fn create_snapshot(
        &self,
        volume: &str,
        zone: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<String, SnapshotError>;

    /// Removes a snapshot; one that is not there is fine.
    async fn delete_snapshot(&self, snapshot: &str) -> Result<(), SnapshotError>;

    /// Makes a volume of a snapshot, in the zone that `info` names, and returns its id.
    async fn create_volume(
        &self,
        snapshot: &str,
        info: &VolumeInfo,
    ) -> Result<String, SnapshotError>;
}

pub(super) fn add(routes: &mut Services, server: &Server) {
    if server.snapshots.is_empty() {
        return;
    }
    let plugins = server.snapshots.clone();
    match server.family {
        Family::Velero => add_service!(
            routes,
            velero::volume_snapshotter_server::VolumeSnapshotterServer::new(Velero(plugins))
        ),
        Family::Ark10 => add_service!(
            routes,
            ark10::block_store_server::BlockStoreServer::new(Ark10(plugins))
        ),
        Family::Ark08 => add_service!(
            routes,
            ark08::block_store_server::BlockStoreServer::new(Ark08(plugins))
        ),
    };
}

/// Velero's `VolumeSnapshotter`.
struct Velero(Named<dyn Snapshots>);
/// Ark 0.10's `BlockStore`.
struct Ark10(Named<dyn Snapshots>);
/// Ark 0.8's.
struct Ark08(Named<dyn Snapshots>);

fn read(json: &Bytes) -> Result<Object, Status> {
    serde_json::from_slice(json)
        .map_err(|error| Status::invalid_argument(format!("the volume cannot be read: {error}")))
}

fn write(object: &Object) -> Result<Bytes, Status> {
    serde_json::to_vec(object)
        .map(Bytes::from)
        .map_err(|error| Status::internal(format!("the volume cannot be written: {error}")))
}

/// Serves snapshotters in the words of one service; `$find` finds the one that a request is for.
macro_rules! serve {
    ($type:ident, $words:ident, $service:path, |$self:ident, $request:ident| $find:expr $(, $more:item)?) => {
        #[tonic::async_trait]
        impl $service for $type {
            async fn init(
                &$self,
                request: Request<$words::InitRequest>,
            ) -> Result<Response<$words::Empty>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                guarded(async { plugin.init($request.config).await.map_err(status) }).await?;
                Ok(Response::new($words::Empty {}))
            }

            async fn get_volume_id(
                &$self,
                request: Request<$words::GetVolumeIdRequest>,
            ) -> Result<Response<$words::GetVolumeIdResponse>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                let volume = read(&$request.persistent_volume)?;
                let volume_id =
                    guarded(async { plugin.volume_id(&volume).await.map_err(status) }).await?;
                Ok(Response::new($words::GetVolumeIdResponse { volume_id }))
            }

            async fn set_volume_id(
                &$self,
                request: Request<$words::SetVolumeIdRequest>,
            ) -> Result<Response<$words::SetVolumeIdResponse>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                let mut volume = read(&$request.persistent_volume)?;
                let id = $request.volume_id.as_str();
                guarded(async { plugin.set_volume_id(&mut volume, id).await.map_err(status) })
                    .await?;
                let persistent_volume = write(&volume)?;
                Ok(Response::new($words::SetVolumeIdResponse { persistent_volume }))
            }

            async fn get_volume_info(
                &$self,
                request: Request<$words::GetVolumeInfoRequest>,
            ) -> Result<Response<$words::GetVolumeInfoResponse>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                let info = guarded(async {
                    plugin
                        .info(&$request.volume_id, &$request.volume_az)
                        .await
                        .map_err(status)
                })
                .await?;
                Ok(Response::new($words::GetVolumeInfoResponse {
                    volume_type: info.volume_type,
                    iops: info.iops.unwrap_or_default(),
                }))
            }

            async fn create_snapshot(
                &$self,
                request: Request<$words::CreateSnapshotRequest>,
            ) -> Result<Response<$words::CreateSnapshotResponse>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                let snapshot_id = guarded(async {
                    plugin
                        .create_snapshot(&$request.volume_id, &$request.volume_az, $request.tags)
                        .await
                        .map_err(status)
                })
                .await?;
                Ok(Response::new($words::CreateSnapshotResponse { snapshot_id }))
            }

            async fn delete_snapshot(
                &$self,
                request: Request<$words::DeleteSnapshotRequest>,
            ) -> Result<Response<$words::Empty>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                guarded(async {
                    plugin.delete_snapshot(&$request.snapshot_id).await.map_err(status)
                })
                .await?;
                Ok(Response::new($words::Empty {}))
            }

            async fn create_volume_from_snapshot(
                &$self,
                request: Request<$words::CreateVolumeRequest>,
            ) -> Result<Response<$words::CreateVolumeResponse>, Status> {
                let $request = request.into_inner();
                let plugin = $find?;
                let info = VolumeInfo {
                    volume_type: $request.volume_type,
                    iops: ($request.iops != 0).then_some($request.iops),
                    zone: $request.volume_az,
                    ..VolumeInfo::default()
                };
                let volume_id = guarded(async {
                    plugin
                        .create_volume(&$request.snapshot_id, &info)
                        .await
                        .map_err(status)
                })
                .await?;
                Ok(Response::new($words::CreateVolumeResponse { volume_id }))
            }

            $($more)?
        }
    };
}

serve!(
    Velero,
    velero,
    velero::volume_snapshotter_server::VolumeSnapshotter,
    |self, request| self.0.get(&request.plugin)
);
serve!(
    Ark10,
    ark10,
    ark10::block_store_server::BlockStore,
    |self, request| self.0.get(&request.plugin)
);
serve!(
    Ark08,
    ark08,
    ark08::block_store_server::BlockStore,
    |self, request| self.0.only(),
    async fn is_volume_ready(
        &self,
        _: Request<ark08::IsVolumeReadyRequest>,
    ) -> Result<Response<ark08::IsVolumeReadyResponse>, Status> {
        // A volume that was returned may be named by a PersistentVolume.
        Ok(Response::new(ark08::IsVolumeReadyResponse { ready: true }))
    }
);

/// Returns the error as gRPC has it: its kind as the code that this Ark's host reads.
fn status(error: SnapshotError) -> Status {
    let code = match error.kind {
        SnapshotErrorKind::NotFound => Code::NotFound,
        SnapshotErrorKind::NotReady => Code::FailedPrecondition,
        SnapshotErrorKind::Denied => Code::PermissionDenied,
        SnapshotErrorKind::Unreachable => Code::Unavailable,
        SnapshotErrorKind::NotSupported => Code::Unimplemented,
        SnapshotErrorKind::Invalid => Code::InvalidArgument,
        SnapshotErrorKind::Quota | SnapshotErrorKind::Throttled | SnapshotErrorKind::Other => {
            Code::Unknown
        }
    };
    Status::new(code, error.message)
}
