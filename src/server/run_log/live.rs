//! Reading a log while it is written.
//!
//! Nothing is kept for readers but the compressed file, which each unpacks for itself, a piece at a time.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::Stream;

use super::{Lines, Log, lock};

/// The most bytes of the file that are unpacked at once. Lines are alike, so that they may become a thousand times as many.
const PIECE: usize = 4 << 10;
/// How long a reader who has everything waits after the next line for further ones: each look costs some compression.
const PAUSE: Duration = Duration::from_millis(100);

/// The log of a run, to be read; it can be even when the run is over. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LiveLog(Arc<Log>);

/// How far a reader wants to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// To the last line that has been said so far.
    Now,
    /// To the last line of the run.
    End,
}

impl LiveLog {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self(log)
    }

    /// Returns what tells this log from every other one of this process.
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// Returns the lines as text, from the first.
    pub(crate) fn text(
        &self,
        until: Until,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let reader = Reader {
            log: Arc::clone(&self.0),
            decoder: GzDecoder::new(Vec::new()),
            read: 0,
            until,
        };
        futures::stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|text| (text, reader)))
        })
    }
}

/// Somebody who reads a log.
struct Reader {
    log: Arc<Log>,
    decoder: GzDecoder<Vec<u8>>,
    /// How much of the file has been read.
    read: usize,
    until: Until,
}

/// What there is of a file beyond what has been read.
enum Next {
    Piece(Vec<u8>),
    Nothing,
    End,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut grown = self.log.grown.subscribe();
        loop {
            match self.look() {
                Next::Piece(piece) => {
                    self.read += piece.len();
                    let text = self.unpack(&piece)?;
                    if !text.is_empty() {
                        return Ok(Some(text));
                    }
                }
                Next::End => return Ok(None),
                Next::Nothing if self.until == Until::Now => return Ok(None),
                Next::Nothing => {
                    // The sender is a part of the log.
                    grown.changed().await.map_err(io::Error::other)?;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Looks for more of the file.
    fn look(&self) -> Next {
        let mut buffer = lock(&self.log.buffer);
        if buffer.file().len() == self.read {
            buffer.flush();
        }
        let rest = &buffer.file()[self.read..];
        if rest.is_empty() {
            return match buffer.lines {
                Lines::Open { .. } => Next::Nothing,
                Lines::Finished(_) => Next::End,
            };
        }
        Next::Piece(rest[..rest.len().min(PIECE)].to_vec())
    }

    fn unpack(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.decoder.write_all(piece)?;
        self.decoder.flush()?;
        Ok(std::mem::take(self.decoder.get_mut()).into())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::super::RunLogs;
    use super::*;

    async fn all(stream: impl Stream<Item = io::Result<Bytes>>) -> String {
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[tokio::test]
    async fn lines_are_read_as_they_come() {
        let logs = RunLogs::default();
        let log = logs.begin("backup/a");
        let live = logs.live("backup/a").unwrap();
        assert_eq!(all(live.text(Until::Now)).await, "");
        log.log.add("one\n");
        assert_eq!(all(live.text(Until::Now)).await, "one\n");

        let mut following = Box::pin(live.text(Until::End));
        assert_eq!(following.try_next().await.unwrap().unwrap(), "one\n");
        let mut next = following.try_next();
        assert!(futures::poll!(&mut next).is_pending());
        log.log.add("two\n");
        assert_eq!(next.await.unwrap().unwrap(), "two\n");
        log.log.add("three\n");
        let file = log.finish();
        log.log.add("too late\n");
        drop(log);
        assert_eq!(following.try_next().await.unwrap().unwrap(), "three\n");
        assert_eq!(following.try_next().await.unwrap(), None);

        // The readers changed nothing about the file, and it can be read when the run is over.
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&file[..]), &mut text).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
        assert_eq!(all(live.text(Until::End)).await, text);
        assert!(logs.live("backup/a").is_none());
    }

    #[tokio::test]
    async fn long_logs_are_read_piece_by_piece() {
        let logs = RunLogs::default();
        let log = logs.begin("backup/a");
        let mut expected = String::new();
        for number in 0..5_000_u64 {
            let line = format!("{number} {}\n", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            log.log.add(&line);
            expected.push_str(&line);
        }
        let live = logs.live("backup/a").unwrap();
        assert!(live.0.buffer.lock().unwrap().file().len() > 2 * PIECE);
        assert_eq!(all(live.text(Until::Now)).await, expected);
    }

    #[tokio::test]
    async fn a_run_that_breaks_off_ends_its_log() {
        let logs = RunLogs::default();
        let log = logs.begin("backup/a");
        log.log.add("last words\n");
        let following = logs.live("backup/a").unwrap().text(Until::End);
        drop(log);
        assert_eq!(all(following).await, "last words\n");
    }
}
