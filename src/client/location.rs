//! The flags that backup and snapshot locations share.

use std::collections::BTreeMap;

use clap::Args;

use super::flags::{Problems, label_pairs, pairs};
use crate::api::SecretKey;

/// Which provider, and how to reach it.
#[derive(Args, Debug)]
pub(crate) struct ProviderArgs {
    /// Name of the provider, such as aws or local
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The provider's own settings, as KEY=VALUE (comma-separated, may be repeated)
    #[arg(long, value_name = "KEY=VALUE,...")]
    config: Vec<String>,
    /// Secret in Ark's namespace and its key that holds the credentials, as NAME=KEY [default: the server's own]
    #[arg(long, value_name = "NAME=KEY")]
    credential: Option<String>,
    /// Labels for the new object itself, as KEY=VALUE (comma-separated, may be repeated)
    #[arg(long, value_name = "KEY=VALUE,...")]
    labels: Vec<String>,
}

/// What [`ProviderArgs`] mean.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) credential: Option<SecretKey>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl ProviderArgs {
    /// Reads the flags; what cannot be read is added to `problems`.
    pub(crate) fn read(&self, problems: &mut Problems) -> Provider {
        let labels = problems.take(label_pairs(&self.labels));
        Provider {
            name: self.provider.trim().to_owned(),
            config: problems.take(pairs("--config", &self.config, '=')),
            credential: self
                .credential
                .as_deref()
                .and_then(|text| problems.take(secret_key(text).map(Some))),
            labels: (!labels.is_empty()).then_some(labels),
        }
    }
}

/// Reads a Secret's name and one of its keys.
fn secret_key(text: &str) -> Result<SecretKey, String> {
    text.split_once('=')
        .filter(|(name, key)| !name.is_empty() && !key.is_empty())
        .map(|(name, key)| SecretKey {
            name: name.to_owned(),
            key: key.to_owned(),
        })
        .ok_or_else(|| {
            format!("--credential: cannot read {text:?}; write a Secret and its key, such as cloud-credentials=cloud")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_and_its_key() {
        let read = secret_key("cloud-credentials=a=b").unwrap();
        assert_eq!(
            (read.name.as_str(), read.key.as_str()),
            ("cloud-credentials", "a=b")
        );
        for bad in ["", "a", "=", "a=", "=b"] {
            assert!(secret_key(bad).is_err(), "{bad:?}");
        }
    }
}
