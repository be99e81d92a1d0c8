//! Reads a type's objects page by page, as raw bytes.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{ApiType, Cluster, ClusterError, Item, ItemHeader};

/// Where to list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListScope {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(String),
}

/// One page to read.
#[derive(Clone, Debug)]
pub struct PageRequest<'a> {
    /// Where to list.
    pub scope: &'a ListScope,
    /// A label selector in the API's form; `None` for all.
    pub label_selector: Option<&'a str>,
    /// A field selector in the API's form; `None` for all.
    pub field_selector: Option<&'a str>,
    /// The most objects to return.
    pub limit: u32,
    /// The token of the page before; `None` for the first.
    pub continue_token: Option<&'a str>,
}

/// One page of objects.
#[derive(Debug)]
pub struct Page {
    /// The objects, in the server's order.
    pub items: Vec<Item>,
    /// What could not be read of single items: their place in the page and why.
    pub unreadable: Vec<String>,
    /// The token of the next page; `None` if this was the last.
    pub continue_token: Option<String>,
    /// How many objects follow this page, where the server knows.
    pub remaining: Option<u64>,
    /// The size of the page as it was received, in bytes.
    pub size: usize,
}

/// The size of the first page of a type, in objects. Small, since nothing is known yet of how large they are.
const FIRST_PAGE: u32 = 50;
/// The most objects in a page: what kubectl and Velero ask for.
const LARGEST_PAGE: u32 = 500;

/// How many objects the next page should have, so that it is of a certain size, and what the last ones taught about that.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    target: usize,
    limit: u32,
}

impl PageSize {
    /// Begins with a small page; `target` is how many bytes a page should have.
    pub fn new(target: usize) -> Self {
        Self {
            target,
            limit: FIRST_PAGE,
        }
    }

    /// Adapts to `objects` that were `bytes` long together; grows step by step, shrinks at once.
    pub fn learn(&mut self, objects: usize, bytes: usize) {
        if objects == 0 {
            return;
        }
        let fitting = u32::try_from(self.target * objects / bytes.max(1)).unwrap_or(LARGEST_PAGE);
        self.limit = fitting
            .clamp(1, LARGEST_PAGE)
            .min(self.limit.saturating_mul(10));
    }

    /// Returns how many objects to ask for.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns how large a page should be, in bytes.
    pub fn target(&self) -> usize {
        self.target
    }
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    metadata: RawListMeta,
}

#[derive(Default, Deserialize)]
struct RawListMeta {
    #[serde(rename = "continue", default)]
    continue_token: Option<String>,
    #[serde(rename = "remainingItemCount", default)]
    remaining: Option<u64>,
}

impl Cluster {
    /// Reads one page of a type's objects.
    ///
    /// # Errors
    /// [`super::ClusterErrorKind::Gone`] if the token is too old: begin again.
    pub async fn list_page(
        &self,
        api_type: &ApiType,
        request: &PageRequest<'_>,
    ) -> Result<Page, ClusterError> {
        let namespace = match request.scope {
            ListScope::Cluster => None,
            ListScope::Namespace(namespace) => Some(namespace.as_str()),
        };
        let path = format!("{}?{}", api_type.path(namespace), query(request));
        let action = match namespace {
            Some(namespace) => format!(
                "list {} in namespace {namespace}",
                api_type.group_resource()
            ),
            None => format!("list {}", api_type.group_resource()),
        };
        let body = self.read(&action, &path, "application/json").await?;
        split_page(&body).map_err(|error| ClusterError::malformed(&action, error.to_string()))
    }
}

/// Writes a page's query parameters.
fn query(request: &PageRequest<'_>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &request.limit.to_string());
    for (key, value) in [
        ("labelSelector", request.label_selector),
        ("fieldSelector", request.field_selector),
        ("continue", request.continue_token),
    ] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

/// Splits a list into its items without copying them.
fn split_page(body: &Bytes) -> Result<Page, serde_json::Error> {
    let list: RawList<'_> = serde_json::from_slice(body)?;
    let raw_items = list.items.unwrap_or_default();
    let mut items = Vec::with_capacity(raw_items.len());
    let mut unreadable = Vec::new();
    for (place, raw) in raw_items.iter().enumerate() {
        match ItemHeader::parse(raw.get().as_bytes()) {
            Ok(header) => items.push(Item {
                header,
                body: body.slice(range_within(body, raw.get())),
            }),
            Err(error) => unreadable.push(format!("item {place} of a page: {error}")),
        }
    }
    Ok(Page {
        items,
        unreadable,
        continue_token: list
            .metadata
            .continue_token
            .filter(|token| !token.is_empty()),
        remaining: list.metadata.remaining,
        size: body.len(),
    })
}

/// Returns where `part`, which was borrowed from `whole`, stands in it.
fn range_within(whole: &Bytes, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_without_touching_the_bytes() {
        let body = Bytes::from_static(
            br#"{"kind":"PodList","metadata":{"resourceVersion":"1","continue":"next"},"items":[
               {"metadata":{"name":"a","namespace":"n"},"x": 1.50 },{"metadata":{}},{"metadata":{"name":"b"}}]}"#,
        );
        let page = split_page(&body).unwrap();
        assert_eq!(page.items.len(), 2);
        assert_eq!(
            page.items[0].body,
            br#"{"metadata":{"name":"a","namespace":"n"},"x": 1.50 }"#.as_slice()
        );
        assert_eq!(page.items[1].header.name, "b");
        assert_eq!(page.unreadable.len(), 1);
        assert_eq!(page.continue_token.as_deref(), Some("next"));
    }

    #[test]
    fn null_items_and_empty_tokens_are_an_end() {
        let page = split_page(&Bytes::from_static(
            br#"{"metadata":{"continue":""},"items":null}"#,
        ))
        .unwrap();
        assert!(page.items.is_empty() && page.continue_token.is_none());
    }

    #[test]
    fn page_sizes_follow_the_objects() {
        let mut size = PageSize::new(512 * 1024);
        size.learn(50, 50 * 1024);
        assert_eq!(size.limit(), 500, "small objects: the largest page");
        size.learn(500, 500 * 1024 * 1024);
        assert_eq!(size.limit(), 1, "objects of a MiB: one at a time");
        size.learn(1, 1024);
        assert_eq!(size.limit(), 10, "and back step by step");
    }
}
