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
    /// When to make one: a cron expression of five fields, or a descriptor such as `@daily`.
    pub schedule: String,
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
    /// Why the schedule was refused.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub validation_errors: Vec<String>,
}
