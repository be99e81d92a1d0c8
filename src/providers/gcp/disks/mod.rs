//! Snapshots of Compute Engine's persistent disks and hyperdisks, zonal and regional: the API asked by hand, with tokens
//! from Google's crate.
//!
//! Ids are paths, `projects/P/zones/Z/disks/N` and `projects/P/global/snapshots/N`, so that they mean the same in
//! another project; a snapshot's bare name, as earlier Arks and Velero wrote it, is looked for in the location's
//! project. What is made is named after the token it is asked for under, so that it is made once.

mod api;
mod errors;
mod ids;
mod labels;
mod resources;
mod restore;
mod settings;
mod snapshots;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use self::api::Compute;
use self::ids::{Disk, Place, Snapshot};
use self::settings::DiskSettings;
use super::credentials::project_of_machine;
use crate::api::VolumeProviderConfig;
use crate::providers::environment::Environment;
use crate::providers::snapshotter::{
    Fit, Restores, SnapshotCapabilities, SnapshotError, SnapshotErrorKind, SnapshotId,
    SnapshotRequest, SnapshotState, Volume, VolumeHandle, VolumeId, VolumeInfo, VolumeSnapshotter,
    tags,
};
use crate::providers::volumes::{joined, snapshot_name};

/// The longest name that something can have.
const LONGEST_NAME: usize = 63;
/// How many snapshots are looked at at once.
const LOOKS: usize = 8;

/// Opens the snapshotter of a location.
pub(in crate::providers) async fn open(
    config: &VolumeProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let settings = DiskSettings::parse(config)?;
    let http = api::client()?;
    let (compute, project) = Compute::new(&settings, environment, http.clone()).await?;
    Ok(Arc::new(Disks {
        compute,
        settings,
        project,
        machine: OnceCell::new(),
        http,
        environment: environment.clone(),
    }))
}

/// Compute Engine's disks.
#[derive(Debug)]
struct Disks {
    compute: Compute,
    settings: DiskSettings,
    /// The project that the credentials name.
    project: Option<String>,
    /// The project that the machine is in, once it was asked for.
    machine: OnceCell<String>,
    http: reqwest::Client,
    environment: Environment,
}

impl Disks {
    /// Returns the project of disks that do not name one, and of those that are made.
    async fn disks_project(&self) -> Result<&str, SnapshotError> {
        let known = self.settings.volume_project.as_ref();
        if let Some(project) = known.or(self.project.as_ref()) {
            return Ok(project);
        }
        let asked = self
            .machine
            .get_or_try_init(|| project_of_machine(&self.http, &self.environment))
            .await;
        asked.map(String::as_str).map_err(|why| {
            SnapshotError::new(
                SnapshotErrorKind::Invalid,
                format!(
                    "the project of the disks is not known: neither config.volumeProject nor the credentials name it, \
                     and the metadata server does not tell ({why}); set config.volumeProject"
                ),
            )
        })
    }

    /// Returns the project of snapshots that do not name one, and of those that are made.
    async fn snapshots_project(&self) -> Result<&str, SnapshotError> {
        match &self.settings.project {
            Some(project) => Ok(project),
            None => self.disks_project().await,
        }
    }

    /// Returns the disk that a handle means.
    async fn disk_of(&self, handle: &VolumeHandle) -> Result<Disk, SnapshotError> {
        let id = &handle.id.0;
        if let Some(disk) = Disk::parse(id) {
            return Ok(disk);
        }
        let place = Place::of_text(&handle.zone);
        let (Some(place), false) = (place, id.is_empty() || id.contains('/')) else {
            return Err(unreadable("disk", id));
        };
        Ok(Disk {
            project: self.disks_project().await?.to_owned(),
            place,
            name: id.clone(),
        })
    }

    /// Returns the snapshot that an id means.
    async fn snapshot_of(&self, id: &SnapshotId) -> Result<Snapshot, SnapshotError> {
        if let Some(snapshot) = Snapshot::parse(&id.0) {
            return Ok(snapshot);
        }
        if id.0.is_empty() || id.0.contains('/') {
            return Err(unreadable("snapshot", &id.0));
        }
        Ok(Snapshot {
            project: self.snapshots_project().await?.to_owned(),
            name: id.0.clone(),
        })
    }
}

#[async_trait]
impl VolumeSnapshotter for Disks {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities {
            find: true,
            states: true,
            ready_within: None,
        }
    }

    async fn check(&self) -> Result<(), SnapshotError> {
        let project = self.snapshots_project().await?;
        self.compute.look_at(project).await.map_err(|error| {
            let what = format!("the snapshots of project {project} cannot be listed");
            self.compute.explain(error, &what)
        })
    }

    async fn fits(&self, volume: Volume<'_>) -> Result<Fit, SnapshotError> {
        let said = match ids::of_volume(volume.volume) {
            Ok(said) => said,
            Err(why) => return Ok(Fit::No(why)),
        };
        let place = said.place.ok_or_else(|| {
            SnapshotError::new(
                SnapshotErrorKind::Invalid,
                format!(
                    "where disk {} is cannot be told: its PersistentVolume names no zone; give it the label \
                     topology.kubernetes.io/zone",
                    said.name
                ),
            )
        })?;
        let zone = match &place {
            Place::Zone(zone) => zone.clone(),
            Place::Region(_) if said.zones.len() > 1 => joined(&said.zones),
            Place::Region(_) => String::new(),
        };
        let project = match said.project {
            Some(project) => project,
            None => self.disks_project().await?.to_owned(),
        };
        let disk = Disk {
            project,
            place,
            name: said.name,
        };
        Ok(Fit::Volume(VolumeHandle {
            id: VolumeId(disk.to_string()),
            zone,
        }))
    }

    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        let disk = self.disk_of(volume).await?;
        let found = self.compute.disk(&disk).await.map_err(|error| {
            self.compute
                .explain(error, &format!("disk {disk} cannot be looked at"))
        })?;
        Ok(found.info())
    }

    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError> {
        let disk = self.disk_of(request.handle).await?;
        let snapshot = Snapshot {
            project: self.snapshots_project().await?.to_owned(),
            name: snapshot_name(&disk.name, request.token, LONGEST_NAME),
        };
        let failed = |error| {
            self.compute
                .explain(error, &format!("disk {disk} cannot be snapshot"))
        };
        let operation = self
            .begin_snapshot(&disk, &snapshot, request)
            .await
            .map_err(failed)?;
        self.cut(&snapshot, operation.as_ref())
            .await
            .map_err(failed)?;
        Ok(SnapshotId(snapshot.to_string()))
    }

    async fn find_snapshots(&self, token: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        let project = self.snapshots_project().await?;
        let found = self
            .compute
            .snapshots_with(
                project,
                &labels::fitting(tags::TOKEN),
                &labels::fitting(token),
            )
            .await
            .map_err(|error| {
                let what = format!("the snapshots of project {project} cannot be listed");
                self.compute.explain(error, &what)
            })?;
        Ok(found
            .into_iter()
            .filter(|found| found.status != "DELETING")
            .map(|found| Snapshot {
                project: project.to_owned(),
                name: found.name,
            })
            .map(|snapshot| SnapshotId(snapshot.to_string()))
            .collect())
    }

    async fn snapshot_states(
        &self,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError> {
        stream::iter(snapshots.to_vec())
            .map(|id| async move { self.state(&id).await })
            .buffered(LOOKS)
            .try_collect()
            .await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError> {
        let snapshot = self.snapshot_of(snapshot).await?;
        self.remove(&snapshot).await.map_err(|error| {
            self.compute
                .explain(error, &format!("snapshot {snapshot} cannot be removed"))
        })
    }

    fn restores(&self) -> Restores<'_> {
        Restores::Volumes(self)
    }
}

/// Makes the error for an id that is none of ours.
fn unreadable(what: &str, id: &str) -> SnapshotError {
    SnapshotError::new(
        SnapshotErrorKind::Invalid,
        format!("{id:?} is not the id of a {what} of Compute Engine"),
    )
}
