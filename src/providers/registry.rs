//! From a location's settings to a store or a snapshotter: the one place that knows the providers' names.

use std::sync::Arc;

use super::environment::Environment;
use super::local;
use super::settings::{either, invalid};
use super::snapshotter::{SnapshotError, SnapshotErrorKind, VolumeSnapshotter};
use super::store::{ObjectStore, StoreError};
use crate::api::{CSI_PROVIDER, StorageProviderConfig, VolumeProviderConfig};

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

/// The providers whose volumes this build can snapshot.
pub const SNAPSHOTTERS: &[&str] = &[
    #[cfg(feature = "aws")]
    "aws",
    #[cfg(feature = "azure")]
    "azure",
    #[cfg(feature = "csi")]
    CSI_PROVIDER,
    #[cfg(feature = "gcp")]
    "gcp",
];

/// The setting of provider `csi` for how long a snapshot may take to begin, and to be ready: a duration.
pub const CSI_TIMEOUT: &str = "snapshotTimeout";

/// The snapshotters that a build can leave out; each is named like its feature.
pub const SNAPSHOTTER_FEATURES: &[&str] = &["aws", "azure", "csi", "gcp"];

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
    open_for(config, "", environment).await
}

/// Opens the store that `config` describes for a location whose keys begin with `prefix`, which plugins are told.
///
/// A plugin goes before a built-in provider of its name.
///
/// # Errors
/// As [`open`] has them.
pub async fn open_for(
    config: &StorageProviderConfig,
    prefix: &str,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins().filter(|_| !config.name.is_empty()) {
        let built_in = AVAILABLE.contains(&config.name.as_str());
        let opened = plugins.open_store(config, prefix, environment, built_in);
        if let Some(store) = opened.await? {
            return Ok(store);
        }
    }
    // The signature is the same in every build.
    let _ = (prefix, environment);
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
            either(AVAILABLE)
        ))),
        name => Err(invalid(format!(
            "backupStorageProvider.name: {}{}",
            unavailable(name, FEATURES, AVAILABLE),
            unasked_plugins(environment).await
        ))),
    }
}

/// Opens the snapshotter that has the cluster's own CSI drivers make snapshots; the cluster is not asked, see
/// [`VolumeSnapshotter::check`].
///
/// It is what takes volumes that no location is for, then with an empty `config`, and what a location's provider `csi`
/// stands for.
///
/// # Errors
/// A sentence for whoever wrote the settings: which one is wrong, and what it can be.
pub fn open_csi(
    client: &kube::Client,
    config: &VolumeProviderConfig,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    #[cfg(feature = "csi")]
    return super::csi::open(client.clone(), config);
    #[cfg(not(feature = "csi"))]
    {
        // The signature is the same in every build.
        let _ = (client, config);
        Err(SnapshotError::new(
            SnapshotErrorKind::Invalid,
            format!(
                "provider: {}",
                unavailable(CSI_PROVIDER, SNAPSHOTTER_FEATURES, SNAPSHOTTERS)
            ),
        ))
    }
}

/// Opens the snapshotter that `config` describes, but for [`CSI_PROVIDER`]. The provider itself is not asked; see
/// [`VolumeSnapshotter::check`].
///
/// # Errors
/// A sentence for whoever wrote the settings: which one is wrong, and what it can be.
pub async fn open_snapshotter(
    config: &VolumeProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let invalid = |message: String| SnapshotError::new(SnapshotErrorKind::Invalid, message);
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins().filter(|_| !config.name.is_empty()) {
        let built_in = SNAPSHOTTERS.contains(&config.name.as_str());
        let opened = plugins.open_snapshotter(config, environment, built_in);
        if let Some(snapshotter) = opened.await? {
            return Ok(snapshotter);
        }
    }
    match config.name.as_str() {
        #[cfg(feature = "aws")]
        "aws" => super::aws::ec2::open(config, environment),
        #[cfg(feature = "azure")]
        "azure" => super::azure::open_snapshotter(config, environment).await,
        #[cfg(feature = "gcp")]
        "gcp" => super::gcp::open_snapshotter(config, environment).await,
        "" => Err(invalid(format!(
            "provider is not set; it can be {}",
            either(SNAPSHOTTERS)
        ))),
        #[cfg(feature = "csi")]
        CSI_PROVIDER => Err(invalid(
            "provider: \"csi\" is asked of the cluster, and cannot be opened without one"
                .to_owned(),
        )),
        name => Err(invalid(format!(
            "provider: {}{}",
            unavailable(name, SNAPSHOTTER_FEATURES, SNAPSHOTTERS),
            unasked_plugins(environment).await
        ))),
    }
}

/// Says which plugins may have a provider that is missed: those that could not be asked.
#[cfg_attr(
    not(feature = "plugins"),
    expect(
        clippy::unused_async,
        reason = "without plugins there is nobody to ask"
    )
)]
async fn unasked_plugins(environment: &Environment) -> String {
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins() {
        let problems = plugins.problems().await;
        if !problems.is_empty() {
            return format!("; plugins cannot be used: {}", problems.join("; "));
        }
    }
    let _ = environment;
    String::new()
}

/// Says why a provider cannot be used.
fn unavailable(name: &str, features: &[&str], available: &[&str]) -> String {
    let why = if features.contains(&name) {
        format!("this ark was built without the feature {name:?}")
    } else {
        "there is no such provider".to_owned()
    };
    let instead = match available {
        [] => String::new(),
        _ => format!("; it can be {}", either(available)),
    };
    format!("{name:?} cannot be used: {why}{instead}")
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

    #[tokio::test]
    async fn snapshotters_that_cannot_be_opened_are_explained() {
        let mut cases = vec![("", "is not set"), ("ebs", "there is no such provider")];
        for name in SNAPSHOTTER_FEATURES {
            if !SNAPSHOTTERS.contains(name) {
                cases.push((name, "this ark was built without the feature"));
            }
        }
        for (name, expected) in cases {
            let config = VolumeProviderConfig {
                name: name.into(),
                ..VolumeProviderConfig::default()
            };
            let error = open_snapshotter(&config, &Environment::default())
                .await
                .unwrap_err();
            assert_eq!(error.kind, SnapshotErrorKind::Invalid, "{name}");
            let message = error.to_string();
            assert!(
                message.contains(expected) && message.contains(name),
                "{message}"
            );
        }
    }

    #[cfg(not(feature = "csi"))]
    #[tokio::test]
    async fn csi_without_its_feature_is_explained() {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let cluster = kube::Config::new(http::Uri::from_static("http://127.0.0.1:1"));
        let client = kube::Client::try_from(cluster).unwrap();
        let config = VolumeProviderConfig {
            name: CSI_PROVIDER.into(),
            ..VolumeProviderConfig::default()
        };
        for error in [
            open_csi(&client, &config).unwrap_err(),
            open_snapshotter(&config, &Environment::default())
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind, SnapshotErrorKind::Invalid);
            let message = error.to_string();
            let expected = "\"csi\" cannot be used: this ark was built without the feature \"csi\"";
            assert!(message.contains(expected), "{message}");
        }
    }
}
