//! Serving an object store.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Family, Named, Server, Services, add_service, guarded};
use crate::providers::plugin::protocol::{ark08, velero::generated as velero};
use crate::providers::store::{ByteStream, ErrorKind, StoreError};

/// The bytes of an object that is stored, as they come. Only when the stream has ended without an error is the object
/// whole; until then nobody may see it.
pub type Body = ByteStream;

/// The bytes of an answer's piece.
const PIECE: usize = 64 << 10;

/// A store of objects, in buckets.
///
/// # Guarantees
/// What its implementations must keep: an object becomes visible whole or not at all, a write that returned `Ok` is
/// visible to every later read, and every call may be repeated.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the location's settings, with `bucket`, `prefix` and, where it has credentials of its own, `credentialsFile`
    /// beside them. May be called again, with others.
    async fn init(&self, config: BTreeMap<String, String>) -> Result<(), StoreError>;

    /// Stores an object, replacing one of the same key.
    async fn put(&self, bucket: &str, key: &str, body: Body) -> Result<(), StoreError>;

    /// Returns whether an object is there.
    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, StoreError>;

    /// Reads an object.
    async fn get(&self, bucket: &str, key: &str) -> Result<ByteStream, StoreError>;

    /// Returns the keys that begin with a prefix.
    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes an object; one that is not there is fine.
    async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError>;

    /// Returns what the keys that begin with a prefix have in common up to the next delimiter, that included.
    async fn common_prefixes(
        &self,
        bucket: &str,
        delimiter: &str,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        let keys = self.list(bucket, prefix).await?;
        Ok(common_prefixes(&keys, delimiter, prefix))
    }

    /// Returns a URL that serves an object for `ttl`; empty where the store has no such links.
    async fn sign(&self, _bucket: &str, _key: &str, _ttl: Duration) -> Result<String, StoreError> {
        Ok(String::new())
    }
}

fn common_prefixes(keys: &[String], delimiter: &str, prefix: &str) -> Vec<String> {
    let mut prefixes: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let rest = key.strip_prefix(prefix)?;
            let end = rest.find(delimiter)? + delimiter.len();
            Some(format!("{prefix}{}", &rest[..end]))
        })
        .collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

pub(super) fn add(routes: &mut Services, server: &Server) {
    if server.stores.is_empty() {
        return;
    }
    let plugins = server.stores.clone();
    match server.family {
        family @ (Family::Velero | Family::Ark10) => {
            let serving = Current(Serving {
                plugins,
                // Ark 0.10 did not have this call.
                knows_exists: family == Family::Velero,
            });
            add_service!(
                routes,
                velero::object_store_server::ObjectStoreServer::new(serving)
            );
        }
        Family::Ark08 => {
            let serving = Old(Serving {
                plugins,
                knows_exists: false,
            });
            add_service!(
                routes,
                ark08::object_store_server::ObjectStoreServer::new(serving)
            );
        }
    }
}

struct Serving {
    plugins: Named<dyn Store>,
    knows_exists: bool,
}

/// Stores whose requests name them.
struct Current(Serving);
/// The store of a program that has one.
struct Old(Serving);

/// The pieces of a stored object.
type Pieces = BoxStream<'static, Result<Bytes, StoreError>>;

impl Serving {
    async fn put(
        &self,
        store: Result<std::sync::Arc<dyn Store>, Status>,
        first: (String, String, Bytes),
        rest: Pieces,
    ) -> Result<(), Status> {
        let (bucket, key, piece) = first;
        // A request that its sender has given up may look like one that is through; once it is waited for, this call is
        // dropped in that case, before the store takes the object for a whole one.
        let end = stream::once(tokio::task::yield_now()).filter_map(|()| std::future::ready(None));
        let body = stream::once(async { Ok(piece) })
            .chain(rest)
            .chain(end)
            .boxed();
        guarded(async { store?.put(&bucket, &key, body).await.map_err(status) }).await
    }
}

/// Cuts what a store reads into pieces that fit into messages.
fn cut(body: ByteStream) -> impl futures::Stream<Item = Result<Bytes, Status>> + Send {
    body.map_ok(|mut bytes| {
        let mut pieces = Vec::new();
        while bytes.len() > PIECE {
            pieces.push(Ok(bytes.split_to(PIECE)));
        }
        pieces.push(Ok(bytes));
        stream::iter(pieces)
    })
    .map_err(status)
    .try_flatten()
}

/// Serves stores in the words of one protocol; `$find` finds the store that a request is for, `$below` the prefix of what
/// is listed.
macro_rules! serve {
    (
        $type:ident,
        $words:ident,
        |$self:ident, $request:ident| $find:expr,
        $below:expr
        $(, $exists:item)?
    ) => {
        #[tonic::async_trait]
        impl $words::object_store_server::ObjectStore for $type {
            type GetObjectStream = BoxStream<'static, Result<$words::Bytes, Status>>;

            async fn init(
                &$self,
                request: Request<$words::InitRequest>,
            ) -> Result<Response<$words::Empty>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                guarded(async { store.init($request.config).await.map_err(status) }).await?;
                Ok(Response::new($words::Empty {}))
            }

            async fn put_object(
                &$self,
                request: Request<Streaming<$words::PutObjectRequest>>,
            ) -> Result<Response<$words::Empty>, Status> {
                let mut messages = request.into_inner();
                let Some($request) = messages.message().await? else {
                    return Err(Status::invalid_argument("an object without a message"));
                };
                let store = $find;
                let rest = messages
                    .map_ok(|message| message.body)
                    .map_err(|status| StoreError::new(ErrorKind::Other, status.message()))
                    .boxed();
                $self.0
                    .put(store, ($request.bucket, $request.key, $request.body), rest)
                    .await?;
                Ok(Response::new($words::Empty {}))
            }

            async fn get_object(
                &$self,
                request: Request<$words::GetObjectRequest>,
            ) -> Result<Response<Self::GetObjectStream>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                let body = guarded(async {
                    store.get(&$request.bucket, &$request.key).await.map_err(status)
                })
                .await?;
                let pieces = cut(body).map_ok(|data| $words::Bytes { data });
                Ok(Response::new(pieces.boxed()))
            }

            async fn list_common_prefixes(
                &$self,
                request: Request<$words::ListCommonPrefixesRequest>,
            ) -> Result<Response<$words::ListCommonPrefixesResponse>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                let prefix: &str = $below;
                let prefixes = guarded(async {
                    store
                        .common_prefixes(&$request.bucket, &$request.delimiter, prefix)
                        .await
                        .map_err(status)
                })
                .await?;
                Ok(Response::new($words::ListCommonPrefixesResponse { prefixes }))
            }

            async fn list_objects(
                &$self,
                request: Request<$words::ListObjectsRequest>,
            ) -> Result<Response<$words::ListObjectsResponse>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                let keys = guarded(async {
                    store.list(&$request.bucket, &$request.prefix).await.map_err(status)
                })
                .await?;
                Ok(Response::new($words::ListObjectsResponse { keys }))
            }

            async fn delete_object(
                &$self,
                request: Request<$words::DeleteObjectRequest>,
            ) -> Result<Response<$words::Empty>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                guarded(async {
                    store.delete(&$request.bucket, &$request.key).await.map_err(status)
                })
                .await?;
                Ok(Response::new($words::Empty {}))
            }

            async fn create_signed_url(
                &$self,
                request: Request<$words::CreateSignedUrlRequest>,
            ) -> Result<Response<$words::CreateSignedUrlResponse>, Status> {
                let $request = request.into_inner();
                let store = $find?;
                let ttl = Duration::from_nanos($request.ttl.unsigned_abs());
                let url = guarded(async {
                    store.sign(&$request.bucket, &$request.key, ttl).await.map_err(status)
                })
                .await?;
                Ok(Response::new($words::CreateSignedUrlResponse { url }))
            }

            $($exists)?
        }
    };
}

serve!(
    Current,
    velero,
    |self, request| self.0.plugins.get(&request.plugin),
    &request.prefix,
    async fn object_exists(
        &self,
        request: Request<velero::ObjectExistsRequest>,
    ) -> Result<Response<velero::ObjectExistsResponse>, Status> {
        if !self.0.knows_exists {
            return Err(Status::unimplemented("unknown method ObjectExists"));
        }
        let request = request.into_inner();
        let store = self.0.plugins.get(&request.plugin)?;
        let exists = guarded(async {
            store
                .exists(&request.bucket, &request.key)
                .await
                .map_err(status)
        })
        .await?;
        Ok(Response::new(velero::ObjectExistsResponse { exists }))
    }
);
// It lists the root alone.
serve!(Old, ark08, |self, request| self.0.plugins.only(), "");

/// Returns the error as gRPC has it: its kind as the code that this Ark's host reads.
fn status(error: StoreError) -> Status {
    let code = match error.kind {
        ErrorKind::NotFound => Code::NotFound,
        // The words tell it from an object that is not there.
        ErrorKind::NoBucket => {
            return Status::not_found(format!("NoSuchBucket: {}", error.message));
        }
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Unreachable => Code::Unavailable,
        ErrorKind::NotSupported => Code::Unimplemented,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Other => Code::Unknown,
    };
    Status::new(code, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_what_keys_have_in_common() {
        let keys: Vec<String> = ["a/1", "a/2", "b", "c/d/1"]
            .iter()
            .map(|key| (*key).to_owned())
            .collect();
        for (prefix, expected) in [("", &["a/", "c/"][..]), ("c/", &["c/d/"]), ("a/", &[])] {
            assert_eq!(common_prefixes(&keys, "/", prefix), expected, "{prefix:?}");
        }
    }
}
