//! Include and exclude lists, as backups, restores and hooks have them for namespaces and types.

use std::collections::BTreeSet;

/// A pair of lists: what to take and what to leave out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IncludesExcludes {
    includes: BTreeSet<String>,
    excludes: BTreeSet<String>,
}

impl IncludesExcludes {
    /// Makes the filter of two lists; no includes, or `*` among them, means everything.
    pub fn new<'a>(
        includes: impl IntoIterator<Item = &'a String>,
        excludes: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        Self {
            includes: includes.into_iter().cloned().collect(),
            excludes: excludes.into_iter().cloned().collect(),
        }
    }

    /// Returns whether `item` is taken.
    pub fn includes(&self, item: &str) -> bool {
        !self.excludes.contains(item)
            && (self.includes_everything() || self.includes.contains(item))
    }

    /// Returns whether every item that is not excluded is taken.
    pub fn includes_everything(&self) -> bool {
        self.includes.is_empty() || self.includes.contains("*")
    }

    /// Returns whether nothing at all is filtered.
    pub fn is_unfiltered(&self) -> bool {
        self.includes_everything() && self.excludes.is_empty()
    }

    /// Returns the included names if they are listed one by one; `None` if everything is included.
    pub fn listed(&self) -> Option<&BTreeSet<String>> {
        (!self.includes_everything()).then_some(&self.includes)
    }

    /// Returns the excluded names.
    pub fn excluded(&self) -> &BTreeSet<String> {
        &self.excludes
    }
}

/// Returns what is wrong with a pair of lists, in sentences that call the items `what` (such as `namespaces`).
///
/// The rules are Ark's: `*` stands alone among the includes and never among the excludes, and no item stands in both.
pub fn check(includes: &[String], excludes: &[String], what: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if includes.len() > 1 && includes.iter().any(|item| item == "*") {
        problems.push(format!(
            "included {what}: \"*\" already means all; remove it or the other names"
        ));
    }
    if excludes.iter().any(|item| item == "*") {
        problems.push(format!(
            "excluded {what}: \"*\" would leave nothing; name the {what} to leave out"
        ));
    }
    for item in excludes
        .iter()
        .filter(|item| *item != "*" && includes.contains(item))
    {
        problems.push(format!(
            "{what}: {item:?} is both included and excluded; remove one of the two"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn includes_by_lists() {
        for (includes, excludes, item, taken) in [
            (&[][..], &[][..], "a", true),
            (&["*"], &[], "a", true),
            (&["a"], &[], "a", true),
            (&["a"], &[], "b", false),
            (&[], &["a"], "a", false),
            (&["*"], &["a"], "b", true),
            (&["a"], &["a"], "a", false),
        ] {
            let filter = IncludesExcludes::new(&list(includes), &list(excludes));
            assert_eq!(
                filter.includes(item),
                taken,
                "{includes:?} {excludes:?} {item}"
            );
        }
    }

    #[test]
    fn checks_the_rules() {
        for (includes, excludes, problems) in [
            (&[][..], &[][..], 0),
            (&["*"], &["a"], 0),
            (&["*", "a"], &[], 1),
            (&[], &["*"], 1),
            (&["a", "b"], &["a", "b"], 2),
            (&["*", "a"], &["*", "a"], 3),
        ] {
            let found = check(&list(includes), &list(excludes), "namespaces");
            assert_eq!(
                found.len(),
                problems,
                "{includes:?} {excludes:?}: {found:?}"
            );
        }
    }
}
