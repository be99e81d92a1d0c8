//! An object store that lives in a plugin.
//!
//! The protocol knows no ranges and no writing only where nothing is: ranges are read from the beginning of the object,
//! and [`ObjectStore::put_new`] looks first. An upload is visible when the plugin has taken the end of the stream; the
//! stream of one that is given up fails.

mod calls;
mod codec;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream, TryStreamExt as _};
use tokio::time::timeout;
use tonic::Status;
use url::Url;

use super::catalog::Offer;
use super::error::{CallError, CallErrorKind};
use super::init::Init;
use super::pool::{Lease, Pool};
use crate::api::{StorageProviderConfig, duration};
use crate::providers::Environment;
use crate::providers::settings::bucket;
use crate::providers::store::{
    ByteStream, Capabilities, ErrorKind, ObjectStore, StoreError, Upload,
};

/// The bytes of one message of an upload: what Velero's own host sends.
const PIECE: usize = 16 << 10;
/// A key that nothing has, to see whether the store signs links.
const NO_KEY: &str = "ark-signs-links";

/// A store that lives in a plugin. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct PluginStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Arc<Pool>,
    init: Init,
    bucket: String,
    capabilities: Capabilities,
}

/// Opens a store: gives the plugin its settings, and asks whether it signs links.
pub(super) async fn open(
    offer: &Offer,
    config: &StorageProviderConfig,
    prefix: &str,
    environment: &Environment,
    scratch: &std::path::Path,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let bucket = bucket(config)?.to_owned();
    let mut settings = config.config.clone();
    // As Velero's host has it. `caCert` is among the settings where the location has one.
    settings.insert("bucket".to_owned(), bucket.clone());
    settings.insert("prefix".to_owned(), prefix.to_owned());
    let init = Init::new(
        offer.store_service(),
        &offer.plugin,
        settings,
        environment.credentials(),
        scratch,
    )
    .map_err(|error| {
        StoreError::new(
            ErrorKind::Other,
            format!(
                "the location's credentials cannot be written for the plugin to {}: {error}",
                scratch.display()
            ),
        )
    })?;
    let mut store = Shared {
        pool: Arc::clone(&offer.pool),
        init,
        bucket,
        capabilities: Capabilities::default(),
    };
    let lease = store.take().await.map_err(|error| match error.kind {
        // What a plugin says of its settings has no kind of its own.
        CallErrorKind::Other => StoreError::new(ErrorKind::Invalid, error.message),
        _ => store_error(error),
    })?;
    // Signing asks nobody.
    store.capabilities.sign = store
        .sign(&lease, NO_KEY, Duration::from_mins(1))
        .await
        .is_ok_and(|url| !url.is_empty());
    drop(lease);
    Ok(Arc::new(PluginStore {
        shared: Arc::new(store),
    }))
}

impl Shared {
    /// Returns a process that serves this store.
    async fn take(&self) -> Result<Lease, CallError> {
        self.pool.take(Some(&self.init)).await
    }

    async fn call<T>(
        &self,
        lease: &Lease,
        tried: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, CallError> {
        let tried = format!("{tried} in bucket {:?}", self.bucket);
        lease.call(&tried, call).await
    }

    async fn sign(&self, lease: &Lease, key: &str, ttl: Duration) -> Result<String, CallError> {
        let ttl = i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
        let signing = calls::sign(self, lease, key, ttl);
        self.call(lease, &format!("sign a link to {key}"), signing)
            .await
    }

    async fn exists(&self, lease: &Lease, key: &str) -> Result<bool, CallError> {
        let tried = format!("look for {key}");
        match self
            .call(lease, &tried, calls::exists(self, lease, key))
            .await
        {
            // Ark's plugins do not have this call.
            Err(error) if error.kind == CallErrorKind::NotSupported => {
                let listing = calls::list(self, lease, key);
                let keys = self.call(lease, &tried, listing).await?;
                Ok(keys.iter().any(|found| found == key))
            }
            answer => answer,
        }
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let lease = self.take().await.map_err(store_error)?;
        let tried = format!("list the keys that begin with {prefix:?}");
        let listing = calls::list(self, &lease, prefix);
        let mut keys = self
            .call(&lease, &tried, listing)
            .await
            .map_err(store_error)?;
        keys.retain(|key| key.starts_with(prefix));
        Ok(keys)
    }

    /// Says why an object could not be read or removed; a plugin's own error does not tell whether it is there.
    async fn about(&self, lease: &Lease, key: &str, error: CallError) -> StoreError {
        let mut error = store_error(error);
        if error.kind == ErrorKind::Other && matches!(self.exists(lease, key).await, Ok(false)) {
            error.kind = ErrorKind::NotFound;
        }
        error
    }
}

#[async_trait]
impl ObjectStore for PluginStore {
    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.list_directories("").await.map(drop)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        check_key(key)?;
        let store = &self.shared;
        let lease = store.take().await.map_err(store_error)?;
        let writing = calls::put(store, &lease, key, stream::iter(pieces(body)).map(Some));
        store
            .call(&lease, &format!("write {key}"), writing)
            .await
            .map_err(store_error)
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        if self.exists(key).await? {
            return Err(StoreError::new(
                ErrorKind::AlreadyExists,
                format!(
                    "cannot write {key} in bucket {:?}: there is one already",
                    self.shared.bucket
                ),
            ));
        }
        self.put(key, body).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StoreError> {
        check_key(key)?;
        let lease = self.shared.take().await.map_err(store_error)?;
        Ok(Box::new(upload::begin(&self.shared, lease, key)))
    }

    async fn get(&self, key: &str) -> Result<ByteStream, StoreError> {
        check_key(key)?;
        let store = Arc::clone(&self.shared);
        let lease = store.take().await.map_err(store_error)?;
        let tried = format!("read {key}");
        let reading = calls::get(&store, &lease, key);
        let pieces = match store.call(&lease, &tried, reading).await {
            Ok(pieces) => pieces,
            Err(error) => return Err(store.about(&lease, key, error).await),
        };
        let key = key.to_owned();
        let reading = Reading {
            store,
            lease,
            pieces,
            key,
            begun: false,
        };
        let (first, reading) = reading.next().await?;
        let rest = stream::try_unfold(reading, |reading| async move {
            let Some(reading) = reading else {
                return Ok(None);
            };
            let (piece, reading) = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut pieces = self.get(key).await?;
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut wanted = BytesMut::new();
        let mut passed = 0_u64;
        while wanted.len() < length {
            let Some(mut piece) = pieces.try_next().await? else {
                return Err(StoreError::new(
                    ErrorKind::Other,
                    format!(
                        "cannot read bytes {} to {} of {key} in bucket {:?}: the object ends after {passed}",
                        range.start, range.end, self.shared.bucket
                    ),
                ));
            };
            let size = piece.len() as u64;
            let skipped = range.start.saturating_sub(passed).min(size);
            passed += size;
            // A piece is in memory: its length is a usize.
            let mut piece = piece.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            piece.truncate(length - wanted.len());
            wanted.extend_from_slice(&piece);
        }
        Ok(wanted.freeze())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<String, StoreError>> {
        let (store, prefix) = (Arc::clone(&self.shared), prefix.to_owned());
        stream::once(async move { store.keys(&prefix).await })
            .map_ok(|keys| stream::iter(keys.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let store = &self.shared;
        let names = if calls::lists_below(store) || prefix.is_empty() {
            let lease = store.take().await.map_err(store_error)?;
            let tried = format!("list what is below {prefix:?}");
            let listing = calls::directories(store, &lease, prefix);
            store
                .call(&lease, &tried, listing)
                .await
                .map_err(store_error)?
        } else {
            store.keys(prefix).await?
        };
        Ok(directories(prefix, &names))
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        check_key(key)?;
        let lease = self.shared.take().await.map_err(store_error)?;
        self.shared.exists(&lease, key).await.map_err(store_error)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        let store = &self.shared;
        let lease = store.take().await.map_err(store_error)?;
        let tried = format!("remove {key}");
        let removing = calls::delete(store, &lease, key);
        match store.call(&lease, &tried, removing).await {
            Ok(()) => Ok(()),
            Err(error) => match store.about(&lease, key, error).await {
                gone if gone.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn sign_get(&self, key: &str, ttl: Duration) -> Result<Url, StoreError> {
        check_key(key)?;
        let store = &self.shared;
        let unable = |why: String| {
            StoreError::new(
                ErrorKind::NotSupported,
                format!(
                    "a link to {key} in bucket {:?} cannot be signed: {why}",
                    store.bucket
                ),
            )
        };
        if !store.capabilities.sign {
            return Err(unable("the plugin's store has none".to_owned()));
        }
        let lease = store.take().await.map_err(store_error)?;
        let url = store.sign(&lease, key, ttl).await.map_err(store_error)?;
        // The link is a secret, and no part of the message.
        Url::parse(&url).map_err(|error| unable(format!("the plugin gives no URL: {error}")))
    }
}

/// An object being read.
struct Reading {
    store: Arc<Shared>,
    lease: Lease,
    pieces: calls::Pieces,
    key: String,
    begun: bool,
}

impl Reading {
    /// Returns the next bytes, and what is left to read.
    async fn next(mut self) -> Result<(Option<Bytes>, Option<Self>), StoreError> {
        let limit = self.lease.call_limit();
        let tried = || format!("read {} in bucket {:?}", self.key, self.store.bucket);
        match timeout(limit, self.pieces.try_next()).await {
            Ok(Ok(Some(piece))) => {
                self.begun = true;
                Ok((Some(piece), Some(self)))
            }
            Ok(Ok(None)) => Ok((None, None)),
            Ok(Err(status)) => {
                let error = self.lease.failed(&tried(), &status).await;
                Err(if self.begun {
                    store_error(error)
                } else {
                    self.store.about(&self.lease, &self.key, error).await
                })
            }
            Err(_) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!(
                    "the plugin was to {} and has sent nothing for {}",
                    tried(),
                    duration::format(limit)
                ),
            )),
        }
    }
}

/// Cuts an object into the pieces that are sent; an empty one is one empty piece, since the first names bucket and key.
fn pieces(mut body: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(body.len() / PIECE + 1);
    while body.len() > PIECE {
        pieces.push(body.split_to(PIECE));
    }
    pieces.push(body);
    pieces
}

/// Refuses what is no key in every store.
fn check_key(key: &str) -> Result<(), StoreError> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if key.split('/').any(odd) {
        return Err(StoreError::new(
            ErrorKind::Invalid,
            format!("{key:?} cannot be a key: a part of it is empty, \".\" or \"..\""),
        ));
    }
    Ok(())
}

/// Returns the names directly below a prefix, of keys or of what plugins list as common prefixes: some with the prefix
/// before them, some without, some with the delimiter behind them.
fn directories(prefix: &str, listed: &[String]) -> Vec<String> {
    let mut names: Vec<String> = listed
        .iter()
        .map(|one| one.strip_prefix(prefix).unwrap_or(one))
        .filter_map(|rest| rest.split_once('/').map(|(name, _)| name.to_owned()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn store_error(error: CallError) -> StoreError {
    let kind = match error.kind {
        CallErrorKind::NotFound if error.message.contains("NoSuchBucket") => ErrorKind::NoBucket,
        CallErrorKind::NotFound => ErrorKind::NotFound,
        CallErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        CallErrorKind::Denied => ErrorKind::Denied,
        CallErrorKind::Unreachable | CallErrorKind::TimedOut => ErrorKind::Unreachable,
        CallErrorKind::NotSupported => ErrorKind::NotSupported,
        CallErrorKind::Invalid => ErrorKind::Invalid,
        CallErrorKind::Gone
        | CallErrorKind::TooLarge
        | CallErrorKind::NotReady
        | CallErrorKind::Other => ErrorKind::Other,
    };
    StoreError::new(kind, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_prefix() {
        let list = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        for (prefix, listed, expected) in [
            (
                "backups/",
                &["backups/a/", "backups/b/"][..],
                &["a", "b"][..],
            ),
            ("", &["a/", "b/"], &["a", "b"]),
            (
                "backups/",
                &["backups/a/x", "backups/a/y", "backups/z"],
                &["a"],
            ),
            ("", &[], &[]),
        ] {
            assert_eq!(directories(prefix, &list(listed)), expected, "{listed:?}");
        }
    }

    #[test]
    fn objects_are_cut_into_pieces() {
        for (length, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (PIECE, &[PIECE]),
            (PIECE + 1, &[PIECE, 1]),
        ] {
            let cut = pieces(vec![0; length].into());
            let lengths: Vec<usize> = cut.iter().map(Bytes::len).collect();
            assert_eq!(lengths, expected, "{length}");
        }
    }
}
