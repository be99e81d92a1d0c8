//! Item actions in backups: the engine against the real API server, with actions that live in the test.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use ark::api::{Backup, BackupSpec, BackupStatus, OperationNote, Progress, ResultList};
use ark::archive::{BodyKind, Index, Limits, read_contents};
use ark::backup::{self, BackupError, BackupOptions, BackupRequest, Finished, HookNotes};
use ark::cluster::Cluster;
use ark::providers::actions::{Actions, BackedUpItem, ItemSelector, RunActions};
use ark::providers::snapshotters::Snapshotters;
use ark::storage::Location;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::hooked::{Marks, pod, start};
use crate::scripted::{self, Deaf, Kept, id, scripted, selecting};
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::stored::Folder;
use crate::support::{PATIENCE, unique_name, wait_until};

/// Backups made by this process.
struct Engine {
    cluster: Cluster,
    location: Location,
    kept: Arc<Kept<OperationNote>>,
    _folder: Folder,
}

/// What a backup holds, and said.
struct Made {
    /// Paths with the bodies, in their order.
    entries: Vec<(String, BodyKind, bool, Value)>,
    said: Vec<String>,
    finished: Finished,
}

impl Engine {
    async fn new(plane: &ControlPlane) -> Result<Self> {
        let folder = Folder::new()?;
        Ok(Self {
            cluster: Cluster::new(plane.client(), None),
            location: folder.location().await?,
            kept: Arc::default(),
            _folder: folder,
        })
    }

    fn request(&self, spec: BackupSpec, actions: Actions) -> BackupRequest {
        let mut backup = Backup::new(&unique_name("acted"), spec);
        backup.metadata.uid = Some(unique_name("uid"));
        backup.metadata.namespace = Some("heptio-ark".into());
        BackupRequest {
            backup,
            attempt: 1,
            holder: "test".into(),
            cluster_id: "here".into(),
            start: jiff::Timestamp::now(),
            ledger: Arc::<Kept<_>>::default(),
            snapshotters: Snapshotters::default(),
            snapshot_ledger: Arc::<Kept<_>>::default(),
            actions: RunActions {
                actions,
                ledger: Arc::clone(&self.kept) as _,
                stage: Arc::clone(&self.kept) as _,
            },
            earlier_hooks: HookNotes::default(),
        }
    }

    async fn run(
        &self,
        request: &BackupRequest,
        cancel: &CancellationToken,
    ) -> Result<Finished, BackupError> {
        let (progress, _seen) = watch::channel(Progress::default());
        let options = BackupOptions::default();
        backup::run(
            &self.cluster,
            &self.location,
            request,
            &options,
            &progress,
            cancel,
        )
        .await
    }

    /// Makes a backup and reads it.
    async fn back_up(&self, spec: BackupSpec, actions: Actions) -> Result<Made> {
        let request = self.request(spec, actions);
        let finished = self.run(&request, &CancellationToken::new()).await?;
        self.read(finished).await
    }

    async fn part(&self, finished: &Finished, suffix: &str) -> Result<Vec<u8>> {
        let part = finished
            .parts
            .iter()
            .find(|part| part.key.ends_with(suffix));
        let key = &part.with_context(|| format!("no part {suffix}"))?.key;
        let pieces: Vec<_> = self.location.open(key).await?.try_collect().await?;
        Ok(pieces.concat())
    }

    async fn read(&self, finished: Finished) -> Result<Made> {
        let index = self.part(&finished, "-index.json.zst").await?;
        let index = Index::read(index.as_slice(), &Limits::default())?;
        let contents = self.part(&finished, ".tar.zst").await?;
        let mut entries = Vec::new();
        read_contents(contents.as_slice(), &index, |entry, body| {
            let object = serde_json::from_slice(&body).unwrap_or_default();
            entries.push((entry.path(), entry.body, entry.outdated, object));
            Ok(())
        })?;
        let said = said(&finished);
        Ok(Made {
            entries,
            said,
            finished,
        })
    }
}

impl Made {
    /// Returns the names of what is stored, without what is outdated: `configmaps/a`, in their order.
    fn names(&self) -> Vec<String> {
        let current = self.entries.iter().filter(|(_, _, outdated, _)| !outdated);
        let short = current.map(|(path, ..)| short(path));
        short
            .filter(|name| !name.starts_with("namespaces/"))
            .collect()
    }

    #[track_caller]
    fn object(&self, name: &str) -> (&BodyKind, &Value) {
        let mut entries = self.entries.iter();
        let found = entries.find(|(path, _, outdated, _)| !outdated && short(path) == name);
        let (_, kind, _, object) = found.expect("it is stored");
        (kind, object)
    }
}

/// Shortens a path to type and name.
fn short(path: &str) -> String {
    let parts: Vec<&str> = path.trim_end_matches(".json").split('/').collect();
    format!("{}/{}", parts[1], parts[parts.len() - 1])
}

/// Returns all that a backup said, but for what it says of namespaces that it does not know.
fn said(finished: &Finished) -> Vec<String> {
    let list = |list: &ResultList, what: &str| -> Vec<String> {
        let namespaces = list.namespaces.values().flatten();
        let all = list.ark.iter().chain(&list.cluster).chain(namespaces);
        all.map(|line| format!("{what}: {line}")).collect()
    };
    let mut said = list(&finished.results.warnings, "warning");
    said.extend(list(&finished.results.errors, "error"));
    said
}

/// Fails unless there is one line for each of these, which holds it.
#[track_caller]
fn assert_said(made: &Made, parts: &[&str]) {
    assert_eq!(made.said.len(), parts.len(), "{:#?}", made.said);
    for part in parts {
        assert!(
            made.said.iter().any(|line| line.contains(part)),
            "{part}: {:#?}",
            made.said
        );
    }
}

fn config_map(namespace: &str, name: &str, labels: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {"name": name},
    })
    .to_string()
}

/// Takes ConfigMaps and Secrets with the label `app=a`.
fn labelled(namespaces: &[&str]) -> BackupSpec {
    BackupSpec {
        included_namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        included_resources: vec!["configmaps".into(), "secrets".into()],
        label_selector: Some(LabelSelector {
            match_labels: Some([("app".to_owned(), "a".to_owned())].into()),
            match_expressions: None,
        }),
        ..BackupSpec::default()
    }
}

/// Does something else with each ConfigMap, by its name.
fn first(elsewhere: String) -> Arc<scripted::Scripted<BackedUpItem>> {
    scripted("test/first", &["cm"], move |item, mut object| {
        let mut answer = BackedUpItem::default();
        let namespace = item.namespace.as_str();
        match item.name.as_str() {
            "bad" => return Err("it is broken".into()),
            "changed" => object["data"]["first"] = "1".into(),
            "hidden" => object["metadata"]["annotations"]["velero.io/skip-from-backup"] = "".into(),
            "liar" => object["kind"] = "Secret".into(),
            "rich" => {
                answer.additional = vec![
                    id("configmaps", namespace, "extra"),
                    id("configmaps", namespace, "plain"),
                    id("configmaps", namespace, "gone"),
                    id("configmaps", &elsewhere, "left-out"),
                    id("unicorns.example.org", namespace, "u"),
                ];
            }
            // Named by an action, and looked at like the others.
            "extra" => {
                object["data"]["seen"] = "as an additional item".into();
                object["metadata"]["annotations"]["backup.velero.io/must-include-additional-items"] =
                    "true".into();
                answer.additional = vec![
                    id("configmaps", namespace, "chained"),
                    id("configmaps", &elsewhere, "insisted"),
                ];
            }
            _ => return Ok(answer),
        }
        if item.name != "rich" {
            answer.item = Some(scripted::json(&object));
        }
        Ok(answer)
    })
}

#[tokio::test]
async fn actions_change_add_and_leave_out() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let here = TestNamespace::new(plane, "acted").await?;
    let there = TestNamespace::new(plane, "acted-too").await?;
    let app = json!({"app": "a"});
    for name in ["bad", "changed", "hidden", "liar", "plain", "rich"] {
        apply_yaml(&client, &config_map(here.name(), name, &app)).await?;
    }
    for (namespace, name) in [
        (here.name(), "extra"),
        (here.name(), "chained"),
        (there.name(), "left-out"),
        (there.name(), "insisted"),
    ] {
        apply_yaml(&client, &config_map(namespace, name, &json!({}))).await?;
    }
    let first = first(there.name().to_owned());
    let second = scripted("test/second", &["configmaps"], |item, mut object| {
        let mut answer = BackedUpItem::default();
        if item.name == "changed" {
            let before = object["data"]["first"].clone();
            object["data"]["second"] = format!("after {before}").into();
            answer.item = Some(scripted::json(&object));
        }
        Ok(answer)
    });
    let nothing = scripted("test/nothing", &["unicorns.example.org"], |_, _| {
        panic!("a selector of types that are not there is for nothing")
    });
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![first.clone(), second.clone(), nothing, Arc::new(Deaf)],
        problems: vec!["plugin /plugins/broken cannot be asked".into()],
        ..Actions::default()
    };
    let made = engine.back_up(labelled(&[here.name()]), actions).await?;

    assert_eq!(
        made.names(),
        [
            "configmaps/changed",
            "configmaps/plain",
            "configmaps/rich",
            "configmaps/extra",
            "configmaps/chained",
            "configmaps/insisted",
        ]
    );
    let (kind, changed) = made.object("configmaps/changed");
    assert_eq!(*kind, BodyKind::Replaced);
    assert_eq!(changed["data"]["second"], "after \"1\"", "{changed}");
    let (kind, rich) = made.object("configmaps/rich");
    assert_eq!(*kind, BodyKind::TypeAdded, "it was left as it is");
    assert_eq!(rich["kind"], "ConfigMap");
    let (_, extra) = made.object("configmaps/extra");
    assert_eq!(extra["data"]["seen"], "as an additional item");
    let annotations = &extra["metadata"]["annotations"];
    assert_eq!(
        annotations.get("backup.velero.io/must-include-additional-items"),
        None
    );
    assert_said(
        &made,
        &[
            "error: plugin /plugins/broken cannot be asked",
            "error: action test/deaf: the plugin is gone; test/deaf is asked about nothing in this run",
            "error: configmaps bad: it is not in this backup: action test/first: cannot look at configmaps",
            "error: configmaps liar: it is not in this backup: action test/first: its answer is a Secret of v1",
            "warning: configmaps gone: action test/first for configmaps",
            "error: unicorns.example.org u: action test/first for configmaps",
        ],
    );
    let seen = first.seen_sorted();
    for (namespace, name, expected) in [
        (here.name(), "bad", true),
        (here.name(), "extra", true),
        (there.name(), "left-out", false),
        (there.name(), "insisted", true),
    ] {
        let item = format!("configmaps {namespace}/{name}");
        assert_eq!(seen.contains(&item), expected, "{item}");
    }
    assert_eq!(first.seen().len(), seen.len(), "each once");
    assert_eq!(second.seen().len(), 6, "not what the first refused or hid");
    Ok(())
}

#[tokio::test]
async fn selectors_say_which_items_are_looked_at() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let one = TestNamespace::new(plane, "selected").await?;
    let other = TestNamespace::new(plane, "selected-too").await?;
    for namespace in [one.name(), other.name()] {
        for tier in ["web", "db"] {
            let labels = json!({"app": "a", "tier": tier});
            apply_yaml(&client, &config_map(namespace, tier, &labels)).await?;
        }
    }
    let leave = |_: &_, _| Ok(BackedUpItem::default());
    let of = |namespace: &str, labels: &str| ItemSelector {
        included_namespaces: vec![namespace.to_owned()],
        labels: labels.to_owned(),
        ..ItemSelector::default()
    };
    let narrow = selecting("test/narrow", of(one.name(), "tier=web"), leave);
    let but = selecting(
        "test/but",
        ItemSelector {
            excluded_namespaces: vec![one.name().to_owned()],
            excluded_resources: vec!["namespaces".into()],
            ..ItemSelector::default()
        },
        leave,
    );
    let secrets = scripted("test/secrets", &["secrets"], leave);
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![narrow.clone(), but.clone(), secrets.clone()],
        ..Actions::default()
    };
    let made = engine
        .back_up(labelled(&[one.name(), other.name()]), actions)
        .await?;
    assert_said(&made, &[]);
    let named = |namespace: &str, name: &str| format!("configmaps {namespace}/{name}");
    assert_eq!(narrow.seen(), [named(one.name(), "web")]);
    let both = [named(other.name(), "db"), named(other.name(), "web")];
    assert_eq!(but.seen_sorted(), both.into());
    assert!(secrets.seen().is_empty());
    assert_eq!(made.names().len(), 4);
    Ok(())
}

#[tokio::test]
async fn many_items_keep_their_order() -> Result<()> {
    const MANY: usize = 200;
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "many-acted").await?;
    let mut names: Vec<String> = (0..MANY)
        .map(|n| format!("{n:03}{}", "x".repeat(n % 13)))
        .collect();
    let maps: Vec<String> = names
        .iter()
        .map(|name| config_map(namespace.name(), name, &json!({"app": "a"})))
        .collect();
    apply_yaml(&client, &maps.join("\n---\n")).await?;
    let mark = scripted("test/mark", &["configmaps"], |item, mut object| {
        object["data"]["marked"] = item.name.as_str().into();
        Ok(BackedUpItem {
            item: Some(scripted::json(&object)),
            ..BackedUpItem::default()
        })
    });
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![mark.clone()],
        ..Actions::default()
    };
    let made = engine
        .back_up(labelled(&[namespace.name()]), actions)
        .await?;
    assert_said(&made, &[]);
    names.sort();
    let expected: Vec<String> = names
        .iter()
        .map(|name| format!("configmaps/{name}"))
        .collect();
    assert_eq!(made.names(), expected);
    for name in &expected {
        let (_, object) = made.object(name);
        assert_eq!(object["data"]["marked"], object["metadata"]["name"]);
    }
    let at_once = mark.most_at_once.load(Ordering::SeqCst);
    assert!((2..=8).contains(&at_once), "{at_once} at once");
    Ok(())
}

#[tokio::test]
async fn what_belongs_to_a_block_is_backed_up_with_it() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "block").await?;
    apply_yaml(
        &client,
        &config_map(namespace.name(), "head", &json!({"app": "a"})),
    )
    .await?;
    for name in ["member", "looked-at"] {
        apply_yaml(&client, &config_map(namespace.name(), name, &json!({}))).await?;
    }
    let blocks = scripted("test/block", &["configmaps"], |item, _| {
        match item.name.as_str() {
            "head" => Ok(vec![id("configmaps", &item.namespace, "member")]),
            "member" => Ok(vec![id("configmaps", &item.namespace, "looked-at")]),
            _ => Err("what is that?".to_owned()),
        }
    });
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        blocks: vec![blocks],
        ..Actions::default()
    };
    let made = engine
        .back_up(labelled(&[namespace.name()]), actions)
        .await?;
    let names = [
        "configmaps/head",
        "configmaps/member",
        "configmaps/looked-at",
    ];
    assert_eq!(
        made.names(),
        names,
        "an error does not cost the item itself"
    );
    assert_said(
        &made,
        &["configmaps looked-at: what belongs to it may not be in this backup: action test/block"],
    );
    Ok(())
}

#[tokio::test]
async fn a_pod_is_looked_at_between_its_hooks() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "hooked-act").await?;
    let marks = Marks::new(plane)?;
    let hooks = |who: &str| {
        json!({
            "pre.hook.backup.ark.heptio.com/command": marks.mark(who, "freeze"),
            "post.hook.backup.ark.heptio.com/command": marks.mark(who, "thaw"),
        })
    };
    start(
        &client,
        namespace.name(),
        vec![
            pod("bad", &hooks("bad")),
            pod("db", &hooks("db")),
            pod("plain", &json!({})),
        ],
    )
    .await?;
    let folder = marks.0.clone();
    let look = scripted("test/look", &["pods"], move |item, mut object| {
        let marks = Marks(folder.clone()).of(&item.name);
        object["metadata"]["labels"]["marks"] = marks.as_str().into();
        if item.name == "bad" {
            return Err("it is broken".into());
        }
        Ok(BackedUpItem {
            item: Some(scripted::json(&object)),
            additional: vec![id("configmaps", &item.namespace, "kube-root-ca.crt")],
            ..BackedUpItem::default()
        })
    });
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![look],
        ..Actions::default()
    };
    let spec = BackupSpec {
        included_namespaces: vec![namespace.name().to_owned()],
        included_resources: vec!["pods".into()],
        ..BackupSpec::default()
    };
    let made = engine.back_up(spec, actions).await?;
    assert_eq!(made.names(), ["pods/plain", "pods/db"]);
    let (kind, db) = made.object("pods/db");
    assert_eq!(*kind, BodyKind::Replaced);
    assert_eq!(
        db["metadata"]["labels"]["marks"], "freeze",
        "before it thaws"
    );
    for who in ["bad", "db"] {
        assert_eq!(marks.of(who), "freeze thaw");
    }
    assert_said(
        &made,
        &["pods bad: it is not in this backup: action test/look"],
    );
    Ok(())
}

/// Begins an operation for the ConfigMap `moving`, after which that and another are stored again.
fn mover() -> Arc<scripted::Scripted<BackedUpItem>> {
    scripted("test/mover", &["configmaps"], |item, object| {
        let mut answer = BackedUpItem::default();
        if item.name == "moving" && object["data"].get("moved").is_none() {
            answer.operation = Some("op-1".into());
            answer.after_operation = vec![
                id("configmaps", &item.namespace, "moving"),
                id("configmaps", &item.namespace, "made-by-it"),
            ];
        }
        if item.name == "worse" {
            answer.operation = Some("op-2".into());
        }
        Ok(answer)
    })
}

async fn change(client: &kube::Client, namespace: &str, name: &str, data: &Value) -> Result<()> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let patch = json!({ "data": data });
    maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}

#[tokio::test]
async fn operations_are_waited_for_and_what_they_leave_is_stored() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "moving").await?;
    for name in ["moving", "worse"] {
        apply_yaml(
            &client,
            &config_map(namespace.name(), name, &json!({"app": "a"})),
        )
        .await?;
    }
    let mover = mover();
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![mover.clone()],
        ..Actions::default()
    };
    let request = engine.request(labelled(&[namespace.name()]), actions);
    let never = CancellationToken::new();
    let running = engine.run(&request, &never);
    let ending = async {
        wait_until("the run waits", PATIENCE, async || {
            Ok((engine.kept.waits.load(Ordering::SeqCst) == 1).then_some(()))
        })
        .await?;
        assert_eq!(engine.kept.operations().last().unwrap(), &["op-1", "op-2"]);
        change(&client, namespace.name(), "moving", &json!({"moved": "1"})).await?;
        apply_yaml(
            &client,
            &config_map(namespace.name(), "made-by-it", &json!({})),
        )
        .await?;
        mover.end("op-1", "");
        mover.end("op-2", "the disk is full");
        anyhow::Ok(())
    };
    let (finished, ended) = tokio::join!(running, ending);
    ended?;
    let made = engine.read(finished?).await?;
    assert_said(
        &made,
        &["error: configmaps worse: operation op-2 of action test/mover failed: the disk is full"],
    );
    assert_eq!(
        made.names(),
        [
            "configmaps/worse",
            "configmaps/made-by-it",
            "configmaps/moving"
        ]
    );
    let (_, moving) = made.object("configmaps/moving");
    assert_eq!(moving["data"]["moved"], "1", "as it is then");
    let outdated: Vec<_> = made
        .entries
        .iter()
        .filter(|(_, _, outdated, _)| *outdated)
        .collect();
    assert_eq!(outdated.len(), 1);
    assert_eq!(outdated[0].3["data"].get("moved"), None);
    let counts = made.finished.operations;
    assert_eq!(
        (counts.attempted, counts.completed, counts.failed),
        (2, 1, 1)
    );
    assert_eq!(engine.kept.operations().last().unwrap().len(), 0);
    assert!(mover.cancelled.lock().unwrap().is_empty());
    Ok(())
}

#[tokio::test]
async fn operations_end_with_their_time_or_their_run() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "slow-moving").await?;
    apply_yaml(
        &client,
        &config_map(namespace.name(), "moving", &json!({"app": "a"})),
    )
    .await?;

    // Too slow.
    let slow = mover();
    let engine = Engine::new(plane).await?;
    let actions = |mover: &Arc<scripted::Scripted<BackedUpItem>>| Actions {
        backup: vec![mover.clone()],
        ..Actions::default()
    };
    let spec = BackupSpec {
        item_operation_timeout: Some("1ms".into()),
        ..labelled(&[namespace.name()])
    };
    let made = engine.back_up(spec, actions(&slow)).await?;
    assert_said(
        &made,
        &[
            "operation op-1 of action test/mover failed: it has not ended within 1ms",
            // Stored again once it is over, which nothing has come of.
            "configmaps made-by-it: action test/mover for configmaps",
            "configmaps moving: operation op-1 of action test/mover was begun when the item was stored once more",
        ],
    );
    assert_eq!(*slow.cancelled.lock().unwrap(), ["op-1", "op-1"]);

    // Ended from outside.
    let cancelled = mover();
    let engine = Engine::new(plane).await?;
    let request = engine.request(labelled(&[namespace.name()]), actions(&cancelled));
    let cancel = CancellationToken::new();
    let running = engine.run(&request, &cancel);
    let ending = async {
        wait_until("the run waits", PATIENCE, async || {
            Ok((engine.kept.waits.load(Ordering::SeqCst) == 1).then_some(()))
        })
        .await?;
        cancel.cancel();
        anyhow::Ok(())
    };
    let (ended, waited) = tokio::join!(running, ending);
    waited?;
    assert!(matches!(ended, Err(BackupError::Cancelled)), "{ended:?}");
    assert_eq!(*cancelled.cancelled.lock().unwrap(), ["op-1"]);
    assert_eq!(engine.kept.operations().last().unwrap().len(), 0);
    assert_eq!(
        engine.location.leftovers().await?.len(),
        0,
        "nothing is left"
    );
    Ok(())
}

#[tokio::test]
async fn the_next_attempt_cancels_what_a_dead_one_left() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "dead-moving").await?;
    apply_yaml(
        &client,
        &config_map(namespace.name(), "still", &json!({"app": "a"})),
    )
    .await?;
    let mover = mover();
    let engine = Engine::new(plane).await?;
    let actions = Actions {
        backup: vec![mover.clone()],
        ..Actions::default()
    };
    let mut request = engine.request(labelled(&[namespace.name()]), actions);
    let left = |action: &str, id: &str| OperationNote {
        action: action.into(),
        operation_id: id.into(),
        resource: "configmaps".into(),
        namespace: namespace.name().into(),
        name: "moving".into(),
    };
    request.backup.status = Some(BackupStatus {
        operations_pending: vec![left("test/mover", "op-0"), left("test/gone", "op-x")],
        ..BackupStatus::default()
    });
    let finished = engine.run(&request, &CancellationToken::new()).await?;
    let made = engine.read(finished).await?;
    assert_eq!(*mover.cancelled.lock().unwrap(), ["op-0"]);
    assert_said(
        &made,
        &[
            "warning: operation op-x of action test/gone could not be cancelled, and may go on: this server has no action",
        ],
    );
    assert_eq!(engine.kept.operations(), [Vec::<String>::new()]);
    assert_eq!(engine.kept.waits.load(Ordering::SeqCst), 0);
    Ok(())
}
