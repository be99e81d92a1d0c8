//! The calls of an object store, in the words of either protocol.

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Status};

use super::Shared;
use super::codec::{Sent, UploadCodec};
use crate::providers::plugin::init::Service;
use crate::providers::plugin::pool::Lease;
use crate::providers::plugin::protocol::ark08;
use crate::providers::plugin::protocol::velero::generated as velero;

/// The bytes of an object as they come.
pub(super) type Pieces = BoxStream<'static, Result<Bytes, Status>>;

/// Writes one protocol's calls: the same, but that requests name the plugin (`$plugin`) or not.
macro_rules! calls {
    ($name:ident, $words:path $(, $plugin:ident)?) => {
        mod $name {
            use $words as words;
            use words::object_store_client::ObjectStoreClient;
            use tonic::transport::Channel;

            use super::*;

            pub(super) fn client(lease: &Lease) -> ObjectStoreClient<Channel> {
                let limit = lease.message_limit();
                ObjectStoreClient::new(lease.channel())
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit)
            }

            pub(super) async fn put(
                store: &Shared,
                lease: &Lease,
                key: &str,
                pieces: impl Stream<Item = Sent<Bytes>> + Send + 'static,
            ) -> Result<(), Status> {
                $(let $plugin = store.init.plugin().to_owned();)?
                let (bucket, key) = (store.bucket.clone(), key.to_owned());
                let messages = pieces.map(move |piece| {
                    piece.map(|body| words::PutObjectRequest {
                        $($plugin: $plugin.clone(),)?
                        bucket: bucket.clone(),
                        key: key.clone(),
                        body,
                    })
                });
                let put = PathAndQuery::from_static("/generated.ObjectStore/PutObject");
                let mut client = Grpc::new(lease.channel());
                client.ready().await.map_err(|error| Status::from_error(error.into()))?;
                client
                    .client_streaming(Request::new(messages), put, UploadCodec::default())
                    .await?;
                Ok(())
            }

            pub(super) async fn get(
                store: &Shared,
                lease: &Lease,
                key: &str,
            ) -> Result<Pieces, Status> {
                let request = words::GetObjectRequest {
                    $($plugin: store.init.plugin().to_owned(),)?
                    bucket: store.bucket.clone(),
                    key: key.to_owned(),
                };
                let stream = client(lease).get_object(request).await?.into_inner();
                Ok(stream.map(|piece| piece.map(|piece| piece.data)).boxed())
            }

            pub(super) async fn list(
                store: &Shared,
                lease: &Lease,
                prefix: &str,
            ) -> Result<Vec<String>, Status> {
                let request = words::ListObjectsRequest {
                    $($plugin: store.init.plugin().to_owned(),)?
                    bucket: store.bucket.clone(),
                    prefix: prefix.to_owned(),
                };
                Ok(client(lease).list_objects(request).await?.into_inner().keys)
            }

            pub(super) async fn delete(
                store: &Shared,
                lease: &Lease,
                key: &str,
            ) -> Result<(), Status> {
                let request = words::DeleteObjectRequest {
                    $($plugin: store.init.plugin().to_owned(),)?
                    bucket: store.bucket.clone(),
                    key: key.to_owned(),
                };
                client(lease).delete_object(request).await?;
                Ok(())
            }

            pub(super) async fn sign(
                store: &Shared,
                lease: &Lease,
                key: &str,
                ttl: i64,
            ) -> Result<String, Status> {
                let request = words::CreateSignedUrlRequest {
                    $($plugin: store.init.plugin().to_owned(),)?
                    bucket: store.bucket.clone(),
                    key: key.to_owned(),
                    ttl,
                };
                Ok(client(lease).create_signed_url(request).await?.into_inner().url)
            }
        }
    };
}

calls!(
    current,
    crate::providers::plugin::protocol::velero::generated,
    plugin
);
calls!(old, crate::providers::plugin::protocol::ark08);

/// Calls one of the two.
macro_rules! either {
    ($store:ident, $call:ident($($argument:expr),*)) => {
        if is_old($store) {
            old::$call($store, $($argument),*).await
        } else {
            current::$call($store, $($argument),*).await
        }
    };
}

fn is_old(store: &Shared) -> bool {
    store.init.service() == Service::OldObjectStore
}

/// Stores an object: the pieces follow each other, and the first has to be there. `None` gives it up; the call has to be
/// waited for even then.
pub(super) async fn put(
    store: &Shared,
    lease: &Lease,
    key: &str,
    pieces: impl Stream<Item = Sent<Bytes>> + Send + 'static,
) -> Result<(), Status> {
    either!(store, put(lease, key, pieces))
}

/// Reads an object.
pub(super) async fn get(store: &Shared, lease: &Lease, key: &str) -> Result<Pieces, Status> {
    either!(store, get(lease, key))
}

/// Lists the keys that begin with a prefix.
pub(super) async fn list(
    store: &Shared,
    lease: &Lease,
    prefix: &str,
) -> Result<Vec<String>, Status> {
    either!(store, list(lease, prefix))
}

/// Removes an object.
pub(super) async fn delete(store: &Shared, lease: &Lease, key: &str) -> Result<(), Status> {
    either!(store, delete(lease, key))
}

/// Returns a link that serves an object for `ttl` nanoseconds; empty if the store has none.
pub(super) async fn sign(
    store: &Shared,
    lease: &Lease,
    key: &str,
    ttl: i64,
) -> Result<String, Status> {
    either!(store, sign(lease, key, ttl))
}

/// Returns whether an object is there. Ark's plugins do not know this call.
pub(super) async fn exists(store: &Shared, lease: &Lease, key: &str) -> Result<bool, Status> {
    if is_old(store) {
        return Err(Status::unimplemented(""));
    }
    let request = velero::ObjectExistsRequest {
        plugin: store.init.plugin().to_owned(),
        bucket: store.bucket.clone(),
        key: key.to_owned(),
    };
    let answer = current::client(lease).object_exists(request).await?;
    Ok(answer.into_inner().exists)
}

/// Returns whether [`directories`] lists those below a prefix.
pub(super) fn lists_below(store: &Shared) -> bool {
    !is_old(store)
}

/// Lists the common prefixes of the keys that begin with `prefix`, up to the next slash.
pub(super) async fn directories(
    store: &Shared,
    lease: &Lease,
    prefix: &str,
) -> Result<Vec<String>, Status> {
    let (bucket, delimiter) = (store.bucket.clone(), "/".to_owned());
    let prefixes = if is_old(store) {
        let request = ark08::ListCommonPrefixesRequest { bucket, delimiter };
        let answer = old::client(lease).list_common_prefixes(request).await?;
        answer.into_inner().prefixes
    } else {
        let request = velero::ListCommonPrefixesRequest {
            plugin: store.init.plugin().to_owned(),
            bucket,
            delimiter,
            prefix: prefix.to_owned(),
        };
        let answer = current::client(lease).list_common_prefixes(request).await?;
        answer.into_inner().prefixes
    };
    Ok(prefixes)
}
