//! `ark backup download`: saves a backup's objects as the archive that they are stored in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::api::{Backup, DownloadTargetKind, Part, names};
use crate::client::context::Context;
use crate::client::download::{DownloadArgs, Downloads, Extent, Sink};
use crate::client::{Outcome, objects, output};
use crate::storage::{BackupKey, BackupKeys, PartKind};

/// How many bytes tell what an archive is.
const MAGIC: usize = 4;

/// Which backup to save, and where.
#[derive(Args, Debug)]
pub struct BackupDownloadArgs {
    /// Name of the backup
    name: String,
    /// File to write [default: NAME-data.tar.zst, or NAME-data.tar.gz of a backup of an earlier Ark]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    download: DownloadArgs,
}

pub(crate) async fn run(context: &Context, args: BackupDownloadArgs) -> anyhow::Result<Outcome> {
    let means = args.download.read()?;
    let cluster = context.cluster().await?;
    let downloads = Downloads::new(context, &cluster, means);
    let backup: Backup = objects::get(&cluster, &args.name).await?;
    let name = backup.name_any();
    if let Some(phase) = backup.status.as_ref().map(|status| &status.phase)
        && !phase.is_terminal()
    {
        bail!(
            "backup {name:?} has not ended; wait until `ark backup get {name}` shows that it has"
        );
    }
    let mut saving = match args.output {
        Some(path) => Saving::new(&name, Destination::File(path), args.force),
        None => Saving::new(&name, Destination::Folder(PathBuf::new()), args.force),
    };
    if matches!(saving.destination, Destination::File(_)) {
        // Whoever named a file that is there hears so before anything is asked for.
        saving.open(&[])?;
    }
    downloads
        .read(
            DownloadTargetKind::BackupContents,
            &name,
            Extent::Present,
            &mut saving,
        )
        .await?;
    let (path, size) = saving.finish(contents(&backup))?;
    output::line(&format!(
        "Backup \"{name}\" has been saved as {} ({size} bytes).",
        path.display()
    ))?;
    Ok(Outcome::Done)
}

/// Returns what the backup's record says of its objects; nothing if another program made it.
fn contents(backup: &Backup) -> Option<&Part> {
    let keys = BackupKeys::new(&backup.name_any()).ok()?;
    let parts = &backup.status.as_ref()?.parts;
    parts.iter().find(|part| {
        matches!(
            keys.read(&part.key),
            Some(BackupKey::Part(_, PartKind::Contents))
        )
    })
}

/// Where to save an archive.
enum Destination {
    /// As this file.
    File(PathBuf),
    /// In this folder, under a name that says what is in it.
    Folder(PathBuf),
}

/// A file that is being written, and removed unless it is finished.
struct Saving {
    backup: String,
    destination: Destination,
    force: bool,
    /// The first bytes, until they suffice to choose a path.
    first: BytesMut,
    open: Option<Open>,
    hash: Sha256,
    size: u64,
    bar: ProgressBar,
}

struct Open {
    file: File,
    /// What is written to: the path itself, or a neighbour that will replace it.
    at: PathBuf,
    path: PathBuf,
}

impl Saving {
    fn new(backup: &str, destination: Destination, force: bool) -> Self {
        Self {
            backup: backup.to_owned(),
            destination,
            force,
            first: BytesMut::new(),
            open: None,
            hash: Sha256::new(),
            size: 0,
            bar: ProgressBar::hidden(),
        }
    }

    /// Opens the file; `first` is what its contents begin with.
    fn open(&mut self, first: &[u8]) -> anyhow::Result<&mut Open> {
        let path = match &self.destination {
            Destination::File(path) => path.clone(),
            Destination::Folder(folder) => {
                folder.join(format!("{}-data{}", self.backup, extension(first)))
            }
        };
        let open = if self.force {
            replace(&path)
        } else {
            create(&path)
        }?;
        Ok(self.open.insert(open))
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(open) = &mut self.open else {
            bail!("the file is not open");
        };
        open.file
            .write_all(bytes)
            .with_context(|| format!("writing {}", open.at.display()))?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.bar.set_position(self.size);
        Ok(())
    }

    /// Ends the file and returns where it is and how long.
    ///
    /// # Errors
    /// It is empty, or not what the backup's record says it is.
    fn finish(mut self, expected: Option<&Part>) -> anyhow::Result<(PathBuf, u64)> {
        if !self.first.is_empty() {
            let first = self.first.split();
            if self.open.is_none() {
                self.open(&first)?;
            }
            self.write(&first)?;
        }
        self.bar.finish_and_clear();
        let backup = &self.backup;
        if self.size == 0 {
            bail!("what is stored of backup {backup:?} is empty; it cannot be saved or restored");
        }
        let hash = names::hex(&std::mem::take(&mut self.hash).finalize());
        if let Some(part) = expected
            && (part.size != self.size || !part.sha256.eq_ignore_ascii_case(&hash))
        {
            bail!(
                "what came of backup {backup:?} is not what it was when it was made ({} bytes instead of {}, or other \
                 ones); try again, and if it stays so, the store has damaged it",
                self.size,
                part.size
            );
        }
        let Some(open) = &self.open else {
            bail!("the file is not open");
        };
        open.file
            .sync_all()
            .and_then(|()| {
                if open.at == open.path {
                    Ok(())
                } else {
                    fs::rename(&open.at, &open.path)
                }
            })
            .with_context(|| format!("writing {}", open.path.display()))?;
        let path = open.path.clone();
        // It is finished, and not to be removed.
        self.open = None;
        Ok((path, self.size))
    }
}

impl Sink for Saving {
    fn begin(&mut self, size: Option<u64>) {
        if !io::stderr().is_terminal() {
            return;
        }
        let template = if size.is_some() {
            "{spinner} {bytes} of {total_bytes} [{bytes_per_sec}, {eta} left]"
        } else {
            "{spinner} {bytes} [{bytes_per_sec}]"
        };
        self.bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn piece(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        if self.open.is_some() {
            return self.write(bytes);
        }
        self.first.extend_from_slice(bytes);
        if self.first.len() < MAGIC {
            return Ok(());
        }
        let first = self.first.split();
        self.open(&first)?;
        self.write(&first)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some(open) = self.open.take() {
            drop(open.file);
            if let Err(error) = fs::remove_file(&open.at) {
                output::note(&format!(
                    "The unfinished file {} could not be removed: {error}.",
                    open.at.display()
                ));
            }
        }
    }
}

/// Returns how the name of an archive ends that begins with these bytes.
fn extension(first: &[u8]) -> &'static str {
    match first {
        [0x1f, 0x8b, ..] => ".tar.gz",
        // A frame, or one to be skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => ".tar.zst",
        _ => ".tar",
    }
}

/// Creates a file that nobody else can read: there may be Secrets in it.
fn create(path: &Path) -> anyhow::Result<Open> {
    let file = private().create_new(true).open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            anyhow!(
                "{} is there already; name another file with --output, or replace it with --force",
                path.display()
            )
        } else {
            anyhow::Error::new(error).context(format!("creating {}", path.display()))
        }
    })?;
    Ok(Open {
        file,
        at: path.to_owned(),
        path: path.to_owned(),
    })
}

/// Creates a file beside `path` that will replace it, so that a download that fails costs nothing.
fn replace(path: &Path) -> anyhow::Result<Open> {
    let mut at = path.as_os_str().to_owned();
    at.push(".part");
    let at = PathBuf::from(at);
    let created = fs::remove_file(&at)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| private().create_new(true).open(&at));
    Ok(Open {
        file: created.with_context(|| format!("creating {}", at.display()))?,
        at,
        path: path.to_owned(),
    })
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
