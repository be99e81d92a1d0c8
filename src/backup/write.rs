//! Carries objects from the collector through the archive writer into the location, all three at once.
//!
//! The archive is compressed on a thread of its own; bounded channels on both sides make the cluster's reading wait for
//! the store's writing.

use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::BackupError;
use super::collect::{Batch, Collected, Collector, NamespaceNames, TypeFields};
use super::hooks::HookCounts;
use crate::api::error::chain;
use crate::api::{Part, Results};
use crate::archive::{ArchiveWriter, BodyKind, Summary, WriteOptions};
use crate::storage::{PartKind, PartUpload, Run, StorageError};

/// Pages that wait for the archive writer, and frames that wait for the store.
const QUEUE: usize = 2;

/// What was stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) parts: Vec<Part>,
    /// Objects that the filters chose.
    pub(crate) selected: u64,
    /// Objects stored in all.
    pub(crate) items: u64,
    /// The hooks of chosen pods.
    pub(crate) hooks: HookCounts,
}

/// A piece of a part on its way to the store. Only `End` makes a part whole: a channel that just closes was left
/// behind by a writer that failed.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Stores contents and index of a run while the cluster is being read.
pub(crate) async fn store(
    run: &Run,
    collector: Collector<'_>,
    results: &mut Results,
) -> Result<Stored, BackupError> {
    let contents = run.part(PartKind::Contents).await?;
    let index = run.part(PartKind::Index).await?;
    let (contents_sender, contents_pieces) = mpsc::channel(QUEUE);
    let (index_sender, index_pieces) = mpsc::channel(QUEUE);
    let (batch_sender, batches) = mpsc::channel(QUEUE);
    let writer =
        tokio::task::spawn_blocking(move || write_archive(batches, contents_sender, index_sender));

    let (collected, contents, index) = tokio::join!(
        collector.collect(batch_sender, results),
        upload(contents, contents_pieces),
        upload(index, index_pieces),
    );
    // The writer has ended by now: its input is closed, and so are its outputs.
    let written = writer.await.unwrap_or_else(|panic| Err(panic.to_string()));

    // A store that failed is the reason why the writer and the collector stopped.
    let contents = contents?;
    let index = index?;
    let written = written.map_err(BackupError::Archive)?;
    let (
        Some(contents),
        Some(index),
        Ok(Collected {
            selected,
            items,
            hooks,
        }),
    ) = (contents, index, collected)
    else {
        return Err(BackupError::Archive("the writer ended early".to_owned()));
    };
    for (namespace, problem) in &written.refused {
        results.errors.add(Some(namespace), problem);
    }
    tracing::info!(
        items = written.summary.entries,
        contents_bytes = written.summary.contents_bytes,
        uncompressed_bytes = written.summary.uncompressed_bytes,
        "the objects are stored"
    );
    Ok(Stored {
        parts: vec![contents, index],
        selected,
        items: items - written.refused.len() as u64,
        hooks,
    })
}

/// Stores the pieces of one part; `None` if they ended before the part was whole.
async fn upload(
    mut part: PartUpload,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Option<Part>, StorageError> {
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Bytes(bytes) => part.write(bytes).await?,
            Piece::End => return part.finish().await.map(Some),
        }
    }
    part.abort().await?;
    Ok(None)
}

struct Written {
    summary: Summary,
    /// Objects that the archive does not take, by namespace, and why.
    refused: Vec<(String, String)>,
}

fn write_archive(
    mut batches: mpsc::Receiver<Batch>,
    contents: mpsc::Sender<Piece>,
    index: mpsc::Sender<Piece>,
) -> Result<Written, String> {
    let mut writer = ArchiveWriter::new(
        PieceWriter(contents.clone()),
        PieceWriter(index.clone()),
        WriteOptions::default(),
    )
    .map_err(|error| chain(&error))?;
    let mut namespaces = NamespaceNames::default();
    let mut type_fields = TypeFields::default();
    let mut refused = Vec::new();
    while let Some(batch) = batches.blocking_recv() {
        for taken in &batch.items {
            let entry = batch.entry(taken, &mut namespaces);
            let item = &taken.item;
            let appended = match entry.body {
                BodyKind::TypeAdded => {
                    let fields = type_fields.of(&batch.type_key);
                    writer.append(&entry, &[fields, &item.body[1..]])
                }
                BodyKind::AsServed | BodyKind::Replaced => writer.append(&entry, &[&item.body]),
            };
            match appended {
                Ok(()) => {}
                Err(error) if error.is_recoverable() => {
                    let problem = format!(
                        "{} {}: {}",
                        batch.type_key.group_resource(),
                        item.header.name,
                        chain(&error)
                    );
                    refused.push((item.header.namespace.clone(), problem));
                }
                Err(error) => return Err(chain(&error)),
            }
        }
    }
    // A collector that failed closes the channel, too; it leaves `collected` an error, and the parts are discarded.
    let summary = writer.finish().map_err(|error| chain(&error))?;
    for sender in [contents, index] {
        // An upload that is gone reports its own error.
        drop(sender.blocking_send(Piece::End));
    }
    Ok(Written { summary, refused })
}

/// Sends what is written to the upload; blocks while that is behind.
#[derive(Debug)]
struct PieceWriter(mpsc::Sender<Piece>);

impl io::Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Piece::Bytes(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
