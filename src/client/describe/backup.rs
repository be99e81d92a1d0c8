//! The description of a Backup.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Found, Lines, count, tristate, volumes};
use crate::api::{
    Backup, BackupHooks, BackupPhase, BackupResourceHook, BackupSpec, BackupStatus,
    DeleteBackupRequest, VolumeSnapshot, duration,
};
use crate::client::table::{self, NONE, selector_text};

/// Describes a backup; `found` are its warnings and errors, `volumes` what was done with each, `deletions` the requests
/// to delete it.
pub(crate) fn backup(
    backup: &Backup,
    found: &Found,
    volumes: &Found<Vec<VolumeSnapshot>>,
    deletions: &[DeleteBackupRequest],
) -> anyhow::Result<String> {
    let status = backup.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.metadata(backup);
    lines.gap();
    lines.field("Phase", &table::backup_status(backup));
    if let Some(reason) = &status.failure_reason {
        lines.field("Failure reason", reason);
    }
    lines.gap();
    spec(&mut lines, 0, &backup.spec);
    lines.gap();
    outcome(&mut lines, backup, &status, found);
    volumes::add(&mut lines, &status, volumes);
    deletion_attempts(&mut lines, deletions);
    lines.finish()
}

/// Adds what a backup takes and how, indented to stand below a heading if `depth` says so.
pub(super) fn spec(lines: &mut Lines, depth: usize, spec: &BackupSpec) {
    lines.namespaces(depth, &spec.included_namespaces, &spec.excluded_namespaces);
    lines.gap();
    lines.resources(depth, &spec.included_resources, &spec.excluded_resources);
    let cluster_scoped = tristate(spec.include_cluster_resources, "included", "excluded");
    lines.nested(depth + 1, "Cluster-scoped", cluster_scoped);
    lines.gap();
    lines.nested(
        depth,
        "Label selector",
        &selector_text(spec.label_selector.as_ref()),
    );
    if spec.allow_empty == Some(true) {
        lines.nested(depth, "Empty selection", "accepted");
    }
    lines.gap();
    lines.nested(depth, "Storage Location", &spec.storage_location);
    lines.gap();
    lines.nested(
        depth,
        "Snapshot PVs",
        tristate(spec.snapshot_volumes, "true", "false"),
    );
    lines.list(depth, "Snapshot Locations", &spec.volume_snapshot_locations);
    volumes::policies(lines, depth, spec);
    lines.gap();
    lines.nested(depth, "TTL", &table::ttl(spec.ttl.as_deref()));
    if let Some(timeout) = &spec.item_operation_timeout {
        lines.nested(depth, "Item operation timeout", timeout);
    }
    lines.gap();
    hooks(lines, depth, &spec.hooks);
}

fn hooks(lines: &mut Lines, depth: usize, hooks: &BackupHooks) {
    if hooks.is_empty() {
        return lines.nested(depth, "Hooks", NONE);
    }
    lines.heading(depth, "Hooks");
    for (place, rule) in hooks.resources.iter().enumerate() {
        lines.heading(depth + 1, &rule.display_name(place));
        lines.namespaces(
            depth + 2,
            &rule.included_namespaces,
            &rule.excluded_namespaces,
        );
        lines.resources(
            depth + 2,
            &rule.included_resources,
            &rule.excluded_resources,
        );
        lines.nested(
            depth + 2,
            "Label selector",
            &selector_text(rule.label_selector.as_ref()),
        );
        exec_hooks(lines, depth + 2, "Pre Exec Hook", rule.pre_hooks());
        exec_hooks(lines, depth + 2, "Post Exec Hook", &rule.post);
    }
}

fn exec_hooks(lines: &mut Lines, depth: usize, label: &str, hooks: &[BackupResourceHook]) {
    for exec in hooks.iter().filter_map(|hook| hook.exec.as_ref()) {
        lines.heading(depth, label);
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                text.to_owned()
            }
        };
        lines.nested(depth + 1, "Container", &or(&exec.container, "<first>"));
        lines.nested(depth + 1, "Command", &exec.command.join(" "));
        lines.nested(depth + 1, "On Error", &or(&exec.on_error, "Fail"));
        let timeout = exec.time_limit().map(duration::format);
        let as_written = |_| exec.timeout.clone().unwrap_or_default();
        lines.nested(depth + 1, "Timeout", &timeout.unwrap_or_else(as_written));
    }
}

/// Says what made a backup of a format that is not ours.
fn maker(format: &str) -> Option<&'static str> {
    match format {
        "1" => Some("an earlier Ark, or an early Velero; it is only read here"),
        format if format.starts_with("1.") => Some("Velero; it is only read here"),
        _ => None,
    }
}

fn outcome(lines: &mut Lines, backup: &Backup, status: &BackupStatus, found: &Found) {
    let format = status
        .format_version
        .clone()
        .or_else(|| status.version.map(|version| version.to_string()))
        // Of a refused one nothing is stored.
        .filter(|_| status.phase != BackupPhase::FailedValidation);
    lines.field(
        "Backup Format Version",
        format.as_deref().unwrap_or("<n/a>"),
    );
    if let Some(maker) = format.as_deref().and_then(maker) {
        lines.field("Made By", maker);
    }
    lines.gap();
    let time =
        |time: Option<&Time>| time.map_or("<n/a>".to_owned(), |time| table::timestamp(time.0));
    lines.field("Started", &time(status.start_timestamp.as_ref()));
    lines.field("Completed", &time(status.completion_timestamp.as_ref()));
    if let Some(run) = status.run.as_ref().filter(|_| !status.phase.is_terminal()) {
        lines.field(
            "Run by",
            &format!("{} (attempt {})", run.holder, run.attempt),
        );
    }
    lines.progress(status.progress.as_ref());
    lines.operations(
        status.backup_item_operations_attempted,
        status.backup_item_operations_completed,
        status.backup_item_operations_failed,
    );
    lines.gap();
    let expiration = table::expiration(backup).map(table::timestamp);
    lines.field("Expiration", expiration.as_deref().unwrap_or("<n/a>"));
    if let Some(end) = backup.locked_until() {
        lines.field("Locked in its bucket until", &table::timestamp(end));
    }
    lines.gap();
    lines.list(0, "Validation errors", &status.validation_errors);
    lines.gap();
    found.add(
        lines,
        status.warnings.unwrap_or(0),
        status.errors.unwrap_or(0),
    );
    lines.gap();
    hook_counts(lines, status);
    let parts: Vec<String> = status
        .parts
        .iter()
        .map(|part| format!("{} ({} bytes)", part.key, part.size))
        .collect();
    lines.list(0, "Stored parts", &parts);
    lines.gap();
}

/// Says how many hooks ran, and which pods are still between theirs. Annotations ask for hooks too, so a backup may have
/// run some without any in its spec.
fn hook_counts(lines: &mut Lines, status: &BackupStatus) {
    if status.hooks_attempted.is_none() && status.hooks_owed.is_empty() {
        return;
    }
    if let Some(attempted) = status.hooks_attempted {
        lines.field("Hooks attempted", &attempted.to_string());
        lines.field("Hooks failed", &count(status.hooks_failed.unwrap_or(0)));
    }
    if !status.hooks_owed.is_empty() {
        let owed = status.hooks_owed.iter();
        let owed: Vec<String> = owed
            .map(|owed| format!("{}/{}", owed.namespace, owed.pod))
            .collect();
        lines.list(0, "Post hooks owed", &owed);
    }
    lines.gap();
}

fn deletion_attempts(lines: &mut Lines, deletions: &[DeleteBackupRequest]) {
    if deletions.is_empty() {
        return;
    }
    let failed = deletions
        .iter()
        .filter(|request| {
            request
                .status
                .as_ref()
                .is_some_and(|status| !status.errors.is_empty())
        })
        .count();
    lines.gap();
    let label = if failed == 0 {
        "Deletion Attempts".to_owned()
    } else {
        format!("Deletion Attempts ({failed} failed)")
    };
    lines.heading(0, &label);
    for request in deletions {
        let status = request.status.clone().unwrap_or_default();
        let made = table::time(request.metadata.creation_timestamp.as_ref());
        lines.nested(1, &made, status.phase.as_str());
        if !status.errors.is_empty() {
            lines.list(1, "Errors", &status.errors);
        }
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
