//! The few calls of Compute Engine's API that snapshots need
//! (<https://cloud.google.com/compute/docs/reference/rest/v1>).

use std::fmt;

use async_trait::async_trait;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use http::{Extensions, HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::errors::{meaning, read};
use super::ids::{Disk, Place, Snapshot};
use super::resources::{DiskResource, Operation, Page, SnapshotResource};
use super::settings::DiskSettings;
use crate::providers::environment::Environment;
use crate::providers::gcp::credentials::{self, COMPUTE};
use crate::providers::gcp::errors::no_token;
use crate::providers::patience::{CONNECT_TIMEOUT, Patience, SILENCE_TIMEOUT};
use crate::providers::rest::{CallError, Caller, Dialect, Refusal, understood};
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind};

/// Compute Engine, asked with one location's credentials.
#[derive(Debug)]
pub(super) struct Compute {
    caller: Caller<Google>,
    endpoint: Url,
}

impl Compute {
    /// Makes it; nobody is asked yet.
    ///
    /// # Errors
    /// Where the credentials cannot be used.
    pub(super) async fn new(
        settings: &DiskSettings,
        environment: &Environment,
        http: reqwest::Client,
    ) -> Result<(Self, Option<String>), SnapshotError> {
        let identity = credentials::find(environment, COMPUTE, None)
            .await
            .map_err(|problem| SnapshotError::new(SnapshotErrorKind::Denied, problem))?;
        let google = Google {
            environment: environment.clone(),
            known: Mutex::new(Some(identity.credentials)),
        };
        let compute = Self {
            caller: Caller::new(http, google, settings.api_timeout),
            endpoint: settings.endpoint.clone(),
        };
        Ok((compute, identity.project))
    }

    /// Makes the error for whoever asked; `what` says what was tried.
    pub(super) fn explain(&self, error: CallError, what: &str) -> SnapshotError {
        self.caller.explain(error, what)
    }

    /// Returns the pauses in which something that was begun is looked at.
    pub(super) fn patience(&self) -> Patience {
        self.caller.patience()
    }

    pub(super) async fn disk(&self, disk: &Disk) -> Result<DiskResource, CallError> {
        let url = self.url(&disk.to_string(), &[])?;
        self.get(&url).await
    }

    pub(super) async fn snapshot(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Option<SnapshotResource>, CallError> {
        let url = self.url(&snapshot.to_string(), &[])?;
        match self.get(&url).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the snapshots of a project that have a label.
    pub(super) async fn snapshots_with(
        &self,
        project: &str,
        label: &str,
        value: &str,
    ) -> Result<Vec<SnapshotResource>, CallError> {
        let filter = format!("labels.{label} = \"{value}\"");
        let fields = "items(name,status),nextPageToken";
        let mut found = Vec::new();
        let mut page_token = None;
        loop {
            let mut query = vec![("filter", filter.as_str()), ("fields", fields)];
            query.extend(page_token.as_deref().map(|token| ("pageToken", token)));
            let path = format!("projects/{project}/global/snapshots");
            let page: Page = self.get(&self.url(&path, &query)?).await?;
            found.extend(page.items);
            page_token = page.next_page_token.filter(|token| !token.is_empty());
            if page_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Looks whether snapshots of a project can be listed at all.
    pub(super) async fn look_at(&self, project: &str) -> Result<(), CallError> {
        let path = format!("projects/{project}/global/snapshots");
        let query = [("maxResults", "1"), ("fields", "items(name)")];
        let _page: Page = self.get(&self.url(&path, &query)?).await?;
        Ok(())
    }

    /// Begins to make a snapshot.
    pub(super) async fn insert_snapshot(
        &self,
        project: &str,
        body: &Value,
    ) -> Result<Operation, CallError> {
        let path = format!("projects/{project}/global/snapshots");
        self.begin(&Method::POST, &path, Some(body)).await
    }

    /// Begins to make a disk.
    pub(super) async fn insert_disk(
        &self,
        project: &str,
        place: &Place,
        body: &Value,
    ) -> Result<Operation, CallError> {
        let path = format!("projects/{project}/{place}/disks");
        self.begin(&Method::POST, &path, Some(body)).await
    }

    /// Begins to remove a snapshot.
    pub(super) async fn delete_snapshot(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Operation, CallError> {
        self.begin(&Method::DELETE, &snapshot.to_string(), None)
            .await
    }

    /// Returns whether an operation is through; `within` is what it is an operation of.
    ///
    /// # Errors
    /// Why it has failed.
    pub(super) async fn is_through(
        &self,
        operation: &Operation,
        project: &str,
        within: &str,
    ) -> Result<bool, CallError> {
        let name = &operation.name;
        let path = format!("projects/{project}/{within}/operations/{name}");
        let now: Operation = self.get(&self.url(&path, &[])?).await?;
        now.outcome()
    }

    /// Waits until an operation is through.
    ///
    /// # Errors
    /// Why it has failed, or [`CallError::Unfinished`].
    pub(super) async fn finish(
        &self,
        operation: &Operation,
        project: &str,
        within: &str,
    ) -> Result<(), CallError> {
        if operation.outcome()? {
            return Ok(());
        }
        let mut patience = self.patience();
        loop {
            if self.is_through(operation, project, within).await? {
                return Ok(());
            }
            if !patience.wait().await {
                return Err(CallError::Unfinished);
            }
        }
    }

    /// Returns the URL of a resource; its path is escaped segment by segment.
    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, CallError> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| CallError::Odd("the API's address has no path".to_owned()))?
            .pop_if_empty()
            .extend(["compute", "v1"])
            .extend(path.split('/'));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &Url) -> Result<T, CallError> {
        understood(self.caller.ask(&Method::GET, url, None).await?.json)
    }

    async fn begin(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Operation, CallError> {
        let url = self.url(path, &[])?;
        let operation: Operation = understood(self.caller.ask(method, &url, body).await?.json)?;
        if operation.name.is_empty() {
            return Err(CallError::Odd("its answer names no operation".to_owned()));
        }
        Ok(operation)
    }
}

/// Returns the client for everything that is asked about disks.
pub(super) fn client() -> Result<reqwest::Client, SnapshotError> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // A token is not for elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| {
            SnapshotError::new(
                SnapshotErrorKind::Other,
                format!("connections cannot be made: {error}"),
            )
        })
}

/// Google's way of speaking, and its tokens.
struct Google {
    environment: Environment,
    /// The credentials in use. Google's crate keeps their token, and what it cannot get it never asks for again, so they
    /// are found anew after a refusal.
    known: Mutex<Option<Credentials>>,
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Google").field(&self.environment).finish()
    }
}

impl Google {
    async fn credentials(&self) -> Result<Credentials, String> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let found = credentials::find(&self.environment, COMPUTE, None).await?;
        Ok(known.insert(found.credentials).clone())
    }
}

#[async_trait]
impl Dialect for Google {
    async fn authorization(&self) -> Result<HeaderMap, String> {
        match self.credentials().await?.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => {
                self.forget_token().await;
                Err(no_token(&error))
            }
        }
    }

    async fn forget_token(&self) {
        *self.known.lock().await = None;
    }

    fn read(&self, json: &Value) -> (String, String) {
        read(json)
    }

    fn meaning(&self, refusal: &Refusal) -> (SnapshotErrorKind, &'static str) {
        meaning(refusal)
    }

    fn unreachable(&self) -> &'static str {
        "check config.computeEndpoint, that the network lets this through, and, where the authority is a private one, \
         that the environment variable SSL_CERT_FILE names a file with its certificate"
    }
}
