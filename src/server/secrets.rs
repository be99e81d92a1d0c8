//! The Secrets of the server's namespace that locations take their credentials from: read when they are needed, and
//! watched by their metadata alone, so that a new password counts at once and none is kept.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;

use crate::api::SecretKey;
use crate::api::error::chain;

/// The version of each Secret, by its name.
pub(crate) type Versions = BTreeMap<String, String>;

/// Reads a key of a Secret.
///
/// # Errors
/// A sentence that names the Secret and says what to do.
pub(crate) async fn read(api: &Api<Secret>, wanted: &SecretKey) -> Result<Vec<u8>, String> {
    let SecretKey { name, key } = wanted;
    let found = api.get_opt(name).await.map_err(|error| {
        format!(
            "the Secret {name} with the location's credentials cannot be read: {}",
            chain(&error)
        )
    })?;
    let Some(secret) = found else {
        return Err(format!(
            "the Secret {name} that the location's credential names does not exist; create it with the key {key:?}"
        ));
    };
    let data = secret.data.and_then(|mut data| data.remove(key));
    data.map(|bytes| bytes.0).ok_or_else(|| {
        format!("the Secret {name} that the location's credential names has no key {key:?}; add it")
    })
}

/// Follows the versions of all Secrets for ever.
pub(crate) async fn watch(
    api: Api<PartialObjectMeta<Secret>>,
    versions: watch::Sender<Versions>,
) -> anyhow::Result<()> {
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut listed = Versions::new();
    while let Some(event) = events.next().await {
        let (object, gone) = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                if let (Some(name), Some(version)) =
                    (object.metadata.name, object.metadata.resource_version)
                {
                    listed.insert(name, version);
                }
                continue;
            }
            Ok(Event::InitDone) => {
                versions.send_replace(std::mem::take(&mut listed));
                continue;
            }
            Ok(Event::Apply(object)) => (object, false),
            Ok(Event::Delete(object)) => (object, true),
            Err(error) => {
                // Without this watch a changed Secret counts at the location's next check.
                tracing::debug!(%error, "the watch of Secrets broke off; it is taken up again");
                continue;
            }
        };
        let Some(name) = object.metadata.name else {
            continue;
        };
        versions.send_modify(|versions| {
            if gone {
                versions.remove(&name);
            } else {
                versions.insert(name, object.metadata.resource_version.unwrap_or_default());
            }
        });
    }
    anyhow::bail!("the watch of Secrets has no more events")
}
