//! Snapshots of EBS volumes, through the query API of EC2.
//!
//! A handful of calls, signed by Amazon's own crate and read here: Amazon's SDK for EC2 is a million lines of code.

mod answers;
mod api;
mod errors;
mod settings;
mod snapshotter;
mod tags;
mod volume;

use std::sync::Arc;

use object_store::{Certificate, ClientOptions};
use url::Url;

use self::api::Ec2;
use self::settings::EbsSettings;
use self::snapshotter::Ebs;
use super::signed::{Service, Signed};
use super::{credentials, signed};
use crate::api::VolumeProviderConfig;
use crate::providers::environment::Environment;
use crate::providers::patience::{CONNECT_TIMEOUT, SILENCE_TIMEOUT};
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind, VolumeSnapshotter};
use crate::providers::trust::certificates;

/// The variable that names the Kubernetes cluster to which new volumes belong.
const CLUSTER_NAME: &str = "AWS_CLUSTER_NAME";

/// Opens EC2 as a snapshotter.
pub(in crate::providers) fn open(
    config: &VolumeProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let settings = EbsSettings::parse(config, environment)?;
    let invalid = |why: String| {
        SnapshotError::new(SnapshotErrorKind::Invalid, format!("config.caCert: {why}"))
    };
    let http = signed::client(settings.ca_cert.as_deref()).map_err(invalid)?;
    // Of those who give credentials out; the metadata service speaks plain HTTP.
    let mut options = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(SILENCE_TIMEOUT)
        .with_allow_http(true);
    for certificate in
        certificates(settings.ca_cert.as_deref(), Certificate::from_pem_bundle).map_err(invalid)?
    {
        options = options.with_root_certificate(certificate);
    }
    let credentials =
        credentials::chain(environment, &settings.identity, &settings.region, &options)
            .map_err(|problem| SnapshotError::new(SnapshotErrorKind::Denied, problem))?;
    let url = match &settings.url {
        Some(url) => url.clone(),
        None => amazon(&settings.region)?,
    };
    let signed = Signed::new(http, credentials, Service::Ec2, &settings.region);
    let cluster = environment.get(CLUSTER_NAME).map(str::to_owned);
    Ok(Arc::new(Ebs::new(
        Ec2::new(signed, url, &settings.region),
        cluster,
    )))
}

/// Returns Amazon's address for a region.
fn amazon(region: &str) -> Result<Url, SnapshotError> {
    let domain = super::domain(region);
    Url::parse(&format!("https://ec2.{region}.{domain}")).map_err(|_| {
        SnapshotError::new(
            SnapshotErrorKind::Invalid,
            format!("config.region: {region:?} cannot be a region"),
        )
    })
}
