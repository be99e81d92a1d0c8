//! How disks and snapshots are named: by Azure Resource Manager, and in a PersistentVolume.

use std::fmt;

use crate::providers::snapshotter::Object;
use crate::providers::volumes::{at, set_text, text, zones};

/// The CSI driver whose volumes are managed disks.
const DRIVER: &str = "disk.csi.azure.com";
/// What the driver says of a node's zone.
const TOPOLOGY: &str = "topology.disk.csi.azure.com/zone";

/// A resource group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Group {
    pub(super) subscription: String,
    pub(super) name: String,
}

/// What a resource is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Disk,
    Snapshot,
}

impl Kind {
    /// Returns the segment of a path for it.
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::Disk => "disks",
            Self::Snapshot => "snapshots",
        }
    }
}

/// A disk or a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Id {
    pub(super) group: Group,
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// Azure's names do not mind their case.
impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        self.kind == other.kind
            && same(&self.group.subscription, &other.group.subscription)
            && same(&self.group.name, &other.group.name)
            && same(&self.name, &other.name)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/{}/{}",
            self.group.subscription,
            self.group.name,
            self.kind.segment(),
            self.name
        )
    }
}

impl Id {
    /// Makes one from a name.
    pub(super) fn new(group: &Group, kind: Kind, name: impl Into<String>) -> Self {
        Self {
            group: group.clone(),
            kind,
            name: name.into(),
        }
    }

    /// Reads `/subscriptions/S/resourceGroups/R/providers/Microsoft.Compute/disks/N` or `.../snapshots/N`.
    pub(super) fn parse(text: &str, kind: Kind) -> Option<Self> {
        // Azure gives back some without the slash at the beginning.
        let segments: Vec<&str> = text.trim_start_matches('/').split('/').collect();
        let form = [
            "subscriptions",
            "",
            "resourceGroups",
            "",
            "providers",
            "Microsoft.Compute",
            kind.segment(),
            "",
        ];
        let fits = segments.iter().zip(form).all(|(segment, word)| match word {
            "" => !segment.is_empty(),
            word => segment.eq_ignore_ascii_case(word),
        });
        let [_, subscription, _, group, _, _, _, name] = segments[..] else {
            return None;
        };
        fits.then(|| Self {
            group: Group {
                subscription: subscription.to_owned(),
                name: group.to_owned(),
            },
            kind,
            name: name.to_owned(),
        })
    }

    /// Reads an id, or a bare name in a group.
    pub(super) fn parse_or_name(text: &str, kind: Kind, group: &Group) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if text.contains('/') {
            return Self::parse(text, kind);
        }
        Some(Self::new(group, kind, text))
    }
}

/// What a PersistentVolume says of its disk.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Said {
    /// The disk's id, as it stands there.
    pub(super) id: String,
    /// Its zone, such as `westeurope-1`; empty if it names none or several.
    pub(super) zone: String,
}

/// Reads a PersistentVolume; a disk without an id is in `group`.
///
/// # Errors
/// Why it is no managed disk, as the end of "it is not snapshot: ...".
pub(super) fn of_volume(volume: &Object, group: &Group) -> Result<Said, String> {
    let id = if at(volume, "/spec/azureDisk").is_some() {
        in_tree(volume, group)?
    } else {
        of_csi(volume)?
    };
    let mut zones = zones(volume, TOPOLOGY);
    // In regions without zones the label holds a fault domain.
    zones.retain(|zone| zone_of(zone).is_some());
    let zone = match zones.len() {
        1 => zones.pop_first().unwrap_or_default(),
        _ => String::new(),
    };
    Ok(Said { id, zone })
}

fn in_tree(volume: &Object, group: &Group) -> Result<String, String> {
    if let Some(uri) = text(volume, "/spec/azureDisk/diskURI") {
        return match Id::parse(uri, Kind::Disk) {
            Some(_) => Ok(uri.to_owned()),
            None => Err("it is not a managed disk, but a blob of a storage account".to_owned()),
        };
    }
    match text(volume, "/spec/azureDisk/diskName") {
        Some(name) => Ok(Id::new(group, Kind::Disk, name).to_string()),
        None => Err("its azureDisk names no disk".to_owned()),
    }
}

fn of_csi(volume: &Object) -> Result<String, String> {
    let Some(driver) = text(volume, "/spec/csi/driver") else {
        return Err("it is not a managed disk of Azure".to_owned());
    };
    if driver != DRIVER {
        return Err(format!(
            "the disks of {driver} are not Azure's managed disks"
        ));
    }
    let handle = text(volume, "/spec/csi/volumeHandle").unwrap_or_default();
    match Id::parse(handle, Kind::Disk) {
        Some(_) => Ok(handle.to_owned()),
        None => Err(format!(
            "its volumeHandle {handle:?} is not the id of a managed disk"
        )),
    }
}

/// Has a PersistentVolume stand for another disk, in the form in which it names one. Returns `false` if it names none.
pub(super) fn set(volume: &mut Object, id: &str, name: &str) -> bool {
    if at(volume, "/spec/azureDisk").is_some() {
        return set_text(volume, "azureDisk", "diskName", name)
            && set_text(volume, "azureDisk", "diskURI", id);
    }
    text(volume, "/spec/csi/driver") == Some(DRIVER) && set_text(volume, "csi", "volumeHandle", id)
}

/// Returns the region and the number in a zone such as `westeurope-1`.
pub(super) fn zone_of(zone: &str) -> Option<(&str, &str)> {
    let (region, number) = zone.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && !region.is_empty()).then_some((region, number))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DISK: &str = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/disks/d";

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn group() -> Group {
        Group {
            subscription: "s".to_owned(),
            name: "nodes".to_owned(),
        }
    }

    #[test]
    fn ids_are_read_whatever_their_case() {
        let id = Id::parse(DISK, Kind::Disk).unwrap();
        assert_eq!(id.to_string(), DISK);
        for same in [DISK.to_uppercase().as_str(), &DISK[1..]] {
            assert_eq!(Id::parse(same, Kind::Disk).as_ref(), Some(&id), "{same}");
        }
        let snapshot = DISK.replace("disks", "snapshots");
        assert!(Id::parse(&snapshot, Kind::Snapshot).is_some());
        for text in [
            "",
            "d",
            "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/disks/",
            "/subscriptions//resourceGroups/r/providers/Microsoft.Compute/disks/d",
            "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/disks/d",
            "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/disks/d/more",
            snapshot.as_str(),
        ] {
            assert_eq!(Id::parse(text, Kind::Disk), None, "{text}");
        }
    }

    #[test]
    fn bare_names_are_read() {
        let read =
            |text| Id::parse_or_name(text, Kind::Snapshot, &group()).map(|id| id.to_string());
        assert_eq!(
            read("snap").as_deref(),
            Some(
                "/subscriptions/s/resourceGroups/nodes/providers/Microsoft.Compute/snapshots/snap"
            )
        );
        assert_eq!(read(""), None);
        assert_eq!(read("a/b"), None);
        assert_eq!(read(DISK), None);
    }

    #[test]
    fn volumes_name_their_disk_and_zone() {
        let csi = json!({"spec": {"csi": {"driver": DRIVER, "volumeHandle": DISK}}});
        let in_zones = |zones: &[&str]| {
            let mut volume = csi.clone();
            volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{
                "matchExpressions": [{"key": TOPOLOGY, "operator": "In", "values": zones}],
            }]}});
            volume
        };
        let labelled = json!({
            "metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": "westeurope-2"}},
            "spec": {"azureDisk": {"diskName": "d", "diskURI": DISK, "kind": "Managed"}},
        });
        for (what, volume, id, zone) in [
            ("csi", csi.clone(), DISK, ""),
            ("a zone", in_zones(&["westeurope-1"]), DISK, "westeurope-1"),
            ("no zone", in_zones(&[""]), DISK, ""),
            ("a fault domain", in_zones(&["0"]), DISK, ""),
            (
                "all zones",
                in_zones(&["westeurope-1", "westeurope-2", "westeurope-3"]),
                DISK,
                "",
            ),
            ("in-tree", labelled, DISK, "westeurope-2"),
            (
                "a name alone",
                json!({"spec": {"azureDisk": {"diskName": "d"}}}),
                "/subscriptions/s/resourceGroups/nodes/providers/Microsoft.Compute/disks/d",
                "",
            ),
        ] {
            let said = of_volume(&object(volume), &group()).unwrap();
            assert_eq!((said.id.as_str(), said.zone.as_str()), (id, zone), "{what}");
        }
    }

    #[test]
    fn others_are_told_apart() {
        for (volume, expected) in [
            (json!({}), "not a managed disk of Azure"),
            (
                json!({"spec": {"csi": {"driver": "file.csi.azure.com", "volumeHandle": "v"}}}),
                "file.csi.azure.com",
            ),
            (
                json!({"spec": {"csi": {"driver": DRIVER, "volumeHandle": "v"}}}),
                "volumeHandle \"v\"",
            ),
            (
                json!({"spec": {"azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/vhds/d.vhd"}}}),
                "a blob",
            ),
            (json!({"spec": {"azureDisk": {}}}), "names no disk"),
        ] {
            let why = of_volume(&object(volume), &group()).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn setting_keeps_the_form() {
        let new = DISK.replace("/d", "/new");
        let mut volume = object(json!({"spec": {"csi": {"driver": DRIVER, "volumeHandle": DISK}}}));
        assert!(set(&mut volume, &new, "new"));
        assert_eq!(text(&volume, "/spec/csi/volumeHandle"), Some(new.as_str()));
        let mut volume = object(
            json!({"spec": {"azureDisk": {"diskName": "d", "diskURI": DISK, "kind": "Managed"}}}),
        );
        assert!(set(&mut volume, &new, "new"));
        assert_eq!(
            Value::from(volume),
            json!({"spec": {"azureDisk": {"diskName": "new", "diskURI": new, "kind": "Managed"}}})
        );
        for other in [
            json!({}),
            json!({"spec": {"csi": {"driver": "d", "volumeHandle": "v"}}}),
        ] {
            assert!(!set(&mut object(other), &new, "new"));
        }
    }

    #[test]
    fn zones() {
        for (zone, expected) in [
            ("westeurope-1", Some(("westeurope", "1"))),
            ("westeurope", None),
            ("1", None),
            ("-1", None),
            ("west-europe", None),
        ] {
            assert_eq!(zone_of(zone), expected, "{zone}");
        }
    }
}
