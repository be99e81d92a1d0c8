//! What to do about an object that is in the cluster already (cases 41, 45, 69 to 74).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Difference, ExistingResourcePolicy};
use crate::cluster::{ClusterError, ClusterErrorKind};

use super::apply::Applier;
use super::prepare::Prepared;
use super::replace::Existing;
use super::report::Outcome;
use super::rules::Told;
use super::transform::transform;
use super::treatment::{Situation, Treatment, treat};
use super::{compare, owed};
use crate::api::object::{self, Object};

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
        says: "deleted and created, once the API server has said that it would take the stored one; what belongs to it \
               stays and is taken over, but for a Job's Pods. Never a namespace, a definition, a volume, a claim, a \
               volume snapshot, nor what a controller makes: left with a warning",
    },
    Told {
        cases: "70",
        about: "different, without a namespace, while namespaces are mapped",
        says: "left with a warning, whatever the policy: it may belong to the original namespace",
    },
    Told {
        cases: "53",
        about: "a volume that has another claim",
        says: "left with a warning, whatever the policy",
    },
    Told {
        cases: "84",
        about: "an object that refers to an owner of the same name which is gone",
        says: "refers to the restored one",
    },
    Told {
        cases: "45",
        about: "a service account",
        says: "gets the secrets, pull secrets, labels and annotations that it lacks; the default one of a new namespace \
               becomes the stored one",
    },
    Told {
        cases: "54",
        about: "a volume that is there, and was of the claim that is restored",
        says: "forgets the old claim's UID, so that the restored claim gets it back with what is on it",
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

/// How long an object that is being deleted is waited for, beyond the grace that it was given.
const DELETION_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const DELETION_PAUSE: Duration = Duration::from_millis(250);

/// How often the server is asked what it would fill in, while others write to the object.
const FILL_TRIES: u32 = 5;

/// What is in the object's place.
pub(super) enum Place {
    /// Nothing (any more).
    Free,
    /// Nothing any more: what was there has been deleted to make room.
    Cleared,
    /// An object, and how that settles the matter.
    Taken(Outcome),
    /// An object that would make room, if what takes its place were not refused for now.
    Held(ClusterError),
}

/// How an object that is there compares with the stored one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Weighed {
    /// In what it differs; nothing if it is the same.
    pub(super) differences: Vec<Difference>,
    /// The merge patch that makes it the stored one.
    pub(super) patch: Object,
    /// The merge patch that it gets whatever the policy: what an account lacks, the UID of an owner that is another one
    /// now.
    pub(super) owed: Object,
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
        let started = Instant::now();
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
            if !is_going(&existing) {
                return self.settle(prepared, existing).await;
            }
            if started.elapsed() >= self.deletion_patience(prepared, &existing) {
                self.report.fail_object(
                    prepared.namespace,
                    prepared.group_resource,
                    prepared.name,
                    "it is there already and being deleted; restore again when it is gone",
                );
                return Place::Taken(Outcome::Failed);
            }
            self.pause_for_deletion().await;
        }
    }

    /// Deals with an object that a listing has found.
    pub(super) async fn meet(&self, prepared: &Prepared<'_>, found: &[u8]) -> Place {
        match serde_json::from_slice::<Object>(found) {
            Ok(mut existing) if !is_going(&existing) => {
                // Items of lists may come without them.
                existing.shift_remove("apiVersion");
                existing.shift_remove("kind");
                let version = prepared.api_type.api_version();
                existing.insert("apiVersion".to_owned(), Value::from(version.as_str()));
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
        if self.is_own_work(&existing) {
            self.finish_own(prepared, &existing).await;
            return Place::Taken(Outcome::There);
        }
        let place = Existing::of(prepared, &existing);
        let weighed = self.weigh(prepared, existing, &place).await;
        let outcome = if weighed.differences.is_empty() {
            self.give(prepared, &weighed.owed, Outcome::There).await
        } else {
            match self.treatment(prepared, &weighed.differences, &place) {
                Treatment::Update => self.update(prepared, weighed).await,
                Treatment::Recreate => {
                    return self.clear(prepared, &weighed.differences, &place).await;
                }
                Treatment::Leave(why) => {
                    self.conflict(prepared, &weighed.differences, why);
                    self.give(prepared, &weighed.owed, Outcome::Different).await
                }
            }
        };
        Place::Taken(outcome)
    }

    /// Decides what becomes of an object that is there and differs.
    pub(super) fn treatment(
        &self,
        prepared: &Prepared<'_>,
        differences: &[Difference],
        existing: &Existing,
    ) -> Treatment {
        let in_new_namespace = prepared
            .namespace
            .is_some_and(|namespace| !self.old_namespaces.contains(namespace));
        treat(&Situation {
            policy: self
                .policy
                .as_ref()
                .unwrap_or(&ExistingResourcePolicy::None),
            group_resource: prepared.group_resource,
            cluster_scoped: prepared.namespace.is_none(),
            namespaces_mapped: !self.facts.namespace_mapping.is_empty(),
            controlled: existing.controlled,
            made_with_namespace: in_new_namespace && prepared.name == "default",
            other_claim: differences
                .iter()
                .any(|one| one.path.starts_with("spec.claimRef")),
        })
    }

    /// Compares an object that is there with the one that would have been created. Changes nothing.
    pub(super) async fn weigh(
        &self,
        prepared: &Prepared<'_>,
        existing: Object,
        place: &Existing,
    ) -> Weighed {
        let Ok(mut stored) = serde_json::from_slice::<Object>(&prepared.body) else {
            return Weighed::default();
        };
        let version = object::text(&existing, &["metadata", "resourceVersion"]).to_owned();
        let mut owed = Object::new();
        let taken_over = matches!(
            self.policy,
            Some(ExistingResourcePolicy::Update | ExistingResourcePolicy::Recreate)
        );
        if let Some(owners) = owed::owners(&stored, &existing, taken_over) {
            owed.insert("metadata".to_owned(), json!({"ownerReferences": owners}));
        }
        let mut existing = self.in_place(prepared, existing);
        // What belongs to whom is compared by nobody: the owners' UIDs are others.
        object::remove(&mut stored, &["metadata"], &["ownerReferences"]);
        if prepared.group_resource == "serviceaccounts" {
            owed::join(&mut owed, owed::of_account(&stored, &existing));
        }
        let settle = |stored: &mut Object, existing: &mut Object| {
            for object in [&mut *stored, &mut *existing] {
                match prepared.group_resource {
                    "serviceaccounts" => owed::without_merged(object),
                    // How many it runs is its Deployment's to say.
                    "replicasets.apps" if place.controlled => {
                        object::remove(object, &["spec"], &["replicas"]);
                    }
                    _ => {}
                }
            }
            compare::settle(prepared.group_resource, stored, existing);
        };
        settle(&mut stored, &mut existing);
        let mut differences = compare::differences(prepared.group_resource, &stored, &existing);
        if differences.iter().any(|one| one.backup.is_none())
            && let Some(mut filled) = self.filled_in(prepared, version).await
        {
            // The stored one as the server would have it: what it fills in by itself is no difference.
            settle(&mut filled, &mut existing);
            stored = filled;
            differences = compare::differences(prepared.group_resource, &stored, &existing);
        }
        let patch = if differences.is_empty() {
            Object::new()
        } else {
            compare::patch(&existing, &stored)
        };
        Weighed {
            differences,
            patch,
            owed,
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
    /// there, of that version or a newer one.
    async fn filled_in(&self, prepared: &Prepared<'_>, mut version: String) -> Option<Object> {
        let mut stored: Object = serde_json::from_slice(&prepared.body).ok()?;
        for tries_left in (0..FILL_TRIES).rev() {
            object::ensure(&mut stored, &["metadata"])?
                .insert("resourceVersion".to_owned(), Value::from(version.as_str()));
            let body = bytes::Bytes::from(serde_json::to_vec(&stored).ok()?);
            let answer = self
                .cluster
                .try_replace(&prepared.api_type, prepared.namespace, prepared.name, body)
                .await;
            match answer {
                Ok(answer) => {
                    let filled = serde_json::from_slice(&answer).ok()?;
                    return Some(self.in_place(prepared, filled));
                }
                // Its controller writes to it; that is no difference.
                Err(error) if error.kind == ClusterErrorKind::Conflict && tries_left > 0 => {
                    let newer = self.get(prepared).await.ok()??;
                    object::text(&newer, &["metadata", "resourceVersion"]).clone_into(&mut version);
                }
                Err(error) => {
                    tracing::debug!(%error, "the server does not say what it would fill in");
                    return None;
                }
            }
        }
        None
    }

    /// Returns how long an object that is being deleted is waited for: its grace, and a while for its finalizers. A claim
    /// stays until its Pods are gone, a volume until its claim is.
    pub(super) fn deletion_patience(&self, prepared: &Prepared<'_>, existing: &Object) -> Duration {
        if prepared.group_resource.starts_with("persistentvolume") {
            return self.options.terminating_timeout;
        }
        let grace = object::at(existing, &["metadata"])
            .and_then(|metadata| metadata.get("deletionGracePeriodSeconds")?.as_u64())
            .map_or(Duration::ZERO, Duration::from_secs);
        DELETION_PATIENCE + grace.min(self.options.terminating_timeout)
    }

    pub(super) async fn pause_for_deletion(&self) {
        tokio::time::sleep(DELETION_PAUSE).await;
    }

    /// Returns whether this restore created an object: in a create whose answer was lost, or before another server took
    /// it over. What has become of the object since is none of the restore's business.
    ///
    /// Names of restores can be used again, so an object older than the Restore is not its work. Without labels nothing
    /// shows whose an object is; then the comparison decides.
    pub(super) fn is_own_work(&self, existing: &Object) -> bool {
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

/// Returns whether an object is being deleted.
pub(super) fn is_going(existing: &Object) -> bool {
    !object::text(existing, &["metadata", "deletionTimestamp"]).is_empty()
}
