//! How long every cloud is waited for: a short outage is bridged, an unreachable store is soon told.

use std::time::Duration;

/// How long a connection may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may be silent. It includes the time that sending a part takes, so it is not short; there is no
/// limit on a whole transfer, which may take hours on a thin line.
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

    /// Waits before the next repetition; returns `false` at once if there is to be none.
    pub(super) async fn wait(&mut self) -> bool {
        if self.left == 0 || tokio::time::Instant::now() + self.pause > self.ends {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
