//! A plugin that looks at ConfigMaps. As they are backed up it notes the backup's name in an annotation, and has the
//! Secrets backed up, too, that an annotation of the ConfigMap names; as they are restored it notes the restore's name.
//!
//! `cargo build --release --example plugin-item-action` builds it; its file goes into the server's plugin directory.

use std::process::ExitCode;

use ark::plugin::{
    ActionError, ActionErrorKind, BackedUpItem, BackupItemAction, Item, ItemId, ItemSelector,
    RestoreItemAction, RestoredItem, RunDocument, Server,
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

/// Where the backup's name is noted.
const BACKUP: &str = "example.org/backed-up-by";
/// Where the restore's name is noted.
const RESTORE: &str = "example.org/restored-by";
/// Names Secrets of the same namespace, with commas between them.
const NEEDS: &str = "example.org/needs-secrets";

#[derive(Debug)]
struct NoteBackup;

#[async_trait]
impl BackupItemAction for NoteBackup {
    fn name(&self) -> &'static str {
        "example.org/note-backup"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(ItemSelector::resources(["configmaps"]))
    }

    async fn execute(
        &self,
        item: Item<'_>,
        backup: &RunDocument,
    ) -> Result<BackedUpItem, ActionError> {
        let object = noted(item, backup, BACKUP)?;
        let annotations = &object["metadata"]["annotations"];
        let needed = annotations[NEEDS].as_str().unwrap_or_default();
        let additional: Vec<ItemId> = needed
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| ItemId {
                resource: "secrets".to_owned(),
                namespace: item.id.namespace.clone(),
                name: name.trim().to_owned(),
                ..ItemId::default()
            })
            .collect();
        tracing::info!(
            namespace = item.id.namespace,
            name = item.id.name,
            secrets = additional.len(),
            "a ConfigMap is noted"
        );
        Ok(BackedUpItem {
            item: Some(object.to_string().into()),
            additional,
            ..BackedUpItem::default()
        })
    }
}

#[derive(Debug)]
struct NoteRestore;

#[async_trait]
impl RestoreItemAction for NoteRestore {
    fn name(&self) -> &'static str {
        "example.org/note-restore"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(ItemSelector::resources(["configmaps"]))
    }

    async fn execute(
        &self,
        item: Item<'_>,
        _stored: &Bytes,
        restore: &RunDocument,
    ) -> Result<RestoredItem, ActionError> {
        let object = noted(item, restore, RESTORE)?;
        tracing::info!(name = item.id.name, "a restored ConfigMap is noted");
        Ok(RestoredItem {
            item: Some(object.to_string().into()),
            ..RestoredItem::default()
        })
    }
}

/// Returns an item with the name of its backup or restore in an annotation.
fn noted(item: Item<'_>, run: &RunDocument, annotation: &str) -> Result<Value, ActionError> {
    let unreadable = |error: serde_json::Error| {
        ActionError::new(ActionErrorKind::Other, format!("cannot be read: {error}"))
    };
    let run: Value = serde_json::from_slice(run.velero()).map_err(unreadable)?;
    let mut object: Value = serde_json::from_slice(item.json).map_err(unreadable)?;
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[annotation] = run["metadata"]["name"].clone();
    Ok(object)
}

#[tokio::main]
async fn main() -> ExitCode {
    Server::new()
        .backup_item_action(NoteBackup)
        .restore_item_action(NoteRestore)
        .serve()
        .await
}
