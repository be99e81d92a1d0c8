//! Resource modifiers that a Restore names: read from their ConfigMap and written into the Restore before the run begins,
//! so that whoever takes the run over uses the same.

use serde_json::{Value, json};

use crate::api::{ResourceModifiers, Restore, RestorePhase, labels};
use crate::cluster::{ApiType, Cluster};

/// Returns the name of the ConfigMap that is to be read for a Restore, if there is one.
pub(crate) fn wanted(restore: &Restore) -> Option<&str> {
    let new = restore
        .status
        .as_ref()
        .is_none_or(|status| status.phase == RestorePhase::New);
    let spec = &restore.spec;
    let reference = spec.resource_modifier.as_ref().filter(|_| {
        new && restore.metadata.deletion_timestamp.is_none() && spec.resource_modifiers.is_none()
    })?;
    // Anything else is refused with the rest of the request.
    (reference.kind.eq_ignore_ascii_case("configmap") && !reference.name.is_empty())
        .then_some(&reference.name)
}

/// Reads the rules from a ConfigMap of the server's namespace.
///
/// # Errors
/// A sentence for the user.
pub(crate) async fn read(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<ResourceModifiers, String> {
    let api_type = ApiType {
        version: "v1".to_owned(),
        resource: "configmaps".to_owned(),
        namespaced: true,
        ..ApiType::default()
    };
    let found = cluster.get(&api_type, Some(namespace), name).await;
    let body = found.map_err(|error| format!("resource modifier: {error}"))?;
    let body = body.ok_or_else(|| {
        format!("resource modifier: there is no ConfigMap {name} in namespace {namespace}; create it first")
    })?;
    let object: Value = serde_json::from_slice(&body)
        .map_err(|error| format!("resource modifier: ConfigMap {name}: {error}"))?;
    parse(name, &object)
}

fn parse(name: &str, config_map: &Value) -> Result<ResourceModifiers, String> {
    let mut values = config_map
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let (Some((key, text)), None) = (values.next(), values.next()) else {
        return Err(format!(
            "resource modifier: ConfigMap {name} does not have exactly one key; put all rules into one"
        ));
    };
    serde_saphyr::from_str(text.as_str().unwrap_or_default())
        .map_err(|error| format!("resource modifier: ConfigMap {name}, key {key}: {error}"))
}

/// Returns the patch that writes the rules into the Restore, and whence they are.
pub(crate) fn patch(config_map: &str, rules: &ResourceModifiers) -> Value {
    json!({
        "metadata": {"annotations": {labels::RESOURCE_MODIFIER: config_map}},
        "spec": {"resourceModifier": null, "resourceModifiers": rules},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_holds_all_rules() {
        let rules = "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  \
                     patches: [{operation: remove, path: /spec/nodeSelector}]\n";
        let read = parse("m", &json!({"data": {"rules.yaml": rules}})).unwrap();
        assert_eq!(read.resource_modifier_rules.len(), 1);
        for (data, word) in [
            (json!({}), "exactly one key"),
            (json!({"a": rules, "b": rules}), "exactly one key"),
            (json!({"a": "version: ["}), "key a"),
            (json!({"a": "version: v1\nrules: []"}), "key a"),
        ] {
            let problem = parse("m", &json!({"data": data})).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
