//! The `gcp` provider: Google Cloud Storage, through Google's own crate, and Compute Engine's disks ([`disks`]).
//!
//! That crate builds its own HTTP client, so a private authority is trusted by the environment variable
//! `SSL_CERT_FILE` and not by a setting.

mod api;
mod credentials;
mod disks;
mod errors;
mod settings;
mod store;
mod upload;

pub(super) use disks::open as open_snapshotter;

use std::sync::Arc;

use self::settings::GcsSettings;
use self::store::{Gcs, GcsSigner};
use super::blobs::{Blobs, Place};
use super::environment::Environment;
use super::settings::invalid;
use super::store::{Capabilities, ErrorKind, ObjectStore, StoreError};
use crate::api::StorageProviderConfig;

/// Opens a bucket as a store.
pub(super) async fn open(
    config: &StorageProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let settings = GcsSettings::parse(config)?;
    let identity = credentials::find(
        environment,
        credentials::STORAGE,
        settings.service_account.as_deref(),
    )
    .await
    .map_err(|problem| StoreError::new(ErrorKind::Denied, problem))?;
    let store = Gcs::new(&settings, &identity)
        .await
        .map_err(|problem| invalid(format!("backupStorageProvider cannot be used: {problem}")))?;
    let place = Place::Bucket {
        called: "bucket",
        name: settings.bucket.clone(),
        server: settings.endpoint,
    };
    let capabilities = Capabilities {
        create_new: true,
        ranges: true,
        sign: false,
    };
    let blobs = Blobs::new(Arc::new(store), place, capabilities, errors::explain);
    Ok(Arc::new(match identity.signer {
        Some(signer) => blobs.with_signer(Arc::new(GcsSigner {
            signer: Arc::new(signer),
            server: settings.public_url,
            bucket: settings.bucket,
        })),
        None => blobs,
    }))
}
