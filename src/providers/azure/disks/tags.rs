//! Tags of Azure's resources.
//!
//! A resource has at most 50; a name has at most 512 characters, none of `<>%&\?/`, and does not mind its case; a value
//! has at most 256 characters
//! (<https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations>).

use std::collections::BTreeMap;

type Tags = BTreeMap<String, String>;

const MOST: usize = 50;
const LONGEST_NAME: usize = 512;
const LONGEST_VALUE: usize = 256;

/// Returns the name that a tag has at Azure, as Ark has always written it.
pub(super) fn name(tag: &str) -> String {
    tag.chars()
        .map(|c| match c {
            '<' | '>' | '%' | '&' | '\\' | '?' | '/' => '-',
            c => c,
        })
        .take(LONGEST_NAME)
        .collect()
}

/// Returns tags as Azure takes them. Of those that say the same thing, the ones named first win.
pub(super) fn merged(all: &[&Tags]) -> Tags {
    let mut merged = Tags::new();
    for (key, value) in all.iter().copied().flatten() {
        let key = name(key);
        let is_there = merged.keys().any(|there| there.eq_ignore_ascii_case(&key));
        if merged.len() < MOST && !is_there {
            merged.insert(key, value.chars().take(LONGEST_VALUE).collect());
        }
    }
    merged
}

/// Returns whether a resource has a tag with a value.
pub(super) fn has(tags: &Tags, tag: &str, value: &str) -> bool {
    let key = name(tag);
    tags.iter()
        .any(|(there, text)| there.eq_ignore_ascii_case(&key) && text == value)
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
    fn the_first_win_and_the_disks_stay() {
        let ours = map(&[(tags::TOKEN, "new")]);
        let disk = map(&[("team", "a"), ("Ark.heptio.com-Token", "old")]);
        let expected = map(&[("ark.heptio.com-token", "new"), ("team", "a")]);
        assert_eq!(merged(&[&ours, &disk]), expected);
        assert!(has(&disk, tags::TOKEN, "old"));
        assert!(!has(&disk, tags::TOKEN, "new"));
    }

    #[test]
    fn limits_are_kept() {
        let ours = map(&[(tags::TOKEN, "t"), ("long", &"x".repeat(300))]);
        let many: Tags = (0..100).map(|n| (format!("k{n}"), String::new())).collect();
        let found = merged(&[&ours, &many]);
        assert_eq!(found.len(), 50);
        assert_eq!(found["ark.heptio.com-token"], "t");
        assert_eq!(found["long"].len(), 256);
        assert_eq!(name(r"a<b>c%d&e\f?g/h"), "a-b-c-d-e-f-g-h");
        assert_eq!(name(&"x".repeat(600)).len(), 512);
    }
}
