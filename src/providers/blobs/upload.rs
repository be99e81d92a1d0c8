//! Uploads with bounded memory that clean up after themselves.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutMode, PutPayloadMut};
use tokio::task::JoinSet;

use super::Blobs;
use crate::providers::store::{StoreError, Upload};

/// The size of an upload's parts: the least that S3 accepts. Its most, 10,000 parts, is 50 GB of compressed objects.
const PART_SIZE: usize = 5 * 1024 * 1024;
/// How many parts of an upload are on their way at once. With the one being filled, an upload holds at most three.
const PARTS_IN_FLIGHT: usize = 2;
/// How a part is put together in memory.
const BLOCK_SIZE: usize = 256 * 1024;

/// An upload: one small write if it stays below a part's size, else in parts.
pub(super) struct BlobUpload {
    blobs: Blobs,
    key: String,
    path: Path,
    filling: PutPayloadMut,
    sending: Option<Sending>,
}

/// The parts of an upload that the store has been given.
struct Sending {
    upload: Box<dyn MultipartUpload>,
    parts: JoinSet<Result<(), object_store::Error>>,
}

impl fmt::Debug for BlobUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobUpload")
            .field("key", &self.key)
            .field("place", &self.blobs.place)
            .finish_non_exhaustive()
    }
}

fn new_part() -> PutPayloadMut {
    PutPayloadMut::new().with_block_size(BLOCK_SIZE)
}

impl Sending {
    /// Waits until fewer than `limit` parts are on their way.
    async fn wait_below(&mut self, limit: usize) -> Result<(), object_store::Error> {
        while self.parts.len() >= limit {
            match self.parts.join_next().await {
                Some(Ok(sent)) => sent?,
                Some(Err(source)) => return Err(object_store::Error::JoinError { source }),
                None => break,
            }
        }
        Ok(())
    }

    async fn abort(mut self) -> Result<(), object_store::Error> {
        // First the parts: one that arrives after the abort would stay.
        self.parts.shutdown().await;
        self.upload.abort().await
    }
}

impl BlobUpload {
    /// Begins an upload to `path`, which stands for `key`.
    pub(super) fn new(blobs: Blobs, key: &str, path: Path) -> Self {
        Self {
            blobs,
            key: key.to_owned(),
            path,
            filling: new_part(),
            sending: None,
        }
    }

    fn failed(&self, error: &object_store::Error) -> StoreError {
        self.blobs.failed(&format!("write {}", self.key), error)
    }

    /// Sends what has been filled as a part, once there is room for one.
    async fn send_part(&mut self) -> Result<(), StoreError> {
        let part = std::mem::replace(&mut self.filling, new_part()).freeze();
        let sent = async {
            if self.sending.is_none() {
                self.sending = Some(Sending {
                    upload: self.blobs.inner.put_multipart(&self.path).await?,
                    parts: JoinSet::new(),
                });
            }
            if let Some(sending) = &mut self.sending {
                sending.wait_below(PARTS_IN_FLIGHT).await?;
                let part = sending.upload.put_part(part);
                sending.parts.spawn(part);
            }
            Ok(())
        };
        let sent = sent.await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        if self.filling.content_length() > 0 {
            self.send_part().await?;
        }
        let completed = match &mut self.sending {
            Some(sending) => match sending.wait_below(1).await {
                Ok(()) => sending.upload.complete().await.map(drop),
                Err(error) => Err(error),
            },
            None => Ok(()),
        };
        completed.map_err(|error| self.failed(&error))
    }
}

#[async_trait]
impl Upload for BlobUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = PART_SIZE - self.filling.content_length();
            let (now, later) = rest.split_at(room.min(rest.len()));
            // Copied, since a piece may hold on to a much larger buffer.
            self.filling.extend_from_slice(now);
            rest = later;
            if self.filling.content_length() == PART_SIZE {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.sending.is_none() {
            let whole = std::mem::replace(&mut self.filling, new_part()).freeze();
            return self
                .blobs
                .put_as(&self.key, whole, PutMode::Overwrite)
                .await;
        }
        let completed = self.complete().await;
        if let Some(sending) = self.sending.take()
            && completed.is_err()
            && let Err(error) = sending.abort().await
        {
            let error = self.failed(&error);
            tracing::warn!(key = self.key, %error, "cannot remove the parts of a failed upload");
        }
        completed
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        match self.sending.take() {
            Some(sending) => sending.abort().await.map_err(|error| {
                self.blobs
                    .failed(&format!("give up the upload of {}", self.key), &error)
            }),
            None => Ok(()),
        }
    }
}

impl Drop for BlobUpload {
    /// Aborts what was neither finished nor aborted, as far as the process still lives to do it.
    fn drop(&mut self) {
        let (Some(sending), Ok(runtime)) =
            (self.sending.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (blobs, key) = (self.blobs.clone(), self.key.clone());
        drop(runtime.spawn(async move {
            if let Err(error) = sending.abort().await {
                let error = blobs.failed(&format!("give up the upload of {key}"), &error);
                tracing::warn!(key, %error, "cannot remove the parts of an unfinished upload");
            }
        }));
    }
}
