//! What is sent to the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::archive::{EntryHeader, TypeKey};
use crate::backup::actions::{Taken, type_fields};
use crate::backup::read::ReadPage;
use crate::cluster::ApiType;

/// Objects on their way to the writer. Holds on to the page's budget until they are written.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) type_key: Arc<TypeKey>,
    pub(crate) items: Vec<Taken>,
    /// Whether they may have been sent before, in an earlier state.
    pub(crate) again: bool,
    pub(crate) _page: Option<ReadPage>,
}

impl Batch {
    /// Returns the archive's header of an item of this batch.
    pub(crate) fn entry(&self, taken: &Taken, namespaces: &mut NamespaceNames) -> EntryHeader {
        let header = &taken.item.header;
        EntryHeader {
            type_key: Arc::clone(&self.type_key),
            namespace: (!header.namespace.is_empty()).then(|| namespaces.share(&header.namespace)),
            name: header.name.clone(),
            uid: header.uid.clone(),
            owners: header.owners.clone(),
            labels: header.labels.clone(),
            body: taken.body,
            again: self.again,
        }
    }
}

/// Returns the archive's name of a type.
pub(super) fn type_key(api_type: &ApiType) -> Arc<TypeKey> {
    Arc::new(TypeKey {
        group: api_type.group.clone(),
        version: api_type.version.clone(),
        kind: api_type.kind.clone(),
        resource: api_type.resource.clone(),
    })
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

/// Returns what goes between an item's opening brace and its first field, by type: made once a type, not an item.
#[derive(Debug, Default)]
pub(crate) struct TypeFields(BTreeMap<Arc<TypeKey>, Vec<u8>>);

impl TypeFields {
    /// Returns `{"kind":...,"apiVersion":...,` for a type.
    pub(crate) fn of(&mut self, type_key: &Arc<TypeKey>) -> &[u8] {
        let fields = || type_fields(&type_key.kind, &type_key.api_version());
        self.0.entry(Arc::clone(type_key)).or_insert_with(fields)
    }
}
