//! What stored objects need besides themselves: the built-in item actions. Pure.
//!
//! A Pod needs its claims and its priority class, a bound claim its volume, a ServiceAccount the cluster-wide bindings
//! that name it, those their ClusterRole; every object in a namespace the Namespace, every custom resource its
//! definition. Nothing of this is looked for where the selection lists all of it anyway.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;

use crate::cluster::{ApiType, ItemHeader};

/// Types that others need, in an order in which no type needs an earlier one: the order of the archive's tail.
pub(crate) const NEEDED_TYPES: [&str; 7] = [
    CLAIMS,
    VOLUMES,
    BINDINGS,
    ROLES,
    PRIORITY_CLASSES,
    NAMESPACES,
    DEFINITIONS,
];

pub(crate) const CLAIMS: &str = "persistentvolumeclaims";
pub(crate) const VOLUMES: &str = "persistentvolumes";
pub(crate) const BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const PRIORITY_CLASSES: &str = "priorityclasses.scheduling.k8s.io";
const NAMESPACES: &str = "namespaces";
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Where an object is: its namespace (empty for cluster-scoped ones) and name.
pub(crate) type Place = (String, String);

/// What is needed and what is stored already, by type.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    needed: BTreeMap<&'static str, BTreeSet<Place>>,
    stored: BTreeMap<&'static str, BTreeSet<Place>>,
    accounts: BTreeSet<Place>,
    /// How many of the accounts bindings have been looked through for.
    considered: usize,
    custom_types: BTreeSet<String>,
}

impl Needs {
    /// Notes a stored object and what it needs. `type_name` is its type's full name, `body` its JSON.
    pub(crate) fn note(
        &mut self,
        api_type: &ApiType,
        type_name: &str,
        header: &ItemHeader,
        body: &Bytes,
    ) {
        let place = (header.namespace.clone(), header.name.clone());
        if api_type.namespaced {
            self.need(NAMESPACES, "", &header.namespace);
        }
        match type_name {
            "pods" => self.note_pod(header, body),
            "serviceaccounts" => {
                self.accounts.insert(place.clone());
            }
            CLAIMS => self.note_claim(body),
            BINDINGS => self.note_binding(body),
            // Groups of the project itself and the core group are served without definitions; the others may be.
            _ if api_type.group.contains('.') && !self.custom_types.contains(type_name) => {
                self.custom_types.insert(type_name.to_owned());
            }
            _ => {}
        }
        if let Some(name) = NEEDED_TYPES.into_iter().find(|name| *name == type_name) {
            self.stored.entry(name).or_default().insert(place);
        }
    }

    /// Returns whether ServiceAccounts are stored for which bindings have not been looked at; they count as looked at then.
    pub(crate) fn takes_new_accounts(&mut self) -> bool {
        let before = std::mem::replace(&mut self.considered, self.accounts.len());
        before < self.accounts.len()
    }

    /// Notes a binding of the cluster as needed if it names a stored ServiceAccount.
    pub(crate) fn consider_binding(&mut self, header: &ItemHeader, body: &Bytes) {
        let Ok(binding) = serde_json::from_slice::<Binding>(body) else {
            return;
        };
        let names_one = binding
            .subjects
            .unwrap_or_default()
            .into_iter()
            .any(|subject| {
                subject.kind == "ServiceAccount"
                    && self
                        .accounts
                        .contains(&(subject.namespace.unwrap_or_default(), subject.name))
            });
        if names_one {
            self.need(BINDINGS, "", &header.name);
        }
    }

    /// Returns what of a type is needed and not stored yet, in the order of the server's keys; each once, whatever comes of
    /// it.
    pub(crate) fn take_missing(&mut self, name: &'static str) -> Vec<Place> {
        let missing = self.missing(name);
        let stored = self.stored.entry(name).or_default();
        stored.extend(missing.iter().cloned());
        missing
    }

    fn missing(&self, name: &'static str) -> Vec<Place> {
        let empty = BTreeSet::new();
        let stored = self.stored.get(name).unwrap_or(&empty);
        let mut missing: Vec<Place> = match name {
            // A definition is named after its type.
            DEFINITIONS => self
                .custom_types
                .iter()
                .map(|name| (String::new(), name.clone()))
                .collect(),
            _ => self
                .needed
                .get(name)
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        };
        missing.retain(|place| !stored.contains(place));
        missing.sort_by_cached_key(|(namespace, name)| format!("{namespace}/{name}"));
        missing
    }

    fn need(&mut self, type_name: &'static str, namespace: &str, name: &str) {
        self.needed
            .entry(type_name)
            .or_default()
            .insert((namespace.to_owned(), name.to_owned()));
    }

    fn note_pod(&mut self, header: &ItemHeader, body: &Bytes) {
        let Ok(pod) = serde_json::from_slice::<Pod>(body) else {
            return;
        };
        for volume in pod.spec.volumes.unwrap_or_default() {
            if let Some(claim) = volume.persistent_volume_claim {
                self.need(CLAIMS, &header.namespace, &claim.claim_name);
            }
        }
        if let Some(class) = pod
            .spec
            .priority_class_name
            .filter(|class| !class.is_empty())
        {
            self.need(PRIORITY_CLASSES, "", &class);
        }
    }

    fn note_claim(&mut self, body: &Bytes) {
        let Ok(claim) = serde_json::from_slice::<Claim>(body) else {
            return;
        };
        // Before it is bound, a name there is only a wish (Ark 0.9.8).
        if claim.status.phase.as_deref() == Some("Bound")
            && let Some(volume) = claim.spec.volume_name.filter(|name| !name.is_empty())
        {
            self.need(VOLUMES, "", &volume);
        }
    }

    fn note_binding(&mut self, body: &Bytes) {
        let Ok(binding) = serde_json::from_slice::<Binding>(body) else {
            return;
        };
        if binding.role_ref.kind == "ClusterRole" {
            self.need(ROLES, "", &binding.role_ref.name);
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    volumes: Option<Vec<Volume>>,
    priority_class_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default)]
    persistent_volume_claim: Option<ClaimSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Claim {
    spec: ClaimSpec,
    status: ClaimStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimStatus {
    phase: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Binding {
    role_ref: RoleRef,
    subjects: Option<Vec<Subject>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(
        needs: &mut Needs,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        body: &str,
    ) {
        let api_type = ApiType {
            group: group.into(),
            resource: resource.into(),
            namespaced: !namespace.is_empty(),
            ..ApiType::default()
        };
        let header = ItemHeader {
            name: name.into(),
            namespace: namespace.into(),
            ..ItemHeader::default()
        };
        needs.note(
            &api_type,
            &api_type.group_resource(),
            &header,
            &Bytes::copy_from_slice(body.as_bytes()),
        );
    }

    fn place(namespace: &str, name: &str) -> Place {
        (namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn pods_need_claims_and_claims_volumes() {
        let mut needs = Needs::default();
        note(
            &mut needs,
            "",
            "pods",
            "n",
            "p",
            r#"{"spec":{"priorityClassName":"high","volumes":[{"name":"x","persistentVolumeClaim":{"claimName":"c"}},
               {"name":"y","emptyDir":{}}]}}"#,
        );
        assert_eq!(needs.missing(CLAIMS), [place("n", "c")]);
        assert_eq!(needs.missing(PRIORITY_CLASSES), [place("", "high")]);
        assert_eq!(needs.missing(NAMESPACES), [place("", "n")]);
        let bound = r#"{"spec":{"volumeName":"v"},"status":{"phase":"Bound"}}"#;
        note(&mut needs, "", "persistentvolumeclaims", "n", "c", bound);
        assert!(needs.missing(CLAIMS).is_empty());
        assert_eq!(needs.missing(VOLUMES), [place("", "v")]);
    }

    #[test]
    fn unbound_claims_need_no_volume() {
        let mut needs = Needs::default();
        let pending = r#"{"spec":{"volumeName":"v"},"status":{"phase":"Pending"}}"#;
        note(&mut needs, "", "persistentvolumeclaims", "n", "c", pending);
        assert!(needs.missing(VOLUMES).is_empty());
        note(
            &mut needs,
            "",
            "pods",
            "n",
            "q",
            r#"{"spec":{"volumes":[{"name":"x","persistentVolumeClaim":{"claimName":"gone"}}]}}"#,
        );
        assert_eq!(needs.take_missing(CLAIMS), [place("n", "gone")]);
        assert!(needs.take_missing(CLAIMS).is_empty(), "each once");
    }

    #[test]
    fn accounts_need_the_bindings_that_name_them() {
        let mut needs = Needs::default();
        note(&mut needs, "", "serviceaccounts", "n", "keeper", "{}");
        assert!(needs.takes_new_accounts());
        assert!(!needs.takes_new_accounts());
        for (name, subject) in [("mine", "keeper"), ("other", "visitor")] {
            let body = format!(
                r#"{{"subjects":[{{"kind":"ServiceAccount","name":"{subject}","namespace":"n"}}],
                   "roleRef":{{"kind":"ClusterRole","name":"r"}}}}"#
            );
            let header = ItemHeader {
                name: name.into(),
                ..ItemHeader::default()
            };
            needs.consider_binding(&header, &Bytes::from(body));
        }
        assert_eq!(needs.missing(BINDINGS), [place("", "mine")]);
        let body = r#"{"roleRef":{"kind":"ClusterRole","name":"r"}}"#;
        note(
            &mut needs,
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            "",
            "mine",
            body,
        );
        assert_eq!(needs.missing(ROLES), [place("", "r")]);
    }

    #[test]
    fn custom_resources_need_their_definition() {
        let mut needs = Needs::default();
        note(&mut needs, "zoo.example.org", "animals", "n", "simba", "{}");
        assert_eq!(
            needs.missing(DEFINITIONS),
            [place("", "animals.zoo.example.org")]
        );
    }
}
