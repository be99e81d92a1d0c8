//! What to do about a Backup. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::api::{
    Backup, BackupPhase, BackupStatus, Part, Progress, RunHolder, duration, labels, names, validate,
};

/// The version of the format that is written.
const FORMAT_VERSION: &str = "2.0.0";
/// How often a backup is tried when servers die over it.
const MOST_ATTEMPTS: u32 = 3;

/// What is known of the Config and of what is stored under the Backup's name.
#[derive(Clone, Debug)]
pub(crate) enum Location<'a> {
    /// There is no Config yet, or it is being looked at.
    Unknown,
    /// This server makes no backups.
    RestoreOnly,
    /// It cannot be used; a sentence for each reason.
    Unusable(&'a [String]),
    /// Nothing may be written to the one of this name.
    ReadOnly(&'a str),
    /// It can be used; this is stored under the name.
    Usable(Option<&'a Backup>),
}

/// What to do about a Backup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing until it or the Config changes.
    Nothing,
    /// Refuse it; a sentence for each reason.
    Refuse(Vec<String>),
    /// Make it; the number of the try, from 1.
    Run(u32),
    /// It is stored and committed, only its status does not say so.
    Adopt(Box<BackupStatus>),
    /// End it as failed.
    Fail(String),
}

impl Decision {
    /// Refuses for one more reason what would begin or be refused.
    pub(crate) fn refused_too(self, problem: String) -> Self {
        match self {
            Self::Refuse(mut problems) => {
                problems.push(problem);
                Self::Refuse(problems)
            }
            Self::Run(1) => Self::Refuse(vec![problem]),
            Self::Nothing | Self::Run(_) | Self::Adopt(_) | Self::Fail(_) => self,
        }
    }
}

/// Decides what to do about a Backup that nobody works on in this process. Only the leader may ask.
pub(crate) fn decide(backup: &Backup, location: &Location<'_>) -> Decision {
    let status = backup.status.clone().unwrap_or_default();
    let deleting = backup.metadata.deletion_timestamp.is_some();
    let in_progress = match status.phase {
        _ if deleting => return Decision::Nothing,
        BackupPhase::New => false,
        BackupPhase::InProgress | BackupPhase::WaitingForPluginOperations => true,
        BackupPhase::FailedValidation
        | BackupPhase::Completed
        | BackupPhase::PartiallyFailed
        | BackupPhase::Failed
        | BackupPhase::Deleting
        | BackupPhase::Other(_) => return Decision::Nothing,
    };
    match location {
        Location::RestoreOnly => Decision::Nothing,
        // A run that goes on in spite of everything waits for better times.
        Location::Unknown | Location::Unusable(_) | Location::ReadOnly(_) if in_progress => {
            Decision::Nothing
        }
        Location::Usable(Some(record)) if owns(backup, record) => {
            Decision::Adopt(Box::new(record.status.clone().unwrap_or_default()))
        }
        Location::Usable(Some(_)) if in_progress => Decision::Fail(
            "another backup of this name was stored while no server worked on this one; create it again under \
             another name"
                .to_owned(),
        ),
        Location::Usable(None) if in_progress => {
            let attempt = status.run.map_or(1, |run| run.attempt);
            if attempt >= MOST_ATTEMPTS {
                Decision::Fail(format!(
                    "given up after {attempt} attempts: each time the server ended before the backup did; look at \
                     the server's log and memory"
                ))
            } else {
                Decision::Run(attempt.saturating_add(1))
            }
        }
        // What sync made is never a request for a backup.
        Location::Usable(None)
        | Location::Unknown
        | Location::Unusable(_)
        | Location::ReadOnly(_)
            if backup.is_synced() =>
        {
            Decision::Nothing
        }
        Location::Unknown
        | Location::Unusable(_)
        | Location::ReadOnly(_)
        | Location::Usable(_) => decide_new(backup, location),
    }
}

fn decide_new(backup: &Backup, location: &Location<'_>) -> Decision {
    let mut problems = problems(backup);
    match location {
        Location::Unusable(reasons) => problems.extend(
            reasons
                .iter()
                .map(|reason| format!("backups cannot be stored now: {reason}")),
        ),
        Location::ReadOnly(name) => problems.push(format!(
            "location {name} is read-only: no backup can be stored in it; name another one with storageLocation"
        )),
        Location::Usable(Some(record)) => problems.push(name_taken(record)),
        Location::Usable(None) | Location::Unknown | Location::RestoreOnly => {}
    }
    if !problems.is_empty() {
        Decision::Refuse(problems)
    } else if matches!(location, Location::Unknown) {
        Decision::Nothing
    } else {
        Decision::Run(1)
    }
}

/// Returns what is wrong with a Backup, as far as it can be seen from itself.
fn problems(backup: &Backup) -> Vec<String> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let mut problems = validate::backup(&backup.spec);
    problems.extend(names::check_resource_name(name, "backup").err());
    problems
}

/// Chooses the snapshot locations of a Backup: those that it names, and for each other provider the only location of it,
/// or the default one (ark.md, 4.1).
///
/// `providers` has the provider of each location there is; `defaults` the location that counts for a provider that has
/// several.
///
/// # Errors
/// A sentence for each problem.
pub(crate) fn choose_snapshot_locations(
    backup: &Backup,
    providers: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
) -> Result<Vec<String>, Vec<String>> {
    let spec = &backup.spec;
    let mut problems = Vec::new();
    let mut chosen: Vec<String> = Vec::new();
    let mut of_provider: BTreeMap<&str, &str> = BTreeMap::new();
    for name in &spec.volume_snapshot_locations {
        let Some(provider) = providers.get(name) else {
            problems.push(format!(
                "volumeSnapshotLocations: there is no location {name}; `ark snapshot-location get` lists those there are"
            ));
            continue;
        };
        if let Some(other) = of_provider.insert(provider, name) {
            problems.push(format!(
                "volumeSnapshotLocations: {other} and {name} are both of provider {provider}; name one a provider"
            ));
        }
        chosen.push(name.clone());
    }
    if spec.snapshot_volumes == Some(false) {
        return if problems.is_empty() {
            Ok(spec.volume_snapshot_locations.clone())
        } else {
            Err(problems)
        };
    }
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, provider) in providers {
        // One that cannot be read says no provider; nobody asks for it either.
        if !provider.is_empty() && !of_provider.contains_key(provider.as_str()) {
            others.entry(provider).or_default().push(name);
        }
    }
    for (provider, names) in others {
        match (&names[..], defaults.get(provider)) {
            (_, Some(default)) if names.contains(&default.as_str()) => chosen.push(default.clone()),
            ([only], _) => chosen.push((*only).to_owned()),
            (several, _) => problems.push(format!(
                "volumeSnapshotLocations: provider {provider} has several locations ({}); name one of them with \
                 --volume-snapshot-locations, or a default one with `ark server --default-volume-snapshot-locations \
                 {provider}:NAME`",
                several.join(", ")
            )),
        }
    }
    if problems.is_empty() {
        Ok(chosen)
    } else {
        Err(problems)
    }
}

pub(crate) fn name_taken(record: &Backup) -> String {
    let made = record
        .status
        .as_ref()
        .and_then(|status| status.start_timestamp.as_ref())
        .map_or_else(String::new, |time| format!(", made at {}", time.0));
    format!(
        "the location already holds a backup of this name{made}; choose another name, or delete that backup first"
    )
}

/// Returns whether a stored record is this Backup's: by its UID, or by the UID that sync found in it.
pub(crate) fn owns(backup: &Backup, record: &Backup) -> bool {
    let Some(stored) = record.metadata.uid.as_deref().filter(|uid| !uid.is_empty()) else {
        return false;
    };
    backup.is_known_as(stored)
}

/// Returns the patch that writes into a Backup where it is kept, and where its snapshots are; `None` if it says so
/// already.
pub(crate) fn pinned(backup: &Backup, location: &str, snapshots: &[String]) -> Option<Value> {
    let label = names::label_value(location);
    let labels = backup.metadata.labels.as_ref();
    let labelled = labels.and_then(|labels| labels.get(labels::STORAGE_LOCATION)) == Some(&label);
    let spec = &backup.spec;
    let said = spec.storage_location == location && spec.volume_snapshot_locations == snapshots;
    (!said || !labelled).then(|| {
        let mut spec = json!({"storageLocation": location});
        if !snapshots.is_empty() {
            spec["volumeSnapshotLocations"] = json!(snapshots);
        }
        json!({
            "metadata": {"labels": {labels::STORAGE_LOCATION: label}},
            "spec": spec,
        })
    })
}

fn expiration(backup: &Backup, now: Timestamp) -> Option<Time> {
    let ttl = backup.spec.ttl.as_deref();
    ttl.and_then(|ttl| duration::parse(ttl).ok())
        .filter(|ttl| !ttl.is_zero())
        .and_then(|ttl| now.checked_add(ttl).ok())
        .map(Time)
}

/// Returns the status of a Backup whose run begins.
pub(crate) fn taken(
    backup: &Backup,
    holder: &str,
    attempt: u32,
    cluster_id: &str,
    now: Timestamp,
) -> BackupStatus {
    BackupStatus {
        version: Some(Backup::OUR_VERSION),
        format_version: Some(FORMAT_VERSION.to_owned()),
        expiration: expiration(backup, now),
        phase: BackupPhase::InProgress,
        start_timestamp: Some(Time(now)),
        run: Some(RunHolder {
            holder: holder.to_owned(),
            attempt,
        }),
        cluster_id: Some(cluster_id.to_owned()),
        // What an earlier attempt left is still to be removed.
        snapshots_pending: backup
            .status
            .as_ref()
            .map(|status| status.snapshots_pending.clone())
            .unwrap_or_default(),
        // And to be cancelled.
        operations_pending: backup
            .status
            .as_ref()
            .map(|status| status.operations_pending.clone())
            .unwrap_or_default(),
        ..BackupStatus::default()
    }
}

/// Returns the status of a Backup that is stored.
pub(crate) fn finished(
    taken: &BackupStatus,
    parts: Vec<Part>,
    warnings: u64,
    errors: u64,
    items: u64,
    now: Timestamp,
) -> BackupStatus {
    BackupStatus {
        phase: if errors == 0 {
            BackupPhase::Completed
        } else {
            BackupPhase::PartiallyFailed
        },
        completion_timestamp: Some(Time(now)),
        warnings: Some(warnings),
        errors: Some(errors),
        progress: Some(Progress {
            items_done: items,
            total_items: items,
            ..Progress::default()
        }),
        parts,
        operations_pending: Vec::new(),
        ..taken.clone()
    }
}

/// Returns the status of a Backup that failed.
pub(crate) fn failed(before: &BackupStatus, reason: String, now: Timestamp) -> BackupStatus {
    BackupStatus {
        phase: BackupPhase::Failed,
        failure_reason: Some(reason),
        completion_timestamp: Some(Time(now)),
        operations_pending: Vec::new(),
        ..before.clone()
    }
}

/// Returns the status of a Backup that is refused. It expires as others do, else those that a schedule cannot make would
/// never be gone.
pub(crate) fn refused(backup: &Backup, problems: Vec<String>, now: Timestamp) -> BackupStatus {
    BackupStatus {
        version: Some(Backup::OUR_VERSION),
        expiration: expiration(backup, now),
        phase: BackupPhase::FailedValidation,
        validation_errors: problems,
        ..BackupStatus::default()
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
