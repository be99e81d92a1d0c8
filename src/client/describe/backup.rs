//! The description of a Backup.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Lines, count, tristate};
use crate::api::{
    Backup, BackupHooks, BackupResourceHook, BackupStatus, DeleteBackupRequest, duration,
};
use crate::client::table::{self, NONE, selector_text};

/// Describes a backup; `deletions` are the requests to delete it.
pub(crate) fn backup(backup: &Backup, deletions: &[DeleteBackupRequest]) -> anyhow::Result<String> {
    let status = backup.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.metadata(backup);
    lines.gap();
    lines.field("Phase", &table::backup_status(backup));
    if let Some(reason) = &status.failure_reason {
        lines.field("Failure reason", reason);
    }
    lines.gap();
    spec(&mut lines, backup);
    outcome(&mut lines, backup, &status);
    volumes(&mut lines, &status);
    deletion_attempts(&mut lines, deletions);
    lines.finish()
}

fn spec(lines: &mut Lines, backup: &Backup) {
    let spec = &backup.spec;
    lines.namespaces(0, &spec.included_namespaces, &spec.excluded_namespaces);
    lines.gap();
    lines.resources(0, &spec.included_resources, &spec.excluded_resources);
    let cluster_scoped = tristate(spec.include_cluster_resources, "included", "excluded");
    lines.nested(1, "Cluster-scoped", cluster_scoped);
    lines.gap();
    lines.field(
        "Label selector",
        &selector_text(spec.label_selector.as_ref()),
    );
    if spec.allow_empty == Some(true) {
        lines.field("Empty selection", "accepted");
    }
    lines.gap();
    lines.field(
        "Snapshot PVs",
        tristate(spec.snapshot_volumes, "true", "false"),
    );
    lines.gap();
    lines.field("TTL", &ttl(spec.ttl.as_deref()));
    lines.gap();
    hooks(lines, &spec.hooks);
    lines.gap();
}

fn ttl(ttl: Option<&str>) -> String {
    let Some(text) = ttl else {
        return "0s".to_owned();
    };
    duration::parse(text).map_or_else(|_| text.to_owned(), duration::format)
}

fn hooks(lines: &mut Lines, hooks: &BackupHooks) {
    if hooks.is_empty() {
        return lines.field("Hooks", NONE);
    }
    lines.heading(0, "Hooks");
    for rule in &hooks.resources {
        lines.heading(1, &rule.name);
        lines.namespaces(2, &rule.included_namespaces, &rule.excluded_namespaces);
        lines.resources(2, &rule.included_resources, &rule.excluded_resources);
        lines.nested(
            2,
            "Label selector",
            &selector_text(rule.label_selector.as_ref()),
        );
        // `hooks` is the old name of `pre` and counts only where that is empty.
        let pre = if rule.pre.is_empty() {
            &rule.hooks
        } else {
            &rule.pre
        };
        exec_hooks(lines, "Pre Exec Hook", pre);
        exec_hooks(lines, "Post Exec Hook", &rule.post);
    }
}

fn exec_hooks(lines: &mut Lines, label: &str, hooks: &[BackupResourceHook]) {
    for exec in hooks.iter().filter_map(|hook| hook.exec.as_ref()) {
        lines.heading(2, label);
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                text.to_owned()
            }
        };
        lines.nested(3, "Container", &or(&exec.container, "<first>"));
        lines.nested(3, "Command", &exec.command.join(" "));
        lines.nested(3, "On Error", &or(&exec.on_error, "Fail"));
        lines.nested(3, "Timeout", exec.timeout.as_deref().unwrap_or("30s"));
    }
}

fn outcome(lines: &mut Lines, backup: &Backup, status: &BackupStatus) {
    let format = status
        .format_version
        .clone()
        .or_else(|| status.version.map(|version| version.to_string()));
    lines.field(
        "Backup Format Version",
        format.as_deref().unwrap_or("<n/a>"),
    );
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
    lines.gap();
    let expiration = table::expiration(backup).map(table::timestamp);
    lines.field("Expiration", expiration.as_deref().unwrap_or("<n/a>"));
    lines.gap();
    lines.list(0, "Validation errors", &status.validation_errors);
    lines.gap();
    lines.field("Warnings", &count(status.warnings.unwrap_or(0)));
    lines.field("Errors", &count(status.errors.unwrap_or(0)));
    lines.gap();
    let parts: Vec<String> = status
        .parts
        .iter()
        .map(|part| format!("{} ({} bytes)", part.key, part.size))
        .collect();
    lines.list(0, "Stored parts", &parts);
    lines.gap();
}

fn volumes(lines: &mut Lines, status: &BackupStatus) {
    if status.volume_backups.is_empty() {
        return lines.field("Persistent Volumes", "<none included>");
    }
    lines.heading(0, "Persistent Volumes");
    for (name, volume) in &status.volume_backups {
        lines.heading(1, name);
        lines.nested(2, "Snapshot ID", &volume.snapshot_id);
        lines.nested(2, "Type", &volume.volume_type);
        lines.nested(2, "Availability Zone", &volume.availability_zone);
        let iops = volume.iops.map(|iops| iops.to_string());
        lines.nested(2, "IOPS", iops.as_deref().unwrap_or("<N/A>"));
    }
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
