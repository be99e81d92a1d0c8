//! What a dry run found, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use tabwriter::TabWriter;

use crate::api::{Difference, PlanAction, PlanItem, RestoreCounts, Results};
use crate::client::output::one_line;
use crate::client::table;

/// How many objects of an action are listed before only the rest's number is told.
const LISTED: usize = 20;

/// Writes what a dry run found: counts first, then a table of types, then what needs a look; every object with `details`.
pub(crate) fn plan(
    counts: &RestoreCounts,
    items: &[PlanItem],
    results: &Results,
    details: bool,
) -> anyhow::Result<String> {
    let mut text = counts_line(counts) + "\n";
    if !items.is_empty() {
        text.push('\n');
        text.push_str(&types(items)?);
    }
    for (title, action) in [
        ("Conflicts", PlanAction::Conflict),
        ("Recreate", PlanAction::Recreate),
        ("Update", PlanAction::Update),
    ] {
        list(
            &mut text,
            title,
            items,
            action,
            if details { usize::MAX } else { LISTED },
        );
    }
    unchecked(&mut text, items);
    if details {
        list(&mut text, "Create", items, PlanAction::Create, usize::MAX);
        list(&mut text, "Skip", items, PlanAction::Skip, usize::MAX);
    }
    messages(&mut text, "Notes", &results.warnings);
    messages(&mut text, "Errors", &results.errors);
    Ok(text)
}

/// Says in a line what becomes of so many objects.
pub(crate) fn counts_line(counts: &RestoreCounts) -> String {
    let unchecked = match counts.unchecked {
        0 => String::new(),
        number => format!(" ({number} unchecked)"),
    };
    format!(
        "Create: {}{unchecked}, update: {}, recreate: {}, skip: {}, conflict: {}",
        counts.create, counts.update, counts.recreate, counts.skip, counts.conflict
    )
}

fn types(items: &[PlanItem]) -> anyhow::Result<String> {
    let mut rows: BTreeMap<(&str, &str), [u64; 5]> = BTreeMap::new();
    for item in items {
        let row = rows.entry((&item.namespace, &item.resource)).or_default();
        row[column(item.action)] += 1;
    }
    let mut drawn = TabWriter::new(Vec::new()).padding(3);
    writeln!(
        drawn,
        "NAMESPACE\tTYPE\tCREATE\tUPDATE\tRECREATE\tSKIP\tCONFLICT"
    )?;
    for ((namespace, of), row) in rows {
        let namespace = if namespace.is_empty() {
            "<cluster>"
        } else {
            namespace
        };
        let numbers: Vec<String> = row.iter().map(u64::to_string).collect();
        writeln!(
            drawn,
            "{}\t{}\t{}",
            one_line(namespace),
            one_line(of),
            numbers.join("\t")
        )?;
    }
    drawn.flush()?;
    table::into_text(drawn)
}

fn column(action: PlanAction) -> usize {
    match action {
        PlanAction::Create => 0,
        PlanAction::Update => 1,
        PlanAction::Recreate => 2,
        PlanAction::Skip => 3,
        PlanAction::Conflict => 4,
    }
}

fn list(text: &mut String, title: &str, items: &[PlanItem], action: PlanAction, most: usize) {
    let chosen: Vec<&PlanItem> = items.iter().filter(|item| item.action == action).collect();
    if chosen.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{title}:\n");
    for item in chosen.iter().take(most) {
        let reason = match (item.reason.as_str(), item.unchecked.as_str()) {
            ("", "") => String::new(),
            ("", unchecked) => format!(": unchecked, {unchecked}"),
            (reason, _) => format!(": {reason}"),
        };
        let _ = writeln!(text, "  {}{}", name(item), one_line(&reason));
        for difference in &item.differences {
            let _ = writeln!(text, "    {}", told(difference));
        }
    }
    if let more @ 1.. = chosen.len().saturating_sub(most) {
        let _ = writeln!(text, "  and {more} more (--details lists them)");
    }
}

fn name(item: &PlanItem) -> String {
    let place = if item.namespace.is_empty() {
        String::new()
    } else {
        format!("{}/", item.namespace)
    };
    one_line(&format!("{} {place}{}", item.resource, item.name))
}

fn told(difference: &Difference) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    one_line(&format!(
        "{}: {} in the cluster, {} in the backup",
        difference.path,
        value(&difference.cluster),
        value(&difference.backup)
    ))
}

fn unchecked(text: &mut String, items: &[PlanItem]) {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for item in items.iter().filter(|item| !item.unchecked.is_empty()) {
        *reasons.entry(&item.unchecked).or_default() += 1;
    }
    if reasons.is_empty() {
        return;
    }
    text.push_str("\nNot checked with the API server:\n");
    for (reason, count) in reasons {
        let _ = writeln!(text, "  {count}: {}", one_line(reason));
    }
}

fn messages(text: &mut String, title: &str, list: &crate::api::ResultList) {
    if list.count() == 0 {
        return;
    }
    let _ = write!(text, "\n{title}:\n");
    for line in list.ark.iter().chain(&list.cluster) {
        let _ = writeln!(text, "  {}", one_line(line));
    }
    for (namespace, lines) in &list.namespaces {
        for line in lines {
            let _ = writeln!(text, "  {}: {}", one_line(namespace), one_line(line));
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
