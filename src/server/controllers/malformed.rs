//! Objects that cannot be read: whoever made one learns it from the status.

use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::dispatch::{Outcome, Task};
use crate::api::error::chain;
use crate::server::status;

/// Refuses an object that cannot be read, unless it is through already. Only tried once a version of the object: what
/// the API server does not take now it will not take later.
pub(crate) async fn refuse(
    api: &Api<DynamicObject>,
    task: &Task,
    problem: &str,
    phase: &str,
    errors_field: &str,
) -> Outcome {
    let fields = json!({ "phase": phase, errors_field: [problem] });
    refuse_with(api, task, problem, fields).await
}

/// The same with a status of the caller's.
pub(crate) async fn refuse_with(
    api: &Api<DynamicObject>,
    task: &Task,
    problem: &str,
    fields: Value,
) -> Outcome {
    let object = match api.get_opt(&task.name).await {
        Ok(Some(object)) => object,
        Ok(None) => return Outcome::Done,
        Err(error) => {
            tracing::warn!(name = task.name, %error, "cannot read an object again");
            return Outcome::Retry;
        }
    };
    if !is_open(object.data.get("status")) {
        return Outcome::Done;
    }
    match status::patch_fields(api, &task.name, &task.uid, fields).await {
        Ok(()) => tracing::warn!(name = task.name, problem, "refused an object"),
        Err(error) => tracing::warn!(
            name = task.name,
            problem,
            error = chain(&error),
            "an object that cannot be read cannot be marked as refused either"
        ),
    }
    Outcome::Done
}

/// Returns whether a status says that there is something to do still.
fn is_open(status: Option<&Value>) -> bool {
    let phase = status
        .and_then(|status| status.get("phase"))
        .and_then(Value::as_str);
    matches!(
        phase,
        None | Some("" | "New" | "InProgress" | "WaitingForPluginOperations" | "Enabled")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_objects_are_refused() {
        for (status, open) in [
            (None, true),
            (Some(json!("broken")), true),
            (Some(json!({"phase": 5})), true),
            (Some(json!({"phase": ""})), true),
            (Some(json!({"phase": "InProgress"})), true),
            (Some(json!({"phase": "WaitingForPluginOperations"})), true),
            (Some(json!({"phase": "Enabled"})), true),
            (Some(json!({"phase": "FailedValidation"})), false),
            (Some(json!({"phase": "Completed"})), false),
        ] {
            assert_eq!(is_open(status.as_ref()), open, "{status:?}");
        }
    }
}
