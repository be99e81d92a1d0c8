//! What a PersistentVolume says of EBS: which volume it stands for, and in which zone that is. Pure.

use crate::providers::snapshotter::{Fit, Object, VolumeHandle, VolumeId};
use crate::providers::volumes;

/// The CSI driver whose volumes are EBS's.
const DRIVER: &str = "ebs.csi.aws.com";
/// The driver's own name for the zone, in node affinities.
const DRIVER_ZONE: &str = "topology.ebs.csi.aws.com/zone";
/// What an id begins with.
const ID: &str = "vol-";

/// Where in a PersistentVolume its id stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// `spec.awsElasticBlockStore.volumeID`, where a zone may stand before it: `aws://eu-west-1a/vol-1`.
    InTree,
    /// `spec.csi.volumeHandle`.
    Csi,
}

impl Place {
    fn of(volume: &Object) -> Option<Self> {
        let spec = |name| volumes::at(volume, &format!("/spec/{name}"));
        if spec("awsElasticBlockStore").is_some_and(serde_json::Value::is_object) {
            return Some(Self::InTree);
        }
        (volumes::text(volume, "/spec/csi/driver") == Some(DRIVER)).then_some(Self::Csi)
    }

    fn field(self) -> (&'static str, &'static str) {
        match self {
            Self::InTree => ("awsElasticBlockStore", "volumeID"),
            Self::Csi => ("csi", "volumeHandle"),
        }
    }

    fn read(self, volume: &Object) -> &str {
        let (source, name) = self.field();
        volumes::text(volume, &format!("/spec/{source}/{name}")).unwrap_or_default()
    }
}

/// Returns which of EBS's volumes a PersistentVolume stands for.
pub(super) fn fits(volume: &Object) -> Fit {
    let Some(place) = Place::of(volume) else {
        return Fit::No("it is not a volume of EBS".to_owned());
    };
    let text = place.read(volume);
    match id(text) {
        Some(id) => Fit::Volume(VolumeHandle {
            id: VolumeId(id.to_owned()),
            zone: zone(volume).unwrap_or_else(|| prefix(text).to_owned()),
        }),
        None => Fit::No(format!(
            "spec.{}.{}: {text:?} names no volume of EBS",
            place.field().0,
            place.field().1
        )),
    }
}

/// Returns whether the zone of a PersistentVolume's volume stands in its id.
pub(super) fn names_zone(volume: &Object) -> bool {
    Place::of(volume).is_some_and(|place| !prefix(place.read(volume)).is_empty())
}

/// Has a PersistentVolume stand for a volume that is in `zone`; returns `false` if it is not for one of EBS.
pub(super) fn set(volume: &mut Object, id: &str, zone: &str) -> bool {
    let Some(place) = Place::of(volume) else {
        return false;
    };
    let text = match prefix(place.read(volume)) {
        "" => id.to_owned(),
        _ => format!("aws://{zone}/{id}"),
    };
    let (source, name) = place.field();
    volumes::set_text(volume, source, name, &text)
}

/// Returns the id in a text such as `aws://eu-west-1a/vol-1`.
fn id(text: &str) -> Option<&str> {
    let id = text.find(ID).map(|start| &text[start..])?;
    let digits = &id[ID.len()..];
    let fits = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_alphanumeric());
    fits.then_some(id)
}

/// Returns the zone in such a text; empty if there is none.
fn prefix(text: &str) -> &str {
    let rest = text.strip_prefix("aws://").unwrap_or_default();
    rest.split_once('/').map_or("", |(zone, _)| zone)
}

/// Returns the zone that a PersistentVolume names; a volume of EBS is in one.
fn zone(volume: &Object) -> Option<String> {
    volumes::zones(volume, DRIVER_ZONE).into_iter().next()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn in_tree(id: &str) -> Value {
        json!({"spec": {"awsElasticBlockStore": {"volumeID": id, "fsType": "ext4"}}})
    }

    fn csi(driver: &str, handle: &str) -> Value {
        json!({"spec": {"csi": {"driver": driver, "volumeHandle": handle}}})
    }

    #[test]
    fn ids() {
        for (volume, expected) in [
            (in_tree("vol-0a1b"), Ok(("vol-0a1b", ""))),
            (
                in_tree("aws://eu-west-1a/vol-0a1b"),
                Ok(("vol-0a1b", "eu-west-1a")),
            ),
            (in_tree("aws:///vol-0a1b"), Ok(("vol-0a1b", ""))),
            (csi(DRIVER, "vol-0a1b"), Ok(("vol-0a1b", ""))),
            (
                in_tree(""),
                Err("spec.awsElasticBlockStore.volumeID: \"\" names no volume of EBS"),
            ),
            (in_tree("fs-1"), Err("names no volume of EBS")),
            (in_tree("vol-"), Err("names no volume of EBS")),
            (in_tree("vol-1&Action=x"), Err("names no volume of EBS")),
            (
                csi(DRIVER, "x"),
                Err("spec.csi.volumeHandle: \"x\" names no"),
            ),
            (
                csi("efs.csi.aws.com", "vol-1"),
                Err("it is not a volume of EBS"),
            ),
            (
                json!({"spec": {"hostPath": {"path": "/vol-1"}}}),
                Err("it is not a volume of EBS"),
            ),
            (json!({}), Err("it is not a volume of EBS")),
        ] {
            match (fits(&object(volume.clone())), expected) {
                (Fit::Volume(handle), Ok((id, zone))) => {
                    assert_eq!(
                        (handle.id.0.as_str(), handle.zone.as_str()),
                        (id, zone),
                        "{volume}"
                    );
                }
                (Fit::No(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (fit, _) => panic!("{volume}: {fit:?}"),
            }
        }
    }

    #[test]
    fn zones() {
        let with = |labels: Value, key: &str, zone: &str| {
            let mut volume = csi(DRIVER, "vol-1");
            volume["metadata"] = json!({"labels": labels});
            volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                {"key": key, "operator": "In", "values": [zone]},
            ]}]}});
            volume
        };
        for (volume, expected) in [
            (with(json!({}), DRIVER_ZONE, "b"), "b"),
            (with(json!({}), "topology.kubernetes.io/zone", "b"), "b"),
            (
                with(json!({}), "failure-domain.beta.kubernetes.io/zone", "b"),
                "b",
            ),
            (with(json!({}), "topology.gke.io/zone", "b"), ""),
            (
                with(
                    json!({"topology.kubernetes.io/zone": "a"}),
                    DRIVER_ZONE,
                    "b",
                ),
                "a",
            ),
            (
                with(
                    json!({"failure-domain.beta.kubernetes.io/zone": "a"}),
                    DRIVER_ZONE,
                    "b",
                ),
                "a",
            ),
            (
                with(json!({"topology.kubernetes.io/zone": ""}), DRIVER_ZONE, "b"),
                "b",
            ),
        ] {
            let Fit::Volume(handle) = fits(&object(volume.clone())) else {
                panic!("{volume}");
            };
            assert_eq!(handle.zone, expected, "{volume}");
        }
    }

    #[test]
    fn another_volume_is_written_in_the_same_form() {
        for (before, after) in [
            (in_tree("vol-1"), in_tree("vol-2")),
            (in_tree("aws://a/vol-1"), in_tree("aws://b/vol-2")),
            (csi(DRIVER, "vol-1"), csi(DRIVER, "vol-2")),
        ] {
            let mut volume = object(before);
            assert!(set(&mut volume, "vol-2", "b"));
            assert_eq!(Value::Object(volume), after);
        }
        for other in [json!({}), csi("efs.csi.aws.com", "fs-1")] {
            let mut volume = object(other.clone());
            assert!(!set(&mut volume, "vol-2", "b"));
            assert_eq!(Value::Object(volume), other);
        }
    }
}
