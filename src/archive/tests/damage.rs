use super::super::*;
use super::{Archive, noise, object, read, write};

/// Several frames, some of them of noise.
fn frames() -> Archive {
    let entries: Vec<_> = (0..4)
        .map(|number| {
            let name = format!("object-{number}");
            (
                object("nodes", None, &name),
                noise(200 * number, number as u64),
            )
        })
        .collect();
    write(&entries, 2500)
}

#[test]
fn cut_off_contents_are_noticed_wherever_they_are_cut() {
    let Archive {
        contents, index, ..
    } = frames();
    for length in 0..contents.len() {
        let cut = &contents[..length];
        let error = read(cut, &index).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Truncated { .. }),
            "{length}: {error}"
        );
        let tar = unpack(cut).unwrap();
        let error = read_all(tar, &Limits::default(), |_, _| Ok(())).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Truncated { .. }),
            "without index, {length}: {error}"
        );
    }
}

#[test]
fn a_cut_off_frame_is_noticed() {
    let Archive {
        contents, index, ..
    } = frames();
    let index = Index::read(index.as_slice(), &Limits::default()).unwrap();
    let frame = &index.frames()[0];
    let whole = usize::try_from(frame.len).unwrap();
    for length in (0..whole).chain([whole + 1]) {
        let entries = index.frame_entries(frame);
        assert!(
            read_frame(&contents[..length], entries).is_err(),
            "{length}"
        );
    }
    let next = &index.frames()[1];
    let error = read_frame(&contents[..whole], index.frame_entries(next)).unwrap_err();
    assert!(error.to_string().contains("frame 1"), "{error}");
    assert!(read_frame(&contents[..whole], &[]).is_err());
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let Archive {
        contents, index, ..
    } = frames();
    let good = read(&contents, &index).unwrap();
    for place in 0..contents.len() * 8 {
        let mut contents = contents.clone();
        contents[place / 8] ^= 1 << (place % 8);
        // zstd has bits that mean nothing.
        if let Ok(found) = read(&contents, &index) {
            assert_eq!(found, good, "bit {place}");
        }
        let tar = unpack(contents.as_slice()).unwrap();
        let mut found = Vec::new();
        let result = read_all(tar, &Limits::default(), |path, body| {
            found.push((path.to_owned(), body.to_vec()));
            Ok(())
        });
        if result.is_ok() {
            assert_eq!(found[1..], good, "without index, bit {place}");
        }
    }
}
