//! Restores one object: transform, create, and what to do if it is there already.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiType, ClusterError, ClusterErrorKind, CreateOptions};

use super::apply::{Applier, may_be_there};
use super::object::{self, Object};
use super::open::{Body, Share};
use super::plan::Step;
use super::report::{Outcome, list_names};
use super::transform::transform;
use super::{compare, derived};

/// How long an object that is being deleted is waited for.
const DELETION_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const DELETION_PAUSE: Duration = Duration::from_millis(500);

/// How long the account of a Pod is waited for: a new namespace gets its default one from a controller.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked for.
const ACCOUNT_PAUSE: Duration = Duration::from_millis(200);

/// An object ready to be created.
struct Prepared<'a> {
    group_resource: &'a str,
    api_type: Arc<ApiType>,
    /// The target namespace.
    namespace: Option<&'a str>,
    name: &'a str,
    body: Bytes,
    options: CreateOptions,
    /// Whether it is a claim whose volume does not come back.
    emptied: bool,
    /// Large objects in flight count like the frames they come from.
    _share: Share,
}

impl Prepared<'_> {
    /// Returns the object in words, without its namespace, under which it is reported.
    fn title(&self) -> String {
        format!("{} {}", self.group_resource, self.name)
    }
}

/// What is in the object's place.
enum Place {
    /// Nothing (any more).
    Free,
    /// An object, and how that settles the matter.
    Taken(Outcome),
}

impl Applier<'_> {
    /// Restores an object.
    pub(super) async fn restore(&self, step: &Step, body: Body) -> Outcome {
        let prepared = match self.prepare(step, body) {
            Ok(prepared) => prepared,
            Err(outcome) => return outcome,
        };
        let mut error = match self.create(&prepared).await {
            Ok(()) => return self.created(&prepared),
            Err(error) => error,
        };
        if may_be_there(error.kind) {
            match self.look(&prepared, &error).await {
                Place::Taken(outcome) => return outcome,
                Place::Free if error.kind == ClusterErrorKind::AlreadyExists => {
                    match self.create(&prepared).await {
                        Ok(()) => return self.created(&prepared),
                        Err(second) => error = second,
                    }
                }
                Place::Free => {}
            }
        }
        if !self.patience.is_lost() {
            self.report.fail(prepared.namespace, error.to_string());
        }
        Outcome::Failed
    }

    fn created(&self, prepared: &Prepared<'_>) -> Outcome {
        if prepared.emptied {
            self.report
                .emptied(prepared.namespace.unwrap_or_default(), prepared.name);
        }
        Outcome::Created
    }

    /// Parses and transforms a stored object; or says how it fares without being created.
    fn prepare(&self, step: &Step, body: Body) -> Result<Prepared<'_>, Outcome> {
        let entry = &self.opened.entries()[step.entry];
        let planned = &self.types[step.planned_type];
        // A type that did not come has been reported.
        let api_type = planned.served.clone().ok_or(Outcome::Failed)?;
        let namespace = entry
            .namespace
            .as_deref()
            .map(|original| self.facts.target_namespace(original));
        if namespace.is_some_and(|namespace| self.lost_namespaces.contains(namespace)) {
            return Err(Outcome::Failed);
        }
        let group_resource = planned.group_resource.as_str();
        let refuse = |problem: String| {
            self.report.fail(
                namespace,
                format!("{group_resource} {}: {problem}", entry.name),
            );
            Outcome::Failed
        };
        let Body { bytes, share } = body;
        let mut object: Object = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("what is stored is no object: {error}")))?;
        drop(bytes);
        if object::text(&object, &["metadata", "name"]) != &*entry.name
            || object::text(&object, &["metadata", "namespace"])
                != entry.namespace.as_deref().unwrap_or_default()
        {
            return Err(refuse(
                "what is stored is another object than the backup's index says".to_owned(),
            ));
        }
        if let Some(reason) = derived::by_body(group_resource, &object, step.job_restored) {
            tracing::debug!(
                group_resource,
                namespace,
                name = &*entry.name,
                reason,
                "left out"
            );
            return Err(Outcome::LeftOut);
        }
        let emptied = group_resource == "persistentvolumeclaims"
            && self
                .facts
                .provisioned_anew
                .contains(object::text(&object, &["spec", "volumeName"]));
        transform(&mut object, group_resource, namespace, &self.facts);
        let api_version = api_type.api_version();
        let kind = if api_type.kind.is_empty() {
            &planned.key.kind
        } else {
            &api_type.kind
        };
        object.insert("apiVersion".to_owned(), Value::from(api_version));
        object.insert("kind".to_owned(), Value::from(kind.as_str()));
        let body = serde_json::to_vec(&object)
            .map_err(|error| refuse(format!("it cannot be written: {error}")))?;
        Ok(Prepared {
            group_resource,
            // What another version does not know is an error, not silently lost.
            options: CreateOptions {
                strict: api_type.version != planned.key.version,
                ..CreateOptions::default()
            },
            api_type,
            namespace,
            name: &entry.name,
            body: body.into(),
            emptied,
            _share: share,
        })
    }

    async fn create(&self, prepared: &Prepared<'_>) -> Result<(), ClusterError> {
        let deadline = Instant::now() + ACCOUNT_PATIENCE;
        loop {
            match self.send_create(prepared).await {
                Err(error)
                    if prepared.group_resource == "pods"
                        && lacks_account(&error)
                        && Instant::now() < deadline =>
                {
                    tokio::time::sleep(ACCOUNT_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn send_create(&self, prepared: &Prepared<'_>) -> Result<(), ClusterError> {
        self.patience
            .send(|| {
                let create = self.cluster.create(
                    &prepared.api_type,
                    prepared.namespace,
                    prepared.name,
                    prepared.body.clone(),
                    prepared.options,
                );
                async { create.await.map(|_| ()) }
            })
            .await
    }

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
    async fn look(&self, prepared: &Prepared<'_>, refusal: &ClusterError) -> Place {
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

/// Returns whether a Pod was refused because its service account is not there (yet).
fn lacks_account(error: &ClusterError) -> bool {
    error.kind == ClusterErrorKind::Denied
        && error.message.contains("error looking up service account")
        && error.message.contains("not found")
}
