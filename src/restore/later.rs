//! What is tried again later: objects that were refused for a reason that may pass while others are restored.
//!
//! A webhook's or an aggregated API's own Pods may be among them, an account that a Pod names, the room in a quota. So a
//! refused object waits in a queue, which is tried once after each wave, and at the end round by round, until nothing is
//! left or the time for it is over. A round keeps the order of the waves. Where nobody answers for a type, the rest of it
//! waits untried, and a round tries one object to see whether the way is free. Bodies do not wait: they are read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterErrorKind, Discovery};

use super::apply::Applier;
use super::obstacles::Obstacles;
use super::plan::{self, Step};
use super::report::Outcome;
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
        cases: "68",
        about: "many objects of a type whose webhook or API does not answer",
        says: "wait untried after a few, until one that is tried now and then gets through",
    },
    Told {
        cases: "68",
        about: "a type of an API group that does not answer, or whose APIService is restored too",
        says: "is looked for again until its API is up; one line for the type if that takes too long",
    },
    Told {
        cases: "",
        about: "429, Retry-After",
        says: "make the whole run wait, and send fewer requests at once from then on",
    },
    Told {
        cases: "",
        about: "a silent API server",
        says: "makes the whole run wait",
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
    /// For the API of its type to come up.
    Type,
    /// For one of its type to get through; it was not tried itself.
    Turn,
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
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Step, Waiting)>,
    obstacles: Obstacles,
    /// Those that are about to be tried again, by their entry, and what they waited for.
    again: HashMap<usize, Waiting>,
    /// Those of them that are tried to see whether the way is free.
    probes: HashSet<usize>,
    /// Since when nothing is left but what waits.
    ending_since: Option<Instant>,
}

impl Queue {
    pub(super) fn push(&self, step: Step, waiting: Waiting) {
        let mut state = self.lock();
        if let Waiting::Refusal {
            namespace,
            error,
            fate: Fate::Unavailable,
            ..
        } = &waiting
        {
            state
                .obstacles
                .met(step.planned_type, namespace.as_deref(), error);
        }
        state.waiting.push((step, waiting));
    }

    fn take(&self) -> Vec<(Step, Waiting)> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Puts back what was not tried, before what was: so each has its turn.
    fn put_back(&self, waiting: Vec<(Step, Waiting)>) {
        self.lock().waiting.splice(0..0, waiting);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Puts what waits in the order of its waves.
fn by_wave(waiting: Vec<(Step, Waiting)>) -> BTreeMap<usize, Vec<(Step, Waiting)>> {
    let mut waves: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for (step, waiting) in waiting {
        waves.entry(step.wave).or_default().push((step, waiting));
    }
    waves
}

/// Which objects to try to see whether the way is free: the first of each namespace, and of each type at most so many.
#[derive(Debug)]
struct Probes<'a> {
    most: usize,
    chosen: HashMap<usize, HashSet<Option<&'a str>>>,
}

impl<'a> Probes<'a> {
    fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            chosen: HashMap::new(),
        }
    }

    fn choose(&mut self, planned_type: usize, namespace: Option<&'a str>) -> bool {
        let of_type = self.chosen.entry(planned_type).or_default();
        of_type.len() < self.most && of_type.insert(namespace)
    }
}

impl Applier<'_> {
    /// Tries once what waits, wave by wave.
    pub(super) async fn try_waiting(&self) {
        let waiting = self.later.take();
        if waiting.is_empty() || self.patience.is_lost() {
            self.later.put_back(waiting);
            return;
        }
        tracing::info!(items = waiting.len(), "trying again what was refused");
        for waiting in by_wave(waiting).into_values() {
            let mut probes = Probes::new(self.options.concurrency);
            let mut probing = HashSet::new();
            let (now, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(step, _)| {
                self.is_open(step) || {
                    let probe = probes.choose(step.planned_type, self.namespace_of(step));
                    if probe {
                        probing.insert(step.entry);
                    }
                    probe
                }
            });
            self.try_again(now, probing).await;
            // Where one got through, the rest follows.
            let (opened, rest): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(step, _)| self.is_open(step));
            self.later.put_back(rest);
            self.try_again(opened, HashSet::new()).await;
        }
    }

    async fn try_again(&self, waiting: Vec<(Step, Waiting)>, probes: HashSet<usize>) {
        if waiting.is_empty() || self.patience.is_lost() {
            self.later.put_back(waiting);
            return;
        }
        let steps: Vec<Step> = waiting.iter().map(|(step, _)| *step).collect();
        {
            let mut state = self.later.lock();
            state.probes = probes;
            let again = waiting
                .into_iter()
                .map(|(step, waiting)| (step.entry, waiting));
            state.again = again.collect();
        }
        self.bring_all(&steps).await;
        // Those that were found in bulk, or could not be read, did not ask for admission.
        self.later.lock().again.clear();
    }

    /// Returns whether an object is to be tried now; else it waits.
    pub(super) fn admits(&self, step: &Step) -> bool {
        let mut state = self.later.lock();
        let waited = state.again.remove(&step.entry);
        let open = state.probes.remove(&step.entry)
            || state
                .obstacles
                .is_open(step.planned_type, self.namespace_of(step));
        let in_time = match (&waited, state.ending_since) {
            (Some(waiting), Some(since)) => self.has_time(waiting, since.elapsed()),
            _ => true,
        };
        if open && in_time {
            return true;
        }
        let waiting = match waited {
            // Its owner is not what it waits for now.
            None | Some(Waiting::Owner) => Waiting::Turn,
            Some(waiting) => waiting,
        };
        state.waiting.push((*step, waiting));
        false
    }

    /// Notes what became of an object that was tried.
    pub(super) fn note_way(&self, step: &Step, outcome: Outcome) {
        match outcome {
            Outcome::Created
            | Outcome::Updated
            | Outcome::Recreated
            | Outcome::There
            | Outcome::Different => self
                .later
                .lock()
                .obstacles
                .passed(step.planned_type, self.namespace_of(step)),
            // That somebody answered for it is not certain, or noted already.
            Outcome::LeftOut | Outcome::Failed | Outcome::Later => {}
        }
    }

    fn is_open(&self, step: &Step) -> bool {
        let namespace = self.namespace_of(step);
        let state = self.later.lock();
        state.obstacles.is_open(step.planned_type, namespace)
    }

    /// Tries what waits until nothing is left or its time is over; what is left then has failed.
    pub(super) async fn try_to_the_end(&mut self) {
        let started = Instant::now();
        self.later.lock().ending_since = Some(started);
        let mut pause = FIRST_PAUSE;
        let mut target = None;
        loop {
            let waiting = self.later.take();
            if waiting.is_empty() {
                break;
            }
            let (go_on, over): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, waiting)| self.has_time(waiting, started.elapsed()));
            self.give_up_all(over, target.as_ref());
            // Those that wait for owners alone go without.
            let only_owners = go_on
                .iter()
                .all(|(_, waiting)| matches!(waiting, Waiting::Owner));
            let types = go_on
                .iter()
                .any(|(_, waiting)| matches!(waiting, Waiting::Type));
            let nothing = go_on.is_empty();
            self.later.put_back(go_on);
            if nothing {
                break;
            }
            if only_owners {
                self.owners.wait_no_more();
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if self.patience.is_lost() {
                break;
            }
            if types {
                target = self.look_for_types().await.or(target);
            }
            self.try_waiting().await;
        }
        self.later.lock().ending_since = None;
    }

    fn has_time(&self, waiting: &Waiting, spent: Duration) -> bool {
        match waiting {
            Waiting::Owner => true,
            Waiting::Type | Waiting::Turn => self.may_go_on(Fate::Unavailable, spent),
            Waiting::Refusal { fate, .. } => self.may_go_on(*fate, spent),
        }
    }

    /// Returns whether something that was refused is tried again after so long.
    pub(super) fn may_go_on(&self, fate: Fate, spent: Duration) -> bool {
        match fate {
            Fate::Final => false,
            Fate::Refused => spent < self.options.refused_timeout,
            Fate::Unavailable => spent < self.options.unavailable_timeout,
        }
    }

    /// Reports what has waited in vain; `target` is what was served the last time that somebody looked.
    fn give_up_all(&self, over: Vec<(Step, Waiting)>, target: Option<&Discovery>) {
        let mut types: BTreeMap<usize, u64> = BTreeMap::new();
        for (step, waiting) in over {
            if waiting == Waiting::Type {
                *types.entry(step.planned_type).or_default() += 1;
            }
            self.give_up(&step, waiting);
        }
        for (at, count) in types {
            let planned = &self.types[at];
            let nothing = Discovery::default();
            let line = plan::unserved_line(planned, count, target.unwrap_or(&nothing));
            self.report.fail_all(line);
        }
    }

    fn give_up(&self, step: &Step, waiting: Waiting) {
        let entry = &self.opened.entries()[step.entry];
        self.owners.is_lost(&entry.uid);
        match waiting {
            // A line for the type says so; and who waits for an owner goes without in the end.
            Waiting::Type | Waiting::Owner => {}
            Waiting::Turn => {
                let says = {
                    let state = self.later.lock();
                    state.obstacles.says(step.planned_type).to_owned()
                };
                self.report.fail_object(
                    self.namespace_of(step),
                    &self.types[step.planned_type].group_resource,
                    &entry.name,
                    &format!("{says} (so for others of its type until the end of the restore; it was not tried itself)"),
                );
            }
            Waiting::Refusal {
                namespace,
                group_resource,
                name,
                error,
                ..
            } => self.report.fail_object(
                namespace.as_deref(),
                &group_resource,
                &name,
                &format!("{error} (tried again until the end of the restore)"),
            ),
        }
        self.report.done(Outcome::Failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_keeps_the_order_of_its_waves() {
        let step = |entry, wave| {
            let step = Step {
                entry,
                planned_type: 0,
                wave,
                job_restored: false,
            };
            (step, Waiting::Turn)
        };
        // A Deployment, its ReplicaSet, two of its Pods.
        let waiting = vec![step(0, 8), step(1, 6), step(2, 4), step(3, 4)];
        let waves: Vec<Vec<usize>> = by_wave(waiting)
            .into_values()
            .map(|wave| wave.iter().map(|(step, _)| step.entry).collect())
            .collect();
        assert_eq!(waves, [vec![2, 3], vec![1], vec![0]]);
    }

    #[test]
    fn one_of_each_namespace_is_tried_up_to_a_number() {
        let mut probes = Probes::new(2);
        for (planned_type, namespace, chosen) in [
            (0, "a", true),
            (0, "a", false),
            (0, "b", true),
            (0, "c", false),
            (1, "c", true),
        ] {
            let found = probes.choose(planned_type, Some(namespace));
            assert_eq!(found, chosen, "{planned_type} {namespace}");
        }
    }

    #[test]
    fn what_was_not_tried_comes_before_what_was() {
        let step = |entry| Step {
            entry,
            planned_type: 0,
            wave: 0,
            job_restored: false,
        };
        let queue = Queue::default();
        queue.push(step(0), Waiting::Turn);
        queue.put_back(vec![(step(1), Waiting::Turn), (step(2), Waiting::Turn)]);
        let order: Vec<usize> = queue.take().iter().map(|(step, _)| step.entry).collect();
        assert_eq!(order, [1, 2, 0]);
    }

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
