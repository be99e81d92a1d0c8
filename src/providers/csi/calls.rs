//! Requests to the API server: a short outage is bridged, what is there or gone already is fine, and errors say what was
//! tried.

use std::fmt;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::class::Class;
use super::objects::{self, Content, Snapshot};
use crate::api::FIELD_MANAGER;
use crate::api::error::chain;
use crate::providers::patience::Patience;
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind};

type Result<T> = std::result::Result<T, SnapshotError>;

/// One cluster.
#[derive(Clone)]
pub(super) struct Calls {
    client: kube::Client,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Calls {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    fn snapshots(&self, namespace: &str) -> Api<Snapshot> {
        Api::namespaced_with(self.client.clone(), namespace, &objects::snapshots())
    }

    fn contents(&self) -> Api<Content> {
        Api::all_with(self.client.clone(), &objects::contents())
    }

    /// Returns all classes; `None` if the cluster has no such type.
    pub(super) async fn classes(&self) -> Result<Option<Vec<Class>>> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &objects::classes());
        let params = ListParams::default();
        let found = patiently("list VolumeSnapshotClasses", || api.list(&params)).await;
        let found = absent_is_none(found)?;
        Ok(found.map(|list| list.items.iter().map(Class::of).collect()))
    }

    /// Returns the VolumeSnapshots with a label, of all namespaces.
    pub(super) async fn labelled_snapshots(&self, label: &str) -> Result<Vec<Snapshot>> {
        let api: Api<Snapshot> = Api::all_with(self.client.clone(), &objects::snapshots());
        list(&api, "list VolumeSnapshots", label).await
    }

    /// Returns the VolumeSnapshotContents with a label.
    pub(super) async fn labelled_contents(&self, label: &str) -> Result<Vec<Content>> {
        list(&self.contents(), "list VolumeSnapshotContents", label).await
    }

    pub(super) async fn snapshot(
        &self,
        (namespace, name): (&str, &str),
    ) -> Result<Option<Snapshot>> {
        let what = format!("get VolumeSnapshot {namespace}/{name}");
        let api = self.snapshots(namespace);
        Ok(patiently(&what, || api.get_opt(name)).await?)
    }

    pub(super) async fn content(&self, name: &str) -> Result<Option<Content>> {
        let what = format!("get VolumeSnapshotContent {name}");
        let api = self.contents();
        Ok(patiently(&what, || api.get_opt(name)).await?)
    }

    pub(super) async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>> {
        let what = format!("get PersistentVolume {name}");
        let api = Api::all(self.client.clone());
        Ok(patiently(&what, || api.get_opt(name)).await?)
    }

    pub(super) async fn claim(
        &self,
        (namespace, name): (&str, &str),
    ) -> Result<Option<PersistentVolumeClaim>> {
        let what = format!("get PersistentVolumeClaim {namespace}/{name}");
        let api = Api::namespaced(self.client.clone(), namespace);
        Ok(patiently(&what, || api.get_opt(name)).await?)
    }

    pub(super) async fn claims(&self, namespace: &str) -> Result<Vec<PersistentVolumeClaim>> {
        let what = format!("list PersistentVolumeClaims of namespace {namespace}");
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default();
        Ok(patiently(&what, || api.list(&params)).await?.items)
    }

    /// Returns whether the cluster knows a CSI driver by this name.
    pub(super) async fn has_driver(&self, name: &str) -> Result<bool> {
        let what = format!("get CSIDriver {name}");
        let api: Api<CSIDriver> = Api::all(self.client.clone());
        Ok(patiently(&what, || api.get_metadata_opt(name))
            .await?
            .is_some())
    }

    /// Makes a VolumeSnapshot, unless its name is taken.
    pub(super) async fn create_snapshot(&self, namespace: &str, snapshot: &Value) -> Result<()> {
        let name = snapshot["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("create VolumeSnapshot {namespace}/{name}");
        let api = Api::namespaced_with(self.client.clone(), namespace, &objects::snapshots());
        create(&api, &what, snapshot).await
    }

    /// Makes a VolumeSnapshotContent, unless its name is taken.
    pub(super) async fn create_content(&self, content: &Value) -> Result<()> {
        let name = content["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("create VolumeSnapshotContent {name}");
        let api = Api::all_with(self.client.clone(), &objects::contents());
        create(&api, &what, content).await
    }

    /// Changes what a patch names of a content; `None` if that is gone.
    pub(super) async fn merge_content(&self, name: &str, patch: &Value) -> Result<Option<Content>> {
        let what = format!("patch VolumeSnapshotContent {name}");
        let (api, params, patch) = (self.contents(), merging(), Patch::Merge(patch));
        absent_is_none(patiently(&what, || api.patch(name, &params, &patch)).await)
    }

    /// The same of its status.
    pub(super) async fn merge_content_status(&self, name: &str, patch: &Value) -> Result<()> {
        let what = format!("patch the status of VolumeSnapshotContent {name}");
        let (api, params, patch) = (self.contents(), merging(), Patch::Merge(patch));
        absent_is_none(patiently(&what, || api.patch_status(name, &params, &patch)).await).map(drop)
    }

    /// Has a content hold what is ours of it, and nothing else that was ours before; `None` if that is gone.
    pub(super) async fn apply_content(
        &self,
        name: &str,
        object: &Value,
    ) -> Result<Option<Content>> {
        let what = format!("patch VolumeSnapshotContent {name}");
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let (api, patch) = (self.contents(), Patch::Apply(object));
        match patiently(&what, || api.patch(name, &params, &patch)).await {
            // The UID in it: the content of this name is another, or would be made anew.
            Err(Refusal { code: 409, .. }) => Ok(None),
            other => absent_is_none(other),
        }
    }

    /// Deletes a VolumeSnapshot, if it is there; it may take a while to go.
    pub(super) async fn delete_snapshot(&self, (namespace, name): (&str, &str)) -> Result<()> {
        let what = format!("delete VolumeSnapshot {namespace}/{name}");
        let (api, params) = (self.snapshots(namespace), DeleteParams::default());
        absent_is_none(patiently(&what, || api.delete(name, &params)).await).map(drop)
    }

    /// Deletes a VolumeSnapshotContent, if it is there; it may take a while to go.
    pub(super) async fn delete_content(&self, name: &str) -> Result<()> {
        let what = format!("delete VolumeSnapshotContent {name}");
        let (api, params) = (self.contents(), DeleteParams::default());
        absent_is_none(patiently(&what, || api.delete(name, &params)).await).map(drop)
    }
}

async fn list<K>(api: &Api<K>, what: &str, label: &str) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + fmt::Debug,
{
    let params = ListParams::default().labels(label);
    let found = absent_is_none(patiently(what, || api.list(&params)).await)?;
    // Without the type there is none of it.
    Ok(found.map(|list| list.items).unwrap_or_default())
}

/// Makes an object; one of its name that is there is as good, since names are made of tokens here.
async fn create(api: &Api<DynamicObject>, what: &str, object: &Value) -> Result<()> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| {
        SnapshotError::new(SnapshotErrorKind::Other, format!("cannot {what}")).with_source(error)
    })?;
    match patiently(what, || api.create(&params, &object)).await {
        Ok(_) | Err(Refusal { code: 409, .. }) => Ok(()),
        Err(refusal) => Err(refusal.error),
    }
}

fn merging() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// A request that was not carried out.
#[derive(Debug)]
struct Refusal {
    /// The answer's status; 0 without an answer.
    code: u16,
    error: SnapshotError,
}

impl From<Refusal> for SnapshotError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

impl Refusal {
    fn of(what: &str, error: &kube::Error) -> Self {
        let (code, text) = match error {
            kube::Error::Api(status) => (status.code, status.message.clone()),
            other => (0, chain(other)),
        };
        Self {
            code,
            error: SnapshotError::new(kind(code, &text), format!("cannot {what}: {text}")),
        }
    }
}

fn kind(code: u16, message: &str) -> SnapshotErrorKind {
    match code {
        404 => SnapshotErrorKind::NotFound,
        403 if message.contains("exceeded quota") => SnapshotErrorKind::Quota,
        401 | 403 => SnapshotErrorKind::Denied,
        429 => SnapshotErrorKind::Throttled,
        0 | 500.. => SnapshotErrorKind::Unreachable,
        _ => SnapshotErrorKind::Other,
    }
}

fn absent_is_none<T>(result: std::result::Result<T, Refusal>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Refusal { code: 404, .. }) => Ok(None),
        Err(refusal) => Err(refusal.error),
    }
}

/// Sends a request, again for a while where it may help. Every request here may be repeated.
async fn patiently<T, F>(what: &str, request: impl Fn() -> F) -> std::result::Result<T, Refusal>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut patience = Patience::new();
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let may_pass = match &error {
            kube::Error::Api(status) => status.code == 429 || status.code >= 500,
            kube::Error::SerdeError(_) => false,
            _ => true,
        };
        if !(may_pass && patience.wait().await) {
            return Err(Refusal::of(what, &error));
        }
    }
}
