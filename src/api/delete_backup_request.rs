//! DeleteBackupRequest: the wish to remove a backup with all that is stored of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// How far a DeleteBackupRequest has come.
    DeleteBackupRequestPhase {
        /// Not looked at yet.
        New,
        /// Being carried out.
        InProgress,
        /// Done; `status.errors` says what could not be removed.
        Processed,
    }
}

/// The wish to remove a backup with all that is stored of it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "DeleteBackupRequest",
    namespaced,
    status = "DeleteBackupRequestStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "The wish to remove a backup with all that is stored of it.",
    label("component", "ark"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backupName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// The backup to remove.
    pub backup_name: String,
    /// Whether the snapshots of its volumes stay where they are. Nothing knows of them after that.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    #[schemars(with = "Option<bool>")]
    pub keep_snapshots: bool,
}

/// How the removal went.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestStatus {
    /// How far it has come.
    pub phase: DeleteBackupRequestPhase,
    /// What could not be removed, and why.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub errors: Vec<String>,
    /// When it was through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
}
