//! What the API server itself needs: reading everything page by page, and creating objects with nothing else to do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ark::api::order;
use ark::cluster::{ApiType, Cluster};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use super::workload::WRITERS;
use crate::support::namespace::create_namespace;
use crate::support::wait_until;

/// How long the controllers may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long is looked whether they are.
const REST: Duration = Duration::from_secs(3);
/// How many writes in that time count as rest: leases are renewed all the time.
const FEW: u64 = 10;
/// Objects in a page: what kubectl and Velero ask for.
const PAGE: usize = 500;
/// What a bare create leaves out, as a restore does: a controller makes it itself, or it is a note of what happened.
const SKIPPED: [&str; 3] = ["endpoints", "endpointslices", "events"];

async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(Body::from(body))?;
    let response = client.send(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// Creates one object.
pub(crate) async fn create(client: &kube::Client, path: &str, body: Vec<u8>) -> Result<()> {
    let (status, answer) = send(client, Method::POST, path, body).await?;
    if !status.is_success() {
        bail!(
            "create at {path}: {status}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
    #[serde(rename = "continue", default)]
    continue_token: String,
}

async fn types(client: &kube::Client) -> Result<Vec<ApiType>> {
    let discovery = Cluster::new(client.clone(), None).discover().await?;
    let needed = ["list", "create", "get", "delete"];
    Ok(discovery
        .types()
        .iter()
        .filter(|one| one.allows(&needed))
        .map(|one| ApiType::clone(one))
        .collect())
}

/// Waits until the controllers have caught up with what was created: until the cluster's revision hardly moves. They
/// work off thousands of objects for a while, and whatever is measured meanwhile would pay for it.
pub(crate) async fn settle(client: &kube::Client) -> Result<()> {
    let mut before = revision(client).await?;
    wait_until("the controllers are at rest", PATIENCE, async || {
        tokio::time::sleep(REST).await;
        let now = revision(client).await?;
        let moved = now - std::mem::replace(&mut before, now);
        Ok((moved <= FEW).then_some(()))
    })
    .await
}

/// Returns the revision of the cluster's data, which each write counts up.
async fn revision(client: &kube::Client) -> Result<u64> {
    let (_, body) = send(
        client,
        Method::GET,
        "/api/v1/namespaces?limit=1",
        Vec::new(),
    )
    .await?;
    let list: List = serde_json::from_slice(&body)?;
    list.metadata.resource_version.parse().context("a revision")
}

/// Reads every object of every type that a backup would hold, page after page on one connection. Only the continue
/// token at each page's beginning is looked for.
pub(crate) async fn read_everything(client: &kube::Client) -> Result<Duration> {
    let types = types(client).await?;
    let started = Instant::now();
    for one in &types {
        let mut token = String::new();
        loop {
            let path = format!("{}?limit={PAGE}&continue={token}", one.path(None));
            let (status, body) = send(client, Method::GET, &path, Vec::new()).await?;
            if !status.is_success() {
                bail!("{path}: {status}");
            }
            token = continue_token(&body);
            if token.is_empty() {
                break;
            }
        }
    }
    Ok(started.elapsed())
}

/// Finds the token in the first bytes of a list, where the server puts its metadata.
fn continue_token(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(2_048)]).into_owned();
    head.split_once("\"continue\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(token, _)| token.to_owned())
        .unwrap_or_default()
}

/// Creates the objects of the loaded namespaces once more under `<prefix>-...`, `WRITERS` at once, with bodies made
/// beforehand; returns the time and their number.
pub(crate) async fn create_everything(
    client: &kube::Client,
    namespaces: &[String],
    prefix: &str,
) -> Result<(Duration, usize)> {
    let mut types = types(client).await?;
    types.retain(|one| one.namespaced && !SKIPPED.contains(&one.resource.as_str()));
    // In restore order: else controllers would make some of the objects first.
    types.sort_by_cached_key(|one| order::rank(&one.group_resource(), &[]));
    let mut bodies = Vec::new();
    for one in &types {
        for namespace in namespaces {
            bodies.extend(copies(client, one, namespace, prefix).await?);
        }
    }
    for namespace in namespaces {
        create_namespace(client, &format!("{prefix}-{namespace}")).await?;
    }
    let count = bodies.len();
    let started = Instant::now();
    stream::iter(bodies)
        .map(|(path, body)| async move { create(client, &path, body).await })
        .buffer_unordered(WRITERS)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok((started.elapsed(), count))
}

/// Returns where to create the objects of a type and namespace again, and as what.
async fn copies(
    client: &kube::Client,
    one: &ApiType,
    namespace: &str,
    prefix: &str,
) -> Result<Vec<(String, Vec<u8>)>> {
    #[derive(Deserialize)]
    struct Items {
        #[serde(flatten)]
        list: List,
        items: Vec<Value>,
    }
    let target = one.path(Some(&format!("{prefix}-{namespace}")));
    let mut copies = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!(
            "{}?limit={PAGE}&continue={token}",
            one.path(Some(namespace))
        );
        let (_, body) = send(client, Method::GET, &path, Vec::new()).await?;
        let page: Items = serde_json::from_slice(&body).with_context(|| path.clone())?;
        for mut object in page.items {
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if ["kube-root-ca.crt", "default"].contains(&name.as_str()) {
                continue;
            }
            object["apiVersion"] = Value::from(one.api_version());
            object["kind"] = Value::from(one.kind.clone());
            let metadata = &object["metadata"];
            object["metadata"] = serde_json::json!({
                "name": name, "labels": metadata["labels"], "annotations": metadata["annotations"],
            });
            if let Some(object) = object.as_object_mut() {
                object.remove("status");
            }
            if one.resource == "services"
                && let Some(spec) = object["spec"].as_object_mut()
            {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            }
            copies.push((target.clone(), object.to_string().into_bytes()));
        }
        token = page.list.metadata.continue_token;
        if token.is_empty() {
            return Ok(copies);
        }
    }
}
