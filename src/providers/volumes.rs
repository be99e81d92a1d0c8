//! What the snapshotters of cloud disks read in a PersistentVolume alike, and how they name what they make.

use std::collections::BTreeSet;

use serde_json::Value;
#[cfg(any(feature = "gcp", feature = "azure"))]
use sha2::{Digest as _, Sha256};

use super::snapshotter::{Object, SnapshotErrorKind, SnapshotState};

/// The labels that name a volume's zone, today's first.
const ZONE_LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];
/// What stands between the zones of a volume that is in several, in a label.
const BETWEEN_ZONES: &str = "__";

/// Returns a value inside an object by a path such as `/spec/csi/driver`.
pub(super) fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix('/')?;
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let value = object.get(first)?;
    if rest.is_empty() {
        return Some(value);
    }
    value.pointer(&format!("/{rest}"))
}

/// Returns a text inside an object; one that is empty counts as missing.
pub(super) fn text<'a>(object: &'a Object, path: &str) -> Option<&'a str> {
    at(object, path)?.as_str().filter(|text| !text.is_empty())
}

/// Writes a text into a part of an object that is there; returns `false` if it is not.
pub(super) fn set_text(object: &mut Object, spec: &str, name: &str, value: &str) -> bool {
    let part = object
        .get_mut("spec")
        .and_then(|whole| whole.get_mut(spec))
        .and_then(Value::as_object_mut);
    let Some(part) = part else {
        return false;
    };
    part.insert(name.to_owned(), value.into());
    true
}

/// Returns the zones that a PersistentVolume names, by label or else by node affinity, where `topology` is its driver's
/// own key. They are in order.
pub(super) fn zones(volume: &Object, topology: &str) -> BTreeSet<String> {
    let labels = at(volume, "/metadata/labels");
    let labelled = ZONE_LABELS
        .iter()
        .filter_map(|name| labels?.get(name)?.as_str())
        .find(|zones| !zones.is_empty());
    if let Some(zones) = labelled {
        return split(zones);
    }
    let terms = at(volume, "/spec/nodeAffinity/required/nodeSelectorTerms");
    list(terms)
        .flat_map(|term| list(term.get("matchExpressions")))
        .filter(|rule| rule.get("operator").and_then(Value::as_str) == Some("In"))
        .filter(|rule| {
            let key = rule.get("key").and_then(Value::as_str).unwrap_or_default();
            key == topology || ZONE_LABELS.contains(&key)
        })
        .flat_map(|rule| list(rule.get("values")))
        .filter_map(Value::as_str)
        .filter(|zone| !zone.is_empty())
        .map(str::to_owned)
        .collect()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Returns the zones in a text such as `europe-west1-b__europe-west1-c`, in order.
pub(super) fn split(zones: &str) -> BTreeSet<String> {
    let zones = zones.split(BETWEEN_ZONES).filter(|zone| !zone.is_empty());
    zones.map(str::to_owned).collect()
}

/// Returns zones as one text.
#[cfg(any(feature = "gcp", test))]
pub(super) fn joined(zones: &BTreeSet<String>) -> String {
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    zones.join(BETWEEN_ZONES)
}

/// Returns the name of the snapshot of a disk under a token: the same each time, another for each disk and token, of at
/// most `longest` characters. It ends with the token.
#[cfg(any(feature = "gcp", feature = "azure"))]
pub(super) fn snapshot_name(disk: &str, token: &str, longest: usize) -> String {
    let room = longest.saturating_sub(token.len() + 1);
    if disk.len() <= room {
        return format!("{disk}-{token}");
    }
    // Names of disks that one provisioner made begin alike.
    let digest = Sha256::digest(disk);
    let digest = format!(
        "{:02x}{:02x}{:02x}{:02x}",
        digest[0], digest[1], digest[2], digest[3]
    );
    let kept: String = disk
        .chars()
        .take(room.saturating_sub(digest.len() + 1))
        .collect();
    format!("{}-{digest}-{token}", kept.trim_end_matches(['-', '_']))
}

/// Checks that a volume can be made from a snapshot that fares so.
///
/// # Errors
/// What keeps it from that; the sentence is an end.
pub(super) fn usable(state: SnapshotState) -> Result<(), (SnapshotErrorKind, String)> {
    Err(match state {
        SnapshotState::Ready { .. } => return Ok(()),
        SnapshotState::Pending(_) => (
            SnapshotErrorKind::NotReady,
            "its data still travels; try again later".to_owned(),
        ),
        SnapshotState::Gone => (SnapshotErrorKind::NotFound, "it is not there".to_owned()),
        SnapshotState::Failed(why) => (
            SnapshotErrorKind::Other,
            format!("the snapshot has failed: {why}"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn parts_of_objects() {
        let mut volume = object(json!({"spec": {"csi": {"driver": "d", "fsType": ""}}}));
        assert_eq!(text(&volume, "/spec/csi/driver"), Some("d"));
        assert_eq!(text(&volume, "/spec/csi/fsType"), None);
        assert_eq!(text(&volume, "/spec/nfs/server"), None);
        assert!(at(&volume, "/spec").is_some_and(Value::is_object));
        assert!(set_text(&mut volume, "csi", "volumeHandle", "v"));
        assert_eq!(text(&volume, "/spec/csi/volumeHandle"), Some("v"));
        assert!(!set_text(&mut volume, "nfs", "server", "s"));
    }

    #[test]
    fn zones_come_from_labels_then_from_affinity() {
        let affinity = |key: &str, values: &[&str]| {
            json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{
                "matchExpressions": [
                    {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
                    {"key": key, "operator": "In", "values": values},
                ],
            }]}}}})
        };
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let mut both = affinity("topology.driver/zone", &["c"]);
        both["metadata"] = json!({"labels": {"topology.kubernetes.io/zone": "a"}});
        for (what, volume, expected) in [
            ("nothing", json!({}), ""),
            (
                "today's label",
                labels(
                    json!({"topology.kubernetes.io/zone": "a", "failure-domain.beta.kubernetes.io/zone": "b"}),
                ),
                "a",
            ),
            (
                "the old label",
                labels(json!({"failure-domain.beta.kubernetes.io/zone": "b__a"})),
                "a__b",
            ),
            (
                "an empty label",
                labels(json!({"topology.kubernetes.io/zone": ""})),
                "",
            ),
            (
                "the driver's key",
                affinity("topology.driver/zone", &["b", "a", "b"]),
                "a__b",
            ),
            (
                "the common key",
                affinity("topology.kubernetes.io/zone", &["a"]),
                "a",
            ),
            (
                "another driver's key",
                affinity("topology.other/zone", &["a"]),
                "",
            ),
            ("an empty zone", affinity("topology.driver/zone", &[""]), ""),
            ("the label wins", both, "a"),
        ] {
            let found = zones(&object(volume), "topology.driver/zone");
            assert_eq!(joined(&found), expected, "{what}");
        }
    }

    #[test]
    fn names_fit_and_differ() {
        let token = "0123456789abcdef0123456789abcdef";
        let long = |end: &str| format!("gke-a-cluster-with-a-name-0123456-pvc-{end}");
        for (disk, longest, expected) in [
            ("data", 63, format!("data-{token}")),
            (&"x".repeat(30), 63, format!("{}-{token}", "x".repeat(30))),
            (&long("a"), 80, format!("{}-{token}", long("a"))),
        ] {
            assert_eq!(snapshot_name(disk, token, longest), expected);
        }
        let names: BTreeSet<String> = ["a", "b", "c"]
            .iter()
            .map(|end| snapshot_name(&long(end), token, 63))
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        for name in names {
            assert!(
                name.len() <= 63 && name.ends_with(&format!("-{token}")),
                "{name}"
            );
            assert!(name.starts_with("gke-a-cluster-with-a"), "{name}");
        }
        let cut_at_a_dash = format!("{}-{}", "x".repeat(20), "y".repeat(20));
        let name = snapshot_name(&cut_at_a_dash, token, 63);
        assert!(!name.contains("--"), "{name}");
    }
}
