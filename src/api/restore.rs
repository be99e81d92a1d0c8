//! Restore: what to bring back from a backup, and how that went.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::phases;
use super::serde_util::null_as_default;
use super::{
    ConfigMapRef, NamespaceReference, OperationNote, Progress, ResourceModifiers, RestoreCounts,
    RestoreStatusSpec, RunHolder,
};

phases! {
    /// How far a Restore has come.
    RestorePhase {
        /// Not looked at yet.
        New,
        /// Refused; `status.validationErrors` says why. Nothing was created.
        FailedValidation,
        /// A server works on it.
        InProgress,
        /// Everything selected is created, and operations that item actions have begun are waited for; still in progress.
        WaitingForPluginOperations,
        /// Everything selected is there.
        Completed,
        /// Single items could not be restored; the results name them.
        PartiallyFailed,
        /// Nothing could be restored; `status.failureReason` says why.
        Failed,
    }
}

/// What becomes of an object that is there already and differs from the stored one. The words are Velero's, and
/// `recreate`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "String", into = "String")]
pub enum ExistingResourcePolicy {
    /// It is left as it is, and a warning says so.
    #[default]
    None,
    /// It is changed to what is stored.
    Update,
    /// It is deleted and created again.
    Recreate,
    /// A word that this version does not know.
    Other(String),
}

impl ExistingResourcePolicy {
    /// Returns the word used in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Update => "update",
            Self::Recreate => "recreate",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for ExistingResourcePolicy {
    fn from(word: String) -> Self {
        match word.as_str() {
            "" | "none" => Self::None,
            "update" => Self::Update,
            "recreate" => Self::Recreate,
            _ => Self::Other(word),
        }
    }
}

impl From<ExistingResourcePolicy> for String {
    fn from(policy: ExistingResourcePolicy) -> Self {
        policy.as_str().to_owned()
    }
}

impl RestorePhase {
    /// Returns whether the run has ended, in whatever way.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::New | Self::InProgress | Self::WaitingForPluginOperations => false,
            Self::FailedValidation
            | Self::Completed
            | Self::PartiallyFailed
            | Self::Failed
            | Self::Other(_) => true,
        }
    }

    /// Returns whether a run goes on, or would if its server were there.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::InProgress | Self::WaitingForPluginOperations)
    }
}

/// A restore of all or part of a backup.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A restore of all or part of a backup.",
    label("component", "ark"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backupName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Items",
        type_ = "integer",
        json_path = ".status.progress.itemsDone"
    ),
    printcolumn(name = "Warnings", type_ = "integer", json_path = ".status.warnings"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.errors"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// The backup to restore from; empty where `scheduleName` chooses one.
    pub backup_name: String,
    /// The schedule whose newest completed backup is restored; the server writes that one's name into `backupName`.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    #[schemars(with = "Option<String>")]
    pub schedule_name: String,
    /// Original namespaces to restore; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_namespaces: Vec<String>,
    /// Original namespaces to leave out.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_namespaces: Vec<String>,
    /// Types to restore, as `resource` or `resource.group`; empty or `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_resources: Vec<String>,
    /// Types to leave out.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_resources: Vec<String>,
    /// Where the objects of an original namespace go: original name to target name.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Restores only objects whose labels match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Restores objects that match any of these selectors; not together with `labelSelector`.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<LabelSelector>>")]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Restores only these objects: `type/name` or `type/namespace/name`, each part with globs (`*`, `?`, `[...]`); empty
    /// means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_items: Vec<String>,
    /// Whether to restore what chosen objects need, too: claims and their volumes, service accounts, ConfigMaps and
    /// Secrets that they name; unset means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_dependencies: Option<bool>,
    /// What becomes of an object that is there already and differs from the stored one; unset means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub existing_resource_policy: Option<ExistingResourcePolicy>,
    /// Which objects get their stored status back; unset means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Whether Services keep all of their node ports; unset means those that somebody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_node_ports: Option<bool>,
    /// A ConfigMap with changes to make to objects before they are created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<ConfigMapRef>,
    /// Such changes, written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifiers: Option<ResourceModifiers>,
    /// Which storage class takes the place of which: old name to new name.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub storage_class_mapping: BTreeMap<String, String>,
    /// Fields that name namespaces and follow the namespace mapping, beside those that Ark knows.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<NamespaceReference>>")]
    pub namespace_references: Vec<NamespaceReference>,
    /// Says what the restore would do, and changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Whether to restore volumes from their snapshots; unset means: where there is one.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// Whether claims whose data cannot be brought back get new, empty volumes; unset means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_volumes: Option<bool>,
    /// Whether to restore cluster-scoped objects; unset means: all if no namespace is filtered, else what chosen
    /// objects need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Whether restored objects get labels that name the restore and its backup; unset means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_restored: Option<bool>,
    /// How long an operation that an item action has begun may take, as a Go duration; unset means 4h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
    /// Accepts a selection that matches nothing in the backup; without it such a restore is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_empty: Option<bool>,
}

/// How a Restore went.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// How far it has come.
    pub phase: RestorePhase,
    /// Why the request was refused.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub validation_errors: Vec<String>,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Number of warnings; the results file holds them.
    pub warnings: u64,
    /// Number of errors; the results file holds them.
    pub errors: u64,
    /// What became of the objects; of a dry run, what would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<RestoreCounts>,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far the run has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Who carries the run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunHolder>,
    /// Operations of item actions that have not ended. If the server dies, the next one waits for them.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<OperationNote>>")]
    pub operations_pending: Vec<OperationNote>,
    /// Number of operations that item actions began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_attempted: Option<u64>,
    /// Number of those that ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_completed: Option<u64>,
    /// Number of those that failed or took too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_failed: Option<u64>,
}
