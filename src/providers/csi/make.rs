//! Makes snapshots, and finds those whose making was cut short.
//!
//! A VolumeSnapshot, named from the token, stands in the claim's namespace for as long as the driver takes to begin. Its
//! VolumeSnapshotContent, which belongs to no namespace, is what remains. So that it does, before the VolumeSnapshot is
//! deleted:
//! - its policy becomes Retain. snapshot-controller may not have noticed yet, and then it deletes the content together
//!   with the VolumeSnapshot: csi-snapshotter, which reads the policy from the object that is deleted, leaves the
//!   snapshot alone, but the object would be gone, and with it the only note of the token;
//! - so it gets a finalizer of ours. Only when the VolumeSnapshot is gone, which takes snapshot-controller a while, is it
//!   settled: the finalizer goes, after a content that was deleted after all has been replaced by another one for the
//!   same snapshot. Nobody waits for that with a frozen file system: it is done when the snapshot is looked at.
//!
//! Each step can be taken again from what is there: the token is a label of both objects.

use std::collections::BTreeMap;

use serde_json::json;

use super::Csi;
use super::class::{Wishes, choose};
use super::objects::{
    BEING_DELETED, Content, DELETION_SECRET, EXCLUDED, Handle, KEEP, NewContent, SNAPSHOT_LABEL,
    Snapshot, kept, new_snapshot,
};
use super::progress::{Verdict, Waiting, begun};
use crate::api::names;
use crate::providers::snapshotter::{
    Object, SnapshotError, SnapshotErrorKind, SnapshotId, SnapshotRequest, tags,
};

type Result<T> = std::result::Result<T, SnapshotError>;

/// How the making of a snapshot ended.
#[derive(Debug)]
enum Made {
    /// It is there.
    Snapshot(Handle),
    /// It cannot be made. What there was of it is being removed.
    Not(SnapshotError),
}

/// A snapshot in the making.
#[derive(Debug)]
struct Making {
    namespace: String,
    /// The VolumeSnapshot's name.
    name: String,
    /// The content's name, once it is known.
    content: Option<String>,
    /// What both objects are labelled with.
    labels: BTreeMap<String, String>,
}

impl Making {
    fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// Returns the making that a VolumeSnapshot is part of.
    fn of(snapshot: &Snapshot) -> Self {
        let metadata = &snapshot.metadata;
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            content: None,
            labels: ours(metadata.labels.as_ref()),
        }
    }

    /// Returns the making that a content is part of.
    fn of_content(content: &Content) -> Self {
        let of = &content.spec.volume_snapshot_ref;
        Self {
            namespace: of.namespace.clone(),
            name: of.name.clone(),
            content: content.metadata.name.clone(),
            labels: ours(content.metadata.labels.as_ref()),
        }
    }
}

/// Returns those labels that are ours.
fn ours(labels: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .flatten()
        .filter(|(key, _)| TAGS.contains(&key.as_str()) || key.as_str() == EXCLUDED)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The tags that become labels. Annotations would not last: the controllers write them as a whole, from what they knew.
const TAGS: [&str; 4] = [tags::TOKEN, tags::BACKUP, tags::VOLUME, tags::CLUSTER];

fn not_made(request: &SnapshotRequest<'_>, kind: SnapshotErrorKind, why: &str) -> SnapshotError {
    let volume = &request.handle.id;
    SnapshotError::new(
        kind,
        format!("no snapshot of PersistentVolume {volume} was made: {why}"),
    )
}

/// Returns a selector for what was asked for under a token.
fn selector(token: &str) -> String {
    format!("{}={token}", tags::TOKEN)
}

impl Csi {
    /// Makes a snapshot; one that was asked for under the token before is gone on with.
    pub(super) async fn make(&self, request: &SnapshotRequest<'_>) -> Result<SnapshotId> {
        let fail = |kind, why: &str| not_made(request, kind, why);
        match self.go_on(request.token).await? {
            Some(Made::Snapshot(handle)) => return Ok(handle.id()),
            // Made anew: the token stands for one snapshot, whatever became of the first try.
            Some(Made::Not(_)) | None => {}
        }
        let (namespace, claim) = self.claim_of(request).await?;
        let driver = driver(request.volume.volume).unwrap_or_default();
        let wishes = Wishes {
            claim: request
                .volume
                .claim
                .and_then(|claim| claim.get("metadata")?.get("annotations")?.as_object()),
            backup: Some(request.annotations),
            setting: self.class.as_deref(),
        };
        let classes = self.classes().await?;
        let class = choose(&classes, driver, wishes)
            .map_err(|why| fail(SnapshotErrorKind::Invalid, &why))?;
        let mut labels: BTreeMap<String, String> = TAGS
            .iter()
            .filter_map(|tag| {
                Some((
                    (*tag).to_owned(),
                    names::label_value(request.tags.get(*tag)?),
                ))
            })
            .collect();
        labels.insert(tags::TOKEN.to_owned(), request.token.to_owned());
        labels.insert(EXCLUDED.to_owned(), "true".to_owned());
        let making = Making {
            name: format!("ark-{}", request.token),
            namespace,
            content: None,
            labels,
        };
        let snapshot = new_snapshot(making.key(), &making.labels, &class.name, &claim);
        self.calls
            .create_snapshot(&making.namespace, &snapshot)
            .await?;
        match self.finish(making).await? {
            Made::Snapshot(handle) => Ok(handle.id()),
            Made::Not(error) => Err(fail(error.kind, &error.message)),
        }
    }

    /// Returns namespace and name of the claim, which must still be the volume's.
    async fn claim_of(&self, request: &SnapshotRequest<'_>) -> Result<(String, String)> {
        let gone = |why: String| not_made(request, SnapshotErrorKind::NotFound, &why);
        let text = |object: &Object, key: &str| {
            let value = object.get("metadata")?.get(key)?.as_str()?;
            Some(value.to_owned())
        };
        let (namespace, name) = request
            .volume
            .claim
            .and_then(|claim| Some((text(claim, "namespace")?, text(claim, "name")?)))
            .ok_or_else(|| gone("it has no claim".to_owned()))?;
        // The claim is all that a VolumeSnapshot names, and another one may have the name by now.
        let found = self.calls.claim((&namespace, &name)).await?;
        let bound = found
            .as_ref()
            .and_then(|claim| claim.spec.as_ref()?.volume_name.as_deref());
        if bound == Some(request.handle.id.0.as_str()) {
            return Ok((namespace, name));
        }
        Err(gone(match found {
            None => format!("PersistentVolumeClaim {namespace}/{name} is gone"),
            Some(_) => format!("PersistentVolumeClaim {namespace}/{name} is no longer bound to it"),
        }))
    }

    /// Returns the snapshots that were asked for under a token.
    pub(super) async fn find(&self, token: &str) -> Result<Vec<SnapshotId>> {
        match self.go_on(token).await? {
            Some(Made::Snapshot(handle)) => Ok(vec![handle.id()]),
            Some(Made::Not(error)) => {
                tracing::warn!(token, %error, "a snapshot whose making was cut short cannot be made");
                Ok(Vec::new())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Goes on with what was asked for under a token; `None` if nothing was.
    async fn go_on(&self, token: &str) -> Result<Option<Made>> {
        let selector = selector(token);
        let mut last = None;
        for snapshot in self.calls.labelled_snapshots(&selector).await? {
            last = Some(self.finish(Making::of(&snapshot)).await?);
        }
        for content in self.calls.labelled_contents(&selector).await? {
            let made = match Handle::of(&content) {
                _ if ends(&content) => continue,
                Some(handle) if is_kept(&content) => Made::Snapshot(handle),
                Some(_) | None => self.finish(Making::of_content(&content)).await?,
            };
            if !matches!(last, Some(Made::Snapshot(_))) {
                last = Some(made);
            }
        }
        Ok(last)
    }

    /// Waits until a snapshot has begun, and has its content stay.
    async fn finish(&self, mut making: Making) -> Result<Made> {
        let mut waiting = Waiting::new(self.timing);
        let content = loop {
            let snapshot = self.calls.snapshot(making.key()).await?;
            if let Some(name) = snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.status.as_ref())
                .and_then(|status| status.bound_volume_snapshot_content_name.clone())
            {
                making.content = Some(name);
            }
            let content = match &making.content {
                Some(name) => self.calls.content(name).await?,
                None => None,
            };
            if let Some(content) = &content {
                self.label(content, &making).await?;
            }
            match (
                waiting.look(&begun(snapshot.as_ref(), content.as_ref())),
                content,
            ) {
                (Verdict::Done, Some(content)) => break content,
                (Verdict::GiveUp(kind, why), content) => {
                    self.give_up(&making, content.as_ref()).await?;
                    return Ok(Made::Not(SnapshotError::new(kind, why)));
                }
                (Verdict::Wait | Verdict::Done, content) => {
                    self.pause(&waiting, content.as_ref()).await;
                }
            }
        };
        self.keep(&making, &content).await.map(Made::Snapshot)
    }

    /// Has a content carry the token as soon as it is there.
    async fn label(&self, content: &Content, making: &Making) -> Result<()> {
        let name = content.metadata.name.as_deref().unwrap_or_default();
        if ours(content.metadata.labels.as_ref()) == making.labels {
            return Ok(());
        }
        let patch = json!({ "metadata": { "labels": making.labels } });
        self.calls.merge_content(name, &patch).await.map(drop)
    }

    /// Has a content stay, and the VolumeSnapshot go.
    async fn keep(&self, making: &Making, content: &Content) -> Result<Handle> {
        let (Some(handle), Some(name), Some(uid)) = (
            Handle::of(content),
            content.metadata.name.as_deref(),
            content.metadata.uid.as_deref(),
        ) else {
            let message = "the API server gave a VolumeSnapshotContent without handle, name or UID";
            return Err(SnapshotError::new(SnapshotErrorKind::Other, message));
        };
        // What is being deleted takes no more finalizers. Then it has ours, or is soon replaced.
        if content.metadata.deletion_timestamp.is_none() {
            let mut labels = making.labels.clone();
            labels.insert(SNAPSHOT_LABEL.to_owned(), handle.label());
            let held = kept(name, uid, &labels, true);
            self.calls.apply_content(name, &held).await?;
        }
        self.calls.delete_snapshot(making.key()).await?;
        Ok(handle)
    }

    /// Lets go of a kept content whose VolumeSnapshot is gone; returns whether it is.
    pub(super) async fn settle(&self, content: &Content) -> Result<bool> {
        let making = Making::of_content(content);
        if let Some(snapshot) = self.calls.snapshot(making.key()).await? {
            if snapshot.metadata.deletion_timestamp.is_none() {
                self.calls.delete_snapshot(making.key()).await?;
            }
            return Ok(false);
        }
        let (Some(handle), Some(name), Some(uid)) = (
            Handle::of(content),
            content.metadata.name.as_deref(),
            content.metadata.uid.as_deref(),
        ) else {
            return Ok(false);
        };
        let mut labels = making.labels.clone();
        labels.insert(SNAPSHOT_LABEL.to_owned(), handle.label());
        // Looked at after the VolumeSnapshot: with that gone, nobody deletes it any more.
        let now = self.calls.content(name).await?;
        if now.is_none_or(|now| now.metadata.deletion_timestamp.is_some()) {
            self.replace(&making, content, &handle, &labels).await?;
        }
        let released = kept(name, uid, &labels, false);
        self.calls.apply_content(name, &released).await?;
        Ok(true)
    }

    /// Waits until a VolumeSnapshot is gone; returns whether it is.
    pub(super) async fn without_snapshot(&self, key: (&str, &str)) -> Result<bool> {
        let waiting = Waiting::new(self.timing);
        while self.calls.snapshot(key).await?.is_some() {
            if waiting.has_removed() {
                return Ok(false);
            }
            waiting.pause().await;
        }
        Ok(true)
    }

    /// Makes another content for the snapshot of one that is being deleted.
    async fn replace(
        &self,
        making: &Making,
        content: &Content,
        handle: &Handle,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        let annotations = content.metadata.annotations.iter().flatten();
        let annotations = annotations
            .filter(|(key, _)| DELETION_SECRET.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let new = NewContent {
            name: &making.name,
            labels,
            annotations: &annotations,
            handle,
            class: content.spec.volume_snapshot_class_name.as_deref(),
            of: making.key(),
        };
        self.calls.create_content(&new.object()).await
    }

    /// Removes what there is of a snapshot that cannot be made.
    ///
    /// Where the driver has not answered, the objects stay until it has, and csi-snapshotter removes what it made.
    async fn give_up(&self, making: &Making, content: Option<&Content>) -> Result<()> {
        let name = content.and_then(|content| content.metadata.name.as_deref());
        if let Some(name) = name {
            // The class may say that snapshots outlive their objects.
            let patch = json!({
                "metadata": { "annotations": { BEING_DELETED: "yes" } },
                "spec": { "deletionPolicy": "Delete" },
            });
            self.calls.merge_content(name, &patch).await?;
        }
        self.calls.delete_snapshot(making.key()).await?;
        if let Some(name) = name {
            self.calls.delete_content(name).await?;
        }
        if !self.without_snapshot(making.key()).await? {
            let (namespace, snapshot) = making.key();
            tracing::warn!(
                namespace,
                snapshot,
                "a VolumeSnapshot that failed is being deleted, but is still there"
            );
        }
        Ok(())
    }
}

/// Returns whether a content is on its way out, with its snapshot.
fn ends(content: &Content) -> bool {
    content.metadata.deletion_timestamp.is_some() && content.spec.deletion_policy == "Delete"
}

/// Returns whether a content stays when its VolumeSnapshot goes: [`Csi::keep`] has been there.
fn is_kept(content: &Content) -> bool {
    let labels = content.metadata.labels.as_ref();
    content.metadata.deletion_timestamp.is_none()
        && content.spec.deletion_policy == "Retain"
        && labels.is_some_and(|labels| labels.contains_key(SNAPSHOT_LABEL))
}

/// Returns whether a content has our finalizer: its VolumeSnapshot may still be there.
pub(super) fn is_held(content: &Content) -> bool {
    let finalizers = content.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|finalizer| finalizer == KEEP)
}

/// Returns an object's name.
pub(super) fn name(object: &Object) -> Option<&str> {
    object.get("metadata")?.get("name")?.as_str()
}

/// Returns the driver of a CSI volume.
pub(super) fn driver(volume: &Object) -> Option<&str> {
    volume.get("spec")?.get("csi")?.get("driver")?.as_str()
}
