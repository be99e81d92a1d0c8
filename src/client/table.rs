//! Tables, as the original Ark draws them: a column is as wide as its widest text and three spaces, at least ten.
//!
//! Everything is computed from the objects and a given time.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::ResourceExt;
use tabwriter::TabWriter;

use super::output::one_line;
use crate::api::{Backup, Restore, duration, selector};

/// What stands where there is nothing to show.
pub(crate) const NONE: &str = "<none>";

/// A type of objects that a table can show.
pub(crate) trait Row: ResourceExt {
    /// Headings of the columns.
    const COLUMNS: &'static [&'static str];

    /// Returns the texts of the columns.
    fn cells(&self, now: Timestamp) -> Vec<String>;

    /// Puts objects into the order in which a table shows them; as the API has them, unless the type has its own.
    fn sort(_objects: &mut [Self])
    where
        Self: Sized,
    {
    }
}

impl Row for Backup {
    const COLUMNS: &'static [&'static str] = &[
        "NAME",
        "STATUS",
        "CREATED",
        "EXPIRES",
        "STORAGE LOCATION",
        "SELECTOR",
    ];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.name_any(),
            backup_status(self),
            time(backup_time(self)),
            relative(expiration(self), now),
            self.spec.storage_location.clone(),
            selector_text(self.spec.label_selector.as_ref()),
        ]
    }

    fn sort(backups: &mut [Self]) {
        sort_backups(backups);
    }
}

impl Row for Restore {
    const COLUMNS: &'static [&'static str] = &[
        "NAME", "BACKUP", "STATUS", "WARNINGS", "ERRORS", "CREATED", "SELECTOR",
    ];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        let tried = if self.spec.dry_run == Some(true) {
            " (dry run)"
        } else {
            ""
        };
        vec![
            self.name_any(),
            self.spec.backup_name.clone(),
            format!("{}{tried}", status.phase),
            status.warnings.to_string(),
            status.errors.to_string(),
            time(self.metadata.creation_timestamp.as_ref()),
            selector_text(self.spec.label_selector.as_ref()),
        ]
    }
}

/// Draws a table of objects; the headings are there also when the objects are not.
pub(crate) fn render<K: Row>(
    objects: &[K],
    now: Timestamp,
    label_columns: &[String],
    show_labels: bool,
) -> anyhow::Result<String> {
    let mut heading: Vec<String> = K::COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    heading.extend(label_columns.iter().map(|key| {
        key.rsplit_once('/')
            .map_or(key.as_str(), |(_, name)| name)
            .to_uppercase()
    }));
    if show_labels {
        heading.push("LABELS".to_owned());
    }
    let rows = objects.iter().map(|object| {
        let mut cells = object.cells(now);
        let labels = object.labels();
        cells.extend(
            label_columns
                .iter()
                .map(|key| labels.get(key).cloned().unwrap_or_default()),
        );
        if show_labels {
            cells.push(label_list(labels));
        }
        cells
    });
    // The crate's minimum leaves out the padding, Go's includes it.
    let mut table = TabWriter::new(Vec::new()).minwidth(7).padding(3);
    for cells in std::iter::once(heading).chain(rows) {
        let cells: Vec<String> = cells.iter().map(|cell| cell_text(cell)).collect();
        writeln!(table, "{}", cells.join("\t")).context("drawing a table")?;
    }
    into_text(table)
}

/// Returns what a tab writer has drawn.
pub(crate) fn into_text(table: TabWriter<Vec<u8>>) -> anyhow::Result<String> {
    let bytes = table
        .into_inner()
        .map_err(|error| anyhow::anyhow!("drawing a table: {}", error.error()))?;
    String::from_utf8(bytes).context("drawing a table")
}

/// Returns a cell's text: one line, and something where there is nothing.
pub(crate) fn cell_text(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        NONE.to_owned()
    } else {
        text
    }
}

fn label_list(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Returns a backup's phase; one that is being deleted says so whatever its phase is.
pub(crate) fn backup_status(backup: &Backup) -> String {
    if backup.metadata.deletion_timestamp.is_some() {
        return "Deleting".to_owned();
    }
    backup
        .status
        .as_ref()
        .map(|status| status.phase.clone())
        .unwrap_or_default()
        .to_string()
}

/// Returns when a backup was made. A Backup that was synced from storage was created later than that.
pub(crate) fn backup_time(backup: &Backup) -> Option<&Time> {
    backup
        .status
        .as_ref()
        .and_then(|status| status.start_timestamp.as_ref())
        .or(backup.metadata.creation_timestamp.as_ref())
}

/// Returns when a backup expires, if it ever does: what the server wrote, else creation and TTL.
pub(crate) fn expiration(backup: &Backup) -> Option<Timestamp> {
    if let Some(written) = backup.status.as_ref().and_then(|s| s.expiration.as_ref()) {
        return Some(written.0);
    }
    let ttl = duration::parse(backup.spec.ttl.as_deref()?).ok()?;
    if ttl.is_zero() {
        return None;
    }
    let created = backup.metadata.creation_timestamp.as_ref()?;
    created.0.checked_add(ttl).ok()
}

/// Writes a time as Go prints it, in UTC; `<none>` if there is none.
pub(crate) fn time(time: Option<&Time>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| timestamp(time.0))
}

/// Writes a time as Go prints it, in UTC.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Writes a TTL as Go prints it; what cannot be read is shown as it is.
pub(crate) fn ttl(ttl: Option<&str>) -> String {
    let text = ttl.unwrap_or("0");
    duration::parse(text).map_or_else(|_| text.to_owned(), duration::format)
}

/// Writes how far a time is away, as `29d` or `3h ago`; `n/a` if there is none.
pub(crate) fn relative(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else {
        return "n/a".to_owned();
    };
    let distance = time.duration_since(now);
    if distance.is_negative() {
        format!("{} ago", short_duration(-distance))
    } else {
        short_duration(distance)
    }
}

/// Writes a duration in its largest unit, rounded down.
fn short_duration(distance: SignedDuration) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    match distance.as_secs() {
        seconds if seconds < MINUTE => format!("{seconds}s"),
        seconds if seconds < HOUR => format!("{}m", seconds / MINUTE),
        seconds if seconds < DAY => format!("{}h", seconds / HOUR),
        seconds if seconds < YEAR => format!("{}d", seconds / DAY),
        seconds => format!("{}y", seconds / YEAR),
    }
}

/// Writes a selector; `<none>` if there is none.
pub(crate) fn selector_text(selector: Option<&LabelSelector>) -> String {
    let text = selector.map(selector::format).unwrap_or_default();
    cell_text(&text)
}

/// Sorts backups by name, but those of one series (`<prefix>-<14 digits>`) newest first.
pub(crate) fn sort_backups(backups: &mut [Backup]) {
    backups.sort_by(|a, b| {
        let (a, b) = (a.name_any(), b.name_any());
        let (a_prefix, a_time) = series(&a);
        let (b_prefix, b_time) = series(&b);
        a_prefix
            .cmp(b_prefix)
            .then_with(|| a_time.is_some().cmp(&b_time.is_some()))
            .then_with(|| b_time.cmp(&a_time))
    });
}

/// Splits a name into a series and its time; a name without a time is a series of its own.
fn series(name: &str) -> (&str, Option<&str>) {
    name.rsplit_once('-')
        .filter(|(_, time)| time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit()))
        .map_or((name, None), |(prefix, time)| (prefix, Some(time)))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
