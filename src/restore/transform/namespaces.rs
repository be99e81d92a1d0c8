//! What becomes of fields that name a namespace, beside those that have a rule of their own: label selectors of
//! namespaces by name, and the fields that the request names.

use serde_json::Value;

use super::Facts;
use crate::restore::object::{self, Object};

/// The label by which every namespace can be selected by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A network policy that lets in, or out to, a namespace that moves, does so for the new one.
pub(super) fn move_peers(policy: &mut Object, facts: &Facts) {
    if facts.namespace_mapping.is_empty() {
        return;
    }
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in object::list_mut(policy, &["spec", rules]) {
            for peer in object::list_mut(rule, &[peers]) {
                move_selector(peer, "namespaceSelector", facts);
            }
        }
    }
}

/// So does a webhook that looks at objects in it.
pub(super) fn move_watched(configuration: &mut Object, facts: &Facts) {
    if facts.namespace_mapping.is_empty() {
        return;
    }
    for webhook in object::list_mut(configuration, &["webhooks"]) {
        move_selector(webhook, "namespaceSelector", facts);
    }
}

fn move_selector(object: &mut Object, key: &str, facts: &Facts) {
    if let Some(labels) = object::at_mut(object, &[key, "matchLabels"])
        && let Some(name) = labels.get_mut(NAME_LABEL)
    {
        map(name, facts);
    }
    for expression in object::list_mut(object, &[key, "matchExpressions"]) {
        if object::text(expression, &["key"]) == NAME_LABEL
            && let Some(Value::Array(names)) = expression.get_mut("values")
        {
            for name in names {
                map(name, facts);
            }
        }
    }
}

/// Maps the namespaces in a field that the request names, such as `spec.namespaceSelector.matchNames[*]`.
pub(super) fn follow(object: &mut Object, path: &str, facts: &Facts) {
    let mut values: Vec<&mut Value> = Vec::new();
    let mut steps = path.split('.');
    if let Some(first) = steps.next() {
        let (key, each) = step(first);
        values.extend(object.get_mut(key));
        values = spread(values, each);
    }
    for next in steps {
        let (key, each) = step(next);
        values = values
            .into_iter()
            .filter_map(|value| value.get_mut(key))
            .collect();
        values = spread(values, each);
    }
    for value in values {
        match value {
            Value::Array(names) => names.iter_mut().for_each(|name| map(name, facts)),
            value => map(value, facts),
        }
    }
}

fn step(text: &str) -> (&str, bool) {
    text.strip_suffix("[*]")
        .map_or((text, false), |key| (key, true))
}

fn spread(values: Vec<&mut Value>, each: bool) -> Vec<&mut Value> {
    if !each {
        return values;
    }
    values
        .into_iter()
        .filter_map(Value::as_array_mut)
        .flatten()
        .collect()
}

fn map(name: &mut Value, facts: &Facts) {
    if let Value::String(name) = name {
        *name = facts.target_namespace(name).to_owned();
    }
}
