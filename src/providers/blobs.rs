//! The port over the `object_store` crate's trait, once for all built-in providers.
//!
//! The crate serves `aws` and `local` itself; `gcp` and `azure` implement its trait over their vendors' crates, so that
//! keys, uploads and errors are the same everywhere.
//!
//! What it adds to the crate: keys checked instead of rewritten, uploads with bounded memory that clean up after
//! themselves, listings by any prefix, and errors that say what was tried where and what to do next. The crate's own
//! errors hold whole answers of the server; they go to the debug log, not to users.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, PutPayloadMut,
};
use tokio::task::JoinSet;
use url::Url;

use super::local;
use super::store::{ByteStream, Capabilities, ErrorKind, Lock, ObjectStore, StoreError, Upload};

/// The size of an upload's parts: the least that S3 accepts. Its most, 10,000 parts, is 50 GB of compressed objects.
const PART_SIZE: usize = 5 * 1024 * 1024;
/// How many parts of an upload are on their way at once. With the one being filled, an upload holds at most three.
const PARTS_IN_FLIGHT: usize = 2;
/// How a part is put together in memory.
const BLOCK_SIZE: usize = 256 * 1024;
/// How long [`ObjectStore::check`] waits for a store that takes connections and does not answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a store's objects are, for messages.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A directory on this machine.
    Directory(PathBuf),
    /// A bucket of a server.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    Bucket {
        /// What this cloud calls a bucket.
        called: &'static str,
        /// The bucket's name.
        name: String,
        /// The server's address.
        server: String,
    },
}

impl Place {
    /// Returns the directory, if it is one.
    fn directory(&self) -> Option<&PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory),
            #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
            Self::Bucket { .. } => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "directory {}", path.display()),
            #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
            Self::Bucket {
                called,
                name,
                server,
            } => write!(f, "{called} {name:?} at {server}"),
        }
    }
}

/// Makes URLs that others can read.
#[async_trait]
pub(super) trait SignGet: fmt::Debug + Send + Sync {
    /// Returns a URL that serves `path` for `ttl`.
    async fn sign_get(&self, path: &Path, ttl: Duration) -> Result<Url, object_store::Error>;
}

/// A failure as a provider reads it: its kind, why it happened and what to do.
pub(super) type Told = (ErrorKind, String);

/// What a store can do that the crate's trait has no word for.
#[async_trait]
pub(super) trait Extras: fmt::Debug + Send + Sync {
    /// Returns what keeps an object from being removed.
    async fn lock(&self, path: &Path) -> Result<Option<Lock>, Told>;

    /// Removes what unfinished uploads of an object have sent.
    async fn abort_uploads(&self, path: &Path) -> Result<(), Told>;
}

/// A provider's own reading of an error: its kind, why it happened and what to do; `None` where it knows no better than
/// [`explain`].
type Explain = fn(&object_store::Error) -> Option<Told>;

/// A store behind the `object_store` crate.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    inner: Arc<dyn object_store::ObjectStore>,
    signer: Option<Arc<dyn SignGet>>,
    extras: Option<Arc<dyn Extras>>,
    place: Place,
    capabilities: Capabilities,
    explain: Explain,
    /// Characters that the store would turn into others.
    changed: &'static [char],
}

impl Blobs {
    pub(super) fn new(
        inner: Arc<dyn object_store::ObjectStore>,
        place: Place,
        capabilities: Capabilities,
        explain: Explain,
    ) -> Self {
        Self {
            inner,
            signer: None,
            extras: None,
            place,
            capabilities,
            explain,
            changed: &[],
        }
    }

    /// Refuses keys with characters that the store would turn into others.
    #[cfg(feature = "azure")]
    pub(super) fn refusing(mut self, changed: &'static [char]) -> Self {
        self.changed = changed;
        self
    }

    /// Adds the ability to sign.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    pub(super) fn with_signer(mut self, signer: Arc<dyn SignGet>) -> Self {
        self.signer = Some(signer);
        self.capabilities.sign = true;
        self
    }

    /// Adds what the crate's trait has no word for.
    #[cfg(feature = "aws")]
    pub(super) fn with_extras(mut self, extras: Arc<dyn Extras>) -> Self {
        self.extras = Some(extras);
        self
    }

    /// Returns the crate's path of a key, which is the key itself: never percent-encoded.
    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let unusable = |why: &str| {
            StoreError::new(
                ErrorKind::Invalid,
                format!("{key:?} cannot be a key in {}: {why}", self.place),
            )
        };
        // The crate would strip these and use another key.
        if key.is_empty() || key.starts_with('/') || key.ends_with('/') {
            return Err(unusable("it is empty, or begins or ends with '/'"));
        }
        if let Some(changed) = key.chars().find(|c| self.changed.contains(c)) {
            return Err(unusable(&format!("{changed:?} would not stay one there")));
        }
        Path::parse(key).map_err(|error| unusable(&error.to_string()))
    }

    /// Turns an error of the crate into one for people.
    fn failed(&self, tried: &str, error: &object_store::Error) -> StoreError {
        tracing::debug!(place = %self.place, tried, error = %error, "object store call failed");
        self.told(
            tried,
            (self.explain)(error).unwrap_or_else(|| explain(error)),
        )
    }

    /// Makes the error for people.
    fn told(&self, tried: &str, (kind, why): Told) -> StoreError {
        let message = match kind {
            ErrorKind::NoBucket => format!(
                "{} does not exist; create it or correct backupStorageProvider.bucket",
                self.place
            ),
            _ => format!("cannot {tried} in {}: {why}", self.place),
        };
        StoreError::new(kind, message)
    }

    fn io_failed(&self, tried: &str, error: &io::Error) -> StoreError {
        match io_problem(error) {
            (ErrorKind::NotFound, _) => StoreError::new(
                ErrorKind::NoBucket,
                format!(
                    "{} does not exist; create or mount it, or correct backupStorageProvider.bucket",
                    self.place
                ),
            ),
            (kind, why) => StoreError::new(kind, format!("cannot {tried} {}: {why}", self.place)),
        }
    }

    async fn put_as(&self, key: &str, body: PutPayload, mode: PutMode) -> Result<(), StoreError> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        match self.inner.put_opts(&self.path(key)?, body, options).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&format!("write {key}"), &error)),
        }
    }

    /// Runs file work of the local store off the async threads.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            StoreError::new(ErrorKind::Other, format!("cannot use {}", self.place))
                .with_source(error)
        })
    }
}

#[async_trait]
impl ObjectStore for Blobs {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn check(&self) -> Result<(), StoreError> {
        if let Some(directory) = self.place.directory() {
            let looked_at = directory.clone();
            return self
                .on_disk(move || local::check(&looked_at))
                .await?
                .map_err(|error| self.io_failed("list", &error));
        }
        // One key is enough; the rest of the page is dropped with the stream.
        match tokio::time::timeout(CHECK_TIMEOUT, self.inner.list(None).try_next()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed("list the keys", &error)),
            Err(_) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!(
                    "cannot list the keys in {}: no answer within {} seconds; check the address and that the network \
                     lets this through",
                    self.place,
                    CHECK_TIMEOUT.as_secs()
                ),
            )),
        }
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.put_as(key, body.into(), PutMode::Overwrite).await
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.put_as(key, body.into(), PutMode::Create).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(BlobUpload {
            path: self.path(key)?,
            key: key.to_owned(),
            blobs: self.clone(),
            filling: new_part(),
            sending: None,
        }))
    }

    async fn get(&self, key: &str) -> Result<ByteStream, StoreError> {
        let tried = format!("read {key}");
        let found = self
            .inner
            .get(&self.path(key)?)
            .await
            .map_err(|error| self.failed(&tried, &error))?;
        let blobs = self.clone();
        let pieces = found.into_stream().map(move |piece| {
            let piece = piece.map_err(|error| blobs.failed(&tried, &error))?;
            // A file that somebody cut short while it is read would give empty pieces for ever.
            if piece.is_empty() && blobs.place.directory().is_some() {
                return Err(StoreError::new(
                    ErrorKind::Other,
                    format!(
                        "cannot {tried} in {}: the file ended early; somebody changed it meanwhile",
                        blobs.place
                    ),
                ));
            }
            Ok(piece)
        });
        Ok(pieces.boxed())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(key)?;
        // Not every server has a word for an empty range.
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let tried = format!("read bytes {} to {} of {key}", range.start, range.end);
        let bytes = self
            .inner
            .get_range(&path, range.clone())
            .await
            .map_err(|error| self.failed(&tried, &error))?;
        // A server answers with what there is of the range.
        if bytes.len() as u64 != range.end - range.start {
            return Err(StoreError::new(
                ErrorKind::Other,
                format!(
                    "cannot {tried} in {}: the object ends after {} of them",
                    self.place,
                    bytes.len()
                ),
            ));
        }
        Ok(bytes)
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<String, StoreError>> {
        // The crate lists whole directories only.
        let directory = match prefix
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory)
        {
            "" => None,
            directory => match self.path(directory) {
                Ok(path) => Some(path),
                Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
            },
        };
        let blobs = self.clone();
        let wanted = prefix.to_owned();
        let tried = format!("list the keys that begin with {prefix:?}");
        self.inner
            .list(directory.as_ref())
            .map_ok(|found| String::from(found.location))
            .map_err(move |error| blobs.failed(&tried, &error))
            .try_filter(move |key| futures::future::ready(key.starts_with(&wanted)))
            .boxed()
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let parent = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => None,
            directory => Some(self.path(directory)?),
        };
        let found = self
            .inner
            .list_with_delimiter(parent.as_ref())
            .await
            .map_err(|error| self.failed(&format!("list what is in {prefix:?}"), &error))?;
        let mut names = Vec::new();
        for directory in found.common_prefixes {
            let Some(name) = directory.filename() else {
                continue;
            };
            // On a disk, a directory may be there without a key in it.
            let has_keys = self.place.directory().is_none()
                || self
                    .inner
                    .list(Some(&directory))
                    .try_next()
                    .await
                    .map_err(|error| self.failed(&format!("list what is in {directory}"), &error))?
                    .is_some();
            if has_keys {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.inner.head(&self.path(key)?).await {
            Ok(_) => Ok(true),
            Err(error) => match self.failed(&format!("look for {key}"), &error) {
                error if error.is_not_found() => Ok(false),
                error => Err(error),
            },
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let deleted = match self.inner.delete(&self.path(key)?).await {
            Ok(()) => Ok(()),
            Err(error) => match self.failed(&format!("delete {key}"), &error) {
                error if error.is_not_found() => Ok(()),
                error => Err(error),
            },
        };
        if let Some(directory) = self.place.directory() {
            let (directory, key) = (directory.clone(), key.to_owned());
            self.on_disk(move || local::sweep(&directory, &key)).await?;
        }
        deleted
    }

    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        let path = self.path(key)?;
        match &self.extras {
            Some(extras) => {
                let found = extras.lock(&path).await;
                found.map_err(|told| self.told(&format!("see what locks {key}"), told))
            }
            None => Ok(None),
        }
    }

    async fn abort_uploads(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        match &self.extras {
            Some(extras) => {
                let aborted = extras.abort_uploads(&path).await;
                aborted
                    .map_err(|told| self.told(&format!("remove unfinished uploads of {key}"), told))
            }
            None => Ok(()),
        }
    }

    async fn sign_get(&self, key: &str, ttl: Duration) -> Result<Url, StoreError> {
        let path = self.path(key)?;
        let Some(signer) = &self.signer else {
            return Err(StoreError::new(
                ErrorKind::NotSupported,
                format!(
                    "{} cannot make download links; read the file there",
                    self.place
                ),
            ));
        };
        signer
            .sign_get(&path, ttl)
            .await
            .map_err(|error| self.failed(&format!("sign a link to {key}"), &error))
    }
}

/// An upload: one small write if it stays below a part's size, else in parts.
struct BlobUpload {
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

/// Reads an error that no provider knows better.
fn explain(error: &object_store::Error) -> (ErrorKind, String) {
    use object_store::Error as Failed;
    match error {
        Failed::NotFound { .. } => (ErrorKind::NotFound, "it is not there".to_owned()),
        Failed::AlreadyExists { .. } | Failed::Precondition { .. } => {
            (ErrorKind::AlreadyExists, "it is there already".to_owned())
        }
        Failed::PermissionDenied { .. } | Failed::Unauthenticated { .. } => (
            ErrorKind::Denied,
            "the credentials do not allow it".to_owned(),
        ),
        Failed::NotImplemented { .. } | Failed::NotSupported { .. } => {
            (ErrorKind::NotSupported, innermost(error))
        }
        Failed::InvalidPath { .. } => (ErrorKind::Other, innermost(error)),
        other => chain(other)
            .find_map(|cause| cause.downcast_ref::<io::Error>())
            .map_or_else(|| (ErrorKind::Other, innermost(other)), io_problem),
    }
}

/// Reads an error of the operating system.
pub(super) fn io_problem(error: &io::Error) -> (ErrorKind, String) {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (ErrorKind::NotFound, "it is not there".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Denied,
            format!("{error}; let the user that ark runs as read and write there"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::Denied,
            format!("{error}; mount it so that it can be written"),
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Other, format!("{error}; make room there"))
        }
        io::ErrorKind::Unsupported => (
            ErrorKind::NotSupported,
            format!("{error}; the file system needs hard links"),
        ),
        _ => (ErrorKind::Other, error.to_string()),
    }
}

/// Returns an error and its causes, outermost first.
pub(super) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns the text of the first cause: what is outside of it repeats it with less to the point.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}
