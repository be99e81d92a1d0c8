//! The host of plugins against programs of all protocols, well-behaved and not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::future_not_send,
    unreachable_pub,
    reason = "in a test, failing loudly is the way to report, and its futures are awaited where they are made"
)]

mod actions;
mod commands;
#[path = "../support/conformance.rs"]
mod conformance;
mod listing;
mod lives;
mod logs;
mod snapshotters;
mod stores;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "aws")]
mod velero;

use std::path::Path;

use ark::api::StorageProviderConfig;
use ark::providers::Environment;
use ark::providers::actions::{Item, ItemId, RunDocument};
use ark::providers::plugin::Plugins;
use bytes::Bytes;

/// Returns a location's settings.
fn location(provider: &str, pairs: &[(&str, &str)]) -> StorageProviderConfig {
    StorageProviderConfig {
        name: provider.into(),
        bucket: "ark".into(),
        config: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..StorageProviderConfig::default()
    }
}

fn with(plugins: &Plugins) -> Environment {
    Environment::default().with_plugins(plugins.clone())
}

/// An item of a name, and a run.
struct Given {
    id: ItemId,
    json: Bytes,
    run: RunDocument,
}

impl Given {
    fn new(name: &str) -> Self {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"n","name":"{name}"}}}}"#
        );
        let backup = ark::api::Backup::new("b1", ark::api::BackupSpec::default());
        Self {
            id: ItemId {
                resource: "pods".into(),
                namespace: "n".into(),
                name: name.into(),
                ..ItemId::default()
            },
            json: json.into(),
            run: RunDocument::of_backup(&backup).unwrap(),
        }
    }

    fn item(&self) -> Item<'_> {
        Item {
            id: &self.id,
            json: &self.json,
        }
    }
}

/// Returns whether a process runs: it is there, and more than what its parent has not asked for yet.
fn runs(process: u64) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with(['Z', 'X'])
    })
}

/// Returns whether nothing at all is left of a process, not even a zombie.
fn is_gone(process: u64) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}
