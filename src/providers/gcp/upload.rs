//! An object sent to Google in chunks, each of which is kept until Google has it: a resumable upload
//! (<https://cloud.google.com/storage/docs/performing-resumable-uploads>).
//!
//! The chunks of such an upload go one after the other, and all but the last are a multiple of 256 KiB, so one is held
//! back until it is known whether it is the last. A task of its own sends them; when it is told to give up, or nobody
//! is left to tell it anything, it takes the upload back, since Google would keep it for a week.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use tokio::sync::{mpsc, oneshot};

use super::api::Api;
use super::errors::GcsError;
use super::store::stored;
use crate::providers::patience::Patience;

/// What the task is told.
#[derive(Debug)]
enum Order {
    Send(Bytes),
    Finish,
    Abort,
}

/// An order, and whom to tell when it is carried out.
#[derive(Debug)]
struct Request {
    order: Order,
    done: oneshot::Sender<Result<(), GcsError>>,
}

/// An upload that has begun.
#[derive(Debug)]
pub(super) struct Resumable {
    orders: mpsc::UnboundedSender<Request>,
}

impl Resumable {
    /// Begins to upload.
    pub(super) async fn begin(api: Api, key: &str) -> Result<Self, GcsError> {
        let url = api.begin_upload(key).await?;
        // Who gives the orders waits for them to be carried out, so there are never many.
        let (orders, waiting) = mpsc::unbounded_channel();
        let sender = Sender {
            api,
            url,
            sent: 0,
            checksum: 0,
            held: Bytes::new(),
        };
        // Not supervised: it ends with the upload, and its end is an error for whoever waits.
        drop(tokio::spawn(sender.run(waiting)));
        Ok(Self { orders })
    }

    fn give(
        &self,
        order: Order,
    ) -> impl Future<Output = Result<(), object_store::Error>> + Send + 'static + use<> {
        let (done, answer) = oneshot::channel();
        let given = self.orders.send(Request { order, done }).is_ok();
        async move {
            let gone = || GcsError::Odd("the upload has ended before".to_owned());
            if !given {
                return Err(gone().into());
            }
            match answer.await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(gone().into()),
            }
        }
    }
}

#[async_trait::async_trait]
impl MultipartUpload for Resumable {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // The order is that of the calls, not that in which the futures are looked at.
        self.give(Order::Send(data.into())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult, object_store::Error> {
        self.give(Order::Finish).await?;
        Ok(stored())
    }

    async fn abort(&mut self) -> Result<(), object_store::Error> {
        match self.give(Order::Abort).await {
            // One that failed has been taken back already.
            Err(_) if self.orders.is_closed() => Ok(()),
            aborted => aborted,
        }
    }
}

/// The task that sends.
#[derive(Debug)]
struct Sender {
    api: Api,
    /// Where to: a secret.
    url: String,
    /// How many bytes Google has.
    sent: u64,
    /// The CRC32C of all that was given to be sent.
    checksum: u32,
    /// The chunk that may be the last.
    held: Bytes,
}

/// What Google says it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// All of it: the object is there.
    Whole,
    /// The first so many bytes.
    Bytes(u64),
}

impl Sender {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Request>) {
        while let Some(Request { order, done }) = orders.recv().await {
            let last = matches!(order, Order::Finish | Order::Abort);
            let result = match order {
                Order::Send(chunk) => {
                    self.checksum = crc32c::crc32c_append(self.checksum, &chunk);
                    let held = std::mem::replace(&mut self.held, chunk);
                    self.send(held, Total::Open).await
                }
                Order::Finish => {
                    let held = std::mem::take(&mut self.held);
                    let total = self.sent + held.len() as u64;
                    self.send(held, Total::Is(total)).await
                }
                Order::Abort => self.take_back().await,
            };
            let failed = result.is_err();
            // Who asked may have gone.
            let _nobody_waits = done.send(result);
            if failed {
                break;
            }
            if last {
                return;
            }
        }
        // An upload that failed, or whose owner went away without a word.
        if let Err(error) = self.take_back().await {
            tracing::debug!(%error, "an unfinished upload cannot be taken back; it expires in a week");
        }
    }

    /// Sends a chunk until Google has all of it.
    async fn send(&mut self, mut chunk: Bytes, total: Total) -> Result<(), GcsError> {
        if chunk.is_empty() && total == Total::Open {
            return Ok(());
        }
        let end = self.sent + chunk.len() as u64;
        let mut patience = Patience::new();
        let mut asking = false;
        loop {
            let (range, body) = if asking {
                ("bytes */*".to_owned(), Bytes::new())
            } else {
                (content_range(self.sent, chunk.len(), total), chunk.clone())
            };
            let answered = self
                .api
                .send_chunk(&self.url, Method::PUT, self.headers(&range, total)?, body)
                .await
                .and_then(|(status, headers)| progress(status, &headers));
            match answered {
                Ok(Progress::Whole) if total == Total::Open => {
                    return Err(GcsError::Odd(
                        "the upload was finished by somebody else".into(),
                    ));
                }
                Ok(Progress::Whole) => return Ok(()),
                Ok(Progress::Bytes(has)) => {
                    if has < self.sent || has > end {
                        return Err(GcsError::Odd(format!(
                            "the server has {has} bytes where {} to {end} were sent",
                            self.sent
                        )));
                    }
                    if has > self.sent {
                        patience = Patience::new();
                    }
                    // A chunk may be taken in part.
                    drop(chunk.split_to(usize::try_from(has - self.sent).unwrap_or(usize::MAX)));
                    self.sent = has;
                    if has == end && total == Total::Open {
                        return Ok(());
                    }
                    if !asking && !patience.wait().await {
                        return Err(GcsError::Odd("the server does not take the bytes".into()));
                    }
                    asking = false;
                }
                Err(error) if error.may_pass() => {
                    if !patience.wait().await {
                        return Err(error);
                    }
                    asking = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns what goes with a chunk; with the last one, what all of them must add up to, else Google refuses it.
    fn headers(&self, range: &str, total: Total) -> Result<HeaderMap, GcsError> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| GcsError::Odd(error.to_string()))
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, value(range)?);
        if total != Total::Open {
            let checksum = STANDARD.encode(self.checksum.to_be_bytes());
            headers.insert("x-goog-hash", value(&format!("crc32c={checksum}"))?);
        }
        Ok(headers)
    }

    async fn take_back(&self) -> Result<(), GcsError> {
        match self
            .api
            .send_chunk(&self.url, Method::DELETE, HeaderMap::new(), Bytes::new())
            .await
        {
            // 499 is Google's word for "given up by the client".
            Ok(_)
            | Err(GcsError::Answer {
                status: 404 | 410 | 499,
                ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether an object's size is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Total {
    Open,
    Is(u64),
}

fn content_range(start: u64, length: usize, total: Total) -> String {
    let total = match total {
        Total::Open => "*".to_owned(),
        Total::Is(total) => total.to_string(),
    };
    match length as u64 {
        0 => format!("bytes */{total}"),
        length => format!("bytes {start}-{}/{total}", start + length - 1),
    }
}

/// Reads what an answer says about how far the upload is.
fn progress(status: StatusCode, headers: &HeaderMap) -> Result<Progress, GcsError> {
    if status != StatusCode::PERMANENT_REDIRECT {
        return Ok(Progress::Whole);
    }
    let Some(range) = headers.get(header::RANGE) else {
        return Ok(Progress::Bytes(0));
    };
    let last: Option<u64> = range
        .to_str()
        .ok()
        .and_then(|range| range.strip_prefix("bytes=0-")?.parse().ok());
    last.map(|last| Progress::Bytes(last + 1))
        .ok_or_else(|| GcsError::Odd("the server does not say which bytes it has".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_as_google_wants_them() {
        for (start, length, total, expected) in [
            (0, 10, Total::Open, "bytes 0-9/*"),
            (10, 5, Total::Is(15), "bytes 10-14/15"),
            (15, 0, Total::Is(15), "bytes */15"),
            (0, 0, Total::Is(0), "bytes */0"),
        ] {
            assert_eq!(content_range(start, length, total), expected);
        }
    }

    #[test]
    fn what_google_has() {
        let with = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            headers
        };
        let resume = StatusCode::PERMANENT_REDIRECT;
        assert_eq!(
            progress(StatusCode::OK, &HeaderMap::new()).unwrap(),
            Progress::Whole
        );
        assert_eq!(
            progress(resume, &HeaderMap::new()).unwrap(),
            Progress::Bytes(0)
        );
        assert_eq!(
            progress(resume, &with("bytes=0-41")).unwrap(),
            Progress::Bytes(42)
        );
        assert!(progress(resume, &with("bytes=7-41")).is_err());
    }
}
