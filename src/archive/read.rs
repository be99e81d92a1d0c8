//! Reads the contents: a frame with its index, or the whole tar without one.

use std::collections::HashSet;
use std::io::Read;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use zstd::zstd_safe;

use super::error::{ArchiveError, Part};
use super::index::{Index, IndexEntry, TAR_END};
use super::layout::{VERSION_PATH, check_relative, check_version, path_id};
use super::line::WINDOW_LOG_MAX;
use super::tar_stream::{TarEntry, TarStream};
use super::types::Limits;

/// The checked bodies of a frame.
#[derive(Clone, Debug)]
pub struct FrameBodies<'a> {
    entries: &'a [IndexEntry],
    frame: Bytes,
}

impl<'a> FrameBodies<'a> {
    /// Returns each entry with its body, in the order of the contents.
    ///
    /// The bodies share the frame's memory: whoever keeps one for long should copy it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a IndexEntry, Bytes)> + '_ {
        self.entries.iter().map(|entry| {
            let start = entry.offset as usize;
            let end = start + entry.length as usize;
            (entry, self.frame.slice(start..end))
        })
    }
}

/// Decompresses one frame and checks it against its entries in the index.
///
/// `bytes` are the frame as [`super::FrameRef`] places it in the contents, `entries` all of its entries
/// ([`Index::frame_entries`]). Decompresses on the calling thread, 1 MiB as a rule.
///
/// # Guarantees
/// The frame holds these entries and no others, each a regular file of the announced path, size and SHA-256. No more
/// memory is taken than the index announced.
///
/// # Errors
/// What is wrong with the frame or the first bad entry of it.
pub fn read_frame<'a>(
    bytes: &[u8],
    entries: &'a [IndexEntry],
) -> Result<FrameBodies<'a>, ArchiveError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Err(ArchiveError::Frame {
            frame: 0,
            reason: "was asked for without entries".into(),
        });
    };
    let frame = first.frame;
    let plain = decompress(bytes, frame, last.end())?;
    let mut tar = TarStream::new(plain.as_slice(), last.end());
    if frame == 0 {
        match tar.next()? {
            Some(entry) if entry.path == VERSION_PATH => check_version_entry(&entry)?,
            _ => return Err(bad_frame(frame, "does not begin with the version")),
        }
    }
    let mut path = String::new();
    for entry in entries {
        path.clear();
        entry.entry_path().write(&mut path)?;
        let bad = |reason: String| ArchiveError::Entry {
            path: path.clone(),
            reason,
        };
        let found = tar.next()?.ok_or_else(|| bad("is missing".into()))?;
        if entry.frame != frame || found.path != path {
            return Err(bad(format!(
                "is not where the index says; {:?} is",
                found.path
            )));
        }
        if found.offset != u64::from(entry.offset) || found.body.len() != entry.length as usize {
            return Err(bad(format!(
                "has {} bytes at {}; the index says {} at {}",
                found.body.len(),
                found.offset,
                entry.length,
                entry.offset
            )));
        }
        if Sha256::digest(found.body)[..] != entry.sha256 {
            return Err(bad("has another SHA-256 than the index says".into()));
        }
    }
    // The sizes leave room for nothing but the end of the tar, which is zeros.
    if let Some(extra) = tar.next()? {
        let reason = format!("holds {:?}, which the index does not list", extra.path);
        return Err(ArchiveError::Frame { frame, reason });
    }
    Ok(FrameBodies {
        entries,
        frame: plain.into(),
    })
}

/// Decompresses a frame whose entries end at `end`.
fn decompress(bytes: &[u8], frame: u32, end: u64) -> Result<Vec<u8>, ArchiveError> {
    match zstd_safe::find_frame_compressed_size(bytes) {
        Ok(size) if size == bytes.len() => {}
        Ok(_) => return Err(bad_frame(frame, "is shorter than the index says")),
        Err(_) => return Err(bad_frame(frame, "is cut off or not a zstd frame")),
    }
    let announced = zstd_safe::get_frame_content_size(bytes).ok().flatten();
    let size = announced
        .filter(|size| *size == end || *size == end + TAR_END)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| {
            let is = announced.map_or("an unknown number of".to_owned(), |size| size.to_string());
            bad_frame(
                frame,
                format!("decompresses to {is} bytes; the index says {end}"),
            )
        })?;
    let mut plain = Vec::with_capacity(size);
    // A vector's capacity is the bound: a frame that lied about its size fails here.
    let written = zstd::bulk::Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(bytes, &mut plain))
        .map_err(|source| ArchiveError::Decompress { frame, source })?;
    if written != size {
        return Err(bad_frame(frame, "decompresses to less than it announces"));
    }
    Ok(plain)
}

/// Reads whole contents with their index, one frame after the other, and hands out every checked body.
///
/// # Errors
/// The first damage, or the visitor's error.
pub fn read_contents(
    mut contents: impl Read,
    index: &Index,
    mut visit: impl FnMut(&IndexEntry, Bytes) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let part = Part::Contents;
    if index.frames().is_empty() {
        let whole = (&mut contents).take(index.contents_size());
        read_all(unpack(whole)?, &Limits::default(), |path, _| {
            if path == VERSION_PATH {
                return Ok(());
            }
            let path = path.to_owned();
            let reason = "is not in the index".into();
            Err(ArchiveError::Entry { path, reason })
        })?;
    }
    let mut bytes = Vec::new();
    for frame in index.frames() {
        bytes.clear();
        let read = (&mut contents)
            .take(frame.len)
            .read_to_end(&mut bytes)
            .map_err(|source| ArchiveError::Read { part, source })?;
        if read as u64 != frame.len {
            let missing = "a frame";
            return Err(ArchiveError::Truncated { part, missing });
        }
        for (entry, body) in read_frame(&bytes, index.frame_entries(frame))?.iter() {
            visit(entry, body)?;
        }
    }
    match contents.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(ArchiveError::Trailing { part }),
        Err(source) => Err(ArchiveError::Read { part, source }),
    }
}

/// Returns a reader of the tar inside whole contents.
///
/// # Errors
/// [`ArchiveError::Read`] if zstd cannot be set up.
pub fn unpack(contents: impl Read) -> Result<impl Read, ArchiveError> {
    zstd::Decoder::new(contents)
        .and_then(|mut decoder| decoder.window_log_max(WINDOW_LOG_MAX).map(|()| decoder))
        .map_err(|source| ArchiveError::Read {
            part: Part::Contents,
            source,
        })
}

/// Reads a whole tar, decompressed already, and hands out every path (the version's too) and body. Needs no index, and
/// so can tell less: that it is a whole tar of differently named regular files with harmless paths. One in which an
/// object stands again is refused.
///
/// Returns the number of entries.
///
/// # Errors
/// The first damage, something beyond `limits`, or the visitor's error.
pub fn read_all(
    tar: impl Read,
    limits: &Limits,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), ArchiveError>,
) -> Result<u64, ArchiveError> {
    let mut tar = TarStream::new(tar, limits.max_entry);
    let mut seen = HashSet::new();
    let mut end = 0;
    loop {
        let Some(entry) = tar.next()? else {
            break;
        };
        check_relative(entry.path)?;
        if !seen.insert(path_id(entry.path)) {
            let path = entry.path.to_owned();
            return Err(ArchiveError::Duplicate { path });
        }
        let (size, limit) = (seen.len() as u64, limits.max_entries);
        if size > limit {
            let what = "the list of entries".into();
            return Err(ArchiveError::TooLarge { what, size, limit });
        }
        if entry.path == VERSION_PATH {
            check_version_entry(&entry)?;
        }
        visit(entry.path, entry.body)?;
        end = tar.position();
    }
    tar.end(end)?;
    Ok(seen.len() as u64)
}

fn check_version_entry(entry: &TarEntry<'_>) -> Result<(), ArchiveError> {
    check_version(&String::from_utf8_lossy(entry.body))
}

fn bad_frame(frame: u32, reason: impl Into<String>) -> ArchiveError {
    let reason = reason.into();
    ArchiveError::Frame { frame, reason }
}
