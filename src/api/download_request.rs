//! DownloadRequest: a client's wish to read one stored file.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;

phases! {
    /// How far a DownloadRequest has come.
    DownloadRequestPhase {
        /// Not looked at yet.
        New,
        /// `status.downloadURL` is there, or `status.message` says why there is none.
        Processed,
    }
}

phases! {
    /// The kind of file to download.
    DownloadTargetKind {
        /// A backup's log.
        BackupLog,
        /// A backup's objects.
        BackupContents,
        /// A restore's log.
        RestoreLog,
        /// A restore's warnings and errors.
        RestoreResults,
        /// What a dry run would do, an object a line.
        RestorePlan,
        /// A backup's volume snapshots.
        BackupVolumeSnapshots,
        /// A backup's warnings and errors.
        BackupResults,
    }
}

/// A client's wish to read one stored file.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "DownloadRequest",
    namespaced,
    status = "DownloadRequestStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A client's wish to read one stored file.",
    label("component", "ark"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestSpec {
    /// What to download.
    pub target: DownloadTarget,
}

/// What to download.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadTarget {
    /// The kind of file.
    pub kind: DownloadTargetKind,
    /// The backup's or restore's name.
    pub name: String,
}

/// Where the file can be read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestStatus {
    /// How far the request has come.
    pub phase: DownloadRequestPhase,
    /// A URL that serves the file until `expiration`.
    #[serde(rename = "downloadURL", skip_serializing_if = "String::is_empty")]
    pub download_url: String,
    /// When the URL ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// The server that serves the same file, for clients that cannot reach `downloadURL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<DownloadServer>,
    /// Why there is nothing to download, or which of the links could not be made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A server that serves the file itself; reached by a port-forward to its pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadServer {
    /// The pod, in the request's namespace; empty where the server runs in none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The port it listens on.
    pub port: u16,
    /// The signed path; whoever has it can read the file until `expiration`. With `?follow=true` after it, the log of a
    /// run that goes on is followed to the run's end.
    pub path: String,
}
