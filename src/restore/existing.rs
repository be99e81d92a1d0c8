//! What to do about an object that is in the cluster already (cases 41, 45, 69 to 74).

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Difference, ExistingResourcePolicy};
use crate::cluster::{ClusterError, ClusterErrorKind, ListScope, PageRequest};

use super::apply::Applier;
use super::compare;
use super::object::{self, Object};
use super::report::Outcome;
use super::rules::Told;
use super::step::Prepared;
use super::transform::transform;

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "69",
        about: "the same as stored",
        says: "passed over in silence; what the server fills in by itself is no difference",
    },
    Told {
        cases: "70",
        about: "different, policy `none`",
        says: "left; a warning names the fields, one for all objects of a type that differ in the same",
    },
    Told {
        cases: "71, 72",
        about: "different, policy `update`",
        says: "changed to what is stored, fields that are not stored removed; if the server refuses that, left with a warning",
    },
    Told {
        cases: "72",
        about: "different, policy `recreate`",
        says: "deleted, with what its controllers made of it, and created; but never a namespace, a definition, a volume or \
               a claim",
    },
    Told {
        cases: "45",
        about: "a service account",
        says: "gets the secrets, pull secrets, labels and annotations that it lacks",
    },
    Told {
        cases: "54",
        about: "a volume that is released, and was of the claim that it is stored with",
        says: "forgets that claim's UID, so that the restored claim gets it back with what is on it",
    },
    Told {
        cases: "54",
        about: "an object that is being deleted",
        says: "waited for, then created; an error if it does not go",
    },
    Told {
        cases: "41, 74",
        about: "refused for another reason while something is in its place",
        says: "compared with that",
    },
    Told {
        cases: "73",
        about: "there, but cannot be read",
        says: "left with a warning",
    },
];

/// How long an object that is being deleted is waited for.
const DELETION_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const DELETION_PAUSE: Duration = Duration::from_millis(250);

/// Types of which nothing is recreated: too much hangs on them, or goes with them.
pub(super) const NEVER_RECREATED: [&str; 4] = [
    "namespaces",
    "customresourcedefinitions.apiextensions.k8s.io",
    "persistentvolumes",
    "persistentvolumeclaims",
];

/// What is in the object's place.
pub(super) enum Place {
    /// Nothing (any more).
    Free,
    /// Nothing any more: what was there has been deleted to make room.
    Cleared,
    /// An object, and how that settles the matter.
    Taken(Outcome),
}

/// How an object that is there compares with the stored one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Weighed {
    /// This restore made it.
    Own,
    /// It is the same, but for what an account lacks, or a volume has to forget.
    Same(Option<Value>),
    /// It differs.
    Differs {
        /// In what.
        differences: Vec<Difference>,
        /// The merge patch that makes it the stored one.
        patch: Object,
    },
}

impl Applier<'_> {
    pub(super) async fn get(
        &self,
        prepared: &Prepared<'_>,
    ) -> Result<Option<Object>, ClusterError> {
        let body = self
            .patience
            .send(|| {
                self.cluster
                    .get(&prepared.api_type, prepared.namespace, prepared.name)
            })
            .await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Looks at what is in the place of an object that could not be created for `refusal`.
    pub(super) async fn look(&self, prepared: &Prepared<'_>, refusal: &ClusterError) -> Place {
        let deadline = Instant::now() + DELETION_PATIENCE;
        loop {
            let existing = match self.get(prepared).await {
                Ok(Some(existing)) => existing,
                Ok(None) => return Place::Free,
                // Whether it is there stays open: the refusal is what can be told.
                Err(_) if refusal.kind != ClusterErrorKind::AlreadyExists => return Place::Free,
                Err(error) => {
                    self.report.warn(
                        prepared.namespace,
                        format!(
                            "{} is there already and could not be compared: {error}",
                            prepared.title()
                        ),
                    );
                    return Place::Taken(Outcome::Different);
                }
            };
            if object::text(&existing, &["metadata", "deletionTimestamp"]).is_empty() {
                return self.settle(prepared, existing).await;
            }
            if Instant::now() >= deadline {
                self.report.fail_object(
                    prepared.namespace,
                    prepared.group_resource,
                    prepared.name,
                    "it is there already and being deleted; restore again when it is gone",
                );
                return Place::Taken(Outcome::Failed);
            }
            tokio::time::sleep(DELETION_PAUSE).await;
        }
    }

    /// Deals with an object that a listing has found.
    pub(super) async fn meet(&self, prepared: &Prepared<'_>, found: &[u8]) -> Place {
        match serde_json::from_slice::<Object>(found) {
            Ok(mut existing)
                if object::text(&existing, &["metadata", "deletionTimestamp"]).is_empty() =>
            {
                // Items of lists may come without them.
                existing.shift_remove("apiVersion");
                existing.shift_remove("kind");
                let version = prepared.api_type.api_version();
                existing.insert("apiVersion".to_owned(), Value::from(version));
                existing.insert("kind".to_owned(), Value::from(prepared.kind.as_str()));
                self.settle(prepared, existing).await
            }
            _ => Place::Free,
        }
    }

    /// Does what the policy says about an object that is there.
    async fn settle(&self, prepared: &Prepared<'_>, existing: Object) -> Place {
        let uid = object::text(&existing, &["metadata", "uid"]).to_owned();
        self.owners
            .is_there(prepared.stored_uid, &uid, prepared.namespace);
        let outcome = match self.weigh(prepared, existing).await {
            Weighed::Own | Weighed::Same(None) => Outcome::There,
            Weighed::Same(Some(patch)) => match self.patch(prepared, &patch).await {
                Ok(()) => Outcome::Updated,
                Err(error) => {
                    self.fail(prepared, &error);
                    Outcome::Failed
                }
            },
            Weighed::Differs { differences, patch } => match self.policy() {
                ExistingResourcePolicy::Update => self.update(prepared, &differences, patch).await,
                ExistingResourcePolicy::Recreate
                    if !NEVER_RECREATED.contains(&prepared.group_resource) =>
                {
                    return self.clear(prepared, &differences, &uid).await;
                }
                ExistingResourcePolicy::Recreate => {
                    let why = "objects of this type are never recreated; left as it is";
                    self.conflict(prepared, &differences, why);
                    Outcome::Different
                }
                ExistingResourcePolicy::None | ExistingResourcePolicy::Other(_) => {
                    self.conflict(prepared, &differences, "left as it is");
                    Outcome::Different
                }
            },
        };
        Place::Taken(outcome)
    }

    /// Returns what the request says about objects that are there and differ.
    pub(super) fn policy(&self) -> &ExistingResourcePolicy {
        self.policy
            .as_ref()
            .unwrap_or(&ExistingResourcePolicy::None)
    }

    /// Compares an object that is there with the one that would have been created. Changes nothing.
    pub(super) async fn weigh(&self, prepared: &Prepared<'_>, existing: Object) -> Weighed {
        if self.is_own_work(&existing) {
            return Weighed::Own;
        }
        let Ok(mut stored) = serde_json::from_slice::<Object>(&prepared.body) else {
            return Weighed::Same(None);
        };
        let version = object::text(&existing, &["metadata", "resourceVersion"]).to_owned();
        let released = object::text(&existing, &["status", "phase"]) == "Released";
        let mut existing = self.in_place(prepared, existing);
        // What belongs to whom is compared by nobody: the owners' UIDs are others.
        object::remove(&mut stored, &["metadata"], &["ownerReferences"]);
        let mut lacks = None;
        if prepared.group_resource == "persistentvolumes" && released {
            lacks = compare::claim_to_forget(&stored, &existing);
        }
        if prepared.group_resource == "serviceaccounts" {
            lacks = compare::missing_of_account(&stored, &existing);
            compare::without_merged(&mut stored);
            compare::without_merged(&mut existing);
        }
        compare::settle(prepared.group_resource, &mut stored, &mut existing);
        let mut differences = compare::differences(prepared.group_resource, &stored, &existing);
        if differences.iter().any(|one| one.backup.is_none())
            && let Some(mut filled) = self.filled_in(prepared, &version).await
        {
            // The stored one as the server would have it: what it fills in by itself is no difference.
            if prepared.group_resource == "serviceaccounts" {
                compare::without_merged(&mut filled);
            }
            compare::settle(prepared.group_resource, &mut filled, &mut existing);
            stored = filled;
            differences = compare::differences(prepared.group_resource, &stored, &existing);
        }
        if differences.is_empty() {
            return Weighed::Same(lacks);
        }
        Weighed::Differs {
            differences,
            patch: compare::patch(&existing, &stored),
        }
    }

    fn in_place(&self, prepared: &Prepared<'_>, mut existing: Object) -> Object {
        transform(
            &mut existing,
            prepared.group_resource,
            prepared.namespace,
            &self.existing_facts,
        );
        existing
    }

    /// Returns the stored object with what the server would fill in, if it would take it in place of the one that is
    /// there.
    async fn filled_in(&self, prepared: &Prepared<'_>, version: &str) -> Option<Object> {
        let mut stored: Object = serde_json::from_slice(&prepared.body).ok()?;
        object::ensure(&mut stored, &["metadata"])?
            .insert("resourceVersion".to_owned(), Value::from(version));
        let body = bytes::Bytes::from(serde_json::to_vec(&stored).ok()?);
        let answer = self
            .cluster
            .try_replace(&prepared.api_type, prepared.namespace, prepared.name, body)
            .await
            .inspect_err(
                |error| tracing::debug!(%error, "the server does not say what it would fill in"),
            )
            .ok()?;
        let filled = serde_json::from_slice(&answer).ok()?;
        Some(self.in_place(prepared, filled))
    }

    /// Changes an object to what is stored (case 71); leaves it where the server does not allow that (case 72).
    async fn update(
        &self,
        prepared: &Prepared<'_>,
        differences: &[Difference],
        mut patch: Object,
    ) -> Outcome {
        if let Some(labels) = object::ensure(&mut patch, &["metadata", "labels"]) {
            for (key, value) in &self.facts.marks {
                labels.insert((*key).to_owned(), Value::from(value.as_str()));
            }
        }
        match self.patch(prepared, &Value::Object(patch)).await {
            Ok(()) => {
                tracing::info!(
                    namespace = prepared.namespace,
                    object = prepared.title(),
                    differences = told(differences),
                    "changed to what is stored"
                );
                Outcome::Updated
            }
            Err(error)
                if matches!(
                    error.kind,
                    ClusterErrorKind::Invalid | ClusterErrorKind::Denied
                ) =>
            {
                let why = format!(
                    "left as it is, for the server refuses the change: {}; policy recreate would replace it",
                    error.message
                );
                self.conflict(prepared, differences, &why);
                Outcome::Different
            }
            Err(error) => {
                self.fail(prepared, &error);
                Outcome::Failed
            }
        }
    }

    /// Deletes an object to make room for the stored one, and waits until it is gone.
    async fn clear(&self, prepared: &Prepared<'_>, differences: &[Difference], uid: &str) -> Place {
        tracing::info!(
            namespace = prepared.namespace,
            object = prepared.title(),
            differences = told(differences),
            "deleted to be created again"
        );
        let delete = self.patience.send(|| {
            self.cluster
                .delete(&prepared.api_type, prepared.namespace, prepared.name, uid)
        });
        if let Err(error) = delete.await {
            self.fail(prepared, &error);
            return Place::Taken(Outcome::Failed);
        }
        let deadline = Instant::now() + DELETION_PATIENCE;
        loop {
            match self.get(prepared).await {
                Ok(None) => return Place::Cleared,
                Ok(Some(_)) if Instant::now() < deadline => {}
                Ok(Some(_)) => {
                    self.report.fail_object(
                        prepared.namespace,
                        prepared.group_resource,
                        prepared.name,
                        "it was deleted to be recreated and is not gone yet: something holds it (finalizers); restore \
                         again when it is gone",
                    );
                    return Place::Taken(Outcome::Failed);
                }
                Err(error) => {
                    self.fail(prepared, &error);
                    return Place::Taken(Outcome::Failed);
                }
            }
            tokio::time::sleep(DELETION_PAUSE).await;
        }
    }

    fn conflict(&self, prepared: &Prepared<'_>, differences: &[Difference], consequence: &str) {
        tracing::info!(
            namespace = prepared.namespace,
            object = prepared.title(),
            differences = told(differences),
            "there already, and differs"
        );
        let fields: Vec<&str> = differences.iter().map(|one| one.path.as_str()).collect();
        self.report.differs(
            prepared.namespace,
            prepared.group_resource,
            prepared.name,
            &fields,
            consequence,
        );
    }

    /// Reports an error about an object; of a node port that is taken, with who has it (case 41).
    pub(super) async fn fail_create(&self, prepared: &Prepared<'_>, error: &ClusterError) {
        let port = (prepared.group_resource == "services")
            .then(|| taken_port(&error.message))
            .flatten();
        let Some(port) = port else {
            return self.fail(prepared, error);
        };
        let holder = self.holder_of(prepared, port).await;
        let holder = holder.unwrap_or_else(|| "another Service".to_owned());
        let told = format!(
            "{}; {holder} has node port {port}: restore without --preserve-nodeports, or free it",
            error.message
        );
        self.report.fail_object(
            prepared.namespace,
            prepared.group_resource,
            prepared.name,
            &told,
        );
    }

    /// Finds the Service that has a node port.
    async fn holder_of(&self, prepared: &Prepared<'_>, port: u64) -> Option<String> {
        let mut continue_token = None;
        loop {
            let request = PageRequest {
                scope: &ListScope::Cluster,
                label_selector: None,
                field_selector: None,
                limit: 500,
                continue_token: continue_token.as_deref(),
            };
            let page = self
                .cluster
                .list_page(&prepared.api_type, &request)
                .await
                .ok()?;
            for item in &page.items {
                let Ok(service) = serde_json::from_slice::<Object>(&item.body) else {
                    continue;
                };
                let holds = object::list(&service, &["spec", "ports"])
                    .any(|one| one.get("nodePort").and_then(Value::as_u64) == Some(port))
                    || object::at(&service, &["spec"]).is_some_and(|spec| {
                        spec.get("healthCheckNodePort").and_then(Value::as_u64) == Some(port)
                    });
                if holds {
                    let text = |key: &str| object::text(&service, &["metadata", key]).to_owned();
                    return Some(format!("Service {}/{}", text("namespace"), text("name")));
                }
            }
            continue_token = Some(page.continue_token?);
        }
    }

    pub(super) fn fail(&self, prepared: &Prepared<'_>, error: &ClusterError) {
        if !self.patience.is_lost() {
            self.report.fail_object(
                prepared.namespace,
                prepared.group_resource,
                prepared.name,
                &error.message,
            );
        }
    }

    async fn patch(&self, prepared: &Prepared<'_>, patch: &Value) -> Result<(), ClusterError> {
        self.patience
            .send(|| {
                let patch = self.cluster.merge_patch(
                    &prepared.api_type,
                    prepared.namespace,
                    prepared.name,
                    patch,
                );
                async { patch.await.map(|_| ()) }
            })
            .await
    }

    /// Returns whether this restore created an object: in a create whose answer was lost, or before another server took
    /// it over. What has become of the object since is none of the restore's business.
    ///
    /// Names of restores can be used again, so an object older than the Restore is not its work. Without labels nothing
    /// shows whose an object is; then the comparison decides.
    fn is_own_work(&self, existing: &Object) -> bool {
        let created = || {
            object::text(existing, &["metadata", "creationTimestamp"])
                .parse::<jiff::Timestamp>()
                .ok()
        };
        compare::is_marked(existing, &self.facts.marks)
            && self
                .since
                .is_none_or(|since| created().is_some_and(|created| created >= since))
    }
}

/// Returns the port in a refusal that says that one is taken.
fn taken_port(message: &str) -> Option<u64> {
    let (before, _) = message.split_once(": provided port is already allocated")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Writes differences for a log.
fn told(differences: &[Difference]) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let all: Vec<String> = differences
        .iter()
        .map(|one| {
            format!(
                "{}: {} -> {}",
                one.path,
                value(&one.cluster),
                value(&one.backup)
            )
        })
        .collect();
    all.join(", ")
}
