//! A bucket as the `object_store` crate's trait wants it: small writes, reads and links by Google's crate, the rest by
//! [`Api`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use google_cloud_auth::signer::Signer;
use google_cloud_gax::exponential_backoff::ExponentialBackoffBuilder;
use google_cloud_gax::retry_policy::RetryPolicyExt as _;
use google_cloud_storage::builder::storage::SignedUrlBuilder;
use google_cloud_storage::client::Storage;
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::read_object::ReadObjectResponse;
use google_cloud_storage::retry_policy::RetryableErrors;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Extensions, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use url::Url;

use super::api::{Api, Object, Page};
use super::credentials::Identity;
use super::errors::GcsError;
use super::settings::GcsSettings;
use super::upload::Resumable;
use crate::providers::blobs::{SignGet, innermost};
use crate::providers::patience::{FIRST_PAUSE, LONGEST_PAUSE, RETRY_TIMEOUT, SILENCE_TIMEOUT};

type Result<T> = std::result::Result<T, object_store::Error>;

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Gcs {
    storage: Storage,
    api: Api,
    /// The bucket's name as Google's crate wants it.
    bucket: String,
    kms_key: Option<String>,
}

impl Gcs {
    /// Prepares to use a bucket; nobody is asked yet.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn new(
        settings: &GcsSettings,
        identity: &Identity,
    ) -> std::result::Result<Self, String> {
        let api = Api::new(
            identity.credentials.clone(),
            &settings.endpoint,
            &settings.bucket,
            settings.kms_key.as_deref(),
        )
        .map_err(|error| innermost(&error))?;
        let pauses = ExponentialBackoffBuilder::new()
            .with_initial_delay(FIRST_PAUSE)
            .with_maximum_delay(LONGEST_PAUSE)
            .build()
            .map_err(|error| innermost(&error))?;
        let storage = Storage::builder()
            .with_endpoint(&settings.endpoint)
            .with_credentials(identity.credentials.clone())
            .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIMEOUT))
            .with_backoff_policy(pauses)
            .build()
            .await
            .map_err(|error| innermost(&error))?;
        Ok(Self {
            storage,
            api,
            bucket: full_name(&settings.bucket),
            kms_key: settings.kms_key.clone(),
        })
    }

    async fn read(&self, key: &Path, range: ReadRange) -> Result<ReadObjectResponse> {
        let asked = self
            .storage
            .read_object(&self.bucket, key.as_ref())
            .set_read_range(range)
            .send();
        match in_time(Box::pin(asked)).await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.api.told_apart(error).await.into()),
        }
    }

    /// Returns the pages of a listing, one after the other.
    fn pages(&self, prefix: String, delimiter: bool) -> BoxStream<'static, Result<Page>> {
        let api = self.api.clone();
        // The state is the token of the next page; `None` after the last.
        stream::try_unfold(Some(None::<String>), move |next| {
            let (api, prefix) = (api.clone(), prefix.clone());
            async move {
                let Some(token) = next else { return Ok(None) };
                let mut page = api.list(&prefix, delimiter, token.as_deref()).await?;
                let token = page
                    .next_page_token
                    .take()
                    .filter(|token| !token.is_empty());
                Ok(Some((page, token.map(Some))))
            }
        })
        .boxed()
    }
}

fn full_name(bucket: &str) -> String {
    format!("projects/_/buckets/{bucket}")
}

/// Waits for Google's crate, which sets no limit of its own to how long a server may be silent.
async fn in_time<T>(
    asked: impl Future<Output = google_cloud_storage::Result<T>>,
) -> std::result::Result<T, GcsError> {
    match tokio::time::timeout(SILENCE_TIMEOUT, asked).await {
        Ok(answered) => answered.map_err(|error| GcsError::from(&error)),
        Err(_) => Err(GcsError::silent()),
    }
}

/// Returns the prefix of all keys in a directory.
fn below(prefix: Option<&Path>) -> String {
    match prefix {
        Some(prefix) if !prefix.as_ref().is_empty() => format!("{prefix}/"),
        _ => String::new(),
    }
}

fn meta(object: &Object) -> Result<ObjectMeta> {
    Ok(ObjectMeta {
        location: Path::parse(&object.name)?,
        // Nobody here asks for it.
        last_modified: chrono::DateTime::default(),
        size: object.size(),
        e_tag: None,
        version: None,
    })
}

/// Returns what is said about an object that has been stored: nothing that anybody here asks for.
pub(super) fn stored() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
        extensions: Extensions::default(),
    }
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "GCS".to_owned(),
    }
}

impl fmt::Display for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GCS({})", self.bucket)
    }
}

#[async_trait]
impl object_store::ObjectStore for Gcs {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let body = Bytes::from(payload);
        // Sent before the body: Google refuses what arrives otherwise.
        let checksum = crc32c::crc32c(&body);
        let mut write = self
            .storage
            .write_object(&self.bucket, location.as_ref(), body)
            .with_known_crc32c(checksum)
            // All of our writes may be repeated, and these are small enough for one request.
            .with_idempotency(true)
            .with_resumable_upload_threshold(usize::MAX);
        match opts.mode {
            PutMode::Overwrite => {}
            PutMode::Create => write = write.set_if_generation_match(0),
            PutMode::Update(_) => return Err(not_implemented("update")),
        }
        if let Some(key) = &self.kms_key {
            write = write.set_kms_key(key);
        }
        match in_time(Box::pin(write.send_unbuffered())).await {
            Ok(_) => Ok(stored()),
            Err(error) => Err(self.api.told_apart(error).await.into()),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = Resumable::begin(self.api.clone(), location.as_ref()).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            let meta = meta(&self.api.look(location.as_ref()).await?)?;
            return Ok(GetResult {
                range: 0..meta.size,
                meta,
                payload: GetResultPayload::Stream(stream::empty().boxed()),
                attributes: Attributes::default(),
                extensions: Extensions::default(),
            });
        }
        let wanted = match &options.range {
            None => ReadRange::all(),
            Some(GetRange::Bounded(range)) => {
                ReadRange::segment(range.start, range.end.saturating_sub(range.start))
            }
            Some(GetRange::Offset(start)) => ReadRange::offset(*start),
            Some(GetRange::Suffix(length)) => ReadRange::tail(*length),
        };
        let found = self.read(location, wanted).await?;
        let size = u64::try_from(found.object().size).unwrap_or_default();
        let range = match options.range {
            None => 0..size,
            Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
            Some(GetRange::Offset(start)) => start..size,
            Some(GetRange::Suffix(length)) => size.saturating_sub(length)..size,
        };
        let pieces = stream::try_unfold(found, async |mut found| {
            let piece = in_time(async { found.next().await.transpose() }).await?;
            Ok(piece.map(|piece| (piece, found)))
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces.boxed()),
            meta: ObjectMeta {
                location: location.clone(),
                last_modified: chrono::DateTime::default(),
                size,
                e_tag: None,
                version: None,
            },
            range,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let api = self.api.clone();
        locations
            .and_then(move |path| {
                let api = api.clone();
                async move {
                    api.delete(path.as_ref()).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(below(prefix), false)
            .map_ok(|page| stream::iter(page.items).map(|object| meta(&object)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut pages = self.pages(below(prefix), true);
        let mut listed = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: Extensions::default(),
        };
        while let Some(page) = pages.try_next().await? {
            for object in &page.items {
                listed.objects.push(meta(object)?);
            }
            for directory in &page.prefixes {
                let directory = directory.trim_end_matches('/');
                listed.common_prefixes.push(Path::parse(directory)?);
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_implemented("copy"))
    }
}

/// Signs links: with the account's key on this machine, or by asking Google to.
#[derive(Debug)]
pub(super) struct GcsSigner {
    pub(super) signer: Arc<Signer>,
    /// The address in the links.
    pub(super) server: String,
    pub(super) bucket: String,
}

#[async_trait]
impl SignGet for GcsSigner {
    async fn sign_get(&self, path: &Path, ttl: Duration) -> Result<Url> {
        let signed = SignedUrlBuilder::for_object(full_name(&self.bucket), path.as_ref())
            .with_endpoint(&self.server)
            .with_expiration(ttl)
            .sign_with(&self.signer);
        let url = match tokio::time::timeout(SILENCE_TIMEOUT, signed).await {
            Ok(Ok(url)) => url,
            Ok(Err(error)) => {
                let why = innermost(&error);
                let why = why.lines().next().unwrap_or_default();
                return Err(GcsError::Credentials(format!(
                    "nobody signs it ({why}); give ark a service account's key, or let its account sign as itself or \
                     as backupStorageProvider.config.serviceAccount (roles/iam.serviceAccountTokenCreator)"
                ))
                .into());
            }
            Err(_) => return Err(GcsError::silent().into()),
        };
        Url::parse(&url).map_err(|_| GcsError::Odd("the signed link is none".to_owned()).into())
    }
}
