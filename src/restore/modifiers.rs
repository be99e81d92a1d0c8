//! Resource modifiers: changes that the request makes to objects before they are created (case 79).
//!
//! They are read and checked before anything is created, and looked up by type. What they mean is what they mean in Velero
//! (`internal/resourcemodifiers`), but for one thing: an object whose patch fails is held back. Whoever asks for a change
//! does not want the object without it.

mod globs;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use json_patch::PatchOperation;
use kube::core::Selector;
use regex::Regex;
use serde_json::{Value, json};

use crate::api::{
    JsonPatchOperation, ModifierConditions, PatchData, ResourceModifierRule, ResourceModifiers,
    selector,
};
use crate::archive::IndexEntry;
use crate::cluster::Discovery;

use self::globs::Wild;
use super::rules::Told;
use super::select::Contents;
use super::strategic;
use crate::api::object::Object;

/// What is done, for the page of rules.
pub(super) const TOLD: &[Told] = &[
    Told {
        cases: "79",
        about: "an object that a resource modifier is for",
        says: "is patched after its type's rules, while it is still in its original namespace",
    },
    Told {
        cases: "79",
        about: "an object that several resource modifiers are for",
        says: "is patched by one after the other; which ones those are is decided before the first",
    },
    Told {
        cases: "79",
        about: "an object that fails a modifier's `test`, or lacks what it tests",
        says: "is left as it is by that modifier; a test for null wants the field missing",
    },
    Told {
        cases: "79",
        about: "an object whose patch fails otherwise",
        says: "is held back, with an error",
    },
    Told {
        cases: "85",
        about: "a modifier that cannot be read, has a directive that is none, or is for a type that nobody knows",
        says: "is refused before anything is made",
    },
];

/// The version of the format that is understood.
const VERSION: &str = "v1";

/// What no patch may change: it says which object this is.
const IDENTITY: [&str; 4] = [
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
];

/// The rules of a request.
#[derive(Debug, Default)]
pub(super) struct Modifiers {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    what: String,
    types: BTreeSet<String>,
    name: Option<Regex>,
    namespaces: Vec<Regex>,
    labels: Option<Selector>,
    matches: Vec<(String, Value)>,
    change: Change,
    /// How many objects it was for.
    used: AtomicU64,
}

#[derive(Debug)]
enum Change {
    Json(Vec<PatchOperation>),
    Merge(Vec<Value>),
    Strategic(Vec<Value>),
}

impl Modifiers {
    /// Reads the rules of a request.
    ///
    /// # Errors
    /// What is wrong with them, a sentence each.
    pub(super) fn read(
        modifiers: Option<&ResourceModifiers>,
        contents: &Contents<'_>,
        target: &Discovery,
    ) -> Result<Self, Vec<String>> {
        let Some(modifiers) = modifiers else {
            return Ok(Self::default());
        };
        let mut problems = Vec::new();
        if !modifiers.version.eq_ignore_ascii_case(VERSION) {
            problems.push(format!(
                "resource modifiers: version {:?} is not known; write version: {VERSION}",
                modifiers.version
            ));
        }
        if modifiers.resource_modifier_rules.is_empty() {
            problems.push("resource modifiers: there is no rule".to_owned());
        }
        let mut rules = Vec::new();
        for (at, rule) in modifiers.resource_modifier_rules.iter().enumerate() {
            match Rule::read(rule, at, contents, target) {
                Ok(rule) => rules.push(rule),
                Err(problem) => {
                    problems.push(format!("resource modifiers: rule {}: {problem}", at + 1));
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { rules })
        } else {
            Err(problems)
        }
    }

    /// Returns the rules for a type, by their numbers: those for its name in the backup or in the target.
    pub(super) fn for_type(&self, stored: &str, target: &str) -> Vec<usize> {
        let rules = self.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.types.contains(stored) || rule.types.contains(target))
            .map(|(at, _)| at)
            .collect()
    }

    /// Applies rules to an object, in their order.
    ///
    /// # Errors
    /// Why the object is to be held back.
    pub(super) fn apply(
        &self,
        rules: &[usize],
        entry: &IndexEntry,
        object: &mut Object,
    ) -> Result<(), String> {
        let mut value = Value::Object(std::mem::take(object));
        // Whom a rule is for does not depend on what rules before it change.
        let fitting: Vec<&Rule> = rules
            .iter()
            .filter_map(|at| self.rules.get(*at))
            .filter(|rule| rule.is_for(entry, &value))
            .collect();
        let result = fitting.into_iter().try_for_each(|rule| {
            rule.apply(entry, &mut value).map_err(|problem| {
                format!(
                    "it is held back, for {} cannot be applied: {problem}",
                    rule.what
                )
            })
        });
        if let Value::Object(inner) = value {
            *object = inner;
        }
        result
    }

    /// Returns a warning for each rule that was for no object.
    pub(super) fn idle(&self) -> Vec<String> {
        let idle = |rule: &&Rule| rule.used.load(Ordering::Relaxed) == 0;
        self.rules
            .iter()
            .filter(idle)
            .map(|rule| format!("{} was for none of the restored objects", rule.what))
            .collect()
    }
}

impl Rule {
    fn read(
        rule: &ResourceModifierRule,
        at: usize,
        contents: &Contents<'_>,
        target: &Discovery,
    ) -> Result<Self, String> {
        let conditions = &rule.conditions;
        let name = match conditions.resource_name_regex.as_str() {
            "" => None,
            text => Some(Regex::new(text).map_err(|error| {
                format!("resourceNameRegex {text:?} is no regular expression: {error}")
            })?),
        };
        let namespaces = conditions.namespaces.iter().map(|glob| {
            globs::read(glob, Wild::Any).map_err(|error| format!("namespace {glob:?}: {error}"))
        });
        let types = types(conditions, contents, target)?;
        let change = Change::read(rule)?;
        if matches!(change, Change::Strategic(_))
            && let Some(custom) = types.iter().find(|name| !strategic::knows(name))
        {
            return Err(format!(
                "{custom} is a custom type, whose lists have no known keys; use mergePatches"
            ));
        }
        Ok(Self {
            what: format!(
                "resource modifier {} ({})",
                at + 1,
                conditions.group_resource
            ),
            types,
            name,
            namespaces: namespaces.collect::<Result<_, _>>()?,
            labels: conditions
                .label_selector
                .as_ref()
                .map(selector::compile)
                .transpose()?,
            matches: conditions
                .matches
                .iter()
                .map(|one| Ok((pointer(&one.path)?.to_owned(), value(&one.value))))
                .collect::<Result<_, String>>()?,
            change,
            used: AtomicU64::new(0),
        })
    }

    fn is_for(&self, entry: &IndexEntry, object: &Value) -> bool {
        // What is in no namespace is not asked for one.
        let namespace = entry.namespace.as_deref();
        self.name
            .as_ref()
            .is_none_or(|name| name.is_match(&entry.name))
            && (self.namespaces.is_empty()
                || namespace.is_none_or(|namespace| {
                    self.namespaces
                        .iter()
                        .any(|pattern| pattern.is_match(namespace))
                }))
            && selector::matches(self.labels.as_ref(), &entry.labels)
            && self
                .matches
                .iter()
                .all(|(path, value)| holds(object, path, value))
    }

    fn apply(&self, entry: &IndexEntry, object: &mut Value) -> Result<(), String> {
        self.used.fetch_add(1, Ordering::Relaxed);
        let identity: Vec<Option<Value>> = identity(object);
        match &self.change {
            Change::Json(operations) => patch(object, operations)?,
            Change::Merge(patches) => {
                for patch in patches {
                    json_patch::merge(object, patch);
                }
            }
            Change::Strategic(patches) => {
                for patch in patches {
                    strategic::merge(&entry.type_key.resource, object, patch)?;
                }
            }
        }
        if self::identity(object) != identity {
            return Err(
                "it changes which object this is (apiVersion, kind, name or namespace)".to_owned(),
            );
        }
        Ok(())
    }
}

/// Applies the operations of a JSON patch; one that tests in vain changes nothing.
fn patch(object: &mut Value, operations: &[PatchOperation]) -> Result<(), String> {
    let before = object.clone();
    for (at, operation) in operations.iter().enumerate() {
        if let PatchOperation::Test(test) = operation {
            if !holds(object, test.path.as_str(), &test.value) {
                *object = before;
                return Ok(());
            }
            continue;
        }
        json_patch::patch(object, std::slice::from_ref(operation)).map_err(|error| {
            format!(
                "operation {} ({}): {}",
                at + 1,
                operation.path(),
                error.kind
            )
        })?;
    }
    Ok(())
}

/// Returns whether a value stands at a path. Null stands where an object lacks the field, too.
fn holds(object: &Value, path: &str, value: &Value) -> bool {
    object.pointer(path).map_or_else(
        || {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            value.is_null() && object.pointer(parent).is_some_and(Value::is_object)
        },
        |found| found == value,
    )
}

fn identity(object: &Value) -> Vec<Option<Value>> {
    IDENTITY
        .iter()
        .map(|path| object.pointer(path).cloned())
        .collect()
}

/// Returns the types that a rule is for.
fn types(
    conditions: &ModifierConditions,
    contents: &Contents<'_>,
    target: &Discovery,
) -> Result<BTreeSet<String>, String> {
    let wanted = &conditions.group_resource;
    if wanted.is_empty() {
        return Err("it names no type; set conditions.groupResource".to_owned());
    }
    let found: BTreeSet<String> = if globs::is_glob(wanted) {
        // Velero's documents mean all groups by it, its code those without a dot in their name.
        let glob = if wanted == "*.*" { "**" } else { wanted };
        let pattern = globs::read(glob, Wild::UpToDot)
            .map_err(|error| format!("groupResource {wanted:?}: {error}"))?;
        let here = contents.types.keys().cloned();
        let there = target.types().iter().map(|one| one.group_resource());
        here.chain(there)
            .filter(|name| pattern.is_match(name))
            .collect()
    } else {
        contents.resolve(wanted, target)
    };
    if found.is_empty() {
        return Err(format!(
            "groupResource {wanted:?} names no type, neither in the backup nor in this cluster"
        ));
    }
    Ok(found)
}

impl Change {
    fn read(rule: &ResourceModifierRule) -> Result<Self, String> {
        let kinds = [
            !rule.patches.is_empty(),
            !rule.merge_patches.is_empty(),
            !rule.strategic_patches.is_empty(),
        ];
        match kinds {
            [true, false, false] => Ok(Self::Json(
                rule.patches
                    .iter()
                    .map(operation)
                    .collect::<Result<_, _>>()?,
            )),
            [false, true, false] => Ok(Self::Merge(documents(&rule.merge_patches)?)),
            [false, false, true] => {
                let patches = documents(&rule.strategic_patches)?;
                patches.iter().try_for_each(strategic::check)?;
                Ok(Self::Strategic(patches))
            }
            [false, false, false] => {
                Err("it has no patch; give patches, mergePatches or strategicPatches".to_owned())
            }
            _ => Err("it has several kinds of patch; write a rule for each kind".to_owned()),
        }
    }
}

fn documents(patches: &[PatchData]) -> Result<Vec<Value>, String> {
    patches
        .iter()
        .map(|patch| {
            let read: Result<Value, _> = serde_saphyr::from_str(&patch.patch_data);
            match read {
                Ok(value @ Value::Object(_)) => Ok(value),
                Ok(_) => Err(format!("the patch {:?} is no object", patch.patch_data)),
                Err(error) => Err(format!(
                    "the patch {:?} is no YAML: {error}",
                    patch.patch_data
                )),
            }
        })
        .collect()
}

fn operation(operation: &JsonPatchOperation) -> Result<PatchOperation, String> {
    let JsonPatchOperation {
        operation: word,
        from,
        path,
        value: given,
    } = operation;
    pointer(path)?;
    let mut json = json!({"op": word, "path": path});
    match word.as_str() {
        "add" | "replace" | "test" => {
            let given = given
                .as_ref()
                .ok_or_else(|| format!("{word} {path} has no value"))?;
            json["value"] = value(given);
        }
        "move" | "copy" => json["from"] = Value::from(pointer(from)?),
        "remove" => {}
        _ => {
            return Err(format!(
                "operation {word:?} is none; use add, remove, replace, move, copy or test"
            ));
        }
    }
    serde_json::from_value(json).map_err(|error| format!("{word} {path}: {error}"))
}

fn pointer(path: &str) -> Result<&str, String> {
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(format!("{path:?} is no JSON pointer; begin it with /"))
    }
}

/// Reads a value: JSON, or else a word.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
#[path = "modifiers_tests.rs"]
mod tests;
