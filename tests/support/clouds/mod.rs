//! Contract fakes: clouds' APIs as their published definitions describe them, kept in memory.
//!
//! A fake refuses whatever its definition does not allow (paths, methods, queries, fields, tokens) and remembers that it
//! had to: [`Desk::kept`] fails a test whose snapshotter broke the contract, even where the snapshotter made the best of
//! the refusal. What goes wrong in a cloud is a switch: [`Trouble`] answers in the cloud's stead, the fakes have others.

#[cfg(feature = "gcp")]
pub mod compute_engine;
#[cfg(feature = "azure")]
pub mod managed_disks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

/// A request, read to its end.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Call {
    /// Returns the body as a JSON object.
    pub fn json(&self) -> Result<Map<String, Value>, String> {
        let kind = self.headers.get("content-type");
        if kind.is_none_or(|kind| kind != "application/json") {
            return Err(format!("a body of type {kind:?}"));
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("a body that is none: {error}"))
    }

    /// Returns the segments of the path.
    pub fn segments(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }

    /// Checks that the query has these and no others.
    pub fn queries(&self, required: &[&str], optional: &[&str]) -> Result<(), String> {
        if let Some(missing) = required
            .iter()
            .find(|name| !self.query.contains_key(**name))
        {
            return Err(format!("no query parameter {missing}"));
        }
        let known = |name: &str| required.contains(&name) || optional.contains(&name);
        match self.query.keys().find(|name| !known(name)) {
            Some(unknown) => Err(format!("query parameter {unknown}")),
            None => Ok(()),
        }
    }
}

/// What a fake answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// `null`: no body. A text stands there as it is.
    pub json: Value,
}

impl Reply {
    pub fn new(status: u16, json: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            json,
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.insert(name, value.parse().unwrap());
        }
        match self.json {
            Value::Null => (status, headers).into_response(),
            Value::String(text) => (status, headers, text).into_response(),
            json => (status, headers, axum::Json(json)).into_response(),
        }
    }
}

/// An answer instead of the cloud's.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Which requests: their method, and what their path ends with.
    pub method: Method,
    pub end: String,
    /// How many of them.
    pub times: usize,
    pub reply: Reply,
    /// The request is carried out first: its answer gets lost.
    pub afterwards: bool,
}

#[derive(Clone, Debug)]
struct Issued {
    scope: String,
    ends: Instant,
}

/// What every fake has: tokens, troubles, and a book of what was asked.
#[derive(Debug)]
pub struct Desk {
    pub address: String,
    issued: Mutex<BTreeMap<String, Issued>>,
    lifetime: Mutex<Duration>,
    troubles: Mutex<Vec<Trouble>>,
    broken: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn new(address: String) -> Self {
        Self {
            address,
            issued: Mutex::default(),
            lifetime: Mutex::new(Duration::from_hours(1)),
            troubles: Mutex::default(),
            broken: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Gives out a token that is good for a scope; returns it with its seconds.
    pub fn issue(&self, scope: &str) -> (String, u64) {
        let token = format!("secret-{}", uuid::Uuid::new_v4().simple());
        let lifetime = *lock(&self.lifetime);
        let issued = Issued {
            scope: scope.to_owned(),
            ends: Instant::now() + lifetime,
        };
        lock(&self.issued).insert(token.clone(), issued);
        (token, lifetime.as_secs())
    }

    /// Returns the scope of a token that was given out and is still good.
    pub fn scope_of(&self, token: &str) -> Option<String> {
        let issued = lock(&self.issued);
        let issued = issued.get(token)?;
        (issued.ends > Instant::now()).then(|| issued.scope.clone())
    }

    /// Returns how many tokens were given out.
    pub fn tokens(&self) -> usize {
        lock(&self.issued).len()
    }

    /// Ends every token that was given out.
    pub fn expire_tokens(&self) {
        for issued in lock(&self.issued).values_mut() {
            issued.ends = Instant::now();
        }
    }

    /// Has the next tokens be good for so long.
    pub fn tokens_last(&self, lifetime: Duration) {
        *lock(&self.lifetime) = lifetime;
    }

    /// Has requests go wrong.
    pub fn trouble(&self, trouble: Trouble) {
        lock(&self.troubles).push(trouble);
    }

    /// Ends all troubles.
    pub fn no_trouble(&self) {
        lock(&self.troubles).clear();
    }

    fn troubled(&self, call: &Call) -> Option<Trouble> {
        let mut troubles = lock(&self.troubles);
        let found = troubles.iter_mut().find(|trouble| {
            trouble.times > 0 && trouble.method == call.method && call.path.ends_with(&trouble.end)
        })?;
        found.times -= 1;
        Some(found.clone())
    }

    /// Notes that the contract was broken.
    pub fn broken(&self, call: &Call, how: &str) {
        let note = format!("{} {}: {how}", call.method, call.path);
        lock(&self.broken).push(note);
    }

    /// Checks that the contract was kept.
    pub fn kept(&self) {
        let broken = lock(&self.broken);
        assert!(
            broken.is_empty(),
            "the API's contract is broken: {broken:#?}"
        );
    }

    /// Returns how many requests with this method had a path that contains this.
    pub fn asked(&self, method: &Method, part: &str) -> usize {
        let begin = format!("{method} ");
        lock(&self.asked)
            .iter()
            .filter(|asked| asked.starts_with(&begin) && asked.contains(part))
            .count()
    }
}

/// A cloud that can be asked.
pub trait Fake: Send + Sync + 'static {
    fn desk(&self) -> &Desk;

    fn answer(&self, call: &Call) -> Reply;
}

/// A fake that listens; it ends with this.
#[derive(Debug)]
pub struct Listening<F> {
    pub fake: Arc<F>,
    task: JoinHandle<()>,
}

impl<F> Drop for Listening<F> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<F: Fake> Listening<F> {
    /// Has a fake listen that is made with its desk.
    async fn start(make: impl FnOnce(Desk) -> F) -> Self {
        super::init();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let fake = Arc::new(make(Desk::new(address)));
        let router = axum::Router::new()
            .fallback(serve::<F>)
            .with_state(Arc::clone(&fake));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        Self { fake, task }
    }
}

impl<F: Fake> std::ops::Deref for Listening<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.fake
    }
}

async fn serve<F: Fake>(State(fake): State<Arc<F>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_default();
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: queries(&parts.uri),
        headers: parts.headers,
        body: body.to_vec(),
    };
    lock(&fake.desk().asked).push(format!("{} {}", call.method, call.path));
    match fake.desk().troubled(&call) {
        Some(trouble) => {
            if trouble.afterwards {
                let _lost = fake.answer(&call);
            }
            trouble.reply.into_response()
        }
        None => fake.answer(&call).into_response(),
    }
}

fn queries(uri: &Uri) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

/// A type of JSON.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// A whole number, as a number.
    Number,
    /// A whole number, as text.
    NumberText,
    Flag,
    Texts,
    /// An object of texts.
    TextMap,
    /// An object that a table of its own describes.
    Part(&'static [Field]),
    /// One whose inside the fake does not know, so that a request had better not use it.
    Unknown,
}

/// A field that a request may have.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
}

/// A field that may be there.
pub const fn may(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
    }
}

/// A field that has to be there.
pub const fn must(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: true,
    }
}

/// Checks an object of a request: its fields are known, those that have to be are there, and each has its type.
pub fn check(object: &Map<String, Value>, fields: &[Field]) -> Result<(), String> {
    let missing = |field: &&Field| field.required && !object.contains_key(field.name);
    if let Some(missing) = fields.iter().find(missing) {
        return Err(format!("no {}", missing.name));
    }
    for (name, value) in object {
        let field = fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| format!("{name}, which a request cannot have"))?;
        let fits = match field.kind {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_i64(),
            Kind::NumberText => value
                .as_str()
                .is_some_and(|text| text.parse::<i64>().is_ok()),
            Kind::Flag => value.is_boolean(),
            Kind::Texts => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
            Kind::TextMap => value
                .as_object()
                .is_some_and(|all| all.values().all(Value::is_string)),
            Kind::Part(inner) => match value.as_object() {
                Some(part) => {
                    check(part, inner).map_err(|why| format!("{name}: {why}"))?;
                    true
                }
                None => false,
            },
            Kind::Unknown => false,
        };
        if !fits {
            return Err(format!("{name} cannot be {value}"));
        }
    }
    Ok(())
}
