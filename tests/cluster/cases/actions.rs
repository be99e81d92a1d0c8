//! Cases 75 to 78, and what else item actions do in restores and deletions: the engine against the real API server, with
//! actions that live in the test.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ark::api::{OperationNote, RunHolder};
use ark::providers::actions::{Actions, DeleteItemAction, RestoreItemAction, RestoredItem};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

use super::*;
use crate::scripted::{self, Kept, Scripted, id, scripted};
use crate::support::wait_until;

type Restoring = Arc<Scripted<RestoredItem>>;

/// Gives a case actions, and returns what they write down.
fn act(case: &mut Case<'_>, actions: &[&Restoring]) -> Arc<Kept<OperationNote>> {
    let kept: Arc<Kept<OperationNote>> = Arc::default();
    let actions = actions
        .iter()
        .map(|action| Arc::clone(action) as Arc<dyn RestoreItemAction>);
    case.actions = RunActions {
        actions: Actions {
            restore: actions.collect(),
            ..Actions::default()
        },
        ledger: Arc::clone(&kept) as _,
        stage: Arc::clone(&kept) as _,
    };
    kept
}

/// Asks for ConfigMaps and Secrets with the label `app=a` in the case's namespace.
fn labelled(case: &Case<'_>) -> RestoreSpec {
    RestoreSpec {
        included_namespaces: vec![case.name.clone()],
        included_resources: vec!["configmaps".into(), "secrets".into()],
        label_selector: Some(LabelSelector {
            match_labels: Some([("app".to_owned(), "a".to_owned())].into()),
            match_expressions: None,
        }),
        ..RestoreSpec::default()
    }
}

fn config_maps(names: &[&str]) -> String {
    let one = |name: &&str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"name": name},
            "metadata": {"name": name, "namespace": "NAME", "labels": {"app": "a"}},
        })
        .to_string()
    };
    names.iter().map(one).collect::<Vec<_>>().join("\n---\n")
}

/// An action that begins an operation for each ConfigMap, `op-<name>`.
fn mover() -> Restoring {
    scripted("test/mover", &["configmaps"], |item, _| {
        Ok(RestoredItem {
            operation: Some(format!("op-{}", item.name)),
            ..RestoredItem::default()
        })
    })
}

fn note(case: &Case<'_>, action: &str, operation: &str) -> OperationNote {
    OperationNote {
        action: action.into(),
        operation_id: operation.into(),
        resource: "configmaps".into(),
        namespace: case.name.clone(),
        name: "moved".into(),
    }
}

#[track_caller]
fn assert_lines(outcome: &RestoreOutcome, parts: &[&str]) {
    let said = said(outcome);
    assert_eq!(said.len(), parts.len(), "{said:#?}");
    for part in parts {
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{part}: {said:#?}"
        );
    }
}

fn version(object: &Value) -> u64 {
    let version = at(object, "/metadata/resourceVersion").as_str();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// Does something else with each ConfigMap, by its name.
fn first() -> Restoring {
    scripted("test/first", &["cm"], move |item, mut object| {
        assert_eq!(at(&object, "/status"), &Value::Null);
        assert_eq!(at(&object, "/metadata/uid"), &Value::Null);
        let mut answer = RestoredItem::default();
        let namespace = item.namespace.as_str();
        match item.name.as_str() {
            "bad" => return Err("it is broken".into()),
            "changed" => object["data"]["first"] = "1".into(),
            "hidden" => {
                answer.skip = true;
                return Ok(answer);
            }
            "turned" => object["kind"] = "Secret".into(),
            "unknown" => object["kind"] = "Unicorn".into(),
            "warned" => {
                answer.warning = Some("take care".into());
                return Ok(answer);
            }
            "rich" => {
                answer.additional = vec![
                    id("secrets", namespace, "extra"),
                    id("configmaps", namespace, "zoe"),
                    id("configmaps", namespace, "gone"),
                    id("serviceaccounts", namespace, "left-out"),
                ];
                return Ok(answer);
            }
            // Named by an action, and looked at like the others.
            "zoe" => {
                object["metadata"]["annotations"]["restore.velero.io/must-include-additional-items"] =
                    "true".into();
                answer.additional = vec![
                    id("serviceaccounts", namespace, "insisted"),
                    id("configmaps", namespace, "apple"),
                ];
            }
            // They name each other.
            "ring" => {
                answer.additional = vec![id("configmaps", namespace, "rung")];
                return Ok(answer);
            }
            "rung" => {
                answer.additional = vec![id("configmaps", namespace, "ring")];
                return Ok(answer);
            }
            _ => return Ok(answer),
        }
        if item.name == "turned" {
            object["data"] = json!({"a": "Yg=="});
        }
        answer.item = Some(scripted::json(&object));
        Ok(answer)
    })
}

#[tokio::test]
async fn case_75_to_77_actions_change_add_and_leave_out() -> Result<()> {
    let mut case = Case::new(75).await?;
    let here = case.name.clone();
    let first = first();
    let second = scripted("test/second", &["configmaps"], |item, mut object| {
        let mut answer = RestoredItem::default();
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
    act(&mut case, &[&first, &second, &nothing]);
    case.actions.actions.problems = vec!["plugin /plugins/broken cannot be asked".into()];
    let stored = config_maps(&[
        "apple", "bad", "changed", "hidden", "plain", "rich", "ring", "rung", "turned", "unknown",
        "warned", "zoe",
    ]) + "
---
{apiVersion: v1, kind: Secret, metadata: {name: extra, namespace: NAME}}
---
{apiVersion: v1, kind: Secret, metadata: {name: other, namespace: NAME}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: left-out, namespace: NAME}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: insisted, namespace: NAME}}
";
    let outcome = case.restore_as(&stored, labelled(&case)).await?;

    let changed = case.must_get("configmaps", "changed").await?;
    assert_eq!(
        at(&changed, "/data/second"),
        "after \"1\"",
        "one after the other"
    );
    for (of, name, expected) in [
        ("configmaps", "plain", true),
        ("configmaps", "rich", true),
        ("configmaps", "ring", true),
        ("configmaps", "rung", true),
        ("configmaps", "warned", true),
        ("configmaps", "zoe", true),
        ("configmaps", "bad", false),
        ("configmaps", "hidden", false),
        ("configmaps", "turned", false),
        ("configmaps", "unknown", false),
        ("secrets", "turned", true),
        ("secrets", "extra", true),
        ("secrets", "other", false),
        ("serviceaccounts", "left-out", false),
        ("serviceaccounts", "insisted", true),
    ] {
        let found = case.get(of, name).await?;
        assert_eq!(found.is_some(), expected, "{of} {name}");
    }
    let turned = case.must_get("secrets", "turned").await?;
    assert_eq!(at(&turned, "/data/a"), "Yg==");
    for (of, name, by) in [
        ("secrets", "extra", "rich"),
        ("configmaps", "zoe", "rich"),
        ("serviceaccounts", "insisted", "zoe"),
        ("configmaps", "apple", "zoe"),
    ] {
        let named = case.must_get(of, name).await?;
        let by = case.must_get("configmaps", by).await?;
        assert!(version(&named) < version(&by), "{name} comes first");
    }
    let zoe = case.must_get("configmaps", "zoe").await?;
    let annotations = at(&zoe, "/metadata/annotations");
    assert_eq!(annotations, &Value::Null, "what speaks to Ark is not kept");
    assert_lines(
        &outcome,
        &[
            "error: plugin /plugins/broken cannot be asked",
            "error: configmaps bad: it is not restored: action test/first: cannot look at configmaps",
            "error: configmaps unknown: it is not restored: action test/first: its answer is a \"Unicorn\" of \"v1\"",
            "warning: configmaps rich: action test/first wants configmaps",
            "warning: configmaps warned: action test/first: take care",
        ],
    );
    let seen = first.seen_sorted();
    assert_eq!(seen.len(), 12, "{seen:?}");
    assert_eq!(first.seen().len(), seen.len(), "each once");
    assert!(seen.contains(&format!("configmaps {here}/zoe")));
    assert!(first.most_at_once.load(Ordering::SeqCst) > 1);
    assert_eq!(second.seen().len(), 9, "not what the first refused or hid");
    // Two that failed, one left out.
    assert_eq!((outcome.counts.conflict, outcome.counts.skip), (2, 1));
    Ok(())
}

#[tokio::test]
async fn case_75_what_is_named_brings_its_namespace_and_its_volume() -> Result<()> {
    let mut case = Case::new(75).await?;
    let two = format!("{}-two", case.name);
    let namer = scripted("test/namer", &["configmaps"], |item, mut object| {
        let namespace = format!("{}-two", item.namespace);
        object["metadata"]["annotations"]["restore.velero.io/must-include-additional-items"] =
            "true".into();
        Ok(RestoredItem {
            item: Some(scripted::json(&object)),
            additional: vec![
                id("persistentvolumeclaims", &namespace, "data"),
                id("configmaps", &namespace, "left"),
            ],
            ..RestoredItem::default()
        })
    });
    act(&mut case, &[&namer]);
    let stored = config_maps(&["one"])
        + "
---
{apiVersion: v1, kind: Namespace, metadata: {name: NAME-two, labels: {kept: 'yes'}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: /tmp/NAME}
  claimRef: {namespace: NAME-two, name: data}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAME-two}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  volumeName: NAME
  resources: {requests: {storage: 1Gi}}
";
    let outcome = case.restore_as(&stored, labelled(&case)).await?;
    case.must_get("configmaps", "one").await?;
    let namespace = case.must_get_global("namespaces", &two).await?;
    assert_eq!(at(&namespace, "/metadata/labels/kept"), "yes");
    case.must_get_global("persistentvolumes", &case.name)
        .await?;
    let claim = case
        .get_in("persistentvolumeclaims", Some(&two), "data")
        .await?;
    assert!(claim.is_some());
    assert_lines(&outcome, &["which the backup does not hold"]);
    Ok(())
}

#[tokio::test]
async fn case_78_what_is_named_is_waited_for() -> Result<()> {
    let mut case = Case::new(78).await?;
    let waiter = |name, limit: Option<Duration>| {
        scripted(name, &["configmaps"], move |item, _| {
            Ok(RestoredItem {
                additional: vec![id("secrets", &item.namespace, "first")],
                wait_for_additional: true,
                ready_within: limit,
                ..RestoredItem::default()
            })
        })
    };
    let stored = config_maps(&["one"])
        + "\n---\n{apiVersion: v1, kind: Secret, metadata: {name: first, namespace: NAME}}";
    let patient = waiter("test/patient", None);
    *patient.ready.lock().unwrap() = vec![false, false, true];
    act(&mut case, &[&patient]);
    let outcome = case.restore_as(&stored, labelled(&case)).await?;
    assert_silent(&outcome);
    assert_eq!(*patient.ready.lock().unwrap(), [true], "asked three times");
    let one = case.must_get("configmaps", "one").await?;
    let first = case.must_get("secrets", "first").await?;
    assert!(version(&first) < version(&one));

    let mut case = Case::new(78).await?;
    let never = waiter("test/never", Some(Duration::from_millis(1)));
    act(&mut case, &[&never]);
    let outcome = case.restore_as(&stored, labelled(&case)).await?;
    assert_said(
        &outcome,
        &[
            "warning: configmaps one: restored all the same: what action test/never named was not ready within",
        ],
    );
    case.must_get("configmaps", "one").await?;
    Ok(())
}

#[tokio::test]
async fn operations_of_a_restore_are_waited_for() -> Result<()> {
    let mut case = Case::new(75).await?;
    let mover = mover();
    let kept = act(&mut case, &[&mover]);
    let backup = unique_name("backup");
    case.store(&backup, &config_maps(&["moved", "worse"]))
        .await?;
    let running = case.run(&backup, "restore", labelled(&case));
    let ending = async {
        wait_until("the run waits", PATIENCE, async || {
            Ok((kept.waits.load(Ordering::SeqCst) == 1).then_some(()))
        })
        .await?;
        assert_eq!(
            kept.operations().last().unwrap(),
            &["op-moved", "op-worse"],
            "noted as long as they go on"
        );
        // What they are for is there.
        case.must_get("configmaps", "moved").await?;
        mover.end("op-moved", "");
        mover.end("op-worse", "the disk is full");
        anyhow::Ok(())
    };
    let (outcome, ended) = tokio::join!(running, ending);
    ended?;
    let outcome = outcome?;
    assert_said(
        &outcome,
        &[
            "error: configmaps worse: operation op-worse of action test/mover failed: the disk is full",
        ],
    );
    let counts = outcome.operations;
    assert_eq!(
        (counts.attempted, counts.completed, counts.failed),
        (2, 1, 1)
    );
    assert_eq!(kept.operations().last().unwrap().len(), 0);
    assert!(mover.cancelled.lock().unwrap().is_empty());

    let mut case = Case::new(75).await?;
    let kept = act(&mut case, &[&mover]);
    let spec = RestoreSpec {
        item_operation_timeout: Some("1ms".into()),
        ..labelled(&case)
    };
    let outcome = case.restore_as(&config_maps(&["slow"]), spec).await?;
    assert_said(
        &outcome,
        &["operation op-slow of action test/mover failed: it has not ended within 1ms"],
    );
    assert_eq!(*mover.cancelled.lock().unwrap(), ["op-slow"]);
    assert_eq!(kept.operations().last().unwrap().len(), 0);
    Ok(())
}

#[tokio::test]
async fn operations_end_with_a_cancelled_restore_unless_it_is_handed_on() -> Result<()> {
    for handed_on in [false, true] {
        let mut case = Case::new(75).await?;
        let mover = mover();
        let kept = act(&mut case, &[&mover]);
        kept.handed_on.store(handed_on, Ordering::SeqCst);
        let backup = unique_name("backup");
        case.store(&backup, &config_maps(&["moved"])).await?;
        let (progress, _seen) = watch::channel(Progress::default());
        let cancel = CancellationToken::new();
        let running = case.engine(&backup, "restore", labelled(&case), &progress, &cancel);
        let ending = async {
            wait_until("the run waits", PATIENCE, async || {
                Ok((kept.waits.load(Ordering::SeqCst) == 1).then_some(()))
            })
            .await?;
            cancel.cancel();
            anyhow::Ok(())
        };
        let (ended, waited) = tokio::join!(running, ending);
        waited?;
        assert!(matches!(ended, Err(RestoreError::Cancelled)), "{ended:?}");
        let (cancelled, left) = if handed_on {
            (vec![], vec!["op-moved"])
        } else {
            (vec!["op-moved"], vec![])
        };
        assert_eq!(*mover.cancelled.lock().unwrap(), cancelled);
        assert_eq!(kept.operations().last().unwrap(), &left);
        if !handed_on {
            continue;
        }

        // The next attempt waits for it; what is there already is not looked at again.
        case.status = Some(RestoreStatus {
            operations_pending: vec![
                note(&case, "test/mover", "op-moved"),
                note(&case, "test/gone", "op-x"),
            ],
            run: Some(RunHolder {
                holder: "other".into(),
                attempt: 2,
            }),
            ..RestoreStatus::default()
        });
        mover.end("op-moved", "");
        let outcome = case.run(&backup, "restore", labelled(&case)).await?;
        assert_said(
            &outcome,
            &["operation op-x of action test/gone failed: this server has no action test/gone"],
        );
        assert_eq!(mover.seen().len(), 1);
        assert_eq!(outcome.operations.attempted, 2);
        assert_eq!(kept.operations().last().unwrap().len(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_tried_again_is_not_looked_at_again() -> Result<()> {
    let mut case = Case::new(75).await?;
    case.make_namespace().await?;
    case.apply(
        "
apiVersion: v1
kind: ResourceQuota
metadata: {name: none, namespace: NAME}
spec: {hard: {count/configmaps: '1'}}
",
    )
    .await?;
    // The account's ConfigMap, kube-root-ca.crt, takes the room that there is.
    case.until_refused().await?;
    case.options.refused_timeout = PATIENCE;
    let marker = scripted("test/marker", &["configmaps"], |_, mut object| {
        object["data"]["marked"] = "1".into();
        Ok(RestoredItem {
            item: Some(scripted::json(&object)),
            ..RestoredItem::default()
        })
    });
    act(&mut case, &[&marker]);
    let backup = unique_name("backup");
    case.store(&backup, &config_maps(&["one"])).await?;
    let running = case.run(&backup, "restore", labelled(&case));
    let clearing = async {
        wait_until("the action has looked", PATIENCE, async || {
            Ok((marker.seen().len() == 1).then_some(()))
        })
        .await?;
        let quotas = kube::Api::<k8s_openapi::api::core::v1::ResourceQuota>::namespaced(
            case.client.clone(),
            &case.name,
        );
        quotas
            .delete("none", &kube::api::DeleteParams::default())
            .await?;
        anyhow::Ok(())
    };
    let (outcome, cleared) = tokio::join!(running, clearing);
    cleared?;
    assert_silent(&outcome?);
    let one = case.must_get("configmaps", "one").await?;
    assert_eq!(at(&one, "/data/marked"), "1");
    assert_eq!(marker.seen().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_names_the_actions_and_asks_them_nothing() -> Result<()> {
    let mut case = Case::new(75).await?;
    let never = scripted("test/never", &["configmaps"], |_, _| {
        panic!("a dry run asks it nothing")
    });
    act(&mut case, &[&never]);
    let spec = RestoreSpec {
        dry_run: Some(true),
        ..labelled(&case)
    };
    let outcome = case.restore_as(&config_maps(&["one"]), spec).await?;
    let plan = outcome.plan.context("a plan")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&plan[..]), &mut text)?;
    assert!(
        text.contains("item actions may change it or leave it out: test/never"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn delete_item_actions_look_at_what_is_deleted() -> Result<()> {
    let case = Case::new(75).await?;
    let backup = unique_name("backup");
    let stored = config_maps(&["bad", "good"])
        + "\n---\n{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NAME}}";
    case.store(&backup, &stored).await?;
    let record = case.location.read_record(&backup).await?.backup;
    let cleaner = scripted("test/cleaner", &["configmaps"], |item, _| {
        if item.name == "bad" {
            return Err("it cannot be cleaned".into());
        }
        Ok(())
    });
    let actions = Actions {
        delete: vec![Arc::clone(&cleaner) as Arc<dyn DeleteItemAction>],
        problems: vec!["plugin /plugins/broken cannot be asked".into()],
        ..Actions::default()
    };
    let delete = async || {
        restore::act_before_deletion(&case.cluster, &case.location, &record, &actions).await
    };
    let said = delete().await;
    let bad = format!("configmaps {}/bad", case.name);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "plugin /plugins/broken cannot be asked");
    assert!(said[1].starts_with(&bad), "{said:?}");
    assert!(said[1].ends_with("it cannot be cleaned"), "{said:?}");
    let both = [bad, format!("configmaps {}/good", case.name)];
    assert_eq!(cleaner.seen_sorted(), both.into());

    // What cannot be read is said.
    let contents = record.status.iter().flat_map(|status| &status.parts);
    let key = contents
        .map(|part| &part.key)
        .find(|key| key.ends_with(".tar.zst"))
        .context("contents")?;
    std::fs::remove_file(case.folder.file(key))?;
    let said = delete().await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[1].starts_with("delete item actions (test/cleaner) were not asked"),
        "{said:?}"
    );
    assert_eq!(cleaner.seen().len(), 2);
    Ok(())
}
