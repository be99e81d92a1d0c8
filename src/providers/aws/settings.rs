//! What a Config says about a bucket, read without asking anybody.

use url::Url;

use super::credentials::Identity;
use crate::api::StorageProviderConfig;
use crate::providers::environment::Environment;
use crate::providers::settings::{Settings, bucket};
use crate::providers::store::StoreError;

/// The settings of this provider.
const KEYS: &[&str] = &[
    "region",
    "profile",
    "credentialsFile",
    "s3Url",
    "publicUrl",
    "s3ForcePathStyle",
    "kmsKeyId",
    "caCert",
    "checksumAlgorithm",
];

/// The region that servers other than Amazon's take for granted.
const DEFAULT_REGION: &str = "us-east-1";

/// Where a bucket's name stands in its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Addressing {
    /// `https://bucket.host/key`.
    Host,
    /// `https://host/bucket/key`.
    Path,
}

/// A bucket, as the settings describe it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct S3Settings {
    pub(super) bucket: String,
    /// The region; `None`: ask Amazon.
    pub(super) region: Option<String>,
    /// Whose credentials are used.
    pub(super) identity: Identity,
    /// The server; `None`: Amazon's of the region.
    pub(super) url: Option<Url>,
    /// The server's address for those who get signed URLs.
    pub(super) public_url: Option<Url>,
    pub(super) addressing: Addressing,
    pub(super) kms_key_id: Option<String>,
    /// A file of further certificates to trust.
    pub(super) ca_cert: Option<String>,
    /// Whether to send SHA-256 checksums, as buckets with object lock demand.
    pub(super) checksums: bool,
}

impl S3Settings {
    pub(super) fn parse(
        config: &StorageProviderConfig,
        environment: &Environment,
    ) -> Result<Self, StoreError> {
        let settings = Settings::of_store(config, KEYS)?;
        let bucket = bucket(config)?.to_owned();
        let url = settings.url("s3Url")?;
        let owned = |key| settings.text(key).map(str::to_owned);
        let region = owned("region")
            .or_else(|| environment.get("AWS_REGION").map(str::to_owned))
            .or_else(|| environment.get("AWS_DEFAULT_REGION").map(str::to_owned))
            .or_else(|| url.as_ref().map(|_| DEFAULT_REGION.to_owned()));
        let addressing = match settings.flag("s3ForcePathStyle")? {
            Some(false) => Addressing::Host,
            // Amazon is leaving the path style; others rarely have a name for every bucket. Amazon's certificate does
            // not cover names with dots.
            None if url.is_none() && !bucket.contains(['.', '_']) => Addressing::Host,
            Some(true) | None => Addressing::Path,
        };
        Ok(Self {
            region,
            identity: Identity::of(settings),
            public_url: settings.url("publicUrl")?,
            addressing,
            kms_key_id: owned("kmsKeyId"),
            ca_cert: owned("caCert"),
            checksums: settings.one_of("checksumAlgorithm", &["SHA256"])?.is_some(),
            bucket,
            url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        bucket: &str,
        pairs: &[(&str, &str)],
        env: &[(&str, &str)],
    ) -> Result<S3Settings, StoreError> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let config = StorageProviderConfig {
            name: "aws".into(),
            bucket: bucket.into(),
            config: owned(pairs).into_iter().collect(),
            ..StorageProviderConfig::default()
        };
        S3Settings::parse(&config, &owned(env).into_iter().collect())
    }

    #[test]
    fn regions() {
        let minio = ("s3Url", "http://minio:9000");
        for (pairs, env, region) in [
            (
                &[("region", "a")][..],
                &[("AWS_REGION", "b")][..],
                Some("a"),
            ),
            (
                &[],
                &[("AWS_REGION", "b"), ("AWS_DEFAULT_REGION", "c")],
                Some("b"),
            ),
            (&[], &[("AWS_DEFAULT_REGION", "c")], Some("c")),
            (&[minio], &[], Some("us-east-1")),
            (&[], &[], None),
        ] {
            let settings = parse("ark", pairs, env).unwrap();
            assert_eq!(settings.region.as_deref(), region, "{pairs:?} {env:?}");
        }
    }

    #[test]
    fn addressing() {
        let minio = ("s3Url", "http://minio:9000");
        for (bucket, pairs, expected) in [
            ("ark", &[][..], Addressing::Host),
            ("ark.example.org", &[], Addressing::Path),
            ("ark", &[minio], Addressing::Path),
            (
                "ark",
                &[minio, ("s3ForcePathStyle", "false")],
                Addressing::Host,
            ),
            ("ark", &[("s3ForcePathStyle", "true")], Addressing::Path),
        ] {
            let settings = parse(bucket, pairs, &[]).unwrap();
            assert_eq!(settings.addressing, expected, "{bucket} {pairs:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (bucket, pairs) in [
            ("", &[][..]),
            ("ark", &[("bucket", "ark")]),
            ("ark", &[("s3Url", "minio:9000")]),
            ("ark", &[("publicUrl", "ftp://minio")]),
            ("ark", &[("s3ForcePathStyle", "yes")]),
            ("ark", &[("kmsKeyId", "")]),
            ("ark", &[("checksumAlgorithm", "md5")]),
        ] {
            assert!(parse(bucket, pairs, &[]).is_err(), "{bucket} {pairs:?}");
        }
    }
}
