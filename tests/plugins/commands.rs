//! `ark plugin get` on a directory: without a cluster.

use std::process::{Command, Output};

use crate::support::plugins::PluginDir;

fn get(dir: &PluginDir, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ark"))
        .args(["plugin", "get", "--plugin-dir"])
        .arg(dir.path())
        .args(more)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn programs_of_a_directory_are_started_and_asked() {
    let dir = PluginDir::new()
        .with_test_plugin("ten")
        .with_test_plugin("ark-objectstore-local");
    let output = get(&dir, &[]);
    assert!(output.status.success(), "{output:?}");
    let table = text(&output.stdout).replace(&dir.path().display().to_string(), "DIR");
    let words: Vec<Vec<&str>> = table
        .lines()
        .map(|line| {
            line.split("   ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        words,
        [
            ["NAME", "KIND", "PROTOCOL", "FILE", "STATE"],
            ["cloud", "VolumeSnapshotter", "Ark 0.10", "DIR/ten", "Ready"],
            [
                "example.org/odd",
                "BackupItemAction",
                "Ark 0.10",
                "DIR/ten",
                "Ready"
            ],
            [
                "example.org/odd",
                "RestoreItemAction",
                "Ark 0.10",
                "DIR/ten",
                "Ready"
            ],
            [
                "local",
                "ObjectStore",
                "Ark 0.8",
                "DIR/ark-objectstore-local",
                "Ready"
            ],
            ["memory", "ObjectStore", "Ark 0.10", "DIR/ten", "Ready"],
        ],
        "{table}"
    );
    let output = get(&dir, &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 5);
    assert_eq!(json[0]["kind"], "VolumeSnapshotter");
}

#[test]
fn what_cannot_be_used_is_an_error() {
    let dir = PluginDir::new().with_script("chatty", "echo Hello");
    let output = get(&dir, &[]);
    assert_eq!(output.status.code(), Some(1));
    let (table, error) = (text(&output.stdout), text(&output.stderr));
    assert!(table.contains("Unusable: the plugin program"), "{table}");
    assert!(
        error.contains("not all of these plugins can be used"),
        "{error}"
    );
    let dir = PluginDir::new();
    let output = get(&dir, &[]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let absent = dir.path().join("absent");
    let output = Command::new(env!("CARGO_BIN_EXE_ark"))
        .args(["plugin", "get", "--plugin-dir"])
        .arg(&absent)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("is not a directory"), "{error}");
}
