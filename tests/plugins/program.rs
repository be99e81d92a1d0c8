//! A plugin for tests: what it serves, and for whom, its file's name says (tests give it several by links), and how it
//! misbehaves the names of the items that it is given.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "it misbehaves on purpose"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark::plugin::{
    ActionError, ActionErrorKind, BackedUpItem, BackupItemAction, Body, ByteStream,
    DeleteItemAction, ErrorKind, Family, Item, ItemBlockAction, ItemId, ItemSelector,
    OperationProgress, RestoreItemAction, RestoredItem, RunDocument, Server, SnapshotError,
    SnapshotErrorKind, Snapshots, Store, StoreError, VolumeInfo,
};
use ark::providers::Environment;
use ark::providers::plugin::{PluginLimits, PluginOptions, Plugins};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value, json};

/// Objects in memory.
#[derive(Default)]
struct Memory {
    config: Mutex<BTreeMap<String, String>>,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl Memory {
    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().expect("nobody panics with it")
    }
}

#[async_trait]
impl Store for Memory {
    async fn init(&self, config: BTreeMap<String, String>) -> Result<(), StoreError> {
        if config.contains_key("refuse") {
            return Err(StoreError::new(ErrorKind::Other, "no such setting: refuse"));
        }
        tracing::info!(bucket = config["bucket"], "initialised");
        *self.config.lock().expect("nobody panics with it") = config;
        Ok(())
    }

    async fn put(&self, _: &str, key: &str, body: Body) -> Result<(), StoreError> {
        let pieces: Vec<Bytes> = body.try_collect().await?;
        self.objects()
            .insert(key.to_owned(), pieces.concat().into());
        Ok(())
    }

    async fn exists(&self, _: &str, key: &str) -> Result<bool, StoreError> {
        Ok(self.objects().contains_key(key))
    }

    async fn get(&self, _: &str, key: &str) -> Result<ByteStream, StoreError> {
        // What tests want to know of the process.
        let special = match key {
            "config" => Some(json!(*self.config.lock().expect("nobody panics with it"))),
            "environment" => Some(json!(std::env::vars().collect::<BTreeMap<_, _>>())),
            "arguments" => Some(json!(std::env::args().skip(1).collect::<Vec<_>>())),
            "process" => Some(json!(std::process::id())),
            _ => None,
        };
        let found = match special {
            Some(value) => Some(Bytes::from(value.to_string())),
            None => self.objects().get(key).cloned(),
        };
        match (key, found) {
            ("half", Some(found)) => {
                // An object that breaks off.
                let first = found.slice(..found.len() / 2);
                let broken = StoreError::new(ErrorKind::Other, "the disk is gone");
                Ok(futures::stream::iter([Ok(first), Err(broken)]).boxed())
            }
            // As Go's plugins tell it: without a code.
            (_, None) => Err(StoreError::new(ErrorKind::Other, "it is not to be had")),
            (_, Some(found)) => Ok(futures::stream::iter([Ok(found)]).boxed()),
        }
    }

    async fn list(&self, _: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let objects = self.objects();
        let keys = objects.keys().filter(|key| key.starts_with(prefix));
        Ok(keys.cloned().collect())
    }

    async fn delete(&self, _: &str, key: &str) -> Result<(), StoreError> {
        let removed = self.objects().remove(key);
        removed
            .map(drop)
            .ok_or_else(|| StoreError::new(ErrorKind::Other, "it is not to be had"))
    }
}

/// A cloud in memory, whose volumes are those of a PersistentVolume's `spec.test.volume`.
#[derive(Default)]
struct Cloud {
    snapshots: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    made: AtomicU64,
}

#[async_trait]
impl Snapshots for Cloud {
    async fn init(&self, config: BTreeMap<String, String>) -> Result<(), SnapshotError> {
        match config.get("region") {
            Some(_) => Ok(()),
            None => Err(SnapshotError::new(
                SnapshotErrorKind::Other,
                "region is missing",
            )),
        }
    }

    async fn volume_id(&self, volume: &Map<String, Value>) -> Result<String, SnapshotError> {
        let id = volume
            .get("spec")
            .and_then(|spec| spec.pointer("/test/volume"));
        Ok(id.and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    async fn set_volume_id(
        &self,
        volume: &mut Map<String, Value>,
        id: &str,
    ) -> Result<(), SnapshotError> {
        volume["spec"]["test"]["volume"] = json!(id);
        Ok(())
    }

    async fn info(&self, volume: &str, zone: &str) -> Result<VolumeInfo, SnapshotError> {
        if volume == "gone" {
            let error = format!("volume {volume} is not in {zone:?}");
            return Err(SnapshotError::new(SnapshotErrorKind::NotFound, error));
        }
        Ok(VolumeInfo {
            volume_type: "fast".to_owned(),
            iops: Some(100),
            ..VolumeInfo::default()
        })
    }

    async fn create_snapshot(
        &self,
        volume: &str,
        zone: &str,
        mut tags: BTreeMap<String, String>,
    ) -> Result<String, SnapshotError> {
        let id = format!("snap-{volume}-{zone}");
        tags.insert("of".to_owned(), volume.to_owned());
        let mut snapshots = self.snapshots.lock().expect("nobody panics with it");
        snapshots.insert(id.clone(), tags);
        Ok(id)
    }

    async fn delete_snapshot(&self, snapshot: &str) -> Result<(), SnapshotError> {
        let mut snapshots = self.snapshots.lock().expect("nobody panics with it");
        match snapshots.remove(snapshot) {
            Some(_) => Ok(()),
            None => Err(SnapshotError::new(
                SnapshotErrorKind::NotFound,
                "no such snapshot",
            )),
        }
    }

    async fn create_volume(
        &self,
        snapshot: &str,
        info: &VolumeInfo,
    ) -> Result<String, SnapshotError> {
        let snapshots = self.snapshots.lock().expect("nobody panics with it");
        if !snapshots.contains_key(snapshot) {
            return Err(SnapshotError::new(
                SnapshotErrorKind::NotFound,
                "no such snapshot",
            ));
        }
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        Ok(format!(
            "{}-{}-{:?}-{made}",
            info.volume_type, info.zone, info.iops
        ))
    }
}

/// An action of every kind; items say by their name how it is to behave.
#[derive(Clone, Debug)]
struct Odd(&'static str);

fn selector() -> ItemSelector {
    ItemSelector {
        included_namespaces: vec!["n".to_owned()],
        excluded_namespaces: vec!["m".to_owned()],
        included_resources: vec!["pods".to_owned()],
        excluded_resources: vec!["secrets".to_owned()],
        labels: "app=a".to_owned(),
    }
}

impl Odd {
    /// Does what the item's name says; returns the item with a mark, and the name of the run.
    async fn behave(&self, item: Item<'_>, run: &RunDocument) -> Result<Value, ActionError> {
        tracing::info!(item = item.id.name, "looking at an item");
        match item.id.name.as_str() {
            "crash" => {
                eprintln!("[ERROR] out of luck");
                std::process::abort()
            }
            "exit" => std::process::exit(3),
            "hang" => std::future::pending().await,
            "panic" => panic!("on purpose"),
            "flood" => flood(),
            "refuse" => {
                return Err(ActionError::new(
                    ActionErrorKind::Other,
                    "I would rather not",
                ));
            }
            _ => {}
        }
        let run: Value = serde_json::from_slice(run.ark()).expect("a run is JSON");
        let mut object: Value = serde_json::from_slice(item.json).expect("an item is JSON");
        if item.id.name == "grow" {
            object["data"] = json!("x".repeat(1 << 20));
        }
        object["marked"] = json!(format!("{} {}", run["apiVersion"], run["metadata"]["name"]));
        object["process"] = json!(std::process::id());
        Ok(object)
    }
}

/// Writes tens of megabytes to both outputs: more than any pipe holds.
fn flood() {
    let line = format!("{}\n", "flood".repeat(2000));
    for _ in 0..2000 {
        std::io::stdout().write_all(line.as_bytes()).ok();
        std::io::stderr().write_all(line.as_bytes()).ok();
    }
}

fn secret() -> Vec<ItemId> {
    vec![ItemId {
        resource: "secrets".to_owned(),
        namespace: "n".to_owned(),
        name: "s".to_owned(),
        ..ItemId::default()
    }]
}

#[async_trait]
impl BackupItemAction for Odd {
    fn name(&self) -> &str {
        self.0
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(selector())
    }

    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError> {
        if item.id.name == "same" {
            return Ok(BackedUpItem::default());
        }
        let object = self.behave(item, backup).await?;
        Ok(BackedUpItem {
            item: Some(object.to_string().into()),
            additional: secret(),
            operation: Some("operation-1".to_owned()),
            after_operation: secret(),
        })
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(progress(operation))
    }

    async fn cancel(&self, operation: &str, _: &RunDocument) -> Result<(), ActionError> {
        cancel(operation)
    }
}

fn progress(operation: &str) -> OperationProgress {
    OperationProgress {
        completed: operation == "operation-1",
        done: 1,
        total: 2,
        units: "bytes".to_owned(),
        started: Some(jiff::Timestamp::UNIX_EPOCH),
        ..OperationProgress::default()
    }
}

fn cancel(operation: &str) -> Result<(), ActionError> {
    match operation {
        "operation-1" => Ok(()),
        _ => Err(ActionError::new(
            ActionErrorKind::Other,
            "no such operation",
        )),
    }
}

#[async_trait]
impl RestoreItemAction for Odd {
    fn name(&self) -> &str {
        self.0
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(selector())
    }

    async fn execute(
        &self,
        item: Item<'_>,
        stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        let mut object = self.behave(item, restore).await?;
        object["stored"] = serde_json::from_slice(stored).expect("an item is JSON");
        Ok(RestoredItem {
            item: Some(object.to_string().into()),
            skip: item.id.name == "skip",
            warning: Some("mind the gap".to_owned()),
            additional: secret(),
            wait_for_additional: true,
            ready_within: Some(Duration::from_secs(90)),
            operation: Some("operation-1".to_owned()),
        })
    }

    async fn ready(&self, additional: &[ItemId], _: &RunDocument) -> Result<bool, ActionError> {
        Ok(additional == secret())
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(progress(operation))
    }

    async fn cancel(&self, operation: &str, _: &RunDocument) -> Result<(), ActionError> {
        cancel(operation)
    }
}

#[async_trait]
impl DeleteItemAction for Odd {
    fn name(&self) -> &str {
        self.0
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(selector())
    }

    async fn execute(&self, item: Item<'_>, backup: &RunDocument) -> Result<(), ActionError> {
        self.behave(item, backup).await.map(drop)
    }
}

#[async_trait]
impl ItemBlockAction for Odd {
    fn name(&self) -> &str {
        self.0
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(selector())
    }

    async fn related(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<Vec<ItemId>, ActionError> {
        self.behave(item, backup).await?;
        Ok(secret())
    }
}

/// An action for what carries a label, which changes nothing: for the benchmark.
#[derive(Debug)]
struct Looks;

#[async_trait]
impl BackupItemAction for Looks {
    fn name(&self) -> &'static str {
        "example.org/looks"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(ItemSelector {
            labels: "example.org/looked-at=yes".to_owned(),
            ..ItemSelector::default()
        })
    }

    async fn execute(&self, item: Item<'_>, _: &RunDocument) -> Result<BackedUpItem, ActionError> {
        tracing::info!(name = item.id.name, "looked at");
        Ok(BackedUpItem {
            item: Some(item.json.clone()),
            ..BackedUpItem::default()
        })
    }
}

/// An action of every kind, as a real one could be, for ConfigMaps that carry a label.
#[derive(Debug)]
struct Cares;

impl Cares {
    const SELECTOR: &str = "example.org/cared-for=yes";

    fn selector() -> ItemSelector {
        ItemSelector {
            labels: Self::SELECTOR.to_owned(),
            ..ItemSelector::resources(["configmaps"])
        }
    }

    /// Returns the item with the run's version and name in an annotation.
    fn noted(item: Item<'_>, run: &RunDocument, annotation: &str) -> Bytes {
        let run: Value = serde_json::from_slice(run.ark()).expect("a run is JSON");
        let mut object: Value = serde_json::from_slice(item.json).expect("an item is JSON");
        let said = format!("{} {}", run["apiVersion"], run["metadata"]["name"]).replace('"', "");
        let metadata = &mut object["metadata"];
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][annotation] = said.into();
        object.to_string().into()
    }

    /// Returns an object beside the item, whose name ends like this.
    fn beside(item: Item<'_>, resource: &str, end: &str) -> Vec<ItemId> {
        vec![ItemId {
            resource: resource.to_owned(),
            namespace: item.id.namespace.clone(),
            name: format!("{}-{end}", item.id.name),
            ..ItemId::default()
        }]
    }

    /// Returns how an operation fares: it is through when it is asked for the third time.
    fn fares(operation: &str) -> OperationProgress {
        static ASKED: Mutex<BTreeMap<String, i64>> = Mutex::new(BTreeMap::new());
        let mut all = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = all.entry(operation.to_owned()).or_default();
        *asked += 1;
        tracing::info!(operation, asked = *asked, "an operation is asked for");
        OperationProgress {
            completed: *asked >= 3,
            done: *asked,
            total: 3,
            units: "questions".to_owned(),
            ..OperationProgress::default()
        }
    }
}

#[async_trait]
impl BackupItemAction for Cares {
    fn name(&self) -> &'static str {
        "example.org/cares"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(Self::selector())
    }

    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError> {
        Ok(BackedUpItem {
            item: Some(Self::noted(item, backup, "example.org/backup")),
            additional: Self::beside(item, "secrets", "named"),
            operation: Some(format!("copying {}", item.id.name)),
            after_operation: Self::beside(item, "configmaps", "after"),
        })
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(Self::fares(operation))
    }
}

#[async_trait]
impl RestoreItemAction for Cares {
    fn name(&self) -> &'static str {
        "example.org/cares"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(Self::selector())
    }

    async fn execute(
        &self,
        item: Item<'_>,
        _: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        Ok(RestoredItem {
            item: Some(Self::noted(item, restore, "example.org/restore")),
            operation: Some(format!("filling {}", item.id.name)),
            ..RestoredItem::default()
        })
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        Ok(Self::fares(operation))
    }
}

#[async_trait]
impl DeleteItemAction for Cares {
    fn name(&self) -> &'static str {
        "example.org/cares"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(Self::selector())
    }

    async fn execute(&self, item: Item<'_>, _: &RunDocument) -> Result<(), ActionError> {
        tracing::info!(name = item.id.name, "what belongs to an item goes");
        Ok(())
    }
}

#[async_trait]
impl ItemBlockAction for Cares {
    fn name(&self) -> &'static str {
        "example.org/cares"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(Self::selector())
    }

    async fn related(&self, item: Item<'_>, _: &RunDocument) -> Result<Vec<ItemId>, ActionError> {
        Ok(Self::beside(item, "secrets", "related"))
    }
}

/// Hosts the plugins of a directory: says which process one of them is, and waits to be killed.
async fn host(directory: &str, launcher: &str) -> ExitCode {
    let plugins = Plugins::new(PluginOptions {
        directory: directory.into(),
        launcher: Some(launcher.into()),
        environment: Environment::default(),
        namespace: "ark-tests".to_owned(),
        log_level: tracing::level_filters::LevelFilter::INFO,
        limits: PluginLimits::default(),
    });
    let action = plugins.backup_item_actions().await.actions.remove(0);
    let id = ItemId {
        name: "a".to_owned(),
        ..ItemId::default()
    };
    let json = Bytes::from_static(br#"{"metadata":{"name":"a"}}"#);
    let item = Item {
        id: &id,
        json: &json,
    };
    let run = RunDocument::of_json(Bytes::from_static(b"{}"));
    let answer = action.execute(item, &run).await.expect("it answers");
    let item: Value = serde_json::from_slice(&answer.item.expect("it is marked")).expect("JSON");
    println!("{}", item["process"]);
    std::future::pending().await
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, directory, launcher] = arguments.as_slice()
        && flag == "--host"
    {
        return host(directory, launcher).await;
    }
    let path = std::env::args().next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    let all = |family| {
        Server::new()
            .family(family)
            .object_store("memory", Memory::default())
            .volume_snapshotter("cloud", Cloud::default())
            .backup_item_action(Odd("example.org/odd"))
            .restore_item_action(Odd("example.org/odd"))
    };
    let server = match file {
        name if name.starts_with("velero") => all(Family::Velero)
            .backup_item_action_v2(Odd("example.org/odd2"))
            .restore_item_action_v2(Odd("example.org/odd2"))
            .delete_item_action(Odd("example.org/odd"))
            .item_block_action(Odd("example.org/odd")),
        name if name.starts_with("ten") => all(Family::Ark10),
        "looks" => Server::new().backup_item_action(Looks),
        "cares" => Server::new()
            .backup_item_action_v2(Cares)
            .restore_item_action_v2(Cares)
            .delete_item_action(Cares)
            .item_block_action(Cares),
        "cares-ten" => Server::new()
            .family(Family::Ark10)
            .backup_item_action(Cares)
            .restore_item_action(Cares),
        "ark-backupitemaction-cares" => Server::new()
            .family(Family::Ark08)
            .backup_item_action(Cares),
        "ark-restoreitemaction-cares" => Server::new()
            .family(Family::Ark08)
            .restore_item_action(Cares),
        // As Ark 0.8 found out what they are: one of a kind.
        "ark-cloudprovider-old" => Server::new()
            .family(Family::Ark08)
            .object_store("x", Memory::default())
            .volume_snapshotter("x", Cloud::default()),
        "ark-backupitemaction-old" => Server::new()
            .family(Family::Ark08)
            .backup_item_action(Odd("x")),
        "ark-restoreitemaction-old" => Server::new()
            .family(Family::Ark08)
            .restore_item_action(Odd("x")),
        "ark-objectstore-local" => Server::new()
            .family(Family::Ark08)
            .object_store("x", Memory::default()),
        // A plugin without a lister whose name does not say what it is.
        "nameless" => Server::new().family(Family::Ark08),
        _ => return ExitCode::from(9),
    };
    server.serve().await
}
