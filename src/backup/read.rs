//! Reads the selected types side by side, within one byte budget, and hands their pages on in order.
//!
//! A task a type reads page after page into a short queue. Tasks start strictly in the order of the types and a few run
//! at once, so the type whose pages are taken next always has a reader. Pages that are read ahead of it are paid for out
//! of the budget; the type being taken needs no budget, since its queue bounds it: else the ones ahead would starve it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::select::SelectedType;
use crate::cluster::{
    ApiType, Cluster, ClusterError, ClusterErrorKind, Item, ListScope, Page, PageRequest, PageSize,
};

/// Pages of one type that wait to be taken.
const QUEUE: usize = 2;
/// How often a type is begun anew because its continue token died.
const RESTARTS: u32 = 5;

/// How much is read, and how far ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Types read at once.
    pub(crate) workers: usize,
    /// Bytes of pages that may wait ahead of the type being taken.
    pub(crate) ahead: usize,
    /// Bytes that a page should have.
    pub(crate) page: usize,
}

/// What a type's reader delivers.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Objects in the order of their keys.
    Page(ReadPage),
    /// The type cannot be read further.
    Failed(ClusterError),
}

/// Objects that were read together; their budget is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct ReadPage {
    pub(crate) items: Vec<Item>,
    pub(crate) unreadable: Vec<String>,
    /// How many objects of the type follow, where the server knows.
    pub(crate) remaining: u64,
    _budget: Option<OwnedSemaphorePermit>,
}

/// All types being read, to be taken one after the other. Dropping this ends the reading.
#[derive(Debug)]
pub(crate) struct TypeReaders {
    readers: std::vec::IntoIter<TypeReader>,
    _starter: AbortOnDropHandle<()>,
}

impl TypeReaders {
    /// Returns the next type; the one before is not to be taken any more.
    pub(crate) fn next(&mut self) -> Option<TypeReader> {
        self.readers.next()
    }
}

/// One type being read.
#[derive(Debug)]
pub(crate) struct TypeReader {
    pub(crate) api_type: Arc<ApiType>,
    pages: mpsc::Receiver<Delivery>,
    place: usize,
    taken: watch::Sender<usize>,
}

impl TypeReader {
    /// Returns the next page; `None` after the last. The type counts as the one being taken from the first call on.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        self.taken.send_if_modified(|taken| {
            let first = *taken < self.place;
            *taken = self.place.max(*taken);
            first
        });
        self.pages.recv().await
    }
}

/// Begins to read all types; they are to be taken in the same order.
pub(crate) fn read_types(
    cluster: &Cluster,
    types: &[SelectedType],
    label_selector: Option<&str>,
    limits: ReadLimits,
) -> TypeReaders {
    let workers = Arc::new(Semaphore::new(limits.workers.max(1)));
    let budget = Budget {
        kib: Arc::new(Semaphore::new(kib(limits.ahead) as usize)),
        total: kib(limits.ahead),
    };
    let taken = watch::Sender::new(0);
    let mut readers = Vec::with_capacity(types.len());
    let mut tasks = Vec::with_capacity(types.len());
    for (place, selected) in types.iter().enumerate() {
        let (sender, pages) = mpsc::channel(QUEUE);
        tasks.push(ReadTask {
            cluster: cluster.clone(),
            api_type: Arc::clone(&selected.api_type),
            scopes: selected.scopes.clone(),
            label_selector: label_selector.map(str::to_owned),
            page_bytes: limits.page,
            place,
            taken: taken.subscribe(),
            budget: budget.clone(),
            sender,
        });
        readers.push(TypeReader {
            api_type: Arc::clone(&selected.api_type),
            pages,
            place,
            taken: taken.clone(),
        });
    }
    // One task starts all others, each once it has a worker. Were they to ask for workers themselves, later types could
    // be faster, hold every worker with full queues, and leave none for the type that is being taken.
    let starter = tokio::spawn(async move {
        let mut running = JoinSet::new();
        for task in tasks {
            // The semaphore is never closed.
            let Ok(worker) = Arc::clone(&workers).acquire_owned().await else {
                break;
            };
            running.spawn(async move {
                task.run().await;
                drop(worker);
            });
        }
        while running.join_next().await.is_some() {}
    });
    TypeReaders {
        readers: readers.into_iter(),
        _starter: AbortOnDropHandle::new(starter),
    }
}

/// Reads every object of one type in the whole cluster.
pub(crate) async fn for_each(
    cluster: &Cluster,
    api_type: &Arc<ApiType>,
    limits: ReadLimits,
    mut take: impl FnMut(Item),
) -> Result<(), ClusterError> {
    let all = SelectedType {
        api_type: Arc::clone(api_type),
        scopes: vec![ListScope::Cluster],
    };
    let mut readers = read_types(cluster, &[all], None, limits);
    while let Some(mut reader) = readers.next() {
        while let Some(delivery) = reader.next().await {
            match delivery {
                Delivery::Page(page) => page.items.into_iter().for_each(&mut take),
                Delivery::Failed(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Budget {
    kib: Arc<Semaphore>,
    total: u32,
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1)
}

struct ReadTask {
    cluster: Cluster,
    api_type: Arc<ApiType>,
    scopes: Vec<ListScope>,
    label_selector: Option<String>,
    page_bytes: usize,
    place: usize,
    taken: watch::Receiver<usize>,
    budget: Budget,
    sender: mpsc::Sender<Delivery>,
}

impl ReadTask {
    async fn run(mut self) {
        let mut size = PageSize::new(self.page_bytes);
        for scope in std::mem::take(&mut self.scopes) {
            match self.read_scope(&scope, &mut size).await {
                Ok(true) => {}
                // Nobody takes the pages any more.
                Ok(false) => return,
                Err(error) => {
                    // A receiver that is gone wants to know nothing.
                    drop(self.sender.send(Delivery::Failed(error)).await);
                    return;
                }
            }
        }
    }

    /// Reads one scope to its end; false if nobody listens any more.
    async fn read_scope(
        &mut self,
        scope: &ListScope,
        size: &mut PageSize,
    ) -> Result<bool, ClusterError> {
        let mut token: Option<String> = None;
        // The key of the last object handed on: what a list begun anew has already delivered.
        let mut last_key: Option<String> = None;
        let mut skip_until: Option<String> = None;
        let mut restarts = 0;
        loop {
            let budget = self.reserve(size.target()).await;
            let request = PageRequest {
                scope,
                label_selector: self.label_selector.as_deref(),
                field_selector: None,
                limit: size.limit(),
                continue_token: token.as_deref(),
            };
            let page = match self.cluster.list_page(&self.api_type, &request).await {
                Ok(page) => page,
                Err(error) if error.kind == ClusterErrorKind::Gone && restarts < RESTARTS => {
                    tracing::info!(
                        resource = self.api_type.group_resource(),
                        "a continue token died: reading again"
                    );
                    restarts += 1;
                    token = None;
                    skip_until.clone_from(&last_key);
                    continue;
                }
                Err(error) => return Err(error),
            };
            size.learn(page.items.len(), page.size);
            token.clone_from(&page.continue_token);
            let page = arrange(page, skip_until.as_deref(), budget);
            if let Some(last) = page.items.last() {
                last_key = Some(last.header.key());
            }
            if self.sender.send(Delivery::Page(page)).await.is_err() {
                return Ok(false);
            }
            if token.is_none() {
                return Ok(true);
            }
        }
    }

    /// Waits until a page may be read: paid for out of the budget, or because its type is being taken.
    async fn reserve(&mut self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let amount = kib(bytes).min(self.budget.total);
        let place = self.place;
        tokio::select! {
            biased;
            _ = self.taken.wait_for(|taken| *taken >= place) => None,
            permit = Arc::clone(&self.budget.kib).acquire_many_owned(amount) => permit.ok(),
        }
    }
}

/// Sorts a page where the server did not, and leaves out what was delivered before.
fn arrange(page: Page, skip_until: Option<&str>, budget: Option<OwnedSemaphorePermit>) -> ReadPage {
    let Page {
        mut items,
        unreadable,
        remaining,
        ..
    } = page;
    if !items.is_sorted_by(|a, b| a.header.key() <= b.header.key()) {
        items.sort_by_cached_key(|item| item.header.key());
    }
    if let Some(skip_until) = skip_until {
        items.retain(|item| item.header.key().as_str() > skip_until);
    }
    ReadPage {
        items,
        unreadable,
        remaining: remaining.unwrap_or_default(),
        _budget: budget,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cluster::ItemHeader;

    fn page(names: &[&str]) -> Page {
        Page {
            items: names
                .iter()
                .map(|name| Item {
                    header: ItemHeader {
                        name: (*name).to_owned(),
                        namespace: "n".into(),
                        ..ItemHeader::default()
                    },
                    body: Bytes::new(),
                })
                .collect(),
            unreadable: Vec::new(),
            continue_token: None,
            remaining: None,
            size: 0,
        }
    }

    #[test]
    fn sorts_and_skips_what_was_delivered() {
        let names = |page: &ReadPage| {
            page.items
                .iter()
                .map(|item| item.header.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&arrange(page(&["b", "a"]), None, None)), ["a", "b"]);
        assert_eq!(
            names(&arrange(page(&["a", "b", "c"]), Some("n/b"), None)),
            ["c"]
        );
    }
}
