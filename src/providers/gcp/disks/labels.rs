//! Tags on disks and snapshots: as labels, as far as Google's rules for labels allow, and as they are in the
//! description, where Kubernetes and Ark have always put them as JSON.
//!
//! A label's key and value have at most 63 characters out of small letters, digits, `-` and `_`; a key begins with a
//! letter; there are at most 64 (<https://cloud.google.com/compute/docs/labeling-resources>).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

type Tags = BTreeMap<String, String>;

const LONGEST: usize = 63;
const MOST: usize = 64;
/// The longest description that the API takes.
const LONGEST_DESCRIPTION: usize = 2048;
/// What keys that are Google's own begin with.
const GOOGLES: &str = "goog";

/// Returns what stands in a label for the name or the text of a tag.
pub(super) fn fitting(text: &str) -> String {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' => c,
        _ => '-',
    };
    text.chars().map(fit).take(LONGEST).collect()
}

/// Returns the labels for tags, beside the ones of what is copied; the tags win.
pub(super) fn labels(tags: &Tags, others: &Tags) -> Tags {
    let mut labels: Tags = tags
        .iter()
        .map(|(name, text)| (fitting(name), fitting(text)))
        .filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    for (name, text) in others {
        if labels.len() < MOST && !name.starts_with(GOOGLES) && !labels.contains_key(name) {
            labels.insert(name.clone(), text.clone());
        }
    }
    labels
}

/// Returns the description for tags, beside what stands in the one of what is copied; the tags win.
///
/// A description that is not JSON is not kept.
pub(super) fn description(tags: &Tags, other: &str) -> String {
    let written = |mut all: Map<String, Value>| {
        for (name, text) in tags {
            all.insert(name.clone(), text.as_str().into());
        }
        Value::Object(all).to_string()
    };
    let merged = written(serde_json::from_str(other).unwrap_or_default());
    if merged.chars().count() <= LONGEST_DESCRIPTION {
        return merged;
    }
    written(Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::snapshotter::tags;

    fn map(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn tags_become_labels() {
        let long = "x".repeat(100);
        let tags = map(&[
            (tags::BACKUP, "Nightly.2026"),
            (tags::TOKEN, "0123456789abcdef0123456789abcdef"),
            ("1st", "has no letter first"),
            (&long, &long),
        ]);
        let expected = map(&[
            ("ark-heptio-com-backup", "nightly-2026"),
            ("ark-heptio-com-token", "0123456789abcdef0123456789abcdef"),
            (&long[..63], &long[..63]),
        ]);
        assert_eq!(labels(&tags, &Tags::new()), expected);
    }

    #[test]
    fn labels_of_the_disk_come_beside_them() {
        let tags = map(&[(tags::TOKEN, "new")]);
        let disk = map(&[
            ("team", "a"),
            ("ark-heptio-com-token", "old"),
            ("goog-gke-volume", ""),
        ]);
        assert_eq!(
            labels(&tags, &disk),
            map(&[("team", "a"), ("ark-heptio-com-token", "new")])
        );
        let many: Tags = (0..100).map(|n| (format!("k{n}"), String::new())).collect();
        let found = labels(&tags, &many);
        assert_eq!(found.len(), 64);
        assert_eq!(found["ark-heptio-com-token"], "new");
    }

    #[test]
    fn descriptions_are_merged() {
        let ours = map(&[("b", "new")]);
        for (other, expected) in [
            ("", r#"{"b":"new"}"#),
            ("made by hand", r#"{"b":"new"}"#),
            ("[]", r#"{"b":"new"}"#),
            (r#"{"a":"1","b":"old"}"#, r#"{"a":"1","b":"new"}"#),
        ] {
            assert_eq!(description(&ours, other), expected, "{other}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(2040));
        assert_eq!(description(&ours, &long), r#"{"b":"new"}"#);
    }
}
