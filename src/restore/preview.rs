//! A dry run: what a restore would do, an object a line, and nothing written.
//!
//! It goes the restore's own way up to the point of writing: the same plan, the same transformation, the same comparison.
//! Where the restore would create, the API server is asked for a dry run of the create; where that is impossible, because
//! the namespace or the definition is still to come, the line says so.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt as _, stream};

use crate::api::{PlanAction, PlanItem, RestoreCounts};
use crate::cluster::{ApiType, ClusterError, ClusterErrorKind, NamespaceState};

use super::apply::{Applier, may_be_there};
use super::existing::{Weighed, is_going};
use super::later::{self, Fate};
use super::open::Body;
use super::plan::{NamespaceStep, RestorePlan, Step};
use super::prepare::Prepared;
use super::replace::{Existing, is_refusal, makes_room, refused_anew, refused_change};
use super::report::{Outcome, list_names};
use super::treatment::Treatment;
use crate::api::object::Object;

/// What a dry run found.
#[derive(Debug)]
pub(super) struct Preview {
    /// The lines, JSON in gzip.
    pub(super) plan: Bytes,
    pub(super) counts: RestoreCounts,
}

/// The lines as they come.
struct Lines {
    gzip: GzEncoder<Vec<u8>>,
    counts: RestoreCounts,
}

impl Lines {
    fn add(&mut self, item: &PlanItem) -> std::io::Result<()> {
        let count = match item.action {
            PlanAction::Create => &mut self.counts.create,
            PlanAction::Update => &mut self.counts.update,
            PlanAction::Recreate => &mut self.counts.recreate,
            PlanAction::Skip => &mut self.counts.skip,
            PlanAction::Conflict => &mut self.counts.conflict,
        };
        *count += 1;
        self.counts.unchecked += u64::from(!item.unchecked.is_empty());
        serde_json::to_writer(&mut self.gzip, item)?;
        self.gzip.write_all(b"\n")
    }
}

/// What is known of a target namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Target {
    There,
    ToCome,
    Going,
}

impl Applier<'_> {
    /// Finds out what the plan would do.
    ///
    /// # Errors
    /// The lines could not be kept.
    pub(super) async fn preview(&mut self, plan: &RestorePlan) -> Result<Preview, String> {
        self.owners.assume_all();
        let mut lines = Lines {
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            counts: RestoreCounts::default(),
        };
        let mut targets: HashMap<&str, Target> = HashMap::new();
        for step in &plan.namespaces {
            let (target, item) = self.preview_namespace(step).await;
            if target == Target::There {
                self.old_namespaces.insert(step.target.clone());
            }
            targets.insert(&step.target, target);
            lines.add(&item).map_err(|error| error.to_string())?;
            self.report.done(Outcome::There);
        }
        for wave in &plan.waves {
            let by_place: HashMap<usize, usize> = wave
                .iter()
                .enumerate()
                .map(|(at, step)| (step.entry, at))
                .collect();
            let places = wave.iter().map(|step| step.entry).collect();
            let mut items = std::pin::pin!(
                self.opened
                    .bodies(places)
                    .flat_map(|frame| stream::iter(self.unpack(frame)))
                    .filter_map(|(place, body)| {
                        std::future::ready(by_place.get(&place).map(|at| (*at, body)))
                    })
                    .map(|(at, body)| self.preview_step(&wave[at], body, &targets))
                    .buffered(self.options.concurrency.max(1))
            );
            while let Some(item) = items.next().await {
                lines.add(&item).map_err(|error| error.to_string())?;
                self.report.done(Outcome::There);
            }
        }
        self.note_versions(plan);
        for (name, count) in self.report.dropped_status() {
            self.report.note(format!(
                "{name}: {count} object{} with a status, which is not restored; an operator that keeps its state there \
                 may begin anew. --status-include-resources {name} brings it back",
                if count == 1 { "" } else { "s" },
            ));
        }
        Ok(Preview {
            counts: lines.counts,
            plan: lines
                .gzip
                .finish()
                .map_err(|error| error.to_string())?
                .into(),
        })
    }

    async fn preview_namespace(&self, step: &NamespaceStep) -> (Target, PlanItem) {
        let item = |action, reason: String| PlanItem {
            resource: "namespaces".to_owned(),
            namespace: String::new(),
            name: step.target.clone(),
            action,
            reason,
            unchecked: String::new(),
            differences: Vec::new(),
        };
        match self.cluster.namespace_state(&step.target).await {
            Ok(Some(NamespaceState::Active)) => {
                let reason = "there already; left as it is".to_owned();
                (Target::There, item(PlanAction::Skip, reason))
            }
            Ok(Some(NamespaceState::Terminating)) => {
                let reason =
                    "being deleted; a restore waits for that, and fails if it does not end"
                        .to_owned();
                (Target::Going, item(PlanAction::Conflict, reason))
            }
            Ok(None) => (Target::ToCome, item(PlanAction::Create, String::new())),
            Err(error) => (Target::There, item(PlanAction::Conflict, error.to_string())),
        }
    }

    async fn preview_step(
        &self,
        step: &Step,
        body: Body,
        targets: &HashMap<&str, Target>,
    ) -> PlanItem {
        let planned = &self.types[step.planned_type];
        let namespace = self.namespace_of(step);
        let mut item = PlanItem {
            resource: planned.group_resource.clone(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: self.name_of(step).to_owned(),
            action: PlanAction::Create,
            reason: String::new(),
            unchecked: String::new(),
            differences: Vec::new(),
        };
        // What its definition, which comes with the restore, or its API will make of it.
        let to_come = || {
            Arc::new(ApiType {
                group: planned.key.group.clone(),
                version: planned.key.version.clone(),
                kind: planned.key.kind.clone(),
                resource: planned.key.resource.clone(),
                namespaced: namespace.is_some(),
                ..ApiType::default()
            })
        };
        let api_type = planned.served.clone().unwrap_or_else(to_come);
        let prepared = match self
            .draft_as(step, body, api_type)
            .and_then(|draft| self.finish(draft))
        {
            Ok(prepared) => prepared,
            Err(unprepared) => {
                item.action = if unprepared.outcome == Outcome::LeftOut {
                    PlanAction::Skip
                } else {
                    PlanAction::Conflict
                };
                item.reason = unprepared.reason;
                return item;
            }
        };
        if planned.served.is_none() {
            if planned.late {
                "the API of its type is not up; a restore waits for it"
            } else {
                "the definition of its type comes with the restore"
            }
            .clone_into(&mut item.unchecked);
            return item;
        }
        match namespace.and_then(|namespace| Some((namespace, targets.get(namespace)?))) {
            Some((namespace, Target::ToCome)) => {
                item.unchecked = format!("namespace {namespace} is made by the restore");
                self.preview_emptied(&prepared);
            }
            Some((namespace, Target::Going)) => {
                item.action = PlanAction::Conflict;
                item.reason = format!("namespace {namespace} is being deleted");
            }
            Some((_, Target::There)) | None => self.preview_create(&prepared, &mut item).await,
        }
        self.preview_actions(step, &mut item);
        self.preview_data(step, &mut item).await;
        item
    }

    /// Says which actions a restore would ask. A dry run does not: what they do may not be undone.
    fn preview_actions(&self, step: &Step, item: &mut PlanItem) {
        let actions = self.actions_of(step);
        if actions.is_empty() || item.action == PlanAction::Conflict {
            return;
        }
        let names = list_names(&actions);
        let line = format!("item actions may change it or leave it out: {names}");
        if item.unchecked.is_empty() {
            item.unchecked = line;
        } else {
            item.unchecked = format!("{}; {line}", item.unchecked);
        }
    }

    fn preview_emptied(&self, prepared: &Prepared<'_>) {
        if prepared.emptied {
            self.report
                .emptied(prepared.namespace.unwrap_or_default(), prepared.name);
        }
    }

    async fn preview_create(&self, prepared: &Prepared<'_>, item: &mut PlanItem) {
        let error = match self.send_create(prepared, true).await {
            Ok(created) => {
                self.preview_emptied(prepared);
                self.report.dropped(prepared, &created);
                return;
            }
            Err(error) => error,
        };
        if may_be_there(error.kind) {
            match self.get(prepared).await {
                Ok(Some(existing)) if is_going(&existing) => {
                    self.preview_emptied(prepared);
                    "it is there and being deleted, which the restore waits for"
                        .clone_into(&mut item.unchecked);
                    return;
                }
                Ok(Some(existing)) => return self.judge(prepared, existing, &error, item).await,
                Err(second) if error.kind == ClusterErrorKind::AlreadyExists => {
                    item.action = PlanAction::Conflict;
                    item.reason = format!("there already, but cannot be compared: {second}");
                    return;
                }
                Ok(None) | Err(_) => {}
            }
        }
        self.preview_emptied(prepared);
        refused(&error, item);
    }

    /// Says what would be done about an object that is there; `error` is what the create of the stored one met.
    async fn judge(
        &self,
        prepared: &Prepared<'_>,
        existing: Object,
        error: &ClusterError,
        item: &mut PlanItem,
    ) {
        let place = Existing::of(prepared, &existing);
        let mut weighed = if self.is_own_work(&existing) {
            Weighed::default()
        } else {
            self.weigh(prepared, existing, &place).await
        };
        item.differences = std::mem::take(&mut weighed.differences);
        (item.action, item.reason) = if item.differences.is_empty() {
            if weighed.owed.is_empty() {
                (PlanAction::Skip, "there already, and the same".to_owned())
            } else {
                (
                    PlanAction::Update,
                    "there already; gets what it lacks of accounts' secrets, labels and annotations, or of owners"
                        .to_owned(),
                )
            }
        } else {
            let differs = "there already, and differs".to_owned();
            match self.treatment(prepared, &item.differences, &place) {
                Treatment::Update => match self.try_update(prepared, weighed).await {
                    Ok(()) => (PlanAction::Update, differs),
                    Err(error) if is_refusal(&error) => (
                        PlanAction::Conflict,
                        format!("{differs}; {}", refused_change(&error)),
                    ),
                    Err(error) => {
                        item.unchecked = error.to_string();
                        (PlanAction::Update, differs)
                    }
                },
                Treatment::Recreate if makes_room(error, &place) => (PlanAction::Recreate, differs),
                Treatment::Recreate => (
                    PlanAction::Conflict,
                    format!("{differs}; {}", refused_anew(error)),
                ),
                Treatment::Leave(why) => (PlanAction::Conflict, format!("{differs}; {why}")),
            }
        };
    }

    async fn try_update(
        &self,
        prepared: &Prepared<'_>,
        weighed: Weighed,
    ) -> Result<(), ClusterError> {
        let patch = self.whole_patch(weighed);
        self.patience
            .send(|| {
                let patch = self.cluster.try_merge_patch(
                    &prepared.api_type,
                    prepared.namespace,
                    prepared.name,
                    &patch,
                );
                async { patch.await.map(|_| ()) }
            })
            .await
    }

    /// Says which types come in another version than they were stored in.
    fn note_versions(&self, plan: &RestorePlan) {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for step in plan.waves.iter().flatten() {
            *counts.entry(step.planned_type).or_default() += 1;
        }
        for (at, count) in counts {
            let planned = &self.types[at];
            if let Some(served) = &planned.served
                && served.api_version() != planned.key.api_version()
            {
                self.report.note(format!(
                    "{}: {count} object{} stored as {} would be restored as {}",
                    planned.group_resource,
                    if count == 1 { "" } else { "s" },
                    planned.key.api_version(),
                    served.api_version()
                ));
            }
        }
    }
}

/// Says what the refusal of a create that was only tried means for the restore.
fn refused(error: &ClusterError, item: &mut PlanItem) {
    let message = &error.message;
    if message.contains("does not support dry run") {
        item.unchecked = format!("a webhook cannot be asked without effects: {message}");
        return;
    }
    match later::fate(error) {
        Fate::Final => {
            item.action = PlanAction::Conflict;
            item.reason.clone_from(message);
        }
        Fate::Refused if message.contains("denied the request") => {
            item.action = PlanAction::Conflict;
            item.reason = format!("{message}; a restore would try again for a while");
        }
        Fate::Refused | Fate::Unavailable => {
            item.unchecked = format!(
                "refused as things are now, which the restore itself may change: {message}"
            );
        }
    }
}
