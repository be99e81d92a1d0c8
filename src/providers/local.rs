//! The `local` provider: a directory that stands for a bucket, for trying Ark out, for tests and for mounted disks.
//!
//! `config.path` must exist (a mount that is missing must not be mistaken for an empty disk); the bucket is a directory
//! in it, made when it is missing, since nothing else makes it. Every write reaches the disk before it is reported
//! done. A key cannot lie below another key (`a` and `a/b`), and no key's last part may end in `#` and digits: files of
//! such names are objects in the making.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;

use super::blobs::{Blobs, Place, io_problem};
use super::settings::{Settings, bucket, invalid};
use super::store::{Capabilities, ObjectStore, StoreError};
use crate::api::StorageProviderConfig;

/// The settings of this provider.
const KEYS: &[&str] = &["path"];

/// Opens a directory as a store.
pub(super) async fn open(
    config: &StorageProviderConfig,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let settings = Settings::of_store(config, KEYS)?;
    let bucket = bucket(config)?.to_owned();
    let base = settings.text("path").map(PathBuf::from).ok_or_else(|| {
        invalid(
            "backupStorageProvider.config.path is not set; name the directory that holds the buckets",
        )
    })?;
    if !base.is_absolute() {
        return Err(invalid(format!(
            "backupStorageProvider.config.path: {} is relative; write the whole path, since each program that reads \
             it stands somewhere else",
            base.display()
        )));
    }
    tokio::task::spawn_blocking(move || open_directory(&base, &bucket))
        .await
        .map_err(|error| invalid("cannot look at the directory").with_source(error))?
}

fn open_directory(base: &Path, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    match base.metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(invalid(format!(
                "backupStorageProvider.config.path: {} is not a directory",
                base.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(invalid(format!(
                "backupStorageProvider.config.path: {} does not exist; create or mount it",
                base.display()
            )));
        }
        Err(error) => return Err(no_access("look at", base, &error)),
    }
    let directory = base.join(bucket);
    match std::fs::create_dir(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(no_access("create", &directory, &error)),
    }
    let store = LocalFileSystem::new_with_prefix(&directory)
        .map_err(|error| {
            invalid(format!(
                "{} cannot be used as a bucket: {error}",
                directory.display()
            ))
        })?
        .with_automatic_cleanup(true)
        .with_fsync(true);
    Ok(Arc::new(Blobs::new(
        Arc::new(store),
        Place::Directory(directory),
        Capabilities {
            create_new: true,
            ranges: true,
            sign: false,
        },
        |_| None,
    )))
}

fn no_access(tried: &str, path: &Path, error: &io::Error) -> StoreError {
    let (kind, why) = io_problem(error);
    StoreError::new(kind, format!("cannot {tried} {}: {why}", path.display()))
}

/// Checks that the directory is there and can be read.
pub(super) fn check(directory: &Path) -> Result<(), io::Error> {
    match std::fs::read_dir(directory)?.next() {
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Removes what a crashed writer left of a key, and the directories that are empty then.
///
/// Only the key's own files in the making are touched, and only when the key itself is deleted: nobody writes it then.
pub(super) fn sweep(directory: &Path, key: &str) {
    let file = directory.join(key);
    let (Some(parent), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
    else {
        return;
    };
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let staged = entry
            .file_name()
            .to_str()
            .and_then(|found| found.strip_prefix(name)?.strip_prefix('#'))
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        if staged {
            // What cannot be removed stays invisible; the next deletion tries again.
            let _best_effort = std::fs::remove_file(entry.path());
        }
    }
    let mut empty = Some(parent);
    while let Some(parent) = empty.filter(|parent| *parent != directory) {
        if std::fs::remove_dir(parent).is_err() {
            break;
        }
        empty = parent.parent();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::TryStreamExt as _;

    use super::*;
    use crate::providers::store::ErrorKind;

    fn config(path: &Path, bucket: &str) -> StorageProviderConfig {
        StorageProviderConfig {
            name: "local".into(),
            bucket: bucket.into(),
            config: [("path".to_owned(), path.display().to_string())].into(),
            ..StorageProviderConfig::default()
        }
    }

    async fn problem(config: &StorageProviderConfig) -> String {
        let error = open(config).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        error.to_string()
    }

    #[tokio::test]
    async fn the_base_must_exist_and_the_bucket_is_made() {
        let dir = tempfile::tempdir().unwrap();
        open(&config(dir.path(), "ark"))
            .await
            .unwrap()
            .check()
            .await
            .unwrap();
        assert!(dir.path().join("ark").is_dir());

        let missing = problem(&config(&dir.path().join("gone"), "ark")).await;
        assert!(missing.contains("gone does not exist"), "{missing}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let file = problem(&config(&dir.path().join("file"), "ark")).await;
        assert!(file.contains("is not a directory"), "{file}");
        let relative = problem(&config(Path::new("backups"), "ark")).await;
        assert!(relative.contains("is relative"), "{relative}");
        let unset = problem(&StorageProviderConfig {
            config: [].into(),
            ..config(dir.path(), "ark")
        })
        .await;
        assert!(unset.contains("path is not set"), "{unset}");
        for bucket in ["..", "a/b", "../up"] {
            let bad = problem(&config(dir.path(), bucket)).await;
            assert!(bad.contains("cannot name a bucket"), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_went_away_is_no_bucket() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path(), "ark")).await.unwrap();
        std::fs::remove_dir(dir.path().join("ark")).unwrap();
        let error = store.check().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoBucket, "{error}");
    }

    #[tokio::test]
    async fn a_crashed_writers_files_are_invisible_and_go_with_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path(), "ark")).await.unwrap();
        let staged = dir.path().join("ark/backups/b/b-1.tar.zst#1");
        std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
        std::fs::write(&staged, "half").unwrap();

        let keys: Vec<String> = store.list("backups/").try_collect().await.unwrap();
        assert!(keys.is_empty(), "{keys:?}");
        assert!(store.list_directories("backups/").await.unwrap().is_empty());

        // Another key's deletion does not touch them.
        store
            .put("backups/b/other", Bytes::from_static(b"x"))
            .await
            .unwrap();
        store.delete("backups/b/other").await.unwrap();
        assert!(staged.exists());
        store.delete("backups/b/b-1.tar.zst").await.unwrap();
        assert!(!staged.exists());
        assert!(!dir.path().join("ark/backups").exists());
        assert!(dir.path().join("ark").exists());
    }

    #[tokio::test]
    async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path(), "ark")).await.unwrap();
        store.put("a", vec![0; 100_000].into()).await.unwrap();
        let mut pieces = store.get("a").await.unwrap();
        let path = dir.path().join("ark/a");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(10).unwrap();
        let mut read = 0;
        let ended = loop {
            match pieces.try_next().await {
                Ok(Some(_)) if read < 1_000 => read += 1,
                ended => break ended,
            }
        };
        let error = ended.expect_err("a whole object");
        assert!(error.to_string().contains("ended early"), "{error}");
    }

    #[tokio::test]
    async fn local_files_are_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path(), "ark")).await.unwrap();
        assert!(!store.capabilities().sign);
        let error = store
            .sign_get("a", std::time::Duration::from_secs(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotSupported);
    }
}
