//! Offers snapshots as sources of data: a content that names the snapshot, and a VolumeSnapshot bound to it in the
//! namespace of the claim. Both go with [`Csi::remove_source`], or with the snapshot.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::Csi;
use super::class::{Class, Wishes, choose};
use super::objects::{
    EXCLUDED, GROUP, Handle, NewContent, SNAPSHOT, SNAPSHOT_LABEL, SOURCE_LABEL, bound_snapshot,
};
use super::progress::{Verdict, Waiting, ready};
use crate::api::names;
use crate::providers::snapshotter::{
    DataSource, SnapshotError, SnapshotErrorKind, SourceRequest, tags,
};

type Result<T> = std::result::Result<T, SnapshotError>;

/// Returns the name of the objects of a source: it is the same for the same request, and nobody else's.
fn name_of(request: &SourceRequest<'_>) -> String {
    let text = format!("{}/{}", request.token, request.namespace);
    format!("ark-{}", names::sha256_hex(text.as_bytes()))
}

impl Csi {
    /// Makes a source of data, and waits until a volume can be made of it.
    pub(super) async fn make_source(&self, request: &SourceRequest<'_>) -> Result<DataSource> {
        let handle = Handle::parse(request.snapshot)?;
        let name = name_of(request);
        let key = (request.namespace, name.as_str());
        let fail = |kind, why: &str| {
            let (namespace, id) = (request.namespace, request.snapshot);
            let message =
                format!("CSI snapshot {id} cannot be used in namespace {namespace}: {why}");
            SnapshotError::new(kind, message)
        };
        let classes = self.known_driver(&handle.driver).await?;
        let class = choose(&classes, &handle.driver, Wishes::default()).ok();
        let mut labels = request.labels.clone();
        // By it, what a backup made is found.
        labels.remove(tags::TOKEN);
        labels.insert(SNAPSHOT_LABEL.to_owned(), handle.label());
        labels.insert(SOURCE_LABEL.to_owned(), "true".to_owned());
        labels.insert(EXCLUDED.to_owned(), "true".to_owned());
        let annotations = class
            .map(|class| class.secret(&name, key))
            .unwrap_or_default();
        let class = class.map(|class| class.name.as_str());
        let content = NewContent {
            name: &name,
            labels: &labels,
            annotations: &annotations,
            handle: &handle,
            class,
            of: key,
        };
        self.calls.create_content(&content.object()).await?;
        let snapshot = bound_snapshot(key, &labels, class);
        self.calls
            .create_snapshot(request.namespace, &snapshot)
            .await?;

        let mut waiting = Waiting::new(self.timing);
        loop {
            let snapshot = self.calls.snapshot(key).await?;
            let content = self.calls.content(&name).await?;
            // The name is the token's: what is found under it is of another snapshot only if the token is, too.
            if content
                .as_ref()
                .and_then(Handle::of)
                .is_some_and(|found| found != handle)
            {
                let why = "its token has been used for another snapshot";
                return Err(fail(SnapshotErrorKind::Invalid, why));
            }
            match waiting.look(&ready(snapshot.as_ref(), content.as_ref())) {
                Verdict::Done => break,
                Verdict::Wait => self.pause(&waiting, content.as_ref()).await,
                Verdict::GiveUp(kind, why) => {
                    self.remove_source(key, &name).await?;
                    return Err(fail(kind, &why));
                }
            }
        }
        Ok(DataSource {
            api_group: GROUP.to_owned(),
            kind: SNAPSHOT.to_owned(),
            name,
        })
    }

    /// Removes the source that a request made.
    pub(super) async fn withdraw_source(&self, request: &SourceRequest<'_>) -> Result<()> {
        let name = name_of(request);
        self.remove_source((request.namespace, &name), &name).await
    }

    /// Removes a source of data; the snapshot stays.
    ///
    /// # Errors
    /// [`SnapshotErrorKind::NotReady`] while a claim waits for its data.
    pub(super) async fn remove_source(&self, key: (&str, &str), content: &str) -> Result<()> {
        let (namespace, name) = key;
        let fail = |why: String| {
            let message = format!("VolumeSnapshot {namespace}/{name} cannot be removed: {why}");
            SnapshotError::new(SnapshotErrorKind::NotReady, message)
        };
        if self.calls.snapshot(key).await?.is_some() {
            let claims = self.calls.claims(namespace).await?;
            // csi-provisioner makes no volume of a VolumeSnapshot that is being deleted.
            let waits = claims.iter().find(|claim| waits_for(claim, name));
            if let Some(claim) = waits.and_then(|claim| claim.metadata.name.as_deref()) {
                return Err(fail(format!(
                    "PersistentVolumeClaim {namespace}/{claim} waits for its data"
                )));
            }
            self.calls.delete_snapshot(key).await?;
            if !self.without_snapshot(key).await? {
                return Err(fail(
                    "it is being deleted, but is still there; does snapshot-controller run?"
                        .to_owned(),
                ));
            }
        }
        self.forget(content).await
    }

    /// Returns the classes, if this cluster has the driver.
    pub(super) async fn known_driver(&self, driver: &str) -> Result<Arc<[Class]>> {
        let classes = self.classes().await?;
        if classes.iter().any(|class| class.driver == driver)
            || self.calls.has_driver(driver).await?
        {
            return Ok(classes);
        }
        Err(SnapshotError::new(
            SnapshotErrorKind::NotSupported,
            format!(
                "this cluster has no CSI driver {driver} (neither a CSIDriver nor a VolumeSnapshotClass); install it, \
                 or do this in a cluster that has it"
            ),
        ))
    }
}

/// Returns whether a claim's volume is yet to be made of a VolumeSnapshot of its namespace.
fn waits_for(claim: &PersistentVolumeClaim, snapshot: &str) -> bool {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let source = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.data_source.as_ref());
    phase == Some("Pending")
        && source.is_some_and(|source| source.kind == SNAPSHOT && source.name == snapshot)
}
