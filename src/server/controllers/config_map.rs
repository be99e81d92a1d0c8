//! Rules that a request names instead of holding them: read from a ConfigMap of the server's namespace and written into the
//! request before its run begins, so that whoever takes the run over uses the same.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::ConfigMapRef;
use crate::cluster::{ApiType, Cluster};

/// Returns the name of the ConfigMap that is referred to. Anything else is refused with the rest of the request.
pub(crate) fn name_of(reference: Option<&ConfigMapRef>) -> Option<&str> {
    let reference = reference?;
    (reference.kind.eq_ignore_ascii_case("configmap") && !reference.name.is_empty())
        .then_some(&reference.name)
}

/// Reads rules; `what` they are.
///
/// # Errors
/// A sentence for the user.
pub(crate) async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    what: &str,
) -> Result<T, String> {
    let api_type = ApiType {
        version: "v1".to_owned(),
        resource: "configmaps".to_owned(),
        namespaced: true,
        ..ApiType::default()
    };
    let found = cluster.get(&api_type, Some(namespace), name).await;
    let body = found.map_err(|error| format!("{what}: {error}"))?;
    let body = body.ok_or_else(|| {
        format!("{what}: there is no ConfigMap {name} in namespace {namespace}; create it first")
    })?;
    let object: Value = serde_json::from_slice(&body)
        .map_err(|error| format!("{what}: ConfigMap {name}: {error}"))?;
    parse(name, &object, what)
}

fn parse<T: DeserializeOwned>(name: &str, config_map: &Value, what: &str) -> Result<T, String> {
    let mut values = config_map
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let (Some((key, text)), None) = (values.next(), values.next()) else {
        return Err(format!(
            "{what}: ConfigMap {name} does not have exactly one key; put all rules into one"
        ));
    };
    serde_saphyr::from_str(text.as_str().unwrap_or_default())
        .map_err(|error| format!("{what}: ConfigMap {name}, key {key}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ResourceModifiers, VolumePolicies};

    #[test]
    fn one_key_holds_all_rules() {
        let rules = "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  \
                     patches: [{operation: remove, path: /spec/nodeSelector}]\n";
        let in_map = |data: Value| json!({ "data": data });
        let map = in_map(json!({"rules.yaml": rules}));
        let read: ResourceModifiers = parse("m", &map, "x").unwrap();
        assert_eq!(read.resource_modifier_rules.len(), 1);
        let policies =
            "version: v1\nvolumePolicies:\n- conditions: {nfs: {}}\n  action: {type: skip}\n";
        let read: VolumePolicies = parse("m", &in_map(json!({"p": policies})), "x").unwrap();
        assert_eq!(read.volume_policies.len(), 1);
        for (data, word) in [
            (json!({}), "exactly one key"),
            (json!({"a": rules, "b": rules}), "exactly one key"),
            (json!({"a": "version: ["}), "key a"),
            (json!({"a": "version: v1\nrules: []"}), "key a"),
        ] {
            let problem = parse::<ResourceModifiers>("m", &in_map(data), "x").unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
