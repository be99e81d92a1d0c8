//! What `describe` prints: labelled lines in groups, aligned within each group. Computed from objects alone.

mod backup;
mod plan;
mod restore;
mod results;
mod schedule;
mod volumes;

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use kube::ResourceExt;
use tabwriter::TabWriter;

pub(crate) use backup::backup;
pub(crate) use plan::plan;
pub(crate) use restore::restore;
pub(crate) use results::Found;
pub(crate) use schedule::schedule;

use super::output::one_line;
use super::table::{NONE, into_text};
use crate::api::Progress;

/// Collects the lines of one description.
#[derive(Debug, Default)]
struct Lines {
    text: String,
}

impl Lines {
    /// Adds a labelled value.
    fn field(&mut self, label: &str, value: &str) {
        self.nested(0, label, value);
    }

    /// Adds a labelled value, indented.
    fn nested(&mut self, depth: usize, label: &str, value: &str) {
        self.indent(depth);
        self.text.extend([label, ":\t", &or_none(value), "\n"]);
    }

    /// Adds a heading whose values follow indented.
    fn heading(&mut self, depth: usize, label: &str) {
        self.indent(depth);
        self.text.extend([label, ":\n"]);
    }

    /// Adds a labelled list, one item a line.
    fn list(&mut self, depth: usize, label: &str, items: &[String]) {
        let mut items = items.iter().map(|item| one_line(item));
        self.nested(depth, label, &items.next().unwrap_or_default());
        for item in items {
            self.text.extend(["\t", item.as_str(), "\n"]);
        }
    }

    /// Ends a group.
    fn gap(&mut self) {
        self.text.push('\n');
    }

    // With spaces: tabs would align the labels of one level with the values of another.
    fn indent(&mut self, depth: usize) {
        self.text.extend(std::iter::repeat_n("  ", depth));
    }

    /// Returns the aligned text.
    fn finish(self) -> anyhow::Result<String> {
        let mut writer = TabWriter::new(Vec::new()).minwidth(0).padding(2);
        writer
            .write_all(self.text.as_bytes())
            .context("drawing a description")?;
        into_text(writer)
    }

    /// Adds name, namespace, labels and annotations.
    fn metadata(&mut self, object: &impl ResourceExt) {
        self.field("Name", &object.name_any());
        self.field("Namespace", &object.namespace().unwrap_or_default());
        self.list(0, "Labels", &pairs(object.labels(), "="));
        self.list(0, "Annotations", &pairs(object.annotations(), "="));
    }

    /// Adds the namespaces taken and left out.
    fn namespaces(&mut self, depth: usize, included: &[String], excluded: &[String]) {
        self.heading(depth, "Namespaces");
        self.included_excluded(depth + 1, included, excluded);
    }

    /// Adds the types taken and left out.
    fn resources(&mut self, depth: usize, included: &[String], excluded: &[String]) {
        self.heading(depth, "Resources");
        self.included_excluded(depth + 1, included, excluded);
    }

    fn included_excluded(&mut self, depth: usize, included: &[String], excluded: &[String]) {
        let included = if included.is_empty() {
            "*".to_owned()
        } else {
            included.join(", ")
        };
        self.nested(depth, "Included", &included);
        self.nested(depth, "Excluded", &excluded.join(", "));
    }

    /// Adds how far a run has come.
    fn progress(&mut self, progress: Option<&Progress>) {
        let text = progress.map(|progress| {
            format!(
                "{} of {} items",
                progress.items_done,
                progress.total_items.max(progress.items_done)
            )
        });
        self.field("Progress", text.as_deref().unwrap_or("<n/a>"));
        if let Some(progress) = progress.filter(|progress| progress.total_operations > 0) {
            let text = format!(
                "{} of {} ended",
                progress.operations_done, progress.total_operations
            );
            self.field("Operations", &text);
        }
    }

    /// Adds how many operations of item actions there were, if there were any.
    fn operations(&mut self, attempted: Option<u64>, completed: Option<u64>, failed: Option<u64>) {
        if let Some(attempted) = attempted.filter(|attempted| *attempted > 0) {
            let text = format!(
                "{} of {attempted} completed, {} failed",
                completed.unwrap_or(0),
                failed.unwrap_or(0)
            );
            self.field("Operations", &text);
        }
    }
}

fn or_none(value: &str) -> String {
    let value = one_line(value);
    if value.is_empty() {
        NONE.to_owned()
    } else {
        value
    }
}

fn pairs(map: &BTreeMap<String, String>, separator: &str) -> Vec<String> {
    map.iter()
        .map(|(key, value)| format!("{key}{separator}{value}"))
        .collect()
}

/// Writes a flag that is left to Ark when unset.
fn tristate(flag: Option<bool>, yes: &'static str, no: &'static str) -> &'static str {
    match flag {
        None => "auto",
        Some(true) => yes,
        Some(false) => no,
    }
}

/// Writes a count of warnings or errors.
fn count(count: u64) -> String {
    if count == 0 {
        NONE.to_owned()
    } else {
        count.to_string()
    }
}
