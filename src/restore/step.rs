//! Restores one object: transform and create. What follows if it is there already stands in `existing.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiType, ClusterError, ClusterErrorKind, CreateOptions};

use super::apply::{Applier, may_be_there};
use super::derived;
use super::existing::Place;
use super::object::{self, Object};
use super::open::{Body, Share};
use super::plan::Step;
use super::report::Outcome;
use super::transform::transform;

/// How long the account of a Pod is waited for: a new namespace gets its default one from a controller.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked for.
const ACCOUNT_PAUSE: Duration = Duration::from_millis(200);

/// An object ready to be created.
pub(super) struct Prepared<'a> {
    pub(super) group_resource: &'a str,
    pub(super) api_type: Arc<ApiType>,
    /// The target namespace.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) body: Bytes,
    pub(super) options: CreateOptions,
    /// Whether it is a claim whose volume does not come back.
    pub(super) emptied: bool,
    /// Large objects in flight count like the frames they come from.
    _share: Share,
}

impl Prepared<'_> {
    /// Returns the object in words, without its namespace, under which it is reported.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.group_resource, self.name)
    }
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
}

/// Returns whether a Pod was refused because its service account is not there (yet).
fn lacks_account(error: &ClusterError) -> bool {
    error.kind == ClusterErrorKind::Denied
        && error.message.contains("error looking up service account")
        && error.message.contains("not found")
}
