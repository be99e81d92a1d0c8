//! Measures `ark` against the floors that the API server itself sets, in one run on one machine:
//!
//! | figure | against |
//! |---|---|
//! | time of a backup of everything | a plain paged read of everything, one connection, nothing parsed |
//! | time of the same with a plugin whose action is for one object in 200 | the backup without it |
//! | time of a restore into mapped namespaces | bare concurrent creates of the same objects |
//! | peak memory of the server, for each of the two | |
//!
//! Each figure of `ark` comes from a server process of its own. Seconds say little on a busy machine; the ratios of one
//! run do. `OBJECTS=n` changes the number of objects (20,000). The table goes to stdout, and as JSON to
//! `target/bench/cluster.json`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and fails loudly"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod floor;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ark::api::{Backup, BackupPhase, BackupSpec, Restore, RestorePhase, RestoreSpec};
use kube::api::{Api, PostParams};
use serde::Serialize;

use self::support::ark::Installation;
use self::support::control_plane::{ControlPlane, Options};
use self::support::plugins::PluginDir;

/// Objects that are made, unless `OBJECTS` says otherwise.
const OBJECTS: usize = 20_000;
/// How long a run may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_mins(20);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    objects: usize,
    read_floor_seconds: f64,
    backup_seconds: f64,
    backup_ratio: f64,
    backup_items: u64,
    backup_peak_mib: f64,
    action_items: usize,
    action_ratio: f64,
    create_floor_seconds: f64,
    create_floor_objects: usize,
    restore_seconds: f64,
    restore_items: u64,
    /// Ratio of the times for one object, since Ark also restores what the floor leaves out.
    restore_ratio: f64,
    restore_peak_mib: f64,
}

fn main() -> Result<()> {
    support::init();
    // Cargo asks every bench target for its list.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(measure())?;
    report(&figures)
}

async fn measure() -> Result<Figures> {
    let objects = std::env::var("OBJECTS")
        .map_or(Ok(OBJECTS), |text| text.parse())
        .context("OBJECTS")?;
    // Without nodes: pods stay pending, so nothing changes while it is measured.
    let plane = ControlPlane::start(Options::default().nodes([])).await?;
    let client = plane.client();
    let ark = Installation::new(&plane).await?;
    let plugins = PluginDir::new().with_test_plugin("looks");
    let mut acting = Installation::new(&plane).await?;
    let directory = plugins.path().display().to_string();
    acting.server_arguments(["--plugin-dir", &directory]);

    eprintln!("loading {objects} objects");
    let namespaces = workload::load(&client, objects).await?;

    floor::settle(&client).await?;

    eprintln!("reading everything, for the floor");
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(floor::read_everything(&client).await?);
    }
    reads.sort_unstable();
    let read_floor = reads[1];

    eprintln!("backing up");
    let (mut backups, mut acted) = (Vec::new(), Vec::new());
    let (mut backup_items, mut action_items) = (0, 0);
    let mut backup_peak: f64 = 0.0;
    for round in 0..3 {
        let name = format!("bench-{round}");
        let server = ark.serve().await?;
        back_up_little(&ark, &format!("little-{round}")).await?;
        let (took, items) = back_up(&ark, &name).await?;
        backups.push(took);
        backup_items = items;
        backup_peak = backup_peak.max(server.peak_mib()?);
        server.stop()?;

        let server = acting.serve().await?;
        // A plugin that was needed once stays for the next run.
        back_up_little(&acting, &format!("little-{round}")).await?;
        let (took, _) = back_up(&acting, &name).await?;
        acted.push(took);
        if round == 2 {
            let looks = acting.ark(&["backup", "logs", &name])?;
            action_items = looks.matches("looked at").count();
            ensure!(
                action_items == objects.div_ceil(workload::LOOKED_AT),
                "{looks}"
            );
        }
        server.stop()?;
    }
    backups.sort_unstable();
    acted.sort_unstable();
    let (backup, acted) = (backups[1], acted[1]);

    // The database grows with each pass, so the floor is taken on both sides of the restore.
    eprintln!("creating the same objects, for the floor");
    let (floor_before, created) = floor::create_everything(&client, &namespaces, "before").await?;
    floor::settle(&client).await?;

    eprintln!("restoring");
    let server = ark.serve().await?;
    let (restore, restore_items) = restore(&ark, &namespaces).await?;
    let restore_peak = server.peak_mib()?;
    server.stop()?;

    eprintln!("creating the same objects once more");
    floor::settle(&client).await?;
    let (floor_after, _) = floor::create_everything(&client, &namespaces, "after").await?;
    let create_floor = (floor_before + floor_after) / 2;

    let per_object = |time: Duration, count: f64| time.as_secs_f64() / count;
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of objects are far below 2^52"
    )]
    Ok(Figures {
        objects,
        read_floor_seconds: read_floor.as_secs_f64(),
        backup_seconds: backup.as_secs_f64(),
        backup_ratio: backup.as_secs_f64() / read_floor.as_secs_f64(),
        backup_items,
        backup_peak_mib: backup_peak,
        action_items,
        action_ratio: acted.as_secs_f64() / backup.as_secs_f64(),
        create_floor_seconds: create_floor.as_secs_f64(),
        create_floor_objects: created,
        restore_seconds: restore.as_secs_f64(),
        restore_items,
        restore_ratio: per_object(restore, restore_items as f64)
            / per_object(create_floor, created as f64),
        restore_peak_mib: restore_peak,
    })
}

/// Makes a backup of everything and returns how long that took, from its creation to its end, and its items.
async fn back_up(ark: &Installation<'_>, name: &str) -> Result<(Duration, u64)> {
    let api: Api<Backup> = ark.api();
    let started = Instant::now();
    api.create(
        &PostParams::default(),
        &Backup::new(name, BackupSpec::default()),
    )
    .await?;
    // Looked at so often that the looking does not show in a second's figure.
    let backup = loop {
        let backup = api.get(name).await?;
        let status = backup.status.as_ref();
        if status.is_some_and(|status| status.phase.is_terminal()) {
            break backup;
        }
        ensure!(started.elapsed() < PATIENCE, "backup {name} does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let took = started.elapsed();
    let status = backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::Completed,
        "backup {name} ended as {status:?}"
    );
    Ok((took, status.progress.unwrap_or_default().items_done))
}

/// Backs up a few objects: what a server does once is done then.
async fn back_up_little(ark: &Installation<'_>, name: &str) -> Result<()> {
    let spec = BackupSpec {
        included_namespaces: vec!["default".to_owned()],
        ..BackupSpec::default()
    };
    let backup = ark.back_up(name, spec).await?;
    let status = backup.status.unwrap_or_default();
    ensure!(status.phase == BackupPhase::Completed, "{status:?}");
    Ok(())
}

/// Restores the loaded namespaces under other names.
async fn restore(ark: &Installation<'_>, namespaces: &[String]) -> Result<(Duration, u64)> {
    let api: Api<Restore> = ark.api();
    let spec = RestoreSpec {
        backup_name: "bench-0".to_owned(),
        included_namespaces: namespaces.to_vec(),
        namespace_mapping: namespaces
            .iter()
            .map(|name| (name.clone(), format!("restored-{name}")))
            .collect(),
        ..RestoreSpec::default()
    };
    let started = Instant::now();
    api.create(&PostParams::default(), &Restore::new("bench", spec))
        .await?;
    let restore = support::wait_until("the restore ends", PATIENCE, async || {
        let restore = api.get("bench").await?;
        Ok(restore
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_terminal())
            .then_some(restore))
    })
    .await?;
    let took = started.elapsed();
    let status = restore.status.unwrap_or_default();
    ensure!(
        status.phase == RestorePhase::Completed,
        "the restore ended as {status:?}"
    );
    Ok((took, status.progress.unwrap_or_default().items_done))
}

fn report(figures: &Figures) -> Result<()> {
    let row = |what: &str, figure: String, goal: &str| {
        println!("| {what:<44} | {figure:>12} | {goal:<8} |");
    };
    println!();
    row("figure", "value".to_owned(), "goal");
    println!("|{:-<46}|{:->13}:|{:-<10}|", "", "", "");
    row("objects loaded", figures.objects.to_string(), "");
    row(
        "plain paged read of everything",
        format!("{:.2} s", figures.read_floor_seconds),
        "",
    );
    row(
        "backup of everything",
        format!("{:.2} s", figures.backup_seconds),
        "",
    );
    row("  items", figures.backup_items.to_string(), "");
    row(
        "  ratio to the plain read",
        format!("{:.2}", figures.backup_ratio),
        "<= 2",
    );
    row(
        "  peak memory of the server",
        format!("{:.0} MiB", figures.backup_peak_mib),
        "<= 64 MB",
    );
    row(
        "  ratio with an action to without",
        format!("{:.2}", figures.action_ratio),
        "<= 1.1",
    );
    row(
        "  objects that it is for",
        figures.action_items.to_string(),
        "",
    );
    row(
        "bare concurrent creates",
        format!("{:.1} s", figures.create_floor_seconds),
        "",
    );
    row("  objects", figures.create_floor_objects.to_string(), "");
    row(
        "restore into mapped namespaces",
        format!("{:.1} s", figures.restore_seconds),
        "",
    );
    row("  items", figures.restore_items.to_string(), "");
    row(
        "  ratio to bare creates, an object each",
        format!("{:.2}", figures.restore_ratio),
        "<= 1.2",
    );
    row(
        "  peak memory of the server",
        format!("{:.0} MiB", figures.restore_peak_mib),
        "<= 96 MB",
    );
    let folder = support::control_plane::assets::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("cluster.json");
    std::fs::write(&file, serde_json::to_string_pretty(figures)?)?;
    println!("\nas JSON: {}", file.display());
    Ok(())
}
