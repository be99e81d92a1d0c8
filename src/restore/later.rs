//! What is tried again later: objects that were refused for a reason that may pass while others are restored.
//!
//! A webhook's or an aggregated API's own Pods may be among them, an account that a Pod names, the room in a quota. So a
//! refused object waits in a queue, which is tried once after each wave, and at the end round by round, all of it side by
//! side, until nothing is left or the time for it is over. Bodies do not wait: they are read again.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterErrorKind};

use super::apply::Applier;
use super::plan::Step;
use super::rules::Told;

/// The first pause between two rounds at the end; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "20, 65, 68",
        about: "an object that a webhook, a quota or a missing reference refuses",
        says: "is tried again after each later wave, then for a while; the last refusal is its error",
    },
    Told {
        cases: "68",
        about: "an object whose webhook, aggregated API or type does not answer",
        says: "is tried again likewise, for longer",
    },
    Told {
        cases: "",
        about: "429, Retry-After, a silent API server",
        says: "slow the whole run down",
    },
];

/// Whether a refusal may pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It will not.
    Final,
    /// Somebody decided it, and may decide otherwise once others are there.
    Refused,
    /// Whoever has to answer is not there yet.
    Unavailable,
}

/// Decides whether what refused an object may pass.
pub(super) fn fate(error: &ClusterError) -> Fate {
    let says = |words: &str| error.message.contains(words);
    match error.kind {
        // It is gone, and will not come back by itself.
        ClusterErrorKind::NotFound if says("namespaces \"") => Fate::Final,
        ClusterErrorKind::ServerError
        | ClusterErrorKind::TooManyRequests
        // The type, or the namespace: an aggregated API that is not up.
        | ClusterErrorKind::NotFound
        | ClusterErrorKind::Unreachable => Fate::Unavailable,
        ClusterErrorKind::Conflict => Fate::Refused,
        ClusterErrorKind::Denied | ClusterErrorKind::Invalid => {
            let may_pass = says("admission webhook")
                || says("exceeded quota")
                || says("not yet ready to handle request")
                || says("error looking up service account")
                || says("no PriorityClass with name")
                || says("attempting to grant RBAC permissions");
            if may_pass { Fate::Refused } else { Fate::Final }
        }
        ClusterErrorKind::AlreadyExists
        | ClusterErrorKind::Gone
        | ClusterErrorKind::Malformed => Fate::Final,
    }
}

/// Why an object waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Waiting {
    /// For an owner that waits itself.
    Owner,
    /// For whatever refused it to be over.
    Refusal {
        /// The target namespace.
        namespace: Option<String>,
        /// Its type.
        group_resource: String,
        /// Its name.
        name: String,
        /// The last refusal.
        error: String,
        fate: Fate,
    },
}

/// The objects that wait.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Vec<(Step, Waiting)>>);

impl Queue {
    pub(super) fn push(&self, step: Step, waiting: Waiting) {
        self.lock().push((step, waiting));
    }

    pub(super) fn take(&self) -> Vec<(Step, Waiting)> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Step, Waiting)>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Applier<'_> {
    /// Tries once what waits.
    pub(super) async fn try_waiting(&self) {
        let waiting = self.later.take();
        if waiting.is_empty() || self.patience.is_lost() {
            self.put_back(waiting);
            return;
        }
        let steps: Vec<Step> = waiting.into_iter().map(|(step, _)| step).collect();
        tracing::info!(items = steps.len(), "trying again what was refused");
        self.wave(&steps).await;
    }

    /// Tries what waits until nothing is left or its time is over; what is left then has failed.
    pub(super) async fn try_to_the_end(&self) {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let waiting = self.later.take();
            if waiting.is_empty() {
                return;
            }
            let (go_on, over): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, waiting)| self.has_time(waiting, started.elapsed()));
            // Those that wait for owners alone go without.
            let only_owners = go_on
                .iter()
                .all(|(_, waiting)| matches!(waiting, Waiting::Owner));
            for (step, waiting) in over {
                self.give_up(&step, waiting);
            }
            if only_owners {
                self.owners.wait_no_more();
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if self.patience.is_lost() {
                self.put_back(go_on);
                return;
            }
            self.put_back(go_on);
            self.try_waiting().await;
        }
    }

    fn has_time(&self, waiting: &Waiting, spent: Duration) -> bool {
        match waiting {
            Waiting::Owner => true,
            Waiting::Refusal { fate, .. } => match fate {
                Fate::Final => false,
                Fate::Refused => spent < self.options.refused_timeout,
                Fate::Unavailable => spent < self.options.unavailable_timeout,
            },
        }
    }

    fn put_back(&self, waiting: Vec<(Step, Waiting)>) {
        for (step, why) in waiting {
            self.later.push(step, why);
        }
    }

    fn give_up(&self, step: &Step, waiting: Waiting) {
        self.owners.is_lost(&self.opened.entries()[step.entry].uid);
        if let Waiting::Refusal {
            namespace,
            group_resource,
            name,
            error,
            ..
        } = waiting
        {
            self.report.fail_object(
                namespace.as_deref(),
                &group_resource,
                &name,
                &format!("{error} (tried again until the end of the restore)"),
            );
        }
        self.report.done(super::report::Outcome::Failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_may_pass() {
        for (kind, message, expected) in [
            (
                ClusterErrorKind::Denied,
                "admission webhook \"x\" denied the request: no",
                Fate::Refused,
            ),
            (
                ClusterErrorKind::Invalid,
                "admission webhook \"x\" denied the request",
                Fate::Refused,
            ),
            (
                ClusterErrorKind::Denied,
                "pods \"a\" is forbidden: exceeded quota: q",
                Fate::Refused,
            ),
            (
                ClusterErrorKind::Denied,
                "pods \"a\" is forbidden: error looking up service account n/x: serviceaccount \"x\" not found",
                Fate::Refused,
            ),
            (
                ClusterErrorKind::Denied,
                "pods is forbidden: User \"u\" cannot create",
                Fate::Final,
            ),
            (
                ClusterErrorKind::Invalid,
                "spec.replicas: Invalid value: -1",
                Fate::Final,
            ),
            (
                ClusterErrorKind::ServerError,
                "failed calling webhook \"x\"",
                Fate::Unavailable,
            ),
            (
                ClusterErrorKind::NotFound,
                "the server could not find the requested resource",
                Fate::Unavailable,
            ),
            (
                ClusterErrorKind::NotFound,
                "namespaces \"n\" not found",
                Fate::Final,
            ),
            (
                ClusterErrorKind::Conflict,
                "the object has been modified",
                Fate::Refused,
            ),
            (ClusterErrorKind::AlreadyExists, "exists", Fate::Final),
        ] {
            let error = ClusterError {
                kind,
                action: String::new(),
                message: message.into(),
                reason: String::new(),
                retry_after: None,
            };
            assert_eq!(fate(&error), expected, "{message}");
        }
    }
}
