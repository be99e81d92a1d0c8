//! Takes the pages as they come, leaves out what does not belong, and passes the rest on to the writer; then fetches
//! what the stored objects need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};

use super::hooks::{HookCounts, HookRunner, Hooked, HookedPods};
use super::needs::{self, NEEDED_TYPES, Needs};
use super::read::{self, Delivery, ReadLimits, ReadPage, TypeReader};
use super::select::{ClusterScoped, Selection};
use super::volumes::VolumeTaker;
use crate::api::{Progress, Results, labels};
use crate::archive::{BodyKind, EntryHeader, TypeKey};
use crate::cluster::{ApiType, Cluster, ClusterErrorKind, Discovery, Item, ItemHeader};

/// The type whose objects can have hooks.
const PODS: &str = "pods";
/// Objects of the tail fetched at once.
const FETCHES: usize = 8;

/// Objects on their way to the writer. Holds on to the page's budget until they are written.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) type_key: Arc<TypeKey>,
    pub(crate) items: Vec<Item>,
    pub(crate) _page: Option<ReadPage>,
}

impl Batch {
    /// Returns the archive's header of an item of this batch.
    pub(crate) fn entry(
        &self,
        header: &ItemHeader,
        namespaces: &mut NamespaceNames,
    ) -> EntryHeader {
        EntryHeader {
            type_key: Arc::clone(&self.type_key),
            namespace: (!header.namespace.is_empty()).then(|| namespaces.share(&header.namespace)),
            name: header.name.clone(),
            uid: header.uid.clone(),
            owners: header.owners.clone(),
            labels: header.labels.clone(),
            again: false,
            body: if header.has_type {
                BodyKind::AsServed
            } else {
                BodyKind::TypeAdded
            },
        }
    }
}

/// One copy of each namespace's name.
#[derive(Debug, Default)]
pub(crate) struct NamespaceNames(BTreeSet<Arc<str>>);

impl NamespaceNames {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.0.insert(Arc::clone(&shared));
        shared
    }
}

/// What was sent to the writer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Collected {
    /// Objects that the filters chose.
    pub(crate) selected: u64,
    /// Objects in all: with those that others need, without pods that their hooks left out.
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
    pub(crate) volumes: &'a VolumeTaker,
    pub(crate) progress: &'a watch::Sender<Progress>,
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

impl Collector<'_> {
    /// Sends everything to the writer, in the archive's order.
    pub(crate) async fn collect(
        self,
        writer: mpsc::Sender<Batch>,
        results: &mut Results,
    ) -> Result<Collected, WriterGone> {
        let mut needs = self.looks_for_needs().then(Needs::default);
        let mut collected = Collected::default();
        let mut hooked = HookedPods::new(self.hooks);
        let mut readers = read::read_types(
            self.cluster,
            &self.selection.types,
            self.selection.label_selector.as_deref(),
            self.limits,
        );
        while let Some(reader) = readers.next() {
            self.take_type(
                reader,
                &writer,
                &mut collected,
                needs.as_mut(),
                &mut hooked,
                results,
            )
            .await?;
        }
        while self
            .take_hooked(
                &mut hooked,
                &writer,
                &mut collected,
                needs.as_mut(),
                results,
            )
            .await?
        {}
        if let Some(needs) = needs {
            self.take_needed(needs, &writer, &mut collected, results)
                .await?;
        }
        Ok(collected)
    }

    /// Returns whether chosen objects may need others that the lists do not hold anyway.
    fn looks_for_needs(&self) -> bool {
        self.selection.label_selector.is_some()
            || self.selection.cluster_scoped == ClusterScoped::Needed
    }

    async fn take_type(
        &self,
        mut reader: TypeReader,
        writer: &mpsc::Sender<Batch>,
        collected: &mut Collected,
        mut needs: Option<&mut Needs>,
        hooked: &mut HookedPods<'_>,
        results: &mut Results,
    ) -> Result<(), WriterGone> {
        let api_type = Arc::clone(&reader.api_type);
        let type_key = type_key(&api_type);
        let name = api_type.group_resource();
        let has_hooks = name == PODS;
        let before = collected.items;
        while let Some(delivery) = reader.next().await {
            let mut page = match delivery {
                Delivery::Page(page) => page,
                Delivery::Failed(error) => {
                    match error.kind {
                        // The type, or its namespace, went away while the backup was running: there is nothing to miss.
                        ClusterErrorKind::NotFound => {
                            results
                                .warnings
                                .add_ark(format!("{name}: no longer served when it was read"));
                        }
                        _ => results.errors.add_ark(format!(
                            "{name}: its objects are missing, or some of them: {error}"
                        )),
                    }
                    tracing::warn!(resource = name, %error, "a type could not be read");
                    break;
                }
            };
            for problem in &page.unreadable {
                results.errors.add_ark(format!("{name}: {problem}"));
            }
            let mut items = std::mem::take(&mut page.items);
            items.retain(|item| self.takes(&name, &item.header));
            collected.selected += items.len() as u64;
            if has_hooks {
                hooked.take(&mut items);
            }
            self.note_volumes(&name, &items);
            if let Some(needs) = needs.as_deref_mut() {
                for item in &items {
                    needs.note(&api_type, &name, &item.header, &item.body);
                }
            }
            collected.items += items.len() as u64;
            let remaining = page.remaining;
            let batch = Batch {
                type_key: Arc::clone(&type_key),
                items,
                _page: Some(page),
            };
            writer.send(batch).await.map_err(|_| WriterGone)?;
            self.progress.send_replace(Progress {
                items_done: collected.items,
                total_items: collected.items + remaining,
            });
            while hooked.are_too_many() {
                self.take_hooked(hooked, writer, collected, needs.as_deref_mut(), results)
                    .await?;
            }
        }
        if collected.items > before {
            tracing::info!(resource = name, items = collected.items - before, "stored");
        }
        Ok(())
    }

    /// Tells whoever takes volumes what is stored: volumes, claims, and pods, whose volumes are taken together.
    fn note_volumes(&self, name: &str, items: &[Item]) {
        for item in items {
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
        writer: &mpsc::Sender<Batch>,
        collected: &mut Collected,
        needs: Option<&mut Needs>,
        results: &mut Results,
    ) -> Result<bool, WriterGone> {
        let Some(Hooked { pod, notes }) = hooked.next().await else {
            return Ok(false);
        };
        collected.hooks.add(notes.counts);
        results.merge(notes.results);
        let api_type = self.discovery.by_group_resource(PODS);
        if let (Some(pod), Some(api_type)) = (pod, api_type) {
            if let Some(needs) = needs {
                needs.note(api_type, PODS, &pod.header, &pod.body);
            }
            collected.items += 1;
            let batch = Batch {
                type_key: type_key(api_type),
                items: vec![pod],
                _page: None,
            };
            writer.send(batch).await.map_err(|_| WriterGone)?;
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

    /// Fetches what stored objects need, type by type in an order in which nothing needs an earlier type.
    async fn take_needed(
        &self,
        mut needs: Needs,
        writer: &mpsc::Sender<Batch>,
        collected: &mut Collected,
        results: &mut Results,
    ) -> Result<(), WriterGone> {
        for name in NEEDED_TYPES {
            let Some(api_type) = self.discovery.by_group_resource(name) else {
                continue;
            };
            if name == needs::BINDINGS && needs.has_accounts() {
                self.consider_bindings(api_type, &mut needs, results).await;
            }
            let missing = needs.missing(name);
            let type_key = type_key(api_type);
            let mut fetched = stream::iter(missing)
                .map(async |(namespace, object)| {
                    let admitted = if name == "namespaces" {
                        object.as_str()
                    } else {
                        namespace.as_str()
                    };
                    if !self.selection.admits(api_type, admitted) || self.skips(admitted) {
                        return (namespace, object, Ok(None));
                    }
                    let in_namespace = (!namespace.is_empty()).then_some(namespace.as_str());
                    let body = self.cluster.get(api_type, in_namespace, &object).await;
                    (namespace, object, body)
                })
                .buffered(FETCHES);
            while let Some((namespace, object, body)) = fetched.next().await {
                let body = match body {
                    Ok(Some(body)) => body,
                    // Left out on purpose, or gone: a Pod may well wait for a claim that nobody has made.
                    Ok(None) => continue,
                    Err(error) => {
                        results.errors.add(
                            Some(&namespace),
                            format!("{name} {object}: needed and missing: {error}"),
                        );
                        continue;
                    }
                };
                let header = match ItemHeader::parse(&body) {
                    Ok(header) => header,
                    Err(error) => {
                        results.errors.add(
                            Some(&namespace),
                            format!("{name} {object}: cannot be read: {error}"),
                        );
                        continue;
                    }
                };
                if header.deleting || is_excluded(&header) {
                    continue;
                }
                needs.note(api_type, name, &header, &body);
                collected.items += 1;
                let items = vec![Item { header, body }];
                self.note_volumes(name, &items);
                let batch = Batch {
                    type_key: Arc::clone(&type_key),
                    items,
                    _page: None,
                };
                writer.send(batch).await.map_err(|_| WriterGone)?;
            }
        }
        self.progress.send_replace(Progress {
            items_done: collected.items,
            total_items: collected.items,
        });
        Ok(())
    }

    /// Looks through the cluster's bindings, once a run, for those that name stored ServiceAccounts.
    async fn consider_bindings(
        &self,
        api_type: &Arc<ApiType>,
        needs: &mut Needs,
        results: &mut Results,
    ) {
        if self.selection.cluster_scoped == ClusterScoped::Nothing {
            return;
        }
        let considered = read::for_each(self.cluster, api_type, self.limits, |item| {
            needs.consider_binding(&item.header, &item.body);
        });
        if let Err(error) = considered.await {
            results.errors.add_ark(format!(
                "{}: what binds the stored service accounts is missing: {error}",
                api_type.group_resource()
            ));
        }
    }
}

fn type_key(api_type: &ApiType) -> Arc<TypeKey> {
    Arc::new(TypeKey {
        group: api_type.group.clone(),
        version: api_type.version.clone(),
        kind: api_type.kind.clone(),
        resource: api_type.resource.clone(),
    })
}

/// Returns what goes between an item's opening brace and its first field, by type: made once a type, not an item.
#[derive(Debug, Default)]
pub(crate) struct TypeFields(BTreeMap<Arc<TypeKey>, Vec<u8>>);

impl TypeFields {
    /// Returns `{"kind":...,"apiVersion":...,` for a type.
    pub(crate) fn of(&mut self, type_key: &Arc<TypeKey>) -> &[u8] {
        self.0.entry(Arc::clone(type_key)).or_insert_with(|| {
            // Kinds and versions are identifiers, but quoting is the serialiser's business.
            let quote = |text: &str| serde_json::Value::from(text).to_string();
            format!(
                "{{\"kind\":{},\"apiVersion\":{},",
                quote(&type_key.kind),
                quote(&type_key.api_version())
            )
            .into_bytes()
        })
    }
}
