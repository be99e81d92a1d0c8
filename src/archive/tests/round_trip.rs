use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::super::*;
use super::{noise, object, read, small, unpacked_index, write};

/// Bodies around every boundary of the format: blocks, frames, the largest objects.
fn many() -> Vec<(EntryHeader, Vec<u8>)> {
    let sizes = [
        0, 1, 2, 100, 511, 512, 513, 1023, 1024, 1025, 4096, 5000, 65_535, 300_000, 524_288,
        1_047_040, 1_048_064, 1_048_576, 1_048_577, 3_145_728, 7, 2,
    ];
    let mut entries = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let name = format!("object-{number}");
        let text = format!("{{\"number\":{number},\"text\":\"some of the same\"}}");
        let text = text.bytes().cycle().take(size).collect();
        entries.push((object("pods", Some("web"), &name), text));
        let random = noise(size, number as u64 + 1);
        entries.push((object("things.example.com", None, &name), random));
    }
    entries
}

fn paths_and_bodies(entries: &[(EntryHeader, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    entries
        .iter()
        .map(|(header, body)| {
            let path = entry_path(&header.type_key, header.namespace.as_deref(), &header.name);
            (path.unwrap(), body.clone())
        })
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    let entries = many();
    for frame_size in [0, 2_000, 100_000, 1 << 20] {
        let archive = write(&entries, frame_size);
        assert_eq!(archive.summary.entries, entries.len() as u64);
        let found = read(&archive.contents, &archive.index).unwrap();
        assert!(
            found == paths_and_bodies(&entries),
            "frame size {frame_size}"
        );
    }
}

#[test]
fn the_index_says_what_the_header_said() {
    let mut header = object("deployments.apps", Some("web"), "a");
    header.owners = vec!["owner-1".into(), "owner-2".into()];
    header.body = BodyKind::TypeAdded;
    header
        .labels
        .insert("quoted \"label\"".into(), "ümlaut\n".into());
    let mut bare = object("nodes", None, "b");
    bare.labels = BTreeMap::new();
    bare.uid = String::new();
    bare.body = BodyKind::Replaced;
    let entries = [(header.clone(), b"{}".to_vec()), (bare, b"{1}".to_vec())];
    let archive = write(&entries, 1 << 20);
    let index = Index::read(archive.index.as_slice(), &Limits::default()).unwrap();

    for (entry, (header, body)) in index.entries().iter().zip(&entries) {
        assert_eq!(entry.type_key, header.type_key);
        assert_eq!(entry.namespace, header.namespace);
        assert_eq!(*entry.name, *header.name);
        assert_eq!(*entry.uid, *header.uid);
        assert_eq!(*entry.owners, *header.owners);
        assert_eq!(*entry.labels, header.labels);
        assert_eq!(entry.body, header.body);
        assert_eq!(entry.length as usize, body.len());
        assert_eq!(index.frame(entry).number, 0);
    }
    assert_eq!(index.contents_size(), archive.summary.contents_bytes);
}

#[test]
fn the_index_reads_as_documented() {
    let lines = unpacked_index(&small().index);
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["version"], "2.0.0");
    assert_eq!(lines[1]["resource"], "nodes");
    assert_eq!(lines[1].get("namespace"), None);
    assert_eq!(lines[1]["offset"], 1536);
    assert_eq!(lines[2]["namespace"], "web");
    assert_eq!(lines[2]["offset"], 2560);
    assert_eq!(lines[3]["group"], "apps");
    assert_eq!(lines[3]["body"], "asServed");
    assert_eq!(
        lines[3]["sha256"],
        "caba9cb06ac77da7781b8bbd7e0700c58ea69bc7d8b12f0b6695a2af6ee6a6b3"
    );
    assert_eq!(lines[4]["entries"], 3);
}

#[test]
fn of_an_object_that_is_stored_again_the_last_state_counts() {
    let state = |name: &str, state: &str, again| {
        let mut header = object("pods", Some("web"), name);
        header.again = again;
        (header, format!("{{\"state\":\"{state}\"}}").into_bytes())
    };
    let entries = [
        state("a", "first", false),
        state("b", "only", false),
        // Named without ever having been stored.
        state("c", "new", true),
        state("a", "second", true),
        state("a", "third", true),
    ];
    for frame_size in [0, 1 << 20] {
        let archive = write(&entries, frame_size);
        assert_eq!(archive.summary.entries, 5);
        let lines = unpacked_index(&archive.index);
        let again: Vec<bool> = lines[1..6]
            .iter()
            .map(|line| line["again"] == true)
            .collect();
        assert_eq!(again, [false, false, false, true, true]);
        let index = Index::read(archive.index.as_slice(), &Limits::default()).unwrap();
        let outdated: Vec<bool> = index.entries().iter().map(|entry| entry.outdated).collect();
        assert_eq!(outdated, [true, false, false, true, false]);
        // Frames hold all of them.
        let found = read(&archive.contents, &archive.index).unwrap();
        assert_eq!(found, paths_and_bodies(&entries));
    }
    // Without the word it is a mistake.
    let (mut contents, mut index) = (Vec::new(), Vec::new());
    let mut writer =
        ArchiveWriter::new(&mut contents, &mut index, WriteOptions::default()).unwrap();
    let header = object("pods", Some("web"), "a");
    writer.append(&header, &[b"{}"]).unwrap();
    let error = writer.append(&header, &[b"{}"]).unwrap_err();
    assert!(matches!(error, ArchiveError::Duplicate { .. }), "{error}");
}

#[test]
fn same_objects_make_the_same_bytes() {
    let (one, two) = (write(&many(), 1 << 20), write(&many(), 1 << 20));
    assert!(one.contents == two.contents);
    assert!(one.index == two.index);
}

#[test]
fn each_frame_stands_alone() {
    let entries = many();
    let archive = write(&entries, 100_000);
    let index = Index::read(archive.index.as_slice(), &Limits::default()).unwrap();
    assert!(index.frames().len() > 10);
    let mut found = Vec::new();
    // Backwards, so that nothing can rest on the frame before.
    for frame in index.frames().iter().rev() {
        let start = usize::try_from(frame.offset).unwrap();
        let end = start + usize::try_from(frame.len).unwrap();
        let bytes = &archive.contents[start..end];
        let listed = index.frame_entries(frame);
        let bodies = read_frame(bytes, listed).unwrap();
        let plain = zstd::decode_all(bytes).unwrap();
        assert!(
            plain.len() <= 100_000 + 1024 || listed.len() == 1,
            "only a large entry makes a large frame, and has it for itself"
        );
        let bodies: Vec<_> = bodies
            .iter()
            .map(|(entry, body)| (entry.path(), body.to_vec()))
            .collect();
        found.splice(0..0, bodies);
    }
    assert!(found == paths_and_bodies(&entries));
}

#[test]
fn an_archive_may_be_empty() {
    let archive = write(&[], 1 << 20);
    assert_eq!(read(&archive.contents, &archive.index).unwrap(), []);
    let mut paths = Vec::new();
    let tar = unpack(archive.contents.as_slice()).unwrap();
    read_all(tar, &Limits::default(), |path, body| {
        paths.push((path.to_owned(), body.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(paths, [(VERSION_PATH.to_owned(), b"2.0.0\n".to_vec())]);
}

#[test]
fn other_readers_read_it() {
    let mut entries = many();
    entries.extend(odd_names());
    let archive = write(&entries, 100_000);
    let expected = paths_and_bodies(&entries);

    let mut tar = tar::Archive::new(zstd::Decoder::new(archive.contents.as_slice()).unwrap());
    let mut found = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o644);
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        found.push((path, body));
    }
    let version = (VERSION_PATH.to_owned(), b"2.0.0\n".to_vec());
    assert_eq!(found[0], version);
    assert!(found[1..] == expected);

    let mut found = Vec::new();
    let unpacked = unpack(archive.contents.as_slice()).unwrap();
    let count = read_all(unpacked, &Limits::default(), |path, body| {
        found.push((path.to_owned(), body.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(count, expected.len() as u64 + 1);
    assert!(found[1..] == expected);
}

/// Passes `input` through a program; none if it is not installed.
fn through(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().ok()?;
    let fed = feeder.join().is_ok_and(|result| result.is_ok());
    assert!(fed, "{program} does not take its input");
    assert!(output.status.success(), "{program} failed");
    Some(output.stdout)
}

#[test]
fn command_line_tools_read_it() {
    let mut entries = many();
    entries.extend(odd_names());
    let archive = write(&entries, 100_000);
    let Some(tar) = through("zstd", &["-dc"], &archive.contents) else {
        return;
    };
    assert_eq!(tar.len() as u64, archive.summary.uncompressed_bytes);
    let index = through("zstd", &["-dc"], &archive.index).unwrap();
    assert!(index.starts_with(b"{\"version\":\"2.0.0\"}\n"));
    let args = ["--quoting-style=literal", "-tf", "-"];
    let Some(list) = through("tar", &args, &tar) else {
        return;
    };
    let mut expected = vec![VERSION_PATH.to_owned()];
    expected.extend(paths_and_bodies(&entries).into_iter().map(|entry| entry.0));
    let list = String::from_utf8(list).unwrap();
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
}

fn odd_names() -> Vec<(EntryHeader, Vec<u8>)> {
    // 43 bytes of path come with the name; 100 in all fit a plain header, 101 do not.
    let mut names: Vec<String> = (50..65).map(|length| "n".repeat(length)).collect();
    // Around two blocks of long name, and nearly the longest there is.
    names.extend((978..990).chain([1000]).map(|length| "l".repeat(length)));
    names.extend(
        [
            "system:controller:node",
            "größe",
            "名前",
            "a b",
            "back\\slash",
            "-rf",
            "%2e%2e",
            "...",
            ".hidden",
            "*",
        ]
        .map(String::from),
    );
    // A character of two bytes across the hundredth.
    names.extend((30..40).map(|count| "ü".repeat(count)));
    names
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let body = format!("{{\"number\":{number}}}").into_bytes();
            (object("roles", Some("kube-system"), &name), body)
        })
        .collect()
}

#[test]
fn odd_and_long_names_come_out() {
    let entries = odd_names();
    for frame_size in [0, 1 << 20] {
        let archive = write(&entries, frame_size);
        let found = read(&archive.contents, &archive.index).unwrap();
        assert_eq!(found, paths_and_bodies(&entries));
    }
}

#[test]
fn a_body_may_come_in_pieces() {
    let (mut contents, mut index) = (Vec::new(), Vec::new());
    let mut writer =
        ArchiveWriter::new(&mut contents, &mut index, WriteOptions::default()).unwrap();
    let header = object("pods", Some("web"), "a");
    let pieces: [&[u8]; 4] = [b"{", b"\"kind\":\"Pod\",", b"", b"\"x\":1}"];
    writer.append(&header, &pieces).unwrap();
    writer.finish().unwrap();
    let whole = write(&[(header, pieces.concat())], 1 << 20);
    assert_eq!(contents, whole.contents);
    assert_eq!(index, whole.index);
}

#[test]
fn a_refused_entry_leaves_no_trace() {
    let limits = Limits {
        max_line: 2000,
        max_entries: 2,
        ..Limits::with_max_entry(1000)
    };
    let one = object("pods", Some("web"), "a");
    let two = object("nodes", None, "b");
    let mut talkative = object("pods", Some("web"), "c");
    talkative.labels.insert("a".into(), "x".repeat(3000));
    let mut other_version = one.clone();
    Arc::make_mut(&mut other_version.type_key).version = "v2".into();
    let refused = [
        (&one, &b"{}"[..]),
        (&other_version, b"{}"),
        (&object("pods", Some("web"), ".."), b"{}"),
        (&object("pods", Some("a/b"), "x"), b"{}"),
        (&object("pods", Some("web"), "large"), &[b' '; 1001]),
        (&talkative, b"{}"),
    ];
    // With 0 each entry closes the frame before it; a refused one must not.
    for frame_size in [0, 1 << 20] {
        let options = WriteOptions {
            frame_size,
            limits,
            ..WriteOptions::default()
        };
        let (mut contents, mut index) = (Vec::new(), Vec::new());
        let mut writer = ArchiveWriter::new(&mut contents, &mut index, options).unwrap();
        for header in [&one, &two] {
            writer.append(header, &[b"{}"]).unwrap();
            for (header, body) in refused {
                let error = writer.append(header, &[body]).unwrap_err();
                assert!(error.is_recoverable(), "{error}");
            }
        }
        let third = object("nodes", None, "third");
        let error = writer.append(&third, &[b"{}"]).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
        assert_eq!(writer.finish().unwrap().entries, 2);

        let entries = [(one.clone(), b"{}".to_vec()), (two.clone(), b"{}".to_vec())];
        let whole = write(&entries, frame_size);
        assert_eq!(contents, whole.contents);
        assert_eq!(index, whole.index);
        assert_eq!(read(&contents, &index).unwrap().len(), 2);
    }
}

/// Takes so many writes, then fails; notes the size of each.
struct Sink<'a> {
    left: usize,
    writes: &'a mut Vec<usize>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("full"))?;
        self.writes.push(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_frame_is_one_write() {
    let mut noted = Vec::new();
    let sink = Sink {
        left: 1000,
        writes: &mut noted,
    };
    let mut index = Vec::new();
    let mut writer = ArchiveWriter::new(sink, &mut index, WriteOptions::default()).unwrap();
    for (header, body) in many() {
        writer.append(&header, &[&body]).unwrap();
    }
    writer.finish().unwrap();
    let index = Index::read(index.as_slice(), &Limits::default()).unwrap();
    let frames: Vec<u64> = index.frames().iter().map(|frame| frame.len).collect();
    let sizes: Vec<u64> = noted.into_iter().map(|write| write as u64).collect();
    assert_eq!(sizes, frames);
}

#[test]
fn a_failed_write_loses_the_archive() {
    let (mut noted, mut index) = (Vec::new(), Vec::new());
    let sink = Sink {
        left: 1,
        writes: &mut noted,
    };
    let options = WriteOptions {
        frame_size: 0,
        ..WriteOptions::default()
    };
    let mut writer = ArchiveWriter::new(sink, &mut index, options).unwrap();
    for name in ["a", "b"] {
        writer
            .append(&object("nodes", None, name), &[b"{}"])
            .unwrap();
    }
    let error = writer
        .append(&object("nodes", None, "c"), &[b"{}"])
        .unwrap_err();
    assert!(matches!(error, ArchiveError::Write { .. }), "{error}");
    assert!(!error.is_recoverable());
    let error = writer
        .append(&object("nodes", None, "d"), &[b"{}"])
        .unwrap_err();
    assert!(matches!(error, ArchiveError::Lost));
    assert!(matches!(writer.finish(), Err(ArchiveError::Lost)));
}

#[test]
fn what_objects_have_in_common_is_kept_once() {
    let entries: Vec<_> = (0..3)
        .map(|number| {
            let mut header = object("pods", Some("web"), &format!("pod-{number}"));
            header.owners = vec!["replica-set".into()];
            (header, b"{}".to_vec())
        })
        .collect();
    let archive = write(&entries, 1 << 20);
    let index = Index::read(archive.index.as_slice(), &Limits::default()).unwrap();
    let [one, .., last] = index.entries() else {
        panic!("three entries");
    };
    assert!(Arc::ptr_eq(&one.type_key, &last.type_key));
    assert!(Arc::ptr_eq(&one.labels, &last.labels));
    assert!(Arc::ptr_eq(&one.owners, &last.owners));
    assert!(
        one.namespace
            .as_ref()
            .zip(last.namespace.as_ref())
            .is_some_and(|(one, last)| Arc::ptr_eq(one, last))
    );
    assert!(size_of::<IndexEntry>() <= 160);
}
