//! VolumeSnapshotLocation: one of several places where volume snapshots are kept (Ark 0.10 and later).

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKey;
use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// Whether a location can be used.
    VolumeSnapshotLocationPhase {
        /// Not looked at yet.
        New,
        /// The provider answers.
        Available,
        /// It cannot be used; `status.message` says why.
        Unavailable,
    }
}

/// A place where volume snapshots are kept.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "VolumeSnapshotLocation",
    namespaced,
    status = "VolumeSnapshotLocationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A place where volume snapshots are kept.",
    label("component", "ark"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationSpec {
    /// The provider's name, such as `aws`.
    pub provider: String,
    /// The provider's own settings.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub config: BTreeMap<String, String>,
    /// The credentials of this location; unset: those of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKey>,
}

/// Whether a location can be used.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationStatus {
    /// Whether the provider answers.
    pub phase: VolumeSnapshotLocationPhase,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
