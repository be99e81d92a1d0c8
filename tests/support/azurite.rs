//! Azurite: Azure's storage pretended, by Microsoft. It checks keys, signatures and, over TLS, the claims of tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;

use super::control_plane::assets;
use super::control_plane::ports;
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::front::Front;
use super::{unique_name, wait_until};

/// The one account that it has.
pub const ACCOUNT: &str = "arktests";
const VERSION: &str = "2022-11-02";

/// How it is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Http,
    /// With a certificate that nobody knows, and with tokens.
    Https,
}

/// A running Azurite with nothing in it.
#[derive(Debug)]
pub struct Azurite {
    // Fields are dropped in this order: the folder goes after the program.
    process: Mutex<Process>,
    _janitor: Janitor,
    folder: PathBuf,
    scheme: Scheme,
    port: u16,
    key: String,
    client: reqwest::Client,
}

impl Azurite {
    /// Starts it, after installing it if need be; it ends with this process.
    pub async fn start(scheme: Scheme) -> Result<Self> {
        super::init();
        let program = tokio::task::spawn_blocking(assets::ensure_azurite)
            .await
            .context("install Azurite")??;
        let folder: PathBuf = std::env::temp_dir().join(unique_name("ark-azurite"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let janitor = Janitor::of(&folder)?;
        let logs = assets::new_logs()?;
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let [port] = ports::free()?;
        let mut args = vec![
            program.display().to_string(),
            "--blobHost".to_owned(),
            "127.0.0.1".to_owned(),
            "--blobPort".to_owned(),
            port.to_string(),
            "--inMemoryPersistence".to_owned(),
            "--disableTelemetry".to_owned(),
            "--silent".to_owned(),
            // Without it, it refuses to be asked for the checksum of a range, which Azure gives and the crate asks for.
            "--loose".to_owned(),
        ];
        if scheme == Scheme::Https {
            let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
            fs::write(folder.join("cert.pem"), made.cert.pem())?;
            fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
            for (flag, file) in [("--cert", "cert.pem"), ("--key", "key.pem")] {
                args.push(flag.to_owned());
                args.push(folder.join(file).display().to_string());
            }
            args.extend(["--oauth".to_owned(), "basic".to_owned()]);
        }
        let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
        let start = Start {
            name: "azurite",
            program: Path::new("node"),
            args,
            environment: vec![("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"))],
            folder: &folder,
            logs: &logs,
        };
        let process = Mutex::new(Process::start(&start, Lifetime::Ours)?);
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let azurite = Self {
            process,
            _janitor: janitor,
            folder,
            scheme,
            port,
            key,
            client,
        };
        wait_until("Azurite is ready", Duration::from_mins(1), async || {
            if let Err(dead) = azurite.check() {
                return Ok(Some(Err(dead)));
            }
            // Any answer will do: it refuses those without a name.
            azurite.client.get(azurite.address()).send().await?;
            Ok(Some(Ok(())))
        })
        .await??;
        Ok(azurite)
    }

    fn check(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
    }

    fn address(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Returns the account's address.
    pub fn endpoint(&self) -> String {
        format!("{}/{ACCOUNT}", self.address())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts something that answers over plain HTTP and passes on what it is asked.
    pub async fn front(&self) -> Result<Front> {
        Front::to(self.address(), self.client.clone()).await
    }

    /// Returns the account's address at a front.
    pub fn endpoint_at(front: &Front) -> String {
        format!("{}/{ACCOUNT}", front.address())
    }

    /// Returns the account's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the file of its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn sign(&self, text: &str) -> Result<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&self.key)?);
        Ok(STANDARD.encode(hmac::sign(&key, text.as_bytes())))
    }

    /// Makes a container.
    pub async fn create_container(&self, name: &str) -> Result<()> {
        let date = jiff::Timestamp::now()
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let blanks = "\n".repeat(12);
        let to_sign = format!(
            "PUT{blanks}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        );
        let answer = self
            .client
            .put(format!("{}/{name}?restype=container", self.endpoint()))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("content-length", 0)
            .header(
                "authorization",
                format!("SharedKey {ACCOUNT}:{}", self.sign(&to_sign)?),
            )
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "making container {name} gave {}: {}",
            answer.status(),
            answer.text().await?
        );
        Ok(())
    }

    /// Returns a shared access signature of the account for an hour, with these permissions.
    pub fn sas(&self, permissions: &str) -> Result<String> {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // Account, permissions, service, resource types, start, end, addresses, protocols, version, encryption.
        let to_sign =
            format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{end}\n\nhttps,http\n{VERSION}\n\n");
        let signature = self.sign(&to_sign)?;
        Ok(url::form_urlencoded::Serializer::new(String::new())
            .append_pair("sv", VERSION)
            .append_pair("ss", "b")
            .append_pair("srt", "sco")
            .append_pair("sp", permissions)
            .append_pair("se", &end)
            .append_pair("spr", "https,http")
            .append_pair("sig", &signature)
            .finish())
    }
}

/// Returns a token as Entra would give it out, but for its signature, which Azurite does not look at.
pub fn token(audience: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let tenant = uuid::Uuid::new_v4();
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!(
        "{}.{}.{}",
        part(json!({"alg": "RS256", "typ": "JWT"})),
        part(json!({
            "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "tid": tenant,
            "oid": uuid::Uuid::new_v4(), "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
        })),
        URL_SAFE_NO_PAD.encode("signature")
    )
}
