//! The S3 provider with buckets that are not the plain ones of a MinIO: moto's, encrypted and tagged ones over TLS, ones
//! under object lock, ones in the host's name; and what a killed server leaves in any of them.

use std::sync::Arc;
use std::time::Duration;

use ark::providers::registry;
use ark::providers::store::{ErrorKind, Lock, ObjectStore};
use ark::storage::{Location, PartKind, RunMarker};
use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::s3::{config, environment, files, keys_of, open, refusal};
use crate::support::minio::{KMS_KEY, Minio, Options};
use crate::support::moto::{Moto, documented_policy};
use crate::support::unique_name;

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_served_too() {
    let moto = Moto::start().await.unwrap();
    moto.create_bucket("there").await.unwrap();
    let policy = documented_policy("there").unwrap();
    let (key, secret) = moto.create_user("ark", &policy).await.unwrap();
    let settings = [("s3Url", &*moto.endpoint()), ("tagging", "team=a")];
    let config = config("there", &settings);
    let keys = environment(&[
        ("AWS_ACCESS_KEY_ID", &key),
        ("AWS_SECRET_ACCESS_KEY", &secret),
    ]);
    let store = registry::open(&config, &keys).await.unwrap();
    // moto looks whether an object is there, and stores it after that, in a thread for each request.
    crate::conformance::object_store_conformance_of_one(Arc::clone(&store)).await;
    unfinished_uploads_are_removed(&*store).await;

    // What the page on AWS allows is enough. (moto answers no links while it looks at policies.)
    moto.trust_nobody().await.unwrap();
    store.check().await.unwrap();
    store.put_new("a", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.get_range("a", 0..1).await.unwrap(), "x");
    assert_eq!(store.lock("a").await.unwrap(), None);
    store.delete("a").await.unwrap();
    unfinished_uploads_are_removed(&*store).await;
    let less = [
        ("AWS_ACCESS_KEY_ID", &*key),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];
    let error = refusal(&config, &environment(&less)).await;
    assert_eq!(error.kind, ErrorKind::Denied);
}

/// Leaves an upload behind, as a server does that is killed.
async fn leave_unfinished(store: &dyn ObjectStore, key: &str) {
    let mut upload = store.upload(key).await.unwrap();
    for _ in 0..12 {
        upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    }
    std::mem::forget(upload);
}

async fn unfinished_uploads_are_removed(store: &dyn ObjectStore) {
    leave_unfinished(store, "left/a b").await;
    leave_unfinished(store, "left/a b").await;
    let mut other = store.upload("left/a b c").await.unwrap();
    for _ in 0..12 {
        other.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    }
    for _ in 0..2 {
        store.abort_uploads("left/a b").await.unwrap();
    }
    // That of another key goes on, though its name begins alike.
    other.finish().await.unwrap();
    let left: Vec<String> = store.list("left/").try_collect().await.unwrap();
    assert_eq!(left, ["left/a b c"]);
    store.delete("left/a b c").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_goes_with_its_run() {
    let minio = Minio::start().await.unwrap();
    let store = open(&minio, &[]).await;
    let parts = minio.dir().join("data/.minio.sys/multipart");
    unfinished_uploads_are_removed(&*store).await;
    assert_eq!(files(&parts), 0);

    let location = Location::new(Arc::clone(&store), Some("clusters/one"));
    let mut markers = Vec::new();
    for attempt in [1, 2] {
        let marker = RunMarker {
            attempt,
            backup_uid: "u".into(),
            ..RunMarker::default()
        };
        let run = location.begin_run("b", &marker).await.unwrap();
        for kind in [PartKind::Contents, PartKind::Index] {
            let mut part = run.part(kind).await.unwrap();
            for _ in 0..12 {
                part.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
            }
            std::mem::forget(part);
        }
        markers.push(marker);
    }
    let both = files(&parts);
    assert!(both > 0);
    location.discard_run("b", &markers[0]).await.unwrap();
    let one = files(&parts);
    assert!(
        one > 0 && one < both,
        "the other run's stay: {one} of {both}"
    );
    location.discard_run("b", &markers[1]).await.unwrap();
    assert_eq!(files(&parts), 0);
    let left: Vec<String> = store.list("").try_collect().await.unwrap();
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_encrypted_and_tagged_over_tls() {
    let options = Options {
        tls: true,
        kms: true,
        ..Options::default()
    };
    let minio = Minio::start_with(options).await.unwrap();
    // The suite fetches by links over plain HTTP.
    let front = minio.front().await.unwrap();
    let bucket = unique_name("stores");
    minio.create_bucket(&bucket).await.unwrap();
    let (url, certificate) = (minio.endpoint(), minio.certificate());
    let settings = [
        ("s3Url", url.as_str()),
        ("publicUrl", &front.address()),
        ("caCert", certificate.to_str().unwrap()),
        ("kmsKeyId", KMS_KEY),
        ("tagging", "team=a+b%2Fc&stage=test"),
    ];
    let keys = keys_of(&minio);
    let store = registry::open(&config(&bucket, &settings), &keys)
        .await
        .unwrap();
    crate::conformance::object_store_conformance(Arc::clone(&store)).await;

    store.put("put", Bytes::from_static(b"x")).await.unwrap();
    store
        .put_new("new", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let mut upload = store.upload("parts").await.unwrap();
    for _ in 0..12 {
        upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    }
    upload.finish().await.unwrap();
    for key in ["put", "new", "parts"] {
        let headers = minio.headers(&bucket, key).await.unwrap();
        assert_eq!(headers["x-amz-server-side-encryption"], "aws:kms", "{key}");
        let tags = minio
            .read(&format!("/{bucket}/{key}?tagging="))
            .await
            .unwrap();
        for (name, value) in [("team", "a b/c"), ("stage", "test")] {
            let tag = format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>");
            assert!(tags.contains(&tag), "{key}: {tags}");
        }
    }
    unfinished_uploads_are_removed(&*store).await;

    let unknown = config(&bucket, &settings[..1]);
    let error = refusal(&unknown, &keys).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.to_string().contains("caCert"), "{error}");
    let mut other_key = settings;
    other_key[3].1 = "nobody-has-this-key";
    let store = registry::open(&config(&bucket, &other_key), &keys)
        .await
        .unwrap();
    let error = store.put("a", Bytes::new()).await.unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(error.to_string().contains("key"), "{error}");
    let mut odd_tags = settings;
    odd_tags[4].1 = "team=a%26b";
    let store = registry::open(&config(&bucket, &odd_tags), &keys)
        .await
        .unwrap();
    let error = store.put("a", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("config.tagging"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_under_object_lock_is_written_to_without_a_setting() {
    let minio = Minio::start().await.unwrap();
    // MinIO takes what comes without a checksum; S3 does not.
    let front = minio.front().await.unwrap();
    front.demand("x-amz-checksum-");
    for days in [1, 0] {
        let bucket = unique_name("stores");
        minio.create_locked_bucket(&bucket, days).await.unwrap();
        let config = config(&bucket, &[("s3Url", &front.address())]);
        let store = registry::open(&config, &keys_of(&minio)).await.unwrap();
        crate::conformance::object_store_conformance(Arc::clone(&store)).await;

        store.put("a b/c", Bytes::from_static(b"x")).await.unwrap();
        let lock = store.lock("a b/c").await.unwrap();
        if days == 0 {
            assert_eq!(lock, None);
        } else {
            let Some(Lock::Until(end)) = lock else {
                panic!("{lock:?}");
            };
            let hours = end.duration_since(jiff::Timestamp::now()).as_hours();
            assert!((22..=24).contains(&hours), "{end}");
        }
        minio.hold(&bucket, "a%20b/c", true).await.unwrap();
        assert_eq!(store.lock("a b/c").await.unwrap(), Some(Lock::Held));
        minio.hold(&bucket, "a%20b/c", false).await.unwrap();
        assert_eq!(store.lock("absent").await.unwrap(), None);
        // It is hidden, and can be written anew.
        store.delete("a b/c").await.unwrap();
        assert!(!store.exists("a b/c").await.unwrap());
        assert_eq!(store.lock("a b/c").await.unwrap(), None);
        store
            .put_new("a b/c", Bytes::from_static(b"y"))
            .await
            .unwrap();
    }
    // Of another bucket it is asked once, and not of each object.
    let store = open(&minio, &[("s3Url", &front.address())]).await;
    let (buckets, objects) = (front.count("?object-lock"), front.count("HEAD "));
    front.demand("");
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.lock("a").await.unwrap(), None);
    }
    assert_eq!(front.count("?object-lock"), buckets + 1);
    assert_eq!(front.count("HEAD "), objects);
}

/// A test of its own process: it needs a proxy, by which names are found that no server of names knows.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "buckets_may_be_in_the_host_name runs it"]
async fn in_the_host_name() {
    let variable = |name| std::env::var(name).unwrap();
    let keys = environment(&[
        ("AWS_ACCESS_KEY_ID", &variable("ARK_TEST_KEY")),
        ("AWS_SECRET_ACCESS_KEY", &variable("ARK_TEST_SECRET")),
    ]);
    crate::support::init();
    let settings = [
        ("s3Url", "http://minio.test"),
        ("s3ForcePathStyle", "false"),
    ];
    let store = registry::open(&config("there", &settings), &keys)
        .await
        .unwrap();
    store.check().await.unwrap();
    store.put("a b/c", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.get_range("a b/c", 0..1).await.unwrap(), "x");
    assert_eq!(store.lock("a b/c").await.unwrap(), None);
    let url = store.sign_get("a b/c", Duration::from_mins(1)).await;
    let url = url.unwrap();
    assert!(
        url.as_str().starts_with("http://there.minio.test/a%20b/c?"),
        "{url}"
    );
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "x");
    store.delete("a b/c").await.unwrap();
    unfinished_uploads_are_removed(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_may_be_in_the_host_name() {
    let options = Options {
        domain: Some("minio.test"),
        ..Options::default()
    };
    let minio = Minio::start_with(options).await.unwrap();
    minio.create_bucket("there").await.unwrap();
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "s3_buckets::in_the_host_name",
            "--ignored",
            "--nocapture",
        ])
        // MinIO answers whoever takes it for a proxy to itself.
        .env("http_proxy", minio.endpoint())
        .env("no_proxy", "")
        .env("ARK_TEST_KEY", minio.access_key())
        .env("ARK_TEST_SECRET", minio.secret_key())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{said}");
}
