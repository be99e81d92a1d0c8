//! Whose an object is, once both are restored (cases 32, 33, 84).
//!
//! An owner's UID is another one after a restore, so a stored reference to it is worth nothing. An object that its
//! controller finds by labels is left to be adopted; every other one is created after its owner, with a reference to the
//! owner's new UID. Kubernetes deletes what refers to an owner that is not there, so a reference without one is dropped.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::rules::Told;
use crate::api::object::{self, Object};

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "84",
        about: "an object with an owner",
        says: "comes after its owner, and refers to the owner's new UID",
    },
    Told {
        cases: "32, 33",
        about: "Pods, ReplicaSets and claims of a controller",
        says: "come without reference and are adopted",
    },
    Told {
        cases: "84",
        about: "an object whose owner is not restored",
        says: "comes without reference; a warning for each type of owner says so",
    },
];

/// Returns whether an owner finds its dependents by itself, by labels or names, and puts the reference in.
///
/// `owner` is group and kind, `dependent` a type's full name.
pub(super) fn adopts(owner: (&str, &str), dependent: &str) -> bool {
    match dependent {
        "pods" => matches!(
            owner,
            (
                "apps" | "extensions",
                "ReplicaSet" | "StatefulSet" | "DaemonSet"
            ) | ("", "ReplicationController")
                | ("batch", "Job")
        ),
        "replicasets.apps" => matches!(owner, ("apps" | "extensions", "Deployment")),
        "persistentvolumeclaims" => owner == ("apps", "StatefulSet"),
        "controllerrevisions.apps" => owner.0 == "apps",
        _ => false,
    }
}

/// Returns whether an owner is one that runs Pods: dependents come after it, while of all others the owner comes first.
pub(super) fn is_workload(group_resource: &str) -> bool {
    matches!(
        group_resource,
        "pods"
            | "replicationcontrollers"
            | "replicasets.apps"
            | "deployments.apps"
            | "statefulsets.apps"
            | "daemonsets.apps"
            | "jobs.batch"
            | "cronjobs.batch"
    )
}

/// The UID of an owner that a dry run does not make.
pub(super) const ASSUMED: &str = "00000000-0000-0000-0000-000000000000";

/// An owner that the plan restores.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PlannedOwner {
    /// Which of the plan's types.
    pub(super) planned_type: usize,
}

/// What is known of owners while a restore goes on.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Those that the plan restores, by their stored UID.
    planned: HashMap<Box<str>, PlannedOwner>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// UID and namespace in the target, by stored UID.
    there: HashMap<Box<str>, (String, Option<String>)>,
    lost: HashSet<Box<str>>,
    wait_no_more: bool,
}

/// Where an object's references lead.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum References {
    /// To these owners; of those that are not restored, kind and name.
    To(Vec<Value>, Vec<String>),
    /// To one that is still to come.
    Wait,
}

impl Owners {
    pub(super) fn new(planned: HashMap<Box<str>, PlannedOwner>) -> Self {
        Self {
            planned,
            state: Mutex::default(),
        }
    }

    /// Returns whether anybody asks for this object's new UID.
    pub(super) fn wants(&self, stored_uid: &str) -> bool {
        self.planned.contains_key(stored_uid)
    }

    /// Notes that an owner is there.
    pub(super) fn is_there(&self, stored_uid: &str, uid: &str, namespace: Option<&str>) {
        if self.wants(stored_uid) && !uid.is_empty() {
            let place = (uid.to_owned(), namespace.map(str::to_owned));
            self.lock().there.insert(stored_uid.into(), place);
        }
    }

    /// Notes that an owner will not come.
    pub(super) fn is_lost(&self, stored_uid: &str) {
        if self.wants(stored_uid) {
            self.lock().lost.insert(stored_uid.into());
        }
    }

    /// Notes that nothing more comes: who waits for an owner goes without.
    pub(super) fn wait_no_more(&self) {
        self.lock().wait_no_more = true;
    }

    /// Takes all planned owners for restored: for a dry run, whose references nobody follows.
    pub(super) fn assume_all(&self) {
        let mut state = self.lock();
        for uid in self.planned.keys() {
            let place = (ASSUMED.to_owned(), None);
            state.there.insert(uid.clone(), place);
        }
    }

    /// Returns the references for an object in `namespace` of the target. `api_version` tells what the owners of a planned
    /// type are there.
    pub(super) fn references(
        &self,
        stored: &Object,
        group_resource: &str,
        namespace: Option<&str>,
        api_version: impl Fn(usize) -> Option<(String, String)>,
    ) -> References {
        let mut kept = Vec::new();
        let mut lost = Vec::new();
        for reference in object::list(stored, &["metadata", "ownerReferences"]) {
            let text = |key: &str| object::text(reference, &[key]);
            let group = text("apiVersion")
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            if adopts((group, text("kind")), group_resource)
                || (group, text("kind")) == ("", "Node")
            {
                continue;
            }
            let state = self.lock();
            let named = || format!("{} {}", text("kind"), text("name"));
            match (self.planned.get(text("uid")), state.there.get(text("uid"))) {
                (Some(owner), Some((uid, place)))
                    if place.is_none() || place.as_deref() == namespace =>
                {
                    let (version, kind) = api_version(owner.planned_type).unwrap_or_else(|| {
                        (text("apiVersion").to_owned(), text("kind").to_owned())
                    });
                    kept.push(reference_to(reference, &version, &kind, uid));
                }
                (Some(_), None) if !state.lost.contains(text("uid")) && !state.wait_no_more => {
                    return References::Wait;
                }
                _ => lost.push(named()),
            }
        }
        References::To(kept, lost)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn reference_to(stored: &Object, api_version: &str, kind: &str, uid: &str) -> Value {
    let mut reference = json!({
        "apiVersion": api_version, "kind": kind, "name": object::text(stored, &["name"]), "uid": uid,
    });
    for flag in ["controller", "blockOwnerDeletion"] {
        if let Some(value) = stored.get(flag) {
            reference[flag] = value.clone();
        }
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: &str, api_version: &str) -> Object {
        let object = json!({"metadata": {"ownerReferences": [
            {"apiVersion": api_version, "kind": kind, "name": "o", "uid": "old", "controller": true},
        ]}});
        match object {
            Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn references_follow_their_owner() {
        let planned = HashMap::from([("old".into(), PlannedOwner { planned_type: 0 })]);
        let owners = Owners::new(planned);
        let of = |owners: &Owners, namespace| {
            owners.references(&stored("Lion", "zoo/v1"), "secrets", namespace, |_| {
                Some(("zoo/v2".to_owned(), "Lion".to_owned()))
            })
        };
        assert_eq!(of(&owners, Some("n")), References::Wait);
        owners.is_there("old", "new", Some("n"));
        let reference = json!({"apiVersion": "zoo/v2", "kind": "Lion", "name": "o", "uid": "new", "controller": true});
        assert_eq!(
            of(&owners, Some("n")),
            References::To(vec![reference], Vec::new())
        );
        let lost = References::To(Vec::new(), vec!["Lion o".to_owned()]);
        assert_eq!(
            of(&owners, Some("other")),
            lost,
            "an owner is in the same namespace"
        );
        assert_eq!(
            of(&Owners::default(), Some("n")),
            lost,
            "it is not restored"
        );
    }

    #[test]
    fn an_owner_that_does_not_come_is_not_waited_for() {
        let owners = Owners::new(HashMap::from([(
            "old".into(),
            PlannedOwner { planned_type: 0 },
        )]));
        owners.is_lost("old");
        let found = owners.references(&stored("Lion", "zoo/v1"), "secrets", None, |_| None);
        assert_eq!(found, References::To(Vec::new(), vec!["Lion o".to_owned()]));
    }

    #[test]
    fn controllers_adopt_what_they_find_by_labels() {
        let owners = Owners::default();
        for (kind, api_version, dependent, adopted) in [
            ("ReplicaSet", "apps/v1", "pods", true),
            ("Deployment", "apps/v1", "replicasets.apps", true),
            ("StatefulSet", "apps/v1", "persistentvolumeclaims", true),
            ("CronJob", "batch/v1", "jobs.batch", false),
            ("Cluster", "postgresql.cnpg.io/v1", "pods", false),
            ("Node", "v1", "pods", true),
            ("Pod", "v1", "persistentvolumeclaims", false),
        ] {
            let found =
                owners.references(&stored(kind, api_version), dependent, Some("n"), |_| None);
            let silent = found == References::To(Vec::new(), Vec::new());
            assert_eq!(silent, adopted, "{kind} {dependent}");
        }
    }
}
