//! Removes snapshots.
//!
//! It is csi-snapshotter that does, at the end of a content with the policy Delete. It acts only if the content has its
//! finalizer, an annotation that the VolumeSnapshot's end was seen, and the handle in its status: all of it is written
//! here, wherever the content comes from. A cluster that has none, since another one made the snapshot or somebody
//! removed it, gets one for the purpose.

use serde_json::{Value, json};

use super::Csi;
use super::class::{Wishes, choose};
use super::objects::{
    BEING_CREATED, BEING_DELETED, Content, Handle, NewContent, SNAPSHOT_LABEL, SOURCE_LABEL, ending,
};
use super::progress::Waiting;
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind, SnapshotId};

type Result<T> = std::result::Result<T, SnapshotError>;

impl Csi {
    /// Removes a snapshot, the contents that stand for it, and what was offered of it.
    pub(super) async fn remove(&self, id: &SnapshotId) -> Result<()> {
        let handle = Handle::parse(id)?;
        let selector = format!("{SNAPSHOT_LABEL}={}", handle.label());
        let found = self.calls.labelled_contents(&selector).await?;
        let found = found
            .into_iter()
            .filter(|one| Handle::of(one).as_ref() == Some(&handle));
        let (offered, own): (Vec<Content>, Vec<Content>) = found.partition(is_source);
        for content in &offered {
            let of = &content.spec.volume_snapshot_ref;
            self.remove_source((&of.namespace, &of.name), name(content))
                .await?;
        }
        let mut last = None;
        for content in own {
            // One removes the snapshot, others just go, and before it: they must not outlive it.
            if last.is_none() && is_usable(&content) {
                last = Some(content);
            } else {
                self.forget(name(&content)).await?;
            }
        }
        let content = match last {
            Some(content) => content,
            None => self.stand_in(&handle).await?,
        };
        self.end(&content, &handle).await
    }

    /// Makes a content for a snapshot that this cluster has none of, and waits until csi-snapshotter has seen it: from
    /// then on it leaves what it does not know in the status.
    async fn stand_in(&self, handle: &Handle) -> Result<Content> {
        let name = format!("ark-delete-{}", handle.label());
        let labels = [(SNAPSHOT_LABEL.to_owned(), handle.label())].into();
        let fail = |kind, why: &str| {
            let message = format!("CSI snapshot {} cannot be deleted: {why}", handle.id());
            SnapshotError::new(kind, message)
        };
        let classes = self.known_driver(&handle.driver).await?;
        let class = choose(&classes, &handle.driver, Wishes::default()).ok();
        // Required, though there is none of it and will be none.
        let of = ("default", name.as_str());
        let annotations = class
            .map(|class| class.secret(&name, of))
            .unwrap_or_default();
        let new = NewContent {
            name: &name,
            labels: &labels,
            annotations: &annotations,
            handle,
            class: class.map(|class| class.name.as_str()),
            of,
        };
        self.calls.create_content(&new.object()).await?;
        let waiting = Waiting::new(self.timing);
        loop {
            match self.calls.content(&name).await? {
                Some(content) if content.status.is_some() => return Ok(content),
                // Somebody else was faster.
                None => return Err(fail(SnapshotErrorKind::NotReady, "it is being deleted")),
                Some(_) if waiting.is_unnoticed() => {
                    self.forget(&name).await?;
                    return Err(fail(
                        SnapshotErrorKind::Unreachable,
                        &format!(
                            "csi-snapshotter of driver {} takes no notice of it; does it run?",
                            handle.driver
                        ),
                    ));
                }
                Some(_) => waiting.pause().await,
            }
        }
    }

    /// Deletes a content and its snapshot.
    async fn end(&self, content: &Content, handle: &Handle) -> Result<()> {
        let name = name(content);
        // No answer is outstanding: the driver has given the snapshot its handle.
        let patch = json!({
            "metadata": { "annotations": { BEING_DELETED: "yes", BEING_CREATED: Value::Null } },
        });
        self.calls.merge_content(name, &patch).await?;
        if content.metadata.deletion_timestamp.is_none() {
            let status = content.status.as_ref();
            if status.is_none_or(|status| status.snapshot_handle.is_none()) {
                let patch = json!({ "status": { "snapshotHandle": handle.snapshot } });
                self.calls.merge_content_status(name, &patch).await?;
            }
            let uid = content.metadata.uid.as_deref().unwrap_or_default();
            let labels = content.metadata.labels.clone().unwrap_or_default();
            let ending = ending(name, uid, &labels);
            self.calls.apply_content(name, &ending).await?;
            self.calls.delete_content(name).await?;
        }
        let waiting = Waiting::new(self.timing);
        while self.calls.content(name).await?.is_some() {
            if waiting.has_removed() {
                return Err(SnapshotError::new(
                    SnapshotErrorKind::Other,
                    format!(
                        "CSI snapshot {} is not deleted yet: driver {} has not done so; the events of \
                         VolumeSnapshotContent {name} and the log of csi-snapshotter may say why",
                        handle.id(),
                        handle.driver
                    ),
                ));
            }
            waiting.pause().await;
        }
        Ok(())
    }

    /// Deletes a content, and leaves its snapshot alone.
    pub(super) async fn forget(&self, name: &str) -> Result<()> {
        let patch = json!({ "spec": { "deletionPolicy": "Retain" } });
        if self.calls.merge_content(name, &patch).await?.is_none() {
            return Ok(());
        }
        self.calls.delete_content(name).await?;
        // There is nothing left to protect, and whoever should say so may not run.
        let patch = json!({ "metadata": { "finalizers": [] } });
        self.calls.merge_content(name, &patch).await.map(drop)
    }
}

/// Returns whether a content is the source of a claim's data.
fn is_source(content: &Content) -> bool {
    let labels = content.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(SOURCE_LABEL))
}

/// Returns whether a content's end can still be that of its snapshot.
fn is_usable(content: &Content) -> bool {
    content.metadata.deletion_timestamp.is_none() || content.spec.deletion_policy == "Delete"
}

fn name(content: &Content) -> &str {
    content.metadata.name.as_deref().unwrap_or_default()
}
