//! The one place that reads the system clock. Rules get the time as an argument.

use jiff::Timestamp;

/// Returns the present time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
