//! MinIO: an S3 server that checks signatures, in one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use object_store::aws::AmazonS3Builder;
use object_store::signer::Signer as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::control_plane::assets::{self, Tool};
use super::control_plane::ports;
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::{unique_name, wait_until};

/// MinIO's own default region; any other has to be configured there.
pub const REGION: &str = "us-east-1";

/// A running MinIO with an empty disk.
#[derive(Debug)]
pub struct Minio {
    // Fields are dropped in this order: the folder goes after the program.
    process: Mutex<Process>,
    _janitor: Option<Janitor>,
    folder: PathBuf,
    port: u16,
    access_key: String,
    secret_key: String,
}

impl Minio {
    /// Starts MinIO, after building it if need be; it ends with this process.
    pub async fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(unique_name("ark-minio"));
        Self::start_in(folder, Lifetime::Ours).await
    }

    /// Starts MinIO in a folder, from where it may go on when this process ends.
    pub async fn start_in(folder: PathBuf, lifetime: Lifetime) -> Result<Self> {
        super::init();
        tokio::task::spawn_blocking(|| assets::ensure(&[Tool::Minio]))
            .await
            .context("build MinIO")??;
        let data = folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
        let logs = if lifetime == Lifetime::Ours {
            assets::new_logs()?
        } else {
            folder.clone()
        };
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let janitor = (lifetime == Lifetime::Ours)
            .then(|| Janitor::of(&folder))
            .transpose()?;
        let [port, console] = ports::free()?;
        let access_key = "ark-tests".to_owned();
        let secret_key = uuid::Uuid::new_v4().simple().to_string();
        let start = Start {
            name: Tool::Minio.name(),
            program: &Tool::Minio.path(),
            args: vec![
                "server".to_owned(),
                format!("--address=127.0.0.1:{port}"),
                format!("--console-address=127.0.0.1:{console}"),
                data.display().to_string(),
            ],
            environment: vec![
                ("MINIO_ROOT_USER", access_key.clone()),
                ("MINIO_ROOT_PASSWORD", secret_key.clone()),
                // It would look for newer versions of itself.
                ("MINIO_UPDATE", "off".to_owned()),
                ("MINIO_CI_CD", "1".to_owned()),
            ],
            folder: &folder,
            logs: &logs,
        };
        let process = Mutex::new(Process::start(&start, lifetime)?);
        let minio = Self {
            process,
            _janitor: janitor,
            folder,
            port,
            access_key,
            secret_key,
        };
        // Its "ready" page says so before it has users and buckets, and requests fail then.
        wait_until(
            "MinIO is ready",
            Duration::from_mins(1),
            async || match minio.check() {
                Err(dead) => Ok(Some(Err(dead))),
                Ok(()) => Ok(
                    (minio.request("GET", "/minio/health/cluster").await? == 200).then_some(Ok(())),
                ),
            },
        )
        .await??;
        Ok(minio)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let store = AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region(REGION)
            .with_bucket_name(name)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(&self.secret_key)
            .build()
            .context("sign a request for MinIO")?;
        // A PUT of the bucket's root: object_store has no call for it, but signs it.
        let url = store
            .signed_url(
                http::Method::PUT,
                &object_store::path::Path::default(),
                Duration::from_mins(1),
            )
            .await
            .context("sign a request for MinIO")?;
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let status = self.request("PUT", &path).await?;
        ensure!(
            status == 200,
            "making bucket {name} in MinIO gave status {status}"
        );
        Ok(())
    }

    /// Makes a request without a body and returns the status: one line of HTTP, for which no client is worth having.
    async fn request(&self, method: &str, path: &str) -> Result<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .context("connect to MinIO")?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer
            .split(' ')
            .nth(1)
            .context("MinIO's answer is not HTTP")?;
        Ok(status.parse()?)
    }

    /// Returns an error with the end of its log if the program has ended.
    pub fn check(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns its port, for a proxy in front of it.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Writes a credentials file of the form that AWS's tools read, and returns it.
    pub fn credentials_file(&self) -> Result<PathBuf> {
        let file = self.folder.join("credentials");
        let text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.access_key, self.secret_key
        );
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// Returns the folder of its data and log.
    pub fn dir(&self) -> &Path {
        &self.folder
    }
}
