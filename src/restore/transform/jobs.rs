//! What becomes of Jobs.

use super::Facts;
use crate::api::object::{self, Object};

const CONTROLLER_UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Case 34: forgets the UID by which the Job found its Pods; the server puts the new one in.
pub(super) fn drop_controller_uid(job: &mut Object, _: &Facts) {
    // With a selector of the user's own, the server puts nothing in, and nothing of this is its.
    if object::at(job, &["spec"])
        .and_then(|spec| spec.get("manualSelector")?.as_bool())
        .unwrap_or(false)
    {
        return;
    }
    object::remove(job, &["spec", "selector", "matchLabels"], &CONTROLLER_UID);
    object::remove(
        job,
        &["spec"],
        if is_empty_selector(job) {
            &["selector"]
        } else {
            &[]
        },
    );
    object::remove(
        job,
        &["spec", "template", "metadata", "labels"],
        &CONTROLLER_UID,
    );
}

fn is_empty_selector(job: &Object) -> bool {
    object::at(job, &["spec", "selector"]).is_some_and(serde_json::Map::is_empty)
}
