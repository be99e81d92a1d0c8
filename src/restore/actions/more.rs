//! What actions want restored before an object: found in the backup, and restored once, also where the plan has it later
//! or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;

use futures::StreamExt as _;

use super::act::Acting;
use crate::archive::IndexEntry;
use crate::providers::actions::ItemId;
use crate::restore::apply::Applier;
use crate::restore::plan::{NamespaceStep, Step};
use crate::restore::{derived, volumes};

const NAMESPACES: &str = "namespaces";

/// Where the objects of a backup are, by hashes of their names: some 30 bytes each.
#[derive(Debug)]
pub(super) struct Places {
    hasher: RandomState,
    places: HashMap<u64, usize>,
}

impl Places {
    fn of(entries: &[IndexEntry]) -> Self {
        let hasher = RandomState::new();
        let places = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.outdated)
            .map(|(at, entry)| {
                let namespace = entry.namespace.as_deref().unwrap_or_default();
                let of = entry.type_key.group_resource();
                (hasher.hash_one((of.as_str(), namespace, &*entry.name)), at)
            })
            .collect();
        Self { hasher, places }
    }

    /// Finds an object by the stored name of its type.
    fn find(&self, entries: &[IndexEntry], of: &str, namespace: &str, name: &str) -> Option<usize> {
        let at = *self
            .places
            .get(&self.hasher.hash_one((of, namespace, name)))?;
        let entry = &entries[at];
        // Two of one hash are not to be expected, and not to be taken for each other.
        (entry.namespace.as_deref().unwrap_or_default() == namespace
            && *entry.name == *name
            && entry.type_key.group_resource() == of)
            .then_some(at)
    }
}

/// What becomes of an object that is named.
enum Fate {
    /// It is restored, with what it cannot be without.
    Comes(Vec<Step>),
    /// It has been, or is being restored.
    Known,
    /// Not; why.
    LeftOut(&'static str),
    /// It cannot be; why.
    Fails(String),
}

impl Applier<'_> {
    /// Restores what actions have named. What is gone through together with whoever names it is only noted.
    pub(super) async fn restore_named(&self, acting: &mut [Acting<'_>]) {
        let together: HashSet<usize> = acting.iter().map(|one| one.draft.step.entry).collect();
        let mut steps: BTreeMap<usize, Step> = BTreeMap::new();
        for one in acting.iter_mut() {
            let own = one.draft.step;
            for naming in std::mem::take(&mut one.named) {
                let title = format!("{} {}", one.draft.group_resource, one.draft.name);
                let Some(place) = self.find(&naming.id) else {
                    let line = format!(
                        "{title}: action {} wants {} restored first, which the backup does not hold",
                        naming.by, naming.id
                    );
                    self.report.warn(one.draft.namespace, line);
                    continue;
                };
                one.there.push(naming.id.clone());
                if together.contains(&place) {
                    one.needs
                        .extend(Some(place).filter(|place| *place != own.entry));
                    continue;
                }
                match self.fate(place, naming.must, own.wave).await {
                    Fate::Comes(more) => steps.extend(more.into_iter().map(|one| (one.entry, one))),
                    Fate::Known => {}
                    Fate::LeftOut(reason) => {
                        tracing::info!(item = %naming.id, reason, "named by an action, and left out");
                    }
                    Fate::Fails(why) => {
                        let line = format!(
                            "{title}: action {} wants {} restored first, which cannot be: {why}",
                            naming.by, naming.id
                        );
                        self.report.fail(one.draft.namespace, line);
                    }
                }
            }
        }
        let mut steps: Vec<Step> = steps.into_values().collect();
        steps.retain(|step| self.actions.begin(step.entry));
        if steps.is_empty() {
            return;
        }
        let unplanned = steps
            .iter()
            .filter(|step| !self.actions.planned.contains_key(&step.entry));
        self.report.expect_more(unplanned.count() as u64);
        self.bring_all(&steps).await;
    }

    /// Finds an object of the backup, by either name of its type.
    fn find(&self, id: &ItemId) -> Option<usize> {
        let entries = self.opened.entries();
        let places = self.actions.places.get_or_init(|| Places::of(entries));
        let named = id.group_resource();
        let find = |of: &str| places.find(entries, of, &id.namespace, &id.name);
        find(&named).or_else(|| {
            let types = self.types.iter();
            types
                .filter(|planned| planned.group_resource == named)
                .find_map(|planned| find(&planned.key.group_resource()))
        })
    }

    /// Decides what becomes of an object that is named. `must` is whether filters are of no matter.
    async fn fate(&self, place: usize, must: bool, wave: usize) -> Fate {
        let entry = &self.opened.entries()[place];
        if self.actions.has_begun(place) {
            return Fate::Known;
        }
        if let Some(step) = self.actions.planned.get(&place) {
            return Fate::Comes(vec![*step]);
        }
        let Some(planned_type) = self.types.iter().position(|one| one.key == entry.type_key) else {
            return Fate::Fails("its type is not known".to_owned());
        };
        let planned = &self.types[planned_type];
        let full = planned.group_resource.as_str();
        if let Some(reason) = planned.never.or_else(|| derived::by_header(full, entry)) {
            return Fate::LeftOut(reason);
        }
        if !must && (planned.excluded || self.scope.leaves_out(entry)) {
            return Fate::LeftOut("excluded by the restore");
        }
        if full == NAMESPACES {
            return if self.has_namespace(&entry.name).await {
                Fate::Known
            } else {
                Fate::Fails("its namespace cannot be had".to_owned())
            };
        }
        if full == volumes::VOLUMES && self.facts.provisioned_anew.contains(&*entry.name) {
            return Fate::LeftOut("its claim gets another volume");
        }
        if full == volumes::VOLUMES && self.lost_volumes.contains(&*entry.name) {
            return Fate::Fails("its data cannot be brought back".to_owned());
        }
        if planned.served.is_none() && !planned.late {
            return Fate::Fails("this cluster does not serve its type".to_owned());
        }
        if let Some(namespace) = &entry.namespace
            && !self.has_namespace(namespace).await
        {
            return Fate::Fails("its namespace cannot be had".to_owned());
        }
        let step = |entry: usize, planned_type: usize| Step {
            entry,
            planned_type,
            wave,
            job_restored: false,
        };
        let mut steps = vec![step(place, planned_type)];
        // As for claims that the plan has: the claim would wait for its volume for ever.
        if full == volumes::CLAIMS
            && let Some(volume) = self.volume_of(entry)
        {
            match Box::pin(self.fate(volume, must, wave)).await {
                Fate::Comes(more) => steps.extend(more),
                Fate::Known | Fate::LeftOut(_) => {}
                Fate::Fails(why) => {
                    let name = &self.opened.entries()[volume].name;
                    let line = format!("{} {name}: it is not restored: {why}", volumes::VOLUMES);
                    self.report.fail(None, line);
                }
            }
        }
        Fate::Comes(steps)
    }

    /// Returns the place of a claim's volume.
    fn volume_of(&self, claim: &IndexEntry) -> Option<usize> {
        let key = (
            claim.namespace.as_deref()?.to_owned(),
            claim.name.to_string(),
        );
        let name = self.old_volumes.get(&key)?.name.clone();
        self.find(&ItemId {
            resource: volumes::VOLUMES.to_owned(),
            name,
            ..ItemId::default()
        })
    }

    /// Makes sure of the target of an original namespace, which the plan need not have.
    async fn has_namespace(&self, original: &str) -> bool {
        let target = self.facts.target_namespace(original).to_owned();
        if self.lost_namespaces.contains(&target) {
            return false;
        }
        let mut known = self.actions.namespaces.lock().await;
        if let Some(there) = known.get(&target) {
            return *there;
        }
        let entry = self.find(&ItemId {
            resource: NAMESPACES.to_owned(),
            name: original.to_owned(),
            ..ItemId::default()
        });
        let step = NamespaceStep {
            target: target.clone(),
            entry,
            items: 0,
        };
        let body = match entry {
            Some(place) => {
                let mut frames = pin!(self.opened.bodies(vec![place]));
                let frame = frames.next().await;
                let bodies = frame.map(|frame| self.unpack_namespaces(frame));
                bodies.into_iter().flatten().find_map(|(_, body)| body)
            }
            None => None,
        };
        let made = self.namespace(&step, body).await;
        let there = made
            .inspect_err(|problem| self.report.fail(Some(&target), problem.clone()))
            .is_ok();
        known.insert(target, there);
        there
    }
}
