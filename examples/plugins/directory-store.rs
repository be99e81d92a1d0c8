//! A plugin that keeps objects in a directory: `config.path` of the location names it, each bucket is a directory in it.
//!
//! `cargo build --release --example plugin-directory-store` builds it; its file goes into the server's plugin directory,
//! and locations name the provider `example.org/directory`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use ark::plugin::{Body, ByteStream, ErrorKind, Server, Store, StoreError};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

/// Where objects are until they are whole, beside the buckets: no bucket is called so.
const UNFINISHED: &str = ".unfinished";

#[derive(Default)]
struct Directory {
    base: Mutex<PathBuf>,
}

impl Directory {
    fn base(&self) -> PathBuf {
        self.base
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn bucket(&self, bucket: &str) -> Result<PathBuf, StoreError> {
        let folder = self.base().join(bucket);
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(StoreError::new(
            ErrorKind::NoBucket,
            format!("{} does not exist; create it", folder.display()),
        ))
    }

    fn file(&self, bucket: &str, key: &str) -> Result<PathBuf, StoreError> {
        Ok(self.bucket(bucket)?.join(key))
    }
}

#[async_trait]
impl Store for Directory {
    async fn init(&self, config: BTreeMap<String, String>) -> Result<(), StoreError> {
        let path = config
            .get("path")
            .map(PathBuf::from)
            .filter(|path| path.is_dir());
        let Some(path) = path else {
            let problem = "config.path does not name a directory; create or mount it";
            return Err(StoreError::new(ErrorKind::Invalid, problem));
        };
        tracing::info!(path = %path.display(), "objects are kept there");
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = path;
        Ok(())
    }

    async fn put(&self, bucket: &str, key: &str, mut body: Body) -> Result<(), StoreError> {
        let file = self.file(bucket, key)?;
        let unfinished = self.base().join(UNFINISHED);
        fs::create_dir_all(&unfinished).await.map_err(failed)?;
        // It goes with its last handle, however this ends; only a whole object gets its name.
        let (temporary, unfinished) = tempfile::NamedTempFile::new_in(unfinished)
            .map_err(failed)?
            .into_parts();
        let mut temporary = fs::File::from_std(temporary);
        while let Some(piece) = body.try_next().await? {
            temporary.write_all(&piece).await.map_err(failed)?;
        }
        temporary.flush().await.map_err(failed)?;
        temporary.sync_all().await.map_err(failed)?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).await.map_err(failed)?;
        }
        tracing::info!(bucket, key, "an object is stored");
        unfinished
            .persist(file)
            .map_err(|error| failed(error.error))
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, StoreError> {
        Ok(self.file(bucket, key)?.is_file())
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<ByteStream, StoreError> {
        tracing::info!(bucket, key, "an object is read");
        let file = fs::File::open(self.file(bucket, key)?)
            .await
            .map_err(failed)?;
        Ok(ReaderStream::with_capacity(file, 64 << 10)
            .map_err(failed)
            .boxed())
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.bucket(bucket)?;
        let mut keys = Vec::new();
        walk(&folder, &folder, &mut keys).map_err(failed)?;
        keys.retain(|key| key.starts_with(prefix));
        Ok(keys)
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.file(bucket, key)?).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }
}

/// Gathers the keys of the files below a folder.
fn walk(bucket: &Path, folder: &Path, keys: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(bucket, &path, keys)?;
        } else if let Some(key) = path.strip_prefix(bucket).ok().and_then(Path::to_str) {
            keys.push(key.to_owned());
        }
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are mapped by its name"
)]
fn failed(error: io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Other,
    };
    StoreError::new(kind, error.to_string())
}

#[tokio::main]
async fn main() -> ExitCode {
    Server::new()
        .object_store("example.org/directory", Directory::default())
        .serve()
        .await
}
