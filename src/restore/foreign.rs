//! Reads backups that other programs made: Ark up to 0.10, and Velero.
//!
//! Theirs is one tar in one gzip stream, of which nothing can be read without all that comes before. So it is read once,
//! from the store through the decompressors into Ark's own format, in a file that has no name and goes with the process;
//! from there on it is read like any other backup. The file takes about as much room as the stored one.
//!
//! Velero stores an object twice, below its type and below its type's preferred version; with a feature flag further
//! versions beside it. The first is read, and where it is missing the preferred version; further versions are passed
//! over, since Ark converts versions itself.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use futures::TryStreamExt as _;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::archive::{
    ArchiveError, ArchiveWriter, BodyKind, EntryHeader, Index, Limits, TypeKey, WriteOptions,
};
use crate::storage::Location;

use super::open::OpenError;

/// The directory of all objects.
const RESOURCES: &str = "resources/";

/// A foreign backup in Ark's own format.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) index: Index,
    pub(super) contents: File,
    /// Bytes read from the store.
    pub(super) read: u64,
}

/// What the path of an entry says.
#[derive(Debug, Eq, PartialEq)]
struct Place<'a> {
    resource: &'a str,
    group: &'a str,
    /// The directory of a version, if it lies in one.
    version: Option<&'a str>,
    namespace: Option<&'a str>,
    name: &'a str,
}

/// Reads the contents of a foreign backup from `key`.
pub(super) async fn open(
    location: &Location,
    key: &str,
    limits: Limits,
) -> Result<Foreign, OpenError> {
    let pieces = location.open(key).await?;
    let mut source = StreamReader::new(pieces.map_err(io::Error::other));
    let handle = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || {
        read(SyncIoBridge::new_with_handle(&mut source, handle), limits)
    });
    read.await?.map_err(|problem| match problem {
        Problem::Damaged(problem) => OpenError::Damaged {
            key: key.to_owned(),
            problem,
        },
        Problem::NoRoom(error) => OpenError::NoRoom {
            directory: std::env::temp_dir().display().to_string(),
            error,
        },
    })
}

/// Why a foreign backup was not read.
#[derive(Debug)]
enum Problem {
    /// It is damaged, or not what it should be.
    Damaged(String),
    /// The temporary file cannot be made or written.
    NoRoom(io::Error),
}

fn read(source: impl Read, limits: Limits) -> Result<Foreign, Problem> {
    let counted = Counting { source, read: 0 };
    let mut tar = tar::Archive::new(MultiGzDecoder::new(counted));
    let contents = tempfile::tempfile().map_err(Problem::NoRoom)?;
    let mut index = Vec::new();
    let options = WriteOptions {
        limits,
        ..WriteOptions::default()
    };
    let mut file = BufWriter::new(&contents);
    let mut writer = ArchiveWriter::new(&mut file, &mut index, options).map_err(archive)?;
    let mut types: HashMap<TypeKey, Arc<TypeKey>> = HashMap::new();
    // Whether each object was taken from the directory of a version.
    let mut seen: HashMap<String, bool> = HashMap::new();
    let damaged = |error: io::Error| Problem::Damaged(error.to_string());
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| Problem::Damaged("an entry has a path that is not UTF-8".to_owned()))?;
        let bad = |reason: &str| Problem::Damaged(format!("entry {path:?} {reason}"));
        check(&path).map_err(|reason| bad(&reason))?;
        if entry.header().entry_type().is_dir() || !path.starts_with(RESOURCES) {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(bad("is neither a file nor a directory"));
        }
        let place = parse(&path).ok_or_else(|| bad("does not name an object"))?;
        if place
            .version
            .is_some_and(|version| !version.ends_with("-preferredversion"))
        {
            continue;
        }
        // Compact, for there are as many as objects.
        let identity = format!(
            "{}.{}/{}/{}",
            place.resource,
            place.group,
            place.namespace.unwrap_or_default(),
            place.name
        );
        let versioned = place.version.is_some();
        match seen.insert(identity, versioned) {
            None => {}
            Some(false) if !versioned => return Err(bad("comes twice")),
            // Velero appends both in any order.
            Some(_) => continue,
        }
        if entry.size() > limits.max_entry {
            return Err(bad(&format!(
                "has {} bytes; at most {} are read",
                entry.size(),
                limits.max_entry
            )));
        }
        let mut body = Vec::new();
        entry.read_to_end(&mut body).map_err(damaged)?;
        let header = header(&place, &body, &mut types).map_err(|reason| bad(&reason))?;
        writer.append(&header, &[&body]).map_err(archive)?;
    }
    writer.finish().map_err(archive)?;
    file.flush().map_err(Problem::NoRoom)?;
    drop(file);
    // What follows the tar belongs to the stream, and shows whether it is whole.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    let read = rest.into_inner().read;
    let index = Index::read(&index[..], &limits).map_err(archive)?;
    Ok(Foreign {
        index,
        contents,
        read,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn archive(error: ArchiveError) -> Problem {
    match error {
        ArchiveError::Write { source, .. } => Problem::NoRoom(source),
        error => Problem::Damaged(crate::api::error::chain(&error)),
    }
}

/// Counts what is read.
struct Counting<R> {
    source: R,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Checks that a path stays within the archive.
fn check(path: &str) -> Result<(), String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err("leads out of the archive".to_owned());
    }
    Ok(())
}

/// Takes a path apart: `resources/<resource>[.<group>]/[<version>/](cluster|namespaces/<namespace>)/<name>.json`.
fn parse(path: &str) -> Option<Place<'_>> {
    let mut parts = path.strip_prefix(RESOURCES)?.split('/');
    let full = parts.next()?;
    let (resource, group) = full.split_once('.').unwrap_or((full, ""));
    let mut scope = parts.next()?;
    let mut version = None;
    if !matches!(scope, "cluster" | "namespaces") {
        version = Some(scope);
        scope = parts.next()?;
    }
    let namespace = match scope {
        "cluster" => None,
        "namespaces" => Some(parts.next().filter(|name| !name.is_empty())?),
        _ => return None,
    };
    let name = parts.next()?.strip_suffix(".json")?;
    (parts.next().is_none() && !name.is_empty() && !resource.is_empty()).then_some(Place {
        resource,
        group,
        version,
        namespace,
        name,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    #[serde(default)]
    uid: String,
}

/// Makes the header of an object from its place and its body, which have to agree.
fn header(
    place: &Place<'_>,
    body: &[u8],
    types: &mut HashMap<TypeKey, Arc<TypeKey>>,
) -> Result<EntryHeader, String> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| format!("is no object: {error}"))?;
    let (group, version) = body
        .api_version
        .rsplit_once('/')
        .unwrap_or(("", &body.api_version));
    let metadata = body.metadata;
    if metadata.name != place.name
        || metadata.namespace != place.namespace.unwrap_or_default()
        || group != place.group
    {
        return Err(format!(
            "holds another object: {} {}/{}",
            body.api_version, metadata.namespace, metadata.name
        ));
    }
    let key = TypeKey {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: body.kind,
        resource: place.resource.to_owned(),
    };
    let type_key = types
        .entry(key)
        .or_insert_with_key(|key| Arc::new(key.clone()));
    Ok(EntryHeader {
        type_key: Arc::clone(type_key),
        namespace: place.namespace.map(Arc::from),
        name: metadata.name,
        uid: metadata.uid,
        owners: metadata
            .owner_references
            .into_iter()
            .flatten()
            .map(|owner| owner.uid)
            .filter(|uid| !uid.is_empty())
            .collect(),
        labels: metadata.labels.unwrap_or_default(),
        again: false,
        body: BodyKind::AsServed,
    })
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
