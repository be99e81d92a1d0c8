//! What a backup did with one persistent volume: an element of its `volumesnapshots` part, in the form of Ark 0.10 and
//! Velero with fields of our own beside theirs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VolumeBackupInfo;
use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// What became of a volume's data.
    VolumeSnapshotPhase {
        /// Nothing yet.
        New,
        /// It is snapshot, and its data still travelled when the backup was recorded.
        InProgress,
        /// It is snapshot.
        Completed,
        /// It was to be snapshot and is not; `status.message` says why.
        Failed,
        /// It was not to be snapshot; `status.message` says why.
        Skipped,
    }
}

/// One volume of a backup.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct VolumeSnapshot {
    /// What was to be snapshot.
    pub spec: VolumeSnapshotSpec,
    /// What became of that.
    pub status: VolumeSnapshotStatus,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// The backup's name.
    pub backup_name: String,
    /// The backup's UID.
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// The VolumeSnapshotLocation whose settings the snapshot is found with; empty where the cluster's CSI drivers make
    /// snapshots without one.
    pub location: String,
    /// That location's provider; empty in what others wrote.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The PersistentVolume's name.
    // Capitalised by accident in Ark 0.10.
    #[serde(alias = "PersistentVolumeName")]
    pub persistent_volume_name: String,
    /// Its claim, as `namespace/name`; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim: String,
    /// The provider's id of the volume.
    #[serde(rename = "providerVolumeID")]
    pub provider_volume_id: String,
    /// The provider's word for its type.
    pub volume_type: String,
    /// The zone it was in.
    #[serde(rename = "volumeAZ", deserialize_with = "null_as_default")]
    pub volume_az: String,
    /// Provisioned operations a second, where the type has them.
    #[serde(rename = "volumeIOPS")]
    pub volume_iops: Option<i64>,
    /// Provisioned mebibytes a second, where the type has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_throughput: Option<i64>,
    /// The token in the snapshot's tags.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
}

/// What became of a volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The provider's id of the snapshot.
    #[serde(
        rename = "providerSnapshotID",
        skip_serializing_if = "String::is_empty"
    )]
    pub provider_snapshot_id: String,
    /// What became of it.
    pub phase: VolumeSnapshotPhase,
    /// Why, where it is not snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The least size in bytes of a volume made from the snapshot, if the provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl VolumeSnapshot {
    /// Returns what Ark up to 0.9 recorded of a volume in this form.
    pub fn of_early(persistent_volume: &str, info: &VolumeBackupInfo) -> Self {
        Self {
            spec: VolumeSnapshotSpec {
                persistent_volume_name: persistent_volume.to_owned(),
                volume_type: info.volume_type.clone(),
                volume_az: info.availability_zone.clone(),
                volume_iops: info.iops,
                ..VolumeSnapshotSpec::default()
            },
            status: VolumeSnapshotStatus {
                provider_snapshot_id: info.snapshot_id.clone(),
                phase: VolumeSnapshotPhase::Completed,
                ..VolumeSnapshotStatus::default()
            },
        }
    }

    /// Returns whether there is a snapshot to restore from.
    pub fn has_data(&self) -> bool {
        !self.status.provider_snapshot_id.is_empty()
            && self.status.phase != VolumeSnapshotPhase::Failed
    }
}

/// A snapshot that was asked for, or is about to be, and that no stored record names yet: kept in the Backup's status,
/// so that it is found and removed whatever becomes of the server.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotNote {
    /// The token in its tags.
    pub token: String,
    /// The PersistentVolume.
    pub persistent_volume: String,
    /// The VolumeSnapshotLocation; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// The location's provider.
    pub provider: String,
    /// The provider's id of the snapshot, once it is known.
    #[serde(rename = "snapshotID", skip_serializing_if = "String::is_empty")]
    pub snapshot_id: String,
}
