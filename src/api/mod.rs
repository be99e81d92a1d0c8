//! The custom resources of `ark.heptio.com/v1`: specs, statuses, phases, labels and the rules that
//! decide whether a request is acceptable.
//!
//! Everything here is plain data and pure functions. This room imports nothing else of the crate;
//! every other room may import it.

#![allow(
    clippy::duplicated_attributes,
    reason = "kube repeats its printcolumn attribute; each has other values"
)]

mod backup;
mod backup_storage_location;
mod config;
pub mod cron;
mod delete_backup_request;
mod download_request;
pub mod duration;
pub mod error;
pub mod filter;
mod modifiers;
pub mod names;
pub mod object;
mod operation;
pub mod order;
mod phase;
mod plan;
pub mod quantity;
mod restore;
mod results;
mod schedule;
pub mod selector;
pub mod serde_util;
mod server_status_request;
pub mod validate;
pub mod volume_policy;
mod volume_snapshot;
mod volume_snapshot_location;

pub use backup::{
    Backup, BackupHooks, BackupPhase, BackupResourceHook, BackupResourceHookSpec, BackupSpec,
    BackupStatus, ExecHook, HookErrorMode, HookOwed, Part, VolumeBackupInfo,
};
pub use backup_storage_location::{
    AccessMode, BackupStorageLocation, BackupStorageLocationPhase, BackupStorageLocationSpec,
    BackupStorageLocationStatus, ObjectStorageLocation, SecretKey,
};
pub use config::{
    Config, ConfigFields, ConfigPhase, ConfigStatus, StorageProviderConfig, VolumeProviderConfig,
};
pub use delete_backup_request::{
    DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
    DeleteBackupRequestStatus,
};
pub use download_request::{
    DownloadRequest, DownloadRequestPhase, DownloadRequestSpec, DownloadRequestStatus,
    DownloadServer, DownloadTarget, DownloadTargetKind,
};
pub use modifiers::{
    ConfigMapRef, JsonPatchOperation, ModifierConditions, ModifierMatch, NamespaceReference,
    PatchData, ResourceModifierRule, ResourceModifiers, RestoreStatusSpec,
};
pub use operation::{OperationCounts, OperationNote, operation_time_limit};
pub use plan::{Difference, PlanAction, PlanItem, RestoreCounts};
pub use restore::{ExistingResourcePolicy, Restore, RestorePhase, RestoreSpec, RestoreStatus};
pub use results::{ResultList, Results};
pub use schedule::{Schedule, SchedulePhase, ScheduleSpec, ScheduleStatus};
pub use server_status_request::{
    PluginInfo, ServerStatusRequest, ServerStatusRequestPhase, ServerStatusRequestSpec,
    ServerStatusRequestStatus,
};
pub use volume_policy::{
    CsiCondition, NfsCondition, VolumeAction, VolumeConditions, VolumePolicies, VolumePolicy,
};
pub use volume_snapshot::{
    SnapshotNote, VolumeSnapshot, VolumeSnapshotPhase, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
pub use volume_snapshot_location::{
    VolumeSnapshotLocation, VolumeSnapshotLocationPhase, VolumeSnapshotLocationSpec,
    VolumeSnapshotLocationStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The API group of all of Ark's custom resources.
pub const GROUP: &str = "ark.heptio.com";
/// The version of the group.
pub const VERSION: &str = "v1";
/// The location that backups go to unless told otherwise: a BackupStorageLocation of this name, else the Config.
pub const DEFAULT_LOCATION: &str = "default";
/// The provider of snapshots that the cluster's CSI drivers make.
pub const CSI_PROVIDER: &str = "csi";
/// The namespace Ark lives in unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "heptio-ark";
/// The field manager named in every write.
pub const FIELD_MANAGER: &str = "ark";

/// Returns the definitions of all of Ark's types.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        Backup::crd(),
        BackupStorageLocation::crd(),
        Config::crd(),
        DeleteBackupRequest::crd(),
        DownloadRequest::crd(),
        Restore::crd(),
        Schedule::crd(),
        ServerStatusRequest::crd(),
        VolumeSnapshotLocation::crd(),
    ]
}

/// Labels and annotations that Ark reads or writes.
pub mod labels {
    /// On restored objects: the restore's name (Ark 0.3 and later).
    pub const RESTORE: &str = "ark-restore";
    /// On restored objects: the restore's name (Ark 0.10 and later).
    pub const RESTORE_NAME: &str = "ark.heptio.com/restore-name";
    /// On restored objects and on delete requests: the backup's name.
    pub const BACKUP_NAME: &str = "ark.heptio.com/backup-name";
    /// On delete requests: the UID of the Backup they are meant for.
    pub const BACKUP_UID: &str = "ark.heptio.com/backup-uid";
    /// On scheduled backups: the schedule's name.
    pub const SCHEDULE: &str = "ark-schedule";
    /// On backups: the location that holds them.
    pub const STORAGE_LOCATION: &str = "ark.heptio.com/storage-location";
    /// Objects with one of these labels set to `true` are left out of backups.
    pub const EXCLUDE_FROM_BACKUP: [&str; 2] = [
        "ark.heptio.com/exclude-from-backup",
        "velero.io/exclude-from-backup",
    ];
    /// Annotation on Backups that sync made: the UID that the stored record carries.
    pub const ORIGIN_UID: &str = "ark.heptio.com/origin-uid";
    /// Annotation on restored objects: the UID of the restore that created them, so that a restore taken over by
    /// another server knows its own work.
    pub const RESTORE_UID: &str = "ark.heptio.com/restore-uid";
    /// Annotation of a Restore: the ConfigMap that its resource modifiers were read from.
    pub const RESOURCE_MODIFIER: &str = "ark.heptio.com/resource-modifier";
    /// Annotation on restores from a schedule: the backup that the server chose.
    pub const CHOSEN_BACKUP: &str = "ark.heptio.com/chosen-backup";
    /// Annotation on backups of a schedule that keeps its newest one: says so to clusters that do not have the schedule.
    pub const KEEP_NEWEST: &str = "ark.heptio.com/keep-newest";
    /// Annotation of a Backup: the ConfigMap that its volume policies were read from.
    pub const VOLUME_POLICIES: &str = "ark.heptio.com/volume-policies";
    /// Annotation of a restored volume that got another name: the one it had.
    pub const ORIGINAL_VOLUME: &str = "ark.heptio.com/original-pv-name";
    /// Annotation of a claim: `true` or `false`, whether its volume is snapshot, whatever policies say.
    pub const SNAPSHOT_VOLUME: &str = "backup.ark.heptio.com/snapshot-volume";
    /// Annotation on Backups that were to be removed and are locked in their bucket: the time until which they stay.
    pub const LOCKED_UNTIL: &str = "ark.heptio.com/locked-until";
    /// Finalizer that Ark 0.7 put on backups. Nobody acts on it any more, so that it is only taken off.
    pub const LEGACY_FINALIZER: &str = "gc.ark.heptio.com";
}

/// How far a run has come; written while it goes on.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Items dealt with so far.
    // Velero's name for it in records of backups.
    #[serde(alias = "itemsBackedUp")]
    pub items_done: u64,
    /// Items known of so far; grows while lists are being read.
    pub total_items: u64,
    /// Operations of item actions that have ended.
    #[serde(skip_serializing_if = "serde_util::is_zero")]
    pub operations_done: u64,
    /// Operations of item actions that were begun.
    #[serde(skip_serializing_if = "serde_util::is_zero")]
    pub total_operations: u64,
}

/// Who carries out a run, and which try it is.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunHolder {
    /// Identity of the server process that works on the run.
    pub holder: String,
    /// 1 for the first try, counted up by each take-over.
    pub attempt: u32,
}
