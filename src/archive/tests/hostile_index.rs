use serde_json::{Value, json};

use super::super::*;
use super::{Archive, packed_index, read, small, unpacked_index};

/// Changes the lines of a good archive's index and returns why it is refused.
fn refusal(edit: impl FnOnce(&mut Vec<Value>)) -> ArchiveError {
    let mut lines = unpacked_index(&small().index);
    edit(&mut lines);
    Index::read(packed_index(&lines).as_slice(), &Limits::default())
        .map(|index| index.entries().len())
        .expect_err("a bad index was taken")
}

#[test]
fn repacked_without_a_change_it_is_taken() {
    let Archive {
        contents, index, ..
    } = small();
    let index = packed_index(&unpacked_index(&index));
    assert_eq!(read(&contents, &index).unwrap().len(), 3);
}

#[test]
fn unknown_fields_are_skipped() {
    let Archive {
        contents, index, ..
    } = small();
    let mut lines = unpacked_index(&index);
    lines[0] = json!({"version": "2.7.1", "more": 1});
    lines[1]["more"] = json!({"of": ["it"]});
    lines[4]["more"] = json!(null);
    assert_eq!(read(&contents, &packed_index(&lines)).unwrap().len(), 3);
}

#[test]
fn fields_are_checked() {
    let huge = u64::MAX;
    for (field, value, reason) in [
        ("name", json!(""), "empty"),
        ("name", json!(".."), ". or .."),
        ("name", json!("../../etc/passwd"), "/ or NUL"),
        ("name", json!("a\0b"), "/ or NUL"),
        ("name", json!("n".repeat(2000)), "longer"),
        ("name", json!(null), "parsed"),
        ("namespace", json!(".."), ". or .."),
        ("namespace", json!("/etc"), "/ or NUL"),
        ("namespace", json!(""), "empty"),
        ("resource", json!("/etc"), "/ or NUL"),
        ("resource", json!(".."), ". or .."),
        ("resource", json!("pods.apps"), "dot"),
        ("group", json!("../x"), "/ or NUL"),
        ("group", json!("."), ". or .."),
        ("version", json!("v1/../.."), "/ or NUL"),
        ("version", json!(""), "empty"),
        ("kind", json!(""), "empty"),
        ("body", json!("other"), "parsed"),
        ("labels", json!([1]), "parsed"),
        ("owners", json!("uid"), "parsed"),
        ("sha256", json!("00"), "SHA-256"),
        ("sha256", json!("zz".repeat(32)), "SHA-256"),
        ("sha256", json!("é".repeat(32)), "SHA-256"),
        ("length", json!(huge), "the limit is"),
        ("length", json!((64 << 20) + 1), "the limit is"),
        ("length", json!(-1), "parsed"),
        ("length", json!(1e30), "parsed"),
        ("offset", json!(huge), "the limit is"),
        ("offset", json!(1_u64 << 40), "the limit is"),
        ("offset", json!(2561), "begin at a block"),
        ("offset", json!(0), "overlaps"),
        ("offset", json!(1536), "overlaps"),
        ("offset", json!(2048), "overlaps"),
        ("frameOffset", json!(1), "does not follow"),
        ("frameOffset", json!(huge), "impossible size"),
        ("frameLength", json!(huge), "another size"),
        ("frameLength", json!(0), "impossible size"),
        ("frameLength", json!(1), "another size"),
    ] {
        let error = refusal(|lines| lines[2][field] = value.clone());
        let text = error.to_string();
        assert!(text.contains(reason), "{field} = {value}: {text}");
    }
}

#[test]
fn the_first_entry_leaves_room_for_the_version() {
    for offset in [0, 512, 1024] {
        let error = refusal(|lines| lines[1]["offset"] = json!(offset));
        assert!(error.to_string().contains("overlaps"), "{offset}: {error}");
    }
    let error = refusal(|lines| lines[1]["frameOffset"] = json!(100));
    assert!(error.to_string().contains("first frame"), "{error}");
}

#[test]
fn a_frame_is_no_larger_than_its_entries_make_it() {
    for size in [1_u64 << 20, 1 << 40, u64::MAX / 2] {
        let error = refusal(|lines| {
            for line in &mut lines[1..4] {
                line["frameLength"] = json!(size);
            }
            lines[4]["contentsSize"] = json!(size);
        });
        assert!(error.to_string().contains("at most"), "{size}: {error}");
    }
    let error = refusal(|lines| {
        lines.drain(1..4);
        lines[1] = json!({"entries": 0, "contentsSize": 1 << 30});
    });
    assert!(error.to_string().contains("at most"), "{error}");
}

#[test]
fn doubles_are_refused() {
    let error = refusal(|lines| {
        let mut double = lines[3].clone();
        // Another version is still the same path.
        double["version"] = json!("v2");
        double["offset"] = json!(4608);
        lines.insert(4, double);
        lines[5]["entries"] = json!(4);
    });
    assert!(matches!(error, ArchiveError::Duplicate { .. }), "{error}");
}

#[test]
fn what_stands_again_stood_there_before() {
    let error = refusal(|lines| lines[2]["again"] = json!(true));
    assert!(error.to_string().contains("was there before"), "{error}");
}

#[test]
fn the_ends_are_checked() {
    for version in ["", "1", "1.0.0", "3.0.0", "20.0.0"] {
        let error = refusal(|lines| lines[0]["version"] = json!(version));
        assert!(matches!(error, ArchiveError::Version { .. }), "{error}");
    }
    assert!(matches!(
        refusal(Vec::clear),
        ArchiveError::Truncated { .. }
    ));
    let no_header = refusal(|lines| drop(lines.remove(0)));
    assert!(
        matches!(no_header, ArchiveError::Version { .. }),
        "{no_header}"
    );
    let no_footer = refusal(|lines| drop(lines.pop()));
    assert!(matches!(no_footer, ArchiveError::Truncated { .. }));
    let more = refusal(|lines| lines.push(lines[2].clone()));
    assert!(matches!(more, ArchiveError::Trailing { .. }));
    let entries = refusal(|lines| lines[4]["entries"] = json!(4));
    assert!(matches!(entries, ArchiveError::Footer { .. }));
    let size = refusal(|lines| lines[4]["contentsSize"] = json!(4));
    assert!(matches!(size, ArchiveError::Footer { .. }));
    let left_out = refusal(|lines| drop(lines.remove(2)));
    assert!(matches!(left_out, ArchiveError::Footer { .. }));
}

#[test]
fn the_limits_hold() {
    let index = small().index;
    let limits = Limits::default();
    for limits in [
        Limits {
            max_entry: 6,
            ..limits
        },
        Limits {
            max_frame: 3000,
            ..limits
        },
        Limits {
            max_line: 50,
            ..limits
        },
        Limits {
            max_entries: 2,
            ..limits
        },
        Limits {
            max_index: 300,
            ..limits
        },
    ] {
        let error = Index::read(index.as_slice(), &limits).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn an_endless_line_is_not_read_to_its_end() {
    // A gigabyte of one line in some 30 kB.
    let bomb = std::io::Read::take(std::io::repeat(b'x'), 1 << 30);
    let packed = zstd::encode_all(bomb, 1).unwrap();
    let error = Index::read(packed.as_slice(), &Limits::default()).unwrap_err();
    assert!(
        matches!(error, ArchiveError::TooLarge { size, .. } if size <= (4 << 20) + 1),
        "{error}"
    );
}

#[test]
fn a_cut_off_index_is_refused_wherever_it_is_cut() {
    let index = small().index;
    for length in 0..index.len() {
        assert!(
            Index::read(&index[..length], &Limits::default()).is_err(),
            "{length} bytes"
        );
    }
    let mut longer = index.clone();
    longer.push(0);
    assert!(Index::read(longer.as_slice(), &Limits::default()).is_err());
    assert!(
        Index::read(
            [index.clone(), index].concat().as_slice(),
            &Limits::default()
        )
        .is_err()
    );
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let Archive {
        contents, index, ..
    } = small();
    let good = read(&contents, &index).unwrap();
    for place in 0..index.len() * 8 {
        let mut index = index.clone();
        index[place / 8] ^= 1 << (place % 8);
        // zstd has bits that mean nothing.
        if let Ok(found) = read(&contents, &index) {
            assert_eq!(found, good, "bit {place}");
        }
    }
}
