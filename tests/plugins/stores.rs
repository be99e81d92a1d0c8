//! Stores that live in plugins.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use ark::providers::plugin::PluginLimits;
use ark::providers::store::{ErrorKind, ObjectStore};
use ark::providers::{Environment, registry};
use bytes::Bytes;
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::support::plugins::{PluginDir, program};
use crate::support::{PATIENCE, wait_until};
use crate::{conformance, is_gone, location, with};

async fn text(store: &Arc<dyn ObjectStore>, key: &str) -> String {
    let pieces: Vec<Bytes> = store.get(key).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

async fn json(store: &Arc<dyn ObjectStore>, key: &str) -> Value {
    serde_json::from_str(&text(store, key).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_keeps_every_promise() {
    let dir = PluginDir::new().with("directory", &program("plugin-directory-store"));
    let plugins = dir.plugins();
    let objects = tempfile::tempdir().unwrap();
    std::fs::create_dir(objects.path().join("ark")).unwrap();
    let path = objects.path().to_str().unwrap();
    let config = location("example.org/directory", &[("path", path)]);
    let store = registry::open(&config, &with(&plugins)).await.unwrap();
    conformance::object_store_conformance(store).await;
    let left: Vec<_> = std::fs::read_dir(objects.path().join(".unfinished"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");

    std::fs::remove_dir_all(objects.path().join("ark")).unwrap();
    let store = registry::open(&config, &with(&plugins)).await.unwrap();
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoBucket, "{error}");
    let nowhere = location("example.org/directory", &[]);
    let error = registry::open(&nowhere, &with(&plugins)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let message = error.to_string();
    assert!(
        message.contains("the plugin directory cannot take its settings: config.path"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_familys_stores_keep_every_promise() {
    for (file, provider) in [
        ("velero", "velero.io/memory"),
        ("ten", "memory"),
        ("ark-cloudprovider-old", "old"),
    ] {
        let plugins = PluginDir::new().with_test_plugin(file);
        let host = plugins.plugins();
        let store = registry::open(&location(provider, &[]), &with(&host))
            .await
            .unwrap();
        assert!(!store.capabilities().sign);
        conformance::object_store_conformance(store).await;
        host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_mean_the_plugin_or_the_built_in_one() {
    let dir = PluginDir::new()
        .with_test_plugin("velero")
        .with_test_plugin("ark-objectstore-local");
    let environment = with(&dir.plugins());
    let objects = tempfile::tempdir().unwrap();
    let path = objects.path().to_str().unwrap();
    // A plugin of the same name goes before the built-in one.
    let local = location("local", &[("path", path)]);
    let store = registry::open(&local, &environment).await.unwrap();
    assert_eq!(json(&store, "config").await["path"], path);
    assert!(format!("{store:?}").contains("PluginStore"), "{store:?}");
    // A bare name is Velero's if nobody else's.
    let memory = location("memory", &[]);
    assert!(registry::open(&memory, &environment).await.is_ok());
    let dir = PluginDir::new().with_test_plugin("velero");
    let environment = with(&dir.plugins());
    let store = registry::open(&local, &environment).await.unwrap();
    assert!(!format!("{store:?}").contains("PluginStore"), "{store:?}");
    for name in ["s3", "velero.io/local"] {
        let error = registry::open(&location(name, &[]), &environment)
            .await
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("there is no such provider"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_credentials_are_handed_over() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let environment = with(&plugins)
        .with_credentials(b"hunter2".to_vec())
        .unwrap();
    let config = location("velero.io/memory", &[("a", "b")]);
    let store = registry::open_for(&config, "clusters/one", &environment)
        .await
        .unwrap();
    let given = json(&store, "config").await;
    assert_eq!(given["a"], "b");
    assert_eq!(given["bucket"], "ark");
    assert_eq!(given["prefix"], "clusters/one");
    let file = given["credentialsFile"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hunter2");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = std::path::Path::new(&file).parent().unwrap().to_owned();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!format!("{store:?}").contains("hunter2"));
    drop(store);
    assert!(!std::fs::exists(&file).unwrap(), "it goes with the store");
    plugins.shutdown().await;
    drop((plugins, environment));
    wait_until("the folder is gone", PATIENCE, async || {
        Ok((!folder.exists()).then_some(()))
    })
    .await
    .unwrap();

    let plugins = dir.plugins();
    let config = location("velero.io/memory", &[("refuse", "1")]);
    let error = registry::open(&config, &with(&plugins)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("no such setting"), "{error}");
}

/// Two locations of one provider: neither gets the other's settings, however they take turns.
#[tokio::test(flavor = "multi_thread")]
async fn stores_do_not_share_their_settings() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let mut stores = Vec::new();
    for name in ["a", "b", "c"] {
        let config = location("velero.io/memory", &[("name", name)]);
        let store = registry::open(&config, &with(&plugins)).await.unwrap();
        stores.push((name, store));
    }
    let turns = (0..60).map(|turn| {
        let (name, store) = &stores[turn % 3];
        async move { assert_eq!(json(store, "config").await["name"], *name) }
    });
    futures::future::join_all(turns).await;
    // One after the other they need one process.
    let mut processes = std::collections::BTreeSet::new();
    for (name, store) in &stores {
        processes.insert(json(store, "process").await.as_u64().unwrap());
        assert_eq!(json(store, "config").await["name"], *name);
    }
    assert!(processes.len() <= 3, "{processes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_see_what_they_need_and_nothing_else() {
    let dir = PluginDir::new()
        .with_test_plugin("velero")
        .with_test_plugin("ark-cloudprovider-old");
    let mut options = dir.options();
    options.environment = Environment::of_process(&["CARGO_PKG_NA*".to_owned()]);
    let plugins = ark::providers::plugin::Plugins::new(options);
    let store = |provider| {
        let environment = with(&plugins);
        async move {
            registry::open(&location(provider, &[]), &environment)
                .await
                .unwrap()
        }
    };
    let new = store("velero.io/memory").await;
    let seen = json(&new, "environment").await;
    for (name, value) in [
        ("VELERO_PLUGIN", "hello"),
        ("ARK_PLUGIN", "hello"),
        ("PLUGIN_MIN_PORT", "10000"),
        ("PLUGIN_MAX_PORT", "25000"),
        ("PLUGIN_PROTOCOL_VERSIONS", "2"),
        ("VELERO_NAMESPACE", "ark-tests"),
        ("CARGO_PKG_NAME", "ark"),
        ("LD_LIBRARY_PATH", dir.path().to_str().unwrap()),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    assert!(seen["PATH"].is_string());
    let known = [
        "PATH",
        "HOME",
        "TZ",
        "TMPDIR",
        "VELERO_",
        "AWS_",
        "AZURE_",
        "GOOGLE_",
        "ARK_PLUGIN",
        "PLUGIN_",
        "LD_LIBRARY_PATH",
        "CARGO_PKG_NAME",
        "HTTP",
        "NO_PROXY",
        "http",
        "no_proxy",
        "SSL_CERT",
        "KUBERNETES_SERVICE_",
        "GCE_METADATA_HOST",
    ];
    for name in seen.as_object().unwrap().keys() {
        assert!(known.iter().any(|start| name.starts_with(start)), "{name}");
    }
    assert_eq!(
        json(&new, "arguments").await,
        serde_json::json!(["--log-level", "info"])
    );
    let old = store("old").await;
    assert_eq!(json(&old, "arguments").await, serde_json::json!([]));
    assert_eq!(
        json(&old, "environment").await["PLUGIN_PROTOCOL_VERSIONS"],
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_breaks_off_is_an_error() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let store = registry::open(&location("velero.io/memory", &[]), &with(&plugins))
        .await
        .unwrap();
    store.put("half", vec![7; 1 << 20].into()).await.unwrap();
    let mut pieces = store.get("half").await.unwrap();
    let mut read = 0;
    let error = loop {
        match pieces.try_next().await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) => panic!("a whole object"),
            Err(error) => break error,
        }
    };
    assert_eq!(read, 1 << 19);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_is_started_and_initialised_again() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let config = location("velero.io/memory", &[("name", "a")]);
    let store = registry::open(&config, &with(&plugins)).await.unwrap();
    let first = json(&store, "process").await.as_u64().unwrap();
    // Ended by its id: no other process has it while it is not waited for.
    std::process::Command::new("/bin/sh")
        .args(["-c", &format!("kill -KILL {first}")])
        .status()
        .unwrap();
    wait_until("it is gone", PATIENCE, async || {
        Ok(is_gone(first).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(json(&store, "config").await["name"], "a");
    let second = json(&store, "process").await.as_u64().unwrap();
    assert_ne!(first, second);
    plugins.shutdown().await;
    assert!(is_gone(first) && is_gone(second));
    let error = store.check().await.unwrap_err();
    assert!(error.to_string().contains("the server ends"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_nobody_uses_ends() {
    let dir = PluginDir::new().with_test_plugin("velero");
    let mut options = dir.options();
    options.limits = PluginLimits {
        idle: Duration::from_millis(200),
        ..PluginLimits::default()
    };
    let plugins = ark::providers::plugin::Plugins::new(options);
    let store = registry::open(&location("velero.io/memory", &[]), &with(&plugins))
        .await
        .unwrap();
    let process = json(&store, "process").await.as_u64().unwrap();
    wait_until("it is gone", PATIENCE, async || {
        Ok(is_gone(process).then_some(()))
    })
    .await
    .unwrap();
    // And comes back when it is needed.
    assert_ne!(json(&store, "process").await.as_u64().unwrap(), process);
    assert!(
        plugins
            .statuses()
            .await
            .iter()
            .all(|one| one.state == "Ready")
    );
}
