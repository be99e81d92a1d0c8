//! What goes in comes out; what somebody else put in does not.

mod damage;
mod hostile_contents;
mod hostile_index;
mod round_trip;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{
    ArchiveError, ArchiveWriter, EntryHeader, Index, Limits, Summary, TypeKey, WriteOptions,
    read_contents,
};

/// A written archive.
struct Archive {
    contents: Vec<u8>,
    index: Vec<u8>,
    summary: Summary,
}

fn object(resource: &str, namespace: Option<&str>, name: &str) -> EntryHeader {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    EntryHeader {
        type_key: Arc::new(TypeKey {
            group: group.into(),
            version: "v1".into(),
            kind: "Kind".into(),
            resource: resource.into(),
        }),
        namespace: namespace.map(Arc::from),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        labels: BTreeMap::from([("app".into(), "web".into())]),
        ..EntryHeader::default()
    }
}

fn write(entries: &[(EntryHeader, Vec<u8>)], frame_size: usize) -> Archive {
    let options = WriteOptions {
        frame_size,
        ..WriteOptions::default()
    };
    let (mut contents, mut index) = (Vec::new(), Vec::new());
    let mut writer = ArchiveWriter::new(&mut contents, &mut index, options).unwrap();
    for (header, body) in entries {
        writer.append(header, &[body]).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.contents_bytes, contents.len() as u64);
    assert_eq!(summary.index_bytes, index.len() as u64);
    Archive {
        contents,
        index,
        summary,
    }
}

/// Three objects in one frame.
fn small() -> Archive {
    write(
        &[
            (object("nodes", None, "one"), b"{\"a\":1}".to_vec()),
            (object("pods", Some("web"), "two"), b"{\"b\":2}".to_vec()),
            (
                object("deployments.apps", Some("web"), "three"),
                b"{\"c\":3}".to_vec(),
            ),
        ],
        1 << 20,
    )
}

fn read(contents: &[u8], index: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let index = Index::read(index, &Limits::default())?;
    let mut found = Vec::new();
    read_contents(contents, &index, |entry, body| {
        found.push((entry.path(), body.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

fn unpacked_index(index: &[u8]) -> Vec<Value> {
    let text = zstd::decode_all(index).unwrap();
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn packed_index(lines: &[Value]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).unwrap();
        text.push(b'\n');
    }
    zstd::encode_all(text.as_slice(), 3).unwrap()
}

/// Deterministic noise that does not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
