//! Plugins that crash, hang, flood their output or say too much; and how their processes end.

use std::sync::Arc;
use std::time::Duration;

use ark::providers::actions::{ActionErrorKind, BackupItemAction};
use ark::providers::plugin::{PluginLimits, Plugins};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::plugins::{PluginDir, program};
use crate::support::{PATIENCE, wait_until};
use crate::{Given, is_gone, runs};

async fn action(plugins: &Plugins) -> Arc<dyn BackupItemAction> {
    plugins.backup_item_actions().await.actions.remove(0)
}

/// Returns the process that answers.
async fn process(action: &Arc<dyn BackupItemAction>) -> u64 {
    let given = Given::new("a");
    let answer = action.execute(given.item(), &given.run).await.unwrap();
    let item: Value = serde_json::from_slice(&answer.item.unwrap()).unwrap();
    item["process"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_an_error_of_its_call() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let action = action(&plugins).await;
    for (name, how) in [("crash", "signal: 6"), ("exit", "exit status: 3")] {
        let before = process(&action).await;
        let given = Given::new(name);
        let error = action.execute(given.item(), &given.run).await.unwrap_err();
        assert_eq!(error.kind, ActionErrorKind::Gone, "{error}");
        assert!(
            error.message.contains(how) && error.message.contains(&format!("pods n/{name}")),
            "{error}"
        );
        if name == "crash" {
            assert!(error.message.contains("out of luck"), "{error}");
        }
        assert_ne!(process(&action).await, before);
        assert!(is_gone(before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_call_alone() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let action = action(&plugins).await;
    let before = process(&action).await;
    let given = Given::new("panic");
    let error = action.execute(given.item(), &given.run).await.unwrap_err();
    assert_eq!(error.kind, ActionErrorKind::Other);
    assert!(error.message.contains("panicked: on purpose"), "{error}");
    assert_eq!(process(&action).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_is_given_up() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let mut options = dir.options();
    options.limits = PluginLimits {
        call: Duration::from_secs(2),
        ..PluginLimits::default()
    };
    let plugins = Plugins::new(options);
    let action = action(&plugins).await;
    let before = process(&action).await;
    let given = Given::new("hang");
    let error = action.execute(given.item(), &given.run).await.unwrap_err();
    assert_eq!(error.kind, ActionErrorKind::TimedOut);
    assert!(
        error.message.contains("pods n/hang") && error.message.contains("within 2s"),
        "{error}"
    );
    // Who hangs once may hang again: the next call has a new process, and the old one ends.
    assert_ne!(process(&action).await, before);
    wait_until("it is gone", PATIENCE, async || {
        Ok(is_gone(before).then_some(()))
    })
    .await
    .unwrap();
}

/// Pipes hold 64 KiB: whoever is not read hangs.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_output_are_drained() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let action = action(&plugins).await;
    let given = Given::new("flood");
    for _ in 0..2 {
        action.execute(given.item(), &given.run).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_names_its_item() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let mut options = dir.options();
    options.limits = PluginLimits {
        message: 256 << 10,
        ..PluginLimits::default()
    };
    let plugins = Plugins::new(options);
    let action = action(&plugins).await;
    // Too much to send, and too much to take.
    let mut large = Given::new("large");
    let filled = String::from_utf8(large.json.to_vec()).unwrap();
    let filled = filled.replace(
        "\"kind\"",
        &format!("\"x\":\"{}\",\"kind\"", "x".repeat(1 << 20)),
    );
    large.json = filled.into();
    for given in [large, Given::new("grow")] {
        let error = action.execute(given.item(), &given.run).await.unwrap_err();
        assert_eq!(error.kind, ActionErrorKind::TooLarge, "{error}");
        assert!(error.message.contains(&given.id.to_string()), "{error}");
    }
    process(&action).await;
}

/// An object of 20 MiB passes where gRPC's own limit is 4.
#[tokio::test(flavor = "multi_thread")]
async fn large_items_pass() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let action = action(&plugins).await;
    let mut large = Given::new("large");
    let text = String::from_utf8(large.json.to_vec()).unwrap();
    let text = text.replace(
        "\"kind\"",
        &format!("\"x\":\"{}\",\"kind\"", "x".repeat(20 << 20)),
    );
    large.json = text.into();
    let answer = action.execute(large.item(), &large.run).await.unwrap();
    assert!(answer.item.unwrap().len() > 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_keeps_failing_is_left_alone() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let action = action(&plugins).await;
    let given = Given::new("crash");
    // The first one dies in a call, and so do all that follow.
    for _ in 0..11 {
        let error = action.execute(given.item(), &given.run).await.unwrap_err();
        assert!(error.message.contains("signal: 6"), "{error}");
    }
    let error = action.execute(given.item(), &given.run).await.unwrap_err();
    assert_eq!(error.kind, ActionErrorKind::Gone);
    assert!(
        error.message.contains("has failed 11 times in a row")
            && error
                .message
                .contains(dir.path().join("velero").to_str().unwrap()),
        "{error}"
    );
    let statuses = plugins.statuses().await;
    assert!(
        statuses
            .iter()
            .all(|one| one.state.starts_with("Failing: ")),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_a_process_and_a_shutdown_leaves_none() {
    let dir = PluginDir::new()
        .with_test_plugin("velero")
        .with_test_plugin("ark-backupitemaction-old");
    let plugins = dir.plugins();
    let actions = plugins.backup_item_actions().await.actions;
    assert_eq!(actions.len(), 3);
    let mut processes = std::collections::BTreeSet::new();
    for action in &actions {
        let calls = (0..20).map(|_| process(action));
        processes.extend(futures::future::join_all(calls).await);
    }
    assert_eq!(processes.len(), 2, "one a program");
    assert!(processes.iter().all(|process| runs(*process)));
    plugins.shutdown().await;
    assert!(processes.iter().all(|process| is_gone(*process)));
}

/// What a plugin has started itself ends with it.
#[tokio::test(flavor = "multi_thread")]
async fn children_of_plugins_end_too() {
    let noted = tempfile::tempdir().unwrap();
    let note = noted.path().join("child");
    let script = format!(
        "sleep 600 & echo $! >{}; echo 'Hello'; wait",
        note.display()
    );
    let dir = PluginDir::new().with_script("parent", &script);
    let statuses = dir.plugins().statuses().await;
    assert!(statuses[0].state.contains("Hello"), "{statuses:?}");
    let child: u64 = std::fs::read_to_string(note)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    wait_until("it is gone", PATIENCE, async || {
        Ok((!runs(child)).then_some(()))
    })
    .await
    .unwrap();
}

/// Kills the process that hosts a plugin, which has no time for anything: the kernel ends the plugin.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_leaves_no_plugin() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let mut host = tokio::process::Command::new(program("test-plugin"))
        .arg("--host")
        .arg(dir.path())
        .arg(env!("CARGO_BIN_EXE_ark"))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let plugin: u64 = line.parse().unwrap();
    assert!(runs(plugin));
    host.kill().await.unwrap();
    wait_until("it is gone", PATIENCE, async || {
        Ok((!runs(plugin)).then_some(()))
    })
    .await
    .unwrap();
}
