//! Bindings, disruption budgets, autoscalers and slices, from their beta versions.

use serde_json::{Value, json};

use crate::api::object::{self, Object};

/// `v1alpha1` named the version of a subject, where the group is meant now.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature is that of all routes"
)]
pub(super) fn binding(binding: &mut Object) -> Result<(), String> {
    for subject in object::list_mut(binding, &["subjects"]) {
        let version = subject.shift_remove("apiVersion");
        if subject.contains_key("apiGroup") {
            continue;
        }
        let group = match object::text(subject, &["kind"]) {
            "User" | "Group" => "rbac.authorization.k8s.io",
            _ => version
                .as_ref()
                .and_then(Value::as_str)
                .and_then(|version| version.rsplit_once('/'))
                .map_or("", |(group, _)| group),
        };
        if !group.is_empty() {
            subject.insert("apiGroup".to_owned(), Value::from(group));
        }
        // `*` meant everybody.
        if object::text(subject, &["kind"]) == "User" && object::text(subject, &["name"]) == "*" {
            subject.insert("kind".to_owned(), Value::from("Group"));
            subject.insert("name".to_owned(), Value::from("system:authenticated"));
        }
    }
    Ok(())
}

/// An empty selector chose no Pod in `v1beta1`, and chooses all of them in `v1`.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature is that of all routes"
)]
pub(super) fn disruption_budget(budget: &mut Object) -> Result<(), String> {
    let chooses = object::at(budget, &["spec", "selector"]).is_some_and(|selector| {
        selector
            .values()
            .any(|part| !part.is_null() && part != &json!({}) && part != &json!([]))
    });
    if !chooses && let Some(spec) = object::ensure(budget, &["spec"]) {
        spec.shift_remove("selector");
    }
    Ok(())
}

/// `v2beta1` had a metric's target beside its name.
pub(super) fn autoscaler(autoscaler: &mut Object) -> Result<(), String> {
    for metric in object::list_mut(autoscaler, &["spec", "metrics"]) {
        let kind = object::text(metric, &["type"]).to_owned();
        let field = match kind.as_str() {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            "External" => "external",
            other => return Err(format!("its metric of type {other:?} is not known")),
        };
        let Some(source) = object::at_mut(metric, &[field]) else {
            continue;
        };
        let mut take = |key: &str| source.shift_remove(key).filter(|value| !value.is_null());
        let percent = take("targetAverageUtilization");
        let average = take("targetAverageValue");
        let average = take("averageValue").or(average);
        // An Object metric always has one, which says nothing beside an average.
        let value = take("targetValue");
        let target = if let Some(percent) = percent {
            json!({"type": "Utilization", "averageUtilization": percent})
        } else if let Some(average) = average {
            json!({"type": "AverageValue", "averageValue": average})
        } else {
            json!({"type": "Value", "value": value})
        };
        let name = take("metricName");
        let selector = take("metricSelector").or_else(|| take("selector"));
        if field == "object"
            && let Some(object) = take("target")
        {
            source.insert("describedObject".to_owned(), object);
        }
        if let Some(name) = name {
            let mut metric = json!({"name": name});
            if let Some(selector) = selector {
                metric["selector"] = selector;
            }
            source.insert("metric".to_owned(), metric);
        }
        source.insert("target".to_owned(), target);
    }
    Ok(())
}

/// Node and zone have fields of their own. What else the topology says, `v1` drops: `deprecatedTopology` is only read in it.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature is that of all routes"
)]
pub(super) fn endpoint_slice(slice: &mut Object) -> Result<(), String> {
    for endpoint in object::list_mut(slice, &["endpoints"]) {
        let Some(Value::Object(mut topology)) = endpoint.shift_remove("topology") else {
            continue;
        };
        for (label, field) in [
            ("kubernetes.io/hostname", "nodeName"),
            ("topology.kubernetes.io/zone", "zone"),
        ] {
            if let Some(value) = topology.shift_remove(label) {
                endpoint.entry(field).or_insert(value);
            }
        }
    }
    Ok(())
}
