//! Item actions that live in plugins.

use std::path::Path;
use std::time::Duration;

use ark::providers::actions::{
    ActionErrorKind, Item, ItemId, ItemSelector, OperationProgress, RunDocument,
};
use ark::providers::plugin::Plugins;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::Given;
use crate::support::control_plane::assets;
use crate::support::plugins::{PluginDir, program};

fn selector() -> ItemSelector {
    let list = |name: &str| vec![name.to_owned()];
    ItemSelector {
        included_namespaces: list("n"),
        excluded_namespaces: list("m"),
        included_resources: list("pods"),
        excluded_resources: list("secrets"),
        labels: "app=a".into(),
    }
}

fn secret() -> ItemId {
    ItemId {
        resource: "secrets".into(),
        namespace: "n".into(),
        name: "s".into(),
        ..ItemId::default()
    }
}

fn read(item: Option<&Bytes>) -> Value {
    serde_json::from_slice(item.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_actions_of_every_family() {
    for (file, name, marked, is_second) in [
        (
            "velero",
            "example.org/odd",
            "\"velero.io/v1\" \"b1\"",
            false,
        ),
        (
            "velero",
            "example.org/odd2",
            "\"velero.io/v1\" \"b1\"",
            true,
        ),
        (
            "ten",
            "example.org/odd",
            "\"ark.heptio.com/v1\" \"b1\"",
            false,
        ),
        (
            "ark-backupitemaction-old",
            "old",
            "\"ark.heptio.com/v1\" \"b1\"",
            false,
        ),
    ] {
        let plugins = PluginDir::new().with_test_plugin(file);
        let host = plugins.plugins();
        let found = host.backup_item_actions().await;
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let action = found.actions.iter().find(|one| one.name() == name).unwrap();
        assert_eq!(action.applies_to().await.unwrap(), selector(), "{file}");

        let given = Given::new("a");
        let answer = action.execute(given.item(), &given.run).await.unwrap();
        let item = read(answer.item.as_ref());
        assert_eq!(item["marked"], marked, "{file}");
        assert_eq!(item["metadata"]["name"], "a");
        assert_eq!(answer.additional, [secret()]);
        let operation = is_second.then(|| "operation-1".to_owned());
        assert_eq!(answer.operation, operation, "{file}");
        assert_eq!(answer.after_operation.len(), usize::from(is_second));

        let same = Given::new("same");
        let answer = action.execute(same.item(), &same.run).await.unwrap();
        assert_eq!(answer.item, None, "unchanged items are not sent on");

        let progress = action.progress("operation-1", &given.run).await;
        let cancelled = action.cancel("operation-1", &given.run).await;
        if is_second {
            assert_eq!(
                progress.unwrap(),
                OperationProgress {
                    completed: true,
                    done: 1,
                    total: 2,
                    units: "bytes".into(),
                    started: Some(jiff::Timestamp::UNIX_EPOCH),
                    ..OperationProgress::default()
                }
            );
            cancelled.unwrap();
            let error = action.cancel("another", &given.run).await.unwrap_err();
            assert!(error.message.contains("no such operation"), "{error}");
        } else {
            assert_eq!(progress.unwrap_err().kind, ActionErrorKind::NotSupported);
            assert_eq!(cancelled.unwrap_err().kind, ActionErrorKind::NotSupported);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_actions_of_every_family() {
    for (file, name, is_velero, is_second) in [
        ("velero", "example.org/odd", true, false),
        ("velero", "example.org/odd2", true, true),
        ("ten", "example.org/odd", false, false),
        ("ark-restoreitemaction-old", "old", false, false),
    ] {
        let plugins = PluginDir::new().with_test_plugin(file);
        let found = plugins.plugins().restore_item_actions().await;
        let action = found.actions.iter().find(|one| one.name() == name).unwrap();
        assert_eq!(action.applies_to().await.unwrap(), selector(), "{file}");

        let given = Given::new("a");
        let stored = Bytes::from_static(b"{\"stored\":true}");
        let answer = action
            .execute(given.item(), &stored, &given.run)
            .await
            .unwrap();
        let item = read(answer.item.as_ref());
        let came_along = if is_velero { json!(true) } else { Value::Null };
        assert_eq!(item["stored"]["stored"], came_along, "{file}");
        assert!(!answer.skip);
        let warning = (!is_velero).then(|| "mind the gap".to_owned());
        assert_eq!(answer.warning, warning, "{file}");
        assert_eq!(answer.additional.len(), usize::from(is_velero));
        assert_eq!(answer.wait_for_additional, is_second);
        let limit = is_second.then_some(Duration::from_secs(90));
        assert_eq!(answer.ready_within, limit);
        assert_eq!(answer.operation.is_some(), is_second);

        let skipped = Given::new("skip");
        let answer = action
            .execute(skipped.item(), &stored, &skipped.run)
            .await
            .unwrap();
        assert_eq!(answer.skip, is_velero, "{file}");
        if is_second {
            assert!(action.ready(&[secret()], &given.run).await.unwrap());
            assert!(!action.ready(&[], &given.run).await.unwrap());
            let progress = action.progress("another", &given.run).await.unwrap();
            assert!(!progress.completed);
            action.cancel("operation-1", &given.run).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_and_item_block_actions() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let given = Given::new("a");
    let refused = Given::new("refuse");
    let delete = plugins.delete_item_actions().await.actions.remove(0);
    assert_eq!(delete.applies_to().await.unwrap(), selector());
    delete.execute(given.item(), &given.run).await.unwrap();
    let error = delete
        .execute(refused.item(), &refused.run)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "action example.org/odd: the plugin velero cannot remove what belongs to pods n/refuse: I would rather not"
    );
    let block = plugins.item_block_actions().await.actions.remove(0);
    assert_eq!(block.applies_to().await.unwrap(), selector());
    let related = block.related(given.item(), &given.run).await.unwrap();
    assert_eq!(related, [secret()]);
}

/// A plugin in another language, which knows of Ark only the protocol's files.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_starts_deployments_with_none() {
    let python = tokio::task::spawn_blocking(assets::ensure_python_plugin);
    let python = python.await.unwrap().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = format!(
        "exec {} {} \"$@\"",
        python.display(),
        root.join("examples/plugins/python/item_action.py")
            .display()
    );
    let dir = PluginDir::new().with_script("python", &script);
    let mut options = dir.options();
    let protos = root.join("src/providers/plugin/protos");
    options.environment = [(
        "VELERO_EXAMPLE_PROTOS".to_owned(),
        protos.display().to_string(),
    )]
    .into_iter()
    .collect();
    let plugins = Plugins::new(options);
    let found = plugins.restore_item_actions().await;
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let action = &found.actions[0];
    assert_eq!(action.name(), "example.org/start-with-none");
    let selector = action.applies_to().await.unwrap();
    assert_eq!(selector, ItemSelector::resources(["deployments.apps"]));
    let json = Bytes::from(
        json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "namespace": "n", "name": "web" }, "spec": { "replicas": 3 } })
        .to_string(),
    );
    let id = ItemId {
        group: "apps".into(),
        resource: "deployments".into(),
        namespace: "n".into(),
        name: "web".into(),
    };
    let restore = ark::api::Restore::new("r1", ark::api::RestoreSpec::default());
    let run = RunDocument::of_restore(&restore).unwrap();
    let item = Item {
        id: &id,
        json: &json,
    };
    let answer = action.execute(item, &json, &run).await.unwrap();
    let changed = read(answer.item.as_ref());
    assert_eq!(changed["spec"]["replicas"], 0);
    let annotations = &changed["metadata"]["annotations"];
    assert_eq!(annotations["example.org/replicas"], "3");
    plugins.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_notes_the_backup_and_asks_for_secrets() {
    let dir = PluginDir::new().with("item-action", &program("plugin-item-action"));
    let action = dir.plugins().backup_item_actions().await.actions.remove(0);
    assert_eq!(action.name(), "example.org/note-backup");
    let selector = action.applies_to().await.unwrap();
    assert_eq!(selector, ItemSelector::resources(["configmaps"]));
    let json = Bytes::from(
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "namespace": "n", "name": "c", "annotations": { "example.org/needs-secrets": "s, t" },
        } })
        .to_string(),
    );
    let id = ItemId {
        resource: "configmaps".into(),
        namespace: "n".into(),
        name: "c".into(),
        ..ItemId::default()
    };
    let backup = ark::api::Backup::new("b1", ark::api::BackupSpec::default());
    let run = RunDocument::of_backup(&backup).unwrap();
    let item = Item {
        id: &id,
        json: &json,
    };
    let answer = action.execute(item, &run).await.unwrap();
    let changed = read(answer.item.as_ref());
    let annotations = &changed["metadata"]["annotations"];
    assert_eq!(annotations["example.org/backed-up-by"], "b1");
    let names: Vec<&str> = answer
        .additional
        .iter()
        .map(|id| id.name.as_str())
        .collect();
    assert_eq!(names, ["s", "t"]);
}
