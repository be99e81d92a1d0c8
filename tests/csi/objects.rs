//! Looking at the objects of snapshots, past the snapshotter.

use anyhow::Result;
use ark::providers::snapshotter::SnapshotId;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "snapshot.storage.k8s.io",
        "v1",
        kind,
    ))
}

/// Returns the way to all contents.
pub(crate) fn contents(client: &kube::Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("VolumeSnapshotContent"))
}

/// Returns the way to the snapshots of a namespace.
pub(crate) fn snapshots(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource("VolumeSnapshot"))
}

/// Returns the contents that stand for a snapshot.
pub(crate) async fn contents_of(
    client: &kube::Client,
    snapshot: &SnapshotId,
) -> Result<Vec<DynamicObject>> {
    let all = contents(client).list(&ListParams::default()).await?.items;
    let stands_for = |content: &DynamicObject| {
        let data = &content.data;
        // Of one that Ark made, before csi-snapshotter has seen it.
        let handle = data["status"]["snapshotHandle"]
            .as_str()
            .or(data["spec"]["source"]["snapshotHandle"].as_str())?;
        Some(snapshot.0 == format!("{}/{handle}", data["spec"]["driver"].as_str()?))
    };
    Ok(all
        .into_iter()
        .filter(|content| stands_for(content) == Some(true))
        .collect())
}

/// Returns the names of the snapshots of a namespace.
pub(crate) async fn snapshots_of(client: &kube::Client, namespace: &str) -> Result<Vec<String>> {
    let all = snapshots(client, namespace)
        .list(&ListParams::default())
        .await?;
    Ok(all
        .items
        .into_iter()
        .filter_map(|one| one.metadata.name)
        .collect())
}
