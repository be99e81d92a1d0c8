//! Which hooks a pod has: those of its annotations, else those of every rule of the Backup that is for it. Pure.

use std::collections::BTreeMap;

use kube::core::Selector;
use memchr::memmem::Finder;
use serde::Deserialize;

use super::annotations::{self, MARK};
use super::{Hook, Phase, PodHooks};
use crate::api::filter::IncludesExcludes;
use crate::api::{BackupHooks, BackupResourceHook, BackupResourceHookSpec, selector};
use crate::backup::select;
use crate::cluster::{Discovery, Item, ItemHeader};

/// The type that hooks run on.
const PODS: &str = "pods";

/// The hooks that a Backup asks for, ready to be matched.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    mark: Finder<'static>,
}

#[derive(Debug)]
struct Rule {
    namespaces: IncludesExcludes,
    labels: Option<Selector>,
    pre: Vec<Hook>,
    post: Vec<Hook>,
}

/// What of a Backup's hooks will not do what it seems to say.
#[derive(Debug, Default)]
pub(crate) struct RuleProblems {
    /// Types that rules are for and that mean nothing here. They are not dropped: a rule for nothing but such types
    /// would turn into one for everything (ark.md, 5, corrected).
    pub(crate) unknown: Vec<String>,
    /// Rules that are for no pod.
    pub(crate) idle: Vec<String>,
}

impl Rules {
    /// Prepares the hooks of a spec that is valid.
    pub(crate) fn new(hooks: &BackupHooks, discovery: &Discovery) -> (Self, RuleProblems) {
        let mut problems = RuleProblems::default();
        let mut rules = Vec::new();
        for (place, spec) in hooks.resources.iter().enumerate() {
            let name = spec.display_name(place);
            let unknown = spec
                .included_resources
                .iter()
                .filter(|name| *name != "*" && select::resolve(discovery, name).is_empty());
            problems.unknown.extend(unknown.map(|resource| {
                let unknown = select::unknown_type(discovery, resource);
                format!("hooks, rule {name}: {unknown}")
            }));
            if !is_for_pods(spec, discovery) {
                problems.idle.push(format!(
                    "hooks, rule {name}: it leaves out pods, and hooks run in nothing else; it does nothing"
                ));
                continue;
            }
            rules.push(Rule {
                namespaces: IncludesExcludes::new(
                    &spec.included_namespaces,
                    &spec.excluded_namespaces,
                ),
                labels: spec
                    .label_selector
                    .as_ref()
                    .and_then(|labels| selector::compile(labels).ok()),
                pre: hooks_of(&name, spec.pre_hooks()),
                post: hooks_of(&name, &spec.post),
            });
        }
        let mark = Finder::new(MARK);
        (Self { rules, mark }, problems)
    }

    /// Returns the hooks of a pod; `None` if it has none, which for most pods is found out without parsing them.
    pub(crate) fn of(&self, pod: &Item) -> Option<PodHooks> {
        let matching: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.is_for(&pod.header))
            .collect();
        if matching.is_empty() && self.mark.find(&pod.body).is_none() {
            return None;
        }
        // The header was read from the same bytes, so this fails only if the server sends something odd.
        let parsed: Pod = serde_json::from_slice(&pod.body).unwrap_or_default();
        let asked = parsed.metadata.annotations.unwrap_or_default();
        let mut problems = Vec::new();
        let mut choose =
            |phase, of_rule: fn(&Rule) -> &[Hook]| match annotations::hook(&asked, phase) {
                Some((hook, found)) => {
                    problems.extend(found);
                    vec![hook]
                }
                None => matching
                    .iter()
                    .flat_map(|rule| of_rule(rule))
                    .cloned()
                    .collect(),
            };
        let pre = choose(Phase::Pre, |rule| &rule.pre);
        let post = choose(Phase::Post, |rule| &rule.post);
        if pre.is_empty() && post.is_empty() {
            return None;
        }
        Some(PodHooks {
            pre,
            post,
            containers: parsed.spec.long_running(),
            running: parsed.status.phase.as_deref() == Some("Running"),
            problems,
        })
    }
}

impl Rule {
    fn is_for(&self, header: &ItemHeader) -> bool {
        self.namespaces.includes(&header.namespace)
            && selector::matches(self.labels.as_ref(), &header.labels)
    }
}

fn is_for_pods(spec: &BackupResourceHookSpec, discovery: &Discovery) -> bool {
    let names_pods = |names: &[String]| {
        names.iter().any(|name| {
            select::resolve(discovery, name)
                .iter()
                .any(|name| name == PODS)
        })
    };
    let all = spec.included_resources.is_empty()
        || spec.included_resources.iter().any(|name| name == "*");
    (all || names_pods(&spec.included_resources)) && !names_pods(&spec.excluded_resources)
}

fn hooks_of(name: &str, hooks: &[BackupResourceHook]) -> Vec<Hook> {
    let execs = hooks.iter().filter_map(|hook| hook.exec.clone());
    execs.map(|exec| Hook::new(name, exec).0).collect()
}

/// What of a pod matters to hooks.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
}

impl Spec {
    /// Returns the containers that run while the pod does: the ordinary ones, then sidecars.
    fn long_running(self) -> Vec<String> {
        let sidecars = self.init_containers.unwrap_or_default().into_iter();
        let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        self.containers
            .into_iter()
            .chain(sidecars)
            .map(|one| one.name)
            .collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::ApiType;

    fn discovery() -> Discovery {
        let api_type = |group: &str, resource: &str, short: &str| ApiType {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            singular: resource.trim_end_matches('s').into(),
            short_names: vec![short.into()],
            namespaced: true,
            ..ApiType::default()
        };
        let types = vec![
            api_type("", "pods", "po"),
            api_type("apps", "deployments", "deploy"),
        ];
        Discovery::from_types(types, Vec::new())
    }

    fn rules(spec: &Value) -> (Rules, RuleProblems) {
        let hooks: BackupHooks = serde_json::from_value(json!({ "resources": spec })).unwrap();
        Rules::new(&hooks, &discovery())
    }

    fn exec(command: &str) -> Value {
        json!([{"exec": {"command": [command]}}])
    }

    fn pod(namespace: &str, labels: &Value, annotations: &Value) -> Item {
        let body = json!({
            "metadata": {"name": "p", "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": {"containers": [{"name": "main"}, {"name": "side"}], "initContainers": [
                {"name": "once"}, {"name": "proxy", "restartPolicy": "Always"},
            ]},
            "status": {"phase": "Running"},
        });
        let body = Bytes::from(body.to_string());
        Item {
            header: ItemHeader::parse(&body).unwrap(),
            body,
        }
    }

    /// The commands of a phase, in order.
    fn words(hooks: &[Hook]) -> String {
        let words: Vec<String> = hooks.iter().map(|hook| hook.command.join(" ")).collect();
        words.join(",")
    }

    #[test]
    fn all_matching_rules_count_in_their_order() {
        let (rules, problems) = rules(&json!([
            {"name": "first", "pre": exec("1"), "post": exec("1p")},
            {"name": "old", "hooks": exec("2"), "includedNamespaces": ["a"]},
            {"name": "both", "pre": exec("3"), "hooks": exec("3-ignored"), "excludedNamespaces": ["a"]},
            {"name": "labels", "pre": exec("4"), "labelSelector": {"matchLabels": {"tier": "db"}}},
            {"name": "short", "post": exec("5p"), "includedResources": ["po"]},
            {"name": "all", "post": exec("6p"), "includedResources": ["*"], "excludedResources": ["deploy"]},
        ]));
        assert!(
            problems.unknown.is_empty() && problems.idle.is_empty(),
            "{problems:?}"
        );
        for (namespace, labels, pre) in [
            ("a", json!({}), "1,2"),
            ("b", json!({"tier": "web"}), "1,3"),
            ("b", json!({"tier": "db"}), "1,3,4"),
        ] {
            let hooks = rules.of(&pod(namespace, &labels, &json!(null))).unwrap();
            assert_eq!(words(&hooks.pre), pre);
            assert_eq!(words(&hooks.post), "1p,5p,6p");
            assert_eq!(hooks.containers, ["main", "side", "proxy"]);
            assert!(hooks.running);
        }
    }

    #[test]
    fn annotations_replace_the_rules_of_their_phase() {
        let (rules, _) = rules(&json!([{"pre": exec("rule"), "post": exec("rule-post")}]));
        let annotated = json!({
            "pre.hook.backup.velero.io/command": "mine", "pre.hook.backup.velero.io/timeout": "soon",
        });
        let hooks = rules.of(&pod("a", &json!({}), &annotated)).unwrap();
        assert_eq!(
            (words(&hooks.pre).as_str(), words(&hooks.post).as_str()),
            ("mine", "rule-post")
        );
        assert_eq!(hooks.problems.len(), 1, "{:?}", hooks.problems);
        assert_eq!(
            hooks.post[0].name, "1",
            "a rule without a name has its number"
        );
    }

    #[test]
    fn pods_without_hooks_are_not_even_parsed() {
        let (none, _) = rules(&json!([]));
        let (others, _) = rules(&json!([{"pre": exec("x"), "includedNamespaces": ["other"]}]));
        let plain = Item {
            body: Bytes::from_static(b"no JSON at all"),
            ..pod("a", &json!({}), &json!(null))
        };
        assert_eq!(none.of(&plain), None);
        assert_eq!(others.of(&plain), None);
        // Text that only looks like it, as in managedFields.
        let alike = pod(
            "a",
            &json!({}),
            &json!({"note": "hook.backup.ark.heptio.com"}),
        );
        assert_eq!(none.of(&alike), None);
        // A rule without commands asks for nothing.
        let (empty, _) = rules(&json!([{"name": "empty"}]));
        assert_eq!(empty.of(&pod("a", &json!({}), &json!(null))), None);
    }

    #[test]
    fn a_rule_for_unknown_types_is_no_rule_for_everything() {
        let (rules, problems) = rules(&json!([
            {"name": "typo", "pre": exec("x"), "includedResources": ["pdos"]},
            {"name": "idle", "pre": exec("y"), "includedResources": ["deployments.apps"]},
            {"name": "out", "pre": exec("z"), "excludedResources": ["pods", "gone.example.org"]},
        ]));
        assert_eq!(rules.of(&pod("a", &json!({}), &json!(null))), None);
        assert_eq!(problems.unknown.len(), 1, "{problems:?}");
        assert!(problems.unknown[0].contains("rule typo"), "{problems:?}");
        assert_eq!(problems.idle.len(), 3, "{problems:?}");
    }

    #[test]
    fn pods_that_do_not_run_say_so() {
        let (rules, _) = rules(&json!([{"pre": exec("x")}]));
        let mut waiting = pod("a", &json!({}), &json!(null));
        let text = String::from_utf8(waiting.body.to_vec()).unwrap();
        waiting.body = text.replace("Running", "Pending").into();
        assert!(!rules.of(&waiting).unwrap().running);
    }
}
