//! Requests of tests to what speaks Amazon's protocols, signed by Amazon's own crate.

use std::time::SystemTime;

use anyhow::Result;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::Method;

/// Whose request it is, and to what.
#[derive(Debug)]
pub struct Signer<'a> {
    pub key: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Signer<'_> {
    /// Returns the headers to add to a request that has these already.
    pub fn headers(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>> {
        let mut settings = SigningSettings::default();
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = Credentials::new(self.key, self.secret, None, None, "tests").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let body = SignableBody::Bytes(body);
        let request = SignableRequest::new(method.as_str(), url, headers.iter().copied(), body)?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        let (added, _) = instructions.into_parts();
        Ok(added
            .iter()
            .map(|header| (header.name(), header.value().to_owned()))
            .collect())
    }
}
