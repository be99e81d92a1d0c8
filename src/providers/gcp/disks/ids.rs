//! How disks and snapshots are named: by Google, and in a PersistentVolume.

use std::collections::BTreeSet;
use std::fmt;

use crate::providers::snapshotter::Object;
use crate::providers::volumes::{at, set_text, split, text, zones};

/// The CSI drivers whose volumes are Compute Engine's disks.
const DRIVERS: [&str; 2] = ["pd.csi.storage.gke.io", "gcp.csi.confidential.cloud"];
/// What the driver says of a node's zone.
const TOPOLOGY: &str = "topology.gke.io/zone";
/// What stands in a handle for a project or zone that is not known; the driver finds out.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// Where a disk is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Zone(String),
    /// In two zones of a region.
    Region(String),
}

impl Place {
    /// Returns the place that zones mean: several are a regional disk's.
    pub(super) fn of_zones(zones: &BTreeSet<String>) -> Option<Self> {
        let first = zones.first()?;
        if zones.len() == 1 {
            return Some(Self::Zone(first.clone()));
        }
        let (region, _) = first.rsplit_once('-')?;
        Some(Self::Region(region.to_owned()))
    }

    /// Returns the place that a text such as `europe-west1-b__europe-west1-c` means.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        Self::of_zones(&split(text))
    }

    /// Returns the two segments of a path for it.
    pub(super) fn segments(&self) -> [&str; 2] {
        match self {
            Self::Zone(zone) => ["zones", zone],
            Self::Region(region) => ["regions", region],
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments().join("/"))
    }
}

/// A disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Disk {
    pub(super) project: String,
    pub(super) place: Place,
    pub(super) name: String,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "projects/{}/{}/disks/{}",
            self.project, self.place, self.name
        )
    }
}

impl Disk {
    /// Reads `projects/P/zones/Z/disks/N` or `projects/P/regions/R/disks/N`, also at the end of a URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let [.., "projects", project, place, within, "disks", name] = segments[..] else {
            return None;
        };
        if [project, within, name].iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self {
            project: project.to_owned(),
            place: match place {
                "zones" => Place::Zone(within.to_owned()),
                "regions" => Place::Region(within.to_owned()),
                _ => return None,
            },
            name: name.to_owned(),
        })
    }
}

/// A snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Snapshot {
    pub(super) project: String,
    pub(super) name: String,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "projects/{}/global/snapshots/{}",
            self.project, self.name
        )
    }
}

impl Snapshot {
    /// Reads `projects/P/global/snapshots/N`, also at the end of a URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let [.., "projects", project, "global", "snapshots", name] = segments[..] else {
            return None;
        };
        (!project.is_empty() && !name.is_empty()).then(|| Self {
            project: project.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// What a PersistentVolume says of its disk.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Said {
    /// The project, if it names one.
    pub(super) project: Option<String>,
    /// Where the disk is, if it says so.
    pub(super) place: Option<Place>,
    pub(super) name: String,
    /// The zones that it names beside that.
    pub(super) zones: BTreeSet<String>,
}

/// Reads a PersistentVolume.
///
/// # Errors
/// Why it is none of Compute Engine's, as the end of "it is not snapshot: ...".
pub(super) fn of_volume(volume: &Object) -> Result<Said, String> {
    let zones = zones(volume, TOPOLOGY);
    let place = Place::of_zones(&zones);
    if let Some(name) = text(volume, "/spec/gcePersistentDisk/pdName") {
        return Ok(Said {
            project: None,
            place,
            name: name.to_owned(),
            zones,
        });
    }
    let Some(driver) = text(volume, "/spec/csi/driver") else {
        return Err("it is not a disk of Compute Engine".to_owned());
    };
    if !DRIVERS.contains(&driver) {
        return Err(format!("the disks of {driver} are not Compute Engine's"));
    }
    let handle = text(volume, "/spec/csi/volumeHandle").unwrap_or_default();
    let disk = Disk::parse(handle).ok_or_else(|| {
        format!("its volumeHandle {handle:?} is not of the form projects/P/zones/Z/disks/N")
    })?;
    let [_, within] = disk.place.segments();
    let place = if within == UNSPECIFIED {
        place
    } else {
        Some(disk.place)
    };
    Ok(Said {
        project: Some(disk.project).filter(|project| project != UNSPECIFIED),
        place,
        name: disk.name,
        zones,
    })
}

/// Has a PersistentVolume stand for another disk, in the form in which it names one; `ours` is the project that one
/// without a project means. Returns `false` if it names none.
pub(super) fn set(volume: &mut Object, disk: &Disk, ours: &str) -> bool {
    if at(volume, "/spec/gcePersistentDisk").is_some() {
        return set_text(volume, "gcePersistentDisk", "pdName", &disk.name);
    }
    let driver = text(volume, "/spec/csi/driver").unwrap_or_default();
    if !DRIVERS.contains(&driver) {
        return false;
    }
    let mut written = disk.clone();
    let old = text(volume, "/spec/csi/volumeHandle").and_then(Disk::parse);
    if let Some(old) = old {
        if old.project == UNSPECIFIED && disk.project == ours {
            old.project.clone_into(&mut written.project);
        }
        let [old_kind, old_within] = old.place.segments();
        if old_within == UNSPECIFIED && old_kind == disk.place.segments()[0] {
            written.place.clone_from(&old.place);
        }
    }
    set_text(volume, "csi", "volumeHandle", &written.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn csi(handle: &str) -> Object {
        object(
            json!({"spec": {"csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": handle}}}),
        )
    }

    #[test]
    fn places() {
        for (text, expected) in [
            ("", None),
            ("us-east1-b", Some(Place::Zone("us-east1-b".into()))),
            (
                "us-east1-c__us-east1-b",
                Some(Place::Region("us-east1".into())),
            ),
            (
                "northamerica-northeast1-a__northamerica-northeast1-b",
                Some(Place::Region("northamerica-northeast1".into())),
            ),
            ("a__b", None),
        ] {
            assert_eq!(Place::of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn disks_and_snapshots_are_read_as_they_are_written() {
        for text in [
            "projects/p/zones/us-east1-b/disks/d",
            "projects/example.com:p/regions/us-east1/disks/d",
        ] {
            let disk = Disk::parse(text).unwrap();
            assert_eq!(disk.to_string(), text);
            let url = format!("https://www.googleapis.com/compute/v1/{text}");
            assert_eq!(Disk::parse(&url), Some(disk));
        }
        for text in [
            "d",
            "zones/z/disks/d",
            "projects/p/zones/z/disks/",
            "projects//zones/z/disks/d",
            "projects/p/global/disks/d",
            "projects/p/zones/z/disks/d/more",
        ] {
            assert_eq!(Disk::parse(text), None, "{text}");
        }
        let text = "projects/p/global/snapshots/s";
        let snapshot = Snapshot::parse(text).unwrap();
        assert_eq!(snapshot.to_string(), text);
        let url = format!("https://compute.googleapis.com/compute/v1/{text}");
        assert_eq!(Snapshot::parse(&url), Some(snapshot));
        for text in [
            "s",
            "projects/p/global/images/s",
            "projects/p/global/snapshots/",
        ] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
    }

    #[test]
    fn volumes_say_where_their_disk_is() {
        let zone = |zone: &str| Some(Place::Zone(zone.to_owned()));
        let region = |region: &str| Some(Place::Region(region.to_owned()));
        let labelled = |mut volume: Object, zones: &str| {
            let labels = json!({"labels": {"topology.kubernetes.io/zone": zones}});
            volume.insert("metadata".to_owned(), labels);
            volume
        };
        let in_tree = object(json!({"spec": {"gcePersistentDisk": {"pdName": "d"}}}));
        for (what, volume, project, place) in [
            ("in-tree without a zone", in_tree.clone(), None, None),
            (
                "in-tree",
                labelled(in_tree.clone(), "us-east1-b"),
                None,
                zone("us-east1-b"),
            ),
            (
                "in-tree in two zones",
                labelled(in_tree, "us-east1-b__us-east1-c"),
                None,
                region("us-east1"),
            ),
            (
                "csi",
                csi("projects/p/zones/us-east1-b/disks/d"),
                Some("p"),
                zone("us-east1-b"),
            ),
            (
                "a handle wins",
                labelled(csi("projects/p/zones/us-east1-b/disks/d"), "us-east1-c"),
                Some("p"),
                zone("us-east1-b"),
            ),
            (
                "csi in a region",
                csi("projects/p/regions/us-east1/disks/d"),
                Some("p"),
                region("us-east1"),
            ),
            (
                "a project that is not known",
                csi("projects/UNSPECIFIED/zones/us-east1-b/disks/d"),
                None,
                zone("us-east1-b"),
            ),
            (
                "nothing that is known",
                labelled(
                    csi("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d"),
                    "us-east1-b",
                ),
                None,
                zone("us-east1-b"),
            ),
        ] {
            let said = of_volume(&volume).unwrap();
            assert_eq!(said.name, "d", "{what}");
            assert_eq!(said.project.as_deref(), project, "{what}");
            assert_eq!(said.place, place, "{what}");
        }
    }

    #[test]
    fn others_are_told_apart() {
        for (volume, expected) in [
            (json!({}), "not a disk of Compute Engine"),
            (
                json!({"spec": {"nfs": {"server": "s"}}}),
                "not a disk of Compute Engine",
            ),
            (
                json!({"spec": {"gcePersistentDisk": {"pdName": ""}}}),
                "not a disk of Compute Engine",
            ),
            (
                json!({"spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "v"}}}),
                "the disks of ebs.csi.aws.com",
            ),
            (
                json!({"spec": {"csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": "d"}}}),
                "volumeHandle \"d\"",
            ),
        ] {
            let why = of_volume(&object(volume)).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn setting_keeps_the_form() {
        let new = Disk::parse("projects/ours/zones/us-east1-b/disks/new").unwrap();
        for (old, expected) in [
            (
                "projects/theirs/zones/us-east1-c/disks/old",
                "projects/ours/zones/us-east1-b/disks/new",
            ),
            (
                "projects/theirs/regions/us-east1/disks/old",
                "projects/ours/zones/us-east1-b/disks/new",
            ),
            (
                "projects/UNSPECIFIED/zones/us-east1-b/disks/old",
                "projects/UNSPECIFIED/zones/us-east1-b/disks/new",
            ),
            (
                "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/old",
                "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/new",
            ),
            (
                "projects/UNSPECIFIED/regions/UNSPECIFIED/disks/old",
                "projects/UNSPECIFIED/zones/us-east1-b/disks/new",
            ),
        ] {
            let mut volume = csi(old);
            assert!(set(&mut volume, &new, "ours"));
            let found = text(&volume, "/spec/csi/volumeHandle").unwrap();
            assert_eq!(found, expected, "{old}");
        }
        // A project that is not the one meant has to be named.
        let mut volume = csi("projects/UNSPECIFIED/zones/us-east1-b/disks/old");
        assert!(set(&mut volume, &new, "others"));
        assert_eq!(
            text(&volume, "/spec/csi/volumeHandle"),
            Some("projects/ours/zones/us-east1-b/disks/new")
        );
        let mut volume =
            object(json!({"spec": {"gcePersistentDisk": {"pdName": "old", "fsType": "ext4"}}}));
        assert!(set(&mut volume, &new, "ours"));
        assert_eq!(
            Value::from(volume),
            json!({"spec": {"gcePersistentDisk": {"pdName": "new", "fsType": "ext4"}}})
        );
        for other in [
            json!({}),
            json!({"spec": {"csi": {"driver": "d", "volumeHandle": "v"}}}),
        ] {
            assert!(!set(&mut object(other), &new, "ours"));
        }
    }
}
