//! Hands objects to workers: each object to one worker at a time, so many at once as there are slots, the oldest first,
//! again with growing pauses where work failed.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::error::chain;
use crate::server::clock::Clock;
use crate::server::leader::Term;
use crate::server::objects::{Entry, Objects, any_changed};
use crate::server::settings::World;
use crate::server::status::StatusError;

/// The first pause after work failed; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How work on an object ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// There is nothing to do until the object or the Config changes.
    Done,
    /// Something did not work; try again later.
    Retry,
    /// There is nothing to do before this time, until the object or the Config changes.
    Until(Timestamp),
}

impl Outcome {
    /// Returns what follows from a write that needed the version that was read. An object that is gone, or a term that
    /// is over, leaves nothing to do; whatever else went wrong is tried again.
    pub(crate) fn of_write(kind: &str, name: &str, result: Result<(), StatusError>) -> Self {
        match result {
            Ok(()) | Err(StatusError::Gone | StatusError::NotLeading) => Self::Done,
            Err(error) => {
                tracing::warn!(
                    kind,
                    name,
                    error = chain(&error),
                    "cannot write the status of an object; trying again"
                );
                Self::Retry
            }
        }
    }
}

/// An object to work on.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
    /// Why it cannot be read, if so: it is to be refused.
    pub(crate) malformed: Option<String>,
}

/// What a controller does with the objects of its kind.
pub(crate) trait Controller: Send + Sync + 'static {
    /// The kind.
    type Object: Send + Sync + 'static;

    /// The kind's name, for logs.
    const KIND: &'static str;

    /// Returns whether there may be something to do for an object. Cheap: it is asked about every object at each change.
    fn wants(&self, object: &Self::Object) -> bool;

    /// Returns what tells of changes to other kinds that this one's decisions depend on: they have every object looked
    /// at again.
    fn stirred_by(&self) -> Vec<watch::Receiver<u64>> {
        Vec::new()
    }

    /// Works on an object. Only the name and UID are certain; the object may have changed.
    fn work(self: Arc<Self>, task: Task, term: Term) -> impl Future<Output = Outcome> + Send;
}

/// Runs a controller until the term is over or `stopping` is cancelled, and its workers have ended.
pub(crate) async fn dispatch<C: Controller>(
    controller: Arc<C>,
    objects: Objects<C::Object>,
    slots: usize,
    mut world: watch::Receiver<World>,
    clock: Clock,
    term: Term,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = objects.changes();
    let mut others = controller.stirred_by();
    let mut workers = JoinSet::new();
    let mut names: HashMap<Id, Candidate> = HashMap::new();
    let mut book = Book::default();
    loop {
        let open = !stopping.is_cancelled() && !term.lost().is_cancelled();
        if !open && workers.is_empty() {
            return Ok(());
        }
        changes.mark_unchanged();
        world.mark_unchanged();
        if open && objects.synced() {
            book.wake(clock.now());
            let candidates = candidates(&*controller, &objects);
            let free = slots.saturating_sub(workers.len());
            for candidate in book.pick(candidates, free, Instant::now()) {
                let work = Arc::clone(&controller).work(candidate.task.clone(), term.clone());
                let handle = workers.spawn(work);
                names.insert(handle.id(), candidate);
            }
        }
        // Without a free slot nobody can be due; the end of a worker comes first.
        let due = (open && workers.len() < slots)
            .then(|| book.next_due())
            .flatten();
        let wakes = (open && workers.len() < slots)
            .then(|| book.next_waking())
            .flatten();
        tokio::select! {
            changed = changes.changed() => changed?,
            changed = world.changed() => {
                changed?;
                book.forget_done();
            }
            changed = any_changed(&mut others) => {
                changed?;
                book.forget_done();
            }
            Some(ended) = workers.join_next_with_id() => {
                let (id, outcome) = match ended {
                    Ok((id, outcome)) => (id, outcome),
                    Err(error) => {
                        tracing::error!(kind = C::KIND, %error, "work on an object broke off");
                        (error.id(), Outcome::Retry)
                    }
                };
                if let Some(candidate) = names.remove(&id) {
                    book.ended(candidate, outcome, Instant::now());
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = clock.sleep_until(wakes.unwrap_or(Timestamp::MAX)), if wakes.is_some() => {}
            () = stopping.cancelled(), if open => {}
            () = term.lost().cancelled(), if open => {}
        }
    }
}

fn candidates<C: Controller>(controller: &C, objects: &Objects<C::Object>) -> Vec<Candidate> {
    let wanted = |entry: &Entry<C::Object>| {
        entry
            .object
            .as_ref()
            .map_or(true, |object| controller.wants(object))
    };
    objects
        .select(wanted)
        .into_iter()
        .map(|(name, entry)| Candidate {
            resource_version: entry.resource_version,
            created: entry.created,
            task: Task {
                name,
                uid: entry.uid,
                malformed: entry.object.err(),
            },
        })
        .collect()
}

/// An object that may need work.
#[derive(Clone, Debug)]
struct Candidate {
    task: Task,
    resource_version: String,
    created: Option<Timestamp>,
}

/// Who is worked on, who is done with, and who waits for another try.
#[derive(Debug, Default)]
struct Book {
    /// By name: the UID, and in which round the work began.
    running: HashMap<String, (String, u64)>,
    /// Counts how often everybody became a candidate again.
    round: u64,
    /// The version, by UID, at which there was nothing to do.
    done: HashMap<String, String>,
    /// By UID: the number of tries that failed, and when the next is due.
    failed: HashMap<String, (u32, Instant)>,
    /// By UID: when there is something to do again for whoever is done with.
    waiting: HashMap<String, Timestamp>,
}

impl Book {
    /// Chooses whom to work on now, and notes that.
    fn pick(
        &mut self,
        mut candidates: Vec<Candidate>,
        free: usize,
        now: Instant,
    ) -> Vec<Candidate> {
        // Whoever is no candidate any more needs no memory.
        let known: std::collections::HashSet<&str> =
            candidates.iter().map(|one| one.task.uid.as_str()).collect();
        self.done.retain(|uid, _| known.contains(uid.as_str()));
        self.failed.retain(|uid, _| known.contains(uid.as_str()));
        self.waiting.retain(|uid, _| known.contains(uid.as_str()));
        candidates.retain(|one| {
            let uid = &one.task.uid;
            !self.running.contains_key(&one.task.name)
                && self.done.get(uid) != Some(&one.resource_version)
                && self.failed.get(uid).is_none_or(|(_, due)| *due <= now)
        });
        candidates.sort_by(|a, b| (a.created, &a.task.name).cmp(&(b.created, &b.task.name)));
        candidates.truncate(free);
        for one in &candidates {
            self.running
                .insert(one.task.name.clone(), (one.task.uid.clone(), self.round));
        }
        candidates
    }

    fn ended(&mut self, candidate: Candidate, outcome: Outcome, now: Instant) {
        let begun = self.running.remove(&candidate.task.name);
        // What changed after the work began may have been overlooked.
        let current = begun.is_some_and(|(_, round)| round == self.round);
        let uid = candidate.task.uid;
        self.waiting.remove(&uid);
        match outcome {
            Outcome::Until(time) => {
                self.failed.remove(&uid);
                if current {
                    self.waiting.insert(uid.clone(), time);
                    self.done.insert(uid, candidate.resource_version);
                }
            }
            Outcome::Done => {
                self.failed.remove(&uid);
                if current {
                    self.done.insert(uid, candidate.resource_version);
                }
            }
            Outcome::Retry => {
                self.done.remove(&uid);
                let (tries, due) = self.failed.entry(uid).or_insert((0, now));
                let pause = FIRST_PAUSE.saturating_mul(1 << (*tries).min(16));
                *due = now + pause.min(LONGEST_PAUSE);
                *tries += 1;
            }
        }
    }

    /// Makes everybody a candidate again whose time has come.
    fn wake(&mut self, now: Timestamp) {
        let Self { waiting, done, .. } = self;
        waiting.retain(|uid, time| {
            let waits = *time > now;
            if !waits {
                done.remove(uid);
            }
            waits
        });
    }

    /// Returns when the first of those who wait is to be woken.
    fn next_waking(&self) -> Option<Timestamp> {
        self.waiting.values().min().copied()
    }

    /// Makes everybody a candidate again who had nothing to do.
    fn forget_done(&mut self) {
        self.done.clear();
        self.round += 1;
    }

    /// Returns when the next try is due.
    fn next_due(&self) -> Option<Instant> {
        self.failed
            .iter()
            .filter(|(uid, _)| {
                let mut running = self.running.values();
                !running.any(|(running, _)| running == *uid)
            })
            .map(|(_, (_, due))| *due)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, version: &str, created: i64) -> Candidate {
        Candidate {
            task: Task {
                name: name.into(),
                uid: format!("uid-{name}"),
                malformed: None,
            },
            resource_version: version.into(),
            created: Timestamp::from_second(created).ok(),
        }
    }

    fn names(picked: &[Candidate]) -> Vec<&str> {
        picked.iter().map(|one| one.task.name.as_str()).collect()
    }

    #[tokio::test]
    async fn the_oldest_come_first_and_slots_are_kept() {
        let mut book = Book::default();
        let now = Instant::now();
        let all = || {
            vec![
                candidate("a", "1", 30),
                candidate("b", "1", 10),
                candidate("c", "1", 20),
            ]
        };
        let first = book.pick(all(), 2, now);
        assert_eq!(names(&first), ["b", "c"]);
        assert!(book.pick(all(), 0, now).is_empty());
        // Nobody is worked on twice at a time.
        assert_eq!(names(&book.pick(all(), 2, now)), ["a"]);
    }

    #[tokio::test]
    async fn what_is_done_waits_for_a_change() {
        let mut book = Book::default();
        let now = Instant::now();
        let picked = book.pick(vec![candidate("a", "1", 1)], 1, now).remove(0);
        book.ended(picked, Outcome::Done, now);
        assert!(book.pick(vec![candidate("a", "1", 1)], 1, now).is_empty());
        assert_eq!(book.next_due(), None);
        book.forget_done();
        let picked = book.pick(vec![candidate("a", "1", 1)], 1, now).remove(0);
        book.ended(picked, Outcome::Done, now);
        assert_eq!(
            names(&book.pick(vec![candidate("a", "2", 1)], 1, now)),
            ["a"]
        );
    }

    #[tokio::test]
    async fn what_changes_elsewhere_during_the_work_is_not_overlooked() {
        let mut book = Book::default();
        let now = Instant::now();
        let later = Outcome::Until(Timestamp::MAX);
        for outcome in [Outcome::Done, later] {
            let picked = book.pick(vec![candidate("a", "1", 1)], 1, now).remove(0);
            book.forget_done();
            book.ended(picked, outcome, now);
            let again = book.pick(vec![candidate("a", "1", 1)], 1, now);
            assert_eq!(names(&again), ["a"], "{outcome:?}");
            book.ended(again.into_iter().next().unwrap(), outcome, now);
            assert!(book.pick(vec![candidate("a", "1", 1)], 1, now).is_empty());
            book.forget_done();
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_a_time_is_woken_then() {
        let mut book = Book::default();
        let now = Instant::now();
        let at = |second| Timestamp::from_second(second).unwrap();
        let picked = book.pick(vec![candidate("a", "1", 1)], 1, now).remove(0);
        book.ended(picked, Outcome::Until(at(60)), now);
        assert_eq!(book.next_waking(), Some(at(60)));
        book.wake(at(59));
        assert!(book.pick(vec![candidate("a", "1", 1)], 1, now).is_empty());
        // A change counts before the time has come.
        assert_eq!(
            names(&book.pick(vec![candidate("a", "2", 1)], 0, now)).len(),
            0
        );
        book.wake(at(60));
        assert_eq!(
            names(&book.pick(vec![candidate("a", "1", 1)], 1, now)),
            ["a"]
        );
        assert_eq!(book.next_waking(), None);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_with_growing_pauses() {
        let mut book = Book::default();
        let mut now = Instant::now();
        for pause in [1, 2, 4, 8] {
            let picked = book.pick(vec![candidate("a", "1", 1)], 1, now).remove(0);
            assert_eq!(book.next_due(), None, "a running try is not due");
            book.ended(picked, Outcome::Retry, now);
            assert!(book.pick(vec![candidate("a", "1", 1)], 1, now).is_empty());
            now += Duration::from_secs(pause);
            assert_eq!(book.next_due(), Some(now));
        }
        // A name that somebody else has now starts afresh.
        let mut other = candidate("a", "9", 1);
        other.task.uid = "other".into();
        assert_eq!(names(&book.pick(vec![other], 1, now)), ["a"]);
    }
}
