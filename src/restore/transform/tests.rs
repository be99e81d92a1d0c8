//! The rules as a table: case number, type, stored object, object to create.

use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn facts() -> Facts {
    Facts {
        namespace_mapping: [("old".to_owned(), "new".to_owned())].into(),
        marks: Vec::new(),
        provisioned_anew: ["lost".to_owned()].into(),
        storage_classes: [("slow".to_owned(), "fast".to_owned())].into(),
        references: [(
            "monitors.example.org".to_owned(),
            vec![
                "spec.namespaces[*]".to_owned(),
                "spec.rules[*].to.namespace".to_owned(),
            ],
        )]
        .into(),
        ..Facts::default()
    }
}

#[test]
fn what_names_a_namespace_follows_it() {
    check(
        "-",
        "networkpolicies.networking.k8s.io",
        json!({"spec": {"ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "old"}}},
            {"namespaceSelector": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["old", "other"]},
                {"key": "team", "operator": "In", "values": ["old"]},
            ]}},
        ]}]}}),
        json!({"spec": {"ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "new"}}},
            {"namespaceSelector": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["new", "other"]},
                {"key": "team", "operator": "In", "values": ["old"]},
            ]}},
        ]}]}}),
    );
    check(
        "-",
        "monitors.example.org",
        json!({"spec": {"namespaces": ["old", "other"], "rules": [{"to": {"namespace": "old"}}, {"to": null}]}}),
        json!({"spec": {"namespaces": ["new", "other"], "rules": [{"to": {"namespace": "new"}}, {"to": null}]}}),
    );
}

#[test]
fn storage_classes_are_mapped() {
    check(
        "60",
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "slow"}}),
        json!({"spec": {"storageClassName": "fast"}}),
    );
    check(
        "60",
        "statefulsets.apps",
        json!({"spec": {"volumeClaimTemplates": [{"spec": {"storageClassName": "slow"}}, {"spec": {}}]}}),
        json!({"spec": {"volumeClaimTemplates": [{"spec": {"storageClassName": "fast"}}, {"spec": {}}]}}),
    );
}

/// Transforms what stands beside the metadata of an object named `x`.
fn check(case: &str, group_resource: &str, stored: Value, expected: Value) {
    let with_metadata = |value: Value| {
        let mut all = object(json!({"metadata": {"name": "x"}}));
        for (key, value) in object(value) {
            all.insert(key, value);
        }
        all
    };
    let mut found = with_metadata(stored);
    transform(&mut found, group_resource, None, &facts());
    assert_eq!(
        Value::Object(found),
        Value::Object(with_metadata(expected)),
        "case {case}: {group_resource}"
    );
}

#[test]
fn metadata_is_reset() {
    check(
        "1, 2, 7, 8",
        "anything",
        json!({
            "metadata": {
                "name": "x", "uid": "u", "resourceVersion": "1", "generation": 2, "selfLink": "/", "creationTimestamp": "t",
                "deletionTimestamp": "t", "deletionGracePeriodSeconds": 1, "generateName": "x-", "ownerReferences": [{}],
                "managedFields": [{}], "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f"],
            },
            "status": {"ready": true},
            "weight": 1.0,
        }),
        json!({
            "metadata": {"name": "x", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f"]},
            "weight": 1.0,
        }),
    );
}

#[test]
fn objects_are_placed_and_marked() {
    let facts = Facts {
        marks: vec![("ark-restore", "r".to_owned())],
        ..Facts::default()
    };
    for labels in [json!(null), json!({"a": "b"})] {
        let mut found = object(json!({
            "metadata": {"name": "x", "namespace": "old", "labels": labels},
            "spec": {"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}}}},
        }));
        let spec = found["spec"].clone();
        transform(&mut found, "deployments.apps", Some("new"), &facts);
        assert_eq!(found["metadata"]["namespace"], "new");
        assert_eq!(found["metadata"]["labels"]["ark-restore"], "r", "case 5");
        assert_eq!(found["spec"], spec, "case 5: selectors and templates stay");
    }
}

#[test]
fn namespaces_take_their_target_name() {
    let mut found = object(json!({
        "metadata": {"name": "old", "uid": "u", "labels": {"kubernetes.io/metadata.name": "old", "a": "b"}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    }));
    own_metadata(&mut found, "new");
    assert_eq!(
        Value::Object(found),
        json!({"metadata": {"name": "new", "labels": {"a": "b"}}, "spec": {"finalizers": ["kubernetes"]}}),
        "case 18"
    );
}

#[test]
fn definitions() {
    const UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";
    const APPROVAL: &str = "api-approved.kubernetes.io";
    check(
        "14",
        "customresourcedefinitions.apiextensions.k8s.io",
        json!({"spec": {"preserveUnknownFields": true, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"default": 1.0}, "b": {"default": 1}}}}},
            {"name": "v2"},
        ]}}),
        json!({"spec": {"preserveUnknownFields": false, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"a": {"default": 1.0, UNKNOWN: true}, "b": {"default": 1, UNKNOWN: true}}, UNKNOWN: true}}},
            {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object", UNKNOWN: true}}},
        ]}}),
    );
    let untouched = json!({"spec": {"preserveUnknownFields": false, "versions": [{"name": "v1"}]}});
    check(
        "14",
        "customresourcedefinitions.apiextensions.k8s.io",
        untouched.clone(),
        untouched,
    );
    let unapproved = json!("unapproved, from before it was asked for");
    let approved = json!("https://example.org");
    for (group, stored, expected) in [
        ("certmanager.k8s.io", json!(null), &unapproved),
        ("kubernetes.io", json!(null), &unapproved),
        ("snapshot.storage.k8s.io", approved.clone(), &approved),
        ("networking.x-k8s.io", json!(null), &json!(null)),
    ] {
        let metadata = json!({"name": "x", "annotations": {APPROVAL: stored}});
        let mut found = object(json!({"metadata": metadata, "spec": {"group": group}}));
        transform(
            &mut found,
            "customresourcedefinitions.apiextensions.k8s.io",
            None,
            &facts(),
        );
        assert_eq!(
            &found["metadata"]["annotations"][APPROVAL], expected,
            "case 15: {group}"
        );
    }
}

#[test]
fn pods() {
    check(
        "27",
        "pods",
        json!({"spec": {"nodeName": "n", "priority": 0, "priorityClassName": "high", "preemptionPolicy": "Never", "hostname": "h"}}),
        json!({"spec": {"priorityClassName": "high", "hostname": "h"}}),
    );
    let mounts = |names: &[&str]| -> Value {
        let mounts: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!([{"name": "main", "volumeMounts": mounts}])
    };
    check(
        "28",
        "pods",
        json!({"spec": {
            "serviceAccountName": "keeper",
            "volumes": [{"name": "keeper-token-x", "secret": {}}, {"name": "data", "emptyDir": {}}],
            "containers": mounts(&["keeper-token-x", "data"]), "initContainers": mounts(&["keeper-token-x"]),
        }}),
        json!({"spec": {
            "serviceAccountName": "keeper",
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": mounts(&["data"]), "initContainers": mounts(&[]),
        }}),
    );
    let own = json!({"spec": {
        "volumes": [{"name": "default-token-cache", "emptyDir": {}}], "containers": mounts(&["default-token-cache"]),
    }});
    check("28", "pods", own.clone(), own);
    check(
        "-",
        "pods",
        json!({"spec": {"ephemeralContainers": [{}], "containers": []}}),
        json!({"spec": {"containers": []}}),
    );
}

#[test]
fn jobs() {
    check(
        "34",
        "jobs.batch",
        json!({"spec": {
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {"metadata": {"labels": {"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "app": "zoo"}}},
        }}),
        json!({"spec": {"template": {"metadata": {"labels": {"app": "zoo"}}}}}),
    );
    let manual = json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"controller-uid": "mine"}}}});
    check("34", "jobs.batch", manual.clone(), manual);
}

#[test]
fn service_addresses() {
    check(
        "35",
        "services",
        json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]}}),
        json!({"spec": {"type": "ClusterIP", "ipFamilies": ["IPv4"]}}),
    );
    for (case, untouched) in [
        (
            "35",
            json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}}),
        ),
        (
            "36",
            json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}),
        ),
    ] {
        check(case, "services", untouched.clone(), untouched);
    }
}

/// Returns the annotation that `kubectl apply` leaves.
fn applied(spec: &Value) -> Value {
    let applied = json!({ "spec": spec }).to_string();
    json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}})
}

/// Returns the managed fields of somebody who sent these fields of the spec.
fn managed(fields: &Value) -> Value {
    json!({"managedFields": [{"manager": "m", "fieldsV1": {"f:spec": fields}}]})
}

#[test]
fn node_ports() {
    let asked = json!({"f:ports": {r#"k:{"port":80,"protocol":"TCP"}"#: {"f:nodePort": {}}}});
    let by_status =
        json!({"managedFields": [{"subresource": "status", "fieldsV1": {"f:spec": asked}}]});
    for (case, name, metadata, kept) in [
        ("37", "", json!({}), false),
        ("37", "", applied(&json!({"ports": [{"port": 80}]})), false),
        (
            "38",
            "",
            applied(&json!({"ports": [{"port": 80, "nodePort": 31234}]})),
            true,
        ),
        (
            "38",
            "",
            applied(&json!({"ports": [{"port": 80.0, "nodePort": 31234.0}]})),
            true,
        ),
        (
            "38",
            "",
            applied(&json!({"ports": [{"port": 80, "nodePort": "31234"}]})),
            true,
        ),
        (
            "38",
            "",
            applied(&json!({"ports": [{"port": 80, "nodePort": 0}]})),
            false,
        ),
        (
            "38",
            "",
            applied(&json!({"ports": [{"port": 81, "nodePort": 31234}]})),
            false,
        ),
        (
            "38",
            "http",
            applied(&json!({"ports": [{"name": "http", "port": 1, "nodePort": 31234}]})),
            true,
        ),
        (
            "38",
            "http",
            applied(&json!({"ports": [{"name": "other", "port": 80, "nodePort": 31234}]})),
            false,
        ),
        ("38", "", managed(&asked), true),
        ("38", "", by_status, false),
        (
            "38",
            "",
            managed(&json!({"f:ports": {r#"k:{"port":80,"protocol":"TCP"}"#: {}}})),
            false,
        ),
        (
            "38",
            "",
            json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{"}}),
            false,
        ),
    ] {
        let port = json!({"name": name, "port": 80, "protocol": "TCP", "nodePort": 31234});
        let mut service =
            object(json!({"metadata": metadata, "spec": {"type": "NodePort", "ports": [port]}}));
        transform(&mut service, "services", None, &facts());
        let found = service["spec"]["ports"][0].get("nodePort").is_some();
        assert_eq!(found, kept, "case {case}: {metadata}");
    }
}

#[test]
fn health_check_ports() {
    for (metadata, kept) in [
        (json!({}), false),
        (applied(&json!({"healthCheckNodePort": 32000})), true),
        (applied(&json!({"healthCheckNodePort": 0})), false),
        (managed(&json!({"f:healthCheckNodePort": {}})), true),
    ] {
        let spec = json!({"type": "LoadBalancer", "healthCheckNodePort": 32000});
        let mut service = object(json!({"metadata": metadata, "spec": spec}));
        transform(&mut service, "services", None, &facts());
        let found = service["spec"].get("healthCheckNodePort").is_some();
        assert_eq!(found, kept, "case 40: {metadata}");
    }
}

#[test]
fn accounts_and_tokens() {
    check(
        "44",
        "serviceaccounts",
        json!({"secrets": [{"name": "x-token-abcde"}, {"name": "mine"}]}),
        json!({"secrets": [{"name": "mine"}]}),
    );
    check(
        "44",
        "serviceaccounts",
        json!({"secrets": [{"name": "x-token-abcde"}]}),
        json!({}),
    );
    check(
        "47",
        "secrets",
        json!({
            "type": TOKEN_TYPE,
            "metadata": {"name": "x", "annotations": {TOKEN_ACCOUNT: "keeper", "kubernetes.io/service-account.uid": "u"}},
            "data": {"token": "t", "ca.crt": "c", "namespace": "n", "extra": "e"},
        }),
        json!({
            "type": TOKEN_TYPE,
            "metadata": {"name": "x", "annotations": {TOKEN_ACCOUNT: "keeper"}},
            "data": {"extra": "e"},
        }),
    );
    let other = json!({"type": "Opaque", "data": {"token": "t"}});
    check("47", "secrets", other.clone(), other);
}

#[test]
fn volumes_and_claims() {
    check(
        "48",
        "persistentvolumeclaims",
        json!({
            "metadata": {"name": "x", "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
                "volume.beta.kubernetes.io/storage-provisioner": "p", "volume.kubernetes.io/storage-provisioner": "p",
                "volume.kubernetes.io/selected-node": "n", "mine": "m",
            }},
            "spec": {"volumeName": "kept"},
        }),
        json!({"metadata": {"name": "x", "annotations": {"mine": "m"}}, "spec": {"volumeName": "kept"}}),
    );
    check(
        "49, 56",
        "persistentvolumeclaims",
        json!({"spec": {
            "volumeName": "lost", "storageClassName": "fast", "dataSource": {"name": "s"}, "dataSourceRef": {"name": "s"},
        }}),
        json!({"spec": {"storageClassName": "fast"}}),
    );
    check(
        "57",
        "persistentvolumes",
        json!({
            "metadata": {"name": "x", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/provisioned-by": "p"}},
            "spec": {"storageClassName": "fast", "claimRef": {"namespace": "old", "name": "db", "uid": "u", "resourceVersion": "1"}},
        }),
        json!({
            "metadata": {"name": "x", "annotations": {"pv.kubernetes.io/provisioned-by": "p"}},
            "spec": {"storageClassName": "fast", "claimRef": {"namespace": "new", "name": "db"}},
        }),
    );
}

#[test]
fn subjects_and_services_move_with_their_namespace() {
    check(
        "64",
        "clusterrolebindings.rbac.authorization.k8s.io",
        json!({"subjects": [
            {"kind": "ServiceAccount", "name": "a", "namespace": "old"},
            {"kind": "ServiceAccount", "name": "a", "namespace": "other"},
            {"kind": "User", "name": "system:serviceaccount:old:a"},
            {"kind": "Group", "name": "system:serviceaccounts:old"},
            {"kind": "Group", "name": "old"},
        ]}),
        json!({"subjects": [
            {"kind": "ServiceAccount", "name": "a", "namespace": "new"},
            {"kind": "ServiceAccount", "name": "a", "namespace": "other"},
            {"kind": "User", "name": "system:serviceaccount:new:a"},
            {"kind": "Group", "name": "system:serviceaccounts:new"},
            {"kind": "Group", "name": "old"},
        ]}),
    );
    check(
        "67",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        json!({"webhooks": [
            {"sideEffects": "Unknown", "clientConfig": {"service": {"namespace": "old", "name": "s"}}},
            {"sideEffects": "Some"}, {"sideEffects": "NoneOnDryRun", "clientConfig": {"url": "https://example.org"}},
        ]}),
        json!({"webhooks": [
            {"sideEffects": "None", "clientConfig": {"service": {"namespace": "new", "name": "s"}}},
            {"sideEffects": "None"}, {"sideEffects": "NoneOnDryRun", "clientConfig": {"url": "https://example.org"}},
        ]}),
    );
}

/// No rule may fail on an object of another shape than it expects: backups are input like any other.
#[test]
fn odd_shapes_are_left_alone() {
    for group_resource in [
        "pods",
        "services",
        "serviceaccounts",
        "secrets",
        "jobs.batch",
        "persistentvolumes",
        "persistentvolumeclaims",
        "rolebindings.rbac.authorization.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "apiservices.apiregistration.k8s.io",
        "deployments.apps",
        "cronjobs.batch",
        "networkpolicies.networking.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
    ] {
        for odd in [
            json!({}),
            json!({"metadata": null, "spec": null}),
            json!({"metadata": 1, "spec": [], "secrets": {}, "subjects": "x", "webhooks": [1, null], "data": 2}),
            json!({"type": TOKEN_TYPE, "metadata": {"annotations": []}, "spec": {"ports": {}, "claimRef": [], "versions": 1,
                "preserveUnknownFields": true, "containers": [[]], "volumes": {}, "selector": [], "template": 1}}),
            json!({"spec": {"conversion": 1, "ingress": [{"from": [1]}], "affinity": {"podAffinity": [],
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [1, {"namespaces": {}, "namespaceSelector": 2}]}},
                "rules": [{"subjects": {"serviceAccount": 1}, "resourceRules": [{"namespaces": [1]}]}],
                "template": {"spec": {"volumes": 1}}, "jobTemplate": {"spec": []}}}),
        ] {
            let mut object = object(odd);
            transform(&mut object, group_resource, Some("n"), &facts());
        }
    }
}
