//! The warnings and errors of a run, as they are stored beside it (ark.md, 6): by namespace, for the cluster, and for
//! Ark itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::serde_util::null_as_default;

/// The warnings and errors of a run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Results {
    /// What a user may want to know; nothing is missing because of it.
    #[serde(deserialize_with = "null_as_default")]
    pub warnings: ResultList,
    /// What went wrong; something is missing because of it.
    #[serde(deserialize_with = "null_as_default")]
    pub errors: ResultList,
}

/// Messages by where they belong.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ResultList {
    /// About the run as a whole. Velero calls it `velero`.
    #[serde(alias = "velero", deserialize_with = "null_as_default")]
    pub ark: Vec<String>,
    /// About cluster-scoped objects.
    #[serde(deserialize_with = "null_as_default")]
    pub cluster: Vec<String>,
    /// About objects in namespaces.
    #[serde(deserialize_with = "null_as_default")]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl Results {
    /// Adds the warnings and errors of `other`.
    pub fn merge(&mut self, other: Self) {
        self.warnings.merge(other.warnings);
        self.errors.merge(other.errors);
    }
}

impl ResultList {
    fn merge(&mut self, other: Self) {
        self.ark.extend(other.ark);
        self.cluster.extend(other.cluster);
        for (namespace, messages) in other.namespaces {
            self.namespaces
                .entry(namespace)
                .or_default()
                .extend(messages);
        }
    }

    /// Adds a message about the run as a whole.
    pub fn add_ark(&mut self, message: impl Into<String>) {
        self.ark.push(message.into());
    }

    /// Adds a message about an object in `namespace`, or about a cluster-scoped one if that is `None` or empty.
    pub fn add(&mut self, namespace: Option<&str>, message: impl Into<String>) {
        match namespace {
            Some(namespace) if !namespace.is_empty() => {
                self.namespaces
                    .entry(namespace.to_owned())
                    .or_default()
                    .push(message.into());
            }
            _ => self.cluster.push(message.into()),
        }
    }

    /// Returns the number of messages.
    pub fn count(&self) -> u64 {
        let count = self.ark.len()
            + self.cluster.len()
            + self.namespaces.values().map(Vec::len).sum::<usize>();
        count as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_originals_wrote() {
        let stored = r#"{"warnings":{"velero":["v"],"cluster":null,"namespaces":{"n":["a","b"]}},"errors":{}}"#;
        let results: Results = serde_json::from_str(stored).unwrap();
        assert_eq!(results.warnings.count(), 3);
        assert_eq!(results.errors.count(), 0);
    }

    #[test]
    fn sorts_messages_by_place() {
        let mut list = ResultList::default();
        list.add(Some("n"), "a");
        list.add(Some(""), "b");
        list.add(None, "c");
        list.add_ark("d");
        assert_eq!(
            (
                list.namespaces["n"].len(),
                list.cluster.len(),
                list.ark.len(),
                list.count()
            ),
            (1, 2, 1, 4)
        );
    }

    #[test]
    fn merges_message_by_message() {
        let mut one = Results::default();
        one.warnings.add(Some("n"), "a");
        let mut other = one.clone();
        other.warnings.add(Some("m"), "b");
        other.errors.add_ark("c");
        one.merge(other);
        assert_eq!(one.warnings.namespaces["n"], ["a", "a"]);
        assert_eq!((one.warnings.count(), one.errors.count()), (3, 1));
    }
}
