//! What becomes of fields that name a namespace, or select namespaces by their names: those that the table of rules
//! lists, those that the request names, and what a Pod has of them.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// The label by which every namespace can be selected by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Maps the namespaces in the fields at `path`, such as `spec.namespaceSelector.matchNames[*]`.
pub(super) fn move_names(object: &mut Object, path: &str, facts: &Facts) {
    for value in reach(object, path) {
        match value {
            Value::Array(names) => names.iter_mut().for_each(|name| map(name, facts)),
            value => map(value, facts),
        }
    }
}

/// Maps the namespaces that the label selectors at `path` choose by name.
pub(super) fn move_selectors(object: &mut Object, path: &str, facts: &Facts) {
    for selector in reach(object, path) {
        if let Value::Object(selector) = selector {
            move_selector(selector, facts);
        }
    }
}

/// A Pod that wants to be near to Pods of a namespace that moves, or far from them, is so to those of the new one; and
/// what a volume of its own is filled from is there.
pub(super) fn move_pod(pod: &mut Object, facts: &Facts) {
    move_pods(pod, &["spec"], facts);
}

/// The same in the template of what runs Pods.
pub(super) fn move_template(workload: &mut Object, facts: &Facts) {
    move_pods(workload, &["spec", "template", "spec"], facts);
}

/// The same in the template of a Job's template.
pub(super) fn move_job_template(cron_job: &mut Object, facts: &Facts) {
    move_pods(
        cron_job,
        &["spec", "jobTemplate", "spec", "template", "spec"],
        facts,
    );
}

fn move_pods(object: &mut Object, path: &[&str], facts: &Facts) {
    if facts.namespace_mapping.is_empty() {
        return;
    }
    let Some(spec) = object::at_mut(object, path) else {
        return;
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = object::at_mut(spec, &["affinity", kind]) else {
            continue;
        };
        for term in object::list_mut(
            affinity,
            &["requiredDuringSchedulingIgnoredDuringExecution"],
        ) {
            move_term(term, facts);
        }
        for preference in object::list_mut(
            affinity,
            &["preferredDuringSchedulingIgnoredDuringExecution"],
        ) {
            if let Some(term) = object::at_mut(preference, &["podAffinityTerm"]) {
                move_term(term, facts);
            }
        }
    }
    move_names(
        spec,
        "volumes[*].ephemeral.volumeClaimTemplate.spec.dataSourceRef.namespace",
        facts,
    );
}

fn move_term(term: &mut Object, facts: &Facts) {
    move_names(term, "namespaces", facts);
    move_selectors(term, "namespaceSelector", facts);
}

fn move_selector(selector: &mut Object, facts: &Facts) {
    if let Some(labels) = object::at_mut(selector, &["matchLabels"])
        && let Some(name) = labels.get_mut(NAME_LABEL)
    {
        map(name, facts);
    }
    for expression in object::list_mut(selector, &["matchExpressions"]) {
        if object::text(expression, &["key"]) == NAME_LABEL
            && let Some(Value::Array(names)) = expression.get_mut("values")
        {
            for name in names {
                map(name, facts);
            }
        }
    }
}

/// Returns what stands at `path`; `[*]` stands for each member of a list.
fn reach<'a>(object: &'a mut Object, path: &str) -> Vec<&'a mut Value> {
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
    values
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::restore::transform::transform;

    fn transformed(group_resource: &str, stored: Value, facts: &Facts) -> Value {
        let Value::Object(mut object) = stored else {
            panic!("no object");
        };
        transform(&mut object, group_resource, None, facts);
        Value::Object(object)
    }

    fn mapping(names: &[(&str, &str)]) -> Facts {
        let names = names.iter();
        Facts {
            namespace_mapping: names
                .map(|(old, new)| ((*old).to_owned(), (*new).to_owned()))
                .collect(),
            ..Facts::default()
        }
    }

    /// Specs in which HERE stands for a namespace.
    #[test]
    fn what_names_a_namespace_follows_it() {
        let by_name = json!({"matchLabels": {"kubernetes.io/metadata.name": "HERE"}});
        let service = json!({"service": {"namespace": "HERE", "name": "s"}});
        let pod = json!({
            "affinity": {
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"namespaces": ["HERE", "other"], "topologyKey": "t"},
                ]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"namespaceSelector": by_name}},
                ]},
            },
            "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
                "dataSourceRef": {"namespace": "HERE"},
            }}}}],
        });
        for (group_resource, spec) in [
            (
                "customresourcedefinitions.apiextensions.k8s.io",
                json!({"conversion": {"webhook": {"clientConfig": service}}}),
            ),
            (
                "customresourcedefinitions.apiextensions.k8s.io",
                json!({"conversion": {"webhookClientConfig": service}}),
            ),
            ("pods", pod.clone()),
            ("deployments.apps", json!({"template": {"spec": pod}})),
            (
                "cronjobs.batch",
                json!({"jobTemplate": {"spec": {"template": {"spec": pod}}}}),
            ),
            (
                "validatingadmissionpolicybindings.admissionregistration.k8s.io",
                json!({"matchResources": {"namespaceSelector": by_name}, "paramRef": {"namespace": "HERE"}}),
            ),
            (
                "validatingadmissionpolicies.admissionregistration.k8s.io",
                json!({"matchConstraints": {"namespaceSelector": by_name}}),
            ),
            (
                "volumesnapshotcontents.snapshot.storage.k8s.io",
                json!({"volumeSnapshotRef": {"namespace": "HERE", "name": "s"}}),
            ),
            (
                "ingressclasses.networking.k8s.io",
                json!({"parameters": {"namespace": "HERE", "scope": "Namespace"}}),
            ),
            (
                "persistentvolumeclaims",
                json!({"dataSourceRef": {"namespace": "HERE", "name": "d"}}),
            ),
            (
                "statefulsets.apps",
                json!({"volumeClaimTemplates": [{"spec": {"dataSourceRef": {"namespace": "HERE"}}}]}),
            ),
            (
                "persistentvolumes",
                json!({"csi": {"nodeStageSecretRef": {"namespace": "HERE", "name": "s"}}}),
            ),
            (
                "flowschemas.flowcontrol.apiserver.k8s.io",
                json!({"rules": [{"subjects": [{"serviceAccount": {"namespace": "HERE"}}],
                    "resourceRules": [{"namespaces": ["HERE", "*"]}]}]}),
            ),
            (
                "httproutes.gateway.networking.k8s.io",
                json!({"parentRefs": [{"namespace": "HERE"}, {}], "rules": [{"backendRefs": [{"namespace": "HERE"}]}]}),
            ),
            (
                "gateways.gateway.networking.k8s.io",
                json!({"listeners": [{"allowedRoutes": {"namespaces": {"selector": by_name}}}]}),
            ),
            (
                "referencegrants.gateway.networking.k8s.io",
                json!({"from": [{"namespace": "HERE"}]}),
            ),
        ] {
            let of = |namespace: &str| -> Value {
                let text = json!({"metadata": {"name": "x"}, "spec": spec}).to_string();
                serde_json::from_str(&text.replace("HERE", namespace)).unwrap()
            };
            let facts = mapping(&[("old", "new")]);
            for (stored, expected) in [("old", "new"), ("else", "else")] {
                let found = transformed(group_resource, of(stored), &facts);
                assert_eq!(found, of(expected), "{group_resource}");
            }
        }
    }

    /// A field that has a rule, and that the request names too, is mapped once.
    #[test]
    fn namespaces_can_change_places() {
        let of = "ingressclasses.networking.k8s.io";
        let facts = Facts {
            references: [(of.to_owned(), vec!["spec.parameters.namespace".to_owned()])].into(),
            ..mapping(&[("a", "b"), ("b", "a")])
        };
        let class = json!({"spec": {"parameters": {"namespace": "a"}}});
        let found = transformed(of, class, &facts);
        assert_eq!(found["spec"]["parameters"]["namespace"], "b");
    }
}
