//! The one place that reads the system clock. Rules get the time as an argument; whoever waits for a time of day waits
//! here, so that a test can let hours pass at once.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// The longest wait before the system clock is looked at again: it may be set, or the machine may have slept.
const LOOK_PERIOD: Duration = Duration::from_secs(20);

/// What tells the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Hand(watch::Receiver<Timestamp>),
}

/// Moves the clock of a test.
#[derive(Debug)]
pub struct Hand(watch::Sender<Timestamp>);

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still at `start` until its hand is moved.
    pub fn by_hand(start: Timestamp) -> (Self, Hand) {
        let (hand, time) = watch::channel(start);
        (Self(Source::Hand(time)), Hand(hand))
    }

    /// Returns the present time.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Hand(time) => *time.borrow(),
        }
    }

    /// Waits until it is `time`, or later.
    pub(crate) async fn sleep_until(&self, time: Timestamp) {
        match &self.0 {
            Source::System => {
                while let Some(left) = left(Timestamp::now(), time) {
                    tokio::time::sleep(left.min(LOOK_PERIOD)).await;
                }
            }
            Source::Hand(now) => {
                let reached = now.clone().wait_for(|now| *now >= time).await.is_err();
                if reached {
                    // The hand is gone: this clock stands still for ever.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl Hand {
    /// Moves the clock to `time`, and wakes whoever waited for that.
    pub fn set(&self, time: Timestamp) {
        self.0.send_replace(time);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0
            .send_modify(|now| *now = now.saturating_add(by).unwrap_or(Timestamp::MAX));
    }

    /// Returns what the clock shows.
    pub fn now(&self) -> Timestamp {
        *self.0.borrow()
    }
}

/// Returns how long it is until `time`; `None` if it has come.
fn left(now: Timestamp, time: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now))
        .ok()
        .filter(|left| !left.is_zero())
}

/// Returns the system's time, for logs and leases.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_by_hand_wakes_whoever_waits() {
        let start = Timestamp::from_second(1_000).unwrap();
        let (clock, hand) = Clock::by_hand(start);
        clock.sleep_until(start).await;
        let waiting = clock.sleep_until(start + Duration::from_mins(1));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        hand.advance(Duration::from_secs(59));
        assert!(futures::poll!(&mut waiting).is_pending());
        hand.advance(Duration::from_secs(1));
        waiting.await;
        assert_eq!(clock.now(), hand.now());
    }

    #[test]
    fn nothing_is_left_of_the_past() {
        let now = Timestamp::from_second(10).unwrap();
        assert_eq!(left(now, now), None);
        assert_eq!(left(now, now - Duration::from_secs(1)), None);
        assert_eq!(
            left(now, now + Duration::from_secs(3)),
            Some(Duration::from_secs(3))
        );
    }
}
