//! The port through which backups are stored: a bucket of keys, whatever stands behind it.
//!
//! Keys are `/`-separated and relative to the bucket. What not every store can do is a [`Capabilities`] flag that a
//! caller asks for beforehand, so that a missing ability is a decision and not an error in the middle of a run.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use url::Url;

/// The bytes of an object as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// What a store can do beyond the basics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// [`ObjectStore::put_new`] is atomic: of two writers exactly one wins.
    pub create_new: bool,
    /// [`ObjectStore::get_range`] reads only the range.
    pub ranges: bool,
    /// [`ObjectStore::sign_get`] makes URLs that others can read.
    pub sign: bool,
}

/// What keeps an object from being removed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Lock {
    /// Until then it stays, whoever wants it gone.
    Until(Timestamp),
    /// It stays until somebody lifts what holds it.
    Held,
}

/// A bucket of objects.
///
/// # Guarantees
/// An object becomes visible whole or not at all. A write that returned `Ok` is visible to every later read and
/// listing. Every call may be repeated.
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Returns what this store can do beyond the basics.
    fn capabilities(&self) -> Capabilities;

    /// Checks that the bucket is there and that the credentials can list it.
    async fn check(&self) -> Result<(), StoreError>;

    /// Stores a small object, replacing one of the same key.
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// Stores a small object unless the key is taken.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if it is taken. Without [`Capabilities::create_new`] the check and the write are
    /// two steps, between which another writer may come.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// Begins to store an object of unknown size.
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StoreError>;

    /// Reads an object as a stream.
    async fn get(&self, key: &str) -> Result<ByteStream, StoreError>;

    /// Reads a part of an object.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Lists every key that begins with `prefix`, in no particular order, page by page.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<String, StoreError>>;

    /// Lists the names directly below `prefix` (which ends in `/` or is empty) that have keys below them: `a` and `b`
    /// for `backups/` where `backups/a/x` and `backups/b/y` are stored.
    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Returns whether an object is there.
    async fn exists(&self, key: &str) -> Result<bool, StoreError>;

    /// Removes an object; one that is not there is fine.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Returns what keeps an object from being removed, as far as the store has such locks; one whose time is over may be
    /// returned too, and an object that is not there has none.
    ///
    /// [`Self::delete`] may well succeed on a locked object: it hides it, and the locked version stays.
    async fn lock(&self, _key: &str) -> Result<Option<Lock>, StoreError> {
        Ok(None)
    }

    /// Removes what unfinished uploads of an object have sent, whoever began them; the writers of those that go on fail.
    ///
    /// Where a store forgets them by itself, this does nothing.
    async fn abort_uploads(&self, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns a URL that serves the object for `ttl`; the URL is a secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] without [`Capabilities::sign`].
    async fn sign_get(&self, key: &str, ttl: Duration) -> Result<Url, StoreError>;
}

/// An object being stored piece by piece.
#[async_trait]
pub trait Upload: fmt::Debug + Send {
    /// Takes the next bytes; waits while the store is slower than the writer.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes the object visible.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;

    /// Gives up and removes what was sent.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// The kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The object is not there.
    NotFound,
    /// The bucket (or directory) itself is not there.
    NoBucket,
    /// The key is taken.
    AlreadyExists,
    /// The credentials are missing, wrong or not allowed to do this.
    Denied,
    /// The store does not answer.
    Unreachable,
    /// This store cannot do that.
    NotSupported,
    /// The settings cannot work.
    Invalid,
    /// Anything else.
    Other,
}

/// A failed call of a store. Never holds a credential or a signed URL.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What callers branch on.
    pub kind: ErrorKind,
    /// What was tried, on which object, and what to do next.
    pub message: String,
    /// The cause, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// Makes an error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}
