//! Compute Engine's resources, as far as they matter here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::providers::rest::{CallError, Refusal};
use crate::providers::snapshotter::{SnapshotState, VolumeInfo};
use crate::providers::volumes::joined;

/// Google's gigabyte.
const GIB: u64 = 1 << 30;

/// A disk, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DiskResource {
    pub(super) status: String,
    pub(super) description: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The URL of its type.
    pub(super) r#type: String,
    pub(super) zone: String,
    pub(super) replica_zones: Vec<String>,
    /// Numbers, which the API writes as text.
    pub(super) size_gb: String,
    pub(super) provisioned_iops: String,
    pub(super) provisioned_throughput: String,
    pub(super) source_snapshot: String,
}

impl DiskResource {
    /// Returns what the disk is like.
    pub(super) fn info(&self) -> VolumeInfo {
        let zones: BTreeSet<String> = match self.replica_zones.as_slice() {
            [] => [last(&self.zone).to_owned()].into(),
            zones => zones.iter().map(|zone| last(zone).to_owned()).collect(),
        };
        VolumeInfo {
            volume_type: self.r#type.clone(),
            iops: number(&self.provisioned_iops),
            throughput: number(&self.provisioned_throughput),
            zone: joined(&zones),
            size: number(&self.size_gb).map(|size: u64| size * GIB),
        }
    }
}

/// A snapshot, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SnapshotResource {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) description: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) source_disk: String,
    pub(super) disk_size_gb: String,
    pub(super) snapshot_encryption_key: Key,
}

impl SnapshotResource {
    /// Returns how the snapshot fares.
    pub(super) fn state(&self) -> SnapshotState {
        match self.status.as_str() {
            "READY" => SnapshotState::Ready {
                size: number(&self.disk_size_gb).map(|size: u64| size * GIB),
            },
            "FAILED" => {
                SnapshotState::Failed("Google could not make it (status FAILED)".to_owned())
            }
            "DELETING" => SnapshotState::Gone,
            _ => SnapshotState::Pending(None),
        }
    }
}

/// What something is encrypted with.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Key {
    /// The customer's key, if it is one of the key service, with its version.
    pub(super) kms_key_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub(super) items: Vec<SnapshotResource>,
    pub(super) next_page_token: Option<String>,
}

/// Something that was begun.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Operation {
    pub(super) name: String,
    status: String,
    error: Errors,
    http_error_status_code: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OneError {
    code: String,
    message: String,
}

impl Operation {
    /// Returns whether it is through.
    pub(super) fn outcome(&self) -> Result<bool, CallError> {
        if self.status != "DONE" {
            return Ok(false);
        }
        let Some(error) = self.error.errors.first() else {
            return Ok(true);
        };
        Err(CallError::Refused(Refusal {
            status: self.http_error_status_code,
            code: error.code.clone(),
            message: error.message.clone(),
            retry_after: None,
        }))
    }
}

/// Returns the last segment of a URL.
pub(super) fn last(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Reads a number that the API writes as text; 0 means that there is none.
fn number<T: std::str::FromStr + PartialEq + Default>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_tell_how_they_ended() {
        let outcome = |json: &str| {
            let operation: Operation = serde_json::from_str(json).unwrap();
            operation.outcome()
        };
        for status in ["PENDING", "RUNNING"] {
            let json = format!(r#"{{"name": "o", "status": "{status}", "progress": 0}}"#);
            assert!(!outcome(&json).unwrap());
        }
        assert!(outcome(r#"{"name": "o", "status": "DONE"}"#).unwrap());
        let failed = outcome(
            r#"{"name": "o", "status": "DONE", "httpErrorStatusCode": 403, "httpErrorMessage": "FORBIDDEN",
                "error": {"errors": [{"code": "QUOTA_EXCEEDED", "message": "No more."}]}}"#,
        );
        let Err(CallError::Refused(refusal)) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(refusal.to_string(), "status 403 QUOTA_EXCEEDED: No more");
    }

    #[test]
    fn disks_are_read() {
        let disk = |json: serde_json::Value| {
            let disk: DiskResource = serde_json::from_value(json).unwrap();
            disk.info()
        };
        let url = |path: &str| format!("https://www.googleapis.com/compute/v1/projects/p/{path}");
        let kind = url("zones/us-east1-b/diskTypes/hyperdisk-balanced");
        assert_eq!(
            disk(serde_json::json!({
                "type": kind, "zone": url("zones/us-east1-b"), "sizeGb": "10",
                "provisionedIops": "3000", "provisionedThroughput": "140",
            })),
            VolumeInfo {
                volume_type: kind,
                iops: Some(3000),
                throughput: Some(140),
                zone: "us-east1-b".into(),
                size: Some(10 << 30),
            }
        );
        let regional = disk(serde_json::json!({
            "region": url("regions/us-east1"),
            "replicaZones": [url("zones/us-east1-c"), url("zones/us-east1-b")],
            "provisionedIops": "0",
        }));
        assert_eq!(regional.zone, "us-east1-b__us-east1-c");
        assert_eq!((regional.iops, regional.size), (None, None));
    }

    #[test]
    fn snapshots_fare() {
        let state = |status: &str| {
            SnapshotResource {
                status: status.to_owned(),
                disk_size_gb: "2".to_owned(),
                ..SnapshotResource::default()
            }
            .state()
        };
        for status in ["CREATING", "UPLOADING"] {
            assert_eq!(state(status), SnapshotState::Pending(None), "{status}");
        }
        let size = Some(2 << 30);
        assert_eq!(state("READY"), SnapshotState::Ready { size });
        assert_eq!(state("DELETING"), SnapshotState::Gone);
        assert!(matches!(state("FAILED"), SnapshotState::Failed(_)));
    }
}
