//! Schedule: a backup made again and again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupSpec;
use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// State of a Schedule.
    SchedulePhase {
        /// Not looked at yet.
        New,
        /// Makes backups.
        Enabled,
        /// Refused; `status.validationErrors` says why.
        FailedValidation,
    }
}

/// A backup made again and again.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Schedule",
    namespaced,
    status = "ScheduleStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A backup made again and again.",
    label("component", "ark"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(
        name = "Next Backup",
        type_ = "string",
        json_path = ".status.nextBackup"
    ),
    printcolumn(name = "Last Backup", type_ = "date", json_path = ".status.lastBackup"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleSpec {
    /// The spec of each backup.
    pub template: BackupSpec,
    /// When to make one: a cron expression of five fields, or a descriptor such as `@daily`. Times are UTC unless it
    /// begins with `CRON_TZ=Area/City`.
    pub schedule: String,
    /// Makes no backups while this is set. The times that pass meanwhile are not made up for.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    #[schemars(with = "Option<bool>")]
    pub paused: bool,
    /// Keeps the newest completed backup of this schedule from expiring.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    #[schemars(with = "Option<bool>")]
    pub keep_newest: bool,
}

/// State of a Schedule.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// Whether it makes backups.
    pub phase: SchedulePhase,
    /// When the last backup was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Time>,
    /// The name of the last backup.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_backup_name: String,
    /// Up to when times have been left out, by the last pause of this schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_skipped: Option<Time>,
    /// When the next one is due; unset while the schedule is paused or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_backup: Option<Time>,
    /// Why the schedule was refused.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub validation_errors: Vec<String>,
}
