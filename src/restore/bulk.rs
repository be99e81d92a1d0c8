//! Looks at what is there already in bulk: where a wave brings many objects of a type into namespaces that were there
//! before, the API server is asked for all of them, page by page, instead of for each.
//!
//! A restore into new namespaces asks for nothing. What is created or deleted between the listing and its turn is met as
//! everywhere: by the answer to the create. A page is as large as [`PAGE_BYTES`], as far as that can be known beforehand,
//! and is dealt with before the next is read.

use std::collections::HashMap;

use bytes::Bytes;

use crate::cluster::{ApiType, ClusterErrorKind, Item, ListScope, PageRequest, PageSize};

use super::apply::Applier;
use super::plan::Step;

/// From how many objects on it is worth a listing.
const WORTHWHILE: usize = 20;
/// How many bytes a page should have.
const PAGE_BYTES: usize = 512 << 10;
/// How many objects there may be for each one that is restored; of more it is cheaper to ask one by one.
const CROWD: usize = 5;
/// How often a listing is begun anew because its continue token died.
const RESTARTS: u32 = 5;

/// The steps of one type, by target namespace (empty for those without) and name.
#[derive(Debug, Default)]
struct OfType<'s>(HashMap<&'s str, HashMap<&'s str, Step>>);

impl<'s> OfType<'s> {
    fn add(&mut self, namespace: Option<&'s str>, name: &'s str, step: Step) {
        let namespace = namespace.unwrap_or_default();
        self.0.entry(namespace).or_default().insert(name, step);
    }

    /// Returns what is worth listing first, and how many objects are looked for there.
    ///
    /// Of several namespaces the whole cluster, for which one request may do.
    fn first(&self) -> Option<(ListScope, usize)> {
        if self.0.len() > 1 {
            let all = self.0.values().map(HashMap::len).sum();
            return (all >= WORTHWHILE).then_some((ListScope::Cluster, all));
        }
        self.each().pop()
    }

    /// Returns each namespace that is worth listing by itself, and how many objects are looked for there.
    fn each(&self) -> Vec<(ListScope, usize)> {
        self.0
            .iter()
            .filter(|(_, steps)| steps.len() >= WORTHWHILE)
            .map(|(namespace, steps)| {
                let scope = if namespace.is_empty() {
                    ListScope::Cluster
                } else {
                    ListScope::Namespace((*namespace).to_owned())
                };
                (scope, steps.len())
            })
            .collect()
    }

    fn take(&mut self, item: &Item) -> Option<Step> {
        self.0
            .get_mut(item.header.namespace.as_str())?
            .remove(item.header.name.as_str())
    }
}

/// How a listing ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Listed {
    /// What is left was not there.
    All,
    /// There is too much else, or the server does not list it.
    Not,
}

impl Applier<'_> {
    /// Deals with the objects of a wave that are found in bulk; returns the steps that are left.
    pub(super) async fn in_bulk(&self, steps: &[Step]) -> Vec<Step> {
        let mut types: HashMap<usize, OfType<'_>> = HashMap::new();
        let mut left = Vec::new();
        for step in steps {
            let namespace = self.namespace_of(step);
            if namespace.is_none_or(|namespace| self.old_namespaces.contains(namespace)) {
                let name = self.name_of(step);
                let of_type = types.entry(step.planned_type).or_default();
                of_type.add(namespace, name, *step);
            } else {
                left.push(*step);
            }
        }
        for (planned_type, mut of_type) in types {
            if let Some(api_type) = self.types[planned_type].served.clone() {
                self.list_type(&api_type, &mut of_type).await;
            }
            left.extend(of_type.0.into_values().flat_map(HashMap::into_values));
        }
        // As they are stored, so that each frame is read once.
        left.sort_unstable_by_key(|step| step.entry);
        left
    }

    async fn list_type(&self, api_type: &ApiType, of_type: &mut OfType<'_>) {
        let several = of_type.0.len() > 1;
        let Some((scope, wanted)) = of_type.first() else {
            return;
        };
        if self.list(api_type, &scope, wanted, of_type).await == Listed::All || !several {
            return;
        }
        for (scope, wanted) in of_type.each() {
            self.list(api_type, &scope, wanted, of_type).await;
        }
    }

    /// Takes out those that are there, and deals with them.
    async fn list(
        &self,
        api_type: &ApiType,
        scope: &ListScope,
        wanted: usize,
        of_type: &mut OfType<'_>,
    ) -> Listed {
        let most = wanted.saturating_mul(CROWD) as u64;
        let mut missing = wanted;
        let mut size = PageSize::new(PAGE_BYTES);
        // What is there is most likely as large as what is stored.
        let stored = of_type.0.values().flat_map(HashMap::values);
        let (objects, bytes) = stored.fold((0, 0), |(objects, bytes), step| {
            let length = self.opened.entries()[step.entry].length as usize;
            (objects + 1, bytes + length)
        });
        size.learn(objects, bytes);
        let mut token: Option<String> = None;
        let mut restarts = 0;
        while missing > 0 && !self.patience.is_lost() {
            let request = PageRequest {
                scope,
                label_selector: None,
                field_selector: None,
                limit: size.limit(),
                continue_token: token.as_deref(),
            };
            let page = match self.cluster.list_page(api_type, &request).await {
                Ok(page) => page,
                // What has been found is not looked for any more.
                Err(error) if error.kind == ClusterErrorKind::Gone && restarts < RESTARTS => {
                    restarts += 1;
                    token = None;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "what is there is looked at one by one");
                    return Listed::Not;
                }
            };
            if page.remaining.is_some_and(|remaining| remaining > most) {
                return Listed::Not;
            }
            size.learn(page.items.len(), page.size);
            let mut found: HashMap<usize, Bytes> = HashMap::new();
            let mut steps = Vec::new();
            for item in page.items {
                if let Some(step) = of_type.take(&item) {
                    found.insert(step.entry, item.body);
                    steps.push(step);
                }
            }
            missing -= steps.len();
            self.work(&steps, &found).await;
            token = page.continue_token;
            if token.is_none() {
                break;
            }
        }
        Listed::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_listed_where_that_is_worth_a_request() {
        let namespace = |name: &str| ListScope::Namespace(name.to_owned());
        for (what, namespaces, first, each) in [
            ("few in one", vec![("a", 19)], None, vec![]),
            (
                "many in one",
                vec![("a", 20)],
                Some((namespace("a"), 20)),
                vec![(namespace("a"), 20)],
            ),
            (
                "many of no namespace",
                vec![("", 30)],
                Some((ListScope::Cluster, 30)),
                vec![(ListScope::Cluster, 30)],
            ),
            ("few in two", vec![("a", 9), ("b", 10)], None, vec![]),
            (
                "few in each, many together",
                vec![("a", 10), ("b", 15)],
                Some((ListScope::Cluster, 25)),
                vec![],
            ),
            (
                "many in one of two",
                vec![("a", 1), ("b", 25)],
                Some((ListScope::Cluster, 26)),
                vec![(namespace("b"), 25)],
            ),
        ] {
            let names: Vec<String> = (0..30).map(|name| name.to_string()).collect();
            let mut of_type = OfType::default();
            for (namespace, count) in namespaces {
                for name in &names[..count] {
                    let step = Step {
                        entry: 0,
                        planned_type: 0,
                        wave: 0,
                        job_restored: false,
                    };
                    let namespace = Some(namespace).filter(|name| !name.is_empty());
                    of_type.add(namespace, name, step);
                }
            }
            assert_eq!(of_type.first(), first, "{what}");
            assert_eq!(of_type.each(), each, "{what}");
        }
    }
}
