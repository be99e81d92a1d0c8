//! What becomes of persistent volumes and of the claims to them.
//!
//! A volume with reclaim policy Retain is created again as it was, still meant for its claim, and the two find each
//! other by name (case 57). One with policy Delete went with its claim: it is not created, and the claim gets a new one
//! (case 56; the plan decides which ones, see [`Facts::provisioned_anew`]). `restore/volumes` has how data comes back.

use serde_json::Value;

use super::Facts;
use crate::api::labels;
use crate::api::object::{self, Object};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// What the cluster, a provisioner or Velero noted at a claim about its binding (case 48).
const CLAIM_NOTES: [&str; 7] = [
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "velero.io/volume-snapshot-name",
    "velero.io/data-upload-name",
];

/// Case 57: the volume waits for its claim by name; the claim's UID will be another one.
pub(super) fn unbind_volume(volume: &mut Object, facts: &Facts) {
    object::remove(volume, &["metadata", "annotations"], &[BOUND_BY_CONTROLLER]);
    if let Some(claim) = object::at_mut(volume, &["spec", "claimRef"]) {
        claim.shift_remove("uid");
        claim.shift_remove("resourceVersion");
        if let Some(Value::String(namespace)) = claim.get_mut("namespace") {
            *namespace = facts.target_namespace(namespace).to_owned();
        }
    }
}

/// Case 48: forgets how the claim was bound, so that it is bound again.
pub(super) fn unbind_claim(claim: &mut Object, _: &Facts) {
    object::remove(claim, &["metadata", "annotations"], &CLAIM_NOTES);
}

/// Cases 49, 56: a claim whose volume does not come back asks for a new one, without what that one's first data came from:
/// it may be gone, and was not what is lost.
pub(super) fn provision_anew(claim: &mut Object, facts: &Facts) {
    if facts
        .provisioned_anew
        .contains(object::text(claim, &["spec", "volumeName"]))
    {
        object::remove(
            claim,
            &["spec"],
            &["volumeName", "dataSource", "dataSourceRef"],
        );
    }
}

/// Case 52: the volume is another one than that of its name.
pub(super) fn rename_volume(volume: &mut Object, facts: &Facts) {
    let old = object::text(volume, &["metadata", "name"]).to_owned();
    let Some(new) = facts.renamed_volumes.get(&old) else {
        return;
    };
    if let Some(metadata) = object::at_mut(volume, &["metadata"]) {
        metadata.insert("name".to_owned(), Value::from(new.as_str()));
    }
    if let Some(annotations) = object::ensure(volume, &["metadata", "annotations"]) {
        annotations.insert(labels::ORIGINAL_VOLUME.to_owned(), Value::from(old));
    }
}

/// Case 50: a claim names its volume as that is called now.
pub(super) fn name_volume(claim: &mut Object, facts: &Facts) {
    let old = object::text(claim, &["spec", "volumeName"]);
    if let Some(new) = facts.renamed_volumes.get(old)
        && let Some(spec) = object::at_mut(claim, &["spec"])
    {
        spec.insert("volumeName".to_owned(), Value::from(new.as_str()));
    }
}
