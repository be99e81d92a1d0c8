//! Which VolumeSnapshotClass a snapshot is made with.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use serde_json::Value;

use super::objects::DELETION_SECRET;

/// Labels of a class, and annotations of a claim: the same names in both places, ours first.
const CLASS: [&str; 2] = [
    "ark.heptio.com/csi-volumesnapshot-class",
    "velero.io/csi-volumesnapshot-class",
];
/// Annotation of the class that a driver's snapshots are made with unless told otherwise.
const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// Parameters of a class: the Secret that the driver wants.
const SECRET: [&str; 2] = [
    "csi.storage.k8s.io/snapshotter-secret-name",
    "csi.storage.k8s.io/snapshotter-secret-namespace",
];

/// A VolumeSnapshotClass, as far as it is looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) driver: String,
    /// Marked for Ark or Velero by label.
    marked: bool,
    /// Marked as the default of its driver.
    default: bool,
    parameters: BTreeMap<String, String>,
}

impl Class {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let is = |map: &Option<BTreeMap<String, String>>, key: &str| {
            map.as_ref()
                .and_then(|map| map.get(key))
                .map(String::as_str)
                == Some("true")
        };
        let parameters = object.data["parameters"].as_object();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            driver: object.data["driver"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            marked: CLASS.iter().any(|label| is(&metadata.labels, label)),
            default: is(&metadata.annotations, DEFAULT),
            parameters: parameters
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        }
    }

    /// Returns the annotations of a content by which csi-snapshotter finds the Secret that the driver wants to delete a
    /// snapshot: as snapshot-controller writes them on the contents that it makes. Empty where the class names none.
    pub(super) fn secret(&self, content: &str, of: (&str, &str)) -> BTreeMap<String, String> {
        let fill = |(annotation, parameter): (&str, &str)| {
            let text = self
                .parameters
                .get(parameter)?
                .replace("${volumesnapshotcontent.name}", content)
                .replace("${volumesnapshot.namespace}", of.0)
                .replace("${volumesnapshot.name}", of.1);
            Some((annotation.to_owned(), text))
        };
        DELETION_SECRET
            .into_iter()
            .zip(SECRET)
            .map(fill)
            .collect::<Option<_>>()
            .unwrap_or_default()
    }
}

/// Who asks for a class by name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes<'a> {
    /// The claim's annotations.
    pub(super) claim: Option<&'a serde_json::Map<String, Value>>,
    /// The Backup's annotations.
    pub(super) backup: Option<&'a BTreeMap<String, String>>,
    /// The location's setting.
    pub(super) setting: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    /// Returns the class that is asked for by name, and who asks.
    fn name(&self, driver: &str) -> Option<(&'a str, String)> {
        let by_claim = CLASS.iter().find_map(|key| {
            let name = self.claim?.get(*key)?.as_str()?;
            Some((name, format!("the claim's annotation {key}")))
        });
        let by_backup = || {
            CLASS.iter().find_map(|key| {
                let key = format!("{key}_{driver}");
                let name = self.backup?.get(&key)?;
                Some((name.as_str(), format!("the Backup's annotation {key}")))
            })
        };
        by_claim.or_else(by_backup)
    }
}

/// Returns the class for a driver's volumes.
///
/// # Errors
/// Why there is none, as a sentence that says what to do.
pub(super) fn choose<'a>(
    classes: &'a [Class],
    driver: &str,
    wishes: Wishes<'_>,
) -> Result<&'a Class, String> {
    let own: Vec<&Class> = classes
        .iter()
        .filter(|class| class.driver == driver)
        .collect();
    if let Some((name, by)) = wishes.name(driver) {
        return match classes.iter().find(|class| class.name == name) {
            Some(class) if class.driver == driver => Ok(class),
            Some(class) => Err(format!(
                "{by} asks for VolumeSnapshotClass {name}, which is of driver {}, not {driver}",
                class.driver
            )),
            None => Err(format!(
                "{by} asks for VolumeSnapshotClass {name}, which is not there; the driver has {}",
                list(&own)
            )),
        };
    }
    // A setting counts for the driver that its class is of: one location serves all drivers.
    if let Some(name) = wishes.setting {
        match classes.iter().find(|class| class.name == name) {
            Some(class) if class.driver == driver => return Ok(class),
            Some(_) => {}
            None => {
                return Err(format!(
                    "the location's setting volumeSnapshotClass asks for VolumeSnapshotClass {name}, which is not there"
                ));
            }
        }
    }
    for mark in [
        |class: &&&Class| class.marked,
        |class: &&&Class| class.default,
    ] {
        let marked: Vec<&Class> = own.iter().filter(mark).copied().collect();
        match marked[..] {
            [] => {}
            [class] => return Ok(class),
            _ => {
                return Err(format!(
                    "driver {driver} has several VolumeSnapshotClasses that are marked ({}); mark one",
                    list(&marked)
                ));
            }
        }
    }
    match own[..] {
        [] => Err(format!("driver {driver} has no VolumeSnapshotClass")),
        [class] => Ok(class),
        _ => Err(format!(
            "driver {driver} has several VolumeSnapshotClasses ({}); label the one to use with {}=true",
            list(&own),
            CLASS[0]
        )),
    }
}

fn list(classes: &[&Class]) -> String {
    if classes.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a class: its name and driver, its label, its annotation.
    fn class(name: &str, driver: &str, label: &str, annotation: &str) -> Class {
        let some = |key: &str| (!key.is_empty()).then(|| [(key.to_owned(), "true".to_owned())]);
        let object = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": {
                "name": name,
                "labels": some(label).map(BTreeMap::from),
                "annotations": some(annotation).map(BTreeMap::from),
            },
            "driver": driver, "deletionPolicy": "Delete",
        });
        Class::of(&serde_json::from_value(object).unwrap())
    }

    fn plain(name: &str) -> Class {
        class(name, "d", "", "")
    }

    /// Who asks for a class by name in a case.
    #[derive(Debug, Default)]
    struct Asked {
        claim: serde_json::Map<String, Value>,
        backup: BTreeMap<String, String>,
        setting: Option<&'static str>,
    }

    fn claim(key: &str, name: &str) -> Asked {
        Asked {
            claim: [(key.to_owned(), name.into())].into_iter().collect(),
            ..Asked::default()
        }
    }

    fn backup(driver: &str, name: &str) -> Asked {
        Asked {
            backup: [(format!("{}_{driver}", CLASS[1]), name.to_owned())].into(),
            ..Asked::default()
        }
    }

    fn setting(name: &'static str) -> Asked {
        Asked {
            setting: Some(name),
            ..Asked::default()
        }
    }

    /// Checks which class of those is chosen for driver `d`, or what the reason says.
    fn check(classes: &[Class], asked: &Asked, expected: Result<&str, &str>) {
        let wishes = Wishes {
            claim: Some(&asked.claim),
            backup: Some(&asked.backup),
            setting: asked.setting,
        };
        match (choose(classes, "d", wishes), expected) {
            (Ok(class), Ok(name)) => assert_eq!(class.name, name, "{classes:?} {asked:?}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}: {classes:?} {asked:?}"),
            (chosen, _) => panic!("{chosen:?}, not {expected:?}: {classes:?} {asked:?}"),
        }
    }

    #[test]
    fn a_mark_decides_unless_there_is_only_one() {
        let marked = |name| class(name, "d", CLASS[0], "");
        let velero = |name| class(name, "d", CLASS[1], "");
        let default = |name| class(name, "d", "", DEFAULT);
        let foreign = |name| class(name, "other", CLASS[0], DEFAULT);
        for (classes, expected) in [
            (vec![], Err("d has no VolumeSnapshotClass")),
            (vec![foreign("a")], Err("has no")),
            (vec![plain("a"), foreign("b")], Ok("a")),
            (
                vec![plain("a"), plain("b")],
                Err("several VolumeSnapshotClasses (a, b); label"),
            ),
            (vec![plain("a"), default("b")], Ok("b")),
            (vec![marked("a"), default("b")], Ok("a")),
            (vec![velero("a"), default("b")], Ok("a")),
            (
                vec![velero("a"), marked("b"), default("c")],
                Err("that are marked (a, b)"),
            ),
            (
                vec![plain("a"), default("b"), default("c")],
                Err("that are marked (b, c)"),
            ),
        ] {
            check(&classes, &Asked::default(), expected);
        }
    }

    #[test]
    fn a_name_decides_over_marks() {
        let marked = class("m", "d", CLASS[0], DEFAULT);
        let foreign = class("f", "other", "", "");
        let classes = [plain("a"), plain("b"), marked, foreign];
        for (asked, expected) in [
            (setting("a"), Ok("a")),
            // It counts for the driver that it is of.
            (setting("f"), Ok("m")),
            (setting("x"), Err("setting")),
            (backup("d", "b"), Ok("b")),
            (backup("other", "f"), Ok("m")),
            (backup("d", "x"), Err("not there; the driver has a, b, m")),
            (claim(CLASS[0], "b"), Ok("b")),
            (claim(CLASS[1], "b"), Ok("b")),
            (claim(CLASS[0], "f"), Err("is of driver other, not d")),
            (
                Asked {
                    setting: Some("a"),
                    ..backup("d", "b")
                },
                Ok("b"),
            ),
            (
                Asked {
                    claim: claim(CLASS[1], "a").claim,
                    ..backup("d", "b")
                },
                Ok("a"),
            ),
        ] {
            check(&classes, &asked, expected);
        }
    }

    #[test]
    fn secrets_are_named_as_the_class_says() {
        let mut class = plain("a");
        let of = ("ns", "snap");
        assert_eq!(class.secret("content", of), BTreeMap::new());
        class.parameters = [
            (
                SECRET[0].to_owned(),
                "s-${volumesnapshotcontent.name}".to_owned(),
            ),
            (
                SECRET[1].to_owned(),
                "${volumesnapshot.namespace}".to_owned(),
            ),
        ]
        .into();
        let expected = ["s-content", "ns"].map(str::to_owned);
        let expected = DELETION_SECRET.map(str::to_owned).into_iter().zip(expected);
        assert_eq!(class.secret("content", of), expected.collect());
    }
}
