//! Collects how a restore goes: counts, progress, warnings and errors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::api::{Progress, RestoreCounts, ResultList, Results};

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
    /// It was there already, whether or not as it was stored.
    There,
    /// It is not restored, on purpose.
    LeftOut,
    /// It is missing, and an error says so.
    Failed,
}

/// The report as far as it goes. Shared by all workers.
#[derive(Debug)]
pub(super) struct Report<'a> {
    results: Mutex<Results>,
    progress: &'a watch::Sender<Progress>,
    total: u64,
    items: AtomicU64,
    created: AtomicU64,
    there: AtomicU64,
    /// Claims that were created to get a new volume.
    emptied: Mutex<Vec<String>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(results: Results, total: u64, progress: &'a watch::Sender<Progress>) -> Self {
        let report = Self {
            results: Mutex::new(results),
            progress,
            total,
            items: AtomicU64::new(0),
            created: AtomicU64::new(0),
            there: AtomicU64::new(0),
            emptied: Mutex::default(),
        };
        report.count(0);
        report
    }

    /// Notes that an object is dealt with.
    pub(super) fn done(&self, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.created.fetch_add(1, Ordering::Relaxed),
            Outcome::There => self.there.fetch_add(1, Ordering::Relaxed),
            Outcome::LeftOut | Outcome::Failed => 0,
        };
        self.count(1);
    }

    fn count(&self, more: u64) {
        let items = self.items.fetch_add(more, Ordering::Relaxed) + more;
        self.progress.send_modify(|progress| {
            progress.total_items = self.total;
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

    /// Adds an error about the restore as a whole.
    pub(super) fn fail_all(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::error!("{message}");
        self.change(|results| results.errors.add_ark(message));
    }

    /// Notes that a claim was created without the volume it had.
    pub(super) fn emptied(&self, namespace: &str, claim: &str) {
        self.emptied
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(format!("{namespace}/{claim}"));
    }

    fn change(&self, change: impl FnOnce(&mut Results)) {
        change(
            &mut self
                .results
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    /// Returns the number of objects not dealt with yet.
    pub(super) fn left(&self) -> u64 {
        self.total
            .saturating_sub(self.items.load(Ordering::Relaxed))
    }

    /// Ends the report: its results in an order that does not depend on who was faster, and its counts.
    pub(super) fn finish(self) -> Finished {
        let mut results = self
            .results
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut emptied = self
            .emptied
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !emptied.is_empty() {
            emptied.sort();
            results.warnings.add_ark(format!(
                "persistentvolumeclaims {}: their volumes had reclaim policy Delete and there is no snapshot to \
                 restore from; they get new, empty volumes",
                list_names(&emptied)
            ));
        }
        for list in [&mut results.warnings, &mut results.errors] {
            sort(list);
        }
        Finished {
            results,
            items: self.items.into_inner(),
            counts: RestoreCounts {
                create: self.created.load(Ordering::Relaxed),
                skip: self.there.load(Ordering::Relaxed),
                ..RestoreCounts::default()
            },
            created: self.created.into_inner(),
            there: self.there.into_inner(),
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn counts_sorts_and_sums_up() {
        let (progress, seen) = watch::channel(Progress::default());
        let report = Report::new(Results::default(), 4, &progress);
        for outcome in [Outcome::Created, Outcome::There, Outcome::LeftOut] {
            report.done(outcome);
        }
        report.fail(Some("n"), "b");
        report.fail(Some("n"), "a");
        report.emptied("n", "db");
        assert_eq!(report.left(), 1);
        assert_eq!(
            (seen.borrow().items_done, seen.borrow().total_items),
            (3, 4)
        );
        let finished = report.finish();
        assert_eq!(
            (finished.items, finished.created, finished.there),
            (3, 1, 1)
        );
        assert_eq!(finished.results.errors.namespaces["n"], ["a", "b"]);
        assert!(finished.results.warnings.ark[0].starts_with("persistentvolumeclaims n/db:"));
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(list_names(&["a", "b"]), "a, b");
        assert_eq!(list_names(&["a"; 7]), "a, a, a, a, a and 2 more");
    }
}
