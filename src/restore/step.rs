//! Restores one object: has it prepared, and creates it. What follows if it is there already stands in `existing.rs`.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterErrorKind, CreateOptions, Created};

use super::apply::{Applier, may_be_there};
use super::existing::Place;
use super::later::{self, Fate, Waiting};
use super::open::Body;
use super::plan::Step;
use super::prepare::Prepared;
use super::report::Outcome;
use super::volumes;

/// How long the account of a Pod is waited for: a new namespace gets its default one from a controller.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked for.
const ACCOUNT_PAUSE: Duration = Duration::from_millis(200);

impl Applier<'_> {
    /// Restores an object; `found` is what is in its place, if that is known.
    pub(super) async fn restore(&self, step: &Step, body: Body, found: Option<&Bytes>) -> Outcome {
        let draft = self.draft(step, body);
        let outcome = match draft.and_then(|draft| self.finish(draft)) {
            Ok(prepared) => self.bring_with_data(step, prepared, found).await,
            Err(unprepared) => unprepared.outcome,
        };
        self.note_owner(step, outcome);
        outcome
    }

    /// Notes of an object that it will not be there for those that it owns.
    pub(super) fn note_owner(&self, step: &Step, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed | Outcome::LeftOut) {
            self.owners.is_lost(&self.opened.entries()[step.entry].uid);
        }
    }

    /// Brings an object, after its data.
    pub(super) async fn bring_with_data(
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
