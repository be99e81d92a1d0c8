//! A plugin that looks at ConfigMaps as they are backed up: it notes the backup's name in an annotation, and has the
//! Secrets backed up, too, that an annotation of the ConfigMap names.
//!
//! `cargo build --release --example plugin-item-action` builds it; its file goes into the server's plugin directory.

use std::process::ExitCode;

use ark::plugin::{
    ActionError, ActionErrorKind, BackedUpItem, BackupItemAction, Item, ItemId, ItemSelector,
    RunDocument, Server,
};
use async_trait::async_trait;
use serde_json::{Value, json};

/// Where the backup's name is noted.
const NOTE: &str = "example.org/backed-up-by";
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
        let unreadable = |error: serde_json::Error| {
            ActionError::new(ActionErrorKind::Other, format!("cannot be read: {error}"))
        };
        let backup: Value = serde_json::from_slice(backup.velero()).map_err(unreadable)?;
        let mut object: Value = serde_json::from_slice(item.json).map_err(unreadable)?;
        let annotations = &mut object["metadata"]["annotations"];
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[NOTE] = backup["metadata"]["name"].clone();
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

#[tokio::main]
async fn main() -> ExitCode {
    Server::new().backup_item_action(NoteBackup).serve().await
}
