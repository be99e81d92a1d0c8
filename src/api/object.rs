//! Reaches into an object's JSON without trusting its shape.

use serde_json::{Map, Value};

/// An object as parsed JSON.
pub type Object = Map<String, Value>;

/// Returns the object at `path`, if each step of it is one.
pub fn at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Object> {
    path.iter()
        .try_fold(object, |inner, key| inner.get(*key)?.as_object())
}

/// Returns the object at `path` for changes, if each step of it is one.
pub fn at_mut<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Object> {
    path.iter()
        .try_fold(object, |inner, key| inner.get_mut(*key)?.as_object_mut())
}

/// Returns the object at `path` for changes, making each step that is missing or null.
pub fn ensure<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Object> {
    path.iter().try_fold(object, |inner, key| {
        let value = inner.entry(*key).or_insert(Value::Null);
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        value.as_object_mut()
    })
}

/// Returns the string at `path`; the empty string if there is none.
pub fn text<'a>(object: &'a Object, path: &[&str]) -> &'a str {
    let Some((last, before)) = path.split_last() else {
        return "";
    };
    at(object, before)
        .and_then(|inner| inner.get(*last)?.as_str())
        .unwrap_or_default()
}

/// Returns the objects in the list at `path`.
pub fn list<'a>(
    object: &'a Object,
    path: &'a [&'a str],
) -> impl Iterator<Item = &'a Object> + use<'a> {
    path.split_last()
        .and_then(|(last, before)| at(object, before)?.get(*last)?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

/// Returns the objects in the list at `path` for changes.
pub fn list_mut<'a>(
    object: &'a mut Object,
    path: &'a [&'a str],
) -> impl Iterator<Item = &'a mut Object> + use<'a> {
    path.split_last()
        .and_then(|(last, before)| at_mut(object, before)?.get_mut(*last)?.as_array_mut())
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Removes `keys` from the object at `path`, and the object itself once it is empty.
pub fn remove(object: &mut Object, path: &[&str], keys: &[&str]) {
    let Some(inner) = at_mut(object, path) else {
        return;
    };
    for key in keys {
        inner.shift_remove(*key);
    }
    if inner.is_empty()
        && let Some((last, before)) = path.split_last()
        && let Some(outer) = at_mut(object, before)
    {
        outer.shift_remove(*last);
    }
}
