//! What a location says about a bucket of Google Cloud Storage, read without asking anybody.

use url::Url;

use crate::api::StorageProviderConfig;
use crate::providers::settings::{Settings, bucket, invalid};
use crate::providers::store::StoreError;

/// The settings of this provider, by the names that Velero's plugin gave them.
const KEYS: &[&str] = &["serviceAccount", "kmsKeyName", "storeEndpoint", "publicUrl"];

/// Google's own address.
const GOOGLE: &str = "https://storage.googleapis.com";

/// A bucket, as the settings describe it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct GcsSettings {
    pub(super) bucket: String,
    /// The server, without a slash at its end.
    pub(super) endpoint: String,
    /// The server's address for those who get signed URLs.
    pub(super) public_url: String,
    /// The service account that signs links where there is no key to sign with.
    pub(super) service_account: Option<String>,
    /// The key that objects are encrypted with, as `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub(super) kms_key: Option<String>,
}

impl GcsSettings {
    pub(super) fn parse(config: &StorageProviderConfig) -> Result<Self, StoreError> {
        let settings = Settings::of_store(config, KEYS)?;
        let bucket = bucket(config)?.to_owned();
        let address = |key| -> Result<Option<String>, StoreError> {
            Ok(settings.url(key)?.as_ref().map(without_slash))
        };
        let endpoint = address("storeEndpoint")?.unwrap_or_else(|| GOOGLE.to_owned());
        let owned = |key| settings.text(key).map(str::to_owned);
        let service_account = owned("serviceAccount");
        if service_account
            .as_deref()
            .is_some_and(|name| !name.contains('@') || name.contains('/'))
        {
            return Err(invalid(
                "backupStorageProvider.config.serviceAccount cannot be read; write it as \
                 NAME@PROJECT.iam.gserviceaccount.com",
            ));
        }
        let kms_key = owned("kmsKeyName");
        if kms_key
            .as_deref()
            .is_some_and(|key| !key.starts_with("projects/"))
        {
            return Err(invalid(
                "backupStorageProvider.config.kmsKeyName cannot be read; write it as \
                 projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
            ));
        }
        Ok(Self {
            public_url: address("publicUrl")?.unwrap_or_else(|| endpoint.clone()),
            bucket,
            endpoint,
            service_account,
            kms_key,
        })
    }
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bucket: &str, pairs: &[(&str, &str)]) -> Result<GcsSettings, StoreError> {
        GcsSettings::parse(&StorageProviderConfig {
            name: "gcp".into(),
            bucket: bucket.into(),
            config: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..StorageProviderConfig::default()
        })
    }

    #[test]
    fn addresses() {
        let plain = parse("ark", &[]).unwrap();
        assert_eq!(plain.endpoint, "https://storage.googleapis.com");
        assert_eq!(plain.public_url, plain.endpoint);
        let own = parse("ark", &[("storeEndpoint", "http://gcs:4443/")]).unwrap();
        assert_eq!(own.endpoint, "http://gcs:4443");
        assert_eq!(own.public_url, "http://gcs:4443");
        let both = parse(
            "ark",
            &[
                ("storeEndpoint", "http://gcs:4443"),
                ("publicUrl", "https://ark.example.org"),
            ],
        );
        assert_eq!(both.unwrap().public_url, "https://ark.example.org");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (bucket, pairs) in [
            ("", &[][..]),
            ("ark", &[("region", "europe-west1")]),
            ("ark", &[("storeEndpoint", "gcs:4443")]),
            ("ark", &[("publicUrl", "ftp://gcs")]),
            ("ark", &[("kmsKeyName", "my-key")]),
            ("ark", &[("serviceAccount", "ark")]),
            ("ark", &[("caCert", "/ca.pem")]),
        ] {
            assert!(parse(bucket, pairs).is_err(), "{bucket} {pairs:?}");
        }
    }
}
