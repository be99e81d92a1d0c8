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
    ];
    let contents = Contents::of(&entries);
    let target = Discovery::from_types(vec![api_type("deployments.apps", true)], Vec::new());
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
