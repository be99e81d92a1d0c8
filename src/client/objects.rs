//! Reading and making Ark's objects through the API server, with answers a user can act on.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Cluster, patiently};
use super::output;
use crate::api::{
    Backup, BackupStorageLocation, DeleteBackupRequest, DownloadRequest, FIELD_MANAGER, Restore,
    Schedule, ServerStatusRequest, VolumeSnapshotLocation, names,
};

/// How long removing a request may take.
const REMOVAL: Duration = Duration::from_secs(10);
/// How many later seconds are tried for a name that is made of a time.
const LATER_SECONDS: u32 = 10;

/// One of Ark's types, with the words that commands have for it.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// What one is called in a sentence and on the command line.
    const NOUN: &'static str;
}

impl Kind for Backup {
    const NOUN: &'static str = "backup";
}

impl Kind for Restore {
    const NOUN: &'static str = "restore";
}

impl Kind for DeleteBackupRequest {
    const NOUN: &'static str = "delete request";
}

impl Kind for DownloadRequest {
    const NOUN: &'static str = "download request";
}

impl Kind for ServerStatusRequest {
    const NOUN: &'static str = "server status request";
}

impl Kind for Schedule {
    const NOUN: &'static str = "schedule";
}

impl Kind for BackupStorageLocation {
    const NOUN: &'static str = "backup-location";
}

impl Kind for VolumeSnapshotLocation {
    const NOUN: &'static str = "snapshot-location";
}

/// Returns the object of that name.
///
/// # Errors
/// It does not exist; the sentence names the command that lists those that do.
pub(crate) async fn get<K: Kind>(cluster: &Cluster, name: &str) -> anyhow::Result<K> {
    // It becomes a part of a path.
    names::check_resource_name(name, K::NOUN).map_err(anyhow::Error::msg)?;
    let api = cluster.api::<K>();
    let found = patiently(|| api.get_opt(name)).await;
    found
        .map_err(|error| cluster.explain(&error))?
        .ok_or_else(|| missing::<K>(cluster, name))
}

/// Removes a request that has been answered; a server that expires it does no less, so a failure is only mentioned.
pub(crate) async fn remove_request<K: Kind>(cluster: &Cluster, request: &K) {
    let name = request.name_any();
    let api = cluster.api::<K>();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: request.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let why = match tokio::time::timeout(REMOVAL, patiently(|| api.delete(&name, &params))).await {
        Ok(Ok(_)) => return,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return,
        Ok(Err(error)) => cluster.explain(&error).to_string(),
        Err(_) => "the API server does not answer".to_owned(),
    };
    output::note(&format!(
        "The {} {name:?} could not be removed ({why}); the server removes it when it expires.",
        K::NOUN
    ));
}

/// Says that an object does not exist.
pub(crate) fn missing<K: Kind>(cluster: &Cluster, name: &str) -> anyhow::Error {
    anyhow!(
        "{noun} {name:?} does not exist in namespace {:?}; `ark {noun} get` lists those there are",
        cluster.namespace,
        noun = K::NOUN,
    )
}

/// Returns the named objects in the given order, or without names all that match.
///
/// # Errors
/// The first name that does not exist.
pub(crate) async fn find<K: Kind>(
    cluster: &Cluster,
    names: &[String],
    selector: Option<&str>,
) -> anyhow::Result<Vec<K>> {
    if names.is_empty() {
        let mut params = ListParams::default();
        if let Some(selector) = selector {
            params = params.labels(selector);
        }
        let api = cluster.api::<K>();
        let listed = patiently(|| api.list(&params)).await;
        return Ok(listed.map_err(|error| cluster.explain(&error))?.items);
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(get(cluster, name).await?);
    }
    Ok(found)
}

/// Makes an object and returns it as the API server has it.
///
/// # Errors
/// The name is taken, among others.
pub(crate) async fn create<K: Kind>(cluster: &Cluster, object: &K) -> anyhow::Result<K> {
    match post(cluster, object).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => bail!(
            "{noun} {name:?} exists already in namespace {:?}; choose another name, or remove it with \
             `ark {noun} delete {name}`",
            cluster.namespace,
            noun = K::NOUN,
            name = object.name_any(),
        ),
        Err(error) => Err(cluster.explain(&error)),
    }
}

/// Makes the object that `make` names after a time. Where somebody was faster, as a schedule that makes its own backup in
/// the same second, a later second names it.
///
/// # Errors
/// What `make` has to say, or the API server.
pub(crate) async fn create_timestamped<K: Kind>(
    cluster: &Cluster,
    now: Timestamp,
    make: impl Fn(Timestamp) -> anyhow::Result<K>,
) -> anyhow::Result<K> {
    let mut time = now;
    for _ in 0..LATER_SECONDS {
        match post(cluster, &make(time)?).await {
            Ok(created) => return Ok(created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                time = time.saturating_add(Duration::from_secs(1)).unwrap_or(time);
            }
            Err(error) => return Err(cluster.explain(&error)),
        }
    }
    create(cluster, &make(time)?).await
}

async fn post<K: Kind>(cluster: &Cluster, object: &K) -> kube::Result<K> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = cluster.api::<K>();
    patiently(|| api.create(&params, object)).await
}
