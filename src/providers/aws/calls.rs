//! The calls of S3 that `object_store` has none for: what locks an object, and which uploads of it are unfinished.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::Url;

use super::errors;
use super::signed::{Answer, Signed, Unanswered, element};
use crate::providers::blobs::Told;
use crate::providers::patience::Patience;
use crate::providers::store::{ErrorKind, Lock};

/// What a value may not hold unescaped in a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What a key may not hold unescaped in a path.
const KEY: &AsciiSet = &VALUE.remove(b'/');

const HOLD: &str = "x-amz-object-lock-legal-hold";
const RETAIN_UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// Asks about one bucket.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    signed: Signed,
    /// The bucket's address, without a slash at its end.
    bucket: String,
}

/// A page of unfinished uploads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Uploads {
    upload: Vec<Upload>,
    is_truncated: String,
    next_key_marker: String,
    next_upload_id_marker: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Upload {
    key: String,
    upload_id: String,
}

impl Calls {
    pub(super) fn new(signed: Signed, bucket: &Url) -> Self {
        Self {
            signed,
            bucket: bucket.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// Returns whether objects can be locked in the bucket.
    ///
    /// # Errors
    /// Whoever may not ask, or asks a server that has no word for it, is told so by the error's kind.
    pub(super) async fn has_locks(&self) -> Result<bool, Told> {
        let answer = self.ask(&Method::GET, "?object-lock").await?;
        if answer.status.is_success() {
            let text = String::from_utf8_lossy(&answer.body);
            return Ok(element(&text, "ObjectLockEnabled") == Some("Enabled"));
        }
        let code = element_of(&answer.body, "Code");
        // What S3 and MinIO say of a bucket without; MinIO also of one that is not there.
        if code == "ObjectLockConfigurationNotFoundError" {
            return Ok(false);
        }
        Err(refused(&answer))
    }

    /// Returns what locks an object; `None` too if it is not there.
    pub(super) async fn lock(&self, key: &str) -> Result<Option<Lock>, Told> {
        let answer = self.ask(&Method::HEAD, &path(key)).await?;
        match answer.status {
            status if status.is_success() => lock_in(&answer.headers),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    /// Returns the ids of an object's unfinished uploads.
    pub(super) async fn uploads(&self, key: &str) -> Result<Vec<String>, Told> {
        let wanted = escaped(key);
        let mut all = Vec::new();
        let mut from = String::new();
        loop {
            // MinIO lists those of exactly this key, S3 of all that begin with it.
            let query = format!("?uploads=&prefix={wanted}{from}");
            let answer = self.ask(&Method::GET, &query).await?;
            if !answer.status.is_success() {
                return Err(refused(&answer));
            }
            let text = String::from_utf8_lossy(&answer.body);
            let page: Uploads = quick_xml::de::from_str(&text).map_err(|error| {
                (
                    ErrorKind::Other,
                    format!("the list of uploads cannot be read: {error}"),
                )
            })?;
            let ours = page.upload.into_iter().filter(|upload| upload.key == key);
            all.extend(ours.map(|upload| upload.upload_id));
            if page.is_truncated != "true" || page.next_key_marker.is_empty() {
                return Ok(all);
            }
            from = format!(
                "&key-marker={}&upload-id-marker={}",
                escaped(&page.next_key_marker),
                escaped(&page.next_upload_id_marker)
            );
        }
    }

    /// Ends an upload and removes its parts; one that is over is fine.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), Told> {
        let query = format!("{}?uploadId={}", path(key), escaped(upload));
        let answer = self.ask(&Method::DELETE, &query).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refused(&answer))
    }

    /// Makes a request as often as it takes; all of them may be repeated.
    async fn ask(&self, method: &Method, rest: &str) -> Result<Answer, Told> {
        let url = Url::parse(&format!("{}{rest}", self.bucket))
            .map_err(|error| (ErrorKind::Invalid, error.to_string()))?;
        let mut patience = Patience::new();
        loop {
            let sent = self
                .signed
                .send(method.clone(), url.clone(), None, Bytes::new());
            let answered = sent.await;
            let may_pass = match &answered {
                Ok(answer) => matches!(answer.status.as_u16(), 408 | 429 | 500 | 502..=504),
                Err(Unanswered::Transport { .. }) => true,
                Err(Unanswered::Credentials(_) | Unanswered::Unsignable(_)) => false,
            };
            if !may_pass || !patience.wait().await {
                return answered.map_err(|error| errors::unanswered(&error));
            }
        }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

fn path(key: &str) -> String {
    format!("/{}", utf8_percent_encode(key, KEY))
}

fn element_of(body: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(body);
    element(&text, name).unwrap_or_default().to_owned()
}

/// Reads an answer that says no; to a HEAD it has no words.
fn refused(answer: &Answer) -> Told {
    let code = element_of(&answer.body, "Code");
    let code = match (code.as_str(), answer.status.as_u16()) {
        ("", 401 | 403) => "AccessDenied".to_owned(),
        ("", 301 | 307) => "PermanentRedirect".to_owned(),
        ("", 405 | 501) => "NotImplemented".to_owned(),
        ("", 429 | 503) => "SlowDown".to_owned(),
        ("", status) => format!("status {status}"),
        (code, _) => code.to_owned(),
    };
    errors::answer(&code, &element_of(&answer.body, "Message"))
}

fn lock_in(headers: &HeaderMap) -> Result<Option<Lock>, Told> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(HOLD).is_some_and(|hold| hold.eq_ignore_ascii_case("on")) {
        return Ok(Some(Lock::Held));
    }
    text(RETAIN_UNTIL)
        .map(|time| {
            time.parse().map(Lock::Until).map_err(|_| {
                (
                    ErrorKind::Other,
                    format!("{time:?} is no time until which it could be locked"),
                )
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_read() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        http::HeaderValue::from_static(value),
                    )
                })
                .collect::<HeaderMap>()
        };
        let time = "2026-12-01T00:00:00.023Z";
        let until = Lock::Until(time.parse().unwrap());
        for (pairs, expected) in [
            (&[][..], None),
            (
                &[
                    ("x-amz-object-lock-mode", "COMPLIANCE"),
                    (RETAIN_UNTIL, time),
                ],
                Some(until),
            ),
            (&[(HOLD, "OFF"), (RETAIN_UNTIL, time)], Some(until)),
            (&[(HOLD, "OFF")], None),
            (&[(HOLD, "ON"), (RETAIN_UNTIL, time)], Some(Lock::Held)),
        ] {
            assert_eq!(lock_in(&headers(pairs)).unwrap(), expected, "{pairs:?}");
        }
        assert!(lock_in(&headers(&[(RETAIN_UNTIL, "soon")])).is_err());
        assert!(Lock::Held > until);
    }

    #[test]
    fn uploads_are_read() {
        let page: Uploads = quick_xml::de::from_str(
            r#"<?xml version="1.0"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Bucket>b</Bucket><Prefix/><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>
            <NextUploadIdMarker>u</NextUploadIdMarker>
            <Upload><Initiator><ID>x</ID></Initiator><Key>a/b &amp; c</Key><UploadId>1</UploadId></Upload>
            <Upload><Key>d</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"#,
        )
        .unwrap();
        assert_eq!(page.upload[0].key, "a/b & c");
        assert_eq!(page.upload[1].upload_id, "2");
        assert_eq!(
            (page.is_truncated.as_str(), page.next_key_marker.as_str()),
            ("true", "k")
        );
        let none: Uploads = quick_xml::de::from_str("<ListMultipartUploadsResult/>").unwrap();
        assert!(none.upload.is_empty());
    }
}
