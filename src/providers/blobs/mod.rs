//! The port over the `object_store` crate's trait, once for all built-in providers.
//!
//! The crate serves `aws` and `local` itself; `gcp` and `azure` implement its trait over their vendors' crates, so that
//! keys, uploads and errors are the same everywhere.
//!
//! What it adds to the crate: keys checked instead of rewritten, uploads with bounded memory that clean up after
//! themselves, listings by any prefix, and errors that say what was tried where and what to do next. The crate's own
//! errors hold whole answers of the server; they go to the debug log, not to users.

mod errors;
mod upload;

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
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use url::Url;

use self::errors::explain;
pub(super) use self::errors::io_problem;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
pub(super) use self::errors::{chain, innermost};
use self::upload::BlobUpload;
use super::local;
use super::store::{ByteStream, Capabilities, ErrorKind, Lock, ObjectStore, StoreError, Upload};

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
        let path = self.path(key)?;
        Ok(Box::new(BlobUpload::new(self.clone(), key, path)))
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
