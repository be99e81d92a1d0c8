use serde_json::json;

use super::*;

fn merged(object: &Value, patch: &Value) -> Result<Value, String> {
    let mut object = object.clone();
    check(patch)?;
    merge("pods", &mut object, patch)?;
    Ok(object)
}

#[test]
fn lists_are_merged_by_their_keys() {
    let object = json!({"spec": {"replicas": 1, "paused": true, "containers": [
        {"name": "web", "image": "a", "env": [{"name": "A", "value": "1"}], "args": ["x"]},
        {"name": "side", "image": "s"},
    ]}, "metadata": {"finalizers": ["a"]}});
    for (patch, expected) in [
        (
            json!({"spec": {"paused": null, "containers": [
                {"name": "web", "image": "b", "env": [{"name": "B", "value": "2"}], "args": ["y"]},
                {"name": "side", "$patch": "delete"}, {"name": "new", "image": "n", "env": null},
            ]}, "metadata": {"finalizers": ["b"]}}),
            // What the patch brings stands before what is not in it, as `kubectl patch` has it.
            json!({"spec": {"replicas": 1, "containers": [
                {"name": "web", "image": "b", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                 "args": ["y"]},
                {"name": "new", "image": "n"},
            ]}, "metadata": {"finalizers": ["b", "a"]}}),
        ),
        (
            json!({"spec": {"$patch": "replace", "replicas": 3}}),
            json!({"spec": {"replicas": 3}, "metadata": {"finalizers": ["a"]}}),
        ),
        (
            json!({"spec": {"$patch": "delete"}, "metadata": {"labels": {"$patch": "delete"}}}),
            json!({"spec": {}, "metadata": {"finalizers": ["a"]}}),
        ),
        (
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "only"}]}}),
            json!({"spec": {"replicas": 1, "paused": true, "containers": [{"name": "only"}]},
                "metadata": {"finalizers": ["a"]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "web", "args": ["x", "y", "x"], "env": [
                {"$patch": "replace"}, {"name": "A"}, {"name": "B"}, {"name": "A"},
            ]}]}}),
            json!({"spec": {"replicas": 1, "paused": true, "containers": [
                {"name": "web", "image": "a", "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}],
                 "args": ["x", "y", "x"]},
                {"name": "side", "image": "s"},
            ]}, "metadata": {"finalizers": ["a"]}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {"$patch": "replace", "medium": null}}],
                "containers": [], "paused": null, "replicas": null}}),
            json!({"spec": {"containers": object["spec"]["containers"], "volumes": [{"name": "v", "emptyDir": {}}]},
                "metadata": {"finalizers": ["a"]}}),
        ),
    ] {
        assert_eq!(merged(&object, &patch).unwrap(), expected, "{patch}");
    }
    let nameless = json!({"spec": {"containers": [{"image": "b"}]}});
    assert!(merged(&object, &nameless).is_err());
}

#[test]
fn the_same_field_is_merged_or_replaced_by_where_it_is() {
    let service =
        json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
    let patch = json!({"spec": {"ports": [{"port": 81, "name": "c"}]}});
    assert_eq!(
        merged(&service, &patch).unwrap(),
        json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "c"}]}})
    );
    let account = json!({"secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "a"}]});
    let patch = json!({"secrets": [{"name": "b"}], "imagePullSecrets": [{"name": "b"}]});
    assert_eq!(
        merged(&account, &patch).unwrap(),
        json!({"secrets": [{"name": "b"}, {"name": "a"}], "imagePullSecrets": [{"name": "b"}]})
    );
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}});
    for (resource, labels) in [
        ("deployments", json!({"a": "1", "b": "2"})),
        ("poddisruptionbudgets", json!({"b": "2"})),
    ] {
        let mut object = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}});
        merge(resource, &mut object, &patch).unwrap();
        assert_eq!(object["spec"]["selector"]["matchLabels"], labels);
    }
}

/// The examples are those of `util/strategicpatch/patch_test.go` and of `kubectl apply`.
#[test]
fn directives_of_objects_and_lists() {
    for (object, patch, expected) in [
        (
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w"}]}}),
            json!({"spec": {"volumes": [
                {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}},
            ]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w"}]}}),
        ),
        (
            json!({}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "x"]}}),
            json!({"metadata": {"finalizers": ["a", "c"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}, "args": [1, 2, 1]}),
            json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]},
                "$deleteFromPrimitiveList/args": [1], "$deleteFromPrimitiveList/none": ["a"]}),
            json!({"metadata": {"finalizers": ["c", "b"]}, "args": [2]}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
            json!({"spec": {"containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "n"}, {"name": "c"}, {"name": "b"}],
                "containers": [{"name": "a", "$patch": "delete"}, {"name": "n", "image": "i"}]}}),
            json!({"spec": {"containers": [{"name": "n", "image": "i"}, {"name": "c"}, {"name": "b"}]}}),
        ),
        (
            json!({"metadata": {}}),
            json!({"metadata": {"$setElementOrder/finalizers": ["b", "a"], "finalizers": ["b", "a"]}}),
            json!({"metadata": {"finalizers": ["b", "a"]}}),
        ),
    ] {
        assert_eq!(merged(&object, &patch).unwrap(), expected, "{patch}");
    }
}

#[test]
fn what_is_no_directive_is_refused() {
    for (patch, word) in [
        (json!({"$patch": "delete"}), "cannot delete the object"),
        (json!({"spec": {"$patch": "merge"}}), "\"merge\" is none"),
        (json!({"spec": {"$retainkeys": ["a"]}}), "$retainkeys"),
        (json!({"spec": [{"$unknown": 1}]}), "$unknown"),
        (json!({"$deleteFromPrimitiveList/": ["a"]}), "no directive"),
        (
            json!({"$deleteFromPrimitiveList/a": "b"}),
            "no list of words",
        ),
        (
            json!({"$deleteFromPrimitiveList/a": [{}]}),
            "no list of words",
        ),
        (json!({"$setElementOrder/a": "b"}), "to be lists"),
        (json!({"$setElementOrder/a": [], "a": {}}), "to be lists"),
        (json!({"$retainKeys": "a"}), "no list"),
        (json!({"$retainKeys": ["a"], "b": 1}), "does not name b"),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
            "does not name",
        ),
    ] {
        let problem = merged(&json!({"spec": {"containers": []}}), &patch).unwrap_err();
        assert!(problem.contains(word), "{patch}: {problem}");
    }
}

#[test]
fn custom_types_are_not_known() {
    for (name, known) in [
        ("pods", true),
        ("deployments.apps", true),
        ("deployments.extensions", true),
        ("ingresses.networking.k8s.io", true),
        ("animals.zoo.example.org", false),
        ("volumesnapshots.snapshot.storage.k8s.io", false),
        ("gateways.gateway.networking.k8s.io", false),
    ] {
        assert_eq!(knows(name), known, "{name}");
    }
}
