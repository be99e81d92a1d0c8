//! The way from a server's answer to a sink, without servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream;

use super::*;
use crate::api::DownloadServer;

fn status(
    phase: DownloadRequestPhase,
    url: &str,
    server: bool,
    message: &str,
) -> DownloadRequestStatus {
    DownloadRequestStatus {
        phase,
        download_url: url.into(),
        server: server.then(DownloadServer::default),
        message: message.into(),
        ..DownloadRequestStatus::default()
    }
}

#[test]
fn an_answer_is_a_place_or_a_reason() {
    use DownloadRequestPhase::{New, Processed};

    for (answer, seen) in [
        (status(New, "", false, ""), None),
        (status(New, "https://s", false, ""), Some(Ok((true, false)))),
        (
            status(Processed, "https://s", true, ""),
            Some(Ok((true, true))),
        ),
        (status(Processed, "", true, ""), Some(Ok((false, true)))),
        // One of the two could not be made.
        (
            status(Processed, "", true, "the store signs nothing"),
            Some(Ok((false, true))),
        ),
        (
            status(Processed, "", false, "there is\nno log"),
            Some(Err("there is no log".to_owned())),
        ),
        // What old servers say when they could not sign.
        (
            status(Processed, "", false, ""),
            Some(Err(
                "the server has found no way to read this file; its log says more".to_owned(),
            )),
        ),
    ] {
        let place = place(&answer)
            .map(|place| place.map(|place| (place.url.is_some(), place.server.is_some())));
        assert_eq!(place, seen, "{:?}", answer.message);
    }
}

#[test]
fn requests_of_one_second_have_names_of_their_own() {
    let now = "2017-07-27T20:05:24Z".parse().unwrap();
    let request = request(DownloadTargetKind::BackupLog, "nightly", now);
    assert_eq!(request.metadata.name, None);
    assert_eq!(
        request.metadata.generate_name.as_deref(),
        Some("nightly-20170727200524-")
    );
    assert_eq!(request.spec.target.name, "nightly");
}

#[derive(Default)]
struct Seen {
    size: Option<u64>,
    text: String,
}

impl Sink for Seen {
    fn begin(&mut self, size: Option<u64>) {
        self.size = size;
    }

    fn piece(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        self.text.push_str(std::str::from_utf8(bytes)?);
        Ok(())
    }
}

/// Beats so many times.
struct Beats(AtomicUsize);

impl Beats {
    fn times(times: usize) -> Self {
        Self(AtomicUsize::new(times))
    }
}

#[async_trait]
impl Pulse for Beats {
    async fn beats(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }
}

#[tokio::test]
async fn silence_is_an_error_but_not_of_a_run_that_goes_on() {
    const SOON: Duration = Duration::from_millis(1);
    let (alive, dead) = (Beats::times(usize::MAX), Beats::times(3));
    let late = || {
        stream::once(async {
            tokio::time::sleep(SOON * 20).await;
            Ok(Bytes::from(" three"))
        })
    };
    for (extent, then, text) in [
        (Extent::Present, stream::empty().boxed(), Some("one two")),
        (
            Extent::Follow(&dead),
            stream::empty().boxed(),
            Some("one two"),
        ),
        (Extent::Present, stream::pending().boxed(), None),
        (Extent::Follow(&dead), stream::pending().boxed(), None),
        (
            Extent::Follow(&alive),
            late().boxed(),
            Some("one two three"),
        ),
    ] {
        let pieces = stream::iter([Ok(Bytes::from("one ")), Ok(Bytes::from("two"))]);
        let mut seen = Seen::default();
        let answer = Answer {
            size: Some(7),
            pieces: pieces.chain(then).boxed(),
        };
        let copied = copy(answer, extent, SOON, SOON, &mut seen).await;
        assert_eq!(copied.is_ok(), text.is_some(), "{text:?}");
        assert_eq!(
            (seen.size, seen.text.as_str()),
            (Some(7), text.unwrap_or("one two"))
        );
    }
    assert_eq!(dead.0.into_inner(), 0, "asked until it was dead");
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_an_error() {
    let alive = Beats::times(usize::MAX);
    for extent in [Extent::Present, Extent::Follow(&alive)] {
        let pieces = stream::iter([Ok(Bytes::from("one")), Err(anyhow!("broke off"))]);
        let answer = Answer {
            size: None,
            pieces: pieces.boxed(),
        };
        let minute = Duration::from_mins(1);
        let copied = copy(answer, extent, minute, minute, &mut Seen::default()).await;
        assert_eq!(copied.unwrap_err().to_string(), "broke off");
    }
}
