//! What programs offer, and what is said of those that offer nothing.

use std::time::Duration;

use ark::api::PluginInfo;
use ark::providers::plugin::{PluginLimits, Plugins};
use ark::providers::registry;
use ark::providers::store::ErrorKind;

use crate::support::plugins::{PluginDir, program};
use crate::{location, with};

fn shown(statuses: &[PluginInfo]) -> Vec<[&str; 4]> {
    let file = |one: &'_ PluginInfo| one.file.rfind('/').map_or(0, |at| at + 1);
    statuses
        .iter()
        .map(|one| {
            let file = &one.file[file(one)..];
            [
                one.name.as_str(),
                one.kind.as_str(),
                one.protocol.as_str(),
                file,
            ]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_listed() {
    let velero = "velero-plugin";
    for (dir, expected) in [
        (
            PluginDir::new().with_test_plugin(velero),
            &[
                ["example.org/odd", "BackupItemAction", "Velero", velero],
                ["example.org/odd", "DeleteItemAction", "Velero", velero],
                ["example.org/odd", "ItemBlockAction", "Velero", velero],
                ["example.org/odd", "RestoreItemAction", "Velero", velero],
                ["example.org/odd2", "BackupItemActionV2", "Velero", velero],
                ["example.org/odd2", "RestoreItemActionV2", "Velero", velero],
                ["velero.io/cloud", "VolumeSnapshotter", "Velero", velero],
                ["velero.io/memory", "ObjectStore", "Velero", velero],
            ][..],
        ),
        (
            PluginDir::new().with_test_plugin("ten"),
            &[
                ["cloud", "VolumeSnapshotter", "Ark 0.10", "ten"],
                ["example.org/odd", "BackupItemAction", "Ark 0.10", "ten"],
                ["example.org/odd", "RestoreItemAction", "Ark 0.10", "ten"],
                ["memory", "ObjectStore", "Ark 0.10", "ten"],
            ],
        ),
        (
            PluginDir::new()
                .with_test_plugin("ark-cloudprovider-old")
                .with_test_plugin("ark-restoreitemaction-old")
                .with_test_plugin("ark-objectstore-local"),
            &[
                ["local", "ObjectStore", "Ark 0.8", "ark-objectstore-local"],
                ["old", "ObjectStore", "Ark 0.8", "ark-cloudprovider-old"],
                [
                    "old",
                    "RestoreItemAction",
                    "Ark 0.8",
                    "ark-restoreitemaction-old",
                ],
                [
                    "old",
                    "VolumeSnapshotter",
                    "Ark 0.8",
                    "ark-cloudprovider-old",
                ],
            ],
        ),
        (PluginDir::new(), &[]),
    ] {
        std::fs::write(dir.path().join("README"), "not a program").unwrap();
        let statuses = dir.plugins().statuses().await;
        assert!(
            statuses.iter().all(|one| one.state == "Ready"),
            "{statuses:?}"
        );
        assert_eq!(shown(&statuses), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_has_no_plugins() {
    let dir = PluginDir::new();
    let mut options = dir.options();
    options.directory = dir.path().join("absent");
    let plugins = Plugins::new(options);
    assert!(plugins.statuses().await.is_empty());
    assert!(plugins.problems().await.is_empty());
}

/// Each is named by its file, and none costs the others.
#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_no_plugins_are_named() {
    let dir = PluginDir::new()
        .with_test_plugin("velero")
        .with_test_plugin("nameless")
        .with("not-a-program", std::path::Path::new("/dev/null"))
        .with_script("chatty", "echo Hello, world; sleep 60")
        .with_script("dead", "echo '[ERROR] no licence' >&2; exit 7")
        .with_script("silent", "exec sleep 60")
        .with_script("elsewhere", "echo '1|2|unix|/nowhere|grpc|'; exec sleep 60")
        .with_script("newer", "echo '1|9|unix|/nowhere|grpc|'; exec sleep 60")
        .with_script("endless", "exec cat /dev/zero");
    let binary = dir.path().join("binary");
    std::fs::copy(dir.path().join("dead"), &binary).unwrap();
    std::fs::write(&binary, [0x7f, b'E', b'L', b'F', 9, 9]).unwrap();
    let mut options = dir.options();
    options.limits = PluginLimits {
        start: Duration::from_secs(5),
        ..PluginLimits::default()
    };
    let plugins = Plugins::new(options);
    let statuses = plugins.statuses().await;
    let ready = statuses.iter().filter(|one| one.state == "Ready").count();
    assert_eq!(ready, 8, "{statuses:?}");
    for (file, said) in [
        ("nameless", "does not know this call"),
        ("chatty", "it wrote \"Hello, world\""),
        ("dead", "(exit status: 7); it said: no licence"),
        ("silent", "has not said where it listens within 5s"),
        ("elsewhere", "cannot be reached"),
        ("newer", "speaks protocol \"9\""),
        ("endless", "is no plugin"),
        ("binary", "cannot be started"),
    ] {
        let file = dir.path().join(file).display().to_string();
        let status = statuses.iter().find(|one| one.file == file).unwrap();
        let state = &status.state;
        assert!(
            state.starts_with("Unusable: ") && state.contains(said) && state.contains(&file),
            "{state}"
        );
        assert!(state.len() < 1000, "{state}");
    }
    assert_eq!(plugins.problems().await.len(), 8);
    // Whoever misses a provider is told.
    let missing = location("example.org/chatty", &[]);
    let error = registry::open(&missing, &with(&plugins)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("Hello, world"), "{error}");
    let memory = location("velero.io/memory", &[]);
    registry::open(&memory, &with(&plugins)).await.unwrap();
    // So is a run whose actions may be missing.
    let actions = plugins.backup_item_actions().await;
    assert_eq!(actions.actions.len(), 2);
    assert_eq!(actions.problems.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_programs_offer_is_nobodys() {
    let dir = PluginDir::new()
        .with_test_plugin("velero-a")
        .with_test_plugin("velero-b")
        .with("directory", &program("plugin-directory-store"));
    let plugins = dir.plugins();
    let error = registry::open(&location("velero.io/memory", &[]), &with(&plugins))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let message = error.to_string();
    assert!(
        message.contains("2 programs offer the ObjectStore \"velero.io/memory\"")
            && message.contains(dir.path().join("velero-a").to_str().unwrap())
            && message.contains(dir.path().join("velero-b").to_str().unwrap()),
        "{message}"
    );
    let statuses = plugins.statuses().await;
    for one in &statuses {
        let is_ready = one.state == "Ready";
        assert_eq!(is_ready, one.name == "example.org/directory", "{one:?}");
    }
    let actions = plugins.backup_item_actions().await;
    assert!(actions.actions.is_empty());
    assert_eq!(actions.problems.len(), 2, "{:?}", actions.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_is_seen() {
    let dir = PluginDir::new();
    let plugins = dir.plugins();
    assert!(plugins.statuses().await.is_empty());
    let memory = location("velero.io/memory", &[]);
    assert!(registry::open(&memory, &with(&plugins)).await.is_err());
    let dir = dir.with_test_plugin("velero");
    let store = registry::open(&memory, &with(&plugins)).await.unwrap();
    assert_eq!(plugins.statuses().await.len(), 8);
    std::fs::remove_file(dir.path().join("velero")).unwrap();
    assert!(plugins.statuses().await.is_empty());
    assert!(registry::open(&memory, &with(&plugins)).await.is_err());
    // Who has it goes on with the process there is.
    drop(store);
    // Another program under the same name is asked anew.
    let dir = dir.with("velero", &program("plugin-item-action"));
    let statuses = plugins.statuses().await;
    assert_eq!(shown(&statuses)[0][0], "example.org/note-backup");
    drop(dir);
}

/// Nothing is started for a look at what is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_asked_once() {
    let asked = tempfile::tempdir().unwrap();
    let count = asked.path().join("count");
    let script = format!(
        "echo >>{} started; exec {}",
        count.display(),
        program("test-plugin").display()
    );
    // The script's own name does not reach the program: it finds none that it knows, and ends.
    let dir = PluginDir::new().with_script("counted", &script);
    let plugins = dir.plugins();
    for _ in 0..3 {
        let statuses = plugins.statuses().await;
        assert!(statuses[0].state.contains("exit status: 9"), "{statuses:?}");
        plugins.restore_item_actions().await;
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "started\n");
}
