//! A bucket of S3: the crate's store for it, with the tags that objects get, checksums where the bucket demands them, and
//! what the crate has no call for.
//!
//! A bucket under object lock takes no object without a checksum once it has a default retention. So it is asked, once,
//! before the first write; not when it is opened, since then nobody may be there yet.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, TagSet,
};
use tokio::sync::OnceCell;

use super::calls::Calls;
use crate::providers::blobs::{Extras, Told};
use crate::providers::store::{ErrorKind, Lock};

/// How many directories are looked into at once.
const LOOKS_AT_ONCE: usize = 8;

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    plain: AmazonS3,
    /// The same, with checksums.
    checked: AmazonS3,
    calls: Calls,
    tags: TagSet,
    /// Whether checksums are sent whatever the bucket is like.
    always_checked: bool,
    /// Whether objects can be locked in it, once that is known.
    has_locks: OnceCell<bool>,
}

impl Bucket {
    pub(super) fn new(
        plain: AmazonS3,
        checked: AmazonS3,
        calls: Calls,
        tags: &[(String, String)],
        always_checked: bool,
    ) -> Self {
        let mut set = TagSet::default();
        for (key, value) in tags {
            set.push(key, value);
        }
        Self {
            plain,
            checked,
            calls,
            tags: set,
            always_checked,
            has_locks: OnceCell::new(),
        }
    }

    /// Returns whether objects can be locked in the bucket.
    async fn has_locks(&self) -> std::result::Result<bool, Told> {
        let asked = self.has_locks.get_or_try_init(|| async {
            match self.calls.has_locks().await {
                // Whoever locks objects lets Ark see it. Others may not ask, or their server does not know what a lock is.
                Err((
                    kind @ (ErrorKind::Denied | ErrorKind::NotSupported | ErrorKind::Other),
                    why,
                )) => {
                    tracing::debug!(?kind, why, "whether the bucket has object lock is not told");
                    Ok(false)
                }
                told => told,
            }
        });
        asked.await.copied()
    }

    /// Returns the store to write with.
    async fn writer(&self) -> &AmazonS3 {
        // If it cannot be asked, what is written tells why.
        if self.always_checked || self.has_locks().await.unwrap_or_default() {
            &self.checked
        } else {
            &self.plain
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plain.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        options.tags = self.tags.clone();
        let writer = self.writer().await;
        writer.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        options.tags = self.tags.clone();
        let writer = self.writer().await;
        writer.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.plain.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.plain.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.plain.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.plain.list_with_delimiter(prefix).await?;
        // MinIO goes on to name directories whose keys are all hidden by markers of their deletion, as they are where
        // objects are locked.
        if self.has_locks().await.unwrap_or_default() {
            let directories = std::mem::take(&mut found.common_prefixes);
            found.common_prefixes = stream::iter(directories)
                .map(|directory| async {
                    let any = self.plain.list(Some(&directory)).try_next().await;
                    any.map(|any| any.map(|_| directory))
                })
                .buffered(LOOKS_AT_ONCE)
                .try_filter_map(|directory| ready(Ok(directory)))
                .try_collect()
                .await?;
        }
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.plain.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl Extras for Bucket {
    async fn lock(&self, path: &Path) -> std::result::Result<Option<Lock>, Told> {
        if !self.has_locks().await? {
            return Ok(None);
        }
        self.calls.lock(path.as_ref()).await
    }

    async fn abort_uploads(&self, path: &Path) -> std::result::Result<(), Told> {
        for upload in self.calls.uploads(path.as_ref()).await? {
            self.calls.abort(path.as_ref(), &upload).await?;
            tracing::info!(key = %path, "an unfinished upload is removed");
        }
        Ok(())
    }
}
