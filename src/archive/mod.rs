//! The backup file: a tar of independent zstd frames, and the index that says where in it each object is.
//!
//! This room turns objects into the bytes of the two files and back. It knows no bucket and no cluster: bytes go to a
//! [`std::io::Write`] and come from a [`std::io::Read`] or a slice. What it reads it does not trust: an [`Index`] is
//! checked as a whole before anybody acts on it, a frame is checked against its index before a body is handed out, and
//! nothing is allocated on the word of a file beyond its [`Limits`].
//!
//! Guarantees of what is written:
//! - Same entries in, same bytes out.
//! - `tar --zstd -tf` and `zstd -d` work on the contents, `zstd -d` on the index.
//! - An entry is never split over two frames, so one object is read with one ranged GET.

mod error;
mod index;
mod layout;
mod line;
mod read;
mod tar_stream;
mod types;
mod write;

#[cfg(test)]
mod tests;

pub use error::{ArchiveError, Part};
pub use index::{FrameRef, Index, IndexEntry};
pub use layout::{EntryPath, FORMAT_VERSION, VERSION_PATH, entry_path, parse_path};
pub use read::{FrameBodies, read_all, read_contents, read_frame, unpack};
pub use types::{BodyKind, EntryHeader, Limits, TypeKey};
pub use write::{ArchiveWriter, Summary, WriteOptions};
