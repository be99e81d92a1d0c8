//! Names of Ark's objects in the cluster, for completion: quickly or not at all.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::discovery::ApiResource;

use super::words::Noun;
use crate::api::{Backup, BackupStorageLocation, Restore, Schedule, VolumeSnapshotLocation};
use crate::client::context::Context;

/// How long somebody who has pressed a key may wait for an answer.
const LIMIT: Duration = Duration::from_secs(2);
/// More names than anybody reads.
const MOST: u32 = 500;

/// Returns the names of the objects of a type; none if they cannot be had in time.
pub(super) fn of(noun: Noun, context: Option<Context>) -> Vec<String> {
    let Some(context) = context else {
        return Vec::new();
    };
    let (sender, names) = mpsc::channel();
    // A thread that nobody waits for: a kubeconfig may run a program that blocks, which no timer inside a runtime ends.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime
            && let Some(names) = runtime.block_on(list(&context, noun))
        {
            // Nobody is there any more if this took too long.
            sender.send(names).ok();
        }
    });
    names.recv_timeout(LIMIT).unwrap_or_default()
}

async fn list(context: &Context, noun: Noun) -> Option<Vec<String>> {
    let cluster = context.cluster().await.ok()?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource(noun));
    let found = api
        .list_metadata(&ListParams::default().limit(MOST))
        .await
        .ok()?;
    Some(
        found
            .into_iter()
            .filter_map(|object| object.metadata.name)
            .collect(),
    )
}

fn resource(noun: Noun) -> ApiResource {
    match noun {
        Noun::Backup => ApiResource::erase::<Backup>(&()),
        Noun::Restore => ApiResource::erase::<Restore>(&()),
        Noun::Schedule => ApiResource::erase::<Schedule>(&()),
        Noun::BackupLocation => ApiResource::erase::<BackupStorageLocation>(&()),
        Noun::SnapshotLocation => ApiResource::erase::<VolumeSnapshotLocation>(&()),
    }
}
