use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::super::*;
use super::{Archive, object, packed_index, read, small, unpacked_index, write};

const NODE: &str = "resources/nodes/cluster/one.json";

/// A tar made by hand.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn with_version() -> Self {
        Self::default().file(VERSION_PATH, b"2.0.0\n")
    }

    fn file(self, path: &str, body: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, body.len() as u64, body)
    }

    fn entry(mut self, kind: EntryType, path: &str, size: u64, body: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn pack(tar: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(tar, 3).unwrap()
}

/// An index that says: node `one` has this body at this offset of the only frame.
fn index_of_one(contents: &[u8], offset: usize, body: &[u8]) -> Vec<u8> {
    packed_index(&[
        json!({"version": "2.0.0"}),
        line("one", contents, offset, body),
        json!({"entries": 1, "contentsSize": contents.len()}),
    ])
}

fn line(name: &str, contents: &[u8], offset: usize, body: &[u8]) -> Value {
    json!({
        "version": "v1", "kind": "Node", "resource": "nodes", "name": name, "body": "asServed",
        "offset": offset, "length": body.len(),
        "sha256": format!("{:x}", bytes::Bytes::copy_from_slice(&Sha256::digest(body))),
        "frameOffset": 0, "frameLength": contents.len(),
    })
}

fn refusal(contents: &[u8], index: &[u8]) -> String {
    read(contents, index)
        .expect_err("bad contents were taken")
        .to_string()
}

/// Reads a tar without an index.
fn paths(tar: &[u8]) -> Result<Vec<String>, ArchiveError> {
    let mut paths = Vec::new();
    read_all(tar, &Limits::default(), |path, _| {
        paths.push(path.to_owned());
        Ok(())
    })?;
    Ok(paths)
}

#[test]
fn made_by_hand_it_is_taken() {
    let tar = Tar::with_version().file(NODE, b"{}").end();
    let contents = pack(&tar);
    let index = index_of_one(&contents, 1536, b"{}");
    assert_eq!(read(&contents, &index).unwrap()[0].0, NODE);
    assert_eq!(paths(&tar).unwrap(), [VERSION_PATH, NODE]);
}

#[test]
fn only_regular_files_are_taken() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::GNULongLink,
        EntryType::Continuous,
    ] {
        let tar = Tar::with_version().entry(kind, NODE, 2, b"{}").end();
        let contents = pack(&tar);
        let text = refusal(&contents, &index_of_one(&contents, 1536, b"{}"));
        assert!(text.contains("not a regular file"), "{kind:?}: {text}");
        assert!(paths(&tar).is_err(), "{kind:?}");
    }
}

#[test]
fn an_entry_has_the_size_the_index_says() {
    let contents = pack(&Tar::with_version().file(NODE, b"{\"a\":123}").end());
    for body in [&b"{\"a\":12"[..], b"{\"a\":123} ", b""] {
        let text = refusal(&contents, &index_of_one(&contents, 1536, body));
        assert!(text.contains("the index says"), "{text}");
    }
    // Over the next block, too.
    let text = refusal(&contents, &index_of_one(&contents, 1536, &[b' '; 600]));
    assert!(text.contains("decompresses to"), "{text}");
    let large = pack(&Tar::with_version().file(NODE, &[b' '; 5000]).end());
    let text = refusal(&large, &index_of_one(&large, 1536, b"{}"));
    assert!(text.contains("decompresses to"), "{text}");
}

#[test]
fn an_entry_has_the_body_the_index_says() {
    let contents = pack(&Tar::with_version().file(NODE, b"{\"a\":1}").end());
    let text = refusal(&contents, &index_of_one(&contents, 1536, b"{\"a\":2}"));
    assert!(text.contains("SHA-256"), "{text}");
}

#[test]
fn an_entry_is_not_hidden_in_another() {
    // The body of one entry looks like another entry; the index points at that.
    let hidden = Tar::default().file(NODE, b"{\"evil\":1}").0;
    let tar = Tar::with_version()
        .file("resources/configmaps/namespaces/a/b.json", &hidden)
        .end();
    let contents = pack(&tar);
    let text = refusal(&contents, &index_of_one(&contents, 2048, b"{\"evil\":1}"));
    assert!(text.contains("not where the index says"), "{text}");
}

#[test]
fn names_are_not_exchanged() {
    let Archive {
        contents, index, ..
    } = small();
    let mut lines = unpacked_index(&index);
    lines[1]["name"] = json!("other");
    let text = refusal(&contents, &packed_index(&lines));
    assert!(text.contains("not where the index says"), "{text}");

    let entries = [
        (object("nodes", None, "a"), b"{}".to_vec()),
        (object("nodes", None, "b"), b"{}".to_vec()),
    ];
    let Archive {
        contents, index, ..
    } = write(&entries, 1 << 20);
    let mut lines = unpacked_index(&index);
    lines[1]["name"] = json!("b");
    lines[2]["name"] = json!("a");
    let text = refusal(&contents, &packed_index(&lines));
    assert!(text.contains("not where the index says"), "{text}");
}

#[test]
fn nothing_is_there_that_the_index_does_not_list() {
    let other = "resources/nodes/cluster/two.json";
    let last = Tar::with_version().file(NODE, b"{}").file(other, b"{}").0;
    let contents = pack(&last);
    // An empty entry is one block long, so two could pass for the end of the tar.
    let text = refusal(&contents, &index_of_one(&contents, 1536, b"{}"));
    assert!(text.contains("does not list"), "{text}");
    let contents = pack(&Tar::with_version().file(other, b"{}").file(NODE, b"{}").0);
    let text = refusal(&contents, &index_of_one(&contents, 2560, b"{}"));
    assert!(text.contains("not where the index says"), "{text}");

    let Archive {
        mut contents,
        index,
        ..
    } = small();
    contents.extend(pack(&Tar::default().file(other, b"{}").0));
    assert!(refusal(&contents, &index).contains("goes on after its end"));
}

#[test]
fn entries_lie_before_the_end_of_the_tar() {
    let tar = [
        Tar::with_version().end(),
        Tar::default().file(NODE, b"{}").0,
    ]
    .concat();
    let contents = pack(&tar);
    let text = refusal(&contents, &index_of_one(&contents, 2560, b"{}"));
    assert!(text.contains("is missing"), "{text}");
    let error = paths(&tar).unwrap_err();
    assert!(matches!(error, ArchiveError::Trailing { .. }), "{error}");
}

#[test]
fn the_version_comes_first() {
    for (path, body, reason) in [
        (VERSION_PATH, "3.0.0\n", "not supported"),
        (VERSION_PATH, "1\n", "not supported"),
        ("metadata/other", "2.0.0\n", "does not begin"),
    ] {
        let tar = Tar::default().file(path, body.as_bytes());
        let contents = pack(&tar.file(NODE, b"{}").end());
        let text = refusal(&contents, &index_of_one(&contents, 1536, b"{}"));
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn announced_sizes_are_not_believed() {
    let tar = Tar::with_version().file(NODE, b"{}").end();
    // A frame of zstd that announces 2^60 bytes and holds one empty block.
    let mut huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    huge.extend((1_u64 << 60).to_le_bytes());
    huge.extend([1, 0, 0]);
    let text = refusal(&huge, &index_of_one(&huge, 1536, b"{}"));
    assert!(
        text.contains("decompresses to 1152921504606846976"),
        "{text}"
    );

    // One that announces what the index says, and holds more: 65,536 zeros in a run.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    bomb.extend((tar.len() as u64).to_le_bytes());
    bomb.extend([0x03, 0x00, 0x08, 0x00]);
    let text = refusal(&bomb, &index_of_one(&bomb, 1536, b"{}"));
    assert!(text.contains("frame 0"), "{text}");

    // One that does not say its size.
    let unsized_frame = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let text = refusal(&unsized_frame, &index_of_one(&unsized_frame, 1536, b"{}"));
    assert!(text.contains("an unknown number"), "{text}");

    // Two frames for one.
    let two = [pack(&tar[..1024]), pack(&tar[1024..])].concat();
    let text = refusal(&two, &index_of_one(&two, 1536, b"{}"));
    assert!(text.contains("shorter than the index says"), "{text}");
}

#[test]
fn sizes_in_a_tar_are_not_believed() {
    for size in [64 << 20, (64 << 20) + 1, 1 << 33, 1 << 62, u64::MAX] {
        let tar = Tar::with_version()
            .entry(EntryType::Regular, NODE, size, b"{}")
            .end();
        let error = paths(&tar).unwrap_err();
        assert!(
            matches!(
                error,
                ArchiveError::TooLarge { .. } | ArchiveError::Truncated { .. }
            ),
            "{size}: {error}"
        );
        let contents = pack(&tar);
        assert!(read(&contents, &index_of_one(&contents, 1536, b"{}")).is_err());
    }
    for kind in [
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let long = vec![b'n'; 100_000];
        let tar = Tar::with_version()
            .entry(kind, "././@LongLink", long.len() as u64, &long)
            .file(NODE, b"{}");
        let error = paths(&tar.end()).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn paths_in_a_tar_are_checked() {
    for path in [
        "/etc/passwd",
        "../up",
        "resources/../../up",
        "./resources/a",
        "resources//a",
        "resources/a/",
        "..",
    ] {
        let error = paths(&Tar::with_version().file(path, b"{}").end()).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Path { .. }),
            "{path}: {error}"
        );
        let long = Tar::with_version()
            .entry(
                EntryType::GNULongName,
                "x",
                path.len() as u64,
                path.as_bytes(),
            )
            .file(NODE, b"{}");
        let error = paths(&long.end()).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Path { .. }),
            "{path}: {error}"
        );
    }
    let twice = Tar::with_version().file(NODE, b"{}").file(NODE, b"{}");
    let error = paths(&twice.end()).unwrap_err();
    assert!(matches!(error, ArchiveError::Duplicate { .. }), "{error}");
}

#[test]
fn extension_headers_are_checked() {
    let pax = |records: &str, next: &str| {
        Tar::with_version()
            .entry(
                EntryType::XHeader,
                "x",
                records.len() as u64,
                records.as_bytes(),
            )
            .file(next, b"{}")
            .end()
    };
    assert_eq!(paths(&pax("15 path=a/long\n", NODE)).unwrap()[1], "a/long");
    assert!(paths(&pax("15 path=/a/long\n", NODE)).is_err());
    assert!(paths(&pax("9 size=1\n", NODE)).is_err());
    assert!(paths(&pax("99 path=a\n", NODE)).is_err());
    assert_eq!(paths(&pax("11 mtime=1\n", NODE)).unwrap()[1], NODE);

    let alone = Tar::with_version().entry(EntryType::GNULongName, "x", 1, b"a");
    assert!(paths(&alone.end()).is_err());
    let twice = Tar::with_version()
        .entry(EntryType::GNULongName, "x", 1, b"a")
        .entry(EntryType::GNULongName, "x", 1, b"b")
        .file(NODE, b"{}");
    assert!(paths(&twice.end()).is_err());
    let not_text = Tar::with_version()
        .entry(EntryType::GNULongName, "x", 1, b"\xff")
        .file(NODE, b"{}");
    assert!(paths(&not_text.end()).is_err());
}

#[test]
fn a_damaged_header_is_noticed() {
    let good = Tar::with_version().file(NODE, b"{}").end();
    for place in 1024..1024 + 512 {
        let mut tar = good.clone();
        tar[place] ^= 1;
        assert!(paths(&tar).is_err(), "byte {place}");
    }
}

#[test]
fn a_tar_has_an_end() {
    let tar = Tar::with_version().file(NODE, b"{}").end();
    for length in 0..tar.len() {
        let error = paths(&tar[..length]).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    let longer = [tar.clone(), vec![0; 10_000]].concat();
    assert!(paths(&longer).is_ok(), "tar itself pads to 10 KiB");
    let longer = [tar, vec![1; 10]].concat();
    assert!(matches!(
        paths(&longer).unwrap_err(),
        ArchiveError::Trailing { .. }
    ));
}

#[test]
fn the_visitor_may_stop() {
    let tar = Tar::with_version().file(NODE, b"{}").end();
    let error = read_all(tar.as_slice(), &Limits::default(), |path, _| {
        Err(ArchiveError::Stopped {
            path: path.into(),
            source: "enough".into(),
        })
    })
    .unwrap_err();
    assert!(matches!(error, ArchiveError::Stopped { .. }));
}
