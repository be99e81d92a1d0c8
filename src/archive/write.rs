//! Writes the contents and the index side by side, as streams.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;

use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;

use super::error::{ArchiveError, Part};
use super::layout::{EntryPath, FORMAT_VERSION, VERSION_PATH, check_type, path_id};
use super::line::{FooterLine, HeaderLine, NewLine};
use super::tar_stream::{BLOCK, padding};
use super::types::{EntryHeader, Limits};

/// The largest nominal size of a frame: readers allow for this much beside the largest body.
const MAX_FRAME_SIZE: usize = 16 << 20;
/// The size of the frames of an index, in bytes before compression.
const INDEX_FRAME_SIZE: usize = 1 << 20;
/// How much of a path fits into a plain tar header.
const SHORT_NAME: usize = 100;

/// How an archive is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteOptions {
    /// The zstd level.
    pub level: i32,
    /// The size of a frame in bytes of tar, up to 16 MiB; only an entry larger than this makes a larger one.
    pub frame_size: usize,
    /// What readers will accept; larger entries are refused.
    pub limits: Limits,
}

impl Default for WriteOptions {
    /// Level 3, frames of 1 MiB.
    fn default() -> Self {
        Self {
            level: 3,
            frame_size: 1 << 20,
            limits: Limits::default(),
        }
    }
}

/// What was written. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Number of entries; an object that is stored again has two.
    pub entries: u64,
    /// Size of the contents.
    pub contents_bytes: u64,
    /// Size of the tar inside the contents.
    pub uncompressed_bytes: u64,
    /// Size of the index.
    pub index_bytes: u64,
}

/// Writes one archive. Memory: a few frames, and some 40 bytes for each entry (to notice doubles).
///
/// Blocks in the destinations' `write_all`, and compresses on the calling thread. Dropped before
/// [`ArchiveWriter::finish`] it leaves two files that every reader recognises as cut off.
pub struct ArchiveWriter<W: Write, I: Write> {
    contents: FrameWriter<W>,
    index: FrameWriter<I>,
    options: WriteOptions,
    /// The index line being made.
    line: Vec<u8>,
    /// Index lines of the entries in the open frame, each without its frame and its closing brace.
    lines: Vec<u8>,
    /// Where each of these lines ends.
    line_ends: Vec<usize>,
    /// The header that all entries begin from.
    header: tar::Header,
    path: String,
    seen: HashSet<u128>,
    entries: u64,
    lost: bool,
}

impl<W: Write, I: Write> ArchiveWriter<W, I> {
    /// Begins an archive. `contents` gets whole frames, each with one `write_all`; so does `index`.
    ///
    /// # Errors
    /// [`ArchiveError::Compress`] if zstd refuses the level.
    pub fn new(contents: W, index: I, options: WriteOptions) -> Result<Self, ArchiveError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        // Not the time of the run: the same objects shall make the same bytes.
        header.set_mtime(0);
        let frame_size = options.frame_size.min(MAX_FRAME_SIZE);
        let level = options.level;
        let mut writer = Self {
            contents: FrameWriter::new(contents, Part::Contents, level, frame_size)?,
            index: FrameWriter::new(index, Part::Index, level, INDEX_FRAME_SIZE)?,
            options: WriteOptions {
                frame_size,
                ..options
            },
            line: Vec::new(),
            lines: Vec::new(),
            line_ends: Vec::new(),
            header,
            path: VERSION_PATH.to_owned(),
            seen: HashSet::new(),
            entries: 0,
            lost: false,
        };
        let version = format!("{FORMAT_VERSION}\n");
        writer.push_tar(&[version.as_bytes()], version.len());
        writer.index.push_json(&HeaderLine {
            version: FORMAT_VERSION.into(),
        })?;
        writer.index.plain.push(b'\n');
        Ok(writer)
    }

    /// Adds an object. Its body is the slices of `body` one after the other.
    ///
    /// # Errors
    /// Where [`ArchiveError::is_recoverable`] (a refused path, a double, too large), nothing was added and the writer
    /// takes further entries; else the archive is lost.
    pub fn append(&mut self, entry: &EntryHeader, body: &[&[u8]]) -> Result<(), ArchiveError> {
        if self.lost {
            return Err(ArchiveError::Lost);
        }
        let result = self.try_append(entry, body);
        self.lost = result.as_ref().is_err_and(|error| !error.is_recoverable());
        result
    }

    fn try_append(&mut self, entry: &EntryHeader, body: &[&[u8]]) -> Result<(), ArchiveError> {
        let key = &*entry.type_key;
        check_type(key)?;
        self.path.clear();
        EntryPath::new(key, entry.namespace.as_deref(), &entry.name).write(&mut self.path)?;
        let limits = self.options.limits;
        let length: usize = body.iter().map(|slice| slice.len()).sum();
        check_size(&self.path, length, limits.max_entry)?;

        let head = head_len(&self.path);
        let open = self.contents.plain.len();
        let full = !self.line_ends.is_empty()
            && open + head + length + padding(length) > self.options.frame_size;
        let mut digest = Sha256::new();
        for slice in body {
            digest.update(slice);
        }
        let mut hex = [0; 64];
        let id = path_id(&self.path);
        let again = self.seen.contains(&id);
        if again && !entry.again {
            let path = self.path.clone();
            return Err(ArchiveError::Duplicate { path });
        }
        let line = NewLine {
            group: &key.group,
            version: &key.version,
            kind: &key.kind,
            resource: &key.resource,
            namespace: entry.namespace.as_deref(),
            name: &entry.name,
            uid: &entry.uid,
            owners: &entry.owners,
            labels: &entry.labels,
            body: entry.body,
            offset: to_u64(head + if full { 0 } else { open }),
            length: to_u64(length),
            sha256: write_hex(&digest.finalize(), &mut hex),
            again,
        };
        self.line.clear();
        push_json(&mut self.line, &line, Part::Index)?;
        // The frame's place comes where the brace was; 100 bytes hold it.
        self.line.pop();
        check_size(&self.path, self.line.len() + 100, limits.max_line)?;
        let (size, limit) = (self.entries + 1, limits.max_entries);
        if size > limit {
            let what = "the list of entries".into();
            return Err(ArchiveError::TooLarge { what, size, limit });
        }

        // From here on the entry is in. A frame must not be closed for one that is refused after all: there might be
        // no other, and the tar's end would stand in a frame that the index does not know.
        if full {
            self.close_frame()?;
        }
        self.seen.insert(id);
        self.entries += 1;
        self.lines.extend_from_slice(&self.line);
        self.line_ends.push(self.lines.len());
        self.push_tar(body, length);
        Ok(())
    }

    /// Ends both files and flushes their destinations.
    ///
    /// # Errors
    /// The archive is lost.
    pub fn finish(mut self) -> Result<Summary, ArchiveError> {
        if self.lost {
            return Err(ArchiveError::Lost);
        }
        // The end of a tar: two blocks of zeros. Frames are closed only when the next entry comes, so there always is
        // an open one that takes them in.
        let end = self.contents.plain.len() + 2 * BLOCK;
        self.contents.plain.resize(end, 0);
        self.close_frame()?;
        let entries = self.entries;
        self.index.push_json(&FooterLine {
            entries,
            contents_size: self.contents.written,
        })?;
        self.index.plain.push(b'\n');
        self.index.close_frame()?;
        self.contents.flush()?;
        self.index.flush()?;
        Ok(Summary {
            entries,
            contents_bytes: self.contents.written,
            uncompressed_bytes: self.contents.taken,
            index_bytes: self.index.written,
        })
    }

    /// Compresses and writes the open frame, and passes the lines of its entries on to the index.
    fn close_frame(&mut self) -> Result<(), ArchiveError> {
        let offset = self.contents.written;
        let length = self.contents.close_frame()?;
        let mut start = 0;
        for end in self.line_ends.drain(..) {
            let plain = &mut self.index.plain;
            plain.extend_from_slice(&self.lines[start..end]);
            start = end;
            writeln!(
                plain,
                ",\"frameOffset\":{offset},\"frameLength\":{length}}}"
            )
            .map_err(|source| ArchiveError::Write {
                part: Part::Index,
                source,
            })?;
            if plain.len() >= INDEX_FRAME_SIZE {
                self.index.close_frame()?;
            }
        }
        self.lines.clear();
        Ok(())
    }

    /// Adds the entry at `self.path` to the open frame.
    fn push_tar(&mut self, body: &[&[u8]], length: usize) {
        let path = self.path.as_bytes();
        let plain = &mut self.contents.plain;
        if path.len() > SHORT_NAME {
            // GNU's way, which every tar reads: an entry before the entry, whose body is the path and a NUL.
            let mut link = self.header.clone();
            link.set_entry_type(tar::EntryType::GNULongName);
            push_header(plain, &mut link, b"././@LongLink", path.len() + 1);
            plain.extend_from_slice(path);
            let end = plain.len() + 1 + padding(path.len() + 1);
            plain.resize(end, 0);
        }
        push_header(
            plain,
            &mut self.header.clone(),
            &path[..path.len().min(SHORT_NAME)],
            length,
        );
        for slice in body {
            plain.extend_from_slice(slice);
        }
        let end = plain.len() + padding(length);
        plain.resize(end, 0);
    }
}

impl<W: Write, I: Write> fmt::Debug for ArchiveWriter<W, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveWriter")
            .field("entries", &self.entries)
            .field("contents_bytes", &self.contents.written)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Gathers bytes and writes them as independent zstd frames.
struct FrameWriter<W> {
    out: W,
    part: Part,
    compressor: Compressor<'static>,
    /// The open frame.
    plain: Vec<u8>,
    packed: Vec<u8>,
    /// The largest buffers to keep, in bytes.
    keep: usize,
    /// Bytes written, compressed.
    written: u64,
    /// Bytes taken in, of closed frames.
    taken: u64,
}

impl<W: Write> FrameWriter<W> {
    fn new(out: W, part: Part, level: i32, frame_size: usize) -> Result<Self, ArchiveError> {
        let compressor = Compressor::new(level)
            .and_then(|mut compressor| {
                compressor.include_checksum(true)?;
                compressor.include_contentsize(true)?;
                Ok(compressor)
            })
            .map_err(|source| ArchiveError::Compress { part, source })?;
        Ok(Self {
            out,
            part,
            compressor,
            plain: Vec::new(),
            packed: Vec::new(),
            keep: 2 * frame_size.max(INDEX_FRAME_SIZE),
            written: 0,
            taken: 0,
        })
    }

    fn push_json(&mut self, line: &impl serde::Serialize) -> Result<(), ArchiveError> {
        push_json(&mut self.plain, line, self.part)
    }

    /// Writes the open frame and returns its compressed size.
    fn close_frame(&mut self) -> Result<u64, ArchiveError> {
        let part = self.part;
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        self.compressor
            .compress_to_buffer(&self.plain, &mut self.packed)
            .map_err(|source| ArchiveError::Compress { part, source })?;
        self.out
            .write_all(&self.packed)
            .map_err(|source| ArchiveError::Write { part, source })?;
        let length = to_u64(self.packed.len());
        self.written += length;
        self.taken += to_u64(self.plain.len());
        self.plain.clear();
        // One huge object should not hold its memory for the rest of the run.
        self.plain.shrink_to(self.keep);
        self.packed.shrink_to(self.keep);
        Ok(length)
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        let part = self.part;
        self.out
            .flush()
            .map_err(|source| ArchiveError::Write { part, source })
    }
}

fn push_json(
    out: &mut Vec<u8>,
    line: &impl serde::Serialize,
    part: Part,
) -> Result<(), ArchiveError> {
    serde_json::to_writer(out, line).map_err(|error| ArchiveError::Write {
        part,
        source: error.into(),
    })
}

fn push_header(out: &mut Vec<u8>, header: &mut tar::Header, name: &[u8], size: usize) {
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(to_u64(size));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// Returns how many bytes of tar come before the body of an entry.
fn head_len(path: &str) -> usize {
    if path.len() > SHORT_NAME {
        let long = path.len() + 1;
        BLOCK + long + padding(long) + BLOCK
    } else {
        BLOCK
    }
}

fn check_size(path: &str, size: usize, limit: u64) -> Result<(), ArchiveError> {
    let size = to_u64(size);
    if size <= limit {
        return Ok(());
    }
    let what = format!("entry {path:?}");
    Err(ArchiveError::TooLarge { what, size, limit })
}

fn write_hex<'a>(digest: &[u8], hex: &'a mut [u8; 64]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(hex).expect("hexadecimal digits are ASCII")
}

/// Widens a size; no platform's sizes are larger.
fn to_u64(size: usize) -> u64 {
    size as u64
}
