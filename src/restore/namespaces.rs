//! Makes sure that a target namespace is there (cases 18 to 21).

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{ApiType, ClusterError, ClusterErrorKind, CreateOptions, NamespaceState};

use super::apply::{Applier, may_be_there};
use super::later;
use super::open::Body;
use super::plan::NamespaceStep;
use super::report::Outcome;
use super::rules::Told;
use super::transform;
use crate::api::object::Object;

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "18",
        about: "a namespace that is missing",
        says: "made from the stored one under its target name",
    },
    Told {
        cases: "19",
        about: "a namespace that is there",
        says: "left as it is",
    },
    Told {
        cases: "74",
        about: "a namespace that may not be created, or that a webhook refuses",
        says: "taken as it is if it is there; else tried again for a while",
    },
    Told {
        cases: "20",
        about: "a namespace that is being deleted",
        says: "waited for once; if it stays, one error for all that goes into it",
    },
    Told {
        cases: "21",
        about: "a namespace that the backup holds only objects of",
        says: "made bare",
    },
];

/// The first pause before a namespace that was refused is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a namespace that is being deleted is looked at.
const PAUSE: Duration = Duration::from_millis(500);

impl Applier<'_> {
    /// Creates a namespace, from its stored object if there is one; leaves one that is there as it is (case 19), and
    /// waits for one that is being deleted (case 20).
    ///
    /// # Errors
    /// Why the namespace cannot be had, in words for the report.
    pub(super) async fn namespace(
        &self,
        step: &NamespaceStep,
        body: Option<Body>,
    ) -> Result<Outcome, String> {
        let object = self.namespace_object(step, body);
        let gone_by = Instant::now() + self.options.terminating_timeout;
        let mut refused_since: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            if self.patience.is_lost() {
                return Err(format!("namespace {} was not tried", step.target));
            }
            let refusal = match self.create_namespace(step, &object).await {
                Ok(()) => return Ok(Outcome::Created),
                Err(error) => error,
            };
            let taken = refusal.kind == ClusterErrorKind::AlreadyExists;
            if may_be_there(refusal.kind) {
                match self.cluster.namespace_state(&step.target).await {
                    Ok(Some(NamespaceState::Active)) => return Ok(Outcome::There),
                    Ok(Some(NamespaceState::Terminating)) => {
                        self.wait_until_gone(step, gone_by).await?;
                        refused_since = None;
                        continue;
                    }
                    // Gone since: the next round creates it.
                    Ok(None) if taken => continue,
                    Err(error) if taken => return Err(error.to_string()),
                    // Whether it is there stays open: the refusal is what can be told.
                    Ok(None) | Err(_) => {}
                }
            }
            let spent = refused_since.get_or_insert_with(Instant::now).elapsed();
            if !self.may_go_on(later::fate(&refusal), spent) {
                return Err(refusal.to_string());
            }
            tracing::info!(namespace = step.target, error = %refusal, "refused for now");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn create_namespace(
        &self,
        step: &NamespaceStep,
        object: &Bytes,
    ) -> Result<(), ClusterError> {
        let api_type = ApiType {
            version: "v1".to_owned(),
            resource: "namespaces".to_owned(),
            ..ApiType::default()
        };
        self.patience
            .send(|| {
                let create = self.cluster.create(
                    &api_type,
                    None,
                    &step.target,
                    object.clone(),
                    CreateOptions::default(),
                );
                async { create.await.map(|_| ()) }
            })
            .await
    }

    async fn wait_until_gone(&self, step: &NamespaceStep, deadline: Instant) -> Result<(), String> {
        tracing::info!(
            namespace = step.target,
            "waiting for a namespace to be deleted"
        );
        loop {
            match self.cluster.namespace_state(&step.target).await {
                Ok(Some(NamespaceState::Terminating)) => {}
                Ok(Some(NamespaceState::Active) | None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "namespace {} is still being deleted after {} s; restore again when it is gone",
                    step.target,
                    self.options.terminating_timeout.as_secs()
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the Namespace to create: the stored one under its target name, else a bare one (case 21).
    fn namespace_object(&self, step: &NamespaceStep, body: Option<Body>) -> Bytes {
        let stored = body.and_then(|body| {
            serde_json::from_slice::<Object>(&body.bytes)
                .inspect_err(|error| {
                    self.report.warn(
                        Some(&step.target),
                        format!(
                            "namespace {} is made without its labels and annotations: {error}",
                            step.target
                        ),
                    );
                })
                .ok()
        });
        let object = match stored {
            Some(mut object) => {
                transform::own_metadata(&mut object, &step.target);
                object.insert("apiVersion".to_owned(), Value::from("v1"));
                object.insert("kind".to_owned(), Value::from("Namespace"));
                Value::Object(object)
            }
            None => {
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": step.target}})
            }
        };
        object.to_string().into()
    }
}
