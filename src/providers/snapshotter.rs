//! The port through which the data of persistent volumes is kept: snapshots of a cloud's disks, or those that the
//! cluster's own CSI drivers make.
//!
//! A snapshotter sees one volume or snapshot at a time. Which volumes are snapshot, when, and what is remembered of it,
//! the engines decide. What not every provider can do is a [`SnapshotCapabilities`] flag that a caller asks for
//! beforehand.
//!
//! A snapshot is asked for under a token: 32 lower-case hexadecimal digits that whoever asks has written down before.
//! It stands in the snapshot's tags, so that a snapshot whose answer got lost with the process is found again by it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use crate::api::object::Object;

/// Tags that every snapshot and every volume made from one carries, as far as its provider has tags.
pub mod tags {
    /// The backup's name.
    pub const BACKUP: &str = "ark.heptio.com/backup";
    /// The persistent volume's name.
    pub const VOLUME: &str = "ark.heptio.com/pv";
    /// The id of the cluster that the backup is of.
    pub const CLUSTER: &str = "ark.heptio.com/cluster-id";
    /// The token under which it was asked for.
    pub const TOKEN: &str = "ark.heptio.com/token";
    /// Of a volume that a restore made: the restore's name.
    pub const RESTORE: &str = "ark.heptio.com/restore";
}

/// The provider's id of a volume.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VolumeId(pub String);

/// The provider's id of a snapshot. It says all that is needed to find and remove the snapshot, wherever it is asked for
/// with the location's settings.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SnapshotId(pub String);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a snapshotter can do beyond the basics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnapshotCapabilities {
    /// [`VolumeSnapshotter::find_snapshots`] finds what carries a token.
    pub find: bool,
    /// [`VolumeSnapshotter::snapshot_states`] knows how snapshots fare.
    pub states: bool,
    /// How long after its begin a snapshot may take until it is of use; `None`: it is, however long its data travels.
    pub ready_within: Option<Duration>,
}

/// A PersistentVolume with the claim that it is bound to, as the API server gave them.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'a> {
    /// The PersistentVolume.
    pub volume: &'a Object,
    /// Its PersistentVolumeClaim, if it has one.
    pub claim: Option<&'a Object>,
}

/// Whether a snapshotter is for a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fit {
    /// It is: this is the provider's volume.
    Volume(VolumeHandle),
    /// It is not; why, as the end of "it is not snapshot: ...".
    No(String),
}

/// Which of the provider's volumes a PersistentVolume stands for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VolumeHandle {
    /// The provider's id.
    pub id: VolumeId,
    /// The zone that the PersistentVolume names by label or node affinity; empty if it names none.
    pub zone: String,
}

/// What a volume made from a snapshot has to have in common with the original.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VolumeInfo {
    /// The provider's word for its type.
    pub volume_type: String,
    /// Provisioned operations a second, where the type has them.
    pub iops: Option<i64>,
    /// Provisioned mebibytes a second, where the type has them.
    pub throughput: Option<i64>,
    /// The zone it is in, if the provider says so; empty otherwise.
    pub zone: String,
    /// Its size in bytes, if the provider says so.
    pub size: Option<u64>,
}

/// A snapshot to make.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotRequest<'a> {
    /// The volume.
    pub volume: Volume<'a>,
    /// What [`VolumeSnapshotter::fits`] said of it.
    pub handle: &'a VolumeHandle,
    /// The token, which is one of the tags too.
    pub token: &'a str,
    /// All tags.
    pub tags: &'a BTreeMap<String, String>,
    /// The Backup's annotations.
    pub annotations: &'a BTreeMap<String, String>,
}

/// How a snapshot fares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotState {
    /// Its data still travels; how much of it is through, in percent, if that is known.
    Pending(Option<u8>),
    /// It is whole.
    Ready {
        /// The least size in bytes of a volume made from it, if that is known.
        size: Option<u64>,
    },
    /// It will never be of use; why.
    Failed(String),
    /// There is no such snapshot.
    Gone,
}

/// A volume to make from a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct VolumeRequest<'a> {
    /// The snapshot.
    pub snapshot: &'a SnapshotId,
    /// What it is to be like. Its zone is the one to make it in.
    pub info: &'a VolumeInfo,
    /// Asked for twice under one token, a volume is made once.
    pub token: &'a str,
    /// The tags it gets; where the provider has them, those of the snapshot come beside them.
    pub tags: &'a BTreeMap<String, String>,
}

/// A source of data for a restored claim to be made.
#[derive(Clone, Copy, Debug)]
pub struct SourceRequest<'a> {
    /// The snapshot.
    pub snapshot: &'a SnapshotId,
    /// The namespace of the claim, as it is restored.
    pub namespace: &'a str,
    /// Asked for twice under one token, a source is made once.
    pub token: &'a str,
    /// Labels for what is made.
    pub labels: &'a BTreeMap<String, String>,
}

/// What a restored claim names as the source of its data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DataSource {
    /// The API group.
    pub api_group: String,
    /// The kind.
    pub kind: String,
    /// The name of an object in the claim's namespace.
    pub name: String,
}

/// Makes, finds and removes snapshots of one provider's volumes.
///
/// # Guarantees
/// Every call may be repeated. A snapshot that `create_snapshot` returned holds the volume as it was at some moment
/// during the call; its data may still be travelling.
#[async_trait]
pub trait VolumeSnapshotter: fmt::Debug + Send + Sync + 'static {
    /// Returns what this snapshotter can do beyond the basics.
    fn capabilities(&self) -> SnapshotCapabilities;

    /// Checks that the provider answers and accepts the credentials.
    async fn check(&self) -> Result<(), SnapshotError>;

    /// Returns whether it is for a volume, by what the objects say; the provider is not asked.
    async fn fits(&self, volume: Volume<'_>) -> Result<Fit, SnapshotError>;

    /// Returns what a volume is like.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotFound`] if it is gone.
    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError>;

    /// Makes a snapshot; returns once the volume may change again.
    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError>;

    /// Returns the snapshots that were asked for under a token.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotSupported`] without [`SnapshotCapabilities::find`].
    async fn find_snapshots(&self, token: &str) -> Result<Vec<SnapshotId>, SnapshotError>;

    /// Returns how snapshots fare, in the order in which they are named.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotSupported`] without [`SnapshotCapabilities::states`].
    async fn snapshot_states(
        &self,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError>;

    /// Removes a snapshot; one that is not there is fine.
    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError>;

    /// Returns how data comes back from its snapshots.
    fn restores(&self) -> Restores<'_>;
}

/// How data comes back from snapshots.
#[derive(Clone, Copy, Debug)]
pub enum Restores<'a> {
    /// Into a new volume, which the restored PersistentVolume names.
    Volumes(&'a dyn MakeVolumes),
    /// Into a volume that the cluster makes for the restored claim, which names a source; no PersistentVolume is
    /// restored.
    Claims(&'a dyn FillClaims),
}

/// Makes volumes from snapshots.
#[async_trait]
pub trait MakeVolumes: fmt::Debug + Send + Sync {
    /// Makes a volume; returns once a PersistentVolume may name it.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotFound`] if there is no such snapshot, [`SnapshotErrorKind::NotReady`] if its data still
    /// travels and the provider does not take it yet.
    async fn create_volume(&self, request: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError>;

    /// Has a PersistentVolume stand for another volume.
    async fn set_volume(&self, volume: &mut Object, id: &VolumeId) -> Result<(), SnapshotError>;
}

/// Offers snapshots as sources of data for claims.
#[async_trait]
pub trait FillClaims: fmt::Debug + Send + Sync {
    /// Makes the source of a claim that is about to be restored; returns once a volume can be made of it.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotFound`] if there is no such snapshot, [`SnapshotErrorKind::NotReady`] if its data still
    /// travels, [`SnapshotErrorKind::NotSupported`] if nothing in the cluster can make volumes of it.
    async fn offer(&self, request: &SourceRequest<'_>) -> Result<DataSource, SnapshotError>;

    /// Removes the source that a request made, once the claim has its data; one that is not there is fine.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotReady`] while a claim waits for its data.
    async fn withdraw(&self, request: &SourceRequest<'_>) -> Result<(), SnapshotError>;
}

/// The kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotErrorKind {
    /// The volume or snapshot is not there.
    NotFound,
    /// The snapshot is not whole yet; later it may be.
    NotReady,
    /// The credentials are missing, wrong, expired or not allowed to do this.
    Denied,
    /// The account has had its share.
    Quota,
    /// The provider asks for patience, and has had all of ours.
    Throttled,
    /// The provider does not answer.
    Unreachable,
    /// This provider cannot do that.
    NotSupported,
    /// The settings cannot work.
    Invalid,
    /// Anything else.
    Other,
}

/// A failed call of a snapshotter. Never holds a credential.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SnapshotError {
    /// What callers branch on.
    pub kind: SnapshotErrorKind,
    /// What was tried, on which volume or snapshot, and what to do next.
    pub message: String,
    /// The cause, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SnapshotError {
    /// Makes an error without a cause.
    pub fn new(kind: SnapshotErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}
