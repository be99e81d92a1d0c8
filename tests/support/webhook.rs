//! An admission webhook that does what it is told: allow, deny, or say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a webhook answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Answer {
    Allow,
    Deny,
    Nothing,
}

/// A webhook on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Webhook {
    port: u16,
    authority: String,
    answer: Arc<AtomicU8>,
    asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Webhook {
    pub async fn start(answer: Answer) -> Result<Self> {
        super::init();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let answer = Arc::new(AtomicU8::new(answer as u8));
        let asked = Arc::new(AtomicU64::new(0));
        let (answers, counter) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    while let Ok(review) = read(&mut stream).await {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let allowed = match answers.load(Ordering::SeqCst) {
                            silent if silent == Answer::Nothing as u8 => {
                                std::future::pending::<()>().await;
                                return;
                            }
                            answer => answer == Answer::Allow as u8,
                        };
                        let reply = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                            "uid": review["request"]["uid"], "allowed": allowed,
                            "status": {"message": "not now", "code": 403},
                        }})
                        .to_string();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                            reply.len()
                        );
                        let whole = head + &reply;
                        if stream.write_all(whole.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self {
            port,
            authority: base64::engine::general_purpose::STANDARD.encode(made.cert.pem()),
            answer,
            asked,
            task,
        })
    }

    /// Answers differently from now on.
    pub fn set(&self, answer: Answer) {
        self.answer.store(answer as u8, Ordering::SeqCst);
    }

    /// Returns how often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns the way to it, for a webhook configuration.
    pub fn client_config(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/", self.port), "caBundle": self.authority})
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request and returns its body.
async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Value> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("a length")?;
    let mut body = vec![0; length.trim().parse()?];
    stream.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
