//! Collects how a restore goes: counts, progress, warnings and errors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::api::{OperationCounts, Progress, RestoreCounts, ResultList, Results};
use crate::cluster::Created;

use super::prepare::Prepared;

/// How many names a line lists before it only counts.
const NAMES_LISTED: usize = 5;

/// Writes names in one line, the first few of many.
pub(super) fn list_names<Name: AsRef<str>>(names: &[Name]) -> String {
    let listed: Vec<&str> = names.iter().take(NAMES_LISTED).map(AsRef::as_ref).collect();
    let listed = listed.join(", ");
    match names.len().saturating_sub(NAMES_LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// How one object fared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was created.
    Created,
    /// It was there, differed and was changed.
    Updated,
    /// It was there, differed and was replaced.
    Recreated,
    /// It was there already, as it was stored.
    There,
    /// It was there, differs and was left.
    Different,
    /// It is not restored, on purpose.
    LeftOut,
    /// It is missing, and an error says so.
    Failed,
    /// It is tried again.
    Later,
}

/// Objects of which the same is to be said: their namespace, their type, and what is said.
type Group = (Option<String>, String, String);

/// The report as far as it goes. Shared by all workers.
#[derive(Debug)]
pub(super) struct Report<'a> {
    results: Mutex<Results>,
    progress: &'a watch::Sender<Progress>,
    total: AtomicU64,
    items: AtomicU64,
    there: AtomicU64,
    counts: Mutex<RestoreCounts>,
    /// Objects that differ, by type and fields.
    different: Mutex<BTreeMap<Group, Vec<String>>>,
    /// Objects that lost fields, by type and fields.
    dropped: Mutex<BTreeMap<Group, Vec<String>>>,
    /// Objects that failed, by type and reason.
    failed: Mutex<BTreeMap<Group, Vec<String>>>,
    /// Objects whose owner is not restored, by the owner's kind.
    orphans: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Objects of custom types whose status is not restored.
    stateless: Mutex<BTreeMap<String, u64>>,
    /// Claims that were created to get a new volume.
    emptied: Mutex<Vec<String>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(results: Results, total: u64, progress: &'a watch::Sender<Progress>) -> Self {
        let report = Self {
            results: Mutex::new(results),
            progress,
            total: AtomicU64::new(total),
            items: AtomicU64::new(0),
            there: AtomicU64::new(0),
            counts: Mutex::default(),
            different: Mutex::default(),
            dropped: Mutex::default(),
            failed: Mutex::default(),
            orphans: Mutex::default(),
            stateless: Mutex::default(),
            emptied: Mutex::default(),
        };
        report.count(0);
        report
    }

    /// Notes that an object is dealt with.
    pub(super) fn done(&self, outcome: Outcome) {
        {
            let mut counts = lock(&self.counts);
            match outcome {
                Outcome::Created => counts.create += 1,
                Outcome::Updated => counts.update += 1,
                Outcome::Recreated => counts.recreate += 1,
                Outcome::There | Outcome::LeftOut => counts.skip += 1,
                Outcome::Different | Outcome::Failed => counts.conflict += 1,
                Outcome::Later => {}
            }
        }
        if matches!(
            outcome,
            Outcome::There | Outcome::Different | Outcome::Updated
        ) {
            self.there.fetch_add(1, Ordering::Relaxed);
        }
        self.count(1);
    }

    /// Notes that there are objects which the plan does not have.
    pub(super) fn expect_more(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
        self.count(0);
    }

    /// Notes how far the operations of item actions are.
    pub(super) fn operations(&self, counts: OperationCounts) {
        self.progress.send_modify(|progress| {
            progress.operations_done = counts.completed + counts.failed;
            progress.total_operations = counts.attempted;
        });
    }

    fn count(&self, more: u64) {
        let items = self.items.fetch_add(more, Ordering::Relaxed) + more;
        self.progress.send_modify(|progress| {
            progress.total_items = self.total.load(Ordering::Relaxed);
            // Workers may arrive here out of turn.
            progress.items_done = progress.items_done.max(items);
        });
    }

    /// Adds a warning about an object in `namespace`, or about a cluster-scoped one.
    pub(super) fn warn(&self, namespace: Option<&str>, message: impl Into<String>) {
        let message = message.into();
        tracing::warn!(namespace, "{message}");
        self.change(|results| results.warnings.add(namespace, message));
    }

    /// Adds an error about an object in `namespace`, or about a cluster-scoped one.
    pub(super) fn fail(&self, namespace: Option<&str>, message: impl Into<String>) {
        let message = message.into();
        tracing::error!(namespace, "{message}");
        self.change(|results| results.errors.add(namespace, message));
    }

    /// Adds to the warnings what a reader of a dry run should know; nothing of it goes wrong.
    pub(super) fn note(&self, message: String) {
        self.change(|results| results.warnings.add_ark(message));
    }

    /// Notes that an object of a custom type has a status that is not restored.
    pub(super) fn drops_status(&self, group_resource: &str) {
        *lock(&self.stateless)
            .entry(group_resource.to_owned())
            .or_default() += 1;
    }

    /// Returns how many objects of custom types have a status that is not restored, by type.
    pub(super) fn dropped_status(&self) -> BTreeMap<String, u64> {
        lock(&self.stateless).clone()
    }

    /// Adds a warning about the restore as a whole.
    pub(super) fn warn_all(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::warn!("{message}");
        self.change(|results| results.warnings.add_ark(message));
    }

    /// Adds an error about the restore as a whole.
    pub(super) fn fail_all(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::error!("{message}");
        self.change(|results| results.errors.add_ark(message));
    }

    /// Adds an error about one object; the same about many is told in one line.
    pub(super) fn fail_object(
        &self,
        namespace: Option<&str>,
        group_resource: &str,
        name: &str,
        reason: &str,
    ) {
        tracing::error!(namespace, "{group_resource} {name}: {reason}");
        // The server's words name the object; without that they are the same for all of a kind.
        let same = reason.replace(&format!("\"{name}\""), "it");
        note(&self.failed, namespace, group_resource, &same, name);
    }

    /// Adds a warning about fields that the server has dropped.
    pub(super) fn dropped(&self, prepared: &Prepared<'_>, created: &Created) {
        if created.dropped.is_empty() {
            return;
        }
        let says = format!(
            "its type has no {} here, which is left out",
            list_names(&created.dropped)
        );
        tracing::warn!(prepared.namespace, "{}: {says}", prepared.title());
        note(
            &self.dropped,
            prepared.namespace,
            prepared.group_resource,
            &says,
            prepared.name,
        );
    }

    /// Adds a warning about an object that is there, differs in `fields`, and is left.
    pub(super) fn differs(
        &self,
        namespace: Option<&str>,
        group_resource: &str,
        name: &str,
        fields: &[&str],
        consequence: &str,
    ) {
        let consequence = consequence.replace(&format!("\"{name}\""), "it");
        let says = format!("differing in {}; {consequence}", list_names(fields));
        note(&self.different, namespace, group_resource, &says, name);
    }

    /// Notes that an object comes without the owner that it had.
    pub(super) fn orphan(&self, namespace: Option<&str>, owner: &str, of: &str, name: &str) {
        let kind = owner.split(' ').next().unwrap_or_default();
        tracing::warn!(
            namespace,
            owner,
            "{of} {name} comes without its owner, which is not restored"
        );
        let name = match namespace {
            Some(namespace) => format!("{of} {namespace}/{name}"),
            None => format!("{of} {name}"),
        };
        let mut orphans = lock(&self.orphans);
        orphans.entry(kind.to_owned()).or_default().insert(name);
    }

    /// Notes that a claim was created without the volume it had.
    pub(super) fn emptied(&self, namespace: &str, claim: &str) {
        lock(&self.emptied).push(format!("{namespace}/{claim}"));
    }

    fn change(&self, change: impl FnOnce(&mut Results)) {
        change(&mut lock(&self.results));
    }

    /// Returns the number of objects not dealt with yet.
    pub(super) fn left(&self) -> u64 {
        self.total
            .load(Ordering::Relaxed)
            .saturating_sub(self.items.load(Ordering::Relaxed))
    }

    /// Ends the report: its results in an order that does not depend on who was faster, and its counts.
    pub(super) fn finish(self) -> Finished {
        let mut results = take(self.results);
        let mut emptied = take(self.emptied);
        if !emptied.is_empty() {
            emptied.sort();
            results.warnings.add_ark(format!(
                "persistentvolumeclaims {}: the data of their volumes does not come back; they get new, empty volumes",
                list_names(&emptied)
            ));
        }
        for (kind, names) in take(self.orphans) {
            let names: Vec<String> = names.into_iter().collect();
            results.warnings.add_ark(format!(
                "{} object{} of an owner of kind {kind} that is not restored came without it ({}); nobody deletes them \
                 with it any more",
                names.len(),
                plural(names.len()),
                list_names(&names)
            ));
        }
        for ((namespace, of, says), names) in take(self.different) {
            let line = grouped(&of, names, &format!("there already, {says}"));
            results.warnings.add(namespace.as_deref(), line);
        }
        for ((namespace, of, says), names) in take(self.dropped) {
            let line = grouped(&of, names, &says);
            results.warnings.add(namespace.as_deref(), line);
        }
        for ((namespace, of, says), names) in take(self.failed) {
            let line = grouped(&of, names, &says);
            results.errors.add(namespace.as_deref(), line);
        }
        for list in [&mut results.warnings, &mut results.errors] {
            sort(list);
        }
        let counts = take(self.counts);
        Finished {
            results,
            items: self.items.into_inner(),
            created: counts.create + counts.recreate,
            there: self.there.into_inner(),
            counts,
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Says the same of all objects of a type in one line.
fn grouped(of: &str, mut names: Vec<String>, says: &str) -> String {
    names.sort();
    match &names[..] {
        [name] => format!("{of} {name}: {says}"),
        names => format!(
            "{of}: {} objects ({}): {says}",
            names.len(),
            list_names(names)
        ),
    }
}

fn note(
    groups: &Mutex<BTreeMap<Group, Vec<String>>>,
    namespace: Option<&str>,
    of: &str,
    says: &str,
    name: &str,
) {
    let group = (namespace.map(str::to_owned), of.to_owned(), says.to_owned());
    lock(groups).entry(group).or_default().push(name.to_owned());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn take<T>(mutex: Mutex<T>) -> T {
    mutex
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A finished report.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) results: Results,
    pub(super) items: u64,
    pub(super) created: u64,
    pub(super) there: u64,
    pub(super) counts: RestoreCounts,
}

fn sort(list: &mut ResultList) {
    list.ark.sort();
    list.cluster.sort();
    for messages in list.namespaces.values_mut() {
        messages.sort();
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
