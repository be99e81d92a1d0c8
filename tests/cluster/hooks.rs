//! Hooks in pods: which ones run, in which order, and what their failures mean.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use ark::api::{BackupHooks, BackupPhase, BackupSpec};
use serde_json::{Value, json};

use crate::hooked::{Marks, log, pod, results, start, stored_pods};
use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Fails unless there is a message for each of these pods, in the order of their names, with this text in it.
#[track_caller]
fn assert_messages(messages: &[String], expected: &[(&str, &str)]) {
    let mut messages: Vec<&String> = messages.iter().collect();
    messages.sort_unstable();
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for (message, (pod, text)) in messages.iter().zip(expected) {
        assert!(message.starts_with(&format!("pods {pod}: ")), "{message}");
        assert!(message.contains(text), "{message:?} has no {text:?}");
    }
}

#[tokio::test]
async fn annotations_ask_for_hooks_before_and_after_a_pod() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "annotated").await?;
    let marks = Marks::new(plane)?;
    let ask = |prefix: &str, command: String| (format!("{prefix}/command"), json!(command));
    let annotated = |name: &str, asked: Vec<(String, Value)>| {
        pod(name, &Value::Object(asked.into_iter().collect()))
    };
    let (ark_pre, ark_post) = (
        "pre.hook.backup.ark.heptio.com",
        "post.hook.backup.ark.heptio.com",
    );
    let (velero_pre, velero_post) = ("pre.hook.backup.velero.io", "post.hook.backup.velero.io");
    start(
        &plane.client(),
        namespace.name(),
        vec![
            annotated(
                "ark",
                vec![
                    ask(
                        ark_pre,
                        marks.script("echo pre >> ark; echo frozen; echo slowly >&2"),
                    ),
                    (format!("{ark_pre}/container"), json!("side")),
                    ask(ark_post, marks.mark("ark", "post")),
                ],
            ),
            annotated(
                "velero",
                vec![
                    ask(velero_pre, marks.mark("velero", "pre")),
                    ask(velero_post, marks.mark("velero", "post")),
                ],
            ),
            annotated(
                "legacy",
                vec![ask(
                    "hook.backup.ark.heptio.com",
                    marks.mark("legacy", "pre"),
                )],
            ),
            annotated(
                "both",
                vec![
                    ask(velero_pre, marks.mark("both", "velero")),
                    ask(ark_pre, marks.mark("both", "ark")),
                ],
            ),
            pod("plain", &json!(null)),
        ],
    )
    .await?;
    // Never scheduled: it does not run, so nothing can run in it.
    let mut waiting = annotated("waiting", vec![ask(ark_pre, marks.mark("waiting", "pre"))]);
    waiting["metadata"]["namespace"] = namespace.name().into();
    waiting["spec"]["nodeSelector"] = json!({"no": "such-node"});
    apply_yaml(&plane.client(), &waiting.to_string()).await?;

    let server = ark.serve().await?;
    let backup = ark.back_up("annotated", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    for (pod, words) in [
        ("ark", "pre post"),
        ("velero", "pre post"),
        ("legacy", "pre"),
        ("both", "ark"),
        ("waiting", ""),
    ] {
        assert_eq!(marks.of(pod), words, "{pod}");
    }
    let status = backup.status.clone().unwrap_or_default();
    assert_eq!(
        (status.hooks_attempted, status.hooks_failed),
        (Some(6), None)
    );
    assert_eq!(status.hooks_owed, []);
    assert_eq!(
        stored_pods(&ark, &backup)?,
        names(&["ark", "both", "legacy", "plain", "velero", "waiting"])
    );
    let log = log(&ark, &backup)?;
    let line = log
        .lines()
        .find(|line| line.contains(r#"stdout="frozen\n""#))
        .with_context(|| format!("no output in the log: {log}"))?;
    for field in [
        "pod=ark",
        "container=side",
        &format!("hook={ark_pre}"),
        r#"stderr="slowly\n""#,
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(
        ark.ark(&["backup", "describe", "annotated"])?
            .contains("Hooks attempted:  6\n")
    );
    server.stop()
}

#[tokio::test]
async fn rules_of_the_spec_run_in_their_order() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "rules").await?;
    let marks = Marks::new(plane)?;
    let exec = |who: &str, word: &str| -> Result<Value> {
        let command: Value = serde_json::from_str(&marks.mark(who, word))?;
        Ok(json!({"exec": {"command": command}}))
    };
    let own = json!({"pre.hook.backup.velero.io/command": marks.mark("web", "own")});
    start(
        &plane.client(),
        namespace.name(),
        vec![pod("db", &json!(null)), pod("web", &own)],
    )
    .await?;
    let db = json!({"matchLabels": {"name": "db"}});
    let web = json!({"matchLabels": {"name": "web"}});
    let rule = json!({"resources": [
        {"name": "first", "labelSelector": db, "pre": [exec("db", "1")?, exec("db", "2")?], "post": [exec("db", "5")?]},
        {"name": "old", "labelSelector": db, "includedResources": ["po"], "hooks": [exec("db", "3")?]},
        {"name": "third", "labelSelector": db, "pre": [exec("db", "4")?], "hooks": [exec("db", "never")?],
         "post": [exec("db", "6")?]},
        {"name": "other", "includedNamespaces": ["default"], "pre": [exec("db", "other")?]},
        {"name": "web", "labelSelector": web, "pre": [exec("web", "rule")?], "post": [exec("web", "post")?]},
    ]});
    let hooks: BackupHooks = serde_json::from_value(rule)?;
    let server = ark.serve().await?;
    let spec = BackupSpec {
        hooks: hooks.clone(),
        ..all_of(&namespace)
    };
    assert_clean_backup(&ark.back_up("rules", spec).await?);
    assert_eq!(marks.of("db"), "1 2 3 4 5 6");
    assert_eq!(
        marks.of("web"),
        "own post",
        "annotations replace a phase's rules"
    );

    // What cannot run, or means nothing here, is refused before anything runs.
    let mut bad = hooks.clone();
    bad.resources[0].post[0]
        .exec
        .as_mut()
        .context("exec")?
        .on_error = "Ignore".into();
    let mut unknown = hooks;
    unknown.resources[1].included_resources = vec!["pdos".into()];
    for (name, hooks, problem) in [
        ("bad", bad, "rule first: post[0]: onError: \"Ignore\""),
        (
            "unknown",
            unknown,
            "rule old: included resources: this cluster serves no type \"pdos\"",
        ),
    ] {
        let spec = BackupSpec {
            hooks,
            ..all_of(&namespace)
        };
        let status = ark.back_up(name, spec).await?.status.unwrap_or_default();
        assert_eq!(status.phase, BackupPhase::FailedValidation, "{status:?}");
        assert_eq!(status.validation_errors.len(), 1, "{status:?}");
        assert!(status.validation_errors[0].contains(problem), "{status:?}");
    }
    assert_eq!(marks.of("db"), "1 2 3 4 5 6");
    server.stop()
}

#[tokio::test]
async fn a_failed_hook_leaves_its_pod_out_unless_it_may_fail() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "failing").await?;
    let marks = Marks::new(plane)?;
    let annotations = |name: &str, pre: String, more: Value| {
        let mut annotations = json!({
            "pre.hook.backup.ark.heptio.com/command": pre,
            "post.hook.backup.ark.heptio.com/command": marks.mark(name, "post"),
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            annotations[key] = value.clone();
        }
        pod(name, &annotations)
    };
    let fail = || marks.script("exit 3");
    let fine = |name: &str| marks.mark(name, "pre");
    start(
        &plane.client(),
        namespace.name(),
        vec![
            annotations("fails", fail(), json!(null)),
            annotations(
                "continues",
                fail(),
                json!({"pre.hook.backup.ark.heptio.com/on-error": "Continue"}),
            ),
            annotations(
                "nobody",
                fine("nobody"),
                json!({"pre.hook.backup.ark.heptio.com/container": "nobody"}),
            ),
            annotations("empty", "[]".to_owned(), json!(null)),
            annotations(
                "slow",
                marks.block("slow", "pre")?,
                json!({"pre.hook.backup.ark.heptio.com/timeout": "1s"}),
            ),
            annotations(
                "odd",
                fine("odd"),
                json!({
                    "pre.hook.backup.ark.heptio.com/on-error": "Ignore",
                    "pre.hook.backup.ark.heptio.com/timeout": "soon",
                }),
            ),
            annotations(
                "late",
                fine("late"),
                json!({"post.hook.backup.ark.heptio.com/command": marks.script(
                    "echo post >> late; exit 4",
                )}),
            ),
        ],
    )
    .await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("failing", all_of(&namespace)).await?;
    let status = backup.status.clone().unwrap_or_default();
    marks.release()?;
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:?}");
    assert_eq!(
        (status.hooks_attempted, status.hooks_failed),
        (Some(14), Some(6))
    );
    assert_eq!(stored_pods(&ark, &backup)?, names(&["continues", "odd"]));

    let results = results(&ark, &backup)?;
    let errors = &results.errors.namespaces[namespace.name()];
    assert_messages(
        errors,
        &[
            ("empty", "its command is empty"),
            // kwok does not pass exit codes on as a kubelet does; it words them.
            ("fails", "exit status 3"),
            ("late", "exit status 4"),
            ("nobody", "the pod has no container \"nobody\""),
            ("slow", "it had not ended after 1s"),
        ],
    );
    assert!(
        errors
            .iter()
            .all(|error| error.contains("not in this backup"))
    );
    assert_messages(
        &results.warnings.namespaces[namespace.name()],
        &[
            ("continues", "exit status 3"),
            ("odd", "\"Ignore\""),
            ("odd", "timeout: \"soon\""),
        ],
    );
    // Whatever became of the pre hook, the post hook ran.
    for pod in ["fails", "continues", "nobody", "empty"] {
        assert_eq!(marks.of(pod), "post", "{pod}");
    }
    for pod in ["slow", "odd", "late"] {
        assert_eq!(marks.of(pod), "pre post", "{pod}");
    }
    server.stop()
}

#[tokio::test]
async fn the_hooks_of_many_pods_run_side_by_side() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "crowd").await?;
    let marks = Marks::new(plane)?;
    for folder in ["inside", "begun"] {
        fs::create_dir(marks.0.join(folder))?;
    }
    // Each notes how many are inside with it, and nobody leaves before eight have noted it: the
    // last of the first eight to come in sees all of them.
    let meet = |pod: &str| {
        marks.script(&format!(
            "mkdir inside/{pod}; ls inside | wc -l >> counts; mkdir begun/{pod}; \
             until [ $(ls begun | wc -l) -ge 8 ]; do sleep 0.05; done; rmdir inside/{pod}"
        ))
    };
    let pods: Vec<String> = (0..40).map(|n| format!("pod-{n:02}")).collect();
    let made = pods.iter().map(|name| {
        let annotations = json!({
            "pre.hook.backup.ark.heptio.com/command": meet(name),
            "pre.hook.backup.ark.heptio.com/timeout": "1m",
            "post.hook.backup.ark.heptio.com/command": marks.mark("post", name),
        });
        pod(name, &annotations)
    });
    start(&plane.client(), namespace.name(), made.collect()).await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("crowd", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    assert_eq!(
        backup
            .status
            .as_ref()
            .and_then(|status| status.hooks_attempted),
        Some(80)
    );
    let most = marks
        .of("counts")
        .split(' ')
        .map(str::parse::<usize>)
        .max_by_key(|n| n.clone().ok());
    assert_eq!(most, Some(Ok(8)), "never more than eight pods at once");
    let post = marks.of("post");
    let pods: BTreeSet<String> = pods.into_iter().collect();
    assert_eq!(
        post.split(' ').map(str::to_owned).collect::<BTreeSet<_>>(),
        pods
    );
    assert_eq!(stored_pods(&ark, &backup)?, pods);
    server.stop()
}
