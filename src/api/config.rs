//! Config: where backups go, and how often the server looks at things. Its fields stand at the top level, as Ark had
//! them.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// Whether a Config can be used.
    ConfigPhase {
        /// Not looked at yet.
        New,
        /// The store answers.
        Available,
        /// The store cannot be used; `status.validationErrors` says why.
        Unavailable,
    }
}

/// The server's settings; the one named `default` counts.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Config",
    namespaced,
    no_spec,
    status = "ConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "The server's settings; the one named default counts.",
    label("component", "ark"),
    printcolumn(
        name = "Provider",
        type_ = "string",
        json_path = ".backupStorageProvider.name"
    ),
    printcolumn(
        name = "Bucket",
        type_ = "string",
        json_path = ".backupStorageProvider.bucket"
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigFields {
    /// What snapshots persistent volumes; unset: nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_provider: Option<VolumeProviderConfig>,
    /// What stores backups.
    pub backup_storage_provider: StorageProviderConfig,
    /// How often stored backups are looked for, as a Go duration; 0 or unset means 60m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_sync_period: Option<String>,
    /// How often expired backups are looked for, as a Go duration; 0 or unset means 60m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc_sync_period: Option<String>,
    /// How often schedules are looked at, as a Go duration; 0 or unset means 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_sync_period: Option<String>,
    /// Types to restore before all others, in this order; unset means the built-in order.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub resource_priorities: Vec<String>,
    /// Serves restores only: no backups, schedules or expiry.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    #[schemars(with = "Option<bool>")]
    pub restore_only_mode: bool,
    /// How long file backups of volumes may take; accepted, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_volume_operation_timeout: Option<String>,
}

/// What stores backups.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageProviderConfig {
    /// The provider's name, such as `aws` or `local`.
    pub name: String,
    /// The bucket; for `local` a directory below `config.path`.
    pub bucket: String,
    /// The provider's own settings.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub config: BTreeMap<String, String>,
    /// Where restic repositories were kept; accepted, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restic_location: Option<String>,
}

/// What snapshots persistent volumes.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeProviderConfig {
    /// The provider's name.
    pub name: String,
    /// The provider's own settings.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub config: BTreeMap<String, String>,
}

/// Whether the settings can be used.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigStatus {
    /// Whether the store answers.
    pub phase: ConfigPhase,
    /// Why the settings cannot be used.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub validation_errors: Vec<String>,
}
