//! An object as bytes, with the few fields of its metadata that every rule needs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

/// One object: its bytes as the API server sent them, and its header.
#[derive(Clone, Debug)]
pub struct Item {
    /// The header, parsed.
    pub header: ItemHeader,
    /// The object's JSON, untouched.
    pub body: Bytes,
}

/// The fields of an object that are looked at without parsing all of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ItemHeader {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The UIDs of its owners.
    pub owners: Vec<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether the bytes carry `apiVersion` and `kind`; items of built-in lists do not.
    pub has_type: bool,
}

impl ItemHeader {
    /// Returns `<namespace>/<name>`, or the name alone for a cluster-scoped object: the order of the server's keys.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// Reads the header of an object's JSON.
    ///
    /// # Errors
    /// The parser's words if the bytes are no Kubernetes object.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawObject<'_> = serde_json::from_slice(body)?;
        let metadata = raw.metadata;
        Ok(Self {
            name: metadata.name.into_owned(),
            namespace: metadata.namespace.unwrap_or_default().into_owned(),
            uid: metadata.uid.unwrap_or_default().into_owned(),
            labels: metadata
                .labels
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
            owners: metadata
                .owner_references
                .unwrap_or_default()
                .into_iter()
                .map(|owner| owner.uid.into_owned())
                .collect(),
            deleting: metadata.deletion_timestamp.is_some(),
            has_type: raw.kind.is_some() && raw.api_version.is_some(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawObject<'a> {
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: RawMetadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(borrow, default)]
    owner_references: Option<Vec<RawOwner<'a>>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawOwner<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rules_need() {
        let header = ItemHeader::parse(
            br#"{"metadata":{"name":"a\"b","namespace":"n","uid":"u","labels":{"k":"v"},
                "ownerReferences":[{"uid":"o"}],"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"x":[1]}}"#,
        )
        .unwrap();
        assert_eq!(header.name, "a\"b");
        assert_eq!(header.key(), "n/a\"b");
        assert_eq!(header.owners, ["o"]);
        assert!(header.deleting);
        assert!(!header.has_type);
    }

    #[test]
    fn takes_null_for_absent() {
        let header = ItemHeader::parse(
            br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","labels":null,"ownerReferences":null}}"#,
        )
        .unwrap();
        assert!(header.has_type && !header.deleting && header.labels.is_empty());
        assert_eq!(header.key(), "a");
        assert!(ItemHeader::parse(br#"{"metadata":{}}"#).is_err());
    }
}
