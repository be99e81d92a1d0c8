//! What runs Pods, from `extensions/v1beta1`, `apps/v1beta1` and `apps/v1beta2`.

use serde_json::{Value, json};

use crate::api::object::{self, Object};

/// A selector was made of the template's labels where there was none; `apps/v1` wants it said.
pub(super) fn with_selector(workload: &mut Object) -> Result<(), String> {
    let spec = object::at_mut(workload, &["spec"]).ok_or("it has no spec")?;
    for gone in ["rollbackTo", "templateGeneration"] {
        spec.shift_remove(gone);
    }
    let chooses = ["matchLabels", "matchExpressions"].iter().any(|key| {
        object::at(spec, &["selector"]).is_some_and(|selector| selector.contains_key(*key))
    });
    if !chooses {
        let labels = object::at(spec, &["template", "metadata", "labels"])
            .filter(|labels| !labels.is_empty())
            .ok_or("it has neither a selector nor labels in its template")?
            .clone();
        spec.insert("selector".to_owned(), json!({"matchLabels": labels}));
    }
    Ok(())
}

/// `apps/v1beta1` kept two revisions.
pub(super) fn deployment(deployment: &mut Object) -> Result<(), String> {
    with_selector(deployment)?;
    default(deployment, "revisionHistoryLimit", json!(2));
    default(deployment, "progressDeadlineSeconds", json!(600));
    Ok(())
}

/// `extensions/v1beta1` kept all revisions, waited for ever, and replaced one Pod at a time.
pub(super) fn extensions_deployment(deployment: &mut Object) -> Result<(), String> {
    with_selector(deployment)?;
    default(deployment, "revisionHistoryLimit", json!(i32::MAX));
    default(deployment, "progressDeadlineSeconds", json!(i32::MAX));
    let rolls = object::at(deployment, &["spec", "strategy"]).is_none_or(|strategy| {
        strategy
            .get("type")
            .is_none_or(|word| word == "RollingUpdate")
    });
    if rolls
        && let Some(rolling) = object::ensure(deployment, &["spec", "strategy", "rollingUpdate"])
    {
        rolling.entry("maxSurge").or_insert_with(|| json!(1));
        rolling.entry("maxUnavailable").or_insert_with(|| json!(1));
    }
    Ok(())
}

/// `extensions/v1beta1` left Pods of an old template alone.
pub(super) fn extensions_daemon_set(set: &mut Object) -> Result<(), String> {
    with_selector(set)?;
    on_delete(set);
    Ok(())
}

/// `apps/v1beta1` left Pods of an old template alone; in `apps/v1beta2` a stored object has the strategy said.
pub(super) fn stateful_set(set: &mut Object) -> Result<(), String> {
    let early = object::text(set, &["apiVersion"]) == "apps/v1beta1";
    with_selector(set)?;
    if early {
        on_delete(set);
    }
    Ok(())
}

fn on_delete(set: &mut Object) {
    if let Some(strategy) = object::ensure(set, &["spec", "updateStrategy"]) {
        strategy
            .entry("type")
            .or_insert_with(|| Value::from("OnDelete"));
    }
}

fn default(workload: &mut Object, key: &str, value: Value) {
    if let Some(spec) = object::at_mut(workload, &["spec"]) {
        spec.entry(key).or_insert(value);
    }
}
