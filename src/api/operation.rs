//! Operations: work that item actions have begun for items and that goes on after their answer.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;

/// An operation that has not ended: kept in the status of the Backup or Restore, so that whoever takes over from a
/// server that died knows of it.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationNote {
    /// The action that began it.
    pub action: String,
    /// The action's id of it.
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// The full name of the item's type.
    pub resource: String,
    /// The item's namespace; empty for one of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The item's name.
    pub name: String,
}

impl fmt::Display for OperationNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            operation_id,
            ..
        } = self;
        write!(f, "operation {operation_id} of action {action}")
    }
}

/// How long an operation may take unless the spec says otherwise: Velero's time.
const TIME_LIMIT: Duration = Duration::from_hours(4);

/// Returns how long operations may take, by the spec of a Backup or Restore. As with Velero, 0 stands for the default.
///
/// # Errors
/// A sentence about a text that is no duration.
pub fn operation_time_limit(timeout: Option<&str>) -> Result<Duration, String> {
    let limit = timeout.map(duration::parse).transpose();
    let limit = limit.map_err(|problem| format!("itemOperationTimeout: {problem}"))?;
    Ok(limit.filter(|limit| !limit.is_zero()).unwrap_or(TIME_LIMIT))
}

/// How many operations there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OperationCounts {
    /// Those that were begun.
    pub attempted: u64,
    /// Those of them that ended well.
    pub completed: u64,
    /// Those that failed, or did not end in time.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_four_hours_unless_told_otherwise() {
        for (timeout, expected) in [
            (None, Ok(4 * 3600)),
            (Some("0s"), Ok(4 * 3600)),
            (Some("90m"), Ok(90 * 60)),
            (Some("soon"), Err(())),
        ] {
            let limit = operation_time_limit(timeout).map(|limit| limit.as_secs());
            assert_eq!(limit.map_err(drop), expected, "{timeout:?}");
        }
    }
}
