//! The description of a Restore.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::counts_line;
use super::{Found, Lines, pairs, tristate};
use crate::api::{Restore, RestoreSpec};
use crate::client::table::{self, selector_text};

/// Describes a restore; `found` are its warnings and errors.
pub(crate) fn restore(restore: &Restore, found: &Found) -> anyhow::Result<String> {
    let status = restore.status.clone().unwrap_or_default();
    let spec = &restore.spec;
    let mut lines = Lines::default();
    lines.metadata(restore);
    lines.gap();
    lines.field("Backup", &spec.backup_name);
    if !spec.schedule_name.is_empty() {
        lines.field("Schedule", &spec.schedule_name);
    }
    lines.gap();
    lines.namespaces(0, &spec.included_namespaces, &spec.excluded_namespaces);
    lines.gap();
    lines.resources(0, &spec.included_resources, &spec.excluded_resources);
    let cluster_scoped = tristate(spec.include_cluster_resources, "included", "excluded");
    lines.nested(1, "Cluster-scoped", cluster_scoped);
    lines.gap();
    lines.list(
        0,
        "Namespace mappings",
        &pairs(&spec.namespace_mapping, "="),
    );
    lines.gap();
    lines.field(
        "Label selector",
        &selector_text(spec.label_selector.as_ref()),
    );
    for selector in &spec.or_label_selectors {
        lines.field("Or label selector", &selector_text(Some(selector)));
    }
    if !spec.included_items.is_empty() {
        lines.list(0, "Objects by name", &spec.included_items);
    }
    if spec.with_dependencies == Some(true) {
        lines.field("Dependencies", "included");
    }
    if spec.allow_empty == Some(true) {
        lines.field("Empty selection", "accepted");
    }
    lines.gap();
    lines.field("Restore PVs", tristate(spec.restore_pvs, "true", "false"));
    if spec.empty_volumes == Some(true) {
        lines.field("Empty volumes", "for claims whose data is not brought");
    }
    changes(&mut lines, spec);
    lines.gap();
    let labelled = spec.label_restored.unwrap_or(true);
    lines.field(
        "Label restored objects",
        if labelled { "true" } else { "false" },
    );
    lines.gap();
    lines.field("Phase", status.phase.as_str());
    if let Some(reason) = &status.failure_reason {
        lines.field("Failure reason", reason);
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
        status.restore_item_operations_attempted,
        status.restore_item_operations_completed,
        status.restore_item_operations_failed,
    );
    if let Some(counts) = &status.counts {
        lines.field("Objects", &counts_line(counts));
    }
    lines.gap();
    lines.list(0, "Validation errors", &status.validation_errors);
    lines.gap();
    found.add(&mut lines, status.warnings, status.errors);
    lines.finish()
}

/// Says what is changed on the way, and what becomes of what is there.
fn changes(lines: &mut Lines, spec: &RestoreSpec) {
    if spec.dry_run == Some(true) {
        lines.field("Dry run", "true");
    }
    if let Some(policy) = &spec.existing_resource_policy {
        lines.field("Existing resources", policy.as_str());
    }
    if let Some(status) = &spec.restore_status {
        lines.field("Status restored", &status.included_resources.join(", "));
        if !status.excluded_resources.is_empty() {
            lines.field("Status not restored", &status.excluded_resources.join(", "));
        }
    }
    if let Some(preserve) = spec.preserve_node_ports {
        lines.field(
            "Preserve node ports",
            if preserve { "true" } else { "false" },
        );
    }
    if let Some(reference) = &spec.resource_modifier {
        lines.field(
            "Resource modifiers",
            &format!("ConfigMap {}", reference.name),
        );
    }
    if let Some(timeout) = &spec.item_operation_timeout {
        lines.field("Item operation timeout", timeout);
    }
    if let Some(modifiers) = &spec.resource_modifiers {
        let count = modifiers.resource_modifier_rules.len();
        lines.field("Resource modifier rules", &count.to_string());
    }
    if !spec.storage_class_mapping.is_empty() {
        lines.list(
            0,
            "Storage class mappings",
            &pairs(&spec.storage_class_mapping, "="),
        );
    }
    for reference in &spec.namespace_references {
        let text = format!("{} {}", reference.resource, reference.path);
        lines.field("Namespace reference", &text);
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
