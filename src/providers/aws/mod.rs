//! The `aws` provider: S3, and whatever speaks its protocol, such as MinIO; in `ec2`, snapshots of EBS volumes.

mod bucket;
mod calls;
mod credentials;
pub(super) mod ec2;
mod errors;
mod settings;
mod signed;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider, Checksum};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use url::Url;

use self::bucket::Bucket;
use self::calls::Calls;
use self::settings::{Addressing, S3Settings};
use self::signed::{Service, Signed};
use super::blobs::{Blobs, Place, SignGet};
use super::environment::Environment;
use super::patience::{
    CONNECT_TIMEOUT, FIRST_PAUSE, LONGEST_PAUSE, RETRY_TIMEOUT, SILENCE_TIMEOUT, TRIES,
};
use super::settings::invalid;
use super::store::{Capabilities, ErrorKind, ObjectStore, StoreError};
use super::trust::certificates;
use crate::api::StorageProviderConfig;

/// Opens a bucket as a store.
pub(super) async fn open(
    config: &StorageProviderConfig,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let settings = S3Settings::parse(config, environment)?;
    let client = client_options(&settings)?;
    let region = match &settings.region {
        Some(region) => region.clone(),
        None => find_region(&settings.bucket, &client).await?,
    };
    let server = settings.url.clone().map_or_else(|| amazon(&region), Ok)?;
    let credentials = credentials::chain(environment, &settings.identity, &region, &client)
        .map_err(|problem| StoreError::new(ErrorKind::Denied, problem))?;
    let build = |server: &Url, checksums| {
        build(&settings, server, &region, &client, &credentials, checksums)
    };
    let signer = build(settings.public_url.as_ref().unwrap_or(&server), false)?;
    let http = signed::client(settings.ca_cert.as_deref())
        .map_err(|why| invalid(format!("backupStorageProvider.config.caCert: {why}")))?;
    let signed = Signed::new(http, Arc::clone(&credentials), Service::S3, &region);
    let bucket = Arc::new(Bucket::new(
        build(&server, false)?,
        build(&server, true)?,
        Calls::new(signed, &address(&settings, &server)?),
        &settings.tags,
        settings.checksums,
    ));
    let place = Place::Bucket {
        called: "bucket",
        name: settings.bucket.clone(),
        server: server.as_str().trim_end_matches('/').to_owned(),
    };
    let capabilities = Capabilities {
        create_new: true,
        ranges: true,
        sign: true,
    };
    Ok(Arc::new(
        Blobs::new(
            Arc::clone(&bucket) as _,
            place,
            capabilities,
            errors::explain,
        )
        .with_signer(Arc::new(S3Signer(signer)))
        .with_extras(bucket),
    ))
}

/// Returns how connections are made.
fn client_options(settings: &S3Settings) -> Result<ClientOptions, StoreError> {
    let plain = |url: &Option<Url>| url.as_ref().is_some_and(|url| url.scheme() == "http");
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(SILENCE_TIMEOUT)
        .with_allow_http(plain(&settings.url) || plain(&settings.public_url));
    let certificates = certificates(settings.ca_cert.as_deref(), Certificate::from_pem_bundle)
        .map_err(|why| invalid(format!("backupStorageProvider.config.caCert: {why}")))?;
    for certificate in certificates {
        options = options.with_root_certificate(certificate);
    }
    Ok(options)
}

/// Asks Amazon which region a bucket is in.
async fn find_region(bucket: &str, client: &ClientOptions) -> Result<String, StoreError> {
    let asked = object_store::aws::resolve_bucket_region(bucket, client);
    let unknown = |why: String| {
        invalid(format!(
            "backupStorageProvider.config.region is not set, and Amazon S3 does not tell it for bucket {bucket:?} \
             ({why}); set it, and s3Url too if the bucket is elsewhere"
        ))
    };
    match tokio::time::timeout(RETRY_TIMEOUT, asked).await {
        Ok(Ok(region)) => Ok(region),
        Ok(Err(error)) => Err(unknown(super::blobs::innermost(&error))),
        Err(_) => Err(unknown("it does not answer".to_owned())),
    }
}

/// Returns Amazon's address for a region.
fn amazon(region: &str) -> Result<Url, StoreError> {
    Url::parse(&format!("https://s3.{region}.{}", domain(region))).map_err(|_| {
        invalid(format!(
            "backupStorageProvider.config.region: {region:?} cannot be a region"
        ))
    })
}

/// Returns the domain of Amazon's servers in a region.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

fn build(
    settings: &S3Settings,
    server: &Url,
    region: &str,
    client: &ClientOptions,
    credentials: &AwsCredentialProvider,
    checksums: bool,
) -> Result<AmazonS3, StoreError> {
    let in_host = settings.addressing == Addressing::Host;
    // The crate puts the bucket into the path by itself.
    let endpoint = if in_host {
        address(settings, server)?
    } else {
        server.clone()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(region)
        .with_endpoint(endpoint.as_str().trim_end_matches('/'))
        .with_virtual_hosted_style_request(in_host)
        .with_credentials(Arc::clone(credentials))
        .with_client_options(client.clone())
        .with_retry(retries())
        // Single deletes are what every server of this protocol has.
        .with_disable_bulk_delete(true);
    if let Some(key) = &settings.kms_key_id {
        builder = builder.with_sse_kms_encryption(key);
    }
    if checksums {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    builder.build().map_err(|error| {
        invalid(format!(
            "backupStorageProvider cannot be used: {}",
            super::blobs::innermost(&error)
        ))
    })
}

/// Returns the bucket's address.
fn address(settings: &S3Settings, server: &Url) -> Result<Url, StoreError> {
    match settings.addressing {
        Addressing::Host => bucket_host(server, &settings.bucket),
        Addressing::Path => {
            let mut url = server.clone();
            let path = format!("{}/{}", url.path().trim_end_matches('/'), settings.bucket);
            url.set_path(&path);
            Ok(url)
        }
    }
}

/// Returns the bucket's own address, as `https://bucket.host`.
fn bucket_host(server: &Url, bucket: &str) -> Result<Url, StoreError> {
    let host = server.host_str().unwrap_or_default();
    let refused = || {
        invalid(format!(
            "backupStorageProvider.config.s3ForcePathStyle is \"false\", but bucket {bucket:?} cannot be put in front \
             of {host}; set it to \"true\""
        ))
    };
    // `[::1]` is how URLs write an IPv6 address.
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(refused());
    }
    let mut url = server.clone();
    url.set_host(Some(&format!("{bucket}.{host}")))
        .map_err(|_| refused())?;
    Ok(url)
}

/// Returns how often a request is tried again: a short outage is bridged, an unreachable store is soon told.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            base: 2.0,
        },
        max_retries: TRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// The client that signs: it may know the store by another address than the one that reads and writes.
#[derive(Debug)]
struct S3Signer(AmazonS3);

#[async_trait]
impl SignGet for S3Signer {
    async fn sign_get(&self, path: &Path, ttl: Duration) -> Result<Url, object_store::Error> {
        self.0.signed_url(http::Method::GET, path, ttl).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_in_hosts() {
        for (server, expected) in [
            (
                "https://s3.eu-west-1.amazonaws.com",
                Some("https://ark.s3.eu-west-1.amazonaws.com/"),
            ),
            ("http://minio:9000", Some("http://ark.minio:9000/")),
            ("http://127.0.0.1:9000", None),
            ("http://[::1]:9000", None),
        ] {
            let url = bucket_host(&Url::parse(server).unwrap(), "ark");
            assert_eq!(url.ok().as_ref().map(Url::as_str), expected, "{server}");
        }
    }

    #[tokio::test]
    async fn certificates_are_read_when_a_store_is_opened() {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let config = StorageProviderConfig {
            name: "aws".into(),
            bucket: "ark".into(),
            config: [
                ("s3Url".to_owned(), "https://minio:9000".to_owned()),
                ("caCert".to_owned(), file.display().to_string()),
            ]
            .into(),
            ..StorageProviderConfig::default()
        };
        let certificate = rcgen::generate_simple_self_signed(["minio".to_owned()]).unwrap();
        for (text, problem) in [
            (None, Some("No such file")),
            (Some("garbage".to_owned()), Some("no certificate")),
            (Some(certificate.cert.pem()), None),
        ] {
            if let Some(text) = &text {
                std::fs::write(&file, text).unwrap();
            }
            let opened = open(&config, &Environment::default()).await;
            match (opened, problem) {
                (Ok(_), None) => {}
                (Err(error), Some(problem)) => {
                    assert_eq!(error.kind, ErrorKind::Invalid);
                    assert!(error.to_string().contains(problem), "{error}");
                }
                (opened, _) => panic!("{text:?}: {opened:?}"),
            }
        }
    }

    #[test]
    fn china_has_a_domain_of_its_own() {
        assert_eq!(
            amazon("cn-north-1").unwrap().as_str(),
            "https://s3.cn-north-1.amazonaws.com.cn/"
        );
        assert!(amazon("not a region").is_err());
    }
}
