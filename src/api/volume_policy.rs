//! Volume policies: which persistent volumes a backup snapshots. The words are those of Velero's resource policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity;
use super::serde_util::null_as_default;

/// A list of policies, as a ConfigMap's only value or a file holds it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumePolicies {
    /// The format's version, `v1`.
    pub version: String,
    /// The policies; the first that fits a volume decides.
    #[serde(default, deserialize_with = "null_as_default")]
    pub volume_policies: Vec<VolumePolicy>,
}

impl VolumePolicies {
    /// Returns what is wrong with them, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.version != "v1" {
            problems.push(format!(
                "volume policies: version {:?} is not known; write v1",
                self.version
            ));
        }
        for (place, policy) in self.volume_policies.iter().enumerate() {
            let place = place + 1;
            match policy.action.kind.as_str() {
                "snapshot" | "skip" => {}
                "fs-backup" => problems.push(format!(
                    "volume policies, policy {place}: fs-backup copies files in pods, which this ark does not do; write \
                     snapshot or skip"
                )),
                other => problems.push(format!(
                    "volume policies, policy {place}: there is no action {other:?}; write snapshot or skip"
                )),
            }
            if let Some(Err(problem)) = policy.conditions.capacity.as_deref().map(capacity) {
                problems.push(format!(
                    "volume policies, policy {place}: capacity: {problem}"
                ));
            }
        }
        problems
    }
}

/// Which volumes a policy is for, and what is done with them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumePolicy {
    /// Which volumes; all that is given has to fit, and nothing given fits every volume.
    pub conditions: VolumeConditions,
    /// What is done with them.
    pub action: VolumeAction,
}

/// What is done with a volume.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeAction {
    /// `snapshot` or `skip`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Which volumes a policy is for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeConditions {
    /// Sizes, from and to, as in `10Gi,100Gi`; either may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// Storage classes, any of them; `""` is that of volumes without one.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub storage_class: Vec<String>,
    /// Volumes of a CSI driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi: Option<CsiCondition>,
    /// Volumes on NFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NfsCondition>,
    /// The names of volume sources in a PersistentVolume's spec, such as `csi`, `nfs` or `hostPath`; any of them.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub volume_types: Vec<String>,
    /// Labels of the claim, all of them.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub pvc_labels: BTreeMap<String, String>,
    /// Phases of the claim, any of them.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pvc_phase: Vec<String>,
}

/// Volumes of a CSI driver.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CsiCondition {
    /// The driver; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Attributes of the volume, all of them.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub volume_attributes: BTreeMap<String, String>,
}

/// Volumes on NFS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NfsCondition {
    /// The server; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// The path; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// Reads a range of sizes in bytes: `from,to`, either of which may be missing.
///
/// # Errors
/// A sentence.
pub fn capacity(text: &str) -> Result<(Option<u64>, Option<u64>), String> {
    let Some((from, to)) = text.split_once(',') else {
        return Err(format!(
            "{text:?} is no range; write two sizes, as in 10Gi,100Gi, or leave one out"
        ));
    };
    let size = |text: &str| match text.trim() {
        "" => Ok(None),
        size => quantity::bytes(size).map(Some),
    };
    let (from, to) = (size(from)?, size(to)?);
    match (from, to) {
        (Some(low), Some(high)) if low > high => Err(format!("{text:?} begins above its end")),
        range => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_that_mean_nothing_are_named() {
        let one = |conditions: serde_json::Value, action: &str| json!({"version": "v1", "volumePolicies": [{"conditions": conditions, "action": {"type": action}}]});
        for (policies, expected) in [
            (one(json!({"capacity": "1Gi,"}), "skip"), None),
            (one(json!({}), "snapshot"), None),
            (json!({"version": "v2"}), Some("\"v2\" is not known")),
            (one(json!({}), "fs-backup"), Some("policy 1: fs-backup")),
            (
                one(json!({}), "keep"),
                Some("policy 1: there is no action \"keep\""),
            ),
            (one(json!({"capacity": "1Gi"}), "skip"), Some("is no range")),
            (
                one(json!({"capacity": "2Gi,1Gi"}), "skip"),
                Some("begins above its end"),
            ),
            (one(json!({"capacity": "big,"}), "skip"), Some("is no size")),
        ] {
            let policies: VolumePolicies = serde_json::from_value(policies).unwrap();
            let problems = policies.problems();
            assert_eq!(
                problems.len(),
                usize::from(expected.is_some()),
                "{problems:?}"
            );
            if let Some(expected) = expected {
                assert!(problems[0].contains(expected), "{problems:?}");
            }
        }
        let misspelt = one(json!({"storageClasses": ["fast"]}), "skip");
        assert!(serde_json::from_value::<VolumePolicies>(misspelt).is_err());
    }
}
