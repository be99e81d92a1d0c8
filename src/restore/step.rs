//! Restores one object: transform and create. What follows if it is there already stands in `existing.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiType, ClusterError, ClusterErrorKind, CreateOptions, Created};

use super::after::{self, Afterwards};
use super::apply::{Applier, may_be_there};
use super::existing::Place;
use super::later::{self, Fate, Waiting};
use super::open::{Body, Share};
use super::owners::References;
use super::plan::Step;
use super::report::Outcome;
use super::{derived, transform, volumes, waves};
use crate::api::object::{self, Object};

/// How long the account of a Pod is waited for: a new namespace gets its default one from a controller.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked for.
const ACCOUNT_PAUSE: Duration = Duration::from_millis(200);

/// An object ready to be created.
pub(super) struct Prepared<'a> {
    pub(super) group_resource: &'a str,
    pub(super) api_type: Arc<ApiType>,
    pub(super) kind: String,
    /// The target namespace.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) body: Bytes,
    pub(super) options: CreateOptions,
    /// Whether it is a claim whose volume does not come back.
    pub(super) emptied: bool,
    /// The UID it had.
    pub(super) stored_uid: &'a str,
    /// What follows its create.
    pub(super) afterwards: Afterwards,
    /// Large objects in flight count like the frames they come from.
    _share: Share,
}

/// Why an object is not ready, and how it fares.
pub(super) struct Unprepared {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
}

impl Unprepared {
    fn failed(reason: String) -> Self {
        Self {
            outcome: Outcome::Failed,
            reason,
        }
    }
}

impl Prepared<'_> {
    /// Returns the object in words, without its namespace, under which it is reported.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.group_resource, self.name)
    }
}

impl Applier<'_> {
    /// Restores an object; `found` is what is in its place, if that is known.
    pub(super) async fn restore(&self, step: &Step, body: Body, found: Option<&Bytes>) -> Outcome {
        let entry = &self.opened.entries()[step.entry];
        let outcome = match self.prepare(step, body) {
            Ok(prepared) => self.bring_with_data(step, prepared, found).await,
            Err(unprepared) => unprepared.outcome,
        };
        if matches!(outcome, Outcome::Failed | Outcome::LeftOut) {
            self.owners.is_lost(&entry.uid);
        }
        outcome
    }

    /// Brings an object, after its data.
    async fn bring_with_data(
        &self,
        step: &Step,
        mut prepared: Prepared<'_>,
        found: Option<&Bytes>,
    ) -> Outcome {
        let Prepared {
            group_resource,
            namespace,
            name,
            ..
        } = prepared;
        let data = match self.bring_data(step, &mut prepared, found).await {
            Ok(data) => data,
            Err(why) => {
                let problem =
                    format!("its data cannot be brought back, so it is not created: {why}");
                self.report
                    .fail_object(namespace, group_resource, name, &problem);
                return Outcome::Failed;
            }
        };
        let outcome = self.bring(step, &prepared, found).await;
        if outcome == Outcome::Failed
            && let Some(left) = data.left_over()
        {
            self.report
                .warn(namespace, format!("{group_resource} {name}: {left}"));
        }
        outcome
    }

    async fn bring(&self, step: &Step, prepared: &Prepared<'_>, found: Option<&Bytes>) -> Outcome {
        let mut instead = Outcome::Created;
        if let Some(found) = found {
            match self.meet(prepared, found).await {
                Place::Taken(outcome) => return outcome,
                Place::Held(error) => return self.refused(step, prepared, error).await,
                Place::Cleared => instead = Outcome::Recreated,
                // Being deleted, or not to be read: the create tells.
                Place::Free => {}
            }
        }
        let mut error = match self.create(prepared).await {
            Ok(created) => return self.created(prepared, &created, instead).await,
            Err(error) => error,
        };
        if may_be_there(error.kind) {
            let outcome = match self.look(prepared, &error).await {
                Place::Taken(outcome) => return outcome,
                Place::Held(error) => return self.refused(step, prepared, error).await,
                Place::Cleared => Some(Outcome::Recreated),
                Place::Free => {
                    (error.kind == ClusterErrorKind::AlreadyExists).then_some(Outcome::Created)
                }
            };
            if let Some(outcome) = outcome {
                match self.create(prepared).await {
                    Ok(created) => return self.created(prepared, &created, outcome).await,
                    Err(second) => error = second,
                }
            }
        }
        self.refused(step, prepared, error).await
    }

    /// Has a refused object tried again, if that may help; else its refusal is its error.
    async fn refused(&self, step: &Step, prepared: &Prepared<'_>, error: ClusterError) -> Outcome {
        let fate = later::fate(&error);
        if fate == Fate::Final || self.patience.is_lost() {
            self.fail_create(prepared, &error).await;
            return Outcome::Failed;
        }
        tracing::info!(
            namespace = prepared.namespace,
            object = prepared.title(),
            %error,
            "refused for now"
        );
        let waiting = Waiting::Refusal {
            namespace: prepared.namespace.map(str::to_owned),
            group_resource: prepared.group_resource.to_owned(),
            name: prepared.name.to_owned(),
            error: error.message,
            fate,
        };
        self.later.push(*step, waiting);
        Outcome::Later
    }

    async fn created(
        &self,
        prepared: &Prepared<'_>,
        created: &Created,
        outcome: Outcome,
    ) -> Outcome {
        self.owners
            .is_there(prepared.stored_uid, &created.uid, prepared.namespace);
        if prepared.emptied {
            self.report
                .emptied(prepared.namespace.unwrap_or_default(), prepared.name);
        }
        self.report.dropped(prepared, created);
        if prepared.group_resource == volumes::CLAIMS {
            self.hand_over_volume(prepared, &created.uid).await;
        }
        self.follow_up(prepared, &prepared.afterwards).await;
        outcome
    }

    /// Parses and transforms a stored object; or says how it fares without being created.
    pub(super) fn prepare(&self, step: &Step, body: Body) -> Result<Prepared<'_>, Unprepared> {
        let planned = &self.types[step.planned_type];
        // A type that did not come has been reported.
        let api_type = planned
            .served
            .clone()
            .ok_or_else(|| Unprepared::failed(String::new()))?;
        self.prepare_as(step, body, api_type)
    }

    /// Does so for an object of a type that need not be served yet.
    pub(super) fn prepare_as(
        &self,
        step: &Step,
        body: Body,
        api_type: Arc<ApiType>,
    ) -> Result<Prepared<'_>, Unprepared> {
        let entry = &self.opened.entries()[step.entry];
        let planned = &self.types[step.planned_type];
        let namespace = self.namespace_of(step);
        if namespace.is_some_and(|namespace| self.lost_namespaces.contains(namespace)) {
            return Err(Unprepared::failed(String::new()));
        }
        let group_resource = planned.group_resource.as_str();
        let refuse = |problem: String| {
            self.report
                .fail_object(namespace, group_resource, &entry.name, &problem);
            Unprepared::failed(problem)
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
        if let Some(convert) = planned.convert
            && let Err(problem) = convert(&mut object)
        {
            return Err(refuse(format!(
                "it cannot be converted from {}: {problem}",
                planned.key.api_version()
            )));
        }
        if let Some(reason) = derived::by_body(group_resource, &object, step.job_restored) {
            tracing::debug!(
                group_resource,
                namespace,
                name = &*entry.name,
                reason,
                "left out"
            );
            return Err(Unprepared {
                outcome: Outcome::LeftOut,
                reason: reason.to_owned(),
            });
        }
        let owners = self.owners_of(step, &object, namespace)?;
        let afterwards = after::afterwards(&object, planned.status);
        if afterwards.status.is_none() && after::keeps_state(group_resource, &object) {
            self.report.drops_status(group_resource);
        }
        let emptied = group_resource == volumes::CLAIMS
            && self
                .emptied
                .contains(object::text(&object, &["spec", "volumeName"]));
        transform::by_type(&mut object, group_resource, &self.facts);
        if let Err(problem) = self.modifiers.apply(&planned.modifiers, entry, &mut object) {
            return Err(refuse(problem));
        }
        transform::settle(&mut object, namespace, &self.facts);
        if !owners.is_empty()
            && let Some(metadata) = object::ensure(&mut object, &["metadata"])
        {
            metadata.insert("ownerReferences".to_owned(), Value::Array(owners));
        }
        let api_version = api_type.api_version();
        let kind = if api_type.kind.is_empty() {
            &planned.key.kind
        } else {
            &api_type.kind
        }
        .clone();
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
            kind,
            namespace,
            name: self.name_of(step),
            body: body.into(),
            emptied,
            stored_uid: &entry.uid,
            afterwards,
            _share: share,
        })
    }

    /// Returns the references to an object's owners, and notes those that are lost.
    fn owners_of(
        &self,
        step: &Step,
        object: &Object,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, Unprepared> {
        let entry = &self.opened.entries()[step.entry];
        let group_resource = self.types[step.planned_type].group_resource.as_str();
        if waves::is_definition(group_resource) {
            return Ok(Vec::new());
        }
        let served = |at: usize| {
            let served = self.types.get(at)?.served.as_ref()?;
            Some((served.api_version(), served.kind.clone()))
        };
        match self
            .owners
            .references(object, group_resource, namespace, served)
        {
            References::To(owners, lost) => {
                for owner in lost {
                    self.report
                        .orphan(namespace, &owner, group_resource, &entry.name);
                }
                Ok(owners)
            }
            References::Wait => {
                self.later.push(*step, Waiting::Owner);
                Err(Unprepared {
                    outcome: Outcome::Later,
                    reason: String::new(),
                })
            }
        }
    }

    async fn create(&self, prepared: &Prepared<'_>) -> Result<Created, ClusterError> {
        let deadline = Instant::now() + ACCOUNT_PATIENCE;
        loop {
            match self.send_create(prepared, false).await {
                // Not left to the queue: a controller that comes before its Pods makes others.
                Err(error)
                    if prepared.group_resource == "pods"
                        && lacks_account(&error)
                        && !self.account_is_lost(&error) =>
                {
                    if Instant::now() >= deadline {
                        self.lose_account(&error);
                        return Err(error);
                    }
                    tokio::time::sleep(ACCOUNT_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Returns whether an account has been waited for in vain, so that nobody else does.
    fn account_is_lost(&self, error: &ClusterError) -> bool {
        let lost = self
            .lost_accounts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        lost.contains(account_of(error))
    }

    fn lose_account(&self, error: &ClusterError) {
        let mut lost = self
            .lost_accounts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        lost.insert(account_of(error).to_owned());
    }

    /// Creates an object, or has it only checked.
    pub(super) async fn send_create(
        &self,
        prepared: &Prepared<'_>,
        dry_run: bool,
    ) -> Result<Created, ClusterError> {
        let options = CreateOptions {
            dry_run,
            ..prepared.options
        };
        self.patience
            .send(|| {
                self.cluster.create(
                    &prepared.api_type,
                    prepared.namespace,
                    prepared.name,
                    prepared.body.clone(),
                    options,
                )
            })
            .await
    }
}

/// Returns the namespace and name of the account in a refusal that names one.
fn account_of(error: &ClusterError) -> &str {
    let (_, rest) = error
        .message
        .split_once("service account ")
        .unwrap_or_default();
    rest.split(':').next().unwrap_or_default()
}

/// Returns whether a Pod was refused because its service account is not there (yet).
fn lacks_account(error: &ClusterError) -> bool {
    error.kind == ClusterErrorKind::Denied
        && error.message.contains("error looking up service account")
        && error.message.contains("not found")
}
