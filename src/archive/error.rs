//! What can be wrong with an archive.

use std::fmt;
use std::io;

/// One of the two files of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The tar of objects.
    Contents,
    /// The list of entries.
    Index,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contents => "contents",
            Self::Index => "index",
        })
    }
}

/// A failed step of writing or reading an archive, with the entry or frame it concerns.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A path or a part of one that could lead out of its directory or cannot be stored.
    #[error("path {path:?} is refused: {reason}")]
    Path {
        /// The whole path, or the part that is wrong.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two entries of the same path.
    #[error("entry {path:?} is there twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// Something larger than the limits allow.
    #[error("{what} has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// The entry, line or file.
        what: String,
        /// Its size, or the size at which reading stopped.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The destination did not take the bytes; the archive is lost.
    #[error("cannot write the {part}")]
    Write {
        /// Which file.
        part: Part,
        /// The destination's error.
        #[source]
        source: io::Error,
    },
    /// The compressor failed; the archive is lost.
    #[error("cannot compress the {part}")]
    Compress {
        /// Which file.
        part: Part,
        /// The compressor's error.
        #[source]
        source: io::Error,
    },
    /// An entry for a writer whose earlier write failed.
    #[error("the archive is lost: an earlier write failed")]
    Lost,
    /// The caller's visitor gave up.
    #[error("reading was stopped at entry {path:?}")]
    Stopped {
        /// The entry it was given.
        path: String,
        /// Its reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The source failed, or its bytes are not zstd or tar.
    #[error("cannot read the {part}")]
    Read {
        /// Which file.
        part: Part,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file ends too early.
    #[error("the {part} is cut off: {missing} is missing")]
    Truncated {
        /// Which file.
        part: Part,
        /// What should have come.
        missing: &'static str,
    },
    /// Bytes after the end of the file's content.
    #[error("the {part} goes on after its end")]
    Trailing {
        /// Which file.
        part: Part,
    },
    /// A format this build does not read.
    #[error("archive format {version:?} is not supported: this build reads 2.x")]
    Version {
        /// The version found.
        version: String,
    },
    /// A line of the index that is not what it should be.
    #[error("line {line} of the index cannot be parsed")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// An entry of the index that contradicts the others or itself.
    #[error("entry {path:?} (line {line} of the index) {reason}")]
    IndexEntry {
        /// The entry.
        path: String,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The index's last line contradicts the lines before it.
    #[error("the index announces {announced} {what}, but lists {listed}")]
    Footer {
        /// What is counted.
        what: &'static str,
        /// The number in the last line.
        announced: u64,
        /// The number found.
        listed: u64,
    },
    /// A frame that is damaged or not what the index says.
    #[error("frame {frame} of the contents {reason}")]
    Frame {
        /// Number of the frame, from 0.
        frame: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A frame whose bytes are damaged.
    #[error("frame {frame} of the contents cannot be decompressed")]
    Decompress {
        /// Number of the frame, from 0.
        frame: u32,
        /// The decompressor's error.
        #[source]
        source: io::Error,
    },
    /// An entry of the contents that is not what it should be.
    #[error("entry {path:?} of the contents {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ArchiveError {
    /// Returns whether a writer that gave this error is as it was before the call and takes further entries.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::Path { .. } | Self::Duplicate { .. } | Self::TooLarge { .. }
        )
    }

    /// Tells an early end of a stream from its other failures.
    pub(crate) fn reading(part: Part, missing: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated { part, missing }
        } else {
            Self::Read { part, source }
        }
    }
}
