//! Carries a plan out: the only place of a restore that writes to the cluster.
//!
//! The definitions come first and are awaited, then the namespaces, then wave after wave. Within a wave objects are
//! read frame by frame and created side by side, one request each; only what is there already costs a second one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::api::ExistingResourcePolicy;
use crate::cluster::{Cluster, ClusterErrorKind, Discovery};

use super::actions::ItemActions;
use super::later::{Queue, Waiting};
use super::modifiers::Modifiers;
use super::open::{Body, FrameResult, OpenError, Opened};
use super::owners::Owners;
use super::patience::Patience;
use super::plan::{NamespaceStep, PlannedType, RestorePlan, Step};
use super::report::{Outcome, Report};
use super::select::Scope;
use super::transform::Facts;
use super::volumes::{Awaited, OldVolume, Sources};
use super::{RestoreOptions, definitions, volumes, waves};

/// How long after a definition came into force its type may take to be listed.
const DISCOVERY_LAG: Duration = Duration::from_secs(30);

/// A restore being carried out.
#[derive(Debug)]
pub(super) struct Applier<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) opened: &'a Opened,
    pub(super) options: &'a RestoreOptions,
    /// When the Restore was created, if that is known: what carries its mark and is older, an earlier one made.
    pub(super) since: Option<Timestamp>,
    pub(super) facts: Facts,
    /// The facts for objects that are in place.
    pub(super) existing_facts: Facts,
    pub(super) types: Vec<PlannedType>,
    pub(super) patience: Patience,
    pub(super) report: Report<'a>,
    /// What becomes of what is there already and differs.
    pub(super) policy: Option<ExistingResourcePolicy>,
    pub(super) owners: Owners,
    pub(super) modifiers: Modifiers,
    /// The item actions.
    pub(super) actions: ItemActions,
    /// What is tried again.
    pub(super) later: Queue,
    /// Service accounts that Pods have waited for in vain.
    pub(super) lost_accounts: Mutex<HashSet<String>>,
    /// Where the data of volumes comes from.
    pub(super) sources: Sources,
    /// What the volumes of claims were like, by the claims' original namespace and name.
    pub(super) old_volumes: HashMap<(String, String), OldVolume>,
    /// Volumes whose claims get new, empty ones.
    pub(super) emptied: HashSet<String>,
    /// The zones of the target's nodes, once somebody wants to know them.
    pub(super) zones: OnceCell<BTreeSet<String>>,
    /// Claims that are looked at in the end.
    pub(super) awaited: Mutex<Vec<Awaited>>,
    /// What the plan knows of the request that objects which actions name have to know, too.
    pub(super) scope: Scope,
    /// Volumes whose data is lost, and that are not restored without it.
    pub(super) lost_volumes: HashSet<String>,
    /// Targets that could not be had; nothing can go into them.
    pub(super) lost_namespaces: HashSet<String>,
    /// Targets that were there before.
    pub(super) old_namespaces: HashSet<String>,
}

impl Applier<'_> {
    /// Carries the plan out, as far as the server answers.
    pub(super) async fn run(&mut self, plan: &RestorePlan) {
        let mut waves = plan.waves.iter();
        if plan.has_definitions
            && let Some(wave) = waves.next()
        {
            self.wave(wave).await;
            // One that is refused for now would cost all objects of its type.
            self.try_to_the_end().await;
            if !self.patience.is_lost() {
                self.serve_types(plan).await;
            }
        }
        self.namespaces(&plan.namespaces).await;
        for wave in waves {
            if self.patience.is_lost() {
                break;
            }
            self.wave(wave).await;
            self.try_waiting().await;
        }
        self.try_to_the_end().await;
        if self.patience.is_lost() {
            self.report.fail_all(format!(
                "the API server stopped answering; {} objects were not tried. Restore again when it is back",
                self.report.left()
            ));
        }
    }

    /// Restores the objects of a wave.
    async fn wave(&self, steps: &[Step]) {
        let started = Instant::now();
        if self.actions.are_there() {
            // An action may have named some, which are restored by now.
            let begins = |step: &&Step| self.actions.begin(step.entry);
            let new: Vec<Step> = steps.iter().filter(begins).copied().collect();
            self.bring_all(&new).await;
        } else {
            self.bring_all(steps).await;
        }
        let first = steps.first().map_or("", |step| {
            self.types[step.planned_type].group_resource.as_str()
        });
        tracing::info!(first, items = steps.len(), took = ?started.elapsed(), "a wave is done");
    }

    /// Restores objects that do not depend on each other.
    pub(super) async fn bring_all(&self, steps: &[Step]) {
        let mut ready = Vec::with_capacity(steps.len());
        let mut acted_on = Vec::new();
        for step in steps {
            let planned = &self.types[step.planned_type];
            if planned.late && planned.served.is_none() {
                self.later.push(*step, Waiting::Type);
            } else if self.is_acted_on(step) {
                acted_on.push(*step);
            } else {
                ready.push(*step);
            }
        }
        let left = self.in_bulk(&ready).await;
        self.work(&left, &HashMap::new()).await;
        self.act(&acted_on).await;
    }

    /// Restores objects side by side; `found` are those that are known to be there, by their entry.
    pub(super) async fn work(&self, steps: &[Step], found: &HashMap<usize, Bytes>) {
        let by_place: HashMap<usize, usize> = steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.entry, at))
            .collect();
        let places = steps.iter().map(|step| step.entry).collect();
        self.opened
            .bodies(places)
            .flat_map(|frame| stream::iter(self.unpack(frame)))
            .filter_map(|(place, body)| {
                std::future::ready(by_place.get(&place).map(|at| (*at, body)))
            })
            .map(|(at, body)| self.report_step(&steps[at], body, found.get(&steps[at].entry)))
            .buffer_unordered(self.options.concurrency.max(1))
            .collect::<()>()
            .await;
    }

    async fn report_step(&self, step: &Step, body: Body, found: Option<&Bytes>) {
        // The rest of the wave is counted, not tried.
        if self.patience.is_lost() || (found.is_none() && !self.admits(step)) {
            return;
        }
        let outcome = self.restore(step, body, found).await;
        if found.is_none() {
            self.note_way(step, outcome);
        }
        // What waits is counted once it is through.
        if outcome != Outcome::Later {
            self.report.done(outcome);
        }
    }

    /// Returns the bodies of a frame; reports one that cannot be read.
    pub(super) fn unpack(&self, frame: FrameResult) -> Vec<(usize, Body)> {
        frame.unwrap_or_else(|(places, error)| {
            self.report_frame(&places, &error);
            Vec::new()
        })
    }

    fn report_frame(&self, places: &[usize], error: &OpenError) {
        let names: Vec<String> = places
            .iter()
            .take(3)
            .map(|place| self.opened.entries()[*place].path())
            .collect();
        self.report.fail_all(format!(
            "{} objects could not be read from the backup ({}{}): {error}",
            places.len(),
            names.join(", "),
            if places.len() > names.len() {
                ", ..."
            } else {
                ""
            },
        ));
        for _ in places {
            self.report.done(Outcome::Failed);
        }
    }

    /// Waits for restored definitions and looks their types up; reports each type that does not come (case 13).
    async fn serve_types(&mut self, plan: &RestorePlan) {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for step in plan.waves.iter().flatten() {
            let planned = &self.types[step.planned_type];
            if planned.served.is_none() && !planned.late {
                *counts.entry(step.planned_type).or_default() += 1;
            }
        }
        let Some(definitions) = self
            .types
            .iter()
            .find(|one| waves::is_definition(&one.group_resource))
            .and_then(|one| one.served.clone())
        else {
            return;
        };
        if counts.is_empty() {
            return;
        }
        let names = counts
            .keys()
            .map(|at| self.types[*at].group_resource.clone())
            .collect();
        let problems = definitions::wait(
            self.cluster,
            &definitions,
            names,
            self.options.definition_timeout,
        )
        .await;
        let awaited: Vec<usize> = counts
            .keys()
            .copied()
            .filter(|at| !problems.contains_key(&self.types[*at].group_resource))
            .collect();
        let lookup = self.look_up(&awaited).await;
        for (at, count) in counts {
            let planned = &self.types[at];
            if planned.served.is_some() {
                continue;
            }
            let why = problems
                .get(&planned.group_resource)
                .cloned()
                .or_else(|| lookup.clone())
                .unwrap_or_else(|| "the server does not list the type".to_owned());
            self.report.fail_all(format!(
                "{}: {count} object{} not restored: {why}",
                planned.group_resource,
                if count == 1 { "" } else { "s" },
            ));
        }
    }

    /// Refreshes discovery until it has the types; returns why it could not be read, if so.
    async fn look_up(&mut self, awaited: &[usize]) -> Option<String> {
        let deadline = Instant::now() + DISCOVERY_LAG;
        let mut pause = Duration::from_millis(50);
        let mut problem = None;
        loop {
            if awaited.iter().all(|at| self.types[*at].served.is_some()) {
                return None;
            }
            if Instant::now() >= deadline {
                return problem;
            }
            match self.cluster.discover().await {
                Ok(discovery) => {
                    problem = None;
                    for at in awaited {
                        self.types[*at].look_up(&discovery);
                    }
                }
                Err(error) => problem = Some(error.to_string()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Looks for types whose API was not up; returns what is served now, if that can be read.
    pub(super) async fn look_for_types(&mut self) -> Option<Discovery> {
        let discovery = self
            .cluster
            .discover()
            .await
            .inspect_err(|error| tracing::debug!(%error, "cannot look for types"))
            .ok()?;
        for planned in &mut self.types {
            if planned.late && planned.served.is_none() {
                planned.look_up(&discovery);
            }
        }
        Some(discovery)
    }

    /// Returns the namespace of the target that an object goes into.
    pub(super) fn namespace_of(&self, step: &Step) -> Option<&str> {
        let original = self.opened.entries()[step.entry].namespace.as_deref()?;
        Some(self.facts.target_namespace(original))
    }

    /// Returns the name of an object in the target.
    pub(super) fn name_of(&self, step: &Step) -> &str {
        let name = &*self.opened.entries()[step.entry].name;
        if self.sources.renamed.is_empty()
            || self.types[step.planned_type].group_resource != volumes::VOLUMES
        {
            return name;
        }
        self.sources.renamed.get(name).map_or(name, String::as_str)
    }

    /// Makes sure of each namespace once (cases 18 to 21).
    async fn namespaces(&mut self, steps: &[NamespaceStep]) {
        let by_place: HashMap<usize, usize> = steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| Some((step.entry?, at)))
            .collect();
        let bare: Vec<(usize, Option<Body>)> = steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.entry.is_none())
            .map(|(at, _)| (at, None))
            .collect();
        let made = {
            let this = &*self;
            let stored = this
                .opened
                .bodies(by_place.keys().copied().collect())
                .flat_map(|frame| {
                    let bodies = this.unpack_namespaces(frame).into_iter();
                    stream::iter(
                        bodies
                            .filter_map(|(place, body)| Some((*by_place.get(&place)?, body)))
                            .collect::<Vec<_>>(),
                    )
                });
            stream::iter(bare)
                .chain(stored)
                .map(|(at, body)| this.report_namespace(&steps[at], body))
                .buffer_unordered(this.options.concurrency.max(1))
                .collect::<Vec<(String, Outcome)>>()
                .await
        };
        for (name, outcome) in made {
            match outcome {
                Outcome::Failed => self.lost_namespaces.insert(name),
                Outcome::There => self.old_namespaces.insert(name),
                _ => false,
            };
        }
    }

    /// Returns the stored Namespaces of a frame. Where it cannot be read they are made bare: what goes into them is
    /// worth more than their labels.
    pub(super) fn unpack_namespaces(&self, frame: FrameResult) -> Vec<(usize, Option<Body>)> {
        match frame {
            Ok(bodies) => bodies
                .into_iter()
                .map(|(place, body)| (place, Some(body)))
                .collect(),
            Err((places, error)) => {
                self.report.fail(
                    None,
                    format!("namespaces are made without their labels and annotations: {error}"),
                );
                places.into_iter().map(|place| (place, None)).collect()
            }
        }
    }

    /// Makes sure of a namespace and reports; returns its name and how it fared.
    async fn report_namespace(
        &self,
        step: &NamespaceStep,
        body: Option<Body>,
    ) -> (String, Outcome) {
        let outcome = self.namespace(step, body).await.unwrap_or_else(|problem| {
            let affected = match step.items {
                0 => String::new(),
                1 => "; its 1 object is not restored".to_owned(),
                items => format!("; its {items} objects are not restored"),
            };
            self.report
                .fail(Some(&step.target), format!("{problem}{affected}"));
            Outcome::Failed
        });
        self.report.done(outcome);
        (step.target.clone(), outcome)
    }
}

/// Returns whether an object that cannot be created may be there all the same (case 74): its name may be taken, or
/// what it asks for taken by itself.
pub(super) fn may_be_there(kind: ClusterErrorKind) -> bool {
    match kind {
        ClusterErrorKind::AlreadyExists
        | ClusterErrorKind::Invalid
        | ClusterErrorKind::Denied
        | ClusterErrorKind::Conflict
        | ClusterErrorKind::ServerError => true,
        ClusterErrorKind::NotFound
        | ClusterErrorKind::Gone
        | ClusterErrorKind::TooManyRequests
        | ClusterErrorKind::Unreachable
        | ClusterErrorKind::Malformed => false,
    }
}
