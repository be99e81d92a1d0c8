//! MinIO: an S3 server that checks signatures, in one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};

use super::control_plane::assets::{self, Tool};
use super::control_plane::ports;
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::front::Front;
use super::signing::Signer;
use super::{unique_name, wait_until};

/// MinIO's own default region; any other has to be configured there.
pub const REGION: &str = "us-east-1";
/// The key that one with keys encrypts with.
pub const KMS_KEY: &str = "ark-tests-key";

/// What is unusual about a MinIO.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// It speaks TLS, with a certificate that nobody knows.
    pub tls: bool,
    /// It has a key to encrypt with.
    pub kms: bool,
    /// The domain below which its buckets have names of their own.
    pub domain: Option<&'static str>,
}

/// A running MinIO with an empty disk.
#[derive(Debug)]
pub struct Minio {
    // Fields are dropped in this order: the folder goes after the program.
    process: Mutex<Process>,
    _janitor: Option<Janitor>,
    folder: PathBuf,
    options: Options,
    port: u16,
    access_key: String,
    secret_key: String,
    client: reqwest::Client,
}

impl Minio {
    /// Starts MinIO, after building it if need be; it ends with this process.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts an unusual one.
    pub async fn start_with(options: Options) -> Result<Self> {
        let folder = std::env::temp_dir().join(unique_name("ark-minio"));
        Self::start_as(folder, Lifetime::Ours, options).await
    }

    /// Starts MinIO in a folder, from where it may go on when this process ends.
    pub async fn start_in(folder: PathBuf, lifetime: Lifetime) -> Result<Self> {
        Self::start_as(folder, lifetime, Options::default()).await
    }

    async fn start_as(folder: PathBuf, lifetime: Lifetime, options: Options) -> Result<Self> {
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
        // Without certificates in it, it speaks plain HTTP.
        let certificates = folder.join("certificates");
        fs::create_dir_all(&certificates)?;
        if options.tls {
            let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
            fs::write(certificates.join("public.crt"), made.cert.pem())?;
            let key = made.signing_key.serialize_pem();
            fs::write(certificates.join("private.key"), key)?;
        }
        let mut environment = vec![
            ("MINIO_ROOT_USER", access_key.clone()),
            ("MINIO_ROOT_PASSWORD", secret_key.clone()),
            // It would look for newer versions of itself.
            ("MINIO_UPDATE", "off".to_owned()),
            ("MINIO_CI_CD", "1".to_owned()),
        ];
        if options.kms {
            let key = STANDARD.encode(Sha256::digest(&secret_key));
            environment.push(("MINIO_KMS_SECRET_KEY", format!("{KMS_KEY}:{key}")));
        }
        if let Some(domain) = options.domain {
            environment.push(("MINIO_DOMAIN", domain.to_owned()));
        }
        let start = Start {
            name: Tool::Minio.name(),
            program: &Tool::Minio.path(),
            args: vec![
                "server".to_owned(),
                format!("--address=127.0.0.1:{port}"),
                format!("--console-address=127.0.0.1:{console}"),
                format!("--certs-dir={}", certificates.display()),
                data.display().to_string(),
            ],
            environment,
            folder: &folder,
            logs: &logs,
        };
        let process = Mutex::new(Process::start(&start, lifetime)?);
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let minio = Self {
            process,
            _janitor: janitor,
            folder,
            options,
            port,
            access_key,
            secret_key,
            client,
        };
        // Its "ready" page says so before it has users and buckets, and requests fail then.
        let page = format!("{}/minio/health/cluster", minio.endpoint());
        wait_until("MinIO is ready", Duration::from_mins(1), async || {
            if let Err(dead) = minio.check() {
                return Ok(Some(Err(dead)));
            }
            let answer = minio.client.get(&page).send().await?;
            Ok(answer.status().is_success().then_some(Ok(())))
        })
        .await??;
        Ok(minio)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        self.ask(Method::PUT, &format!("/{name}"), &[], "").await?;
        Ok(())
    }

    /// Makes a bucket whose objects can be locked, and are for so many days if there are any.
    pub async fn create_locked_bucket(&self, name: &str, days: u32) -> Result<()> {
        let lockable = [("x-amz-bucket-object-lock-enabled", "true")];
        self.ask(Method::PUT, &format!("/{name}"), &lockable, "")
            .await?;
        if days > 0 {
            let rule = format!(
                "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>\
                 <Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
            );
            self.ask(Method::PUT, &format!("/{name}?object-lock="), &[], &rule)
                .await?;
        }
        Ok(())
    }

    /// Locks an object until a time.
    pub async fn retain(&self, bucket: &str, key: &str, until: jiff::Timestamp) -> Result<()> {
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        let lock = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
             <RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        self.ask(
            Method::PUT,
            &format!("/{bucket}/{key}?retention="),
            &[],
            &lock,
        )
        .await?;
        Ok(())
    }

    /// Puts an object under a legal hold, or takes it off.
    pub async fn hold(&self, bucket: &str, key: &str, on: bool) -> Result<()> {
        let status = if on { "ON" } else { "OFF" };
        let hold = format!(
            "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status></LegalHold>"
        );
        self.ask(
            Method::PUT,
            &format!("/{bucket}/{key}?legal-hold="),
            &[],
            &hold,
        )
        .await?;
        Ok(())
    }

    /// Returns the headers that an object comes with.
    pub async fn headers(&self, bucket: &str, key: &str) -> Result<HeaderMap> {
        let (headers, _) = self
            .ask(Method::HEAD, &format!("/{bucket}/{key}"), &[], "")
            .await?;
        Ok(headers)
    }

    /// Returns what the bucket says under a path, such as an object's `?tagging=`.
    pub async fn read(&self, path: &str) -> Result<String> {
        let (_, text) = self.ask(Method::GET, path, &[], "").await?;
        Ok(text)
    }

    /// Starts something that answers over plain HTTP and passes on what it is asked.
    pub async fn front(&self) -> Result<Front> {
        Front::to(self.endpoint(), self.client.clone()).await
    }

    /// Makes a signed request; returns headers and body.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(HeaderMap, String)> {
        let url = format!("{}{path}", self.endpoint());
        let digest = STANDARD.encode(Sha256::digest(body));
        let mut all = headers.to_vec();
        all.push(("x-amz-checksum-sha256", &digest));
        let signer = Signer {
            key: &self.access_key,
            secret: &self.secret_key,
            region: REGION,
            service: "s3",
        };
        let signed = signer.headers(&method, &url, &all, body.as_bytes())?;
        let mut request = self.client.request(method, &url).body(body.to_owned());
        for (name, value) in all {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} in MinIO gave {status}: {text}");
        Ok((headers, text))
    }

    /// Returns an error with the end of its log if the program has ended.
    pub fn check(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Returns the file of its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificates/public.crt")
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
