//! The warnings and errors of a run within its description.

use super::{Lines, count};
use crate::api::{ResultList, Results};

/// What was found of what is stored of a run: of its warnings and errors, of which the status has only the numbers, say.
#[derive(Debug)]
pub(crate) enum Found<T = Results> {
    /// Nobody has looked.
    NotRead,
    /// It could not be read, for this reason.
    Unreadable(String),
    /// This.
    Read(Box<T>),
}

impl Found {
    /// Adds warnings and errors, of which there are so many.
    pub(super) fn add(&self, lines: &mut Lines, warnings: u64, errors: u64) {
        match self {
            Self::Read(results) if warnings + errors > 0 => {
                list(lines, "Warnings", &results.warnings);
                lines.gap();
                list(lines, "Errors", &results.errors);
            }
            Self::NotRead | Self::Unreadable(_) | Self::Read(_) => {
                lines.field("Warnings", &count(warnings));
                lines.field("Errors", &count(errors));
                match self {
                    Self::Unreadable(why) if warnings + errors > 0 => {
                        lines.field("Details", &format!("<cannot be read: {why}>"));
                    }
                    Self::NotRead if warnings + errors > 0 => {
                        lines.field("Details", "<shown with --details>");
                    }
                    Self::NotRead | Self::Unreadable(_) | Self::Read(_) => {}
                }
            }
        }
    }
}

fn list(lines: &mut Lines, label: &str, list: &ResultList) {
    if list.count() == 0 {
        return lines.field(label, "");
    }
    lines.heading(0, label);
    lines.list(1, "Ark", &list.ark);
    lines.list(1, "Cluster", &list.cluster);
    if list.namespaces.is_empty() {
        return lines.nested(1, "Namespaces", "");
    }
    lines.heading(1, "Namespaces");
    for (namespace, messages) in &list.namespaces {
        lines.list(2, namespace, messages);
    }
}
