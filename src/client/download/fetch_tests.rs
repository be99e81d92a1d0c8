//! Fetching from servers of the tests' own. No error may tell the secret that a place is.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use clap::Parser;
use futures::TryStreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::client::config::Settings;
use crate::client::context::GlobalArgs;
use crate::client::download::Pulse;

/// Where the server has the file.
const SECRET: &str = "/file?signature=topsecret";
/// Where the store has it.
const STORED: &str = "/store?signature=topsecret";
const PATIENCE: Duration = Duration::from_mins(1);
const FOUND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfound";
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 102\r\n\r\n<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Expired</Message><X>topsecret</X></Error>";

fn context() -> Context {
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        global: GlobalArgs,
    }
    Context::new(Cli::parse_from(["ark"]).global, &Settings::default()).unwrap()
}

/// Answers one request and returns what was asked for.
fn serve_once(answer: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    (port, task)
}

/// Returns a port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Alive;

#[async_trait::async_trait]
impl Pulse for Alive {
    async fn beats(&self) -> bool {
        true
    }
}

fn nobody_in_particular() -> Trust {
    Trust::read(None, false).unwrap()
}

async fn text(answer: Answer) -> String {
    let pieces: Vec<Bytes> = answer.pieces.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// Opens a place and returns what is there, or why it is not.
async fn opened(place: &Place, trust: &Trust) -> Result<String, String> {
    // An error says that another test was faster.
    let _already = rustls::crypto::ring::default_provider().install_default();
    match open(&context(), place, Extent::Present, trust, PATIENCE).await {
        Ok(answer) => Ok(text(answer).await),
        Err(error) => {
            let error = format!("{error:#}");
            assert!(!error.contains("topsecret"), "{error}");
            Err(error)
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}{STORED}")
}

fn here(port: u16) -> DownloadServer {
    DownloadServer {
        pod: String::new(),
        port,
        path: SECRET.to_owned(),
    }
}

#[tokio::test]
async fn the_store_comes_first_and_is_asked_for_files_as_they_are() {
    let (port, task) = serve_once(FOUND);
    let place = Place {
        url: Some(url(port)),
        server: Some(here(closed_port())),
    };
    assert_eq!(
        opened(&place, &nobody_in_particular()).await.unwrap(),
        "found"
    );
    let asked = task.join().unwrap().to_lowercase();
    assert!(
        asked.starts_with("get /store?signature=topsecret http/1.1"),
        "{asked}"
    );
    assert!(asked.contains("accept-encoding: gzip\r\n"), "{asked}");
}

#[tokio::test]
async fn the_server_serves_what_the_store_cannot() {
    let unreachable = [
        None,
        Some(url(closed_port())),
        Some(format!("https://127.0.0.1:{}{STORED}", closed_port())),
        Some(format!("http://nowhere.invalid{STORED}")),
        Some(format!("no url at all {STORED}")),
    ];
    for url in unreachable {
        let (port, task) = serve_once(FOUND);
        let place = Place {
            url,
            server: Some(here(port)),
        };
        assert_eq!(
            opened(&place, &nobody_in_particular()).await.unwrap(),
            "found"
        );
        let asked = task.join().unwrap().to_lowercase();
        assert!(
            asked.starts_with("get /file?signature=topsecret http/1.1"),
            "{asked}"
        );
        assert!(asked.contains("accept-encoding: gzip\r\n"), "{asked}");
    }
}

#[tokio::test]
async fn what_refuses_is_not_gone_around() {
    let (port, task) = serve_once(DENIED);
    let place = Place {
        url: Some(url(port)),
        server: Some(here(closed_port())),
    };
    let error = opened(&place, &nobody_in_particular()).await.unwrap_err();
    assert!(
        error.starts_with("the store answers 403 Forbidden: AccessDenied: Expired; "),
        "{error}"
    );
    task.join().unwrap();
}

#[tokio::test]
async fn all_that_was_tried_is_said() {
    let place = Place {
        url: Some(url(closed_port())),
        server: Some(here(closed_port())),
    };
    let error = opened(&place, &nobody_in_particular()).await.unwrap_err();
    assert!(
        error.starts_with("the file cannot be reached (the store: Connection refused"),
        "{error}"
    );
    assert!(
        error.contains("; the server, which must run on this machine: Connection refused"),
        "{error}"
    );
}

/// Answers TLS connections, all of them, with a certificate of an authority of its own, until the process ends.
struct Private {
    port: u16,
    authority: NamedTempFile,
}

fn serve_privately() -> Private {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let mut authority = NamedTempFile::new().unwrap();
    authority.write_all(certificate.pem().as_bytes()).unwrap();
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&own_key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(own_key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut asked = vec![0; 4096];
            // A client that trusts nobody hangs up.
            if tls.read(&mut asked).is_ok() {
                tls.write_all(FOUND.as_bytes()).ok();
                tls.flush().ok();
            }
        }
    });
    Private { port, authority }
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_if_named() {
    let store = serve_privately();
    let place = Place {
        url: Some(format!("https://127.0.0.1:{}{SECRET}", store.port)),
        server: None,
    };
    let named = Trust::read(Some(store.authority.path()), false).unwrap();
    assert_eq!(opened(&place, &named).await.unwrap(), "found");
    let anybody = Trust::read(None, true).unwrap();
    assert_eq!(opened(&place, &anybody).await.unwrap(), "found");
    let error = opened(&place, &nobody_in_particular()).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    assert!(error.ends_with("name its file with --cacert"), "{error}");
}

#[test]
fn files_of_certificates_that_are_none() {
    let empty = NamedTempFile::new().unwrap();
    for path in [empty.path(), Path::new("/nonexistent/ca.pem")] {
        let error = format!("{:#}", Trust::read(Some(path), false).unwrap_err());
        assert!(error.contains("--cacert"), "{error}");
    }
}

#[tokio::test]
async fn pieces_come_over_a_stream_when_they_are_sent() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let asking = over_stream(ours, SECRET, PATIENCE, ended);
    let serving = async {
        let mut asked = vec![0; 1024];
        let length = theirs.read(&mut asked).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n";
        theirs.write_all(head.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).to_lowercase()
    };
    let (answer, asked) = tokio::join!(asking, serving);
    assert!(
        asked.starts_with("get /file?signature=topsecret http/1.1\r\nhost: localhost\r\n"),
        "{asked}"
    );
    let Ok(mut answer) = answer else {
        panic!("no answer");
    };
    assert_eq!(answer.size, None);
    assert_eq!(answer.pieces.next().await.unwrap().unwrap(), "one\n");
    theirs.write_all(b"4\r\ntwo\n\r\n").await.unwrap();
    assert_eq!(answer.pieces.next().await.unwrap().unwrap(), "two\n");
    // A server that dies in the middle is not the end of a log.
    drop(theirs);
    let error = answer.pieces.next().await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("the transfer broke off: "), "{error}");
    drop(answer);
    assert!(has_ended.await.is_err(), "what was held is let go");
}

#[tokio::test]
async fn only_the_server_is_asked_to_go_on() {
    // An error says that another test was faster.
    let _already = rustls::crypto::ring::default_provider().install_default();
    for (own, through, asked_for) in [
        (true, "url", "/file?signature=topsecret&follow=true "),
        (true, "server", "/file?signature=topsecret&follow=true "),
        (false, "url", "/store?signature=topsecret "),
        (false, "server", "/file?signature=topsecret&follow=true "),
    ] {
        let (port, task) = serve_once(FOUND);
        let (of_url, of_server) = if through == "url" {
            (port, closed_port())
        } else {
            (closed_port(), port)
        };
        let path = if own {
            SECRET
        } else {
            "/store?signature=topsecret"
        };
        let place = Place {
            url: Some(format!("http://127.0.0.1:{of_url}{path}")),
            server: Some(here(of_server)),
        };
        let trust = nobody_in_particular();
        let opened = open(&context(), &place, Extent::Follow(&Alive), &trust, PATIENCE).await;
        assert_eq!(text(opened.unwrap()).await, "found");
        let asked = task.join().unwrap();
        assert!(asked.starts_with(&format!("GET {asked_for}")), "{asked}");
    }
    assert_eq!(
        extended("/download/x", Extent::Follow(&Alive)),
        "/download/x?follow=true"
    );
}

#[test]
fn refusals_are_short_and_without_secrets() {
    for (body, said) in [
        ("", ""),
        ("not\nhere", ": not here"),
        (
            "<Error><Code>AccessDenied</Code><StringToSign>x</StringToSign></Error>",
            ": AccessDenied",
        ),
        ("<html><body>a proxy</body></html>", ""),
    ] {
        assert_eq!(refusal(body), said);
    }
    assert_eq!(refusal(&"x".repeat(1000)).len(), SHOWN + 2);
}
