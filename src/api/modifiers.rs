//! Resource modifiers: changes that a restore makes to objects before it creates them. The words are Velero's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::serde_util::null_as_default;

/// A list of rules, as a ConfigMap's only value or a file holds it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceModifiers {
    /// The format's version, `v1`.
    pub version: String,
    /// The rules; those that fit an object as it comes change it, one after the other.
    #[serde(default, deserialize_with = "null_as_default")]
    pub resource_modifier_rules: Vec<ResourceModifierRule>,
}

/// A rule: which objects it is for, and what it changes. Exactly one kind of patch.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceModifierRule {
    /// Which objects it is for.
    pub conditions: ModifierConditions,
    /// JSON patch (RFC 6902) operations.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub patches: Vec<JsonPatchOperation>,
    /// JSON merge patches (RFC 7386).
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub merge_patches: Vec<PatchData>,
    /// Strategic merge patches: lists are merged by their keys where the type is known to have some.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub strategic_patches: Vec<PatchData>,
}

/// Which objects a rule is for; all that is given has to fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifierConditions {
    /// The type, such as `deployments.apps`, or a glob: `*.apps` means a group, `*` the core group, `*.*` all groups.
    pub group_resource: String,
    /// A regular expression that the name has to contain; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_name_regex: String,
    /// Original namespaces, or globs; empty means all. Cluster-scoped objects are not asked for one.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub namespaces: Vec<String>,
    /// Labels that have to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Values that have to be there before any rule changes the object.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub matches: Vec<ModifierMatch>,
}

/// A value that has to be there.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifierMatch {
    /// Where, as a JSON pointer.
    pub path: String,
    /// The value: JSON, or a word that is taken as a string. `null` means that the field is missing.
    #[serde(default)]
    pub value: String,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonPatchOperation {
    /// add, remove, replace, move, copy or test.
    pub operation: String,
    /// Where from, for move and copy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Where, as a JSON pointer.
    pub path: String,
    /// The value: JSON, or a word that is taken as a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A patch as text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchData {
    /// The patch, JSON or YAML.
    pub patch_data: String,
}

/// Where rules or policies are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapRef {
    /// The group of what holds them; empty for a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// `ConfigMap`, the only kind there is.
    pub kind: String,
    /// Its name, in the server's namespace.
    pub name: String,
}

impl ConfigMapRef {
    /// Refers to the ConfigMap of this name.
    pub fn named(name: &str) -> Self {
        Self {
            api_group: None,
            kind: "ConfigMap".to_owned(),
            name: name.to_owned(),
        }
    }
}

/// A field that names a namespace, for types that the built-in rules do not know.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceReference {
    /// The type, such as `servicemonitors.monitoring.coreos.com`.
    pub resource: String,
    /// Where the name stands, such as `spec.namespaceSelector.matchNames[*]`.
    pub path: String,
}

/// Which objects get their stored status back.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatusSpec {
    /// Types whose status is restored; `*` means all.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub included_resources: Vec<String>,
    /// Types whose status is not restored all the same.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub excluded_resources: Vec<String>,
}
