use super::*;
use crate::restore::testing::{api_type, entry};

#[allow(
    clippy::unwrap_in_result,
    reason = "what is no YAML is the test's mistake"
)]
fn read(yaml: &str) -> Result<Modifiers, Vec<String>> {
    let entries = vec![
        entry("configmaps", "n", "a"),
        entry("animals.zoo.example.org", "n", "simba"),
        entry("deployments.extensions", "n", "web"),
    ];
    let contents = Contents::of(&entries);
    let target = Discovery::from_types(
        vec![
            api_type("deployments.apps", true),
            api_type("roles.rbac.authorization.k8s.io", true),
        ],
        Vec::new(),
    );
    let modifiers: ResourceModifiers = serde_saphyr::from_str(yaml).unwrap();
    Modifiers::read(Some(&modifiers), &contents, &target)
}

fn rule(of: &str, rest: &str) -> String {
    format!(
        "{{version: v1, resourceModifierRules: [{{conditions: {{groupResource: {of}}}, {rest}}}]}}"
    )
}

fn apply(yaml: &str, namespace: &str, name: &str, object: Value) -> Result<Value, String> {
    let modifiers = read(yaml).map_err(|problems| problems.join("; "))?;
    let entry = entry("configmaps", namespace, name);
    let Value::Object(mut object) = object else {
        panic!("no object");
    };
    let rules = modifiers.for_type("configmaps", "configmaps");
    modifiers.apply(&rules, &entry, &mut object)?;
    Ok(Value::Object(object))
}

#[test]
fn every_kind_of_patch() {
    let before = json!({"metadata": {"name": "a"}, "data": {"color": "red", "n": "1"}});
    for (patch, after) in [
        (
            "patches: [{operation: replace, path: /data/color, value: blue}, {operation: remove, path: /data/n}]",
            json!({"color": "blue"}),
        ),
        (
            "patches: [{operation: copy, from: /data/color, path: /data/b}, {operation: move, from: /data/n, path: /data/c}]",
            json!({"color": "red", "b": "red", "c": "1"}),
        ),
        (
            "patches: [{operation: add, path: /data/n, value: '\"7\"'}]",
            json!({"color": "red", "n": "7"}),
        ),
        (
            "patches: [{operation: test, path: /data/color, value: green}, {operation: remove, path: /data/n}]",
            json!({"color": "red", "n": "1"}),
        ),
        (
            "mergePatches: [{patchData: '{\"data\": {\"n\": null, \"more\": \"x\"}}'}]",
            json!({"color": "red", "more": "x"}),
        ),
        (
            "strategicPatches: [{patchData: 'data: {n: \"2\"}'}]",
            json!({"color": "red", "n": "2"}),
        ),
    ] {
        let found = apply(&rule("configmaps", patch), "n", "a", before.clone()).unwrap();
        assert_eq!(found["data"], after, "{patch}");
    }
}

/// As in Velero, except that a path whose parent is missing is an error there.
#[test]
fn what_is_tested_and_missing_is_a_test_that_fails() {
    let before = json!({"data": {"color": "red", "none": null}});
    for (path, value, holds) in [
        ("/data/color", "red", true),
        ("/data/color", "green", false),
        ("/data/color", "null", false),
        ("/data/class", "gold", false),
        ("/data/class", "null", true),
        ("/data/class", "", false),
        ("/data/none", "null", true),
        ("/spec/class", "gold", false),
        ("/spec/class", "null", false),
        ("/data/color/0", "null", false),
    ] {
        let after = if holds { "blue" } else { "red" };
        let test = rule(
            "configmaps",
            &format!(
                "patches: [{{operation: replace, path: /data/color, value: blue}}, \
                 {{operation: copy, from: /data/color, path: /data/was}}, \
                 {{operation: replace, path: /data/color, value: red}}, \
                 {{operation: test, path: {path}, value: '{value}'}}, \
                 {{operation: replace, path: /data/color, value: blue}}]"
            ),
        );
        let found = apply(&test, "n", "a", before.clone()).unwrap();
        assert_eq!(found["data"]["color"], after, "test {path} {value}");
        // All of it or nothing.
        assert_eq!(found["data"].get("was").is_some(), holds, "{path} {value}");
        let matches = format!("configmaps, matches: [{{path: {path}, value: '{value}'}}]");
        let merge = "mergePatches: [{patchData: 'data: {color: blue}'}]";
        let found = apply(&rule(&matches, merge), "n", "a", before.clone()).unwrap();
        assert_eq!(found["data"]["color"], after, "matches {path} {value}");
    }
}

#[test]
fn whom_rules_are_for_does_not_depend_on_rules_before() {
    let swap = "{version: V1, resourceModifierRules: [\
        {conditions: {groupResource: configmaps, matches: [{path: /data/class, value: gold}]}, \
         mergePatches: [{patchData: 'data: {class: silver}'}]}, \
        {conditions: {groupResource: configmaps, matches: [{path: /data/class, value: silver}]}, \
         mergePatches: [{patchData: 'data: {class: gold}'}]}, \
        {conditions: {groupResource: configmaps}, \
         patches: [{operation: copy, from: /data/class, path: /data/then}]}]}";
    for (before, after) in [("gold", "silver"), ("silver", "gold")] {
        let object = json!({"data": {"class": before}});
        let found = apply(swap, "n", "a", object).unwrap();
        assert_eq!(found["data"], json!({"class": after, "then": after}));
    }
}

#[test]
fn types_are_matched_by_either_name_and_as_velero_does() {
    let types = [
        ("configmaps", "configmaps"),
        ("animals.zoo.example.org", "animals.zoo.example.org"),
        ("deployments.extensions", "deployments.apps"),
        ("deployments.apps", "deployments.apps"),
        (
            "roles.rbac.authorization.k8s.io",
            "roles.rbac.authorization.k8s.io",
        ),
    ];
    for (of, expected) in [
        ("deployments.extensions", [false, false, true, false, false]),
        ("deployments.apps", [false, false, true, true, false]),
        ("Deployment", [false, false, true, true, false]),
        ("'*.apps'", [false, false, true, true, false]),
        ("'*.extensions'", [false, false, true, false, false]),
        ("'*'", [true, false, false, false, false]),
        ("'*.*'", [true; 5]),
        ("'**'", [true; 5]),
        ("'*.zoo.example.org'", [false, true, false, false, false]),
        ("'*.**.k8s.io'", [false, false, false, false, true]),
        ("'{configmaps,roles.**}'", [true, false, false, false, true]),
    ] {
        let modifiers = read(&rule(of, "patches: [{operation: remove, path: /a}]")).unwrap();
        let found = types.map(|(stored, target)| !modifiers.for_type(stored, target).is_empty());
        assert_eq!(found, expected, "{of}");
    }
}

#[test]
fn cluster_scoped_objects_are_in_every_namespace() {
    let yaml = rule(
        "configmaps, namespaces: [other, '{a,b}-*']",
        "patches: [{operation: remove, path: /data/color}]",
    );
    for (namespace, fits) in [("", true), ("n", false), ("a", false), ("b-1", true)] {
        let object = json!({"data": {"color": "red"}});
        let found = apply(&yaml, namespace, "a", object).unwrap();
        assert_eq!(found["data"].get("color").is_none(), fits, "{namespace:?}");
    }
}

#[test]
fn conditions_have_to_fit_all() {
    let object = json!({"metadata": {"name": "web-1"}, "data": {"color": "red"}});
    for (conditions, fits) in [
        ("groupResource: configmaps", true),
        ("groupResource: ConfigMap", true),
        ("groupResource: 'config*'", true),
        ("groupResource: deployments.apps", false),
        (
            "groupResource: configmaps, resourceNameRegex: '^web-'",
            true,
        ),
        (
            "groupResource: configmaps, resourceNameRegex: '^db-'",
            false,
        ),
        ("groupResource: configmaps, namespaces: [other, 'n*']", true),
        ("groupResource: configmaps, namespaces: [other]", false),
        (
            "groupResource: configmaps, labelSelector: {matchLabels: {a: b}}",
            false,
        ),
        (
            "groupResource: configmaps, matches: [{path: /data/color, value: red}]",
            true,
        ),
        (
            "groupResource: configmaps, matches: [{path: /data/color, value: blue}]",
            false,
        ),
    ] {
        let yaml = format!(
            "{{version: v1, resourceModifierRules: [{{conditions: {{{conditions}}}, \
             patches: [{{operation: remove, path: /data/color}}]}}]}}"
        );
        let found = apply(&yaml, "n", "web-1", object.clone()).unwrap();
        assert_eq!(
            found["data"].as_object().unwrap().is_empty(),
            fits,
            "{conditions}"
        );
    }
}

#[test]
fn a_patch_that_fails_holds_the_object_back() {
    for (patch, word) in [
        (
            "patches: [{operation: remove, path: /data/none}]",
            "modifier 1",
        ),
        (
            "patches: [{operation: replace, path: /metadata/name, value: b}]",
            "which object",
        ),
        (
            "mergePatches: [{patchData: 'kind: Secret'}]",
            "which object",
        ),
    ] {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}});
        let problem = apply(&rule("configmaps", patch), "n", "a", object).unwrap_err();
        assert!(problem.contains(word), "{problem}");
    }
}

#[test]
fn bad_rules_are_refused() {
    for (yaml, word) in [
        (rule("configmaps", "patches: []"), "no patch"),
        (
            rule(
                "configmaps",
                "patches: [{operation: remove, path: /a}], mergePatches: [{patchData: '{}'}]",
            ),
            "several kinds",
        ),
        (
            rule("ghosts", "patches: [{operation: remove, path: /a}]"),
            "names no type",
        ),
        (
            rule("configmaps", "patches: [{operation: drop, path: /a}]"),
            "\"drop\" is none",
        ),
        (
            rule("configmaps", "patches: [{operation: remove, path: a}]"),
            "no JSON pointer",
        ),
        (
            rule("configmaps", "patches: [{operation: add, path: /a}]"),
            "no value",
        ),
        (
            rule("configmaps", "mergePatches: [{patchData: '['}]"),
            "no YAML",
        ),
        (
            rule("configmaps", "mergePatches: [{patchData: '3'}]"),
            "no object",
        ),
        (
            rule("animals", "strategicPatches: [{patchData: '{}'}]"),
            "mergePatches",
        ),
        (
            rule(
                "configmaps",
                "strategicPatches: [{patchData: 'data: {$keep: [a]}'}]",
            ),
            "$keep",
        ),
        (
            rule("'{configmaps'", "patches: [{operation: remove, path: /a}]"),
            "not closed",
        ),
        (
            rule(
                "configmaps, resourceNameRegex: '('",
                "patches: [{operation: remove, path: /a}]",
            ),
            "no regular expression",
        ),
        (
            "{version: v2, resourceModifierRules: []}".to_owned(),
            "version",
        ),
    ] {
        let problems = read(&yaml).unwrap_err().join("; ");
        assert!(problems.contains(word), "{yaml}: {problems}");
    }
}

#[test]
fn a_rule_for_nothing_is_told() {
    let modifiers = read(&rule(
        "configmaps",
        "patches: [{operation: remove, path: /a}]",
    ))
    .unwrap();
    assert_eq!(modifiers.idle().len(), 1);
}
