//! A container as the `object_store` crate's trait wants it, through Microsoft's crate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::prelude::{Delimiter, IfMatchCondition, Prefix, Range};
use azure_core::{ResponseBody, RetryOptions, TransportOptions};
use azure_storage::CloudLocation;
use azure_storage::prelude::BlobSasPermissions;
use azure_storage_blobs::blob::{BlobBlockType, BlockList};
use azure_storage_blobs::container::operations::ListBlobsResponse;
use azure_storage_blobs::prelude::{BlobClient, BlobServiceClient, ClientBuilder, ContainerClient};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Extensions, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, UploadPart,
};
use time::OffsetDateTime;
use url::Url;

use super::access::{Access, SignedWith};
use super::errors::AzureError;
use super::settings::AzureSettings;
use super::transport::Transport;
use crate::providers::blobs::SignGet;
use crate::providers::patience::Patience;

type Result<T> = std::result::Result<T, object_store::Error>;

/// The end of an object whose size is not known: more than any object has.
const OPEN_END: u64 = i64::MAX as u64;
/// How far another machine's clock may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Azure {
    container: ContainerClient,
}

/// Returns the client of an account at one of its addresses.
pub(super) fn service(
    settings: &AzureSettings,
    address: &str,
    access: &Access,
    http: &reqwest::Client,
) -> BlobServiceClient {
    let place = CloudLocation::Custom {
        account: settings.account.clone(),
        uri: address.to_owned(),
    };
    ClientBuilder::with_location(place, access.credentials.clone())
        // The transport tries again.
        .retry(RetryOptions::none())
        .transport(TransportOptions::new(Arc::new(Transport(http.clone()))))
        .blob_service_client()
}

impl Azure {
    pub(super) fn new(service: &BlobServiceClient, container: &str) -> Self {
        Self {
            container: service.container_client(container),
        }
    }

    fn blob(&self, key: &Path) -> BlobClient {
        self.container.blob_client(key.as_ref())
    }

    fn pages(
        &self,
        prefix: Option<&Path>,
        delimiter: bool,
    ) -> BoxStream<'static, Result<ListBlobsResponse>> {
        let mut listing = self.container.list_blobs();
        if let Some(prefix) = prefix.filter(|prefix| !prefix.as_ref().is_empty()) {
            listing = listing.prefix(Prefix::from(format!("{prefix}/")));
        }
        if delimiter {
            listing = listing.delimiter(Delimiter::from("/"));
        }
        listing
            .into_stream()
            .map_err(|error| AzureError::from(error).into())
            .boxed()
    }

    async fn size(&self, key: &Path) -> std::result::Result<u64, AzureError> {
        let found = self.blob(key).get_properties().await?;
        Ok(found.blob.properties.content_length)
    }
}

fn meta(key: Path, size: u64) -> ObjectMeta {
    ObjectMeta {
        location: key,
        // Nobody here asks for it.
        last_modified: chrono::DateTime::default(),
        size,
        e_tag: None,
        version: None,
    }
}

fn stored() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
        extensions: Extensions::default(),
    }
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "Azure".to_owned(),
    }
}

impl fmt::Display for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Azure({})", self.container.container_name())
    }
}

#[async_trait]
impl object_store::ObjectStore for Azure {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let mut write = self.blob(location).put_block_blob(Bytes::from(payload));
        match opts.mode {
            PutMode::Overwrite => {}
            PutMode::Create => {
                write = write.if_match(IfMatchCondition::NotMatch("*".to_owned()));
            }
            PutMode::Update(_) => return Err(not_implemented("update")),
        }
        write.await.map_err(AzureError::from)?;
        Ok(stored())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Blocks {
            blob: self.blob(location),
            id: uuid::Uuid::new_v4(),
            count: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = options.range.is_none();
        let wanted = match options.range {
            None => 0..OPEN_END,
            Some(GetRange::Bounded(range)) => range,
            Some(GetRange::Offset(start)) => start..OPEN_END,
            Some(GetRange::Suffix(_)) => return Err(not_implemented("read the end")),
        };
        let (range, pieces) = if options.head {
            (0..self.size(location).await?, stream::empty().boxed())
        } else {
            match Reading::begin(self.blob(location), wanted).await {
                Ok(reading) => (reading.next..reading.end, reading.pieces()),
                // An empty object has no range, and the crate asks for one.
                Err(AzureError::Answer { status: 416, .. })
                    if whole && self.size(location).await? == 0 =>
                {
                    (0..0, stream::empty().boxed())
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces),
            meta: meta(location.clone(), range.end),
            range,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |key| {
                let blob = store.blob(&key);
                async move {
                    blob.delete().await.map_err(AzureError::from)?;
                    Ok(key)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, false)
            .map_ok(|page| {
                let found: Vec<Result<ObjectMeta>> = page
                    .blobs
                    .blobs()
                    .map(|blob| {
                        Ok(meta(
                            Path::parse(&blob.name)?,
                            blob.properties.content_length,
                        ))
                    })
                    .collect();
                stream::iter(found)
            })
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut pages = self.pages(prefix, true);
        let mut listed = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: Extensions::default(),
        };
        while let Some(page) = pages.try_next().await? {
            for blob in page.blobs.blobs() {
                let key = Path::parse(&blob.name)?;
                listed
                    .objects
                    .push(meta(key, blob.properties.content_length));
            }
            for directory in page.blobs.prefixes() {
                let directory = directory.name.trim_end_matches('/');
                listed.common_prefixes.push(Path::parse(directory)?);
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_implemented("copy"))
    }
}

/// An object being read, which goes on where a connection broke off, as long as it is the same object.
struct Reading {
    blob: BlobClient,
    next: u64,
    end: u64,
    tag: String,
    body: Option<ResponseBody>,
    patience: Patience,
}

impl Reading {
    async fn begin(
        blob: BlobClient,
        range: std::ops::Range<u64>,
    ) -> std::result::Result<Self, AzureError> {
        let mut reading = Self {
            blob,
            next: range.start,
            end: range.end,
            tag: String::new(),
            body: None,
            patience: Patience::new(),
        };
        let length = reading.open().await?;
        // The server gives what there is of the range.
        reading.end = reading.next.saturating_add(length).min(reading.end);
        Ok(reading)
    }

    /// Asks for what has not been read yet, and returns how much that is.
    async fn open(&mut self) -> std::result::Result<u64, AzureError> {
        let mut get = self
            .blob
            .get()
            .range(Range::new(self.next, self.end))
            // All of it in one answer.
            .chunk_size(self.end - self.next);
        if !self.tag.is_empty() {
            get = get.if_match(IfMatchCondition::Match(self.tag.clone()));
        }
        let answer = get
            .into_stream()
            .try_next()
            .await?
            .ok_or_else(|| AzureError::Odd("there is no answer".to_owned()))?;
        self.tag = answer.blob.properties.etag.to_string();
        self.body = Some(answer.data);
        Ok(answer.blob.properties.content_length)
    }

    fn pieces(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, async |mut reading| {
            let piece = reading.piece().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
        .boxed()
    }

    async fn piece(&mut self) -> std::result::Result<Option<Bytes>, AzureError> {
        while self.next < self.end {
            let read = match &mut self.body {
                Some(body) => body.try_next().await.map_err(AzureError::from),
                None => self.open().await.map(|_| Some(Bytes::new())),
            };
            let broken = match read {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => {
                    self.next += piece.len() as u64;
                    self.patience = Patience::new();
                    return Ok(Some(piece));
                }
                Ok(None) => AzureError::Transport("the answer ended early".to_owned()),
                Err(error) => error,
            };
            self.body = None;
            if !broken.may_pass() || !self.patience.wait().await {
                return Err(broken);
            }
        }
        Ok(None)
    }
}

/// An object sent in blocks, which becomes visible with their list.
///
/// Blocks that are in no list cannot be deleted; Azure removes them after a week.
#[derive(Debug)]
struct Blocks {
    blob: BlobClient,
    id: uuid::Uuid,
    count: u32,
}

impl Blocks {
    /// Returns a block's name: all names of an object have to be equally long.
    fn name(&self, index: u32) -> Vec<u8> {
        let mut name = self.id.as_bytes().to_vec();
        name.extend(index.to_be_bytes());
        name
    }
}

#[async_trait]
impl MultipartUpload for Blocks {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let name = self.name(self.count);
        self.count += 1;
        let blob = self.blob.clone();
        async move {
            blob.put_block(name, Bytes::from(data))
                .await
                .map_err(AzureError::from)?;
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let blocks = (0..self.count)
            .map(|index| BlobBlockType::new_uncommitted(self.name(index)))
            .collect();
        self.blob
            .put_block_list(BlockList { blocks })
            .await
            .map_err(AzureError::from)?;
        Ok(stored())
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Signs links.
#[derive(Debug)]
pub(super) struct AzureSigner {
    /// The account, at the address in the links.
    pub(super) public: BlobServiceClient,
    /// The account, at the address that is asked.
    pub(super) service: BlobServiceClient,
    pub(super) container: String,
    pub(super) with: SignedWith,
}

#[async_trait]
impl SignGet for AzureSigner {
    async fn sign_get(&self, path: &Path, ttl: Duration) -> Result<Url> {
        Ok(self.sign(path, ttl).await?)
    }
}

impl AzureSigner {
    async fn sign(&self, key: &Path, ttl: Duration) -> std::result::Result<Url, AzureError> {
        let blob = self
            .public
            .container_client(&self.container)
            .blob_client(key.as_ref());
        let may = BlobSasPermissions {
            read: true,
            ..BlobSasPermissions::default()
        };
        let now = OffsetDateTime::now_utc();
        let signature = match self.with {
            SignedWith::AccountKey => blob.shared_access_signature(may, now + ttl).await?,
            SignedWith::DelegatedKey => {
                let lent = self
                    .service
                    .get_user_deligation_key(now - CLOCKS_DIFFER, now + ttl)
                    .await
                    .map_err(|error| match AzureError::from(error) {
                        AzureError::Answer { status: 403, code, .. } => {
                            AzureError::Credentials(format!(
                                "{code}: Azure lends the identity no key to sign with; give it the role Storage Blob \
                                 Delegator on the account"
                            ))
                        }
                        error => error,
                    })?;
                blob.user_delegation_shared_access_signature(may, &lent.user_deligation_key)
                    .await?
            }
            SignedWith::Nothing => {
                return Err(AzureError::Credentials(
                    "a shared access signature cannot sign".to_owned(),
                ));
            }
        };
        Ok(blob.generate_signed_blob_url(&signature)?)
    }
}
