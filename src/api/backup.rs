//! Backup: what to save, and how saving it went.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;
use super::serde_util::null_as_default;
use super::{
    ConfigMapRef, OperationNote, Progress, RunHolder, SnapshotNote, VolumePolicies, duration,
    labels, names,
};

/// How long a hook may take unless it says otherwise.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

phases! {
    /// How far a Backup has come.
    BackupPhase {
        /// Not looked at yet.
        New,
        /// Refused; `status.validationErrors` says why. Nothing was stored.
        FailedValidation,
        /// A server works on it.
        InProgress,
        /// Everything selected is stored, and operations that item actions have begun are waited for; still in progress.
        WaitingForPluginOperations,
        /// Everything selected is stored.
        Completed,
        /// Stored and committed, but single items are missing; the results name them.
        PartiallyFailed,
        /// Nothing usable was stored; `status.failureReason` says why.
        Failed,
        /// Its stored data is being removed.
        Deleting,
    }
}

impl BackupPhase {
    /// Returns whether the run has ended, in whatever way.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::New | Self::InProgress | Self::WaitingForPluginOperations => false,
            Self::FailedValidation
            | Self::Completed
            | Self::PartiallyFailed
            | Self::Failed
            | Self::Deleting
            | Self::Other(_) => true,
        }
    }

    /// Returns whether a run goes on, or would if its server were there.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::InProgress | Self::WaitingForPluginOperations)
    }

    /// Returns whether there are committed contents that a restore can use.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed)
    }
}

impl Backup {
    /// The version of the format in the records that this program writes.
    pub const OUR_VERSION: i32 = 2;

    /// Returns whether this program made it, as its record says; others' are only read.
    pub fn is_ours(&self) -> bool {
        let status = self.status.as_ref();
        status.and_then(|status| status.version) == Some(Self::OUR_VERSION)
    }

    /// Returns the schedule that made it, if one did.
    pub fn schedule(&self) -> Option<&str> {
        let labels = self.metadata.labels.as_ref()?;
        labels.get(labels::SCHEDULE).map(String::as_str)
    }

    /// Returns until when its bucket keeps it, if it was to be removed before and is locked there.
    pub fn locked_until(&self) -> Option<Timestamp> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(labels::LOCKED_UNTIL)?.parse().ok()
    }

    /// Returns the UID of the Backup that was stored, if sync has made this one of what is stored.
    pub fn origin(&self) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(labels::ORIGIN_UID).map(String::as_str)
    }

    /// Returns whether a UID is its own, or that of the Backup that it shows.
    pub fn is_known_as(&self, uid: &str) -> bool {
        self.metadata.uid.as_deref() == Some(uid) || self.origin() == Some(uid)
    }

    /// Returns the UID that is in its record; empty before it has one.
    pub fn stored_uid(&self) -> &str {
        let uid = self.origin().or(self.metadata.uid.as_deref());
        uid.unwrap_or_default()
    }

    /// Returns whether sync has made it of what is stored.
    pub fn is_synced(&self) -> bool {
        self.origin().is_some()
    }

    /// Returns the phase that it says it has. `None`: sync has made it, and has yet to write that; what is stored alone
    /// counts then.
    pub fn said_phase(&self) -> Option<BackupPhase> {
        let phase = self.status.clone().unwrap_or_default().phase;
        (phase != BackupPhase::New || !self.is_synced()).then_some(phase)
    }

    /// Returns the selector of the backups of a schedule.
    pub fn selector_of_schedule(schedule: &str) -> String {
        format!("{}={}", labels::SCHEDULE, names::label_value(schedule))
    }

    /// Returns the newest completed one of some backups, by when they began.
    pub fn newest_completed<'a>(backups: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        backups
            .into_iter()
            .filter(|backup| {
                let status = backup.status.as_ref();
                status.is_some_and(|status| status.phase == BackupPhase::Completed)
            })
            .max_by_key(|backup| {
                let status = backup.status.as_ref();
                let start = status.and_then(|status| status.start_timestamp.clone());
                (start, backup.metadata.name.clone())
            })
    }
}

/// A backup of a set of cluster objects.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A backup of a set of cluster objects, kept in object storage.",
    label("component", "ark"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Items",
        type_ = "integer",
        json_path = ".status.progress.itemsDone"
    ),
    printcolumn(name = "Warnings", type_ = "integer", json_path = ".status.warnings"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.errors"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiration")
)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Namespaces to take objects from; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_namespaces: Vec<String>,
    /// Types to take, as `resource` or `resource.group`, short names allowed; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_resources: Vec<String>,
    /// Types to leave out.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_resources: Vec<String>,
    /// Takes only objects whose labels match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Whether to snapshot persistent volumes; unset means: if a snapshotter fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// How long to keep the backup, as a Go duration such as `720h0m0s`; 0 or unset keeps it for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Whether to take cluster-scoped objects; unset means: if no namespace is filtered, and whatever else chosen
    /// objects need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Commands to run in pods around their backup.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BackupHooks::is_empty"
    )]
    #[schemars(with = "Option<BackupHooks>")]
    pub hooks: BackupHooks,
    /// The BackupStorageLocation to keep the backup in; empty means the server's default one.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    #[schemars(with = "Option<String>")]
    pub storage_location: String,
    /// The VolumeSnapshotLocations to keep snapshots in, at most one a provider.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub volume_snapshot_locations: Vec<String>,
    /// A ConfigMap with policies that say which volumes are snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<ConfigMapRef>,
    /// Such policies, written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_policies: Option<VolumePolicies>,
    /// How long a CSI snapshot may take until it can be used, as a Go duration; unset means 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_timeout: Option<String>,
    /// How long an operation that an item action has begun may take, as a Go duration; unset means 4h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
    /// Accepts a selection that matches no object; without it such a backup is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_empty: Option<bool>,
}

/// The hooks of a backup.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupHooks {
    /// Rules that say which pods get which commands.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<BackupResourceHookSpec>>")]
    pub resources: Vec<BackupResourceHookSpec>,
}

impl BackupHooks {
    /// Returns whether no hook is given.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// One rule: the objects it is for, and its commands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHookSpec {
    /// The rule's name, for logs and `describe`.
    pub name: String,
    /// Namespaces the rule is for; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_namespaces: Vec<String>,
    /// Namespaces the rule is not for.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_namespaces: Vec<String>,
    /// Types the rule is for; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_resources: Vec<String>,
    /// Types the rule is not for.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_resources: Vec<String>,
    /// The rule is only for objects whose labels match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Deprecated name of `pre`, used when that is empty.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<BackupResourceHook>>")]
    pub hooks: Vec<BackupResourceHook>,
    /// Commands to run before the object is saved.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<BackupResourceHook>>")]
    pub pre: Vec<BackupResourceHook>,
    /// Commands to run after the object and its volumes are saved.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<BackupResourceHook>>")]
    pub post: Vec<BackupResourceHook>,
}

impl BackupResourceHookSpec {
    /// Returns the commands to run before the object is saved: `hooks` counts where `pre` is empty.
    pub fn pre_hooks(&self) -> &[BackupResourceHook] {
        if self.pre.is_empty() {
            &self.hooks
        } else {
            &self.pre
        }
    }

    /// Returns what to call this rule, which stands at `place` (from 0) among its Backup's: its name, else its number.
    pub fn display_name(&self, place: usize) -> String {
        if self.name.is_empty() {
            (place + 1).to_string()
        } else {
            self.name.clone()
        }
    }
}

/// One hook.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHook {
    /// Runs a command in a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecHook>,
}

/// A command in a container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHook {
    /// The container; the pod's first one if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The command and its arguments.
    #[serde(deserialize_with = "null_as_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Vec<String>,
    /// What an error means: `Fail` (the default) or `Continue`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub on_error: String,
    /// How long to wait, as a Go duration; 30s if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// What a hook's failure means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HookErrorMode {
    /// The object is not saved.
    #[default]
    Fail,
    /// It is only noted.
    Continue,
}

impl ExecHook {
    /// Returns what a failure of this hook means.
    ///
    /// # Errors
    /// A sentence about a word that means nothing.
    pub fn error_mode(&self) -> Result<HookErrorMode, String> {
        match self.on_error.as_str() {
            "" | "Fail" => Ok(HookErrorMode::Fail),
            "Continue" => Ok(HookErrorMode::Continue),
            word => Err(format!(
                "{word:?} does not say what an error means; write Fail or Continue"
            )),
        }
    }

    /// Returns how long this hook may take. As with Ark, 0 stands for the default.
    ///
    /// # Errors
    /// A sentence about a text that is no duration.
    pub fn time_limit(&self) -> Result<Duration, String> {
        let limit = self.timeout.as_deref().map(duration::parse).transpose()?;
        Ok(limit
            .filter(|limit| !limit.is_zero())
            .unwrap_or(HOOK_TIMEOUT))
    }
}

/// A pod whose pre hooks have run, or were about to, and whose post hooks have yet to run.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct HookOwed {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
}

/// How a Backup went.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Version of the stored format; 1 for Ark up to 0.10, 2 for this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Full version of the stored format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// When the backup expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// How far it has come.
    pub phase: BackupPhase,
    /// Why the request was refused.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub validation_errors: Vec<String>,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Number of warnings; the results part holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<u64>,
    /// Number of errors; the results part holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    /// How far the run has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Who carries the run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunHolder>,
    /// Id of the cluster that made the backup: the UID of its `kube-system` namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The stored parts that count.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<Part>>")]
    pub parts: Vec<Part>,
    /// Number of volumes to snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshots_attempted: Option<u64>,
    /// Number of volumes whose snapshot succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshots_completed: Option<u64>,
    /// Number of volumes that were not to be snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes_skipped: Option<u64>,
    /// Snapshots that no stored record names: those of a run that goes on, or that could not be removed after one that
    /// failed. If the server dies, the next one removes them.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<SnapshotNote>>")]
    pub snapshots_pending: Vec<SnapshotNote>,
    /// Operations of item actions that have not ended. If the server dies, the next one cancels them.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<OperationNote>>")]
    pub operations_pending: Vec<OperationNote>,
    /// Number of operations that item actions began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_attempted: Option<u64>,
    /// Number of those that ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_completed: Option<u64>,
    /// Number of those that failed or took too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_failed: Option<u64>,
    /// Pods whose post hooks have yet to run. If the server dies, the next one runs them before anything else.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<HookOwed>>")]
    pub hooks_owed: Vec<HookOwed>,
    /// Number of hooks that were to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks_attempted: Option<u64>,
    /// Number of hooks that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks_failed: Option<u64>,
    /// Snapshots by the name of their persistent volume, as Ark up to 0.9 recorded them; only read.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, VolumeBackupInfo>>")]
    pub volume_backups: BTreeMap<String, VolumeBackupInfo>,
}

/// One stored part of a backup.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part {
    /// Its key in the location, without the location's prefix.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// A volume's snapshot, as Ark up to 0.9 recorded it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeBackupInfo {
    /// The provider's id of the snapshot.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The provider's word for the volume's type.
    #[serde(rename = "type")]
    pub volume_type: String,
    /// The zone the volume was in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability_zone: String,
    /// Provisioned operations a second, where the type has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_sync_has_yet_to_finish_says_no_phase() {
        let new = Backup::default();
        let mut synced = Backup::default();
        synced.metadata.annotations =
            Some([(labels::ORIGIN_UID.to_owned(), "u".to_owned())].into());
        let mut finished = synced.clone();
        finished.status = Some(BackupStatus {
            phase: BackupPhase::Completed,
            ..BackupStatus::default()
        });
        for (backup, expected) in [
            (&new, Some(BackupPhase::New)),
            (&synced, None),
            (&finished, Some(BackupPhase::Completed)),
        ] {
            assert_eq!(backup.said_phase(), expected, "{backup:?}");
        }
    }

    #[test]
    fn hooks_fail_after_30_seconds_unless_they_say_otherwise() {
        for (on_error, timeout, mode, seconds) in [
            ("", None, Ok(HookErrorMode::Fail), Ok(30)),
            ("Fail", Some("0s"), Ok(HookErrorMode::Fail), Ok(30)),
            ("Continue", Some("3m"), Ok(HookErrorMode::Continue), Ok(180)),
            ("continue", Some("soon"), Err(()), Err(())),
        ] {
            let hook = ExecHook {
                on_error: on_error.into(),
                timeout: timeout.map(str::to_owned),
                ..ExecHook::default()
            };
            assert_eq!(hook.error_mode().map_err(drop), mode, "{on_error}");
            let limit = hook.time_limit().map(|limit| limit.as_secs());
            assert_eq!(limit.map_err(drop), seconds, "{timeout:?}");
        }
    }
}
