//! The S3 provider against MinIO, which checks signatures as Amazon does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::minio::Minio;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::{PATIENCE, unique_name, wait_until};
use ark::api::{Backup, BackupSpec, BackupStatus, Part, StorageProviderConfig};
use ark::providers::store::{ErrorKind, ObjectStore, StoreError};
use ark::providers::{Environment, registry};
use ark::storage::{Deletion, Location, Owner, PartKind, RunMarker};
use bytes::Bytes;
use futures::TryStreamExt as _;

pub(crate) fn config(bucket: &str, pairs: &[(&str, &str)]) -> StorageProviderConfig {
    StorageProviderConfig {
        name: "aws".into(),
        bucket: bucket.into(),
        config: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..StorageProviderConfig::default()
    }
}

pub(crate) fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn keys_of(minio: &Minio) -> Environment {
    environment(&[
        ("AWS_ACCESS_KEY_ID", minio.access_key()),
        ("AWS_SECRET_ACCESS_KEY", minio.secret_key()),
    ])
}

/// Opens a new bucket with further settings.
pub(crate) async fn open(minio: &Minio, more: &[(&str, &str)]) -> Arc<dyn ObjectStore> {
    let bucket = unique_name("stores");
    minio.create_bucket(&bucket).await.unwrap();
    let mut config = config(&bucket, &[("s3Url", &minio.endpoint())]);
    for (key, value) in more {
        config.config.insert((*key).to_owned(), (*value).to_owned());
    }
    registry::open(&config, &keys_of(minio)).await.unwrap()
}

/// Returns the error of a store that cannot be used; it must be one line without secrets.
pub(crate) async fn refusal(
    config: &StorageProviderConfig,
    environment: &Environment,
) -> StoreError {
    let started = std::time::Instant::now();
    let store = registry::open(config, environment).await.unwrap();
    let error = store.check().await.unwrap_err();
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    assert!(!format!("{error:?} {store:?}").contains("hunter2"));
    tracing::info!(%error, took = ?started.elapsed(), "refused");
    error
}

/// Returns the number of files in a directory and those below it.
pub(crate) fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            _ => 1,
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_every_promise() {
    let minio = Minio::start().await.unwrap();
    crate::conformance::object_store_conformance(open(&minio, &[]).await).await;
    // What an object-lock bucket demands of a writer.
    let with_checksums = open(&minio, &[("checksumAlgorithm", "SHA256")]).await;
    crate::conformance::object_store_conformance(with_checksums).await;
    wait_until("no unfinished upload is left", PATIENCE, async || {
        let parts = minio.dir().join("data/.minio.sys/multipart");
        Ok((files(&parts) == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_sentence() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("there").await.unwrap();
    let url = minio.endpoint();
    let s3_url = ("s3Url", url.as_str());
    let good = keys_of(&minio);

    let missing = config("absent", &[s3_url]);
    let error = refusal(&missing, &good).await;
    assert_eq!(error.kind, ErrorKind::NoBucket);
    assert_eq!(
        error.to_string(),
        format!(
            "bucket \"absent\" at {url} does not exist; create it or correct backupStorageProvider.bucket"
        )
    );
    let store = registry::open(&missing, &good).await.unwrap();
    for result in [
        store.put("a", Bytes::new()).await,
        store.put_new("a", Bytes::new()).await,
        store.get("a").await.map(drop),
        store.get_range("a", 0..1).await.map(drop),
        store.list("a/").try_collect::<Vec<_>>().await.map(drop),
        store.list_directories("").await.map(drop),
        store.delete("a").await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoBucket, "{error}");
    }

    let there = config("there", &[s3_url]);
    let wrong_secret = environment(&[
        ("AWS_ACCESS_KEY_ID", minio.access_key()),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    let error = refusal(&there, &wrong_secret).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    let wrong_key = environment(&[
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    let error = refusal(&there, &wrong_key).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    let no_key = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]);
    let error = refusal(&there, &no_key).await;
    assert_eq!(error.kind, ErrorKind::Denied);

    let unreachable = config("there", &[("s3Url", "http://127.0.0.1:1")]);
    let error = refusal(&unreachable, &good).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let no_tls = config("there", &[("s3Url", &url.replace("http", "https"))]);
    let error = refusal(&no_tls, &good).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let no_name = config("there", &[("s3Url", "http://no-such-host.invalid")]);
    let error = refusal(&no_name, &good).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_unreachable() {
    let minio = Minio::start().await.unwrap();
    let proxy = Proxy::to(minio.port()).await.unwrap();
    proxy.set(Behaviour::Swallow);
    let silent = config("there", &[("s3Url", &proxy.http_url())]);
    let error = refusal(&silent, &keys_of(&minio)).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_shared_file_too() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("there").await.unwrap();
    let file = minio.credentials_file().unwrap();
    let environment = environment(&[("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())]);
    let config = config(
        "there",
        &[("s3Url", &minio.endpoint()), ("s3ForcePathStyle", "true")],
    );
    let store = registry::open(&config, &environment).await.unwrap();
    store.check().await.unwrap();
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_name_the_public_address() {
    let minio = Minio::start().await.unwrap();
    let proxy = Proxy::to(minio.port()).await.unwrap();
    let store = open(&minio, &[("publicUrl", &proxy.http_url())]).await;
    store
        .put("a/b", Bytes::from_static(b"for you"))
        .await
        .unwrap();
    let url = store
        .sign_get("a/b", Duration::from_mins(10))
        .await
        .unwrap();
    assert!(url.as_str().starts_with(&proxy.http_url()), "{url}");
    let answer = crate::conformance::plain_get(url.as_str()).await;
    assert!(answer.ends_with("for you"), "{answer}");
}

/// A backup that can be committed.
fn record(name: &str, parts: Vec<Part>) -> Backup {
    let mut backup = Backup::new(name, BackupSpec::default());
    backup.metadata.uid = Some("u".into());
    backup.status = Some(BackupStatus {
        version: Some(2),
        parts,
        ..BackupStatus::default()
    });
    backup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_written_committed_once_and_deleted() {
    let minio = Minio::start().await.unwrap();
    let store = open(&minio, &[]).await;
    let location = Location::new(Arc::clone(&store), Some("clusters/one"));
    location.check().await.unwrap();

    let mut runs = Vec::new();
    for attempt in [1, 2] {
        let marker = RunMarker {
            attempt,
            backup_uid: "u".into(),
            ..RunMarker::default()
        };
        let run = location.begin_run("b", &marker).await.unwrap();
        let mut contents = run.part(PartKind::Contents).await.unwrap();
        for _ in 0..7 {
            let piece = Bytes::from(vec![attempt.to_be_bytes()[3]; 1 << 20]);
            contents.write(piece).await.unwrap();
        }
        let part = contents.finish().await.unwrap();
        location.verify_part(&part).await.unwrap();
        runs.push((run, record("b", vec![part])));
    }
    let commits = runs.iter().map(|(run, record)| run.commit(record));
    let committed = futures::future::join_all(commits).await;
    assert_eq!(committed.iter().filter(|result| result.is_ok()).count(), 1);
    for ((run, _), committed) in runs.iter().zip(&committed) {
        if let Err(error) = committed {
            assert!(error.is_name_taken(), "{error}");
            run.discard().await.unwrap();
        }
    }
    assert_eq!(location.list_backups().await.unwrap(), ["b"]);
    let stored = location.read_record("b").await.unwrap();
    location.verify_part(&stored.parts()[0]).await.unwrap();

    let deleted = location.delete_backup("b", &Owner::new("u")).await.unwrap();
    assert_eq!(deleted, Deletion::Done { removed: 3 });
    let left: Vec<String> = store.list("").try_collect().await.unwrap();
    assert_eq!(left, ["clusters/one/metadata/revision"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let minio = Minio::start().await.unwrap();
    let proxy = Proxy::to(minio.port()).await.unwrap();
    minio.create_bucket("there").await.unwrap();
    let config = config("there", &[("s3Url", &proxy.http_url())]);
    let store = registry::open(&config, &keys_of(&minio)).await.unwrap();

    let mut upload = store.upload("cut/object").await.unwrap();
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..11 {
        upload.write(megabyte.clone()).await.unwrap();
    }
    proxy.set(Behaviour::Refuse);
    let mut failure = None;
    for _ in 0..11 {
        if let Err(error) = upload.write(megabyte.clone()).await {
            failure = Some(error);
            break;
        }
    }
    let failure = match failure {
        Some(failure) => failure,
        None => upload.finish().await.unwrap_err(),
    };
    assert_eq!(failure.kind, ErrorKind::Unreachable, "{failure}");
    proxy.set(Behaviour::Forward);
    assert!(!store.exists("cut/object").await.unwrap());

    // A short break is bridged.
    let mut upload = store.upload("bridged/object").await.unwrap();
    for megabytes in 0..30 {
        if megabytes % 7 == 0 {
            proxy.cut();
        }
        upload.write(megabyte.clone()).await.unwrap();
    }
    upload.finish().await.unwrap();
    let read: usize = store
        .get("bridged/object")
        .await
        .unwrap()
        .try_fold(0, async |sum, piece| Ok(sum + piece.len()))
        .await
        .unwrap();
    assert_eq!(read, 30 << 20);
}
