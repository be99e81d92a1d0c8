//! Snapshots that the cluster's own CSI drivers make, asked for through the Kubernetes API: VolumeSnapshots,
//! VolumeSnapshotContents and the controllers that act on them (snapshot-controller, and a csi-snapshotter for each
//! driver). Speaks to nothing but the API server.
//!
//! A snapshot's id is `<driver>/<snapshotHandle>`: with that, any cluster that has the driver, and reaches its storage,
//! can use and remove the snapshot. In the cluster that made it a VolumeSnapshotContent stands for it, labelled with the
//! token (`make`); one more stands behind each source of data that is offered to a claim (`offer`).

mod calls;
mod class;
mod make;
mod objects;
mod offer;
mod progress;
mod remove;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;

use self::calls::Calls;
use self::class::Class;
use self::objects::{Content, Handle, REMINDER, SNAPSHOT_LABEL};
use self::progress::{Reminders, Timing, Waiting, Word, last_word};
use super::registry::CSI_TIMEOUT as TIMEOUT;
use super::settings::Settings;
use super::snapshotter::{
    DataSource, FillClaims, Fit, Object, Restores, SnapshotCapabilities, SnapshotError,
    SnapshotErrorKind, SnapshotId, SnapshotRequest, SnapshotState, SourceRequest, Volume,
    VolumeHandle, VolumeId, VolumeInfo, VolumeSnapshotter,
};
use crate::api::VolumeProviderConfig;

/// The setting for the VolumeSnapshotClass of the volumes of that class's driver.
const CLASS: &str = "volumeSnapshotClass";
const SETTINGS: &[&str] = &[TIMEOUT, CLASS];
/// How long a snapshot may take unless the settings say otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// For how long the classes that were read count: the many volumes of one backup ask for them.
const CLASSES_LAST: Duration = Duration::from_secs(30);

/// Opens the snapshotter of a cluster's CSI drivers; the cluster is not asked.
pub(super) fn open(
    client: kube::Client,
    config: &VolumeProviderConfig,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let settings = Settings::of_snapshotter(config, SETTINGS)?;
    let timeout = settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT);
    Ok(Arc::new(Csi {
        calls: Calls::new(client),
        timing: Timing::new(timeout),
        class: settings.text(CLASS).map(str::to_owned),
        classes: tokio::sync::Mutex::default(),
        wrong: Mutex::default(),
        reminders: Mutex::default(),
    }))
}

/// The snapshotter of a cluster's CSI drivers.
#[derive(Debug)]
struct Csi {
    calls: Calls,
    timing: Timing,
    /// The class that the settings name.
    class: Option<String>,
    /// The cluster's classes and when they were read.
    classes: tokio::sync::Mutex<Option<(Instant, Classes)>>,
    /// Since when something has been wrong with snapshots that are looked at.
    wrong: Mutex<HashMap<SnapshotId, Instant>>,
    reminders: Mutex<Reminders>,
}

/// The classes of a cluster; `None` if it has no VolumeSnapshots.
type Classes = Option<Arc<[Class]>>;

/// What is said where a cluster has no VolumeSnapshots.
const NOT_SERVED: &str = "the cluster has no VolumeSnapshots (snapshot.storage.k8s.io/v1)";

fn not_served() -> SnapshotError {
    SnapshotError::new(
        SnapshotErrorKind::NotSupported,
        format!("{NOT_SERVED}; install their definitions and snapshot-controller"),
    )
}

impl Csi {
    /// Returns the cluster's classes, as they were not long ago.
    async fn served_classes(&self) -> Result<Classes, SnapshotError> {
        // Whoever comes second waits for the first one's answer.
        let mut known = self.classes.lock().await;
        if let Some((read, classes)) = &*known
            && read.elapsed() < CLASSES_LAST
        {
            return Ok(classes.clone());
        }
        let classes: Classes = self.calls.classes().await?.map(Into::into);
        *known = Some((Instant::now(), classes.clone()));
        Ok(classes)
    }

    /// Returns the cluster's classes.
    async fn classes(&self) -> Result<Arc<[Class]>, SnapshotError> {
        self.served_classes().await?.ok_or_else(not_served)
    }

    /// Has a content looked at that is waited for, if that was long ago.
    async fn remind_of(&self, content: &Content) {
        let Some(name) = &content.metadata.name else {
            return;
        };
        let is_due = {
            let reminders = self.reminders.lock();
            let mut reminders = reminders.unwrap_or_else(PoisonError::into_inner);
            reminders.is_due(name, &self.timing, Instant::now())
        };
        if !is_due {
            return;
        }
        // Another value each time.
        let version = &content.metadata.resource_version;
        let patch = json!({ "metadata": { "annotations": { REMINDER: version } } });
        match self.calls.merge_content(name, &patch).await {
            Ok(_) => tracing::debug!(content = name, "csi-snapshotter is reminded of a content"),
            Err(error) => {
                tracing::warn!(content = name, %error, "csi-snapshotter cannot be reminded");
            }
        }
    }

    /// Waits before the next look at a content, which is reminded of if need be.
    async fn pause(&self, waiting: &Waiting, content: Option<&Content>) {
        if let Some(content) = content {
            self.remind_of(content).await;
        }
        waiting.pause().await;
    }

    /// Returns how the snapshot of a content fares.
    fn state(&self, id: &SnapshotId, content: &Content) -> SnapshotState {
        let status = content.status.as_ref();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if status.is_some_and(|status| status.ready_to_use == Some(true)) {
            wrong.remove(id);
            let size = status.and_then(|status| status.restore_size);
            return SnapshotState::Ready {
                size: size
                    .and_then(|size| u64::try_from(size).ok())
                    .filter(|size| *size > 0),
            };
        }
        let word = last_word(content);
        if word == Word::None {
            wrong.remove(id);
            return SnapshotState::Pending(None);
        }
        // It is asked again, and may have been in trouble for a moment.
        let since = *wrong.entry(id.clone()).or_insert_with(Instant::now);
        match word {
            Word::Refusal(why) if since.elapsed() >= self.timing.failure => {
                SnapshotState::Failed(why)
            }
            Word::Refusal(_) | Word::Wrong | Word::None => SnapshotState::Pending(None),
        }
    }
}

#[async_trait]
impl VolumeSnapshotter for Csi {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities {
            find: true,
            states: true,
            ready_within: Some(self.timing.snapshot),
        }
    }

    async fn check(&self) -> Result<(), SnapshotError> {
        // Not what was read before: the cluster may have changed, or our rights.
        let served = self.calls.classes().await?;
        served.map(drop).ok_or_else(not_served)
    }

    async fn fits(&self, volume: Volume<'_>) -> Result<Fit, SnapshotError> {
        let no = |why: &str| Ok(Fit::No(why.to_owned()));
        let (Some(driver), Some(name)) = (make::driver(volume.volume), make::name(volume.volume))
        else {
            return no("it is not a CSI volume");
        };
        let phase =
            |object: &Object| Some(object.get("status")?.get("phase")?.as_str()? == "Bound");
        if volume.claim.is_none() || phase(volume.volume) != Some(true) {
            return no("CSI snapshots are made of claims, and it is bound to none");
        }
        let Some(classes) = self.served_classes().await? else {
            return no(NOT_SERVED);
        };
        // Which one it will be depends on the Backup, too; that there is none does not.
        if !classes.iter().any(|class| class.driver == driver) {
            return Ok(Fit::No(format!(
                "driver {driver} has no VolumeSnapshotClass"
            )));
        }
        Ok(Fit::Volume(VolumeHandle {
            id: VolumeId(name.to_owned()),
            zone: String::new(),
        }))
    }

    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        let found = self.calls.volume(&volume.id.0).await?;
        let source = found.and_then(|found| found.spec?.csi);
        let source = source.ok_or_else(|| {
            let message = format!("PersistentVolume {} is gone, or no CSI volume", volume.id);
            SnapshotError::new(SnapshotErrorKind::NotFound, message)
        })?;
        Ok(VolumeInfo {
            volume_type: source.driver,
            zone: volume.zone.clone(),
            ..VolumeInfo::default()
        })
    }

    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError> {
        self.make(request).await
    }

    async fn find_snapshots(&self, token: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        self.find(token).await
    }

    async fn snapshot_states(
        &self,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError> {
        let handles: Vec<Handle> = snapshots
            .iter()
            .map(Handle::parse)
            .collect::<Result<_, _>>()?;
        let label = match &handles[..] {
            [] => return Ok(Vec::new()),
            [one] => format!("{SNAPSHOT_LABEL}={}", one.label()),
            // One request, however many there are.
            _ => SNAPSHOT_LABEL.to_owned(),
        };
        let contents = self.calls.labelled_contents(&label).await?;
        let mut found: HashMap<SnapshotId, Vec<&Content>> = HashMap::new();
        for content in &contents {
            if let Some(handle) = Handle::of(content) {
                found.entry(handle.id()).or_default().push(content);
            }
        }
        let mut states = Vec::with_capacity(snapshots.len());
        for id in snapshots {
            let own = found.get(id).map(Vec::as_slice).unwrap_or_default();
            let mut settled = true;
            for content in own.iter().filter(|content| make::is_held(content)) {
                settled &= self.settle(content).await?;
            }
            let there = |content: &&&Content| {
                content.metadata.deletion_timestamp.is_none() || make::is_held(content)
            };
            let there = own.iter().find(there);
            let state = match there {
                _ if !settled => SnapshotState::Pending(None),
                Some(content) => self.state(id, content),
                None => SnapshotState::Gone,
            };
            if let (SnapshotState::Pending(_), Some(content)) = (&state, there) {
                self.remind_of(content).await;
            }
            states.push(state);
        }
        Ok(states)
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError> {
        self.remove(snapshot).await
    }

    fn restores(&self) -> Restores<'_> {
        Restores::Claims(self)
    }
}

#[async_trait]
impl FillClaims for Csi {
    async fn offer(&self, request: &SourceRequest<'_>) -> Result<DataSource, SnapshotError> {
        self.make_source(request).await
    }

    async fn withdraw(&self, request: &SourceRequest<'_>) -> Result<(), SnapshotError> {
        self.withdraw_source(request).await
    }
}
