//! Waiting until one object says something.

use std::pin::pin;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::StreamExt as _;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};

use super::context::Cluster;
use super::objects::Kind;

/// How long one watch lasts: shorter than the silence the connection tolerates.
const WATCH_SECONDS: u32 = 20;
/// How long to wait after a lost connection.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Watches the object that `known` was until `look` returns something of it. A later object of the same name is not
/// taken for it. There is no limit of time; the caller has one.
///
/// # Errors
/// The object is deleted, or may not be watched.
pub(crate) async fn until<K: Kind, T>(
    cluster: &Cluster,
    known: &K,
    mut look: impl FnMut(&K) -> Option<T>,
) -> anyhow::Result<T> {
    let noun = K::NOUN;
    let name = known.name_any();
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(watcher::watcher(cluster.api::<K>(), config));
    let mut listed = false;
    let gone = || anyhow!("{noun} {name:?} has been deleted meanwhile; try again");
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(Event::Init) => {
                listed = false;
                continue;
            }
            Ok(Event::InitDone) if listed => continue,
            Ok(Event::InitDone | Event::Delete(_)) => bail!(gone()),
            Ok(Event::InitApply(object) | Event::Apply(object)) => object,
            Err(
                watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause),
            ) if will_not_heal(&cause) => return Err(cluster.explain(&cause)),
            Err(_) => {
                // The watcher sends its next request when it is asked for the next event.
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        listed = true;
        if object.uid() != known.uid() {
            bail!(gone());
        }
        if let Some(seen) = look(&object) {
            return Ok(seen);
        }
    }
    bail!("the watch of {noun} {name:?} has ended; try again")
}

/// Returns whether trying again is of no use.
fn will_not_heal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}
