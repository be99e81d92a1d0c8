//! BackupStorageLocation: one of several places where backups are kept (Ark 0.10 and later).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StorageProviderConfig;
use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// Whether a location can be used.
    BackupStorageLocationPhase {
        /// Not looked at yet.
        New,
        /// The store answers.
        Available,
        /// The store cannot be used; `status.message` says why.
        Unavailable,
    }
}

phases! {
    /// What a server may do with a location.
    AccessMode {
        /// Anything.
        ReadWrite,
        /// Restores read from it; nothing of its backups is made, changed or removed.
        ReadOnly,
    }
}

/// A place where backups are kept.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "BackupStorageLocation",
    namespaced,
    status = "BackupStorageLocationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A place where backups are kept.",
    label("component", "ark"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(
        name = "Bucket",
        type_ = "string",
        json_path = ".spec.objectStorage.bucket"
    ),
    printcolumn(
        name = "Prefix",
        type_ = "string",
        json_path = ".spec.objectStorage.prefix"
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessMode"),
    printcolumn(
        name = "Last Synced",
        type_ = "date",
        json_path = ".status.lastSyncedTime"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationSpec {
    /// The provider's name, such as `aws` or `local`.
    pub provider: String,
    /// The provider's own settings.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub config: BTreeMap<String, String>,
    /// Where in the provider's store.
    pub object_storage: ObjectStorageLocation,
    /// What a server may do with it; unset means anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    /// Makes this the location of backups that name none, whatever its own name is.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    #[schemars(with = "Option<bool>")]
    pub default: bool,
    /// The credentials of this location; unset: those of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKey>,
    /// How often to look for new backups in it, as a Go duration; unset: as often as everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_sync_period: Option<String>,
}

impl BackupStorageLocationSpec {
    /// Returns what the store's provider needs to open it.
    pub fn store(&self) -> StorageProviderConfig {
        StorageProviderConfig {
            name: self.provider.clone(),
            bucket: self.object_storage.bucket.clone(),
            config: self.config.clone(),
            restic_location: None,
        }
    }

    /// Returns what a server may do with it. A mode that is not known allows least.
    pub fn access(&self) -> AccessMode {
        match &self.access_mode {
            None => AccessMode::ReadWrite,
            Some(mode) => mode.clone(),
        }
    }
}

/// Where in a store.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorageLocation {
    /// The bucket; for `local` a directory below `config.path`.
    pub bucket: String,
    /// What all keys begin with; a `/` follows it.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    #[schemars(with = "Option<String>")]
    pub prefix: String,
}

/// A key of a Secret in Ark's namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// Whether a location can be used, and what has been found in it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationStatus {
    /// Whether the store answers.
    pub phase: BackupStorageLocationPhase,
    /// Why it cannot be used, or what a user should know of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The location's revision at the last look; Ark writes a new one with each change.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_synced_revision: String,
    /// When all of its backups were last looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<Time>,
    /// The ids of the other clusters whose backups it holds.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub other_clusters: Vec<String>,
    /// Which of its backups the cluster cannot show, and why; the first few.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub sync_errors: Vec<String>,
}
