//! What to do about an object that is in the cluster already (cases 19, 41, 45, 69 to 74).

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterErrorKind};

use super::apply::Applier;
use super::compare;
use super::object::{self, Object};
use super::report::{Outcome, list_names};
use super::rules::Told;
use super::step::Prepared;
use super::transform::transform;

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "69",
        about: "the same as stored",
        says: "passed over in silence",
    },
    Told {
        cases: "70",
        about: "different",
        says: "left; a warning names the fields",
    },
    Told {
        cases: "45",
        about: "a service account",
        says: "gets the secrets, pull secrets, labels and annotations that it lacks",
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
const DELETION_PAUSE: Duration = Duration::from_millis(500);

/// What is in the object's place.
pub(super) enum Place {
    /// Nothing (any more).
    Free,
    /// An object, and how that settles the matter.
    Taken(Outcome),
}

impl Applier<'_> {
    async fn get(&self, prepared: &Prepared<'_>) -> Result<Option<Object>, ClusterError> {
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
                    return Place::Taken(Outcome::There);
                }
            };
            if object::text(&existing, &["metadata", "deletionTimestamp"]).is_empty() {
                return Place::Taken(self.compare(prepared, existing).await);
            }
            if Instant::now() >= deadline {
                self.report.fail(
                    prepared.namespace,
                    format!(
                        "{} is there already and being deleted; restore again when it is gone",
                        prepared.title()
                    ),
                );
                return Place::Taken(Outcome::Failed);
            }
            tokio::time::sleep(DELETION_PAUSE).await;
        }
    }

    /// Compares an object that is there with the one that would have been created (cases 45, 69, 70).
    async fn compare(&self, prepared: &Prepared<'_>, mut existing: Object) -> Outcome {
        if self.is_own_work(&existing) {
            return Outcome::There;
        }
        let Ok(mut stored) = serde_json::from_slice::<Object>(&prepared.body) else {
            return Outcome::There;
        };
        transform(
            &mut existing,
            prepared.group_resource,
            prepared.namespace,
            &self.existing_facts,
        );
        if prepared.group_resource == "serviceaccounts" {
            if let Some(patch) = compare::missing_of_account(&stored, &existing)
                && let Err(error) = self.patch(prepared, &patch).await
            {
                self.report.fail(prepared.namespace, error.to_string());
                return Outcome::Failed;
            }
            compare::without_merged(&mut stored);
            compare::without_merged(&mut existing);
        }
        let paths = compare::differences(prepared.group_resource, stored, existing);
        if !paths.is_empty() {
            self.report.warn(
                prepared.namespace,
                format!(
                    "{} is there already and differs in {}; it was left as it is",
                    prepared.title(),
                    list_names(&paths)
                ),
            );
        }
        Outcome::There
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
