//! Reading and making Ark's objects through the API server, with answers a user can act on.

use std::fmt::Debug;

use anyhow::{anyhow, bail};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ListParams, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Cluster, patiently};
use crate::api::{Backup, DeleteBackupRequest, FIELD_MANAGER, Restore};

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

/// Returns the object of that name.
///
/// # Errors
/// It does not exist; the sentence names the command that lists those that do.
pub(crate) async fn get<K: Kind>(cluster: &Cluster, name: &str) -> anyhow::Result<K> {
    let api = cluster.api::<K>();
    let found = patiently(|| api.get_opt(name)).await;
    found
        .map_err(|error| cluster.explain(&error))?
        .ok_or_else(|| missing::<K>(cluster, name))
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
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = cluster.api::<K>();
    match patiently(|| api.create(&params, object)).await {
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
