//! Azure's resources, as far as they matter here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::providers::rest::Refusal;
use crate::providers::snapshotter::{SnapshotState, VolumeInfo};

/// Azure's gigabyte.
const GIB: u64 = 1 << 30;
/// The types of disks of which only incremental snapshots can be made, and whose speed is set.
const PROVISIONED: [&str; 2] = ["UltraSSD_LRS", "PremiumV2_LRS"];

/// A disk or a snapshot.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) location: String,
    pub(super) tags: BTreeMap<String, String>,
    sku: Sku,
    zones: Vec<String>,
    pub(super) properties: Properties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sku {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Properties {
    provisioning_state: Option<String>,
    disk_size_bytes: Option<u64>,
    #[serde(rename = "diskSizeGB")]
    disk_size_gb: Option<u64>,
    #[serde(rename = "diskIOPSReadWrite")]
    iops: Option<i64>,
    #[serde(rename = "diskMBpsReadWrite")]
    throughput: Option<i64>,
    completion_percent: Option<f64>,
    copy_completion_error: Option<CopyError>,
    pub(super) creation_data: CreationData,
    pub(super) encryption: Encryption,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CreationData {
    pub(super) source_resource_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Encryption {
    pub(super) disk_encryption_set_id: String,
    pub(super) r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CopyError {
    error_code: String,
    error_message: String,
}

/// A page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub(super) value: Vec<Resource>,
    pub(super) next_link: Option<String>,
}

impl Resource {
    /// Returns whether the disk's speed is set, and only incremental snapshots can be made of it.
    pub(super) fn is_provisioned(&self) -> bool {
        PROVISIONED.contains(&self.sku.name.as_str())
    }

    /// Returns the region as zones name it: `West Europe` is `westeurope`.
    pub(super) fn region(&self) -> String {
        self.location.replace(' ', "").to_ascii_lowercase()
    }

    /// Returns what a disk is like.
    pub(super) fn info(&self) -> VolumeInfo {
        let properties = &self.properties;
        let set = |number: Option<i64>| number.filter(|_| self.is_provisioned());
        VolumeInfo {
            volume_type: self.sku.name.clone(),
            iops: set(properties.iops),
            // Azure's megabytes, unlike what this field says, are of ten to the sixth; they come back as they are.
            throughput: set(properties.throughput),
            zone: match self.zones.first() {
                Some(zone) => format!("{}-{zone}", self.region()),
                None => String::new(),
            },
            size: self.size(),
        }
    }

    fn size(&self) -> Option<u64> {
        let properties = &self.properties;
        let in_gb = properties.disk_size_gb.map(|size| size * GIB);
        properties.disk_size_bytes.or(in_gb)
    }

    /// Returns whether what was begun with it is through.
    ///
    /// # Errors
    /// That it has failed; why is not said here.
    pub(super) fn outcome(&self) -> Result<bool, Refusal> {
        match self.properties.provisioning_state.as_deref() {
            None | Some("Succeeded") => Ok(true),
            Some(state @ ("Failed" | "Canceled")) => Err(Refusal {
                code: state.to_owned(),
                ..Refusal::default()
            }),
            Some(_) => Ok(false),
        }
    }

    /// Returns how a snapshot fares.
    pub(super) fn state(&self) -> SnapshotState {
        let properties = &self.properties;
        if let Some(error) = &properties.copy_completion_error {
            let refusal = Refusal {
                code: error.error_code.clone(),
                message: error.error_message.clone(),
                ..Refusal::default()
            };
            return SnapshotState::Failed(refusal.to_string());
        }
        let percent = properties.completion_percent.map(rounded);
        match properties.provisioning_state.as_deref() {
            Some("Deleting") => SnapshotState::Gone,
            Some(state @ ("Failed" | "Canceled")) => {
                SnapshotState::Failed(format!("Azure could not make it (state {state})"))
            }
            None | Some("Succeeded") if percent.is_none_or(|percent| percent == 100) => {
                SnapshotState::Ready { size: self.size() }
            }
            _ => SnapshotState::Pending(percent),
        }
    }
}

/// Returns whole percents; 100 only once there are 100.
fn rounded(percent: f64) -> u8 {
    (0..=100u8)
        .rev()
        .find(|whole| f64::from(*whole) <= percent)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(json: Value) -> Resource {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn disks_are_read() {
        let zonal = resource(json!({
            "location": "West Europe", "zones": ["2"], "sku": {"name": "PremiumV2_LRS", "tier": "Premium"},
            "properties": {"diskSizeGB": 10, "diskIOPSReadWrite": 3000, "diskMBpsReadWrite": 125},
        }));
        assert_eq!(
            zonal.info(),
            VolumeInfo {
                volume_type: "PremiumV2_LRS".into(),
                iops: Some(3000),
                throughput: Some(125),
                zone: "westeurope-2".into(),
                size: Some(10 << 30),
            }
        );
        assert!(zonal.is_provisioned());
        let plain = resource(json!({
            "location": "westeurope", "sku": {"name": "Premium_ZRS"},
            "properties": {"diskSizeBytes": 4096, "diskSizeGB": 1, "diskIOPSReadWrite": 500},
        }));
        let info = plain.info();
        assert_eq!((info.iops, info.size), (None, Some(4096)));
        assert_eq!(info.zone, "");
    }

    #[test]
    fn snapshots_fare() {
        let ready = SnapshotState::Ready { size: None };
        for (properties, expected) in [
            (json!({}), ready.clone()),
            (json!({"provisioningState": "Succeeded"}), ready.clone()),
            (
                json!({"provisioningState": "Succeeded", "completionPercent": 100.0}),
                ready,
            ),
            (
                json!({"provisioningState": "Succeeded", "completionPercent": 99.9}),
                SnapshotState::Pending(Some(99)),
            ),
            (
                json!({"provisioningState": "Creating"}),
                SnapshotState::Pending(None),
            ),
            (
                json!({"provisioningState": "Deleting"}),
                SnapshotState::Gone,
            ),
        ] {
            let snapshot = resource(json!({ "properties": properties }));
            assert_eq!(snapshot.state(), expected, "{properties}");
        }
        for properties in [
            json!({"provisioningState": "Failed"}),
            json!({"provisioningState": "Succeeded", "completionPercent": 10,
                   "copyCompletionError": {"errorCode": "CopySourceNotFound", "errorMessage": "Gone."}}),
        ] {
            let snapshot = resource(json!({ "properties": properties }));
            assert!(
                matches!(snapshot.state(), SnapshotState::Failed(_)),
                "{properties}"
            );
        }
    }

    #[test]
    fn percents() {
        for (percent, expected) in [
            (0.0, 0),
            (0.9, 0),
            (42.5, 42),
            (99.99, 99),
            (100.0, 100),
            (-1.0, 0),
        ] {
            assert_eq!(rounded(percent), expected, "{percent}");
        }
    }
}
