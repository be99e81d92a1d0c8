//! The few calls of Azure Resource Manager that snapshots need, and how what they begin is followed
//! (<https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>).

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::errors::{meaning, read};
use super::ids::{Group, Id, Kind};
use super::resources::{Page, Resource};
use super::settings::DiskSettings;
use crate::providers::azure::entra::Tokens;
use crate::providers::rest::{Answer, CallError, Caller, Dialect, Refusal, understood};
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind};

/// The version of Microsoft.Compute's API for disks and snapshots.
const API_VERSION: &str = "2023-10-02";

/// Azure Resource Manager, asked with one location's credentials.
#[derive(Debug)]
pub(super) struct Arm {
    caller: Caller<Microsoft>,
    manager: Url,
}

/// How something that was begun is watched.
#[derive(Debug, Eq, PartialEq)]
enum Watch {
    /// By an operation that says how it fares.
    Operation(Url),
    /// By an address that answers 202 until it is through.
    Location(Url),
    /// By what it is about.
    Resource,
}

impl Arm {
    pub(super) fn new(settings: &DiskSettings, tokens: Tokens, http: reqwest::Client) -> Self {
        let manager = settings.manager.as_str().trim_end_matches('/');
        let microsoft = Microsoft {
            scope: format!("{manager}/.default"),
            tokens,
        };
        Self {
            caller: Caller::new(http, microsoft, settings.api_timeout),
            manager: settings.manager.clone(),
        }
    }

    /// Makes the error for whoever asked; `what` says what was tried.
    pub(super) fn explain(&self, error: CallError, what: &str) -> SnapshotError {
        self.caller.explain(error, what)
    }

    /// Looks at a disk or a snapshot.
    pub(super) async fn get(&self, id: &Id) -> Result<Option<Resource>, CallError> {
        match self.caller.ask(&Method::GET, &self.url_of(id)?, None).await {
            Ok(answer) => understood(answer.json).map(Some),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a disk or a snapshot, and waits until it is there. One that is there stays.
    pub(super) async fn put(&self, id: &Id, body: &Value) -> Result<(), CallError> {
        let url = self.url_of(id)?;
        let begun = self.caller.ask(&Method::PUT, &url, Some(body)).await?;
        self.follow(begun, id).await
    }

    /// Waits for a disk or a snapshot that somebody has begun to make.
    pub(super) async fn finish(&self, id: &Id) -> Result<(), CallError> {
        self.watch(Watch::Resource, id, None).await
    }

    /// Removes a snapshot, and waits until it is gone; one that is not there is fine.
    pub(super) async fn delete(&self, id: &Id) -> Result<(), CallError> {
        let url = self.url_of(id)?;
        let removed = match self.caller.ask(&Method::DELETE, &url, None).await {
            Ok(begun) => self.follow(begun, id).await,
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if is_gone(&error) => Ok(()),
            removed => removed,
        }
    }

    /// Lists the snapshots of a group; `all` or the first page.
    pub(super) async fn snapshots(
        &self,
        group: &Group,
        all: bool,
    ) -> Result<Vec<Resource>, CallError> {
        let mut url = self.url(&[
            "subscriptions",
            &group.subscription,
            "resourceGroups",
            &group.name,
            "providers",
            "Microsoft.Compute",
            Kind::Snapshot.segment(),
        ])?;
        let mut found = Vec::new();
        loop {
            let page: Page = understood(self.caller.ask(&Method::GET, &url, None).await?.json)?;
            found.extend(page.value);
            let next = page.next_link.filter(|link| !link.is_empty());
            url = match next {
                Some(link) if all => self.ours(&link).ok_or_else(|| {
                    CallError::Odd("its next page is at another server".to_owned())
                })?,
                _ => return Ok(found),
            };
        }
    }

    /// Waits until what was begun is through.
    async fn follow(&self, begun: Answer, id: &Id) -> Result<(), CallError> {
        let told = begun.retry_after();
        let watch = self.watch_of(&begun);
        match begun.status {
            StatusCode::NO_CONTENT => return Ok(()),
            StatusCode::OK => {
                let resource: Resource = match begun.json {
                    Value::Null => return Ok(()),
                    json => understood(json)?,
                };
                if resource.outcome().map_err(CallError::Refused)? {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.watch(watch, id, told).await
    }

    fn watch_of(&self, begun: &Answer) -> Watch {
        // A token is not for another server.
        let address = |name: &str| self.ours(begun.headers.get(name)?.to_str().ok()?);
        if let Some(url) = address("azure-asyncoperation") {
            return Watch::Operation(url);
        }
        address(header::LOCATION.as_str()).map_or(Watch::Resource, Watch::Location)
    }

    async fn watch(
        &self,
        mut watch: Watch,
        id: &Id,
        mut told: Option<std::time::Duration>,
    ) -> Result<(), CallError> {
        let mut patience = self.caller.patience();
        while patience.wait_as_told(told).await {
            let url = match &watch {
                Watch::Operation(url) | Watch::Location(url) => url.clone(),
                Watch::Resource => self.url_of(id)?,
            };
            let now = match self.caller.ask(&Method::GET, &url, None).await {
                // A role on a group does not reach operations, which are the subscription's.
                Err(CallError::Refused(Refusal {
                    status: 403 | 404, ..
                })) if watch != Watch::Resource => {
                    watch = Watch::Resource;
                    continue;
                }
                now => now?,
            };
            told = now.retry_after();
            let is_through = match watch {
                Watch::Operation(_) => outcome(&now.json)?,
                Watch::Location(_) => now.status != StatusCode::ACCEPTED,
                Watch::Resource => {
                    let resource: Resource = understood(now.json)?;
                    resource.outcome().map_err(CallError::Refused)?
                }
            };
            if is_through {
                return Ok(());
            }
        }
        Err(CallError::Unfinished)
    }

    /// Returns an address that an answer names, if it is the manager's.
    fn ours(&self, address: &str) -> Option<Url> {
        let url = Url::parse(address).ok()?;
        (url.origin() == self.manager.origin()).then_some(url)
    }

    fn url_of(&self, id: &Id) -> Result<Url, CallError> {
        self.url(&[
            "subscriptions",
            &id.group.subscription,
            "resourceGroups",
            &id.group.name,
            "providers",
            "Microsoft.Compute",
            id.kind.segment(),
            &id.name,
        ])
    }

    fn url(&self, path: &[&str]) -> Result<Url, CallError> {
        let mut url = self.manager.clone();
        url.path_segments_mut()
            .map_err(|()| CallError::Odd("the manager's address has no path".to_owned()))?
            .pop_if_empty()
            .extend(path);
        url.query_pairs_mut()
            .append_pair("api-version", API_VERSION);
        Ok(url)
    }
}

/// Returns whether a resource is not there, as far as nothing else is wrong.
fn is_gone(error: &CallError) -> bool {
    error.is_missing()
        && !matches!(error, CallError::Refused(refusal) if refusal.code == "SubscriptionNotFound")
}

/// Returns whether an operation is through.
fn outcome(operation: &Value) -> Result<bool, CallError> {
    match operation.get("status").and_then(Value::as_str) {
        Some("Succeeded") => Ok(true),
        Some(status @ ("Failed" | "Canceled")) => {
            let (code, message) = read(operation);
            Err(CallError::Refused(Refusal {
                code: if code.is_empty() {
                    status.to_owned()
                } else {
                    code
                },
                message,
                ..Refusal::default()
            }))
        }
        Some(_) => Ok(false),
        None => Err(CallError::Odd("the operation has no status".to_owned())),
    }
}

/// Microsoft's way of speaking, and its tokens.
#[derive(Debug)]
struct Microsoft {
    tokens: Tokens,
    scope: String,
}

#[async_trait]
impl Dialect for Microsoft {
    async fn authorization(&self) -> Result<HeaderMap, String> {
        let token = self.tokens.get(&self.scope).await;
        let token = token.map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.text))
            .map_err(|_| "the token that was given out is none".to_owned())?;
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    async fn forget_token(&self) {
        self.tokens.forget(&self.scope).await;
    }

    fn read(&self, json: &Value) -> (String, String) {
        read(json)
    }

    fn meaning(&self, refusal: &Refusal) -> (SnapshotErrorKind, &'static str) {
        meaning(refusal)
    }

    fn unreachable(&self) -> &'static str {
        "check AZURE_CLOUD_NAME and AZURE_RESOURCE_MANAGER_ENDPOINT, that the network lets this through, and, where the \
         authority is a private one, config.caCert"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_tell_how_they_ended() {
        for status in ["InProgress", "Running", "Accepted"] {
            let json = serde_json::json!({ "status": status });
            assert!(!outcome(&json).unwrap(), "{status}");
        }
        assert!(outcome(&serde_json::json!({"status": "Succeeded"})).unwrap());
        assert!(outcome(&Value::Null).is_err());
        for (json, expected) in [
            (serde_json::json!({"status": "Canceled"}), "Canceled"),
            (
                serde_json::json!({"status": "Failed", "error": {"code": "QuotaExceeded", "message": "No more."}}),
                "QuotaExceeded: No more",
            ),
        ] {
            let Err(CallError::Refused(refusal)) = outcome(&json) else {
                panic!("{json}");
            };
            assert_eq!(refusal.to_string(), expected);
        }
    }
}
