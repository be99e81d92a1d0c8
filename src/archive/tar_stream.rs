//! Walks over a tar without trusting it.
//!
//! The tar crate reads extension headers of any size into memory and takes a missing end for an end; so only its
//! header parsing is used.

use std::io::Read;

use super::error::{ArchiveError, Part};
use super::layout::MAX_PATH;

/// The size of a tar block, in bytes.
pub(crate) const BLOCK: usize = 512;
/// The largest extension header: a long path, or the handful of records that PAX writers add.
const MAX_EXTENSION: u64 = MAX_PATH as u64 + 1024;

/// Returns how many bytes fill the last block of something of `length` bytes.
pub(crate) fn padding(length: usize) -> usize {
    (BLOCK - length % BLOCK) % BLOCK
}

/// A tar being read.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    source: R,
    /// Bytes read.
    position: u64,
    max_entry: u64,
    path: String,
    body: Vec<u8>,
}

/// An entry of a [`TarStream`], valid until the next one.
#[derive(Debug)]
pub(crate) struct TarEntry<'a> {
    pub(crate) path: &'a str,
    /// Where the body begins in the tar.
    pub(crate) offset: u64,
    pub(crate) body: &'a [u8],
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(source: R, max_entry: u64) -> Self {
        Self {
            source,
            position: 0,
            max_entry,
            path: String::new(),
            body: Vec::new(),
        }
    }

    /// Returns the next entry, or none where the tar's end or the source's end is.
    ///
    /// [`TarStream::end`] tells these two apart.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry<'_>>, ArchiveError> {
        let mut long_path: Option<String> = None;
        loop {
            let mut block = [0; BLOCK];
            match self.read_block(&mut block)? {
                0 if long_path.is_none() => return Ok(None),
                BLOCK => {}
                _ => return Err(cut("the header of an entry")),
            }
            if block == [0; BLOCK] {
                if long_path.is_some() {
                    return Err(cut("the entry after an extension header"));
                }
                return Ok(None);
            }
            let header = tar::Header::from_byte_slice(&block);
            let path = header_path(header, long_path.as_deref())?;
            let bad = |reason: &str| ArchiveError::Entry {
                path: path.clone(),
                reason: reason.to_owned(),
            };
            if !checksum_matches(header) {
                return Err(bad("has a damaged header"));
            }
            let size = header
                .entry_size()
                .map_err(|_| bad("has no readable size"))?;
            let kind = header.entry_type();
            let extension = kind.is_gnu_longname()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !extension && !kind.is_file() {
                return Err(bad("is not a regular file"));
            }
            let limit = if extension {
                MAX_EXTENSION
            } else {
                self.max_entry
            };
            if size > limit {
                let what = format!("entry {path:?}");
                return Err(ArchiveError::TooLarge { what, size, limit });
            }
            let offset = self.position;
            self.read_body(size)?;
            if !extension {
                self.path = path;
                return Ok(Some(TarEntry {
                    path: &self.path,
                    offset,
                    body: &self.body,
                }));
            }
            if kind.is_pax_global_extensions() {
                continue;
            }
            let found = if kind.is_gnu_longname() {
                Some(self.body.strip_suffix(&[0]).unwrap_or(&self.body).to_vec())
            } else {
                pax_path(&self.body).map_err(bad)?
            };
            if long_path.is_some() {
                return Err(bad("has two long names"));
            }
            // An extension without a path still belongs to the next entry; that needs no note.
            if let Some(found) = found {
                let text =
                    String::from_utf8(found).map_err(|_| bad("has a name that is not UTF-8"))?;
                long_path = Some(text);
            }
        }
    }

    /// Reads what follows the last entry, which must be two blocks of zeros or more, and nothing else.
    pub(crate) fn end(mut self, last_end: u64) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK];
        loop {
            match self.read_block(&mut block)? {
                0 => break,
                read if block[..read].iter().any(|byte| *byte != 0) => {
                    return Err(ArchiveError::Trailing {
                        part: Part::Contents,
                    });
                }
                _ => {}
            }
        }
        if self.position < last_end + 2 * BLOCK as u64 {
            return Err(cut("the end of the tar"));
        }
        Ok(())
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads up to a block; less only at the source's end.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(ArchiveError::reading(
                        Part::Contents,
                        "the rest of a frame",
                        error,
                    ));
                }
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Reads a body and its padding. Grows with what comes, not with what is announced.
    fn read_body(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.body.clear();
        let padded = size.next_multiple_of(BLOCK as u64);
        let read = (&mut self.source)
            .take(padded)
            .read_to_end(&mut self.body)
            .map_err(|error| ArchiveError::reading(Part::Contents, "the rest of a frame", error))?;
        self.position += read as u64;
        if (read as u64) < padded {
            return Err(cut("the rest of an entry"));
        }
        let size = usize::try_from(size).map_err(|_| cut("the rest of an entry"))?;
        self.body.truncate(size);
        Ok(())
    }
}

fn cut(missing: &'static str) -> ArchiveError {
    ArchiveError::Truncated {
        part: Part::Contents,
        missing,
    }
}

fn header_path(header: &tar::Header, long: Option<&str>) -> Result<String, ArchiveError> {
    if let Some(long) = long {
        return Ok(long.to_owned());
    }
    let bytes = header.path_bytes();
    String::from_utf8(bytes.into_owned()).map_err(|error| ArchiveError::Entry {
        path: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        reason: "has a name that is not UTF-8".into(),
    })
}

/// A header's checksum is the sum of its bytes, its own field counted as spaces.
fn checksum_matches(header: &tar::Header) -> bool {
    let bytes = header.as_bytes();
    let sum = bytes[..148]
        .iter()
        .chain(&bytes[156..])
        .fold(8 * u32::from(b' '), |sum, byte| sum + u32::from(*byte));
    header.cksum().is_ok_and(|stored| stored == sum)
}

/// Returns the path from PAX records.
fn pax_path(records: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut path = None;
    for record in tar::PaxExtensions::new(records) {
        let record = record.map_err(|_| "has a damaged PAX header")?;
        match record.key_bytes() {
            b"path" => path = Some(record.value_bytes().to_vec()),
            // Readers disagree on which size counts, so a file with two is read differently by each.
            b"size" => return Err("has its size in a PAX header"),
            key if key.starts_with(b"GNU.sparse") => return Err("is a sparse file"),
            _ => {}
        }
    }
    Ok(path)
}
