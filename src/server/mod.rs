//! The server: controllers, leader election, Config and metrics. It decides when an engine runs and records how it ended.
//!
//! One process of a namespace leads and runs the controllers; the others keep their watches warm and wait. What is in
//! progress when a server ends stays `InProgress` in its resource, with its holder and attempt, and the next leader goes
//! on with it.

mod args;
mod clock;
mod controllers;
mod downloads;
mod engines;
mod events;
mod http;
mod leader;
mod locations;
mod logging;
mod metrics;
mod objects;
mod plugins;
mod run_log;
mod secrets;
mod settings;
mod startup;
mod status;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::args::{LogFormat, ServerArgs};
pub use self::clock::{Clock, Hand};

use self::controllers::{Apis, Context, Watched};
use self::downloads::{Downloads, Reached};
use self::events::Events;
use self::leader::{Elector, Term, Timings};
use self::locations::{Follower, Overrides};
use self::metrics::Metrics;
use self::settings::{Notes, World};
use self::supervise::Supervisor;
use crate::cluster::Cluster;
use crate::cluster::connect::{self, ConnectOptions};
use crate::providers::Environment;

/// How long cancelled work may take to end: it only has to stop and to remove what it was storing.
const CANCEL_LIMIT: Duration = Duration::from_mins(1);
/// The same when the process has been asked to end and will be killed soon.
const LAST_LIMIT: Duration = Duration::from_secs(3);

/// Runs the server until it is asked to stop (SIGTERM, SIGINT) or cannot go on.
///
/// # Errors
/// Why it cannot start or cannot go on, for whoever runs it.
pub async fn run(
    args: ServerArgs,
    connect: ConnectOptions,
    namespace: String,
    environment: Environment,
) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let mut signals = Supervisor::default();
    let (again, listening) = watch_signals(stopping.clone())?;
    signals.spawn("waits for signals", listening);
    let clock = Clock::system();
    tokio::select! {
        ended = serve(args, connect, namespace, environment, Stop { stopping, again }, clock) => ended,
        error = signals.first_end() => Err(error),
    }
}

/// What asks a server to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Asks it to end when its work is through, or its grace has passed.
    pub stopping: CancellationToken,
    /// Asks it to end now.
    pub again: CancellationToken,
}

/// Runs a server as a part of this process until it is asked to stop or cannot go on. With a clock of their own, tests
/// let days pass.
///
/// # Errors
/// Why it cannot start or cannot go on, for whoever runs it.
pub async fn serve(
    args: ServerArgs,
    connect: ConnectOptions,
    namespace: String,
    environment: Environment,
    stop: Stop,
    clock: Clock,
) -> anyhow::Result<()> {
    let run_logs = logging::init(args.log_level, args.log_format);
    let Stop { stopping, again } = stop;
    let mut tasks = Supervisor::default();
    let client = connect::connect(&connect).await?;
    let cluster = Cluster::new(client, args.qps());
    let apis = Apis::new(cluster.client(), &namespace);
    let watched = Watched::default();
    let metrics = Arc::new(Metrics::new(
        &cluster,
        watched.backups.clone(),
        watched.schedules.clone(),
        clock.clone(),
    ));
    serve_metrics(&args, &metrics, &watched, &mut tasks).await?;
    let (known, world) = watch::channel(World::Pending);
    let downloads = serve_downloads(&args, &clock, &world, &mut tasks).await?;

    let identity = format!("{}_{}", args.identity, uuid::Uuid::new_v4());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity,
        namespace,
        "the server starts"
    );
    let cluster_id = tokio::select! {
        checked = startup::check(&cluster, &namespace) => checked?,
        () = stopping.cancelled() => return Ok(()),
        error = tasks.first_end() => return Err(error),
    };
    watched.start(&apis, &mut tasks);
    // Whoever cannot watch cannot work, and must not keep others from leading.
    tokio::select! {
        () = watched.all_synced() => {}
        () = stopping.cancelled() => return Ok(()),
        error = tasks.first_end() => return Err(error),
    }
    metrics.set_leader(false);

    let (term_seen, release) = seek_lead(&args, &cluster, &namespace, &identity, &mut tasks);
    let (events, writing) = Events::new(cluster.client().clone(), &identity);
    tasks.spawn("writes Events", writing);
    let (versions, secrets) = watch::channel(secrets::Versions::new());
    let secret_api: Api<Secret> = Api::namespaced(cluster.client().clone(), &namespace);
    let metadata = Api::namespaced(cluster.client().clone(), &namespace);
    tasks.spawn("watches Secrets", secrets::watch(metadata, versions));
    let recheck = Arc::new(Notify::new());
    let (notes, noted) = watch::channel(Notes::new());
    let environment = plugins::add(&args, &namespace, environment);
    let follower = Follower {
        configs: watched.configs.clone(),
        locations: watched.locations.clone(),
        snapshot_locations: watched.snapshot_locations.clone(),
        config_api: apis.configs.clone(),
        location_api: apis.locations.clone(),
        snapshot_location_api: apis.snapshot_locations.clone(),
        secret_api,
        secrets,
        environment: environment.clone(),
        cluster: cluster.clone(),
        overrides: overrides(&args),
        terms: term_seen.clone(),
        world: known,
        notes: noted,
        recheck: Arc::clone(&recheck),
        metrics: Arc::clone(&metrics),
        events: events.clone(),
    };
    tasks.spawn("follows the locations", follower.run());

    let server = Server {
        context: Arc::new(Context {
            cluster,
            cluster_id,
            identity,
            apis,
            watched,
            world,
            clock,
            environment: environment.clone(),
            events,
            metrics,
            run_logs,
            downloads,
            recheck,
            notes,
        }),
        args,
        stopping,
        again,
        release,
    };
    let ended = server.lead(term_seen, tasks).await;
    plugins::end(&environment).await;
    ended
}

/// Stands for election, or leads alone where nobody else may; returns the terms, and what ends the last one.
fn seek_lead(
    args: &ServerArgs,
    cluster: &Cluster,
    namespace: &str,
    identity: &str,
    tasks: &mut Supervisor,
) -> (watch::Receiver<Option<Term>>, CancellationToken) {
    let (terms, term_seen) = watch::channel(None);
    let release = CancellationToken::new();
    if args.leader_elect {
        let leases = Api::namespaced(cluster.client().clone(), namespace);
        let elector = Elector::new(leases, identity.to_owned(), Timings::default());
        tasks.spawn("stands for election", elector.run(terms, release.clone()));
    } else {
        terms.send_replace(Some(Term::alone(CancellationToken::new())));
        tasks.spawn("leads alone", hold_alone(terms, release.clone()));
    }
    (term_seen, release)
}

/// A server that is up.
struct Server {
    context: Arc<Context>,
    args: ServerArgs,
    stopping: CancellationToken,
    again: CancellationToken,
    release: CancellationToken,
}

impl Server {
    /// Works whenever this server leads, until it is asked to stop.
    async fn lead(
        self,
        mut terms: watch::Receiver<Option<Term>>,
        mut tasks: Supervisor,
    ) -> anyhow::Result<()> {
        loop {
            let term = tokio::select! {
                term = next_term(&mut terms) => term?,
                () = self.stopping.cancelled() => break,
                error = tasks.first_end() => return Err(error),
            };
            self.context.metrics.set_leader(true);
            let ended = self.serve_term(&term, &mut tasks).await;
            self.context.metrics.set_leader(false);
            ended?;
            if self.stopping.is_cancelled() {
                break;
            }
        }
        self.release.cancel();
        // The Lease is given back by the elector's end; the other tasks never end by themselves.
        drop(timeout(LAST_LIMIT, tasks.first_end()).await);
        tracing::info!("the server ends");
        Ok(())
    }

    /// Runs the controllers for one term, and waits for the end of their work.
    async fn serve_term(&self, term: &Term, tasks: &mut Supervisor) -> anyhow::Result<()> {
        let backups = self.args.concurrent_backups.get();
        let mut controllers = controllers::start(&self.context, backups, term, &self.stopping);
        tokio::select! {
            // In this order: a controller's end is only right if it was asked for.
            biased;
            () = term.lost().cancelled() => {
                tracing::warn!("work in progress is left to the next leader");
                return match timeout(CANCEL_LIMIT, controllers.all_ended()).await {
                    Ok(ended) => ended,
                    Err(_) => anyhow::bail!("work in progress does not end although it was cancelled"),
                };
            }
            () = self.stopping.cancelled() => {}
            error = tasks.first_end() => return Err(error),
            error = controllers.first_end() => return Err(error),
        }
        let grace = self.args.shutdown_grace;
        tracing::info!(
            grace = crate::api::duration::format(grace),
            "asked to stop; work in progress may end"
        );
        tokio::select! {
            ended = controllers.all_ended() => return ended,
            () = tokio::time::sleep(grace) => {}
            () = self.again.cancelled() => {}
            () = term.lost().cancelled() => {}
        }
        tracing::warn!("work in progress is left to the next server");
        term.lost().cancel();
        if let Ok(ended) = timeout(LAST_LIMIT, controllers.all_ended()).await {
            return ended;
        }
        tracing::warn!("work in progress does not end in time");
        Ok(())
    }
}

async fn next_term(terms: &mut watch::Receiver<Option<Term>>) -> anyhow::Result<Term> {
    let led = terms
        .wait_for(|term| {
            term.as_ref()
                .is_some_and(|term| !term.lost().is_cancelled())
        })
        .await
        .map_err(|_| anyhow::anyhow!("nobody stands for election any more"))?;
    led.clone()
        .ok_or_else(|| anyhow::anyhow!("a term without a leader"))
}

/// Keeps the term of a server that is alone published until it ends.
async fn hold_alone(
    terms: watch::Sender<Option<Term>>,
    release: CancellationToken,
) -> anyhow::Result<()> {
    release.cancelled().await;
    terms.send_replace(None);
    Ok(())
}

fn overrides(args: &ServerArgs) -> Overrides {
    Overrides {
        restore_only: args.restore_only,
        priorities: args.restore_resource_priorities.clone(),
        backup_sync_period: args.backup_sync_period,
        default_location: args.default_backup_storage_location.clone(),
        default_snapshot_locations: args
            .default_volume_snapshot_locations
            .iter()
            .cloned()
            .collect(),
    }
}

/// Serves metrics and health from the start, so that whoever waits for this server sees what it waits for.
async fn serve_metrics(
    args: &ServerArgs,
    metrics: &Arc<Metrics>,
    watched: &Watched,
    tasks: &mut Supervisor,
) -> anyhow::Result<()> {
    if args.metrics_address.is_empty() {
        return Ok(());
    }
    let listener = http::listen(&args.metrics_address, "metrics", "--metrics-address").await?;
    let watched = watched.clone();
    let readiness: http::Readiness = Arc::new(move || {
        let unsynced = watched.unsynced();
        (!unsynced.is_empty()).then(|| format!("the first listing of {}", unsynced.join(", ")))
    });
    tasks.spawn(
        "serves metrics",
        http::serve(listener, Arc::clone(metrics), readiness),
    );
    Ok(())
}

/// Serves downloads, also while this server does not lead: links that it made as the leader stay good. `None` if nobody
/// wants that.
async fn serve_downloads(
    args: &ServerArgs,
    clock: &Clock,
    world: &watch::Receiver<World>,
    tasks: &mut Supervisor,
) -> anyhow::Result<Option<Arc<Downloads>>> {
    let address = &args.download_address;
    if address.is_empty() {
        return Ok(None);
    }
    let listener = http::listen(address, "downloads", "--download-address").await?;
    let port = listener.local_addr()?.port();
    let url = args.download_url.as_deref().unwrap_or_default();
    let reached = Reached::new(&args.pod_name, &args.pod_ip, port, url);
    let downloads = Arc::new(Downloads::new(reached, clock.clone())?);
    let serving = downloads::serve(listener, Arc::clone(&downloads), world.clone());
    tasks.spawn("serves downloads", serving);
    Ok(Some(downloads))
}

/// Returns a token that the second signal cancels, and the task that listens; the first signal cancels `stopping`.
fn watch_signals(
    stopping: CancellationToken,
) -> anyhow::Result<(CancellationToken, impl Future<Output = anyhow::Result<()>>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let again = CancellationToken::new();
    let second = again.clone();
    let task = async move {
        for token in [stopping, second] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
        std::future::pending().await
    };
    Ok((again, task))
}
