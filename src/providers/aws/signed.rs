//! Requests that Amazon's own crate signs: those of EC2, and those of S3 that `object_store` has no call for.
//!
//! They are made once; who asks decides whether to ask again.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use url::Url;

use super::credentials::CredentialError;
use crate::providers::blobs::{chain, innermost};
use crate::providers::patience::CONNECT_TIMEOUT;
use crate::providers::trust::certificates;

/// How long a whole answer may take: they are small.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Which of Amazon's services is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Ec2,
    S3,
}

/// Makes requests to one service in one region.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    http: reqwest::Client,
    credentials: AwsCredentialProvider,
    service: Service,
    region: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer. Never holds a credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// There are no credentials; a sentence.
    #[error("{0}")]
    Credentials(String),
    /// The server did not answer, or broke off.
    #[error("{why}")]
    Transport {
        why: String,
        /// Whether the server may have done what it was asked for.
        maybe_done: bool,
    },
    /// The request cannot be made.
    #[error("the request cannot be signed: {0}")]
    Unsignable(String),
}

impl Signed {
    pub(super) fn new(
        http: reqwest::Client,
        credentials: AwsCredentialProvider,
        service: Service,
        region: &str,
    ) -> Self {
        Self {
            http,
            credentials,
            service,
            region: region.to_owned(),
        }
    }

    /// Makes a request.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Answer, Unanswered> {
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| Unanswered::credentials(&error))?;
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static(content_type),
            );
        }
        self.sign(&credential, &method, &url, &mut headers, &body)?;
        let request = self.http.request(method, url).headers(headers).body(body);
        let failed = |error: reqwest::Error| Unanswered::transport(&error.without_url());
        let answer = request.send().await.map_err(failed)?;
        Ok(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.map_err(failed)?,
        })
    }

    /// Adds what proves whose request it is.
    fn sign(
        &self,
        credential: &AwsCredential,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), Unanswered> {
        let unsignable = |error: &dyn std::error::Error| Unanswered::Unsignable(error.to_string());
        let identity = Credentials::new(
            &credential.key_id,
            &credential.secret_key,
            credential.token.clone(),
            None,
            "ark",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.name())
            .time(SystemTime::now())
            .settings(self.service.settings())
            .build()
            .map_err(|error| unsignable(&error))?
            .into();
        let given: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let request = SignableRequest::new(
            method.as_str(),
            url.as_str(),
            given.into_iter(),
            SignableBody::Bytes(body),
        )
        .map_err(|error| unsignable(&error))?;
        let signed = sign(request, &params).map_err(|error| unsignable(&error))?;
        let (instructions, _) = signed.into_parts();
        // The crate's own way would panic where a token is not fit for a header.
        let (added, _) = instructions.into_parts();
        for header in added {
            let name = HeaderName::from_bytes(header.name().as_bytes())
                .map_err(|error| unsignable(&error))?;
            let mut value = HeaderValue::from_str(header.value()).map_err(|_| {
                Unanswered::Credentials(
                    "the AWS credentials hold characters that no header can; write them anew"
                        .to_owned(),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(())
    }
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::S3 => "s3",
        }
    }

    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self == Self::S3 {
            // S3 takes keys as they are, and wants the body's digest in a header.
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }
}

impl Unanswered {
    fn credentials(error: &object_store::Error) -> Self {
        let missing = chain(error).find_map(|cause| cause.downcast_ref::<CredentialError>());
        Self::Credentials(missing.map_or_else(
            || format!("the AWS credentials cannot be had: {}", innermost(error)),
            ToString::to_string,
        ))
    }

    fn transport(error: &reqwest::Error) -> Self {
        let why = if error.is_timeout() {
            "it does not answer in time".to_owned()
        } else {
            innermost(error)
        };
        Self::Transport {
            why,
            maybe_done: !error.is_connect(),
        }
    }
}

/// Returns the client for requests that are signed here.
///
/// # Errors
/// The end of a sentence on `ca_cert`, the file of further certificates to trust.
pub(super) fn client(ca_cert: Option<&str>) -> Result<reqwest::Client, String> {
    let trusted = certificates(ca_cert, reqwest::Certificate::from_pem_bundle)?;
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        // A signature is for one address.
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_merge(trusted)
        .build()
        .map_err(|error| format!("connections cannot be made: {error}"))
}

/// Returns the text of an XML element; the answers nest nothing in those that matter.
pub(super) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.trim())
}
