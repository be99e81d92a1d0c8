//! Takes the pages as they come, leaves out what does not belong, and passes the rest on to the writer; then fetches
//! what the stored objects need and what item actions name ([`tail`]).

mod batch;
mod named;
mod tail;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};

use self::batch::type_key;
pub(crate) use self::batch::{Batch, NamespaceNames, TypeFields};
use self::named::NamedItems;
use super::actions::{Acted, ForType, ItemActions, Pass, Taken};
use super::hooks::{HookCounts, HookRunner, Hooked, HookedPods};
use super::needs::{self, Needs};
use super::read::{self, Delivery, ReadLimits, ReadPage, TypeReader};
use super::select::{ClusterScoped, Selection};
use super::volumes::VolumeTaker;
use crate::api::{Progress, Results, labels};
use crate::cluster::{ApiType, Cluster, ClusterErrorKind, Discovery, Item, ItemHeader};

/// The type whose objects can have hooks.
pub(crate) const PODS: &str = "pods";
/// Objects that item actions look at at once.
const LOOKS: usize = 8;

/// What was sent to the writer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Collected {
    /// Objects that the filters chose.
    pub(crate) selected: u64,
    /// Objects in all: with those that others need, without those that their hooks or an item action left out.
    pub(crate) items: u64,
    /// The hooks of chosen pods.
    pub(crate) hooks: HookCounts,
}

/// Nobody takes the objects any more; the writer knows why.
#[derive(Debug)]
pub(crate) struct WriterGone;

/// Reads what is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collector<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) discovery: &'a Discovery,
    pub(crate) selection: &'a Selection,
    pub(crate) skipped_namespaces: &'a BTreeSet<String>,
    pub(crate) limits: ReadLimits,
    pub(crate) hooks: &'a HookRunner,
    pub(crate) actions: &'a ItemActions,
    pub(crate) volumes: &'a VolumeTaker,
    pub(crate) progress: &'a watch::Sender<Progress>,
}

/// What has come of a backup so far, and the way to the writer.
struct Sink<'r> {
    writer: mpsc::Sender<Batch>,
    collected: Collected,
    results: &'r mut Results,
    /// What chosen objects need; `None` where the lists hold all of it.
    needs: Option<Needs>,
    named: NamedItems,
}

/// Returns whether an object's labels leave it out of backups.
pub(crate) fn is_excluded(header: &ItemHeader) -> bool {
    labels::EXCLUDE_FROM_BACKUP.iter().any(|label| {
        header
            .labels
            .get(*label)
            .is_some_and(|value| value == "true")
    })
}

impl Sink<'_> {
    /// Takes what actions said of an item; returns the item if it is stored.
    fn take(&mut self, mut acted: Acted) -> Option<Taken> {
        self.named.take_names(&mut acted);
        self.results.merge(acted.results);
        acted.taken
    }

    async fn send(
        &mut self,
        api_type: &ApiType,
        items: Vec<Taken>,
        page: Option<ReadPage>,
        again: bool,
    ) -> Result<(), WriterGone> {
        self.collected.items += items.len() as u64;
        let batch = Batch {
            type_key: type_key(api_type),
            items,
            again,
            _page: page,
        };
        self.writer.send(batch).await.map_err(|_| WriterGone)
    }
}

impl Collector<'_> {
    /// Sends everything to the writer, in the archive's order.
    pub(crate) async fn collect(
        self,
        writer: mpsc::Sender<Batch>,
        results: &mut Results,
    ) -> Result<Collected, WriterGone> {
        let mut sink = Sink {
            writer,
            collected: Collected::default(),
            results,
            needs: self.looks_for_needs().then(Needs::default),
            named: NamedItems::new(self.actions.are_there()),
        };
        let mut hooked = HookedPods::new(self.hooks);
        let mut readers = read::read_types(
            self.cluster,
            &self.selection.types,
            self.selection.label_selector.as_deref(),
            self.limits,
        );
        while let Some(reader) = readers.next() {
            self.take_type(reader, &mut sink, &mut hooked).await?;
        }
        while self.take_hooked(&mut hooked, &mut sink).await? {}
        self.take_tail(&mut sink).await?;
        Ok(sink.collected)
    }

    /// Returns whether chosen objects may need others that the lists do not hold anyway.
    fn looks_for_needs(&self) -> bool {
        self.selection.label_selector.is_some()
            || self.selection.cluster_scoped == ClusterScoped::Needed
    }

    async fn take_type(
        &self,
        mut reader: TypeReader,
        sink: &mut Sink<'_>,
        hooked: &mut HookedPods<'_>,
    ) -> Result<(), WriterGone> {
        let api_type = Arc::clone(&reader.api_type);
        let name = api_type.group_resource();
        let has_hooks = name == PODS;
        let asked = self.actions.for_type(&api_type);
        let before = sink.collected.items;
        while let Some(delivery) = reader.next().await {
            let mut page = match delivery {
                Delivery::Page(page) => page,
                Delivery::Failed(error) => {
                    match error.kind {
                        // The type, or its namespace, went away while the backup was running: there is nothing to miss.
                        ClusterErrorKind::NotFound => sink
                            .results
                            .warnings
                            .add_ark(format!("{name}: no longer served when it was read")),
                        _ => sink.results.errors.add_ark(format!(
                            "{name}: its objects are missing, or some of them: {error}"
                        )),
                    }
                    tracing::warn!(resource = name, %error, "a type could not be read");
                    break;
                }
            };
            for problem in &page.unreadable {
                sink.results.errors.add_ark(format!("{name}: {problem}"));
            }
            let mut items = std::mem::take(&mut page.items);
            items.retain(|item| self.takes(&name, &item.header));
            sink.collected.selected += items.len() as u64;
            for item in &items {
                sink.named
                    .deal(&name, &item.header.namespace, &item.header.name);
            }
            if has_hooks {
                hooked.take(&mut items);
            }
            let items = match &asked {
                None => items.into_iter().map(Taken::as_served).collect(),
                Some(asked) => self.act_on_page(asked, items, sink).await,
            };
            self.note_stored(&api_type, &name, &items, sink);
            let remaining = page.remaining;
            sink.send(&api_type, items, Some(page), false).await?;
            self.progress.send_replace(Progress {
                items_done: sink.collected.items,
                total_items: sink.collected.items + remaining,
                ..Progress::default()
            });
            while hooked.are_too_many() {
                self.take_hooked(hooked, sink).await?;
            }
        }
        if sink.collected.items > before {
            tracing::info!(
                resource = name,
                items = sink.collected.items - before,
                "stored"
            );
        }
        Ok(())
    }

    /// Has actions look at the items of a page that they are for, some at once; the order stays.
    async fn act_on_page(
        &self,
        asked: &ForType,
        items: Vec<Item>,
        sink: &mut Sink<'_>,
    ) -> Vec<Taken> {
        let mut page: Vec<Option<Taken>> = Vec::with_capacity(items.len());
        let mut looked_at = Vec::new();
        for item in items {
            if self.actions.are_for(asked, &item) {
                looked_at.push((page.len(), item));
                page.push(None);
            } else {
                page.push(Some(Taken::as_served(item)));
            }
        }
        let mut acted = stream::iter(looked_at)
            .map(async |(place, item)| (place, self.actions.act(asked, item, Pass::First).await))
            .buffered(LOOKS);
        while let Some((place, acted)) = acted.next().await {
            page[place] = sink.take(acted);
        }
        page.into_iter().flatten().collect()
    }

    /// Tells those who want to know what is stored.
    fn note_stored(&self, api_type: &ApiType, name: &str, items: &[Taken], sink: &mut Sink<'_>) {
        self.note_volumes(name, items);
        if let Some(needs) = &mut sink.needs {
            for Taken { item, .. } in items {
                needs.note(api_type, name, &item.header, &item.body);
            }
        }
    }

    /// Tells whoever takes volumes what is stored: volumes, claims, and pods, whose volumes are taken together.
    fn note_volumes(&self, name: &str, items: &[Taken]) {
        for Taken { item, .. } in items {
            match name {
                needs::VOLUMES => self.volumes.note_volume(&item.header, &item.body),
                needs::CLAIMS => self.volumes.note_claim(&item.header, &item.body),
                PODS => {
                    let claims = self.volumes.claims_of(item);
                    if !claims.is_empty() {
                        drop(self.volumes.begin_pod(&item.header.namespace, claims));
                    }
                }
                _ => return,
            }
        }
    }

    /// Waits for the hooks of the first pod that has some, and stores it; false if no such pod is left.
    async fn take_hooked(
        &self,
        hooked: &mut HookedPods<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, WriterGone> {
        let Some(Hooked { acted, notes }) = hooked.next().await else {
            return Ok(false);
        };
        sink.collected.hooks.add(notes.counts);
        sink.results.merge(notes.results);
        let api_type = self.discovery.by_group_resource(PODS);
        if let (Some(pod), Some(api_type)) = (sink.take(acted), api_type) {
            if let Some(needs) = &mut sink.needs {
                needs.note(api_type, PODS, &pod.item.header, &pod.item.body);
            }
            sink.send(api_type, vec![pod], None, false).await?;
        }
        Ok(true)
    }

    /// Returns whether a listed object is taken. Its type is one of the selection's, or it would not be listed.
    fn takes(&self, name: &str, header: &ItemHeader) -> bool {
        let namespace = if name == "namespaces" {
            &header.name
        } else {
            &header.namespace
        };
        let in_namespaces = namespace.is_empty()
            || (self.selection.namespaces.includes(namespace) && !self.skips(namespace));
        in_namespaces && !header.deleting && !is_excluded(header)
    }

    fn skips(&self, namespace: &str) -> bool {
        self.skipped_namespaces.contains(namespace)
    }
}
