use kube::runtime::watcher::Event;

use super::*;

fn kube_client() -> kube::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let config = kube::Config::new(http::Uri::from_static("http://127.0.0.1:9"));
    kube::Client::try_from(config).unwrap()
}

fn metrics() -> Metrics {
    Metrics::new(
        &Cluster::new(kube_client(), None),
        Objects::default(),
        Objects::default(),
        Clock::system(),
    )
}

#[tokio::test]
async fn names_are_arks() {
    let metrics = metrics();
    assert!(!metrics.encode().unwrap().contains("ark_leader"));
    metrics.set_leader(true);
    metrics.set_location_available("default", false);
    metrics.location_looked_into("default", Look::Listed);
    metrics.location_looked_into("gone", Look::Failed);
    metrics.forget_location("gone");
    let running = metrics.backup_begins("nightly");
    metrics.backup_ends("nightly", Ending::Partial);
    metrics.backup_stored("nightly", Duration::from_secs(90), 1_234, 17);
    metrics.volumes_snapshot("nightly", 3, 2);
    metrics.restore_through("nightly", Duration::from_secs(30), 9, 500);
    drop(metrics.restore_begins(""));
    metrics.restore_ends("", Ending::Refused);
    let text = metrics.encode().unwrap();
    for line in [
        "ark_leader 1",
        "ark_location_available{location=\"default\"} 0",
        "ark_location_syncs_total{location=\"default\",outcome=\"listed\"} 1",
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
        "ark_volume_snapshot_attempt_total{schedule=\"nightly\"} 3",
        "ark_volume_snapshot_success_total{schedule=\"nightly\"} 2",
        "ark_volume_snapshot_failure_total{schedule=\"nightly\"} 1",
        "ark_restore_failed_total{schedule=\"\"} 0",
        "ark_restore_validation_failed_total{schedule=\"\"} 1",
        "ark_api_requests_total 0",
        "ark_backup_items_total{schedule=\"nightly\"} 17",
        "ark_backup_bytes_total{schedule=\"nightly\"} 1234",
        "ark_restore_items_total{schedule=\"nightly\"} 9",
        "ark_restore_bytes_total{schedule=\"nightly\"} 500",
        "ark_restore_duration_seconds_bucket{le=\"60.0\",schedule=\"nightly\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(!text.contains("gone"), "{text}");
    drop(running);
    assert!(metrics.encode().unwrap().contains("ark_backups_running 0"));
}

#[tokio::test]
async fn the_page_on_monitoring_names_every_metric() {
    let page = include_str!("../../docs/monitoring.md");
    let metrics = metrics();
    metrics.set_leader(true);
    metrics.set_location_available("default", true);
    metrics.backup_stored("", Duration::ZERO, 0, 0);
    metrics.restore_through("", Duration::ZERO, 0, 0);
    let text = metrics.encode().unwrap();
    let mut count = 0;
    for line in text.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let total = if kind == "counter" { "_total" } else { "" };
        let name = format!("`{name}{total}`");
        assert!(
            page.contains(&name),
            "docs/monitoring.md does not name {name}"
        );
        count += 1;
    }
    assert!(count > 20, "{count} metrics");
}

fn told<K: serde::de::DeserializeOwned + fmt::Debug + Send + Sync + 'static>(
    objects: &Objects<K>,
    all: &[serde_json::Value],
) {
    objects.take(Event::Init, "object");
    for object in all {
        let object = serde_json::from_value(object.clone()).unwrap();
        objects.take(Event::InitApply(object), "object");
    }
    objects.take(Event::InitDone, "object");
}

#[tokio::test]
async fn a_schedule_has_figures_for_as_long_as_it_is_there() {
    let metrics = metrics();
    let of = |text: &str| text.contains("ark_backup_attempt_total{schedule=\"nightly\"} 0");
    assert!(!of(&metrics.encode().unwrap()));
    let nightly = serde_json::json!({"metadata": {"name": "nightly", "uid": "1"}, "spec": {}});
    told(&metrics.schedules, &[nightly]);
    assert!(of(&metrics.encode().unwrap()));
    told(&metrics.schedules, &[]);
    let text = metrics.encode().unwrap();
    assert!(!text.contains("nightly"), "{text}");
    // A restore in another cluster names a schedule that never was in this one.
    metrics.restore_ends("elsewhere", Ending::Success);
    assert!(metrics.encode().unwrap().contains("elsewhere"));
}

#[tokio::test]
async fn the_newest_good_backup_has_an_age() {
    let mut metrics = metrics();
    let (clock, hand) = Clock::by_hand("2026-01-02T00:00:00Z".parse().unwrap());
    metrics = Metrics::new(
        &Cluster::new(kube_client(), None),
        metrics.backups.clone(),
        metrics.schedules.clone(),
        clock,
    );
    let backup = |name: &str, phase: &str, start: &str| {
        serde_json::json!({
            "metadata": {"name": name, "uid": name, "labels": {"ark-schedule": "nightly"}},
            "spec": {},
            "status": {"phase": phase, "startTimestamp": start},
        })
    };
    told(
        &metrics.backups,
        &[
            backup("a", "Completed", "2026-01-01T00:00:00Z"),
            backup("b", "Completed", "2026-01-01T12:00:00Z"),
            backup("c", "Failed", "2026-01-01T23:00:00Z"),
        ],
    );
    let nightly = serde_json::json!({"metadata": {"name": "nightly", "uid": "1"}, "spec": {}});
    told(&metrics.schedules, &[nightly]);
    let age = |hours: u32| {
        format!(
            "ark_backup_newest_age_seconds{{schedule=\"nightly\"}} {}.0",
            hours * 3600
        )
    };
    let text = metrics.encode().unwrap();
    assert!(text.contains(&age(12)), "{text}");
    hand.advance(Duration::from_hours(1));
    assert!(metrics.encode().unwrap().contains(&age(13)));
}
