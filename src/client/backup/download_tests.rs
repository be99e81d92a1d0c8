//! Saving an archive: under which name, with which rights, and what is left when it fails.

use tempfile::TempDir;

use super::*;
use crate::api::{BackupSpec, BackupStatus};

const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3];

fn saving(folder: &TempDir, force: bool) -> Saving {
    let folder = Destination::Folder(folder.path().to_owned());
    Saving::new("nightly", folder, force)
}

fn feed(saving: &mut Saving, bytes: &[u8], piece: usize) -> anyhow::Result<()> {
    saving.begin(Some(bytes.len() as u64));
    for piece in bytes.chunks(piece) {
        saving.piece(&Bytes::copy_from_slice(piece))?;
    }
    Ok(())
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn part(bytes: &[u8]) -> Part {
    Part {
        key: "backups/nightly/nightly-1.tar.zst".into(),
        size: bytes.len() as u64,
        sha256: names::sha256_hex(bytes),
    }
}

#[test]
fn the_first_bytes_choose_the_name() {
    for (bytes, name) in [
        (ZSTD, "nightly-data.tar.zst"),
        (&[0x5a, 0x2a, 0x4d, 0x18, 9], "nightly-data.tar.zst"),
        (&[0x1f, 0x8b, 8, 0, 0], "nightly-data.tar.gz"),
        (&[0x1f, 0x8b], "nightly-data.tar.gz"),
        (b"plain", "nightly-data.tar"),
        (b"x", "nightly-data.tar"),
    ] {
        for piece in [1, 3, 100] {
            let folder = TempDir::new().unwrap();
            let mut saving = saving(&folder, false);
            feed(&mut saving, bytes, piece).unwrap();
            let (path, size) = saving.finish(Some(&part(bytes))).unwrap();
            assert_eq!(names_in(&folder), [name]);
            assert_eq!(size, bytes.len() as u64);
            assert_eq!(fs::read(path).unwrap(), bytes);
        }
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    for force in [false, true] {
        let folder = TempDir::new().unwrap();
        let mut saving = saving(&folder, force);
        feed(&mut saving, ZSTD, 4).unwrap();
        let (path, _) = saving.finish(None).unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_file_is_replaced_only_if_asked_for_and_only_by_a_whole_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nightly-data.tar.zst");
    fs::write(&path, "earlier").unwrap();

    let mut refused = saving(&folder, false);
    let problem = feed(&mut refused, ZSTD, 100).unwrap_err().to_string();
    assert!(problem.contains("--force"), "{problem}");
    drop(refused);

    let mut broken = saving(&folder, true);
    feed(&mut broken, ZSTD, 100).unwrap();
    drop(broken);
    assert_eq!(names_in(&folder), ["nightly-data.tar.zst"]);
    assert_eq!(fs::read(&path).unwrap(), b"earlier");

    let mut whole = saving(&folder, true);
    feed(&mut whole, ZSTD, 100).unwrap();
    whole.finish(None).unwrap();
    assert_eq!(names_in(&folder), ["nightly-data.tar.zst"]);
    assert_eq!(fs::read(&path).unwrap(), ZSTD);
}

#[test]
fn what_is_not_whole_is_removed() {
    let other = part(b"other contents");
    for (bytes, expected) in [(ZSTD, Some(&other)), (b"", None)] {
        let folder = TempDir::new().unwrap();
        let mut saving = saving(&folder, false);
        feed(&mut saving, bytes, 2).unwrap();
        assert!(saving.finish(expected).is_err());
        assert!(names_in(&folder).is_empty(), "{:?}", names_in(&folder));
    }
    let folder = TempDir::new().unwrap();
    let mut dropped = saving(&folder, false);
    feed(&mut dropped, ZSTD, 2).unwrap();
    assert_eq!(names_in(&folder).len(), 1);
    drop(dropped);
    assert!(names_in(&folder).is_empty());
}

#[test]
fn the_record_says_what_the_objects_are() {
    let mut backup = Backup::new("nightly", BackupSpec::default());
    assert_eq!(contents(&backup), None);
    let log = Part {
        key: "backups/nightly/nightly-1-logs.gz".into(),
        ..Part::default()
    };
    backup.status = Some(BackupStatus {
        parts: vec![log, part(ZSTD)],
        ..BackupStatus::default()
    });
    assert_eq!(contents(&backup), Some(&part(ZSTD)));
}
