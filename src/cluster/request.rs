//! Sends requests and turns answers into bytes or typed errors; retries reads, counts everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::ClusterError;
use crate::api::error::chain;

/// How often a read is tried before its error is passed on.
const READ_TRIES: u32 = 5;
/// The first pause between two tries; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a server's `Retry-After` is followed for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A connection to one cluster's API server. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
    stats: Arc<RequestStats>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// Counts of what was sent, for metrics and tests.
#[derive(Debug, Default)]
pub struct RequestStats {
    /// Requests sent, tries included.
    pub requests: AtomicU64,
    /// Requests sent again after a failure.
    pub retries: AtomicU64,
}

impl Cluster {
    /// Wraps a client; `qps` limits the requests of engines a second, `None` leaves that to the server's fairness.
    pub fn new(client: kube::Client, qps: Option<std::num::NonZeroU32>) -> Self {
        Self {
            client,
            limiter: qps.map(|qps| Arc::new(RateLimiter::direct(Quota::per_second(qps)))),
            stats: Arc::default(),
        }
    }

    /// Returns the client for typed access.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Returns the counts of requests.
    pub fn stats(&self) -> &RequestStats {
        &self.stats
    }

    /// Waits until a request may be sent, and counts it.
    pub(super) async fn admit(&self) {
        if let Some(limiter) = &self.limiter {
            while let Err(not_until) = limiter.check() {
                let now = governor::clock::Clock::now(&governor::clock::DefaultClock::default());
                tokio::time::sleep(not_until.wait_time_from(now)).await;
            }
        }
        self.stats.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends one request and returns the answer's body; any status but success is an error.
    pub(super) async fn send(
        &self,
        action: &str,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Bytes, ClusterError> {
        let (_, bytes) = self.exchange(action, method, path, accept, body).await?;
        Ok(bytes)
    }

    /// Sends one request and returns the answer's headers and body; any status but success is an error.
    pub(super) async fn exchange(
        &self,
        action: &str,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(http::HeaderMap, Bytes), ClusterError> {
        self.admit().await;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept);
        let body = match body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Body::from(body)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| {
            ClusterError::malformed(action, format!("cannot make the request: {error}"))
        })?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| ClusterError::unreachable(action, chain(&error)))?;
        let status = response.status();
        let (parts, body) = response.into_parts();
        let retry_after = parts
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let bytes = body
            .collect()
            .await
            .map_err(|error| ClusterError::unreachable(action, chain(&error)))?
            .to_bytes();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            Ok((parts.headers, bytes))
        } else {
            Err(ClusterError::from_answer(
                action,
                status,
                retry_after,
                &bytes,
            ))
        }
    }

    /// Reads, trying again a few times where the failure may pass.
    pub(super) async fn read(
        &self,
        action: &str,
        path: &str,
        accept: &str,
    ) -> Result<Bytes, ClusterError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match self.send(action, Method::GET, path, accept, None).await {
                Err(error) if error.may_pass() && tries < READ_TRIES => {
                    tracing::debug!(action, %error, tries, "reading again after a failure");
                    let wait = error
                        .retry_after
                        .map_or(pause, |asked| asked.clamp(pause, LONGEST_PAUSE));
                    tokio::time::sleep(wait).await;
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    pause *= 2;
                    tries += 1;
                }
                answer => return answer,
            }
        }
    }
}
