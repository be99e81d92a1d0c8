//! What a restore does or, as a dry run, would do: counts in the status, an object a line in the stored plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the objects of a restore; of a dry run, what would become of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreCounts {
    /// Objects created.
    pub create: u64,
    /// Objects that were there, differed and were changed.
    pub update: u64,
    /// Objects that were there, differed and were replaced.
    pub recreate: u64,
    /// Objects that were there and are the same, and those that the cluster makes itself.
    pub skip: u64,
    /// Objects that were there, differ and are left, and those that cannot be restored.
    pub conflict: u64,
    /// Of those to create, how many a dry run could not check with the API server.
    #[serde(skip_serializing_if = "is_zero")]
    pub unchecked: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a dry run would do with an object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PlanAction {
    /// Create it.
    Create,
    /// Change the one that is there.
    Update,
    /// Replace the one that is there.
    Recreate,
    /// Nothing: it is there, or is not to be restored.
    Skip,
    /// Nothing, since it cannot be done; a user should look at it.
    Conflict,
}

/// One line of a stored plan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    /// The type's full name in the target, such as `deployments.apps`.
    pub resource: String,
    /// The target namespace; empty for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
    /// What would be done.
    pub action: PlanAction,
    /// Why, where there is more to say than that it is missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why a create could not be checked with the API server; empty if it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unchecked: String,
    /// In what the object that is there differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// A field in which a stored object and the one in place differ.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The field, such as `spec.replicas`.
    pub path: String,
    /// Its value in the backup, as short JSON; `None` if it is not there, or must not be shown (Secrets).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Its value in the cluster, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}
