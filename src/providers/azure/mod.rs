//! The `azure` provider: Azure Blob Storage, through Microsoft's crate `azure_storage_blobs`, and managed disks
//! ([`disks`]), for which no crate is used.
//!
//! # The fence
//! That crate is the last of its line: its makers will not update it, and their newer one knows no account keys. So no
//! type of it, of `azure_storage` or `azure_core` leaves this folder; its HTTP client and retries are replaced by ours
//! ([`transport`]); and what it writes to logs is capped, since it writes `authorization` headers when it is debugged
//! (RUSTSEC-2026-0275): see `server/logging.rs`. docs/providers/azure.md tells users.

mod access;
mod disks;
mod entra;
mod errors;
mod settings;
mod store;
mod transport;
mod variables;

pub(super) use disks::open as open_snapshotter;

use std::sync::Arc;

use self::access::SignedWith;
use self::errors::AzureError;
use self::settings::AzureSettings;
use self::store::{Azure, AzureSigner};
use self::variables::Variables;
use super::blobs::{Blobs, Place};
use super::environment::Environment;
use super::store::{Capabilities, ErrorKind, ObjectStore, StoreError};
use crate::api::StorageProviderConfig;

/// Opens a container as a store.
pub(super) async fn open(
    config: &StorageProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let variables = Variables::of(environment)
        .await
        .map_err(|problem| StoreError::new(ErrorKind::Denied, problem))?;
    let settings = AzureSettings::parse(config, &variables)?;
    let http = transport::client(settings.ca_cert.as_deref(), "backupStorageProvider.config")?;
    let access = access::find(&settings, &variables, &http)
        .await
        .map_err(refused)?;
    let service = store::service(&settings, &settings.endpoint, &access, &http);
    let store = Azure::new(&service, &settings.container);
    let place = Place::Bucket {
        called: "container",
        name: settings.container.clone(),
        server: settings.endpoint.clone(),
    };
    let capabilities = Capabilities {
        create_new: true,
        ranges: true,
        sign: false,
    };
    let blobs = Blobs::new(Arc::new(store), place, capabilities, errors::explain)
        // Azure takes it for a slash.
        .refusing(&['\\']);
    if access.signed_with == SignedWith::Nothing {
        return Ok(Arc::new(blobs));
    }
    let public = store::service(&settings, &settings.public_url, &access, &http);
    Ok(Arc::new(blobs.with_signer(Arc::new(AzureSigner {
        public,
        service,
        container: settings.container,
        with: access.signed_with,
    }))))
}

/// Makes the error for an account that there is no way into.
fn refused(error: AzureError) -> StoreError {
    let explained = errors::explain(&error.into());
    let (kind, why) = explained.unwrap_or_else(|| (ErrorKind::Other, "no way in".to_owned()));
    StoreError::new(kind, why)
}
