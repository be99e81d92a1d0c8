use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"n","uid":"u-{name}",
        "labels":{{"a":"b"}},"ownerReferences":[{{"uid":"o"}}]}}}}"#
    )
}

fn tar_gz(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, body) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o755);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        // set_path refuses what a hostile archive may hold.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, body.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
    match read(bytes, Limits::default()) {
        Ok(foreign) => Ok(foreign
            .index
            .entries()
            .iter()
            .map(crate::archive::IndexEntry::path)
            .collect()),
        Err(Problem::Damaged(problem)) => Err(problem),
        Err(Problem::NoRoom(error)) => panic!("{error}"),
    }
}

#[test]
fn each_object_is_taken_once() {
    let (a, b) = (pod("a"), pod("b"));
    let bytes = tar_gz(&[
        ("metadata/version", "1.1.0\n"),
        ("resources/", ""),
        ("resources/pods/namespaces/n/a.json", &a),
        ("resources/pods/v1-preferredversion/namespaces/n/a.json", &a),
        ("resources/pods/v1beta1/namespaces/n/a.json", &a),
        ("resources/pods/v1-preferredversion/namespaces/n/b.json", &b),
        // Appended by Velero's finalizer, which goes through a map.
        ("resources/pods/namespaces/n/b.json", &b),
    ]);
    assert_eq!(
        names(&bytes).unwrap(),
        [
            "resources/pods/namespaces/n/a.json",
            "resources/pods/namespaces/n/b.json"
        ]
    );
    let foreign = read(&bytes[..], Limits::default()).unwrap();
    let first = &foreign.index.entries()[0];
    assert_eq!((&*first.uid, first.owners[0].as_str()), ("u-a", "o"));
    assert_eq!(first.labels["a"], "b");
    assert_eq!(foreign.read, bytes.len() as u64);
}

#[test]
fn what_is_damaged_or_hostile_is_refused() {
    let a = pod("a");
    for (path, body, word) in [
        (
            "../resources/pods/namespaces/n/a.json",
            a.as_str(),
            "leads out",
        ),
        ("/resources/pods/namespaces/n/a.json", &a, "leads out"),
        ("resources/pods/namespaces/n/b.json", &a, "another object"),
        ("resources/pods/namespaces/m/a.json", &a, "another object"),
        (
            "resources/pods.apps/namespaces/n/a.json",
            &a,
            "another object",
        ),
        ("resources/pods/namespaces/n/a.json", "{", "is no object"),
        (
            "resources/pods/elsewhere/n/a.json",
            &a,
            "does not name an object",
        ),
    ] {
        let problem = names(&tar_gz(&[(path, body)])).unwrap_err();
        assert!(problem.contains(word), "{path}: {problem}");
    }
    let whole = tar_gz(&[("resources/pods/namespaces/n/a.json", &a)]);
    assert!(names(&whole[..whole.len() - 12]).is_err(), "cut off");
    assert!(names(b"no gzip").is_err());
    let double = [("resources/pods/namespaces/n/a.json", a.as_str()); 2];
    assert!(names(&tar_gz(&double)).unwrap_err().contains("twice"));
}

#[test]
fn large_objects_are_refused() {
    let a = pod("a");
    let bytes = tar_gz(&[("resources/pods/namespaces/n/a.json", &a)]);
    let limits = Limits::with_max_entry(100);
    assert!(
        matches!(read(&bytes[..], limits), Err(Problem::Damaged(problem)) if problem.contains("100"))
    );
}
