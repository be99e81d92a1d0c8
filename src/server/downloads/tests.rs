use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::server::clock::Hand;
use crate::server::run_log::RunLogs;

/// Downloads that listen, with a clock that is moved by hand.
struct Rig {
    downloads: Arc<Downloads>,
    hand: Hand,
    port: u16,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Rig {
    async fn new() -> Self {
        let (clock, hand) = Clock::by_hand(Timestamp::from_second(1_000).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let downloads = Downloads::new(Reached::new("", "", port, ""), clock).unwrap();
        let downloads = Arc::new(downloads);
        let (_, world) = watch::channel(World::Pending);
        let task = tokio::spawn(serve(listener, Arc::clone(&downloads), world));
        Self {
            downloads,
            hand,
            port,
            task,
        }
    }

    fn wanted(&self) -> Wanted<'static> {
        Wanted {
            kind: &DownloadTargetKind::BackupLog,
            name: "nightly",
            expires: self.hand.now() + Duration::from_mins(10),
        }
    }

    /// Returns the whole answer, as it went over the wire.
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ark\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn how_a_server_is_reached() {
    for (ip, url, expected) in [
        ("", "", "http://127.0.0.1:8086"),
        ("10.0.0.7", "", "http://10.0.0.7:8086"),
        ("fd00::7", "", "http://[fd00::7]:8086"),
        (
            "10.0.0.7",
            "https://ark.example.org/",
            "https://ark.example.org",
        ),
    ] {
        assert_eq!(Reached::new("p", ip, 8086, url).base, expected);
    }
}

#[test]
fn following_is_asked_for_in_the_query() {
    for (path, expected) in [
        ("/download/x", false),
        ("/download/x?follow=true", true),
        ("/download/x?follow", true),
        ("/download/x?a=b&follow=true", true),
        ("/download/x?follow=false", false),
    ] {
        assert_eq!(wants_to_follow(&Uri::from_static(path)), expected, "{path}");
    }
}

#[tokio::test]
async fn a_link_serves_the_log_of_a_run_until_it_ends() {
    let rig = Rig::new().await;
    let logs = RunLogs::default();
    let log = logs.begin("backup/nightly");
    let live = logs.live("backup/nightly").unwrap();
    let link = rig.downloads.live(&rig.wanted(), live).unwrap();
    assert!(link.url.ends_with(&link.server.path));
    let path = &link.server.path;
    let answer = rig.get(path).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    // The run is over and forgotten; the link is not.
    drop(log);
    let answer = rig.get(&format!("{path}?follow=true")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    rig.hand.advance(Duration::from_mins(10));
    let answer = rig.get(path).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.ends_with(REFUSAL), "{answer}");
    // A later link clears away what no link leads to any more.
    let log = logs.begin("backup/other");
    let live = logs.live("backup/other").unwrap();
    rig.downloads.live(&rig.wanted(), live).unwrap();
    assert_eq!(rig.downloads.live.lock().unwrap().len(), 1);
    drop(log);
}

#[tokio::test]
async fn there_is_nothing_but_links() {
    let rig = Rig::new().await;
    for (path, status) in [
        ("/", "404"),
        ("/download/", "404"),
        ("/download/x/y", "404"),
        ("/metrics", "404"),
        ("/download/backups%2Fnightly%2Fark-backup.json", "403"),
        ("/download/..%2F..%2Fetc%2Fpasswd", "403"),
        ("/download/x?follow=true", "403"),
    ] {
        let answer = rig.get(path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_location_that_is_not_known_yet_is_no_refusal() {
    let rig = Rig::new().await;
    let source = Source::Stored {
        location: "default".into(),
        key: "backups/b/b-1-logs.gz".into(),
        size: None,
    };
    let link = rig.downloads.stored(&rig.wanted(), source).unwrap();
    let answer = rig.get(&link.server.path).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("being looked at"), "{answer}");
}

#[tokio::test]
async fn a_file_of_another_size_is_never_whole() {
    for (size, whole) in [
        (None, true),
        (Some(6), true),
        (Some(5), false),
        (Some(7), false),
    ] {
        let free = Arc::new(Semaphore::new(1));
        let pieces = Pieces {
            bytes: futures::stream::iter(["abc", "def"].map(|piece| Ok(piece.into()))).boxed(),
            left: size,
            what: (DownloadTargetKind::BackupContents, "b".to_owned()),
            _permit: Arc::clone(&free).try_acquire_owned().unwrap(),
        };
        let read: Result<Vec<Bytes>, _> = pieces.stream().try_collect().await;
        assert_eq!(read.is_ok(), whole, "{size:?}");
        assert_eq!(free.available_permits(), 1);
    }
}
