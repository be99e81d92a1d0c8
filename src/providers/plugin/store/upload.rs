//! An upload into a plugin's store, piece by piece.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use futures::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;
use tracing::Instrument as _;

use super::codec::Sent;
use super::{PIECE, Shared, calls, store_error};
use crate::api::duration;
use crate::providers::plugin::pool::Lease;
use crate::providers::store::{ErrorKind, StoreError, Upload};

/// How many pieces wait to be sent: a quarter of a MiB.
const WAITING: usize = 16;

/// What is sent next.
#[derive(Debug)]
enum Next {
    Piece(Bytes),
    End,
}

/// An upload that goes on.
#[derive(Debug)]
struct PluginUpload {
    store: Arc<Shared>,
    lease: Lease,
    key: String,
    sender: mpsc::Sender<Next>,
    /// The call until its end is known. It goes on when the upload is dropped: it has to say that it is given up.
    call: Option<JoinHandle<Result<(), Status>>>,
    begun: bool,
}

/// Begins an upload.
pub(super) fn begin(store: &Arc<Shared>, lease: Lease, key: &str) -> impl Upload + use<> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let calling = {
        // The call may outlive the upload.
        let (store, lease, key) = (Arc::clone(store), lease.share(), key.to_owned());
        async move { calls::put(&store, &lease, &key, pieces(receiver)).await }
    };
    PluginUpload {
        store: Arc::clone(store),
        lease,
        key: key.to_owned(),
        sender,
        call: Some(tokio::spawn(calling.in_current_span())),
        begun: false,
    }
}

/// The pieces of an upload. One that is dropped before its end is given up.
fn pieces(receiver: mpsc::Receiver<Next>) -> impl Stream<Item = Sent<Bytes>> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(Next::Piece(piece)) => Some((Some(piece), receiver)),
            Some(Next::End) => None,
            None => Some((None, receiver)),
        }
    })
}

impl PluginUpload {
    async fn send(&mut self, next: Next) -> Result<(), StoreError> {
        let limit = self.lease.call_limit();
        match timeout(limit, self.sender.send(next)).await {
            Ok(Ok(())) => Ok(()),
            // The call has ended already, and says why.
            Ok(Err(_)) => Err(match self.end().await {
                Err(error) => error,
                Ok(()) => self.odd("it took the object before all of it was sent"),
            }),
            Err(_) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!(
                    "the plugin was to {} and has taken nothing for {}",
                    self.tried(),
                    duration::format(limit)
                ),
            )),
        }
    }

    /// Waits for the end of the call.
    async fn end(&mut self) -> Result<(), StoreError> {
        let Some(call) = self.call.take() else {
            return Err(self.odd("an earlier piece was refused"));
        };
        let limit = self.lease.call_limit();
        match timeout(limit, call).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(status))) => Err(self.failed(&status).await),
            Ok(Err(error)) => Err(self.odd(&error.to_string())),
            Err(_) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!(
                    "the plugin was to {} and has not said that it did within {}",
                    self.tried(),
                    duration::format(limit)
                ),
            )),
        }
    }

    fn tried(&self) -> String {
        format!("write {} in bucket {:?}", self.key, self.store.bucket)
    }

    async fn failed(&self, status: &Status) -> StoreError {
        store_error(self.lease.failed(&self.tried(), status).await)
    }

    fn odd(&self, why: &str) -> StoreError {
        StoreError::new(
            ErrorKind::Other,
            format!("the plugin cannot {}: {why}", self.tried()),
        )
    }
}

#[async_trait]
impl Upload for PluginUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.begun = true;
            self.send(Next::Piece(piece)).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        if !self.begun {
            // The first piece names bucket and key.
            self.send(Next::Piece(Bytes::new())).await?;
        }
        self.send(Next::End).await?;
        self.end().await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let Self {
            call,
            sender,
            lease,
            ..
        } = *self;
        drop(sender);
        if let Some(call) = call {
            // It fails, as it is to; a plugin that hangs is not waited for.
            let _failed = timeout(lease.call_limit(), call).await;
        }
        Ok(())
    }
}
