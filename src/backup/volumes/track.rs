//! Sees snapshots through: what has to become ready is waited for, what only travels is looked at once more when the
//! backup is about to be recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::remove::remove_pending;
use super::take::{Started, VolumeTaker, Work};
use crate::api::error::chain;
use crate::api::{Results, SnapshotNote, VolumeSnapshot, VolumeSnapshotPhase, duration};
use crate::providers::snapshotter::{SnapshotId, SnapshotState};
use crate::providers::snapshotters::Snapshotters;

/// The first pause before snapshots are looked at again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many snapshots are asked about at once.
const ASKED_AT_ONCE: usize = 100;

/// What became of the volumes of a backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// What was done with each volume.
    pub(crate) volumes: Vec<VolumeSnapshot>,
    pub(crate) results: Results,
    /// Notes of snapshots that the record will not name.
    pub(crate) pending: Vec<SnapshotNote>,
}

impl Taken {
    /// Returns how many volumes of the phases there are.
    pub(crate) fn count(&self, phases: &[VolumeSnapshotPhase]) -> u64 {
        let counted = self.volumes.iter();
        counted
            .filter(|volume| phases.contains(&volume.status.phase))
            .count() as u64
    }
}

impl VolumeTaker {
    /// Takes what is left, waits until snapshots are as far as they have to be, and tells what became of all.
    pub(crate) async fn finish(&self, snapshotters: &Snapshotters) -> Taken {
        self.take_the_rest().await;
        let mut useless = Vec::new();
        for place in 0..self.work.locations.len() {
            useless.extend(self.work.track(place).await);
        }
        let pending = self.forget(snapshotters, useless).await;
        let mut state = self.work.state();
        for (place, (count, reason)) in std::mem::take(&mut state.without) {
            let title = self.work.locations[place].title();
            let volumes = match count {
                1 => "1 volume that it might be for is".to_owned(),
                count => format!("{count} volumes that it might be for are"),
            };
            let line = format!("{title} cannot be used, so {volumes} not snapshot: {reason}");
            state.results.errors.add_ark(line);
        }
        Taken {
            volumes: std::mem::take(&mut state.records).into_values().collect(),
            results: std::mem::take(&mut state.results),
            pending,
        }
    }

    /// Removes snapshots that are of no use; returns all notes of what the record will not name.
    async fn forget(
        &self,
        snapshotters: &Snapshotters,
        useless: Vec<SnapshotNote>,
    ) -> Vec<SnapshotNote> {
        let problems = self.work.remove(snapshotters, useless).await;
        let mut state = self.work.state();
        for problem in problems {
            state.results.warnings.add(None, problem);
        }
        let recorded = |note: &SnapshotNote| {
            state
                .records
                .get(&note.persistent_volume)
                .is_some_and(|record| record.spec.token == note.token && record.has_data())
        };
        let mut pending = self.work.account.entries();
        pending.retain(|note| !recorded(note));
        pending
    }

    /// Begins no more snapshots, and removes those that were made: nothing will name them. What cannot be removed stays
    /// noted.
    pub(crate) async fn discard(&self, snapshotters: &Snapshotters) {
        self.work.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let notes = self.work.account.entries();
        if notes.is_empty() {
            return;
        }
        tracing::info!(
            snapshots = notes.len(),
            "removing the snapshots of a run that failed"
        );
        for problem in self.work.remove(snapshotters, notes).await {
            tracing::warn!(problem, "a snapshot stays, and stays noted");
        }
    }
}

impl Work {
    /// Removes snapshots and their notes; returns what could not be removed, a sentence each.
    pub(super) async fn remove(
        &self,
        snapshotters: &Snapshotters,
        notes: Vec<SnapshotNote>,
    ) -> Vec<String> {
        let left = remove_pending(snapshotters, notes.clone()).await;
        let mut gone = notes;
        gone.retain(|note| !left.iter().any(|(kept, _)| kept == note));
        if !gone.is_empty()
            && let Err(error) = self.account.paid(&gone).await
        {
            tracing::warn!(error, "it could not be noted that snapshots are removed");
        }
        left.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Sees the snapshots of a location through; returns the notes of those that are of no use.
    async fn track(&self, place: usize) -> Vec<SnapshotNote> {
        let mut pending: Vec<Started> = self.state().started.clone();
        pending.retain(|one| one.location == place);
        let Ok(snapshotter) = &self.locations[place].snapshotter else {
            return Vec::new();
        };
        let capabilities = snapshotter.capabilities();
        if !capabilities.states {
            // All that such a provider says is that it has begun.
            for one in &pending {
                self.settle(&one.volume, VolumeSnapshotPhase::Completed, None, None);
            }
            return Vec::new();
        }
        let mut useless = Vec::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let ids: Vec<SnapshotId> = pending.iter().map(|one| one.snapshot.clone()).collect();
            let mut states = Vec::with_capacity(ids.len());
            for some in ids.chunks(ASKED_AT_ONCE) {
                match snapshotter.snapshot_states(some).await {
                    Ok(found) => states.extend(found.into_iter().map(Some)),
                    Err(error) => {
                        tracing::warn!(error = chain(&error), "how snapshots fare is not known");
                        states.extend(some.iter().map(|_| None));
                    }
                }
            }
            let mut states: BTreeMap<SnapshotId, Option<SnapshotState>> =
                ids.into_iter().zip(states).collect();
            pending.retain(|one| {
                let state = states.remove(&one.snapshot).flatten();
                let overdue = capabilities
                    .ready_within
                    .is_some_and(|limit| one.at.elapsed() >= limit);
                match (state, capabilities.ready_within) {
                    (Some(SnapshotState::Ready { size }), _) => {
                        self.settle(&one.volume, VolumeSnapshotPhase::Completed, None, size);
                        false
                    }
                    (Some(SnapshotState::Failed(why)), _) => {
                        self.fail(one, &why);
                        useless.push(one.note.clone());
                        false
                    }
                    (Some(SnapshotState::Gone), _) => {
                        self.fail(one, "the snapshot disappeared after it was begun");
                        useless.push(one.note.clone());
                        false
                    }
                    (Some(SnapshotState::Pending(_)) | None, Some(limit)) if overdue => {
                        let limit = duration::format(limit);
                        self.fail(one, &format!("the snapshot was not ready within {limit}"));
                        useless.push(one.note.clone());
                        false
                    }
                    (Some(SnapshotState::Pending(_)) | None, Some(_)) => true,
                    // Its data goes on travelling without us.
                    (Some(SnapshotState::Pending(percent)), None) => {
                        let message =
                            percent.map(|percent| format!("{percent}% of its data were through"));
                        self.settle(&one.volume, VolumeSnapshotPhase::InProgress, message, None);
                        false
                    }
                    (None, None) => {
                        let message = Some("how far it is was not to be found out".to_owned());
                        self.settle(&one.volume, VolumeSnapshotPhase::InProgress, message, None);
                        false
                    }
                }
            });
            if pending.is_empty() {
                return useless;
            }
            let ends = pending
                .iter()
                .filter_map(|one| Some(one.at + capabilities.ready_within?));
            let left = ends
                .min()
                .map_or(pause, |end| end.saturating_duration_since(Instant::now()));
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn settle(
        &self,
        volume: &str,
        phase: VolumeSnapshotPhase,
        message: Option<String>,
        size: Option<u64>,
    ) {
        if let Some(record) = self.state().records.get_mut(volume) {
            record.status.phase = phase;
            record.status.message = message.unwrap_or_default();
            record.status.size = size;
        }
    }

    fn fail(&self, started: &Started, why: &str) {
        let Started {
            volume, snapshot, ..
        } = started;
        tracing::error!(volume, %snapshot, reason = why, "a snapshot has failed");
        let mut state = self.state();
        let line = format!("persistentvolumes {volume}: its snapshot {snapshot} failed: {why}");
        state.results.errors.add(None, line);
        if let Some(record) = state.records.get_mut(volume) {
            record.status.phase = VolumeSnapshotPhase::Failed;
            why.clone_into(&mut record.status.message);
        }
    }
}
