//! From a Config's `backupStorageProvider` to a store: the one place that knows the providers' names.

use std::sync::Arc;

use super::environment::Environment;
use super::local;
use super::settings::invalid;
use super::store::{ObjectStore, StoreError};
use crate::api::StorageProviderConfig;

/// The providers that this build can open.
pub const AVAILABLE: &[&str] = if cfg!(feature = "aws") {
    &["aws", "local"]
} else {
    &["local"]
};

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
        #[cfg(not(feature = "aws"))]
        "aws" => {
            // The signature is the same in every build.
            let _ = environment;
            Err(unavailable(
                "aws",
                "this ark was built without the feature \"aws\"",
            ))
        }
        name @ ("gcp" | "azure") => Err(unavailable(name, "this version of ark does not have it")),
        "" => Err(invalid(format!(
            "backupStorageProvider.name is not set; it can be {}",
            AVAILABLE.join(" or ")
        ))),
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
        for (name, expected) in [
            ("", "is not set"),
            ("s3", "there is no such provider"),
            ("gcp", "this version of ark does not have it"),
            ("azure", "this version of ark does not have it"),
        ] {
            let config = StorageProviderConfig {
                name: name.into(),
                bucket: "b".into(),
                ..StorageProviderConfig::default()
            };
            let error = open(&config, &Environment::default()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{name}");
            let message = error.to_string();
            assert!(
                message.contains(expected) && message.contains("local"),
                "{message}"
            );
        }
    }
}
