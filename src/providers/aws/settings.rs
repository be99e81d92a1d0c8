//! What a Config says about a bucket, read without asking anybody.

use url::Url;

use super::credentials::Identity;
use crate::api::StorageProviderConfig;
use crate::providers::environment::Environment;
use crate::providers::settings::{Settings, bucket, invalid};
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
    "tagging",
];

/// How many tags an object may have.
const MOST_TAGS: usize = 10;

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
    /// Whether to send SHA-256 checksums whatever the bucket is like; those with object lock demand them.
    pub(super) checksums: bool,
    /// The tags that objects get.
    pub(super) tags: Vec<(String, String)>,
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
            tags: match settings.text("tagging") {
                Some(text) => tags(text).map_err(|why| {
                    invalid(format!(
                        "backupStorageProvider.config.tagging: {why}; write it as key=value&key2=value2"
                    ))
                })?,
                None => Vec::new(),
            },
            bucket,
            url,
        })
    }
}

/// Reads tags in the form of a URL's query.
///
/// # Errors
/// A few words (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>).
fn tags(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(format!(
                "{key:?} and its value cannot be a tag, which has a key of 1 to 128 characters and a value of at most 256"
            ));
        }
        if tags.iter().any(|(other, _)| *other == key) {
            return Err(format!("the key {key:?} comes twice"));
        }
        tags.push((key.into_owned(), value.into_owned()));
    }
    if tags.is_empty() || tags.len() > MOST_TAGS {
        return Err(format!(
            "there are {} tags in it, and an object has 1 to {MOST_TAGS}",
            tags.len()
        ));
    }
    Ok(tags)
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
    fn tags_are_written_like_a_query() {
        let settings = parse("ark", &[("tagging", "team=a%26b&stage=test+it&bare=")], &[]);
        let tags = settings.unwrap().tags;
        let expected = [("team", "a&b"), ("stage", "test it"), ("bare", "")];
        assert_eq!(
            tags,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        let many: Vec<String> = (0..11).map(|number| format!("k{number}=v")).collect();
        for (text, expected) in [
            ("a=1&a=2", "comes twice"),
            ("=1", "cannot be a tag"),
            ("&", "there are 0 tags"),
            (&many.join("&"), "there are 11 tags"),
            (&format!("{}=1", "k".repeat(129)), "cannot be a tag"),
        ] {
            let problem = parse("ark", &[("tagging", text)], &[]).unwrap_err();
            assert!(problem.to_string().contains(expected), "{problem}");
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
