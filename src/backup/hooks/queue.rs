//! The pods of a backup that have stepped aside for their hooks.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::HookNotes;
use super::run::{HookRunner, Hooked};
use crate::backup::actions::Acted;
use crate::cluster::{Item, ItemHeader};

/// Bytes of pods that may wait for their hooks while everything else is being stored.
const HELD: usize = 1 << 20;

/// The pods of a backup that have hooks, in the order in which they were listed. Their hooks run while the rest is read
/// and stored; so many as are held here are stored last.
#[derive(Debug)]
pub(crate) struct HookedPods<'a> {
    runner: &'a HookRunner,
    waiting: VecDeque<Waiting>,
    held: usize,
}

#[derive(Debug)]
struct Waiting {
    namespace: String,
    name: String,
    size: usize,
    task: JoinHandle<Hooked>,
}

impl<'a> HookedPods<'a> {
    pub(crate) fn new(runner: &'a HookRunner) -> Self {
        Self {
            runner,
            waiting: VecDeque::new(),
            held: 0,
        }
    }

    /// Takes the pods that have hooks out of a page, and begins to run them.
    pub(crate) fn take(&mut self, items: &mut Vec<Item>) {
        items.retain(|item| {
            let Some(hooks) = self.runner.hooks_of(item) else {
                return true;
            };
            let ItemHeader {
                namespace, name, ..
            } = &item.header;
            if !hooks.running {
                tracing::info!(
                    namespace,
                    pod = name,
                    "the pod does not run; nor do its hooks"
                );
                return true;
            }
            self.held += item.body.len();
            self.waiting.push_back(Waiting {
                namespace: namespace.clone(),
                name: name.clone(),
                size: item.body.len(),
                // A copy, since the bytes are a part of the page, all of which would stay.
                task: self.runner.begin(
                    Item {
                        header: item.header.clone(),
                        body: Bytes::copy_from_slice(&item.body),
                    },
                    hooks,
                ),
            });
            false
        });
    }

    /// Returns whether so many pods wait that the first is to be stored before more are read.
    pub(crate) fn are_too_many(&self) -> bool {
        self.held > HELD
    }

    /// Waits for the hooks of the pod that was taken first; `None` if no pod is left.
    pub(crate) async fn next(&mut self) -> Option<Hooked> {
        let first = self.waiting.pop_front()?;
        self.held -= first.size;
        Some(first.task.await.unwrap_or_else(|error| {
            let mut notes = HookNotes::default();
            notes.results.errors.add(
                Some(&first.namespace),
                format!(
                    "pods {}: its hooks broke off: {error}; it is not in this backup",
                    first.name
                ),
            );
            Hooked {
                acted: Acted::default(),
                notes,
            }
        }))
    }
}
