//! A client that stops at a write of the test's choice, as if its process had died there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::sync::Notify;

/// Where a client stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The write is not sent.
    Before(usize),
    /// The write is carried out, and nobody hears of it.
    After(usize),
}

/// A client that stops, and what tells that it has.
pub(crate) struct Mortal {
    pub(crate) client: kube::Client,
    died: Arc<Notify>,
}

impl Mortal {
    /// Makes a client that stops at a write; the first is number 0. Reads are not counted.
    pub(crate) fn new(client: &kube::Client, death: Death) -> Self {
        let died = Arc::new(Notify::new());
        let writes = Arc::new(AtomicUsize::new(0));
        let (tell, inner) = (Arc::clone(&died), client.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (tell, inner, writes) = (Arc::clone(&tell), inner.clone(), Arc::clone(&writes));
            async move {
                let number = if request.method() == Method::GET {
                    usize::MAX
                } else {
                    writes.fetch_add(1, Ordering::SeqCst)
                };
                if death == Death::Before(number) {
                    tell.notify_one();
                    std::future::pending::<()>().await;
                }
                let answer = inner.send(request).await;
                if death == Death::After(number) {
                    tell.notify_one();
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        Self {
            client: kube::Client::new(service, "default"),
            died,
        }
    }

    /// Returns what `work` gives, or `None` if the client stops before.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.died.notified() => None,
        }
    }
}
