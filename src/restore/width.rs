//! How many requests of a restore are in flight at once: fewer while the API server asks for patience.
//!
//! A server that answers 429 has had too much at once. When all come back together after the pause that it asks for, it
//! has too much again, and lets one or two through; so the run becomes narrower until what it sends is what the server
//! takes, and wider again step by step once it takes that.

use std::sync::Mutex;

use tokio::sync::{Semaphore, SemaphorePermit};

/// After how many answers at a width, none of them 429, one more request at a time is tried.
const ANSWERS_TO_WIDEN: u32 = 100;

/// The width as answers make it. Pure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    width: usize,
    most: usize,
    /// Answers at this width.
    answers: u32,
    /// How often it was narrowed.
    narrowed: u64,
}

/// What an answer does to the width.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    None,
    Wider,
    /// By so many.
    Narrower(usize),
}

impl State {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            width: most,
            most,
            answers: 0,
            narrowed: 0,
        }
    }

    /// Takes in an answer to a request that was sent after so many narrowings.
    fn answered(&mut self, sent_after: u64, asks_for_patience: bool) -> Change {
        // One of a burst that has been counted, or of a width that is over.
        if sent_after != self.narrowed {
            return Change::None;
        }
        if asks_for_patience {
            let before = self.width;
            self.width = (before / 2).max(1);
            self.narrowed += 1;
            self.answers = 0;
            return Change::Narrower(before - self.width);
        }
        if self.width == self.most {
            return Change::None;
        }
        self.answers += 1;
        if self.answers < ANSWERS_TO_WIDEN {
            return Change::None;
        }
        self.answers = 0;
        self.width += 1;
        Change::Wider
    }
}

/// The gate that every request of a run passes.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Semaphore,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Slots that are in use and go when they are given back.
    owed: usize,
}

/// The right to send one request, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'gate> {
    gate: &'gate Gate,
    permit: Option<SemaphorePermit<'gate>>,
    sent_after: u64,
}

impl Gate {
    /// Makes a gate that lets so many pass at once, at most and at first.
    pub(super) fn new(most: usize) -> Self {
        let state = State::new(most);
        Self {
            slots: Semaphore::new(state.width),
            inner: Mutex::new(Inner { state, owed: 0 }),
        }
    }

    /// Waits for a slot.
    pub(super) async fn enter(&self) -> Slot<'_> {
        // Nobody closes the semaphore.
        let permit = self.slots.acquire().await.ok();
        Slot {
            gate: self,
            permit,
            sent_after: self.lock().state.narrowed,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// Gives the slot back with what came of the request.
    pub(super) fn answered(self, asks_for_patience: bool) {
        let mut inner = self.gate.lock();
        match inner.state.answered(self.sent_after, asks_for_patience) {
            Change::None => {}
            Change::Wider if inner.owed > 0 => inner.owed -= 1,
            Change::Wider => self.gate.slots.add_permits(1),
            Change::Narrower(by) => {
                inner.owed += by - self.gate.slots.forget_permits(by);
                tracing::info!(
                    width = inner.state.width,
                    "the API server asks for patience: fewer requests at once"
                );
            }
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let mut inner = self.gate.lock();
        if inner.owed > 0 {
            inner.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that were sent after so many narrowings and answered alike.
    type Answers = (u32, u64, bool);

    #[test]
    fn the_width_follows_the_answers() {
        let most = 32;
        for (what, answers, width) in [
            ("nothing happens", vec![(1000, 0, false)], 32),
            ("a refusal halves it", vec![(1, 0, true)], 16),
            ("a burst counts once", vec![(30, 0, true)], 16),
            ("each burst counts", vec![(9, 0, true), (9, 1, true)], 8),
            (
                "it never ends",
                (0..9).map(|n| (1, n, true)).collect::<Vec<Answers>>(),
                1,
            ),
            (
                "it grows by one",
                vec![(1, 0, true), (ANSWERS_TO_WIDEN, 1, false)],
                17,
            ),
            (
                "but not before",
                vec![(1, 0, true), (ANSWERS_TO_WIDEN - 1, 1, false)],
                16,
            ),
            (
                "nor for answers to what was sent at another width",
                vec![(1, 0, true), (ANSWERS_TO_WIDEN, 0, false)],
                16,
            ),
            (
                "a refusal in between begins the count anew",
                vec![(1, 0, true), (99, 1, false), (1, 1, true), (99, 2, false)],
                8,
            ),
            (
                "never wider than at first",
                vec![(1, 0, true), (100 * ANSWERS_TO_WIDEN, 1, false)],
                32,
            ),
        ] {
            let mut state = State::new(most);
            for (times, sent_after, asks_for_patience) in answers {
                for _ in 0..times {
                    state.answered(sent_after, asks_for_patience);
                }
            }
            assert_eq!(state.width, width, "{what}");
        }
    }

    #[tokio::test]
    async fn slots_in_use_are_owed() {
        let gate = Gate::new(4);
        let mut burst = Vec::new();
        for _ in 0..4 {
            burst.push(gate.enter().await);
        }
        for slot in burst {
            slot.answered(true);
        }
        assert_eq!(gate.slots.available_permits(), 2, "one burst");
        let (first, second) = (gate.enter().await, gate.enter().await);
        assert_eq!(gate.slots.available_permits(), 0);
        first.answered(true);
        second.answered(false);
        assert_eq!(gate.slots.available_permits(), 1);
        for _ in 0..ANSWERS_TO_WIDEN {
            gate.enter().await.answered(false);
        }
        assert_eq!(gate.slots.available_permits(), 2, "and wider again");
        drop(gate.enter().await);
        assert_eq!(
            gate.slots.available_permits(),
            2,
            "one that is cut off costs nothing"
        );
    }
}
