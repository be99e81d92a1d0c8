//! What the server counts, under the names that Ark's dashboards know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::clock::Clock;
use super::objects::Objects;
use crate::api::{Backup, BackupPhase, Schedule, labels};
use crate::cluster::Cluster;

/// The buckets of a backup's duration, in seconds: one minute to four hours.
const DURATION_BUCKETS: [f64; 9] = [
    60.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0, 14_400.0,
];

/// The schedule that a run belongs to; empty for one that somebody asked for.
#[derive(Clone, Debug, Default, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BySchedule {
    schedule: String,
}

/// The location that a figure is about.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByLocation {
    location: String,
}

/// The location that was looked into, and what came of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByLook {
    location: String,
    outcome: &'static str,
}

/// What came of a look for new backups in a location.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// Nothing has changed since the last time.
    Unchanged,
    /// All its backups were listed.
    Listed,
    /// It could not be looked into.
    Failed,
}

impl Look {
    const ALL: [Self; 3] = [Self::Unchanged, Self::Listed, Self::Failed];

    fn at(self, location: &str) -> ByLook {
        ByLook {
            location: location.to_owned(),
            outcome: match self {
                Self::Unchanged => "unchanged",
                Self::Listed => "listed",
                Self::Failed => "failed",
            },
        }
    }
}

type Counters = Family<BySchedule, Counter>;
type Histograms = Family<BySchedule, Histogram, fn() -> Histogram>;

/// The server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    leader: Arc<OnceLock<AtomicI64>>,
    location_available: Family<ByLocation, Gauge>,
    location_syncs: Family<ByLook, Counter>,
    backups_running: Gauge,
    restores_running: Gauge,
    backup: RunCounters,
    restore: RunCounters,
    backup_duration: Histograms,
    backup_size: Family<BySchedule, Gauge>,
    snapshots: SnapshotCounters,
    restore_duration: Histograms,
    backups: Objects<Backup>,
    schedules: Objects<Schedule>,
    clock: Clock,
    /// The schedules that had figures at the last look.
    known_schedules: Mutex<BTreeSet<String>>,
}

/// What is counted of backups, and of restores.
#[derive(Debug, Default)]
struct RunCounters {
    attempt: Counters,
    success: Counters,
    partial: Counters,
    failure: Counters,
    validation: Counters,
    items: Counters,
    bytes: Counters,
}

/// What is counted of volume snapshots.
#[derive(Debug, Default)]
struct SnapshotCounters {
    attempt: Counters,
    success: Counters,
    failure: Counters,
}

impl RunCounters {
    fn ends(&self, schedule: &str, ending: Ending) {
        let counters = match ending {
            Ending::Success => &self.success,
            Ending::Partial => &self.partial,
            Ending::Failure => &self.failure,
            Ending::Refused => &self.validation,
        };
        counters.get_or_create(&by(schedule)).inc();
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Without an error.
    Success,
    /// With errors on single items.
    Partial,
    /// With nothing of use.
    Failure,
    /// Refused before it began.
    Refused,
}

impl Metrics {
    pub(crate) fn new(
        cluster: &Cluster,
        backups: Objects<Backup>,
        schedules: Objects<Schedule>,
        clock: Clock,
    ) -> Self {
        let metrics = Self {
            leader: Arc::default(),
            location_available: Family::default(),
            location_syncs: Family::default(),
            backups_running: Gauge::default(),
            restores_running: Gauge::default(),
            backup: RunCounters::default(),
            restore: RunCounters::default(),
            backup_duration: durations(),
            backup_size: Family::default(),
            snapshots: SnapshotCounters::default(),
            restore_duration: durations(),
            backups,
            schedules,
            clock,
            known_schedules: Mutex::default(),
            registry: Registry::default(),
        };
        // A counter that is there from the start shows its first step.
        metrics.begin_schedule("");
        Self {
            registry: metrics.register(cluster),
            ..metrics
        }
    }

    /// Returns the names of all of it.
    fn register(&self, cluster: &Cluster) -> Registry {
        let mut registry = Registry::with_prefix("ark");
        registry.register_collector(Box::new(Leader(Arc::clone(&self.leader))));
        registry.register(
            "location_available",
            "Whether a location can be used (1) or not (0)",
            self.location_available.clone(),
        );
        registry.register(
            "location_syncs",
            "Looks for new backups in a location, by what came of them",
            self.location_syncs.clone(),
        );
        registry.register(
            "backups_running",
            "Backups that this server makes now",
            self.backups_running.clone(),
        );
        registry.register(
            "restores_running",
            "Restores that this server carries out now",
            self.restores_running.clone(),
        );
        for (name, help, counters) in self.counters() {
            registry.register(name, help, counters.clone());
        }
        registry.register(
            "backup_duration_seconds",
            "How long backups took",
            self.backup_duration.clone(),
        );
        registry.register(
            "backup_tarball_size_bytes",
            "Size of the last backup's contents",
            self.backup_size.clone(),
        );
        registry.register(
            "restore_duration_seconds",
            "How long restores took",
            self.restore_duration.clone(),
        );
        registry.register_collector(Box::new(Requests(cluster.clone())));
        registry.register_collector(Box::new(NewestBackups {
            backups: self.backups.clone(),
            schedules: self.schedules.clone(),
            clock: self.clock.clone(),
        }));
        registry
    }

    /// Returns every family of counters with its name, to which the encoder adds `_total`, and its help.
    #[rustfmt::skip]
    fn counters(&self) -> [(&'static str, &'static str, &Counters); 17] {
        let (backup, snapshots, restore) = (&self.backup, &self.snapshots, &self.restore);
        [
            ("backup_attempt", "Backups begun", &backup.attempt),
            ("backup_success", "Backups completed without an error", &backup.success),
            ("backup_partial_failure", "Backups stored with errors on single items", &backup.partial),
            ("backup_failure", "Backups that failed", &backup.failure),
            ("backup_validation_failure", "Backups refused", &backup.validation),
            ("backup_items", "Items of stored backups", &backup.items),
            ("backup_bytes", "Bytes of stored backups' contents", &backup.bytes),
            ("volume_snapshot_attempt", "Volumes that were to be snapshot", &snapshots.attempt),
            ("volume_snapshot_success", "Volumes that were snapshot", &snapshots.success),
            ("volume_snapshot_failure", "Volumes that were to be snapshot and were not", &snapshots.failure),
            ("restore_attempt", "Restores begun", &restore.attempt),
            ("restore_success", "Restores completed without an error", &restore.success),
            ("restore_partial_failure", "Restores with errors on single items", &restore.partial),
            ("restore_failed", "Restores that failed", &restore.failure),
            ("restore_validation_failed", "Restores refused", &restore.validation),
            ("restore_items", "Items that restores dealt with", &restore.items),
            ("restore_bytes", "Bytes of backups' contents that restores read", &restore.bytes),
        ]
    }

    /// Shows a schedule's counters from the start.
    fn begin_schedule(&self, schedule: &str) {
        for (_, _, counters) in self.counters() {
            drop(counters.get_or_create(&by(schedule)));
        }
    }

    /// Begins the figures of new schedules, and drops those of schedules that are gone: dead series alarm nobody.
    fn follow_schedules(&self) {
        if !self.schedules.synced() {
            return;
        }
        let now: BTreeSet<String> = self
            .schedules
            .select(|_| true)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut known = self
            .known_schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for name in now.difference(&known) {
            self.begin_schedule(name);
        }
        for name in known.difference(&now) {
            let gone = by(name);
            for (_, _, counters) in self.counters() {
                counters.remove(&gone);
            }
            self.backup_duration.remove(&gone);
            self.restore_duration.remove(&gone);
            self.backup_size.remove(&gone);
        }
        *known = now;
    }

    /// Returns all metrics as text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        self.follow_schedules();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn set_leader(&self, leads: bool) {
        let leads = i64::from(leads);
        let known = self.leader.get_or_init(|| AtomicI64::new(leads));
        known.store(leads, Ordering::Relaxed);
    }

    pub(crate) fn set_location_available(&self, location: &str, available: bool) {
        let location = ByLocation {
            location: location.to_owned(),
        };
        let gauge = self.location_available.get_or_create(&location);
        gauge.set(i64::from(available));
    }

    /// Forgets what is known of a location that is gone.
    pub(crate) fn forget_location(&self, location: &str) {
        self.location_available.remove(&ByLocation {
            location: location.to_owned(),
        });
        for look in Look::ALL {
            self.location_syncs.remove(&look.at(location));
        }
    }

    /// Counts a look for new backups in a location.
    pub(crate) fn location_looked_into(&self, location: &str, look: Look) {
        self.location_syncs.get_or_create(&look.at(location)).inc();
    }

    /// Counts a backup as begun, and as running until the guard is dropped.
    pub(crate) fn backup_begins(&self, schedule: &str) -> Running {
        self.backup.attempt.get_or_create(&by(schedule)).inc();
        Running::new(&self.backups_running)
    }

    /// Counts a restore as begun, and as running until the guard is dropped.
    pub(crate) fn restore_begins(&self, schedule: &str) -> Running {
        self.restore.attempt.get_or_create(&by(schedule)).inc();
        Running::new(&self.restores_running)
    }

    /// Counts the volumes of a backup: how many were to be snapshot, and how many are.
    pub(crate) fn volumes_snapshot(&self, schedule: &str, attempted: u64, completed: u64) {
        let SnapshotCounters {
            attempt,
            success,
            failure,
        } = &self.snapshots;
        for (counters, count) in [
            (attempt, attempted),
            (success, completed),
            (failure, attempted.saturating_sub(completed)),
        ] {
            counters.get_or_create(&by(schedule)).inc_by(count);
        }
    }

    pub(crate) fn backup_ends(&self, schedule: &str, ending: Ending) {
        self.backup.ends(schedule, ending);
    }

    pub(crate) fn restore_ends(&self, schedule: &str, ending: Ending) {
        self.restore.ends(schedule, ending);
    }

    /// Notes how long a stored backup took, how large its contents are, and how many items they hold.
    pub(crate) fn backup_stored(&self, schedule: &str, took: Duration, size: u64, items: u64) {
        let schedule = by(schedule);
        self.backup_duration
            .get_or_create(&schedule)
            .observe(took.as_secs_f64());
        self.backup_size
            .get_or_create(&schedule)
            .set(i64::try_from(size).unwrap_or(i64::MAX));
        self.backup.items.get_or_create(&schedule).inc_by(items);
        self.backup.bytes.get_or_create(&schedule).inc_by(size);
    }

    /// Notes how long a restore took, how many items it dealt with, and how much it read.
    pub(crate) fn restore_through(&self, schedule: &str, took: Duration, items: u64, bytes: u64) {
        let schedule = by(schedule);
        self.restore_duration
            .get_or_create(&schedule)
            .observe(took.as_secs_f64());
        self.restore.items.get_or_create(&schedule).inc_by(items);
        self.restore.bytes.get_or_create(&schedule).inc_by(bytes);
    }
}

fn durations() -> Histograms {
    Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS))
}

fn by(schedule: &str) -> BySchedule {
    BySchedule {
        schedule: schedule.to_owned(),
    }
}

/// A run that goes on, as long as this lives.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Running {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether this server leads. Not shown before it is ready to.
#[derive(Debug)]
struct Leader(Arc<OnceLock<AtomicI64>>);

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(leads) = self.0.get() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(leads.load(Ordering::Relaxed));
        let help = "Whether this server leads (1) or waits (0)";
        gauge.encode(encoder.encode_descriptor("leader", help, None, gauge.metric_type())?)
    }
}

/// How old the newest good backup of each schedule is: the figure to alarm on.
#[derive(Debug)]
struct NewestBackups {
    backups: Objects<Backup>,
    schedules: Objects<Schedule>,
    clock: Clock,
}

impl Collector for NewestBackups {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let found = self.backups.select(|_| true);
        let backups = found
            .iter()
            .filter_map(|(_, entry)| entry.object.as_deref().ok());
        let newest = newest(backups);
        let mut wanted: BTreeSet<String> = BTreeSet::from([String::new()]);
        wanted.extend(
            self.schedules
                .select(|_| true)
                .into_iter()
                .map(|(name, _)| name),
        );
        let ages: Vec<(BySchedule, f64)> = newest
            .into_iter()
            .filter(|(schedule, _)| wanted.contains(*schedule))
            .map(|(schedule, start)| {
                let age = self.clock.now().duration_since(start).as_secs_f64();
                (by(schedule), age)
            })
            .collect();
        if ages.is_empty() {
            return Ok(());
        }
        let help = "Seconds since the start of the newest Completed backup of a schedule";
        let mut metric = encoder.encode_descriptor(
            "backup_newest_age_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (schedule, age) in ages {
            ConstGauge::new(age).encode(metric.encode_family(&schedule)?)?;
        }
        Ok(())
    }
}

/// Returns when the newest Completed backup of each schedule began; the empty name stands for backups of none.
fn newest<'a>(backups: impl Iterator<Item = &'a Backup>) -> BTreeMap<&'a str, Timestamp> {
    let mut newest = BTreeMap::new();
    for backup in backups {
        let status = backup.status.as_ref();
        let started = status
            .filter(|status| status.phase == BackupPhase::Completed)
            .and_then(|status| status.start_timestamp.as_ref());
        let Some(started) = started else {
            continue;
        };
        let labels = backup.metadata.labels.as_ref();
        let schedule = labels
            .and_then(|labels| labels.get(labels::SCHEDULE))
            .map_or("", String::as_str);
        let latest = newest.entry(schedule).or_insert(started.0);
        *latest = started.0.max(*latest);
    }
    newest
}

/// The requests that the cluster's connection has counted.
#[derive(Debug)]
struct Requests(Cluster);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        for (name, help, count) in [
            (
                "api_requests",
                "Requests that runs sent to the API server",
                &stats.requests,
            ),
            (
                "api_request_retries",
                "Requests sent again after a failure",
                &stats.retries,
            ),
        ] {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
