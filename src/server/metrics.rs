//! What the server counts, under the names that Ark's dashboards know.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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

type Counters = Family<BySchedule, Counter>;

/// The server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    leader: Arc<OnceLock<AtomicI64>>,
    location_available: Gauge,
    backups_running: Gauge,
    restores_running: Gauge,
    backup: BackupCounters,
    restore: RestoreCounters,
    backup_duration: Family<BySchedule, Histogram, fn() -> Histogram>,
    backup_size: Family<BySchedule, Gauge>,
}

#[derive(Debug, Default)]
struct BackupCounters {
    attempt: Counters,
    success: Counters,
    partial: Counters,
    failure: Counters,
    validation: Counters,
}

#[derive(Debug, Default)]
struct RestoreCounters {
    attempt: Counters,
    success: Counters,
    partial: Counters,
    failure: Counters,
    validation: Counters,
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
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut registry = Registry::with_prefix("ark");
        let metrics = Self {
            leader: Arc::default(),
            location_available: Gauge::default(),
            backups_running: Gauge::default(),
            restores_running: Gauge::default(),
            backup: BackupCounters::default(),
            restore: RestoreCounters::default(),
            backup_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            backup_size: Family::default(),
            registry: Registry::default(),
        };
        registry.register_collector(Box::new(Leader(Arc::clone(&metrics.leader))));
        registry.register(
            "location_available",
            "Whether the location of the Config can be used (1) or not (0)",
            metrics.location_available.clone(),
        );
        registry.register(
            "backups_running",
            "Backups that this server makes now",
            metrics.backups_running.clone(),
        );
        registry.register(
            "restores_running",
            "Restores that this server carries out now",
            metrics.restores_running.clone(),
        );
        let (backup, restore) = (&metrics.backup, &metrics.restore);
        // The encoder adds `_total` to the name of a counter.
        for (name, help, counters) in [
            ("backup_attempt", "Backups begun", &backup.attempt),
            (
                "backup_success",
                "Backups completed without an error",
                &backup.success,
            ),
            (
                "backup_partial_failure",
                "Backups stored with errors on single items",
                &backup.partial,
            ),
            ("backup_failure", "Backups that failed", &backup.failure),
            (
                "backup_validation_failure",
                "Backups refused",
                &backup.validation,
            ),
            ("restore_attempt", "Restores begun", &restore.attempt),
            (
                "restore_success",
                "Restores completed without an error",
                &restore.success,
            ),
            (
                "restore_partial_failure",
                "Restores with errors on single items",
                &restore.partial,
            ),
            ("restore_failed", "Restores that failed", &restore.failure),
            (
                "restore_validation_failed",
                "Restores refused",
                &restore.validation,
            ),
        ] {
            // A counter that is there from the start shows its first step.
            drop(counters.get_or_create(&BySchedule::default()));
            registry.register(name, help, counters.clone());
        }
        registry.register(
            "backup_duration_seconds",
            "How long backups took",
            metrics.backup_duration.clone(),
        );
        registry.register(
            "backup_tarball_size_bytes",
            "Size of the last backup's contents",
            metrics.backup_size.clone(),
        );
        registry.register_collector(Box::new(Requests(cluster.clone())));
        Self {
            registry,
            ..metrics
        }
    }

    /// Returns all metrics as text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn set_leader(&self, leads: bool) {
        let leads = i64::from(leads);
        let known = self.leader.get_or_init(|| AtomicI64::new(leads));
        known.store(leads, Ordering::Relaxed);
    }

    pub(crate) fn set_location_available(&self, available: bool) {
        self.location_available.set(i64::from(available));
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

    pub(crate) fn backup_ends(&self, schedule: &str, ending: Ending) {
        let counters = match ending {
            Ending::Success => &self.backup.success,
            Ending::Partial => &self.backup.partial,
            Ending::Failure => &self.backup.failure,
            Ending::Refused => &self.backup.validation,
        };
        counters.get_or_create(&by(schedule)).inc();
    }

    pub(crate) fn restore_ends(&self, schedule: &str, ending: Ending) {
        let counters = match ending {
            Ending::Success => &self.restore.success,
            Ending::Partial => &self.restore.partial,
            Ending::Failure => &self.restore.failure,
            Ending::Refused => &self.restore.validation,
        };
        counters.get_or_create(&by(schedule)).inc();
    }

    /// Notes how long a stored backup took and how large its contents are.
    pub(crate) fn backup_stored(&self, schedule: &str, took: Duration, size: u64) {
        self.backup_duration
            .get_or_create(&by(schedule))
            .observe(took.as_secs_f64());
        self.backup_size
            .get_or_create(&by(schedule))
            .set(i64::try_from(size).unwrap_or(i64::MAX));
    }
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
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let config = kube::Config::new(http::Uri::from_static("http://127.0.0.1:9"));
        Metrics::new(&Cluster::new(kube::Client::try_from(config).unwrap(), None))
    }

    #[tokio::test]
    async fn names_are_arks() {
        let metrics = metrics();
        assert!(!metrics.encode().unwrap().contains("ark_leader"));
        metrics.set_leader(true);
        let running = metrics.backup_begins("nightly");
        metrics.backup_ends("nightly", Ending::Partial);
        metrics.backup_stored("nightly", Duration::from_secs(90), 1_234);
        drop(metrics.restore_begins(""));
        metrics.restore_ends("", Ending::Refused);
        let text = metrics.encode().unwrap();
        for line in [
            "ark_leader 1",
            "ark_location_available 0",
            "ark_backups_running 1",
            "ark_restores_running 0",
            "ark_backup_attempt_total{schedule=\"\"} 0",
            "ark_backup_attempt_total{schedule=\"nightly\"} 1",
            "ark_backup_success_total{schedule=\"\"} 0",
            "ark_backup_partial_failure_total{schedule=\"nightly\"} 1",
            "ark_backup_failure_total{schedule=\"\"} 0",
            "ark_backup_duration_seconds_bucket{le=\"300.0\",schedule=\"nightly\"} 1",
            "ark_backup_tarball_size_bytes{schedule=\"nightly\"} 1234",
            "ark_restore_attempt_total{schedule=\"\"} 1",
            "ark_restore_success_total{schedule=\"\"} 0",
            "ark_restore_failed_total{schedule=\"\"} 0",
            "ark_restore_validation_failed_total{schedule=\"\"} 1",
            "ark_api_requests_total 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        drop(running);
        assert!(metrics.encode().unwrap().contains("ark_backups_running 0"));
    }
}
