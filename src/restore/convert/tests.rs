//! The routes as a table: stored object, object to restore.

use serde_json::{Value, json};

use super::*;

fn check(api_version: &str, resource: &str, stored: Value, expected: &Value) {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let key = TypeKey {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        ..TypeKey::default()
    };
    let route = route(&key).unwrap_or_else(|| panic!("{api_version} {resource} has a route"));
    let Value::Object(mut object) = stored else {
        panic!("no object");
    };
    object.insert("apiVersion".into(), api_version.into());
    (route.convert)(&mut object).unwrap();
    object.shift_remove("apiVersion");
    assert_eq!(&Value::Object(object), expected, "{api_version} {resource}");
}

#[test]
fn no_two_routes_begin_at_the_same_place() {
    let mut seen = std::collections::BTreeSet::new();
    for route in ROUTES {
        for version in route.versions {
            assert!(
                seen.insert((route.from, version)),
                "{:?} {version}",
                route.from
            );
            assert_ne!((route.from.0, *version), route.to);
        }
    }
}

#[test]
fn workloads_say_what_was_meant() {
    let template = json!({"metadata": {"labels": {"a": "b"}}});
    let selector = json!({"matchLabels": {"a": "b"}});
    check(
        "extensions/v1beta1",
        "deployments",
        json!({"spec": {"template": template, "rollbackTo": {"revision": 1}}}),
        &json!({"spec": {"template": template, "selector": selector, "revisionHistoryLimit": i32::MAX,
            "progressDeadlineSeconds": i32::MAX,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}}),
    );
    check(
        "apps/v1beta1",
        "deployments",
        json!({"spec": {"template": template, "selector": {"matchLabels": {"c": "d"}}, "revisionHistoryLimit": 5}}),
        &json!({"spec": {"template": template, "selector": {"matchLabels": {"c": "d"}}, "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": 600}}),
    );
    check(
        "extensions/v1beta1",
        "daemonsets",
        json!({"spec": {"template": template, "templateGeneration": 3}}),
        &json!({"spec": {"template": template, "selector": selector, "updateStrategy": {"type": "OnDelete"}}}),
    );
    check(
        "apps/v1beta1",
        "statefulsets",
        json!({"spec": {"template": template, "updateStrategy": {}}}),
        &json!({"spec": {"template": template, "selector": selector, "updateStrategy": {"type": "OnDelete"}}}),
    );
    check(
        "apps/v1beta2",
        "statefulsets",
        json!({"spec": {"template": template}}),
        &json!({"spec": {"template": template, "selector": selector}}),
    );
}

#[test]
fn ingresses_name_services() {
    check(
        "extensions/v1beta1",
        "ingresses",
        json!({"spec": {"backend": {"serviceName": "web", "servicePort": 80}, "rules": [{"http": {"paths": [
            {"path": "/a", "backend": {"serviceName": "a", "servicePort": "http"}},
            {"backend": {"serviceName": "b", "servicePort": "8080"}, "pathType": "Exact"},
            {"backend": {"serviceName": "c", "servicePort": 1}, "path": ""},
        ]}}]}}),
        &json!({"spec": {"rules": [{"http": {"paths": [
            {"path": "/a", "backend": {"service": {"name": "a", "port": {"name": "http"}}},
             "pathType": "ImplementationSpecific"},
            {"pathType": "Exact", "backend": {"service": {"name": "b", "port": {"number": 8080}}}},
            {"backend": {"service": {"name": "c", "port": {"number": 1}}}, "pathType": "ImplementationSpecific",
             "path": ""},
        ]}}], "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
    );
}

#[test]
fn policies_mean_the_same() {
    check(
        "policy/v1beta1",
        "poddisruptionbudgets",
        json!({"spec": {"minAvailable": 1, "selector": {}}}),
        &json!({"spec": {"minAvailable": 1}}),
    );
    check(
        "policy/v1beta1",
        "poddisruptionbudgets",
        json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
        &json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
    );
    check(
        "rbac.authorization.k8s.io/v1alpha1",
        "clusterrolebindings",
        json!({"subjects": [
            {"kind": "User", "apiVersion": "rbac.authorization.k8s.io/v1alpha1", "name": "*"},
            {"kind": "ServiceAccount", "apiVersion": "v1", "name": "x", "namespace": "n"},
        ]}),
        &json!({"subjects": [
            {"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "ServiceAccount", "name": "x", "namespace": "n"},
        ]}),
    );
    check(
        "autoscaling/v2beta1",
        "horizontalpodautoscalers",
        json!({"spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 80}},
            {"type": "Pods", "pods": {"metricName": "rps", "targetAverageValue": "10"}},
            {"type": "Object", "object": {"metricName": "rps", "targetValue": "10", "target": {"kind": "Service"}}},
            {"type": "Object", "object": {"metricName": "rps", "targetValue": "0", "averageValue": "10",
                "target": {"kind": "Service"}}},
            {"type": "External", "external": {"metricName": "queue", "metricSelector": {}, "targetAverageValue": "10"}},
        ]}}),
        &json!({"spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service"}, "metric": {"name": "rps"},
                "target": {"type": "Value", "value": "10"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service"}, "metric": {"name": "rps"},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "External", "external": {"metric": {"name": "queue", "selector": {}},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
        ]}}),
    );
    check(
        "discovery.k8s.io/v1beta1",
        "endpointslices",
        json!({"endpoints": [{"topology": {"kubernetes.io/hostname": "h", "topology.kubernetes.io/zone": "z", "x": "y"}}]}),
        &json!({"endpoints": [{"nodeName": "h", "zone": "z"}]}),
    );
}

#[test]
fn definitions_have_a_schema_for_each_version() {
    check(
        "apiextensions.k8s.io/v1beta1",
        "customresourcedefinitions",
        json!({"spec": {"version": "v1", "preserveUnknownFields": false,
            "validation": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"list": {}}}}}},
            "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "u"}},
        }}),
        &json!({"spec": {
            "preserveUnknownFields": false,
            "scope": "Namespaced",
            "conversion": {"strategy": "Webhook",
                "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1beta1"]}},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"list": {}}}}}},
                "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}],
            }],
        }}),
    );
}

#[test]
fn definitions_kept_unknown_fields_unless_told_otherwise() {
    check(
        "apiextensions.k8s.io/v1beta1",
        "customresourcedefinitions",
        json!({"spec": {"scope": "Cluster", "versions": [], "version": "v1"}}),
        &json!({"spec": {"scope": "Cluster", "preserveUnknownFields": true,
            "versions": [{"name": "v1", "served": true, "storage": true}]}}),
    );
}

#[test]
fn webhooks_say_the_old_defaults() {
    check(
        "admissionregistration.k8s.io/v1beta1",
        "validatingwebhookconfigurations",
        json!({"webhooks": [{"name": "a", "failurePolicy": "Fail"}]}),
        &json!({"webhooks": [{"name": "a", "failurePolicy": "Fail", "admissionReviewVersions": ["v1beta1"],
            "matchPolicy": "Exact", "timeoutSeconds": 30, "sideEffects": "Unknown"}]}),
    );
}
