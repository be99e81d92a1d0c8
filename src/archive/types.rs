//! What both sides of the archive speak about: types, the header of an entry, the bounds on reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A type of Kubernetes object as the cluster served it. Shared, because there are few types and many objects.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TypeKey {
    /// API group; empty for the core group.
    pub group: String,
    /// API version within the group, such as `v1`.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Resource, plural and lower case, such as `deployments`. Holds no dot.
    pub resource: String,
}

impl TypeKey {
    /// Returns `group/version`, or the version alone for the core group: what objects carry as `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns `resource.group`, or the resource alone for the core group: the directory in the archive.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// How the stored body relates to what the API server gave.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BodyKind {
    /// The server's bytes.
    #[default]
    AsServed,
    /// The server's bytes with `apiVersion` and `kind` put in right after the opening brace: items of the lists of
    /// built-in types come without them.
    TypeAdded,
    /// An item action's answer.
    Replaced,
}

/// What the index says about an object, besides where it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EntryHeader {
    /// The object's type.
    pub type_key: Arc<TypeKey>,
    /// The object's namespace; none for objects of the cluster.
    pub namespace: Option<Arc<str>>,
    /// The object's name.
    pub name: String,
    /// The object's UID; empty if it has none.
    pub uid: String,
    /// The UIDs of the object's owners, in the object's order.
    pub owners: Vec<String>,
    /// The object's labels.
    pub labels: BTreeMap<String, String>,
    /// How the body came about.
    pub body: BodyKind,
    /// Whether it may have been stored already, and is stored again since it has changed: this entry counts then.
    pub again: bool,
}

/// Bounds on what a reader takes in, so that a hostile or damaged file cannot exhaust the memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub max_entry: u64,
    /// The largest frame after decompression, in bytes.
    pub max_frame: u64,
    /// The longest line of an index, in bytes.
    pub max_line: u64,
    /// The largest number of entries.
    pub max_entries: u64,
    /// The largest index after decompression, in bytes.
    pub max_index: u64,
}

impl Limits {
    /// Returns the default bounds with another largest body; the bound on frames follows it.
    #[must_use]
    pub fn with_max_entry(max_entry: u64) -> Self {
        Self {
            max_entry,
            // A frame is closed once it holds its nominal size, so beside a body there is little in it.
            max_frame: max_entry.saturating_add(16 << 20),
            max_line: 4 << 20,
            max_entries: 4_000_000,
            max_index: 4 << 30,
        }
    }
}

impl Default for Limits {
    /// Bodies up to 64 MiB (an API server takes some 3 MiB), frames up to 80 MiB, 4 million entries.
    fn default() -> Self {
        Self::with_max_entry(64 << 20)
    }
}
