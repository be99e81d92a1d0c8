//! Opens a backup: its index as a whole, its objects frame by frame.
//!
//! Memory: the index, and the frames in use, which together stay within [`FRAME_BUDGET`] (or are a single one, if that is
//! larger). A frame counts until the last of its objects is dealt with, since by then there are several copies of each:
//! parsed, transformed, on the wire.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::api::error::chain;
use crate::api::{Backup, Part, VolumeSnapshot, names};
use crate::archive::{ArchiveError, FrameRef, Index, IndexEntry, Limits, read_frame};
use crate::providers::store::ErrorKind;
use crate::storage::{BackupKey, BackupKeys, Location, PartKind, StorageError};

use super::foreign;
use super::report::list_names;

/// How many bytes of decompressed frames are in use at once.
const FRAME_BUDGET: usize = 8 << 20;
/// How many frames are read ahead.
const READ_AHEAD: usize = 2;
/// How often a frame is asked for.
const TRIES: u32 = 5;
/// The first pause between two tries; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Why a backup, or a frame of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(
        "a temporary file in {directory} cannot be written: {error}; backups of Velero and of Ark up to 0.10, and those \
         in plugins' stores, are read through one of about their size, so give the server room there, or another \
         directory in TMPDIR"
    )]
    NoRoom { directory: String, error: io::Error },
    #[error("{0}")]
    Incomplete(String),
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{}", chain(.0))]
    Archive(#[from] ArchiveError),
    #[error("{key} is damaged: {problem}")]
    Damaged { key: String, problem: String },
    #[error("reading the index ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// An open backup.
#[derive(Debug)]
pub(super) struct Opened {
    contents: Contents,
    index: Index,
    volumes: Vec<VolumeSnapshot>,
    /// What the user should know of the backup, a sentence each.
    doubts: Vec<String>,
    budget: Arc<Semaphore>,
    bytes_read: AtomicU64,
}

/// Where frames are read from.
#[derive(Debug)]
enum Contents {
    /// The location, and the key there.
    Stored(Location, String),
    /// A file, for a backup that another program made, or that lies where parts of an object cannot be read.
    File(Arc<File>),
}

/// An object's body, and its hold on the budget.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// To be kept for as long as what was made of the bytes.
    pub(super) share: Share,
}

/// The share of the budget that a frame takes, given back when the last of its objects is dealt with.
#[derive(Clone, Debug)]
pub(super) struct Share {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// What a frame held of what was asked for: each entry's place in the index with its body; or, if it cannot be read,
/// the places and why.
pub(super) type FrameResult = Result<Vec<(usize, Body)>, (Vec<usize>, OpenError)>;

impl Opened {
    /// Reads and checks the index of a backup.
    pub(super) async fn open(
        location: &Location,
        backup: &Backup,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        let record = location.read_record(name).await?;
        let mut doubts = Vec::new();
        if record.is_foreign() && !backup.status.clone().unwrap_or_default().phase.is_usable() {
            doubts.push(format!(
                "backup {name} has failed where it was made; it may lack objects"
            ));
        }
        let unread =
            |error: StorageError| format!("what was saved of volumes is not known: {error}");
        let volumes = location
            .volume_snapshots(&record)
            .await
            .unwrap_or_else(|error| {
                doubts.push(unread(error));
                Vec::new()
            });
        match location.data_elsewhere(&record).await {
            Ok(elsewhere) if elsewhere.is_empty() => {}
            Ok(elsewhere) => doubts.push(format!(
                "the data of {} volume{} was saved in a way that this server cannot bring back: {}",
                elsewhere.len(),
                if elsewhere.len() == 1 { "" } else { "s" },
                list_names(&elsewhere)
            )),
            Err(error) => doubts.push(unread(error)),
        }
        let budget = Arc::new(Semaphore::new(FRAME_BUDGET));
        if record.is_foreign() {
            let (key, _) = record
                .part_key(PartKind::Contents)
                .ok_or_else(|| OpenError::Incomplete(format!("backup {name} has no contents")))?;
            tracing::info!(key, layout = ?record.layout, "reading a backup that another program made");
            let foreign = foreign::open(location, &key, limits).await?;
            return Ok(Self {
                contents: Contents::File(Arc::new(foreign.contents)),
                index: foreign.index,
                volumes,
                doubts,
                budget,
                bytes_read: AtomicU64::new(foreign.read),
            });
        }
        // What the caller has of it is what counts: the record may be another one's by now.
        let keys = BackupKeys::new(name)?;
        let parts = backup
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.parts);
        let part = |wanted: PartKind| {
            parts
                .iter()
                .find(|part| matches!(keys.read(&part.key), Some(BackupKey::Part(_, kind)) if kind == wanted))
                .cloned()
        };
        let (Some(contents), Some(index)) = (part(PartKind::Contents), part(PartKind::Index))
        else {
            return Err(OpenError::Incomplete(format!(
                "backup {name} names no contents and index in its record; it is damaged, or of a version of Ark that this \
                 one does not know"
            )));
        };
        let index = read_index(location, &index, limits).await?;
        if index.contents_size() != contents.size {
            return Err(OpenError::Damaged {
                key: contents.key,
                problem: format!(
                    "it has {} bytes; its index describes {}",
                    contents.size,
                    index.contents_size()
                ),
            });
        }
        let (contents, read) = if location.capabilities().ranges {
            (Contents::Stored(location.clone(), contents.key), 0)
        } else {
            // Each frame would be read from the beginning of the object, such as from a plugin's store.
            let file = download(location, &contents.key).await?;
            (Contents::File(Arc::new(file)), contents.size)
        };
        let opened = Self {
            contents,
            index,
            volumes,
            doubts,
            budget,
            bytes_read: AtomicU64::new(read),
        };
        // The end is there: contents that are missing or cut off are noticed before anything is created.
        if let Some(last) = opened.index.frames().last() {
            opened.try_frame(last, &[]).await?;
        }
        Ok(opened)
    }

    /// Returns what the user should know of the backup, a sentence each.
    pub(super) fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// Returns how many bytes of the contents have been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Returns what the backup did with its volumes.
    pub(super) fn volumes(&self) -> &[VolumeSnapshot] {
        &self.volumes
    }

    /// Returns the objects of the backup.
    pub(super) fn entries(&self) -> &[IndexEntry] {
        self.index.entries()
    }

    /// Reads the bodies of entries by their places in the index, frame by frame, each frame once.
    ///
    /// Whoever keeps bodies keeps later frames from being read.
    pub(super) fn bodies(&self, places: Vec<usize>) -> impl Stream<Item = FrameResult> + Send + '_ {
        let mut frames: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for place in places {
            frames
                .entry(self.index.entries()[place].frame)
                .or_default()
                .push(place);
        }
        stream::iter(frames.into_values())
            .map(|places| self.frame(places))
            .buffered(READ_AHEAD)
    }

    /// Reads and checks every frame that holds one of these entries, and keeps nothing.
    pub(super) async fn verify(&self, places: Vec<usize>) -> Result<(), OpenError> {
        let mut frames = std::pin::pin!(self.bodies(places));
        while let Some(frame) = frames.next().await {
            frame.map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    async fn frame(&self, places: Vec<usize>) -> FrameResult {
        let Some(first) = places.first() else {
            return Ok(Vec::new());
        };
        let frame = self.index.frame(&self.index.entries()[*first]);
        match self.try_frame(frame, &places).await {
            Ok(bodies) => Ok(bodies),
            Err(error) => Err((places, error)),
        }
    }

    async fn try_frame(
        &self,
        frame: &FrameRef,
        places: &[usize],
    ) -> Result<Vec<(usize, Body)>, OpenError> {
        let entries = self.index.frame_entries(frame);
        let size = entries
            .last()
            .map_or(0, |last| last.offset as usize + last.length as usize);
        let share = u32::try_from(size.clamp(1, FRAME_BUDGET)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.budget)
            .acquire_many_owned(share)
            .await
            .expect("nobody closes the semaphore");
        let share = Share {
            _permit: Arc::new(share),
        };
        let compressed = self.fetch(frame).await?;
        let bodies: Vec<Bytes> = read_frame(&compressed, entries)?
            .iter()
            .map(|(_, body)| body)
            .collect();
        Ok(places
            .iter()
            .filter_map(|place| {
                let bytes = bodies.get(place.checked_sub(frame.entries.start)?)?.clone();
                let share = share.clone();
                Some((*place, Body { bytes, share }))
            })
            .collect())
    }

    /// Reads a frame's bytes, again where the store's failure may pass.
    async fn fetch(&self, frame: &FrameRef) -> Result<Bytes, OpenError> {
        let (location, key) = match &self.contents {
            Contents::Stored(location, key) => (location, key),
            Contents::File(file) => return read_file(Arc::clone(file), frame).await,
        };
        let range = frame.offset..frame.offset + frame.len;
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match location.read_range(key, range.clone()).await {
                Ok(bytes) => {
                    self.bytes_read
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(error)
                    if tries < TRIES
                        && matches!(
                            error.store_kind(),
                            Some(ErrorKind::Unreachable | ErrorKind::Other)
                        ) =>
                {
                    tracing::debug!(%error, tries, "reading a frame again after a failure");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads a stored object into a file that has no name and goes with the process.
async fn download(location: &Location, key: &str) -> Result<File, OpenError> {
    let no_room = |error| OpenError::NoRoom {
        directory: std::env::temp_dir().display().to_string(),
        error,
    };
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await?;
    let mut file = tokio::fs::File::from_std(file.map_err(no_room)?);
    let mut pieces = location.open(key).await?;
    while let Some(piece) = pieces.try_next().await.map_err(StorageError::from)? {
        file.write_all(&piece).await.map_err(no_room)?;
    }
    file.flush().await.map_err(no_room)?;
    Ok(file.into_std().await)
}

/// Reads a frame from the temporary file.
async fn read_file(file: Arc<File>, frame: &FrameRef) -> Result<Bytes, OpenError> {
    let (offset, len) = (frame.offset, frame.len);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    let bytes = read.await?.map_err(|error| OpenError::NoRoom {
        directory: std::env::temp_dir().display().to_string(),
        error,
    })?;
    Ok(bytes.into())
}

/// Reads an index and checks it against its part's size and SHA-256 on the way.
async fn read_index(location: &Location, part: &Part, limits: Limits) -> Result<Index, OpenError> {
    let pieces = location.open(&part.key).await?;
    let mut source = StreamReader::new(pieces.map_err(io::Error::other));
    let handle = tokio::runtime::Handle::current();
    // Parsing is synchronous, and blocks where the store is slower than it.
    let (index, size, digest) = tokio::task::spawn_blocking(move || {
        let mut hashing = Hashing {
            source: SyncIoBridge::new_with_handle(&mut source, handle.clone()),
            size: 0,
            digest: Sha256::new(),
        };
        let index = Index::read(&mut hashing, &limits);
        let (mut size, mut digest) = (hashing.size, hashing.digest);
        if index.is_ok() {
            // Bytes after the end would be part of the hash.
            let mut rest = [0; 4096];
            while let Ok(read @ 1..) = handle.block_on(pin!(source.read(&mut rest))) {
                size += read as u64;
                digest.update(&rest[..read]);
            }
        }
        (index, size, digest)
    })
    .await?;
    let index = index?;
    let found = names::hex(&digest.finalize());
    if size != part.size || !found.eq_ignore_ascii_case(&part.sha256) {
        return Err(OpenError::Damaged {
            key: part.key.clone(),
            problem: "its size or SHA-256 is not what the backup's record says".to_owned(),
        });
    }
    Ok(index)
}

/// A reader that hashes what passes through it.
struct Hashing<R> {
    source: R,
    size: u64,
    digest: Sha256,
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.size += read as u64;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
