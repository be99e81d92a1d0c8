//! The index in memory: which objects a backup holds and where each is.
//!
//! It comes from a bucket that others may write to, so it is checked as a whole before anybody sees an entry of it:
//! paths are safe and different, frames follow each other without a gap, bodies lie in their frame one after the other,
//! sizes are within the limits, and the last line is there and agrees. Whether it agrees with the contents is checked
//! frame by frame in `read`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use super::error::ArchiveError;
use super::layout::{EntryPath, check_type, check_version, path_id};
use super::line::{FOOTER_START, FooterLine, HeaderLine, Lines, ReadLine, Shared, parse};
use super::tar_stream::BLOCK;
use super::types::{BodyKind, Limits, TypeKey};

const HEADER: u64 = BLOCK as u64;
/// Two blocks: the end of the tar, in the last frame.
pub(crate) const TAR_END: u64 = 2 * HEADER;

/// An object in a backup. What many objects have in common they share, so one takes some 250 bytes.
#[derive(Clone, Debug)]
pub struct IndexEntry {
    /// The object's type.
    pub type_key: Arc<TypeKey>,
    /// The object's namespace; none for objects of the cluster.
    pub namespace: Option<Arc<str>>,
    /// The object's name.
    pub name: Box<str>,
    /// The object's UID; empty if it has none.
    pub uid: Box<str>,
    /// The UIDs of the object's owners.
    pub owners: Arc<[String]>,
    /// The object's labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// How the body came about.
    pub body: BodyKind,
    /// Whether a later entry is of the same object: then that one counts.
    pub outdated: bool,
    /// Number of the frame that holds the object, for [`Index::frame`].
    pub frame: u32,
    /// Where the body begins in the decompressed frame, in bytes.
    pub offset: u32,
    /// The size of the body in bytes.
    pub length: u32,
    /// The SHA-256 of the body.
    pub sha256: [u8; 32],
}

impl IndexEntry {
    /// Returns the entry's path in the contents.
    pub fn path(&self) -> String {
        let mut path = String::new();
        self.entry_path().push(&mut path);
        path
    }

    /// Returns the parts of the entry's path.
    pub fn entry_path(&self) -> EntryPath<'_> {
        EntryPath::new(&self.type_key, self.namespace.as_deref(), &self.name)
    }

    /// Where the entry ends in its frame: its body, and what fills the last block.
    pub(crate) fn end(&self) -> u64 {
        (u64::from(self.offset) + u64::from(self.length)).next_multiple_of(HEADER)
    }
}

/// A frame of the contents: what one ranged read fetches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrameRef {
    /// Number of the frame, from 0.
    pub number: u32,
    /// Where the frame begins in the contents, in bytes.
    pub offset: u64,
    /// The size of the frame in the contents, in bytes.
    pub len: u64,
    /// Which of [`Index::entries`] it holds.
    pub entries: Range<usize>,
}

/// A checked index.
#[derive(Clone, Debug)]
pub struct Index {
    entries: Vec<IndexEntry>,
    frames: Vec<FrameRef>,
    contents_size: u64,
}

impl Index {
    /// Reads and checks a compressed index.
    ///
    /// # Errors
    /// What is wrong with the first line that is not acceptable; an index is taken whole or not at all.
    pub fn read(source: impl Read, limits: &Limits) -> Result<Self, ArchiveError> {
        let mut lines = Lines::new(source, limits)?;
        let (header, number) = lines.next("its first line")?;
        check_version(&parse::<HeaderLine<'_>>(header, number)?.version)?;
        let mut builder = Builder::new(*limits);
        let footer: FooterLine = loop {
            let (line, number) = lines.next("its last line")?;
            if line.starts_with(FOOTER_START) {
                break parse(line, number)?;
            }
            builder.add(&parse(line, number)?, number)?;
        };
        lines.end()?;
        builder.finish(&footer)
    }

    /// Returns all entries, in the order of the contents; those of them too that are outdated.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Returns all frames that hold objects, in the order of the contents.
    pub fn frames(&self) -> &[FrameRef] {
        &self.frames
    }

    /// Returns the frame of an entry of this index.
    pub fn frame(&self, entry: &IndexEntry) -> &FrameRef {
        &self.frames[entry.frame as usize]
    }

    /// Returns the objects of a frame of this index: what `read_frame` wants.
    pub fn frame_entries(&self, frame: &FrameRef) -> &[IndexEntry] {
        &self.entries[frame.entries.clone()]
    }

    /// Returns the size that the contents must have, in bytes.
    pub fn contents_size(&self) -> u64 {
        self.contents_size
    }
}

/// The index as far as it has been read.
struct Builder {
    limits: Limits,
    entries: Vec<IndexEntry>,
    frames: Vec<FrameRef>,
    path: String,
    seen: HashSet<u128>,
    /// The objects that stand here more than once.
    again: HashSet<u128>,
    types: HashMap<TypeKey, Arc<TypeKey>>,
    namespaces: HashSet<Arc<str>>,
    owners: Shared<[String]>,
    labels: Shared<BTreeMap<String, String>>,
}

impl Builder {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: Vec::new(),
            frames: Vec::new(),
            path: String::new(),
            seen: HashSet::new(),
            again: HashSet::new(),
            types: HashMap::new(),
            namespaces: HashSet::new(),
            owners: Shared::new(),
            labels: Shared::new(),
        }
    }

    fn add(&mut self, line: &ReadLine<'_>, number: u64) -> Result<(), ArchiveError> {
        let count = self.entries.len() as u64;
        if count >= self.limits.max_entries {
            return Err(ArchiveError::TooLarge {
                what: "the list of entries".into(),
                size: count + 1,
                limit: self.limits.max_entries,
            });
        }
        let type_key = self.type_key(line)?;
        self.path.clear();
        EntryPath::new(&type_key, line.namespace.as_deref(), &line.name).write(&mut self.path)?;
        let id = path_id(&self.path);
        match (self.seen.insert(id), line.again) {
            (true, false) => {}
            (false, true) => {
                self.again.insert(id);
            }
            (false, false) => {
                return Err(ArchiveError::Duplicate {
                    path: self.path.clone(),
                });
            }
            (true, true) => return Err(self.wrong(number, "says that it was there before")),
        }
        let (frame, offset, length) = self.place(line, number)?;
        let sha256 = parse_hex(&line.sha256)
            .ok_or_else(|| self.wrong(number, "has a SHA-256 that is not 64 hexadecimal digits"))?;
        let entry = IndexEntry {
            type_key,
            namespace: line.namespace.as_deref().map(|name| self.namespace(name)),
            name: line.name.as_ref().into(),
            uid: line.uid.as_ref().into(),
            owners: self.owners.get::<Vec<String>>(line.owners, number)?,
            labels: self.labels.get::<BTreeMap<_, _>>(line.labels, number)?,
            body: line.body,
            outdated: false,
            frame,
            offset,
            length,
            sha256,
        };
        self.frames[frame as usize].entries.end += 1;
        self.entries.push(entry);
        Ok(())
    }

    /// Checks where an entry claims to be, and opens its frame if it is the first there.
    fn place(&mut self, line: &ReadLine<'_>, number: u64) -> Result<(u32, u32, u32), ArchiveError> {
        let too_large = |size, limit| ArchiveError::TooLarge {
            what: format!("entry {:?}", self.path),
            size,
            limit,
        };
        if line.length > self.limits.max_entry {
            return Err(too_large(line.length, self.limits.max_entry));
        }
        // Places within a frame are kept in 32 bits.
        let max_frame = self.limits.max_frame.min(u64::from(u32::MAX) / 2);
        let end = line.offset.saturating_add(line.length);
        if end > max_frame {
            return Err(too_large(end, max_frame));
        }
        let wrong = |reason| Err(self.wrong(number, reason));
        if !line.offset.is_multiple_of(HEADER) {
            return wrong("does not begin at a block of the tar");
        }
        let frame_end = line.frame_offset.checked_add(line.frame_length);
        if line.frame_length == 0 || frame_end.is_none() {
            return wrong("has a frame of an impossible size");
        }

        let count = self.entries.len();
        let last = self.frames.last().zip(self.entries.last());
        let (new, before) = match last {
            // The first frame begins with the version: a header and one block.
            None if line.frame_offset != 0 => return wrong("is not in the first frame"),
            None => (true, 2 * HEADER),
            Some((frame, entry)) if frame.offset == line.frame_offset => {
                if frame.len != line.frame_length {
                    return wrong("gives its frame another size than the entry before");
                }
                (false, entry.end())
            }
            Some((frame, _)) if frame.offset + frame.len == line.frame_offset => (true, 0),
            Some(_) => return wrong("is in a frame that does not follow the one before"),
        };
        if line.offset < before + HEADER {
            return wrong("overlaps what is before it in its frame");
        }
        if new {
            self.check_last_frame()?;
            let number =
                u32::try_from(self.frames.len()).map_err(|_| too_large(u64::MAX, max_frame))?;
            self.frames.push(FrameRef {
                number,
                offset: line.frame_offset,
                len: line.frame_length,
                entries: count..count,
            });
        }
        let frame = self.frames.len().saturating_sub(1);
        let narrow = |value: u64| u32::try_from(value).map_err(|_| too_large(value, max_frame));
        Ok((
            narrow(frame as u64)?,
            narrow(line.offset)?,
            narrow(line.length)?,
        ))
    }

    /// Checks that the frame listed last is no larger than what is in it can make it, so that a reader may fetch it
    /// into memory.
    fn check_last_frame(&self) -> Result<(), ArchiveError> {
        let Some((frame, entry)) = self.frames.last().zip(self.entries.last()) else {
            return Ok(());
        };
        check_packed_size(frame.number, frame.len, entry.end())
    }

    fn finish(self, footer: &FooterLine) -> Result<Index, ArchiveError> {
        self.check_last_frame()?;
        let disagree = |what, announced, listed| {
            if announced == listed {
                return Ok(());
            }
            Err(ArchiveError::Footer {
                what,
                announced,
                listed,
            })
        };
        disagree("entries", footer.entries, self.entries.len() as u64)?;
        match self.frames.last() {
            Some(frame) => disagree(
                "bytes of contents",
                footer.contents_size,
                frame.offset + frame.len,
            )?,
            // Nothing but the version is in it.
            None => check_packed_size(0, footer.contents_size, 2 * HEADER)?,
        }
        let mut entries = self.entries;
        entries.shrink_to_fit();
        mark_outdated(&mut entries, &self.again);
        Ok(Index {
            entries,
            frames: self.frames,
            contents_size: footer.contents_size,
        })
    }

    fn type_key(&mut self, line: &ReadLine<'_>) -> Result<Arc<TypeKey>, ArchiveError> {
        // Entries come type by type, so the one before nearly always has the answer.
        if let Some(last) = self.entries.last() {
            let key = &last.type_key;
            if key.resource == line.resource
                && key.group == line.group
                && key.version == line.version
                && key.kind == line.kind
            {
                return Ok(Arc::clone(key));
            }
        }
        let key = TypeKey {
            group: line.group.as_ref().into(),
            version: line.version.as_ref().into(),
            kind: line.kind.as_ref().into(),
            resource: line.resource.as_ref().into(),
        };
        check_type(&key)?;
        let shared = self
            .types
            .entry(key)
            .or_insert_with_key(|key| Arc::new(key.clone()));
        Ok(Arc::clone(shared))
    }

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.namespaces.get(name) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = name.into();
        self.namespaces.insert(Arc::clone(&shared));
        shared
    }

    fn wrong(&self, line: u64, reason: &'static str) -> ArchiveError {
        ArchiveError::IndexEntry {
            path: self.path.clone(),
            line,
            reason,
        }
    }
}

/// Marks all but the last entry of each of these objects.
fn mark_outdated(entries: &mut [IndexEntry], again: &HashSet<u128>) {
    if again.is_empty() {
        return;
    }
    let mut later = HashSet::with_capacity(again.len());
    for entry in entries.iter_mut().rev() {
        let id = path_id(&entry.path());
        entry.outdated = again.contains(&id) && !later.insert(id);
    }
}

/// Checks a compressed size against what is in the frame.
fn check_packed_size(frame: u32, packed: u64, plain: u64) -> Result<(), ArchiveError> {
    let limit = usize::try_from(plain + TAR_END).map_or(u64::MAX, |plain| {
        zstd::zstd_safe::compress_bound(plain) as u64
    });
    if packed <= limit {
        return Ok(());
    }
    Err(ArchiveError::Frame {
        frame,
        reason: format!("has {packed} bytes, but what is in it makes at most {limit}"),
    })
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).ok()?;
    }
    Some(bytes)
}
