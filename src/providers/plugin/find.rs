//! Which files of the plugin directory are programs, and what their names say.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How deep below the plugin directory programs are looked for: a link to a folder above would make it endless.
const DEPTH: usize = 8;

/// A program in the plugin directory.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Program {
    /// Its file.
    pub(super) file: PathBuf,
    /// What changes with the file's content.
    pub(super) version: FileVersion,
    /// What its name says, if it is one of Ark 0.8's.
    pub(super) named: Option<OldName>,
}

/// What of a file tells whether it is still the same.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Changes with the rights, too.
    changed: (i64, i64),
}

impl FileVersion {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a file name of Ark 0.8 and 0.9 says: `ark-<kind>-<name>`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct OldName {
    pub(super) kind: OldKind,
    pub(super) name: String,
}

/// The kinds that such names know.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum OldKind {
    ObjectStore,
    BlockStore,
    /// Both of them.
    CloudProvider,
    BackupItemAction,
    RestoreItemAction,
}

impl OldName {
    /// Reads a file name.
    fn parse(file_name: &str) -> Option<Self> {
        let (kind, name) = file_name.strip_prefix("ark-")?.split_once('-')?;
        let kind = match kind {
            "objectstore" => OldKind::ObjectStore,
            "blockstore" => OldKind::BlockStore,
            "cloudprovider" => OldKind::CloudProvider,
            "backupitemaction" => OldKind::BackupItemAction,
            "restoreitemaction" => OldKind::RestoreItemAction,
            _ => return None,
        };
        (!name.is_empty()).then(|| Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// Finds the programs below a directory, sorted by file. A directory that is not there has none.
///
/// A folder that cannot be read, or a file that goes meanwhile, is left out.
///
/// # Errors
/// The directory itself cannot be read.
pub(super) fn programs(directory: &Path) -> io::Result<Vec<Program>> {
    let mut found = Vec::new();
    match fs::read_dir(directory) {
        Ok(entries) => take(entries, 1, &mut found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    found.sort();
    Ok(found)
}

fn take(entries: fs::ReadDir, depth: usize, found: &mut Vec<Program>) {
    for entry in entries.flatten() {
        let file = entry.path();
        // Follows links: a volume of a ConfigMap or an image holds little else.
        let Ok(metadata) = fs::metadata(&file) else {
            continue;
        };
        if metadata.is_dir() {
            match fs::read_dir(&file) {
                Ok(entries) if depth < DEPTH => take(entries, depth + 1, found),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(folder = %file.display(), %error, "cannot look for plugins there");
                }
            }
        } else if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            let named = file
                .file_name()
                .and_then(|name| name.to_str())
                // Ark looked no deeper.
                .filter(|_| depth == 1)
                .and_then(OldName::parse);
            found.push(Program {
                version: FileVersion::of(&metadata),
                named,
                file,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn old_names() {
        for (file, kind, name) in [
            ("ark-objectstore-minio", OldKind::ObjectStore, "minio"),
            ("ark-blockstore-portworx", OldKind::BlockStore, "portworx"),
            ("ark-cloudprovider-do-ams", OldKind::CloudProvider, "do-ams"),
            ("ark-backupitemaction-a", OldKind::BackupItemAction, "a"),
            ("ark-restoreitemaction-a", OldKind::RestoreItemAction, "a"),
        ] {
            let name = name.to_owned();
            assert_eq!(OldName::parse(file), Some(OldName { kind, name }), "{file}");
        }
        for file in ["ark-plugin-x", "ark-objectstore-", "ark", "objectstore-x"] {
            assert_eq!(OldName::parse(file), None, "{file}");
        }
    }

    #[test]
    fn executables_are_found_at_every_depth() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32| {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "x").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("b", 0o755);
        write("deep/er/ark-objectstore-x", 0o100);
        write("ark-objectstore-x", 0o755);
        write("README", 0o644);
        symlink(dir.path(), dir.path().join("deep/loop")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        let found = programs(dir.path()).unwrap();
        let direct: Vec<_> = found
            .iter()
            .filter(|one| !one.file.to_string_lossy().contains("loop"))
            .map(|one| {
                let file = one.file.strip_prefix(dir.path()).unwrap();
                (file.to_str().unwrap(), one.named.is_some())
            })
            .collect();
        assert_eq!(
            direct,
            [
                ("ark-objectstore-x", true),
                ("b", false),
                ("deep/er/ark-objectstore-x", false)
            ]
        );
        assert!(programs(&dir.path().join("absent")).unwrap().is_empty());
        assert!(programs(&dir.path().join("b")).is_err());

        let before = found[1].version;
        write("b", 0o755);
        fs::write(dir.path().join("b"), "longer").unwrap();
        let after = programs(dir.path()).unwrap()[1].version;
        assert_ne!(before, after);
    }
}
