//! The custom resources of one kind as the API server last told of them: kept by a watch, read by everybody.
//!
//! Objects arrive unparsed and each is parsed on its own, so that one that cannot be read never hides the others. What
//! is read here may be a moment old; whoever acts on an object reads it again first.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt as _;
use futures::future::select_all;
use jiff::Timestamp;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// The objects of one kind, by name. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Objects<K> {
    state: Arc<RwLock<State<K>>>,
    version: watch::Sender<u64>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version.clone(),
        }
    }
}

#[derive(Debug)]
struct State<K> {
    synced: bool,
    entries: BTreeMap<String, Entry<K>>,
    /// What a listing that goes on has told so far.
    listed: BTreeMap<String, Entry<K>>,
}

/// One object.
#[derive(Debug)]
pub(crate) struct Entry<K> {
    /// Its UID.
    pub(crate) uid: String,
    /// Which of its versions this is.
    pub(crate) resource_version: String,
    /// When it was created.
    pub(crate) created: Option<Timestamp>,
    /// The object, or in one sentence why it cannot be read.
    pub(crate) object: Result<Arc<K>, String>,
}

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        Self {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            created: self.created,
            object: self.object.clone(),
        }
    }
}

/// Waits until one of these receivers is told of a change; for ever if there are none.
pub(crate) async fn any_changed(
    receivers: &mut [watch::Receiver<u64>],
) -> Result<(), watch::error::RecvError> {
    if receivers.is_empty() {
        return std::future::pending().await;
    }
    let changes = receivers
        .iter_mut()
        .map(|receiver| Box::pin(receiver.changed()));
    select_all(changes).await.0
}

/// Reads an object of a known kind.
///
/// # Errors
/// A sentence that says what of it cannot be read.
pub(crate) fn parse<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, String> {
    serde_json::to_value(object)
        .and_then(serde_json::from_value)
        .map_err(|error| {
            format!(
                "this object cannot be read: {error}; correct it, or delete it and create it again"
            )
        })
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            state: Arc::new(RwLock::new(State {
                synced: false,
                entries: BTreeMap::new(),
                listed: BTreeMap::new(),
            })),
            version: watch::Sender::new(0),
        }
    }
}

impl<K: DeserializeOwned + Debug + Send + Sync + 'static> Objects<K> {
    /// Watches for ever; failures are logged and tried again.
    pub(crate) async fn watch(
        self,
        api: Api<DynamicObject>,
        config: watcher::Config,
        kind: &'static str,
    ) -> anyhow::Result<()> {
        let mut events = watcher(api, config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, kind),
                Err(error) => {
                    tracing::warn!(kind, %error, "a watch broke off; it is taken up again");
                }
            }
        }
        anyhow::bail!("the watch of {kind}s has no more events")
    }

    /// Notes what the API server told.
    pub(super) fn take(&self, event: Event<DynamicObject>, kind: &'static str) {
        let mut state = self.write();
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(object) => {
                if let Some((name, entry)) = read(&object, kind) {
                    state.listed.insert(name, entry);
                }
                return;
            }
            Event::InitDone => {
                state.entries = std::mem::take(&mut state.listed);
                state.synced = true;
            }
            Event::Apply(object) => {
                if let Some((name, entry)) = read(&object, kind) {
                    state.entries.insert(name, entry);
                }
            }
            Event::Delete(object) => {
                if let Some(name) = &object.metadata.name {
                    state.entries.remove(name);
                }
            }
        }
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Send + Sync> Objects<K> {
    /// Returns whether everything that is there has been told once.
    pub(crate) fn synced(&self) -> bool {
        self.read().synced
    }

    /// Waits until everything that is there has been told once.
    pub(crate) async fn until_synced(&self) {
        self.until(Self::synced).await;
    }

    /// Returns an object by its name.
    pub(crate) fn get(&self, name: &str) -> Option<Entry<K>> {
        self.read().entries.get(name).cloned()
    }

    /// Returns every object for which `wanted` says so, by name.
    pub(crate) fn select(&self, wanted: impl Fn(&Entry<K>) -> bool) -> Vec<(String, Entry<K>)> {
        self.read()
            .entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect()
    }

    /// Returns a receiver that is told of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until the object with this name and UID is gone; another of its name does not count.
    pub(crate) async fn gone(&self, name: &str, uid: &str) {
        self.until(|objects| {
            objects.synced() && objects.get(name).is_none_or(|entry| entry.uid != uid)
        })
        .await;
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool + Send) {
        let mut changes = self.changes();
        while !condition(self) {
            if changes.changed().await.is_err() {
                // The sender is a part of self.
                std::future::pending::<()>().await;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<K: DeserializeOwned>(
    object: &DynamicObject,
    kind: &'static str,
) -> Option<(String, Entry<K>)> {
    let metadata = &object.metadata;
    let name = metadata.name.clone()?;
    let parsed = parse(object).map(Arc::new);
    if let Err(problem) = &parsed {
        tracing::warn!(kind, name, problem, "skipping an object");
    }
    let entry = Entry {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        object: parsed,
    };
    Some((name, entry))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Backup;

    fn object(name: &str, uid: &str, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1", "kind": "Backup",
            "metadata": {"name": name, "uid": uid, "resourceVersion": "7"},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn one_unreadable_object_hides_no_other() {
        let objects = Objects::<Backup>::default();
        objects.take(Event::Init, "Backup");
        for (name, spec) in [
            ("bad", json!({"includedNamespaces": 5})),
            ("good", json!({})),
        ] {
            objects.take(Event::InitApply(object(name, name, &spec)), "Backup");
        }
        assert!(!objects.synced());
        objects.take(Event::InitDone, "Backup");
        assert!(objects.synced());
        assert!(objects.get("good").unwrap().object.is_ok());
        let problem = objects.get("bad").unwrap().object.unwrap_err();
        assert!(problem.contains("cannot be read"), "{problem}");
    }

    #[test]
    fn a_new_listing_forgets_what_is_no_longer_there() {
        let objects = Objects::<Backup>::default();
        objects.take(Event::Apply(object("old", "1", &json!({}))), "Backup");
        objects.take(Event::Init, "Backup");
        objects.take(Event::InitApply(object("new", "2", &json!({}))), "Backup");
        assert!(
            objects.get("old").is_some(),
            "the old list counts until the new one is whole"
        );
        objects.take(Event::InitDone, "Backup");
        assert!(objects.get("old").is_none() && objects.get("new").is_some());
        objects.take(Event::Delete(object("new", "2", &json!({}))), "Backup");
        assert!(objects.select(|_| true).is_empty());
    }

    #[tokio::test]
    async fn an_object_is_gone_when_another_has_its_name() {
        let objects = Objects::<Backup>::default();
        objects.take(Event::Init, "Backup");
        objects.take(Event::InitApply(object("b", "1", &json!({}))), "Backup");
        objects.take(Event::InitDone, "Backup");
        let waiting = objects.gone("b", "1");
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        objects.take(Event::Apply(object("b", "2", &json!({}))), "Backup");
        waiting.await;
    }
}
