//! The objects that item actions name, and which of them are still to be stored. Pure.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::backup::actions::{Acted, Named};
use crate::providers::actions::ItemId;

/// What actions have named.
#[derive(Debug, Default)]
pub(super) struct NamedItems {
    /// Those that are not stored yet, in the order in which they will be.
    waiting: BTreeMap<Key, Named>,
    /// Those to be stored once operations have ended, whether they are stored or not.
    afterwards: BTreeMap<Key, Named>,
    /// What has been dealt with; `None` where no action takes part, so that nobody needs to know.
    dealt: Option<Dealt>,
}

type Key = (String, String, String);

/// Objects as hashes: 16 bytes each, where their names would take a hundred. Two of the same hash would lose one of them,
/// which among a million happens once in 10^26 backups.
#[derive(Debug, Default)]
struct Dealt {
    hashers: (RandomState, RandomState),
    objects: HashSet<u128>,
}

impl Dealt {
    fn hash(&self, resource: &str, namespace: &str, name: &str) -> u128 {
        let object = (resource, namespace, name);
        let (one, other) = &self.hashers;
        u128::from(one.hash_one(object)) << 64 | u128::from(other.hash_one(object))
    }
}

fn key(id: &ItemId) -> Key {
    (id.group_resource(), id.namespace.clone(), id.name.clone())
}

impl NamedItems {
    /// Begins with nothing named; whether objects may be.
    pub(super) fn new(may_be_named: bool) -> Self {
        Self {
            dealt: may_be_named.then(Dealt::default),
            ..Self::default()
        }
    }

    /// Notes that an object is dealt with: stored, or left out for good.
    pub(super) fn deal(&mut self, resource: &str, namespace: &str, name: &str) {
        if let Some(dealt) = &mut self.dealt {
            let hash = dealt.hash(resource, namespace, name);
            dealt.objects.insert(hash);
        }
    }

    fn is_dealt(&self, (resource, namespace, name): &Key) -> bool {
        self.dealt.as_ref().is_none_or(|dealt| {
            let hash = dealt.hash(resource, namespace, name);
            dealt.objects.contains(&hash)
        })
    }

    /// Takes what was named for an item.
    pub(super) fn take_names(&mut self, acted: &mut Acted) {
        for named in acted.named.drain(..) {
            let key = key(&named.id);
            // One that was not dealt with may be by the time that its turn comes.
            if !self.is_dealt(&key) {
                add(&mut self.waiting, key, named);
            }
        }
        for named in acted.afterwards.drain(..) {
            add(&mut self.afterwards, key(&named.id), named);
        }
    }

    /// Returns what is to be stored now. Each counts as dealt with.
    pub(super) fn next(&mut self) -> Vec<Named> {
        let mut next = Vec::new();
        for (key, named) in std::mem::take(&mut self.waiting) {
            if !self.is_dealt(&key) {
                self.deal(&key.0, &key.1, &key.2);
                next.push(named);
            }
        }
        next
    }

    /// Returns what is to be stored once operations have ended. Each counts as dealt with.
    pub(super) fn afterwards(&mut self) -> Vec<Named> {
        let afterwards = std::mem::take(&mut self.afterwards);
        for (resource, namespace, name) in afterwards.keys() {
            self.deal(resource, namespace, name);
        }
        afterwards.into_values().collect()
    }
}

/// Adds an object; one that has to be stored has to, whoever says so.
fn add(items: &mut BTreeMap<Key, Named>, key: Key, named: Named) {
    let must = named.must;
    items.entry(key).or_insert(named).must |= must;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(resource: &str, namespace: &str, name: &str, must: bool) -> Named {
        Named {
            id: ItemId {
                group: String::new(),
                resource: resource.into(),
                namespace: namespace.into(),
                name: name.into(),
            },
            by: "by".into(),
            must,
        }
    }

    fn take(items: &mut NamedItems, named: Vec<Named>, afterwards: Vec<Named>) {
        items.take_names(&mut Acted {
            named,
            afterwards,
            ..Acted::default()
        });
    }

    fn names(named: &[Named]) -> Vec<String> {
        named.iter().map(|one| one.id.to_string()).collect()
    }

    #[test]
    fn each_is_stored_once_and_in_order() {
        let mut items = NamedItems::new(true);
        items.deal("pods", "n", "stored");
        let some = vec![
            named("secrets", "n", "b", false),
            named("pods", "n", "stored", false),
            named("pods", "n", "soon", false),
            named("secrets", "m", "z", false),
            named("secrets", "n", "b", true),
        ];
        take(&mut items, some, Vec::new());
        items.deal("pods", "n", "soon");
        let next = items.next();
        assert_eq!(names(&next), ["secrets m/z", "secrets n/b"]);
        assert!(next[1].must, "one of the two said so");
        take(
            &mut items,
            vec![named("secrets", "n", "b", false)],
            Vec::new(),
        );
        assert!(items.next().is_empty());
    }

    #[test]
    fn what_is_stored_afterwards_is_stored_whatever_was_before() {
        let mut items = NamedItems::new(true);
        items.deal("pods", "n", "a");
        let some = vec![
            named("pods", "n", "a", true),
            named("pods", "n", "b", true),
            named("pods", "n", "a", true),
        ];
        take(&mut items, Vec::new(), some);
        assert_eq!(names(&items.afterwards()), ["pods n/a", "pods n/b"]);
        assert!(items.afterwards().is_empty());
        take(&mut items, vec![named("pods", "n", "b", false)], Vec::new());
        assert!(items.next().is_empty());
    }
}
