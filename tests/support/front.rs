//! Something that answers over plain HTTP and passes on what it is asked, unless it is told to be in trouble: with a
//! status of its own, by losing the answer to what was done, or by keeping silent.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use tokio::task::JoinHandle;

/// What it does instead of passing a request and its answer on.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It answers itself.
    Answer(u16, String),
    /// It passes the request on, and breaks off in the middle of the answer.
    Lose,
    /// It does nothing, as long as it is waited for.
    Hold,
    /// It passes the request on, and keeps the answer as long as that is waited for.
    HoldAnswer,
}

#[derive(Debug)]
struct Rule {
    /// What the request's body or address holds.
    of: String,
    trouble: Trouble,
    times: usize,
}

#[derive(Debug)]
struct Rules {
    upstream: String,
    client: reqwest::Client,
    troubles: Mutex<Vec<Rule>>,
    /// Writes without a header whose name begins like this are refused, as S3 refuses those without a checksum.
    demanded: Mutex<Option<&'static str>>,
    seen: Mutex<Vec<String>>,
}

/// What stands before a server.
#[derive(Debug)]
pub struct Front {
    rules: Arc<Rules>,
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Starts it before the server with this address.
    pub async fn to(upstream: String, client: reqwest::Client) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let rules = Arc::new(Rules {
            upstream,
            client,
            troubles: Mutex::default(),
            demanded: Mutex::default(),
            seen: Mutex::default(),
        });
        let router = axum::Router::new()
            .fallback(pass_on)
            .with_state(Arc::clone(&rules));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { rules, port, task })
    }

    /// Returns its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers the next `times` requests with a status and nothing else.
    pub fn trouble(&self, status: u16, times: usize) {
        self.trouble_of("", Trouble::Answer(status, String::new()), times);
    }

    /// Is in trouble with the next `times` requests whose body or address holds `of`.
    pub fn trouble_of(&self, of: &str, trouble: Trouble, times: usize) {
        lock(&self.rules.troubles).push(Rule {
            of: of.to_owned(),
            trouble,
            times,
        });
    }

    /// Refuses writes without a header whose name begins like this, in the words in which S3 wants a checksum.
    pub fn demand(&self, header: &'static str) {
        *lock(&self.rules.demanded) = Some(header);
    }

    /// Ends all trouble.
    pub fn recover(&self) {
        lock(&self.rules.troubles).clear();
    }

    /// Returns the number of requests until now whose body or address holds `of`.
    pub fn count(&self, of: &str) -> usize {
        let seen = lock(&self.rules.seen);
        seen.iter().filter(|request| request.contains(of)).count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rules {
    /// Notes a request, and returns the trouble with it.
    fn look(&self, request: String) -> Option<Trouble> {
        let mut rules = lock(&self.troubles);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && request.contains(&rule.of));
        let trouble = rule.map(|rule| {
            rule.times -= 1;
            rule.trouble.clone()
        });
        lock(&self.seen).push(request);
        trouble
    }
}

async fn pass_on(State(rules): State<Arc<Rules>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    let start = &body[..body.len().min(1 << 16)];
    let trouble = rules.look(format!(
        "{} {path} {}",
        parts.method,
        String::from_utf8_lossy(start)
    ));
    if let Some(Trouble::Answer(status, text)) = &trouble {
        let status = StatusCode::from_u16(*status).unwrap_or_default();
        return (status, text.clone()).into_response();
    }
    if matches!(trouble, Some(Trouble::Hold)) {
        return std::future::pending().await;
    }
    // The host too: it may be part of what is signed.
    let headers = parts.headers;
    let demanded = *lock(&rules.demanded);
    if let Some(header) = demanded
        && parts.method == http::Method::PUT
        && !headers.keys().any(|name| name.as_str().starts_with(header))
    {
        let text = "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is \
                    required for Put Object requests with Object Lock parameters</Message></Error>";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let answer = rules
        .client
        .request(parts.method, format!("{}{path}", rules.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            headers.remove("transfer-encoding");
            headers.remove("connection");
            if trouble.is_some() {
                // Read to its end, so that what was asked for is done.
                let _lost = answer.bytes().await;
                if matches!(trouble, Some(Trouble::HoldAnswer)) {
                    return std::future::pending().await;
                }
                headers.remove("content-length");
                let broken: Result<Bytes, std::io::Error> =
                    Err(std::io::ErrorKind::ConnectionReset.into());
                let body = Body::from_stream(futures::stream::iter([broken]));
                return (status, headers, body).into_response();
            }
            let body = Body::from_stream(answer.bytes_stream());
            (status, headers, body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
