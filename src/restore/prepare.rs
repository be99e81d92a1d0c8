//! Turns a stored object into one that is ready to be created, in two halves: [`Draft`] is the object after the rules of
//! its type, where item actions look at it; then come the request's own changes, and what is the same for all objects.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::after::{self, Afterwards};
use super::apply::Applier;
use super::later::Waiting;
use super::open::{Body, Share};
use super::owners::References;
use super::plan::Step;
use super::report::Outcome;
use super::{derived, transform, volumes, waves};
use crate::api::object::{self, Object};
use crate::cluster::{ApiType, CreateOptions};

/// A stored object after the rules of its type, still in its original namespace.
pub(super) struct Draft<'a> {
    pub(super) step: Step,
    pub(super) object: Object,
    /// The type's full name in the target.
    pub(super) group_resource: &'a str,
    pub(super) api_type: Arc<ApiType>,
    /// The target namespace.
    pub(super) namespace: Option<&'a str>,
    /// The name in the target.
    pub(super) name: &'a str,
    owners: Vec<Value>,
    pub(super) afterwards: Afterwards,
    emptied: bool,
    /// Whether fields that the type does not have are an error: another version's would be lost in silence.
    pub(super) strict: bool,
    pub(super) share: Option<Share>,
}

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
    _share: Option<Share>,
}

/// Why an object is not ready, and how it fares.
pub(super) struct Unprepared {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
}

impl Unprepared {
    pub(super) fn failed(reason: String) -> Self {
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
    /// Parses a stored object and applies the rules of its type; or says how it fares without being created.
    pub(super) fn draft(&self, step: &Step, body: Body) -> Result<Draft<'_>, Unprepared> {
        let planned = &self.types[step.planned_type];
        // A type that did not come has been reported.
        let api_type = planned
            .served
            .clone()
            .ok_or_else(|| Unprepared::failed(String::new()))?;
        self.draft_as(step, body, api_type)
    }

    /// Does so for an object of a type that need not be served yet.
    pub(super) fn draft_as(
        &self,
        step: &Step,
        body: Body,
        api_type: Arc<ApiType>,
    ) -> Result<Draft<'_>, Unprepared> {
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
        Ok(Draft {
            step: *step,
            object,
            group_resource,
            // What another version does not know is an error, not silently lost.
            strict: api_type.version != planned.key.version,
            api_type,
            namespace,
            name: self.name_of(step),
            owners,
            afterwards,
            emptied,
            share: Some(share),
        })
    }

    /// Makes the request's changes and what is the same for all objects.
    pub(super) fn finish<'a>(&'a self, draft: Draft<'a>) -> Result<Prepared<'a>, Unprepared> {
        let Draft {
            step,
            mut object,
            group_resource,
            api_type,
            namespace,
            name,
            owners,
            afterwards,
            emptied,
            strict,
            share,
        } = draft;
        let entry = &self.opened.entries()[step.entry];
        let planned = &self.types[step.planned_type];
        let refuse = |problem: String| {
            self.report
                .fail_object(namespace, group_resource, name, &problem);
            Unprepared::failed(problem)
        };
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
            options: CreateOptions {
                strict,
                ..CreateOptions::default()
            },
            api_type,
            kind,
            namespace,
            name,
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
}
