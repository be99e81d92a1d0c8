//! Connections that break while an object is written, for the stores whose uploads are ours.

use std::sync::Arc;

use ark::providers::store::{ErrorKind, ObjectStore};
use bytes::Bytes;

use crate::support::proxy::{Behaviour, Proxy};

/// Checks that an upload whose connection is cut for good fails, and leaves nothing.
pub async fn what_is_cut_off_leaves_nothing(store: &Arc<dyn ObjectStore>, proxy: &Proxy) {
    let mut upload = store.upload("cut/object").await.unwrap();
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..11 {
        upload.write(megabyte.clone()).await.unwrap();
    }
    proxy.set(Behaviour::Refuse);
    let mut failure = None;
    for _ in 0..20 {
        if let Err(error) = upload.write(megabyte.clone()).await {
            failure = Some(error);
            break;
        }
    }
    let failure = match failure {
        Some(failure) => {
            upload.abort().await.unwrap();
            failure
        }
        None => upload.finish().await.unwrap_err(),
    };
    assert_eq!(failure.kind, ErrorKind::Unreachable, "{failure}");
    proxy.set(Behaviour::Forward);
    assert!(!store.exists("cut/object").await.unwrap());
}

/// Writes an object over a connection that breaks now and then; returns what it must hold.
pub async fn write_over_short_breaks(
    store: &Arc<dyn ObjectStore>,
    proxy: &Proxy,
    key: &str,
) -> Vec<u8> {
    let pattern = |megabyte: usize| Bytes::from(vec![u8::try_from(megabyte).unwrap(); 1 << 20]);
    let mut upload = store.upload(key).await.unwrap();
    for megabyte in 0..30 {
        if megabyte % 7 == 0 {
            proxy.cut();
        }
        upload.write(pattern(megabyte)).await.unwrap();
    }
    upload.finish().await.unwrap();
    (0..30).map(pattern).collect::<Vec<Bytes>>().concat()
}
