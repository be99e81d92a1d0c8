//! From a Config's `backupStorageProvider` to a store: the one place that knows the providers' names.

use std::sync::Arc;

use super::environment::Environment;
use super::local;
use super::settings::invalid;
use super::store::{ObjectStore, StoreError};
use crate::api::StorageProviderConfig;

/// The providers that this build can open.
pub const AVAILABLE: &[&str] = &[
    #[cfg(feature = "aws")]
    "aws",
    #[cfg(feature = "azure")]
    "azure",
    #[cfg(feature = "gcp")]
    "gcp",
    "local",
];

/// The providers that a build can leave out; each is named like its feature.
pub const FEATURES: &[&str] = &["aws", "azure", "gcp"];

/// Opens the store that `config` describes.
///
/// The store itself is not asked, except for a bucket's region where none is given; see [`ObjectStore::check`].
///
/// # Errors
/// A sentence for whoever wrote the settings: which one is wrong, and what it can be.
pub async fn open(
    config: &StorageProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    match config.name.as_str() {
        "local" => local::open(config).await,
        #[cfg(feature = "aws")]
        "aws" => super::aws::open(config, environment).await,
        #[cfg(feature = "azure")]
        "azure" => super::azure::open(config, environment).await,
        #[cfg(feature = "gcp")]
        "gcp" => super::gcp::open(config, environment).await,
        "" => Err(invalid(format!(
            "backupStorageProvider.name is not set; it can be {}",
            AVAILABLE.join(" or ")
        ))),
        name if FEATURES.contains(&name) => {
            // The signature is the same in every build.
            let _ = environment;
            Err(unavailable(
                name,
                &format!("this ark was built without the feature {name:?}"),
            ))
        }
        other => Err(unavailable(other, "there is no such provider")),
    }
}

fn unavailable(name: &str, why: &str) -> StoreError {
    invalid(format!(
        "backupStorageProvider.name: {name:?} cannot be used: {why}; it can be {}",
        AVAILABLE.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::store::ErrorKind;

    #[tokio::test]
    async fn names_that_cannot_be_opened_are_explained() {
        let mut cases = vec![("", "is not set"), ("s3", "there is no such provider")];
        for name in FEATURES {
            if !AVAILABLE.contains(name) {
                cases.push((name, "this ark was built without the feature"));
            }
        }
        for (name, expected) in cases {
            let config = StorageProviderConfig {
                name: name.into(),
                bucket: "b".into(),
                ..StorageProviderConfig::default()
            };
            let error = open(&config, &Environment::default()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{name}");
            let message = error.to_string();
            assert!(
                message.contains(expected) && message.contains(name) && message.contains("local"),
                "{message}"
            );
        }
    }
}
