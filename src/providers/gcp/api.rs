//! The calls of Google's JSON API that Google's crate cannot make for us: listing, looking and deleting, which it does
//! over gRPC alone, and uploads in chunks, whose chunk it loses when a connection breaks
//! (<https://github.com/googleapis/google-cloud-rust/issues/6685>; once that is closed, its `send_buffered` can take
//! their place).

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use http::{Extensions, HeaderMap, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::errors::GcsError;
use crate::providers::patience::{CONNECT_TIMEOUT, Patience, SILENCE_TIMEOUT};

/// What a name may not hold unescaped where it is one segment of a path, or a value of a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The API of one bucket.
#[derive(Clone, Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    credentials: Credentials,
    endpoint: String,
    bucket: String,
    kms_key: Option<String>,
}

/// An object, as listings show it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Object {
    pub(super) name: String,
    /// A number, which the API writes as text.
    size: String,
}

impl Object {
    pub(super) fn size(&self) -> u64 {
        self.size.parse().unwrap_or_default()
    }
}

/// A page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub(super) items: Vec<Object>,
    pub(super) prefixes: Vec<String>,
    pub(super) next_page_token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn refused(&self) -> GcsError {
        GcsError::answer(self.status.as_u16(), &self.body)
    }

    fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, GcsError> {
        if !self.status.is_success() {
            return Err(self.refused());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| GcsError::Odd(format!("the answer cannot be read: {error}")))
    }
}

impl Api {
    pub(super) fn new(
        credentials: Credentials,
        endpoint: &str,
        bucket: &str,
        kms_key: Option<&str>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            // The status 308 means something else here, and a token is not for elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            credentials,
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            kms_key: kms_key.map(str::to_owned),
        })
    }

    /// Lists a page of the keys that begin with `prefix`; with `delimiter`, only those directly below it.
    pub(super) async fn list(
        &self,
        prefix: &str,
        delimiter: bool,
        page_token: Option<&str>,
    ) -> Result<Page, GcsError> {
        let mut path = format!(
            "/storage/v1/b/{}/o?prefix={}&fields=nextPageToken,prefixes,items(name,size)",
            escape(&self.bucket),
            escape(prefix)
        );
        if delimiter {
            path.push_str("&delimiter=%2F");
        }
        if let Some(token) = page_token {
            path.push_str("&pageToken=");
            path.push_str(&escape(token));
        }
        let answer = self.ask(&Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(GcsError::NoBucket);
        }
        answer.json()
    }

    pub(super) async fn look(&self, key: &str) -> Result<Object, GcsError> {
        let path = format!("{}?fields=name,size", self.path_of(key));
        match self.ask(&Method::GET, &path, None).await?.json() {
            Err(error) => Err(self.told_apart(error).await),
            found => found,
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), GcsError> {
        let answer = self.ask(&Method::DELETE, &self.path_of(key), None).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(self.told_apart(answer.refused()).await)
    }

    /// Finds out whether it is the bucket that is missing, where an error leaves that open.
    pub(super) async fn told_apart(&self, error: GcsError) -> GcsError {
        if !error.is_missing() {
            return error;
        }
        match self.list("", true, None).await {
            Err(GcsError::NoBucket) => GcsError::NoBucket,
            _ => error,
        }
    }

    /// Begins an upload in chunks and returns the URL to send them to: a secret, since it needs no token.
    pub(super) async fn begin_upload(&self, key: &str) -> Result<String, GcsError> {
        let mut path = format!(
            "/upload/storage/v1/b/{}/o?uploadType=resumable&name={}",
            escape(&self.bucket),
            escape(key)
        );
        if let Some(kms_key) = &self.kms_key {
            path.push_str("&kmsKeyName=");
            path.push_str(&escape(kms_key));
        }
        let answer = self.ask(&Method::POST, &path, Some("{}")).await?;
        if !answer.status.is_success() {
            return Err(self.told_apart(answer.refused()).await);
        }
        let location = answer.headers.get(header::LOCATION);
        location
            .and_then(|url| url.to_str().ok())
            .map(str::to_owned)
            .ok_or_else(|| GcsError::Odd("the answer names no place to upload to".to_owned()))
    }

    /// Makes one request to where an upload's chunks go, without repeating it.
    pub(super) async fn send_chunk(
        &self,
        url: &str,
        method: Method,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<(StatusCode, HeaderMap), GcsError> {
        let request = self
            .http
            .request(method, url)
            .headers(headers)
            .header(header::CONTENT_LENGTH, body.len());
        let answer = read(request.body(body)).await?;
        let done = answer.status.is_success() || answer.status == StatusCode::PERMANENT_REDIRECT;
        if done {
            Ok((answer.status, answer.headers))
        } else {
            Err(answer.refused())
        }
    }

    fn path_of(&self, key: &str) -> String {
        format!("/storage/v1/b/{}/o/{}", escape(&self.bucket), escape(key))
    }

    /// Makes a request as often as it takes; all of them may be repeated.
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&'static str>,
    ) -> Result<Answer, GcsError> {
        let mut patience = Patience::new();
        loop {
            let answered = self.ask_once(method.clone(), path, body).await;
            let may_pass = match &answered {
                Ok(answer) => !answer.status.is_success() && answer.refused().may_pass(),
                Err(error) => error.may_pass(),
            };
            if !may_pass || !patience.wait().await {
                return answered;
            }
        }
    }

    async fn ask_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&'static str>,
    ) -> Result<Answer, GcsError> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.endpoint))
            .headers(self.authorization().await?);
        if let Some(body) = body {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
        }
        read(request).await
    }

    async fn authorization(&self) -> Result<HeaderMap, GcsError> {
        match self.credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => Err(GcsError::credentials(&error)),
        }
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, GcsError> {
    // The error would show the URL, and an upload's is a secret.
    let failed = |error: reqwest::Error| GcsError::transport(&error.without_url());
    let answer = request.send().await.map_err(failed)?;
    Ok(Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.bytes().await.map_err(failed)?.to_vec(),
    })
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read() {
        let page: Page = serde_json::from_str(
            r#"{"kind": "storage#objects", "prefixes": ["a/"], "nextPageToken": "t",
                "items": [{"name": "b", "size": "12"}]}"#,
        )
        .unwrap();
        assert_eq!(page.prefixes, ["a/"]);
        assert_eq!(page.items[0].size(), 12);
        assert_eq!(page.next_page_token.as_deref(), Some("t"));
        let empty: Page = serde_json::from_str("{}").unwrap();
        assert!(empty.items.is_empty() && empty.next_page_token.is_none());
    }

    #[test]
    fn names_are_escaped_whole() {
        assert_eq!(escape("a/b c%?#~ü"), "a%2Fb%20c%25%3F%23~%C3%BC");
    }
}
