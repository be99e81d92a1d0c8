//! What to do about failures that may pass: when to try again, when to give up, when all have to slow down.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterErrorKind};

use super::width::{Gate, Slot};

/// How often a request is sent that the server answers with an error of its own (5xx), such as a webhook's; the queue
/// of what is tried later has more time.
const SERVER_ERROR_TRIES: u32 = 2;
/// How often a request is sent that collides with other writes (on a quota's count, say).
const CONFLICT_TRIES: u32 = 3;
/// How often a request is sent that gets no answer, while others do.
const SILENT_TRIES: u32 = 3;
/// How often a request is sent that the server refuses with 429, while others get answers: more often than it takes to
/// make the run as narrow as can be.
const PATIENT_TRIES: u32 = 10;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The first pause between two tries; doubled each time.
    first_pause: Duration,
    /// The longest pause, unless the server asks for more.
    longest_pause: Duration,
    /// The longest pause that a server's `Retry-After` is followed for.
    longest_asked: Duration,
    /// How long a server may be silent, or ask for patience, before the restore ends.
    silence: Duration,
}

const PACE: Pace = Pace {
    first_pause: Duration::from_millis(200),
    longest_pause: Duration::from_secs(10),
    longest_asked: Duration::from_mins(1),
    silence: Duration::from_mins(3),
};

/// Shared by all workers of a restore.
#[derive(Debug)]
pub(super) struct Patience {
    pace: Pace,
    gate: Gate,
    pause_until: Mutex<Option<Instant>>,
    /// Counts answers, to tell a server that is gone from one bad request.
    answers: AtomicU64,
    lost: AtomicBool,
}

impl Patience {
    /// Makes one for a run that sends at most so many requests at once.
    pub(super) fn new(concurrency: usize) -> Self {
        Self::with(PACE, concurrency)
    }

    fn with(pace: Pace, concurrency: usize) -> Self {
        Self {
            pace,
            gate: Gate::new(concurrency),
            pause_until: Mutex::new(None),
            answers: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Returns whether the server has been silent for too long; nothing more should be tried.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Sends a request, again where its failure may pass, and not while all have to wait.
    pub(super) async fn send<T, Answer>(
        &self,
        mut request: impl FnMut() -> Answer + Send,
    ) -> Result<T, ClusterError>
    where
        T: Send,
        Answer: Future<Output = Result<T, ClusterError>> + Send,
    {
        let mut tries = 0_u32;
        // When the server was last known to answer, as far as this request can tell.
        let mut silent_since: Option<(Instant, u64)> = None;
        loop {
            let slot = self.slot().await;
            let answer = request().await;
            let refused = answer
                .as_ref()
                .err()
                .filter(|error| error.kind == ClusterErrorKind::TooManyRequests);
            if let Some(error) = refused {
                // Before the slot goes to one that would not know.
                self.hold(self.pause(error, tries + 1));
            }
            slot.answered(refused.is_some());
            let error = match answer {
                Err(error) if error.may_pass() => error,
                answer => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    return answer;
                }
            };
            tries += 1;
            let pause = self.pause(&error, tries);
            match error.kind {
                ClusterErrorKind::ServerError if tries < SERVER_ERROR_TRIES => {}
                ClusterErrorKind::Conflict if tries < CONFLICT_TRIES => {}
                ClusterErrorKind::Unreachable | ClusterErrorKind::TooManyRequests => {
                    let answers = self.answers.load(Ordering::Relaxed);
                    let since = match silent_since {
                        Some((since, seen)) if seen == answers => since,
                        // Others get answers: try a bounded number of times.
                        Some(_) if tries >= tries_beside_others(error.kind) => return Err(error),
                        _ => Instant::now(),
                    };
                    silent_since = Some((since, answers));
                    if self.is_lost() || since.elapsed() >= self.pace.silence {
                        self.lost.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                    self.hold(pause);
                    tracing::debug!(%error, tries, ?pause, "waiting for the API server");
                    continue;
                }
                _ => return Err(error),
            }
            tracing::debug!(%error, tries, ?pause, "trying again after a failure");
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes all workers wait: sending more to a server that asks for patience, or that is gone, helps nobody.
    fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pause_until = self
            .pause_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *pause_until = Some(pause_until.map_or(until, |known| known.max(until)));
    }

    /// Waits until a request may be sent.
    async fn slot(&self) -> Slot<'_> {
        loop {
            if let Some(until) = self.paused() {
                tokio::time::sleep_until(until).await;
                continue;
            }
            let slot = self.gate.enter().await;
            // All may have been made to wait while this one waited for its slot.
            if self.paused().is_none() {
                return slot;
            }
        }
    }

    /// Returns until when all wait, if they do.
    fn paused(&self) -> Option<Instant> {
        let until = *self
            .pause_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    fn pause(&self, error: &ClusterError, tries: u32) -> Duration {
        let pace = &self.pace;
        let doubled = pace
            .first_pause
            .saturating_mul(1 << tries.saturating_sub(1).min(10))
            .min(pace.longest_pause);
        error.retry_after.map_or(doubled, |asked| {
            asked.clamp(pace.first_pause, pace.longest_asked)
        })
    }
}

/// Returns how often a request is sent that fails for want of an answer or of room, while others get through.
fn tries_beside_others(kind: ClusterErrorKind) -> u32 {
    if kind == ClusterErrorKind::TooManyRequests {
        PATIENT_TRIES
    } else {
        SILENT_TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The real pace, a thousand times faster.
    fn fast() -> Patience {
        let pace = Pace {
            first_pause: PACE.first_pause / 1000,
            longest_pause: PACE.longest_pause / 1000,
            longest_asked: PACE.longest_asked / 1000,
            silence: PACE.silence / 1000,
        };
        Patience::with(pace, 8)
    }

    fn error(kind: ClusterErrorKind) -> ClusterError {
        ClusterError {
            kind,
            action: "create it".into(),
            message: "no".into(),
            reason: String::new(),
            retry_after: None,
        }
    }

    /// Sends a request that fails `failures` times; returns how often it was sent and whether it came through.
    async fn run(patience: &Patience, kind: ClusterErrorKind, failures: u32) -> (u32, bool) {
        let mut sent = 0;
        let answer = patience
            .send(|| {
                sent += 1;
                let answer = if sent <= failures {
                    Err(error(kind))
                } else {
                    Ok(())
                };
                std::future::ready(answer)
            })
            .await;
        (sent, answer.is_ok())
    }

    #[tokio::test]
    async fn tries_depend_on_the_kind() {
        for (kind, failures, sent, through) in [
            (ClusterErrorKind::Invalid, 1, 1, false),
            (ClusterErrorKind::AlreadyExists, 1, 1, false),
            (ClusterErrorKind::ServerError, 1, 2, true),
            (ClusterErrorKind::ServerError, 9, 2, false),
            (ClusterErrorKind::Conflict, 9, 3, false),
            (ClusterErrorKind::TooManyRequests, 9, 10, true),
            (ClusterErrorKind::Unreachable, 12, 13, true),
        ] {
            let patience = fast();
            assert_eq!(
                run(&patience, kind, failures).await,
                (sent, through),
                "{kind:?} {failures}"
            );
            assert!(!patience.is_lost());
        }
    }

    #[tokio::test]
    async fn a_server_that_stays_silent_is_lost_for_all() {
        let patience = fast();
        let (sent, through) = run(&patience, ClusterErrorKind::Unreachable, u32::MAX).await;
        assert!(sent > 10 && !through && patience.is_lost());
        let again = run(&patience, ClusterErrorKind::Unreachable, u32::MAX).await;
        assert_eq!(again, (1, false), "nobody else waits as long");
    }

    #[tokio::test]
    async fn one_that_is_asked_to_wait_makes_all_wait() {
        let patience = fast();
        let asked = Duration::from_millis(50);
        let mut refused = false;
        let slow = patience.send(|| {
            let answer = if refused {
                Ok(())
            } else {
                Err(ClusterError {
                    retry_after: Some(asked),
                    ..error(ClusterErrorKind::TooManyRequests)
                })
            };
            refused = true;
            std::future::ready(answer)
        });
        let started = Instant::now();
        let other = async {
            tokio::task::yield_now().await;
            let answer = patience.send(|| std::future::ready(Ok(()))).await;
            answer.map(|()| started.elapsed())
        };
        let (first, second) = tokio::join!(slow, other);
        assert!(first.is_ok());
        assert!(second.unwrap() >= asked);
    }

    #[test]
    fn pauses_grow_to_a_limit_and_follow_the_server() {
        let patience = Patience::new(8);
        for (tries, asked, pause) in [
            (1, None, Duration::from_millis(200)),
            (2, None, Duration::from_millis(400)),
            (30, None, Duration::from_secs(10)),
            (1, Some(Duration::from_secs(20)), Duration::from_secs(20)),
            (1, Some(Duration::from_hours(1)), Duration::from_mins(1)),
            (1, Some(Duration::ZERO), Duration::from_millis(200)),
        ] {
            let error = ClusterError {
                retry_after: asked,
                ..error(ClusterErrorKind::TooManyRequests)
            };
            assert_eq!(patience.pause(&error, tries), pause, "{tries} {asked:?}");
        }
    }
}
