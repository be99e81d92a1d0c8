//! Strategic merge patches: as JSON merge patches, but lists of objects are merged by a key where their type has one.
//!
//! What is done is what the API server does (`util/strategicpatch` of `k8s.io/apimachinery`); which lists are merged, and
//! by what, stands in the API's definitions (`patchStrategy`, `patchMergeKey`). A patch is checked when it is read. Where
//! the API server would take a field that was not there with its directives in it, they are dropped here.

use serde_json::{Map, Value};

/// Lists of objects that are merged by a key, by the name of the field, below the first level of an object.
const KEYS: [(&str, &str); 19] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
    ("evictionResponders", "name"),
    ("matchConditions", "name"),
    ("variables", "name"),
    ("drivers", "name"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
];

/// The same at the first level: of ServiceAccounts and webhook configurations.
const TOP_KEYS: [(&str, &str); 2] = [("secrets", "name"), ("webhooks", "name")];

/// Lists of words that are merged as sets.
const SETS: [&str; 2] = ["finalizers", "podCIDRs"];

/// The API groups of Kubernetes itself that have a dot in their names; those of others always have one.
const GROUPS: [&str; 17] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Says what to do with an object, or an element of a list: `delete` or `replace`.
const PATCH: &str = "$patch";
/// Names the fields that an object keeps.
const RETAIN: &str = "$retainKeys";
/// Followed by the name of a list of words: takes some out of it.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
/// Followed by the name of a list: says in what order its elements are.
const ORDER: &str = "$setElementOrder/";

/// Returns whether a type is a built-in one, whose lists have known keys.
pub(super) fn knows(group_resource: &str) -> bool {
    group_resource
        .split_once('.')
        .is_none_or(|(_, group)| !group.contains('.') || GROUPS.contains(&group))
}

/// Checks a patch.
///
/// # Errors
/// A directive that is none, or is not used as it has to be.
pub(super) fn check(patch: &Value) -> Result<(), String> {
    if directive(patch) == Some("delete") {
        return Err(format!(
            "a patch cannot delete the object; {PATCH}: delete goes with a field or an element"
        ));
    }
    check_value(patch)
}

fn check_value(patch: &Value) -> Result<(), String> {
    match patch {
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(key, value)| check_field(fields, key, value)),
        Value::Array(list) => list.iter().try_for_each(check_value),
        _ => Ok(()),
    }
}

fn check_field(fields: &Map<String, Value>, key: &str, value: &Value) -> Result<(), String> {
    if !key.starts_with('$') {
        return check_value(value);
    }
    let list = value.as_array();
    let of = |prefix: &str| key.strip_prefix(prefix).filter(|field| !field.is_empty());
    if key == PATCH {
        return match value.as_str() {
            Some("delete" | "replace") => Ok(()),
            _ => Err(format!("{PATCH}: {value} is none; use delete or replace")),
        };
    }
    if key == RETAIN {
        let list = list.ok_or_else(|| format!("{RETAIN} is no list"))?;
        let lost = fields
            .iter()
            .find(|(key, value)| !key.starts_with('$') && !value.is_null() && !names(list, key));
        return lost.map_or(Ok(()), |(key, _)| {
            Err(format!(
                "{RETAIN} does not name {key}, which the patch sets"
            ))
        });
    }
    if of(DELETE_FROM).is_some() {
        return match list {
            Some(list) if !list.iter().any(|one| one.is_object() || one.is_array()) => Ok(()),
            _ => Err(format!("{key} is no list of words")),
        };
    }
    if let Some(field) = of(ORDER) {
        let listed = fields.get(field).is_none_or(Value::is_array);
        return match list {
            Some(_) if listed => Ok(()),
            _ => Err(format!("{key} and {field} have to be lists")),
        };
    }
    Err(format!(
        "{key:?} is no directive; there are {PATCH}, {RETAIN}, {DELETE_FROM}FIELD and {ORDER}FIELD"
    ))
}

/// Merges a patch that was checked into an object of a type.
///
/// # Errors
/// A patch that does not say which element of a list it means, or leaves one out of the order that it gives.
pub(super) fn merge(resource: &str, object: &mut Value, patch: &Value) -> Result<(), String> {
    let place = Place {
        resource,
        parent: "",
        field: "",
    };
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => merge_object(place, object, patch),
        _ => Err("an object can be merged with an object only".to_owned()),
    }
}

/// Where in an object a field is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The object's type.
    resource: &'a str,
    /// The field above; empty at the first level.
    parent: &'a str,
    field: &'a str,
}

/// How a list is merged.
#[derive(Clone, Copy)]
enum Kind {
    Keyed(&'static str),
    Set,
    /// It is replaced.
    Whole,
}

impl Kind {
    /// Returns what tells an element from others.
    fn id(self, element: &Value) -> Option<&Value> {
        match self {
            Self::Keyed(key) => element.get(key),
            Self::Set | Self::Whole => Some(element),
        }
    }
}

impl<'a> Place<'a> {
    fn below(self, field: &'a str) -> Self {
        Self {
            parent: self.field,
            field,
            ..self
        }
    }

    fn kind(self) -> Kind {
        let keys: &[(&str, &'static str)] = match (self.parent, self.field) {
            // A container's have another key.
            ("spec", "ports") => return Kind::Keyed("port"),
            ("", _) => &TOP_KEYS,
            (_, field) if SETS.contains(&field) => return Kind::Set,
            _ => &KEYS,
        };
        keys.iter()
            .find(|(field, _)| *field == self.field)
            .map_or(Kind::Whole, |(_, key)| Kind::Keyed(key))
    }

    /// Checks that an order names the elements of a patch, and in the patch's order.
    fn check_order(self, patch: &[Value], order: &[Value]) -> Result<(), String> {
        let kind = self.kind();
        let mut rest = order.iter();
        let mut follows = |one: &Value| rest.any(|other| kind.id(other) == kind.id(one));
        if order.is_empty() || patch.iter().all(&mut follows) {
            Ok(())
        } else {
            let field = self.field;
            Err(format!(
                "{ORDER}{field} does not name the patch's {field} in their order"
            ))
        }
    }

    /// Returns whether an object there is replaced rather than merged.
    fn is_whole(self) -> bool {
        self.resource == "poddisruptionbudgets" && (self.parent, self.field) == ("spec", "selector")
    }
}

fn merge_object(
    place: Place<'_>,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        None if !place.is_whole() => {}
        _ => {
            *object = plain_object(patch);
            return Ok(());
        }
    }
    if let Some(Value::Array(kept)) = patch.get(RETAIN) {
        object.retain(|key, _| names(kept, key));
    }
    for (key, change) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let inner = place.below(key);
        let order = patch.get(&format!("{ORDER}{key}"));
        let order = order.and_then(Value::as_array).map(Vec::as_slice);
        match (object.get_mut(key), change) {
            (Some(Value::Object(object)), Value::Object(change)) => {
                merge_object(inner, object, change)?;
            }
            (Some(Value::Array(list)), Value::Array(change)) => {
                merge_list(inner, list, change, order)?;
            }
            (_, change) if change.is_null() || directive(change) == Some("delete") => {
                object.shift_remove(key);
            }
            (_, change) => {
                let mut added = plain(change);
                if let (Value::Array(list), Some(order)) = (&mut added, order) {
                    inner.check_order(list, order)?;
                    put_in_order(inner.kind(), list, order, &[]);
                }
                object.insert(key.clone(), added);
            }
        }
    }
    for (key, words) in patch {
        if let Some(words) = words.as_array()
            && let Some(field) = key.strip_prefix(ORDER)
            && !patch.contains_key(field)
            && let Some(Value::Array(list)) = object.get_mut(field)
        {
            let before = list.clone();
            put_in_order(place.below(field).kind(), list, words, &before);
        }
        if let Some(words) = words.as_array()
            && let Some(field) = key.strip_prefix(DELETE_FROM)
            && let Some(Value::Array(list)) = object.get_mut(field)
        {
            list.retain(|one| !words.contains(one));
        }
    }
    Ok(())
}

fn merge_list(
    place: Place<'_>,
    list: &mut Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
) -> Result<(), String> {
    let before = list.clone();
    let named = elements(patch);
    let kind = place.kind();
    let replaced = patch.iter().any(|one| directive(one) == Some("replace"));
    match kind {
        Kind::Keyed(key) if !replaced => {
            for change in patch {
                merge_element(place, key, list, change)?;
            }
        }
        Kind::Set if !replaced => {
            for one in &named {
                if !list.contains(one) {
                    list.push(one.clone());
                }
            }
        }
        Kind::Keyed(_) | Kind::Set | Kind::Whole => {
            list.clone_from(&named);
            if order.is_none() {
                return Ok(());
            }
        }
    }
    if let Some(order) = order {
        place.check_order(&named, order)?;
    }
    put_in_order(kind, list, order.unwrap_or(&named), &before);
    Ok(())
}

fn merge_element(
    place: Place<'_>,
    key: &str,
    list: &mut Vec<Value>,
    change: &Value,
) -> Result<(), String> {
    let (Some(fields), Some(id)) = (change.as_object(), change.get(key)) else {
        return Err(format!("an element of {} has no {key}", place.field));
    };
    if directive(change) == Some("delete") {
        list.retain(|one| one.get(key) != Some(id));
        return Ok(());
    }
    let known = list.iter_mut().find(|one| one.get(key) == Some(id));
    if let Some(Value::Object(object)) = known {
        return merge_object(place, object, fields);
    }
    list.push(plain(change));
    Ok(())
}

/// Puts a merged list in order: what is wanted as it is wanted, the rest as it was before. Where that does not tell which of
/// two is first, what is wanted is.
fn put_in_order(kind: Kind, list: &mut Vec<Value>, wanted: &[Value], before: &[Value]) {
    let place =
        |list: &[Value], one: &Value| list.iter().position(|other| kind.id(other) == kind.id(one));
    let (mut first, rest): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|one| place(wanted, one).is_some());
    first.sort_by_key(|one| place(wanted, one));
    let mut rest = rest.into_iter().peekable();
    for one in first {
        if let Some(at) = place(before, &one) {
            while let Some(earlier) = rest.next_if(|next| place(before, next) < Some(at)) {
                list.push(earlier);
            }
        }
        list.push(one);
    }
    list.extend(rest);
}

fn directive(patch: &Value) -> Option<&str> {
    patch.get(PATCH)?.as_str()
}

fn names(list: &[Value], name: &str) -> bool {
    list.iter().any(|one| one == name)
}

/// Returns what a patch makes of nothing.
fn plain(patch: &Value) -> Value {
    match patch {
        Value::Object(fields) => Value::Object(plain_object(fields)),
        Value::Array(list) => Value::Array(elements(list)),
        other => other.clone(),
    }
}

fn plain_object(fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(key, value)| {
            !key.starts_with('$') && !value.is_null() && directive(value) != Some("delete")
        })
        .map(|(key, value)| (key.clone(), plain(value)))
        .collect()
}

fn elements(list: &[Value]) -> Vec<Value> {
    list.iter()
        .filter(|one| directive(one).is_none())
        .map(plain)
        .collect()
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
