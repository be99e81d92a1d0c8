//! Reads a provider's own settings, of a store or of a snapshotter: unknown keys, empty and malformed values are refused
//! by name, since a misspelt key would otherwise send backups elsewhere.

use std::collections::BTreeMap;
#[cfg(any(feature = "gcp", feature = "azure", feature = "csi"))]
use std::time::Duration;

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
use url::Url;

use super::snapshotter::{SnapshotError, SnapshotErrorKind};
use super::store::{ErrorKind, StoreError};
#[cfg(any(feature = "gcp", feature = "azure", feature = "csi"))]
use crate::api::duration;
use crate::api::{StorageProviderConfig, VolumeProviderConfig};

/// Returns `a, b or c`, for messages.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

/// A setting that cannot work; a sentence for whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(pub(super) String);

impl From<Invalid> for StoreError {
    fn from(Invalid(message): Invalid) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }
}

impl From<Invalid> for SnapshotError {
    fn from(Invalid(message): Invalid) -> Self {
        Self::new(SnapshotErrorKind::Invalid, message)
    }
}

/// The settings of one provider, their keys checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// The field that holds them, for messages.
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "csi")),
        expect(dead_code, reason = "only those read values of some form")
    )]
    at: &'static str,
    config: &'a BTreeMap<String, String>,
}

impl<'a> Settings<'a> {
    /// Takes the settings of a store's provider that knows the keys `accepted`.
    pub(super) fn of_store(
        config: &'a StorageProviderConfig,
        accepted: &[&str],
    ) -> Result<Self, Invalid> {
        Self::new(
            "backupStorageProvider.config",
            &config.name,
            &config.config,
            accepted,
        )
    }

    /// Takes the settings of a snapshotter's provider that knows the keys `accepted`.
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "csi")),
        expect(dead_code, reason = "only those have snapshotters with settings")
    )]
    pub(super) fn of_snapshotter(
        config: &'a VolumeProviderConfig,
        accepted: &[&str],
    ) -> Result<Self, Invalid> {
        Self::new("config", &config.name, &config.config, accepted)
    }

    fn new(
        at: &'static str,
        provider: &str,
        config: &'a BTreeMap<String, String>,
        accepted: &[&str],
    ) -> Result<Self, Invalid> {
        for (key, value) in config {
            if !accepted.contains(&key.as_str()) {
                return Err(Invalid(format!(
                    "{at}.{key} is not a setting of {provider}; it has {}",
                    accepted.join(", ")
                )));
            }
            if value.trim().is_empty() {
                return Err(Invalid(format!(
                    "{at}.{key} is empty; give it a value or remove it"
                )));
            }
        }
        Ok(Self { at, config })
    }

    /// Returns a setting, if it is given.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.config.get(key).map(|value| value.trim())
    }
}

/// Returns the name of a store's bucket.
pub(super) fn bucket(config: &StorageProviderConfig) -> Result<&str, Invalid> {
    let bucket = config.bucket.as_str();
    if bucket.is_empty() {
        return Err(Invalid(
            "backupStorageProvider.bucket is not set; name the bucket that holds the backups"
                .to_owned(),
        ));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !bucket.chars().all(fits) || bucket.contains("..") || bucket == "." {
        return Err(Invalid(format!(
            "backupStorageProvider.bucket: {bucket:?} cannot name a bucket; use letters, digits, '-', '_' and '.', \
             no '/' and no '..'"
        )));
    }
    Ok(bucket)
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "csi"))]
impl Settings<'_> {
    /// Returns a setting that is a length of time, if it is given.
    #[cfg(any(feature = "gcp", feature = "azure", feature = "csi"))]
    pub(super) fn duration(self, key: &str) -> Result<Option<Duration>, Invalid> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        match duration::parse(text) {
            Ok(Duration::ZERO) | Err(_) => {
                Err(self.malformed(key, text, "write it as 90s, 2m or 1h30m"))
            }
            Ok(duration) => Ok(Some(duration)),
        }
    }

    /// Makes the error for a value that cannot be read.
    fn malformed(self, key: &str, value: &str, advice: &str) -> Invalid {
        Invalid(format!(
            "{}.{key}: {value:?} cannot be read; {advice}",
            self.at
        ))
    }
}

/// What only cloud providers have.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
impl<'a> Settings<'a> {
    /// Returns a setting that is `true` or `false`, if it is given.
    #[cfg(any(feature = "aws", feature = "azure"))]
    pub(super) fn flag(self, key: &str) -> Result<Option<bool>, Invalid> {
        match self.text(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.malformed(key, other, "write \"true\" or \"false\"")),
        }
    }

    /// Returns a setting that is the address of a server, if it is given.
    pub(super) fn url(self, key: &str) -> Result<Option<Url>, Invalid> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            // Credentials in an address would end up in messages.
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .filter(|url| url.query().is_none() && url.fragment().is_none());
        match url {
            Some(url) => Ok(Some(url)),
            None => Err(self.malformed(
                key,
                text.split('@').next_back().unwrap_or_default(),
                "write it as http://host:port or https://host, without credentials",
            )),
        }
    }

    /// Returns a setting that is one of a few words, if it is given.
    #[cfg(any(feature = "aws", feature = "gcp"))]
    pub(super) fn one_of(self, key: &str, words: &[&str]) -> Result<Option<&'a str>, Invalid> {
        match self.text(key) {
            Some(word) if !words.contains(&word) => {
                Err(self.malformed(key, word, &format!("it can be {}", either(words))))
            }
            word => Ok(word),
        }
    }
}

/// Makes the error for settings of a store that cannot work.
pub(super) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(bucket: &str, pairs: &[(&str, &str)]) -> StorageProviderConfig {
        StorageProviderConfig {
            name: "test".into(),
            bucket: bucket.into(),
            config: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..StorageProviderConfig::default()
        }
    }

    #[test]
    fn unknown_and_empty_keys_are_refused_by_name() {
        let problem = Settings::of_store(&config("b", &[("regoin", "x")]), &["region", "path"])
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("regoin") && problem.contains("it has region, path"),
            "{problem}"
        );
        let problem = Settings::of_store(&config("b", &[("region", " ")]), &["region"])
            .unwrap_err()
            .to_string();
        assert!(problem.contains("region is empty"), "{problem}");
    }

    #[test]
    fn buckets() {
        for (bucket, ok) in [
            ("ark", true),
            ("Ark_backups.v1-x", true),
            ("", false),
            ("a/b", false),
            ("..", false),
            (".", false),
            ("a..b", false),
            ("a b", false),
        ] {
            let config = config(bucket, &[]);
            assert_eq!(super::bucket(&config).is_ok(), ok, "{bucket:?}");
        }
    }

    #[cfg(feature = "aws")]
    #[test]
    fn flags_urls_and_words() {
        let config = config(
            "b",
            &[
                ("yes", "true"),
                ("si", "1"),
                ("good", "http://minio:9000"),
                ("bad", "minio:9000"),
                ("leaky", "https://user:hunter2@minio"),
            ],
        );
        let settings = Settings::of_store(&config, &["yes", "si", "good", "bad", "leaky"]).unwrap();
        assert_eq!(settings.flag("yes").unwrap(), Some(true));
        assert_eq!(settings.flag("absent").unwrap(), None);
        assert!(settings.flag("si").is_err());
        assert!(settings.url("good").unwrap().is_some());
        assert!(settings.url("bad").is_err());
        let problem = settings.url("leaky").unwrap_err().to_string();
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(settings.one_of("si", &["1", "4"]).is_ok());
        assert!(settings.one_of("si", &["4"]).is_err());
    }
}
