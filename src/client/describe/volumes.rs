//! What a description says of volumes: which are to be snapshot, and what was done with each.

use super::{Found, Lines};
use crate::api::{
    BackupSpec, BackupStatus, VolumeBackupInfo, VolumeConditions, VolumeSnapshot,
    VolumeSnapshotPhase, quantity,
};

/// Adds the policies of a backup, if it has any.
pub(super) fn policies(lines: &mut Lines, depth: usize, spec: &BackupSpec) {
    if let Some(reference) = &spec.resource_policy {
        lines.nested(
            depth,
            "Volume Policies",
            &format!("{} {}", reference.kind, reference.name),
        );
    }
    if let Some(policies) = &spec.volume_policies {
        let policies: Vec<String> = policies
            .volume_policies
            .iter()
            .map(|policy| format!("{}: {}", policy.action.kind, conditions(&policy.conditions)))
            .collect();
        lines.list(depth, "Volume Policies", &policies);
    }
}

/// Writes conditions as short JSON, which is YAML too.
fn conditions(conditions: &VolumeConditions) -> String {
    match serde_json::to_string(conditions) {
        Ok(text) if text != "{}" => text,
        _ => "every volume".to_owned(),
    }
}

/// Adds what was done with the volumes of a backup.
pub(super) fn add(lines: &mut Lines, status: &BackupStatus, found: &Found<Vec<VolumeSnapshot>>) {
    const LABEL: &str = "Persistent Volumes";
    // What Ark up to 0.9 recorded stands in the status.
    if !status.volume_backups.is_empty() {
        lines.heading(0, LABEL);
        for (name, volume) in &status.volume_backups {
            lines.heading(1, name);
            early(lines, volume);
        }
        return;
    }
    let attempted = status.volume_snapshots_attempted.unwrap_or(0);
    let skipped = status.volumes_skipped.unwrap_or(0);
    if attempted + skipped == 0 {
        lines.field(LABEL, "<none included>");
    } else if let Found::Read(volumes) = found {
        lines.heading(0, LABEL);
        for volume in volumes.iter() {
            lines.heading(1, &volume.spec.persistent_volume_name);
            one(lines, volume);
        }
    } else {
        let completed = status.volume_snapshots_completed.unwrap_or(0);
        let others = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} not to be snapshot"),
        };
        lines.field(
            LABEL,
            &format!("{completed} of {attempted} snapshots completed{others}"),
        );
        match found {
            Found::Unreadable(why) => {
                lines.field("Volume Details", &format!("<cannot be read: {why}>"));
            }
            Found::NotRead if status.phase.is_usable() => {
                lines.field("Volume Details", "<shown with --details>");
            }
            Found::NotRead | Found::Read(_) => {}
        }
    }
    if !status.snapshots_pending.is_empty() {
        let pending = status
            .snapshots_pending
            .iter()
            .map(|note| match &*note.snapshot_id {
                "" => format!(
                    "of {}, asked for under token {}",
                    note.persistent_volume, note.token
                ),
                id => format!("{id} of {}", note.persistent_volume),
            });
        let pending: Vec<String> = pending.collect();
        let label = if status.phase.is_terminal() {
            "Snapshots to be removed"
        } else {
            "Snapshots so far"
        };
        lines.list(0, label, &pending);
    }
}

fn early(lines: &mut Lines, volume: &VolumeBackupInfo) {
    lines.nested(2, "Snapshot ID", &volume.snapshot_id);
    kind(
        lines,
        &volume.volume_type,
        &volume.availability_zone,
        volume.iops,
    );
}

fn kind(lines: &mut Lines, volume_type: &str, zone: &str, iops: Option<i64>) {
    lines.nested(2, "Type", volume_type);
    lines.nested(2, "Availability Zone", zone);
    let iops = iops.map(|iops| iops.to_string());
    lines.nested(2, "IOPS", iops.as_deref().unwrap_or("<N/A>"));
}

fn one(lines: &mut Lines, volume: &VolumeSnapshot) {
    let VolumeSnapshot { spec, status } = volume;
    if !spec.claim.is_empty() {
        lines.nested(2, "Claim", &spec.claim);
    }
    let phase = match &status.phase {
        VolumeSnapshotPhase::InProgress => {
            "InProgress: it was begun; its data still travelled when the backup was recorded"
        }
        phase => phase.as_str(),
    };
    lines.nested(2, "Snapshot", phase);
    if !status.message.is_empty() {
        let label = if status.phase == VolumeSnapshotPhase::InProgress {
            "Progress"
        } else {
            "Reason"
        };
        lines.nested(2, label, &status.message);
    }
    if status.provider_snapshot_id.is_empty() {
        return;
    }
    lines.nested(2, "Snapshot ID", &status.provider_snapshot_id);
    let location = match (spec.location.as_str(), spec.provider.as_str()) {
        ("", provider) => provider.to_owned(),
        (location, "") => location.to_owned(),
        (location, provider) => format!("{location} ({provider})"),
    };
    lines.nested(2, "Snapshot Location", &location);
    if !spec.volume_type.is_empty() {
        kind(lines, &spec.volume_type, &spec.volume_az, spec.volume_iops);
    }
    if let Some(size) = status.size {
        lines.nested(2, "Size", &quantity::format(size));
    }
}
