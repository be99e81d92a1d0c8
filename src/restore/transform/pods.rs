//! What becomes of Pods.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// Case 27: lets the scheduler choose the node, and admission work the priority out of the class again (it refuses
/// numbers that do not fit the target's class).
pub(super) fn unschedule(pod: &mut Object, _: &Facts) {
    object::remove(
        pod,
        &["spec"],
        &["nodeName", "priority", "preemptionPolicy"],
    );
}

/// Case 28: removes the volume with the service account's token Secret, which older clusters put in; the target puts
/// in its own.
pub(super) fn drop_token_volumes(pod: &mut Object, _: &Facts) {
    let account = match object::text(pod, &["spec", "serviceAccountName"]) {
        "" => "default",
        account => account,
    };
    let prefix = format!("{account}-token-");
    let is_token = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| name.starts_with(&prefix))
    };
    // A volume of that name that holds something else is the user's.
    let has_secret = |value: &Value| value.get("secret").is_some();
    let Some(spec) = object::at_mut(pod, &["spec"]) else {
        return;
    };
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        let before = volumes.len();
        volumes.retain(|volume| !(is_token(volume) && has_secret(volume)));
        if volumes.len() == before {
            return;
        }
    } else {
        return;
    }
    for containers in ["containers", "initContainers"] {
        for container in object::list_mut(spec, &[containers]) {
            if let Some(mounts) = container
                .get_mut("volumeMounts")
                .and_then(Value::as_array_mut)
            {
                mounts.retain(|mount| !is_token(mount));
            }
        }
    }
}

/// Removes the containers that `kubectl debug` added: no Pod may be created with any.
pub(super) fn drop_debug_containers(pod: &mut Object, _: &Facts) {
    object::remove(pod, &["spec"], &["ephemeralContainers"]);
}
