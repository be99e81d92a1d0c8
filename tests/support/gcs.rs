//! Google Cloud Storage for tests: fake-gcs-server, and a gate in front of it that checks what that one does not.
//!
//! fake-gcs-server knows the API and no credentials, and takes an upload's chunks as they come. The [`Gate`] verifies
//! tokens and signed links with the service account's public key as Google does, and keeps uploads in chunks by
//! Google's rules (<https://cloud.google.com/storage/docs/performing-resumable-uploads>): it says what it has, takes
//! nothing twice and nothing out of order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::StreamExt as _;
use http::{HeaderMap, Method, StatusCode, Uri};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::control_plane::assets::{self, Tool};
use super::control_plane::ports;
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::{unique_name, wait_until};

/// Whom the gate knows.
pub const ACCOUNT: &str = "ark@tests.iam.gserviceaccount.com";
/// What all but an upload's last chunk are a multiple of.
const QUANTUM: usize = 256 * 1024;

/// A running fake-gcs-server with nothing in it.
#[derive(Debug)]
pub struct FakeGcs {
    // Fields are dropped in this order: the folder goes after the program.
    process: Mutex<Process>,
    _janitor: Janitor,
    port: u16,
}

impl FakeGcs {
    /// Starts it, after building it if need be; it ends with this process.
    pub async fn start() -> Result<Self> {
        super::init();
        tokio::task::spawn_blocking(|| assets::ensure(&[Tool::FakeGcs]))
            .await
            .context("build fake-gcs-server")??;
        let folder: PathBuf = std::env::temp_dir().join(unique_name("ark-gcs"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let janitor = Janitor::of(&folder)?;
        let logs = assets::new_logs()?;
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let [port] = ports::free()?;
        let start = Start {
            name: Tool::FakeGcs.name(),
            program: &Tool::FakeGcs.path(),
            args: [
                "-scheme=http",
                "-host=127.0.0.1",
                "-backend=memory",
                "-public-host=127.0.0.1",
                "-log-level=warn",
                &format!("-port={port}"),
                &format!("-external-url=http://127.0.0.1:{port}"),
            ]
            .map(str::to_owned)
            .to_vec(),
            environment: Vec::new(),
            folder: &folder,
            logs: &logs,
        };
        let fake = Self {
            process: Mutex::new(Process::start(&start, Lifetime::Ours)?),
            _janitor: janitor,
            port,
        };
        let healthy = format!("{}/_internal/healthcheck", fake.endpoint());
        wait_until(
            "fake-gcs-server is ready",
            Duration::from_mins(1),
            async || match fake.check() {
                Err(dead) => Ok(Some(Err(dead))),
                Ok(()) => Ok(reqwest::get(&healthy)
                    .await?
                    .status()
                    .is_success()
                    .then_some(Ok(()))),
            },
        )
        .await??;
        Ok(fake)
    }

    fn check(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let answer = reqwest::Client::new()
            .post(format!("{}/storage/v1/b?project=tests", self.endpoint()))
            .body(json!({"name": name}).to_string())
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "making bucket {name} gave {}",
            answer.status()
        );
        Ok(())
    }
}

/// The key of a service account, of this machine alone.
#[derive(Debug)]
pub struct AccountKey {
    pem: String,
    public: Vec<u8>,
}

impl AccountKey {
    pub async fn make() -> Result<Self> {
        let (file, _) = tokio::task::spawn_blocking(assets::ensure_rsa_key)
            .await
            .context("make a key")??;
        let pem = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let der: String = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der)?)
            .map_err(|error| anyhow::anyhow!("the key is none: {error}"))?;
        Ok(Self {
            public: pair.public_key().as_ref().to_vec(),
            pem,
        })
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Returns what Google gives out as the key's file, for an account.
    pub fn file(&self, account: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "1",
            "private_key": self.pem,
            "client_email": account,
            "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
        })
        .to_string()
    }
}

/// An upload in chunks.
#[derive(Debug)]
struct Session {
    bucket: String,
    name: String,
    content: Vec<u8>,
}

#[derive(Debug)]
struct Rules {
    upstream: String,
    public: Vec<u8>,
    address: String,
    client: reqwest::Client,
    /// The address that uploads are told to go to.
    known_as: Mutex<String>,
    /// Tokens that are good besides those that the account's key signed.
    tokens: Mutex<HashSet<String>>,
    sessions: Mutex<HashMap<String, Session>>,
    /// Held by the chunk that is being taken: a connection may have broken without anybody having noticed yet.
    turn: tokio::sync::Mutex<()>,
    /// The status that the next requests get, and how many of them.
    trouble: Mutex<(u16, usize)>,
}

/// A server that lets only those through to fake-gcs-server whom Google would.
#[derive(Debug)]
pub struct Gate {
    rules: Arc<Rules>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    pub async fn to(fake: &FakeGcs, key: &AccountKey) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let rules = Arc::new(Rules {
            upstream: fake.endpoint(),
            public: key.public.clone(),
            address: format!("http://{}", listener.local_addr()?),
            client: reqwest::Client::new(),
            known_as: Mutex::new(format!("http://{}", listener.local_addr()?)),
            tokens: Mutex::default(),
            sessions: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            trouble: Mutex::new((0, 0)),
        });
        let router = axum::Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&rules));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { rules, task })
    }

    pub fn endpoint(&self) -> String {
        self.rules.address.clone()
    }

    pub fn port(&self) -> u16 {
        let (_, port) = self.rules.address.rsplit_once(':').unwrap_or_default();
        port.parse().unwrap_or_default()
    }

    /// Sends uploads to another address from now on: that of a proxy in front of it.
    pub fn known_as(&self, address: &str) {
        address.clone_into(&mut lock(&self.rules.known_as));
    }

    /// Lets through whoever has this token, too.
    pub fn accept(&self, token: &str) {
        lock(&self.rules.tokens).insert(token.to_owned());
    }

    /// Answers the next `times` requests with a status and nothing else.
    pub fn trouble(&self, status: u16, times: usize) {
        *lock(&self.rules.trouble) = (status, times);
    }

    /// Returns how many uploads have begun and neither been finished nor taken back.
    pub fn open_uploads(&self) -> usize {
        lock(&self.rules.sessions).len()
    }
}

/// Returns what a token says that a key has signed.
pub fn claims(public: &[u8], token: &str) -> Result<Value, ()> {
    let (signed, signature) = token.rsplit_once('.').ok_or(())?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(drop)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(signed.as_bytes(), &signature)
        .map_err(drop)?;
    let (_, claims) = signed.split_once('.').ok_or(())?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(drop)?;
    serde_json::from_slice(&claims).map_err(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message}}).to_string();
    (status, body).into_response()
}

async fn serve(State(rules): State<Arc<Rules>>, request: Request) -> Response {
    {
        let mut trouble = lock(&rules.trouble);
        if trouble.1 > 0 {
            trouble.1 -= 1;
            let status = StatusCode::from_u16(trouble.0).unwrap_or(StatusCode::IM_A_TEAPOT);
            return refuse(
                status,
                "We encountered an internal error. Please try again.",
            );
        }
    }
    let query = queries(request.uri());
    if let Some(id) = query.get("upload_id") {
        // The URL is secret and all that is needed.
        return rules.chunk(id.clone(), request).await;
    }
    if query.contains_key("X-Goog-Signature") {
        if let Err(why) = rules.signed(request.method(), request.uri(), &query) {
            return refuse(StatusCode::FORBIDDEN, &why);
        }
    } else if let Err(why) = rules.token(request.headers()) {
        return refuse(StatusCode::UNAUTHORIZED, why);
    }
    if query
        .get("uploadType")
        .is_some_and(|kind| kind == "resumable")
    {
        return rules.begin(request.uri(), &query);
    }
    rules.forward(request).await
}

fn queries(uri: &Uri) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

impl Rules {
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public)
            .verify(message, signature)
            .is_ok()
    }

    /// Checks a token: one that the account's key has signed, or one that is known.
    fn token(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let token = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or("Anonymous caller does not have access to the Google Cloud Storage bucket.")?;
        if lock(&self.tokens).contains(token) {
            return Ok(());
        }
        let wrong = "Invalid Credentials";
        let claims = claims(&self.public, token).map_err(|()| wrong)?;
        let scope = claims["scope"].as_str().unwrap_or_default();
        let known = claims["iss"] == ACCOUNT && scope.contains("devstorage.read_write");
        if known { Ok(()) } else { Err(wrong) }
    }

    /// Checks a signed link (<https://cloud.google.com/storage/docs/authentication/canonical-requests>).
    fn signed(
        &self,
        method: &Method,
        uri: &Uri,
        query: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let raw = uri.query().unwrap_or_default();
        let (rest, signature) = raw
            .rsplit_once("&X-Goog-Signature=")
            .ok_or("the signature is not last")?;
        let value = |name: &str| query.get(name).cloned().unwrap_or_default();
        // Google has one host and no port.
        let canonical = format!(
            "{method}\n{}\n{rest}\nhost:127.0.0.1\n\nhost\nUNSIGNED-PAYLOAD",
            uri.path()
        );
        let (account, scope) = value("X-Goog-Credential")
            .split_once('/')
            .map(|(account, scope)| (account.to_owned(), scope.to_owned()))
            .ok_or("no credential")?;
        if account != ACCOUNT {
            return Err(format!("{account} is not known"));
        }
        let to_sign = format!(
            "{}\n{}\n{scope}\n{}",
            value("X-Goog-Algorithm"),
            value("X-Goog-Date"),
            hex(&Sha256::digest(canonical))
        );
        let signature = unhex(signature).ok_or("the signature is not hexadecimal")?;
        if self.verify(to_sign.as_bytes(), &signature) {
            Ok(())
        } else {
            Err("SignatureDoesNotMatch".to_owned())
        }
    }

    fn begin(&self, uri: &Uri, query: &BTreeMap<String, String>) -> Response {
        let bucket = uri.path().split('/').nth(5).unwrap_or_default().to_owned();
        let session = Session {
            name: query.get("name").cloned().unwrap_or_default(),
            bucket: bucket.clone(),
            content: Vec::new(),
        };
        let id = unique_name("upload");
        lock(&self.sessions).insert(id.clone(), session);
        let location = format!(
            "{}/upload/storage/v1/b/{bucket}/o?upload_id={id}",
            lock(&self.known_as)
        );
        ([("location", location)], "").into_response()
    }

    /// Takes a chunk, says what there is, or forgets all of it.
    async fn chunk(&self, id: String, request: Request) -> Response {
        let _turn = self.turn.lock().await;
        if request.method() == Method::DELETE {
            let known = lock(&self.sessions).remove(&id).is_some();
            let status = if known { 499 } else { 404 };
            return StatusCode::from_u16(status)
                .unwrap_or_default()
                .into_response();
        }
        let range = request
            .headers()
            .get("content-range")
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes "))
            .unwrap_or_default()
            .to_owned();
        let declared = request
            .headers()
            .get("x-goog-hash")
            .and_then(|hash| Some(hash.to_str().ok()?.to_owned()));
        let Some((span, total)) = range.split_once('/') else {
            return refuse(StatusCode::BAD_REQUEST, "no Content-Range");
        };
        let total: Option<usize> = total.parse().ok();
        let mut expected = None;
        if let Some((start, end)) = span.split_once('-') {
            let (Ok(start), Ok(end)) = (start.parse::<usize>(), end.parse::<usize>()) else {
                return refuse(StatusCode::BAD_REQUEST, "bad Content-Range");
            };
            let has = lock(&self.sessions)
                .get(&id)
                .map_or(0, |session| session.content.len());
            if start != has {
                return refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not the bytes that are next",
                );
            }
            expected = Some(end + 1);
        }
        // What arrives is kept as it arrives, in whole quanta where the connection breaks.
        let mut pieces = request.into_body().into_data_stream();
        let mut broken = false;
        while let Some(piece) = pieces.next().await {
            let mut sessions = lock(&self.sessions);
            let (Ok(piece), Some(session)) = (piece, sessions.get_mut(&id)) else {
                broken = true;
                break;
            };
            session.content.extend_from_slice(&piece);
        }
        let finished = {
            let mut sessions = lock(&self.sessions);
            let Some(session) = sessions.get_mut(&id) else {
                return refuse(StatusCode::NOT_FOUND, "no such upload");
            };
            if broken {
                let whole = session.content.len() / QUANTUM * QUANTUM;
                session.content.truncate(whole);
                return refuse(StatusCode::BAD_REQUEST, "the connection broke");
            }
            let has = session.content.len();
            if expected.is_some_and(|expected| expected != has)
                || (total.is_none() && has % QUANTUM != 0)
            {
                return refuse(StatusCode::BAD_REQUEST, "not as many bytes as announced");
            }
            if total == Some(has) {
                let checksum = STANDARD.encode(crc32c::crc32c(&session.content).to_be_bytes());
                if declared.is_some_and(|declared| declared != format!("crc32c={checksum}")) {
                    return refuse(StatusCode::BAD_REQUEST, "Provided CRC32C does not match.");
                }
                sessions.remove(&id)
            } else {
                let mut headers = HeaderMap::new();
                if let Some(last) = has.checked_sub(1) {
                    headers.insert("range", format!("bytes=0-{last}").parse().unwrap());
                }
                return (StatusCode::PERMANENT_REDIRECT, headers, "").into_response();
            }
        };
        let Some(Session {
            bucket,
            name,
            content,
        }) = finished
        else {
            return refuse(StatusCode::NOT_FOUND, "no such upload");
        };
        let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let url = format!(
            "{}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}",
            self.upstream
        );
        answered(self.client.post(url).body(content).send().await)
    }

    async fn forward(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap_or_default();
        let mut headers = parts.headers;
        headers.remove("host");
        headers.remove("transfer-encoding");
        let sent = self
            .client
            .request(parts.method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(body)
            .send()
            .await;
        answered(sent)
    }
}

/// Passes an answer on.
fn answered(answer: Result<reqwest::Response, reqwest::Error>) -> Response {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("transfer-encoding");
    let body = Body::from_stream(answer.bytes_stream());
    (status, headers, body).into_response()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
