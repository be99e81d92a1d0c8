//! Changes an object that is there: to what is stored, by another one, or by what it is owed (cases 71, 72).

use serde_json::Value;
use tokio::time::Instant;

use crate::api::Difference;
use crate::cluster::{ClusterError, ClusterErrorKind, Propagation};

use super::apply::Applier;
use super::existing::{Place, Weighed};
use super::prepare::Prepared;
use super::report::Outcome;
use super::{later, node_ports, owed};
use crate::api::object::{self, Object};

/// Types whose objects take with them what belongs to them: it could not be taken over by the new one.
const GOES_ALONG: &str = "jobs.batch";

/// What counts of an object that is there when it is to make room.
#[derive(Clone, Debug)]
pub(super) struct Existing {
    uid: String,
    /// Whether a controller makes it.
    pub(super) controlled: bool,
    /// The node ports that it gives up.
    node_ports: Vec<u64>,
}

impl Existing {
    pub(super) fn of(prepared: &Prepared<'_>, existing: &Object) -> Self {
        Self {
            uid: object::text(existing, &["metadata", "uid"]).to_owned(),
            controlled: object::list(existing, &["metadata", "ownerReferences"])
                .any(|owner| owner.get("controller") == Some(&Value::Bool(true))),
            node_ports: match prepared.group_resource {
                "services" => node_ports::of(existing),
                _ => Vec::new(),
            },
        }
    }
}

impl Applier<'_> {
    /// Gives an object what it is owed; `otherwise` is how it fares if that is nothing, or besides.
    pub(super) async fn give(
        &self,
        prepared: &Prepared<'_>,
        owed: &Object,
        otherwise: Outcome,
    ) -> Outcome {
        if owed.is_empty() {
            return otherwise;
        }
        match self
            .patch_part(prepared, "", &Value::Object(owed.clone()))
            .await
        {
            Ok(()) if otherwise == Outcome::There => Outcome::Updated,
            Ok(()) => otherwise,
            Err(error) => {
                self.fail(prepared, &error);
                Outcome::Failed
            }
        }
    }

    /// Returns the merge patch that makes an object the stored one, marked as this restore's.
    pub(super) fn whole_patch(&self, weighed: Weighed) -> Value {
        let Weighed {
            mut patch, owed, ..
        } = weighed;
        owed::join(&mut patch, owed);
        if let Some(labels) = object::ensure(&mut patch, &["metadata", "labels"]) {
            for (key, value) in &self.facts.marks {
                labels.insert((*key).to_owned(), Value::from(value.as_str()));
            }
        }
        Value::Object(patch)
    }

    /// Changes an object to what is stored (case 71); leaves it where the server does not allow that (case 72).
    pub(super) async fn update(&self, prepared: &Prepared<'_>, mut weighed: Weighed) -> Outcome {
        let differences = std::mem::take(&mut weighed.differences);
        match self
            .patch_part(prepared, "", &self.whole_patch(weighed))
            .await
        {
            Ok(()) => {
                tracing::info!(
                    namespace = prepared.namespace,
                    object = prepared.title(),
                    differences = told(&differences),
                    "changed to what is stored"
                );
                Outcome::Updated
            }
            Err(error) if is_refusal(&error) => {
                self.conflict(prepared, &differences, &refused_change(&error));
                Outcome::Different
            }
            Err(error) => {
                self.fail(prepared, &error);
                Outcome::Failed
            }
        }
    }

    /// Deletes an object to make room for the stored one, and waits until it is gone. First the API server is asked
    /// whether it would take the stored one: what is deleted for one that is refused is lost.
    pub(super) async fn clear(
        &self,
        prepared: &Prepared<'_>,
        differences: &[Difference],
        existing: &Existing,
    ) -> Place {
        match self.send_create(prepared, true).await {
            Ok(_) => return Place::Free,
            Err(error) if makes_room(&error, existing) => {}
            Err(error) if later::fate(&error) == later::Fate::Final => {
                self.conflict(prepared, differences, &refused_anew(&error));
                return Place::Taken(Outcome::Different);
            }
            Err(error) => return Place::Held(error),
        }
        tracing::info!(
            namespace = prepared.namespace,
            object = prepared.title(),
            differences = told(differences),
            "deleted to be created again"
        );
        let propagation = if prepared.group_resource == GOES_ALONG {
            Propagation::Background
        } else {
            Propagation::Orphan
        };
        let delete = self.patience.send(|| {
            self.cluster.delete(
                &prepared.api_type,
                prepared.namespace,
                prepared.name,
                &existing.uid,
                propagation,
            )
        });
        if let Err(error) = delete.await {
            self.fail(prepared, &error);
            return Place::Taken(Outcome::Failed);
        }
        let started = Instant::now();
        loop {
            match self.get(prepared).await {
                Ok(None) => return Place::Cleared,
                Ok(Some(now)) if object::text(&now, &["metadata", "uid"]) != existing.uid => {
                    let why = "it was deleted to be recreated, and somebody else has made it anew";
                    self.conflict(prepared, differences, why);
                    return Place::Taken(Outcome::Different);
                }
                Ok(Some(now)) if started.elapsed() < self.deletion_patience(prepared, &now) => {}
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
            self.pause_for_deletion().await;
        }
    }

    pub(super) fn conflict(
        &self,
        prepared: &Prepared<'_>,
        differences: &[Difference],
        consequence: &str,
    ) {
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
}

/// Returns whether a create that was only tried fails for nothing but the object that is to make room.
pub(super) fn makes_room(error: &ClusterError, existing: &Existing) -> bool {
    error.kind == ClusterErrorKind::AlreadyExists
        || node_ports::taken_port(&error.message)
            .is_some_and(|port| existing.node_ports.contains(&port))
}

/// Returns whether an error is the server's word on the object itself.
pub(super) fn is_refusal(error: &ClusterError) -> bool {
    matches!(
        error.kind,
        ClusterErrorKind::Invalid | ClusterErrorKind::Denied
    )
}

/// Says why an object could not be changed.
pub(super) fn refused_change(error: &ClusterError) -> String {
    format!(
        "left as it is, for the server refuses the change: {}; policy recreate would replace it",
        error.message
    )
}

/// Says why an object is not deleted.
pub(super) fn refused_anew(error: &ClusterError) -> String {
    format!(
        "left as it is, for the server would refuse the stored one: {}",
        error.message
    )
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
