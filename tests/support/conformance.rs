//! What every object store must do, whatever stands behind the port. Each promise of the trait is kept here once, and
//! every implementation runs all of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ark::providers::store::{ErrorKind, ObjectStore, StoreError};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

/// Checks a store that is empty at the start, and leaves it empty.
pub async fn object_store_conformance(store: Arc<dyn ObjectStore>) {
    object_store_conformance_of_one(Arc::clone(&store)).await;
    races(&store).await;
    assert_eq!(keys(&store, "").await, [""; 0], "the suite cleans up");
}

/// The same without writers that race, for a server that is not made for them.
pub async fn object_store_conformance_of_one(store: Arc<dyn ObjectStore>) {
    store.check().await.expect("the store can be used");
    empty(&store).await;
    small_objects(&store).await;
    new_objects(&store).await;
    odd_keys(&store).await;
    keys_that_are_none(&store).await;
    listings(&store).await;
    uploads(&store).await;
    given_up_uploads(&store).await;
    many_keys(&store).await;
    signed(&store).await;
    assert_eq!(keys(&store, "").await, [""; 0], "the suite cleans up");
}

/// Returns the keys that begin with `prefix`, sorted.
async fn keys(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = store.list(prefix).try_collect().await.unwrap();
    keys.sort();
    keys
}

async fn body(store: &Arc<dyn ObjectStore>, key: &str) -> Result<Vec<u8>, StoreError> {
    let pieces: Vec<Bytes> = store.get(key).await?.try_collect().await?;
    Ok(pieces.concat())
}

fn is_missing<T>(result: Result<T, StoreError>, what: &str) {
    let error = result
        .err()
        .unwrap_or_else(|| panic!("{what}: nothing should be there"));
    assert_eq!(error.kind, ErrorKind::NotFound, "{what}: {error}");
}

async fn empty(store: &Arc<dyn ObjectStore>) {
    assert_eq!(keys(store, "").await, [""; 0]);
    assert_eq!(keys(store, "backups/").await, [""; 0]);
    assert_eq!(store.list_directories("").await.unwrap(), [""; 0]);
    assert_eq!(store.list_directories("backups/").await.unwrap(), [""; 0]);
    assert!(!store.exists("backups/a").await.unwrap());
    is_missing(store.get("backups/a").await.map(drop), "get");
    is_missing(store.get_range("backups/a", 0..1).await, "get_range");
    store.delete("backups/a").await.unwrap();
}

async fn small_objects(store: &Arc<dyn ObjectStore>) {
    let key = "small/object";
    store.put(key, Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(body(store, key).await.unwrap(), b"first");
    assert!(store.exists(key).await.unwrap());

    let second = Bytes::from_static(b"the second");
    store.put(key, second.clone()).await.unwrap();
    assert_eq!(body(store, key).await.unwrap(), second);
    assert_eq!(store.get_range(key, 4..10).await.unwrap(), "second");
    assert_eq!(store.get_range(key, 0..10).await.unwrap(), second);
    assert_eq!(store.get_range(key, 4..4).await.unwrap(), "");
    for beyond in [4..11, 10..12, 100..110] {
        let cut = store.get_range(key, beyond.clone()).await;
        assert!(cut.is_err(), "{beyond:?} is not all there");
    }

    store.put("small/empty", Bytes::new()).await.unwrap();
    assert_eq!(body(store, "small/empty").await.unwrap(), b"");
    store.delete("small/empty").await.unwrap();

    store.delete(key).await.unwrap();
    store.delete(key).await.expect("deleting twice is fine");
    assert!(!store.exists(key).await.unwrap());
    is_missing(body(store, key).await, "get of what was deleted");
}

async fn new_objects(store: &Arc<dyn ObjectStore>) {
    let key = "new/object";
    store.put_new(key, Bytes::from_static(b"a")).await.unwrap();
    let taken = store.put_new(key, Bytes::from_static(b"b")).await;
    assert_eq!(taken.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(body(store, key).await.unwrap(), b"a");
    store.delete(key).await.unwrap();
    store.put_new(key, Bytes::from_static(b"c")).await.unwrap();
    store.delete(key).await.unwrap();
}

async fn races(store: &Arc<dyn ObjectStore>) {
    if !store.capabilities().create_new {
        return;
    }
    for round in 0..5 {
        let key = format!("new/race-{round}");
        let writers = (0..8).map(|writer| {
            let (store, key) = (Arc::clone(store), key.clone());
            tokio::spawn(async move { store.put_new(&key, Bytes::from(vec![writer; 100])).await })
        });
        let mut winners = Vec::new();
        for (writer, result) in futures::future::join_all(writers)
            .await
            .into_iter()
            .enumerate()
        {
            match result.unwrap() {
                Ok(()) => winners.push(u8::try_from(writer).unwrap()),
                Err(error) => assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "exactly one writer wins");
        assert_eq!(
            body(store, &key).await.unwrap(),
            vec![winners[0]; 100],
            "the winner's object is there"
        );
        store.delete(&key).await.unwrap();
    }
}

async fn odd_keys(store: &Arc<dyn ObjectStore>) {
    let mut odd = vec![
        "odd/a:b",
        "odd/with space",
        "odd/with+plus",
        "odd/%41",
        "odd/100%",
        "odd/a#b",
        "odd/a?b=c&d",
        "odd/[x]{y}~*",
        "odd/ümläut-日本語",
        "odd/\"quotes\" and 'more'",
        "odd/<tag>",
        "odd/.hidden",
        "odd/-dash",
    ];
    // A store may take no backslash, but it must not turn it into something else.
    let backslash = "odd/back\\slash";
    match store.put(backslash, Bytes::new()).await {
        Ok(()) => odd.push(backslash),
        Err(error) => assert_eq!(error.kind, ErrorKind::Invalid, "{error}"),
    }
    for &key in &odd {
        store
            .put(key, Bytes::from_static(key.as_bytes()))
            .await
            .unwrap_or_else(|error| panic!("put {key}: {error}"));
    }
    let listed: BTreeSet<String> = keys(store, "odd/").await.into_iter().collect();
    let wanted: BTreeSet<String> = odd.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(listed, wanted, "keys come back as they were given");
    for key in odd {
        assert_eq!(
            body(store, key).await.unwrap(),
            key.as_bytes(),
            "each key has an object of its own: {key}"
        );
        assert!(store.exists(key).await.unwrap(), "{key}");
        store.delete(key).await.unwrap();
        assert!(!store.exists(key).await.unwrap(), "{key}");
    }
}

async fn keys_that_are_none(store: &Arc<dyn ObjectStore>) {
    for key in ["", "/a", "a/", "a//b", "a/../b", ".."] {
        let error = store.put(key, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{key:?}: {error}");
        assert!(store.get(key).await.is_err(), "{key:?}");
        assert!(store.delete(key).await.is_err(), "{key:?}");
        assert!(store.upload(key).await.is_err(), "{key:?}");
    }
}

async fn listings(store: &Arc<dyn ObjectStore>) {
    let all = [
        "list/a/1",
        "list/a/2",
        "list/a-b/1",
        "list/b/deep/er/1",
        "list/file",
        "listing",
    ];
    for key in all {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    for (prefix, expected) in [
        ("list/a/", &["list/a/1", "list/a/2"][..]),
        ("list/a", &["list/a-b/1", "list/a/1", "list/a/2"]),
        ("list/b/", &["list/b/deep/er/1"]),
        ("list/b/d", &["list/b/deep/er/1"]),
        ("list/a/2", &["list/a/2"]),
        ("listi", &["listing"]),
        ("list/c", &[]),
        ("list/file/", &[]),
    ] {
        assert_eq!(keys(store, prefix).await, expected, "{prefix:?}");
    }
    assert_eq!(keys(store, "").await.len(), all.len());
    for (prefix, expected) in [
        ("", &["list"][..]),
        ("list/", &["a", "a-b", "b"]),
        ("list/b/", &["deep"]),
        ("list/a/", &[]),
        ("absent/", &[]),
    ] {
        let names = sorted(store.list_directories(prefix).await.unwrap());
        assert_eq!(names, expected, "{prefix:?}");
    }
    for key in all {
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.list_directories("").await.unwrap(), [""; 0]);
}

/// Returns bytes that show when a part is missing, doubled or out of order.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

async fn uploads(store: &Arc<dyn ObjectStore>) {
    let part = 5 * 1024 * 1024;
    for (length, piece) in [
        (0, 1),
        (1, 1),
        (1000, 7),
        (part - 1, 1 << 20),
        (part, 1 << 20),
        (part + 1, part + 1),
        (2 * part, 3 * part),
        (20 << 20, 777_777),
    ] {
        let key = format!("uploads/{length}");
        let whole = Bytes::from(pattern(length));
        let mut upload = store.upload(&key).await.unwrap();
        for start in (0..length).step_by(piece) {
            let end = length.min(start + piece);
            upload.write(whole.slice(start..end)).await.unwrap();
        }
        upload.write(Bytes::new()).await.unwrap();
        assert!(
            !store.exists(&key).await.unwrap(),
            "{length}: not visible before it is whole"
        );
        upload.finish().await.unwrap();
        assert!(
            body(store, &key).await.unwrap() == whole,
            "{length} bytes in pieces of {piece} come back"
        );
        if length > 2000 {
            let middle = length / 2;
            let read = store
                .get_range(&key, middle as u64..middle as u64 + 1000)
                .await
                .unwrap();
            assert!(read == whole[middle..middle + 1000], "{length}: the middle");
        }
    }
    for key in keys(store, "uploads/").await {
        store.delete(&key).await.unwrap();
    }
}

async fn given_up_uploads(store: &Arc<dyn ObjectStore>) {
    for length in [0, 1000, 12 << 20] {
        for ending in ["abort", "drop"] {
            let mut upload = store.upload("given-up/object").await.unwrap();
            upload.write(Bytes::from(pattern(length))).await.unwrap();
            if ending == "abort" {
                upload.abort().await.unwrap();
            } else {
                drop(upload);
            }
            assert_eq!(
                keys(store, "given-up/").await,
                [""; 0],
                "{length} bytes, {ending}"
            );
            assert_eq!(store.list_directories("").await.unwrap(), [""; 0]);
        }
    }
    // The key can be used afterwards, and a writer that gives up takes nothing from one that did not.
    let mut slow = store.upload("given-up/object").await.unwrap();
    slow.write(Bytes::from(pattern(6 << 20))).await.unwrap();
    store
        .put("given-up/object", Bytes::from_static(b"kept"))
        .await
        .unwrap();
    slow.abort().await.unwrap();
    assert_eq!(body(store, "given-up/object").await.unwrap(), b"kept");
    store.delete("given-up/object").await.unwrap();
}

/// More keys than a page of any store's listing holds.
async fn many_keys(store: &Arc<dyn ObjectStore>) {
    let count = 1100;
    let name = |index: usize| format!("many/{index:04}/key");
    futures::stream::iter(0..count)
        .map(|index| async move { store.put(&name(index), Bytes::from_static(b"x")).await })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
    let listed: BTreeSet<String> = keys(store, "many/").await.into_iter().collect();
    assert_eq!(listed, (0..count).map(name).collect::<BTreeSet<_>>());
    assert_eq!(store.list_directories("many/").await.unwrap().len(), count);
    futures::stream::iter(0..count)
        .map(|index| async move { store.delete(&name(index)).await })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
}

async fn signed(store: &Arc<dyn ObjectStore>) {
    let key = "signed/a b:c";
    store
        .put(key, Bytes::from_static(b"for you"))
        .await
        .unwrap();
    let url = store.sign_get(key, Duration::from_mins(1)).await;
    if store.capabilities().sign {
        let answer = plain_get(url.unwrap().as_str()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("for you"),
            "{answer}"
        );
    } else {
        assert_eq!(url.unwrap_err().kind, ErrorKind::NotSupported);
    }
    store.delete(key).await.unwrap();
}

/// Makes a GET request without any credential, over plain HTTP, and returns the whole answer.
pub async fn plain_get(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let url = url::Url::parse(url).unwrap();
    assert_eq!(url.scheme(), "http", "the suite fetches without TLS");
    let host = url.host_str().unwrap();
    let port = url.port_or_known_default().unwrap();
    let mut stream = tokio::net::TcpStream::connect((host, port)).await.unwrap();
    let request = format!(
        "GET {}?{} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n",
        url.path(),
        url.query().unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
