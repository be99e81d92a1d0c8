//! ServerStatusRequest: a client's question what the server that leads is like.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;
use super::serde_util::null_as_default;

phases! {
    /// How far a ServerStatusRequest has come.
    ServerStatusRequestPhase {
        /// Not looked at yet.
        New,
        /// The server has answered.
        Processed,
    }
}

/// A client's question what the server that leads is like.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "ServerStatusRequest",
    namespaced,
    status = "ServerStatusRequestStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A client's question what the server that leads is like.",
    label("component", "ark"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.serverVersion"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestSpec {}

/// What the server is like.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestStatus {
    /// How far the request has come.
    pub phase: ServerStatusRequestPhase,
    /// When the server answered; it removes the request ten minutes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed_timestamp: Option<Time>,
    /// The server's version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_version: String,
    /// The server's plugins.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<PluginInfo>>")]
    pub plugins: Vec<PluginInfo>,
}

/// A plugin, as the server sees it.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginInfo {
    /// Its name; empty for a program that could not be asked.
    pub name: String,
    /// What it is, such as `ObjectStore`.
    pub kind: String,
    /// Whose protocol it speaks.
    pub protocol: String,
    /// The file of its program.
    pub file: String,
    /// `Ready`, or why it cannot be used.
    pub state: String,
}
