//! How long every cloud, and the API server, is waited for: a short outage is bridged, an unreachable store is soon told.

use std::time::Duration;

/// How long a connection may take to come about.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may be silent. It includes the time that sending a part takes, so it is not short; there is no
/// limit on a whole transfer, which may take hours on a thin line.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// After how long a request that keeps failing is given up.
pub(super) const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is tried again within that time.
pub(super) const TRIES: usize = 10;
/// The pause before the first repetition; each further one is twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between two repetitions.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The pauses between the repetitions of one request.
#[derive(Debug)]
pub(super) struct Patience {
    ends: tokio::time::Instant,
    pause: Duration,
    left: usize,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            ends: tokio::time::Instant::now() + RETRY_TIMEOUT,
            pause: FIRST_PAUSE,
            left: TRIES,
        }
    }

    /// Returns pauses of which there are as many as fit into a time: for something that takes its time to come about.
    #[cfg(any(feature = "gcp", feature = "azure"))]
    pub(super) fn lasting(timeout: Duration) -> Self {
        Self {
            ends: tokio::time::Instant::now() + timeout,
            left: usize::MAX,
            ..Self::new()
        }
    }

    /// Waits before the next repetition; returns `false` at once if there is to be none.
    pub(super) async fn wait(&mut self) -> bool {
        self.wait_as_told(None).await
    }

    /// Waits like [`Self::wait`], and at least as long as a server has asked for.
    pub(super) async fn wait_as_told(&mut self, told: Option<Duration>) -> bool {
        let Some(pause) = self.next(tokio::time::Instant::now(), told) else {
            return false;
        };
        tokio::time::sleep(pause).await;
        true
    }

    /// Returns how long to wait before the next repetition, if there is to be one.
    fn next(&mut self, now: tokio::time::Instant, told: Option<Duration>) -> Option<Duration> {
        let pause = self.pause.max(told.unwrap_or_default());
        if self.left == 0 || now + pause > self.ends {
            return None;
        }
        self.left -= 1;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(all(test, any(feature = "gcp", feature = "azure")))]
mod tests {
    use super::*;

    /// Returns the pauses that there are if nothing else takes any time, in milliseconds.
    fn pauses(mut patience: Patience, told: Option<Duration>) -> Vec<u128> {
        let mut now = tokio::time::Instant::now();
        let mut pauses = Vec::new();
        while let Some(pause) = patience.next(now, told) {
            now += pause;
            pauses.push(pause.as_millis());
        }
        pauses
    }

    #[test]
    fn pauses_grow_and_end_in_time() {
        let growing = [200, 400, 800, 1600, 3000, 3000];
        assert_eq!(pauses(Patience::new(), None), growing);
        let minute = pauses(Patience::lasting(Duration::from_mins(1)), None);
        assert_eq!(minute[..6], growing);
        let total: u128 = minute.iter().sum();
        assert!((57_000..=60_000).contains(&total), "{total}");
        assert!(pauses(Patience::lasting(Duration::ZERO), None).is_empty());
    }

    #[test]
    fn a_server_is_not_asked_before_it_wants_to_be() {
        let told = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pauses(Patience::new(), told(4)), [4000, 4000]);
        assert!(pauses(Patience::new(), told(20)).is_empty());
    }
}
