//! The end of a backup: what stored objects need, what item actions name, and what they want stored once their operations
//! have ended.

use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::{Collector, Sink, WriterGone, is_excluded};
use crate::api::Progress;
use crate::backup::actions::{Acted, ForType, Named, Pass};
use crate::backup::needs::{self, NEEDED_TYPES};
use crate::backup::read;
use crate::backup::select::ClusterScoped;
use crate::cluster::{ApiType, Item, ItemHeader};

/// Objects of the tail fetched at once.
const FETCHES: usize = 8;

/// An object to fetch.
struct Wanted<'a> {
    api_type: Arc<ApiType>,
    /// What actions are asked about it.
    asked: Option<&'a ForType>,
    namespace: String,
    name: String,
    /// Whether the backup's filters are of no matter.
    must: bool,
    pass: Pass,
}

/// What came of it.
enum Fetched {
    Acted(Box<Acted>),
    /// The backup's filters leave it out.
    LeftOut,
    Gone,
    Failed(String),
}

impl Collector<'_> {
    /// Sends what others need and name. Ends when no operation goes on any more.
    pub(super) async fn take_tail(&self, sink: &mut Sink<'_>) -> Result<(), WriterGone> {
        self.take_pulled_in(sink).await?;
        if self.actions.going_on() > 0 {
            // That may take hours, and what volumes hold now belongs to the objects.
            self.volumes.take_the_rest().await;
            let items = sink.collected.items;
            let waited = self.actions.wait(|counts| {
                self.progress.send_replace(Progress {
                    items_done: items,
                    total_items: items,
                    operations_done: counts.completed + counts.failed,
                    total_operations: counts.attempted,
                });
            });
            for (namespace, problem) in waited.await {
                sink.results.errors.add(Some(&namespace), problem);
            }
        }
        let afterwards = sink.named.afterwards();
        self.take_named(afterwards, Pass::AfterOperation, sink)
            .await?;
        self.take_pulled_in(sink).await?;
        let items = sink.collected.items;
        self.progress.send_modify(|progress| {
            progress.items_done = items;
            progress.total_items = items;
        });
        Ok(())
    }

    /// Sends what others need and name, and what that needs and names.
    async fn take_pulled_in(&self, sink: &mut Sink<'_>) -> Result<(), WriterGone> {
        loop {
            self.take_needed(sink).await?;
            let named = sink.named.next();
            if named.is_empty() {
                return Ok(());
            }
            self.take_named(named, Pass::First, sink).await?;
        }
    }

    /// Fetches what stored objects need, type by type in an order in which nothing needs an earlier type.
    async fn take_needed(&self, sink: &mut Sink<'_>) -> Result<(), WriterGone> {
        for name in NEEDED_TYPES {
            let Some(api_type) = self.discovery.by_group_resource(name) else {
                continue;
            };
            if name == needs::BINDINGS {
                self.consider_bindings(api_type, sink).await;
            }
            let Some(needs) = &mut sink.needs else {
                return Ok(());
            };
            let missing = needs.take_missing(name);
            if missing.is_empty() {
                continue;
            }
            let asked = self.actions.for_type(api_type);
            let mut fetched = stream::iter(missing)
                .map(async |(namespace, object)| {
                    let wanted = Wanted {
                        api_type: Arc::clone(api_type),
                        asked: asked.as_ref(),
                        namespace,
                        name: object,
                        must: false,
                        pass: Pass::First,
                    };
                    let fetched = self.fetch(&wanted).await;
                    (wanted, fetched)
                })
                .buffered(FETCHES);
            while let Some((wanted, fetched)) = fetched.next().await {
                let Wanted {
                    namespace,
                    name: object,
                    ..
                } = &wanted;
                sink.named.deal(name, namespace, object);
                match fetched {
                    Fetched::Acted(acted) => self.store(&wanted, *acted, sink).await?,
                    // Left out on purpose, or gone: a Pod may well wait for a claim that nobody has made.
                    Fetched::LeftOut | Fetched::Gone => {}
                    Fetched::Failed(why) => {
                        let line = format!("{name} {object}: needed and missing: {why}");
                        sink.results.errors.add(Some(namespace), line);
                    }
                }
            }
        }
        Ok(())
    }

    /// Fetches what item actions have named.
    async fn take_named(
        &self,
        named: Vec<Named>,
        pass: Pass,
        sink: &mut Sink<'_>,
    ) -> Result<(), WriterGone> {
        // They come sorted by type.
        let mut types: Vec<(Arc<ApiType>, Option<ForType>)> = Vec::new();
        let mut known = Vec::with_capacity(named.len());
        for one in named {
            let full = one.id.group_resource();
            if let Some((last, _)) = types.last()
                && last.group_resource() == full
            {
                known.push((types.len() - 1, one));
                continue;
            }
            if let Some(api_type) = self.discovery.by_group_resource(&full) {
                types.push((Arc::clone(api_type), self.actions.for_type(api_type)));
                known.push((types.len() - 1, one));
            } else {
                let Named { id, by, .. } = one;
                let line = format!(
                    "{full} {}: {by} names it, and this cluster has no such type",
                    id.name
                );
                sink.results.errors.add(Some(&id.namespace), line);
            }
        }
        let mut fetched = stream::iter(known)
            .map(async |(of, Named { id, by, must })| {
                let (api_type, asked) = &types[of];
                let wanted = Wanted {
                    api_type: Arc::clone(api_type),
                    asked: asked.as_ref(),
                    namespace: id.namespace,
                    name: id.name,
                    must,
                    pass,
                };
                let fetched = self.fetch(&wanted).await;
                (wanted, by, fetched)
            })
            .buffered(FETCHES);
        while let Some((wanted, by, fetched)) = fetched.next().await {
            let namespace = Some(wanted.namespace.as_str());
            let title = format!("{} {}", wanted.api_type.group_resource(), wanted.name);
            match fetched {
                Fetched::Acted(acted) => self.store(&wanted, *acted, sink).await?,
                Fetched::LeftOut => {
                    tracing::info!(
                        namespace,
                        item = title,
                        by = &*by,
                        "named, and left out by the filters"
                    );
                }
                Fetched::Gone => {
                    let line = format!("{title}: {by} names it, and there is none");
                    sink.results.warnings.add(namespace, line);
                }
                Fetched::Failed(why) => {
                    let line = format!("{title}: {by} names it, and it is missing: {why}");
                    sink.results.errors.add(namespace, line);
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, wanted: &Wanted<'_>) -> Fetched {
        let Wanted {
            api_type,
            namespace,
            name,
            must,
            ..
        } = wanted;
        let admitted = if api_type.group_resource() == "namespaces" {
            name
        } else {
            namespace
        };
        if !must && (!self.selection.admits(api_type, admitted) || self.skips(admitted)) {
            return Fetched::LeftOut;
        }
        let in_namespace = (!namespace.is_empty()).then_some(namespace.as_str());
        let body = match self.cluster.get(api_type, in_namespace, name).await {
            Ok(Some(body)) => body,
            Ok(None) => return Fetched::Gone,
            Err(error) => return Fetched::Failed(error.to_string()),
        };
        let header = match ItemHeader::parse(&body) {
            Ok(header) => header,
            Err(error) => return Fetched::Failed(format!("it cannot be read: {error}")),
        };
        if header.deleting || (!must && is_excluded(&header)) {
            return Fetched::LeftOut;
        }
        let item = Item { header, body };
        let acted = match wanted.asked {
            Some(asked) if self.actions.are_for(asked, &item) => {
                self.actions.act(asked, item, wanted.pass).await
            }
            Some(_) | None => Acted::as_served(item),
        };
        Fetched::Acted(acted.into())
    }

    async fn store(
        &self,
        wanted: &Wanted<'_>,
        acted: Acted,
        sink: &mut Sink<'_>,
    ) -> Result<(), WriterGone> {
        let api_type = &wanted.api_type;
        let items: Vec<_> = sink.take(acted).into_iter().collect();
        self.note_stored(api_type, &api_type.group_resource(), &items, sink);
        let again = wanted.pass == Pass::AfterOperation;
        sink.send(api_type, items, None, again).await
    }

    /// Looks through the cluster's bindings for those that name stored ServiceAccounts; again only where others have been
    /// stored since.
    async fn consider_bindings(&self, api_type: &Arc<ApiType>, sink: &mut Sink<'_>) {
        let Some(needs) = &mut sink.needs else {
            return;
        };
        if self.selection.cluster_scoped == ClusterScoped::Nothing || !needs.takes_new_accounts() {
            return;
        }
        let considered = read::for_each(self.cluster, api_type, self.limits, |item| {
            needs.consider_binding(&item.header, &item.body);
        });
        if let Err(error) = considered.await {
            sink.results.errors.add_ark(format!(
                "{}: what binds the stored service accounts is missing: {error}",
                api_type.group_resource()
            ));
        }
    }
}
