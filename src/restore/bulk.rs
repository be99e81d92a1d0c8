//! Looks at what is there already in bulk: where a wave brings many objects of a type into a namespace that was there
//! before, the API server is asked for all of them, page by page, instead of for each.
//!
//! A restore into new namespaces asks for nothing. What is created or deleted between the listing and its turn is met as
//! everywhere: by the answer to the create.

use std::collections::HashMap;

use bytes::Bytes;

use crate::cluster::{ListScope, PageRequest};

use super::apply::Applier;
use super::plan::Step;

/// From how many objects on it is worth a listing.
const WORTHWHILE: usize = 20;
/// How many objects a page has.
const PAGE: u32 = 100;
/// How many objects there may be for each one that is restored; of more it is cheaper to ask one by one.
const CROWD: usize = 5;

/// The steps of one type and one target namespace, by name.
type Group<'s> = HashMap<&'s str, Step>;

impl Applier<'_> {
    /// Deals with the objects of a wave that are found in bulk; returns the steps that are left.
    pub(super) async fn in_bulk(&self, steps: &[Step]) -> Vec<Step> {
        let mut groups: HashMap<(usize, Option<&str>), Group<'_>> = HashMap::new();
        let mut left = Vec::new();
        for step in steps {
            let entry = &self.opened.entries()[step.entry];
            let namespace = entry
                .namespace
                .as_deref()
                .map(|original| self.facts.target_namespace(original));
            if namespace.is_none_or(|namespace| self.old_namespaces.contains(namespace)) {
                groups
                    .entry((step.planned_type, namespace))
                    .or_default()
                    .insert(&entry.name, *step);
            } else {
                left.push(*step);
            }
        }
        for ((planned_type, namespace), mut group) in groups {
            if group.len() >= WORTHWHILE {
                self.list(planned_type, namespace, &mut group).await;
            }
            left.extend(group.into_values());
        }
        // As they are stored, so that each frame is read once.
        left.sort_unstable_by_key(|step| step.entry);
        left
    }

    /// Takes those out of a group that are there, and deals with them.
    async fn list(&self, planned_type: usize, namespace: Option<&str>, group: &mut Group<'_>) {
        let Some(api_type) = self.types[planned_type].served.clone() else {
            return;
        };
        let scope = namespace.map_or(ListScope::Cluster, |name| {
            ListScope::Namespace(name.to_owned())
        });
        let most = group.len().saturating_mul(CROWD) as u64;
        let mut token: Option<String> = None;
        while !group.is_empty() && !self.patience.is_lost() {
            let request = PageRequest {
                scope: &scope,
                label_selector: None,
                field_selector: None,
                limit: PAGE,
                continue_token: token.as_deref(),
            };
            let page = match self.cluster.list_page(&api_type, &request).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "what is there is looked at one by one");
                    return;
                }
            };
            if page.remaining.is_some_and(|remaining| remaining > most) {
                return;
            }
            let mut found: HashMap<usize, Bytes> = HashMap::new();
            let mut steps = Vec::new();
            for item in page.items {
                if let Some(step) = group.remove(item.header.name.as_str()) {
                    found.insert(step.entry, item.body);
                    steps.push(step);
                }
            }
            self.work(&steps, &found).await;
            token = page.continue_token;
            if token.is_none() {
                return;
            }
        }
    }
}
