//! `ark backup logs` and `ark restore logs`: prints what a run's server has said about it.

use std::io::Write as _;

use anyhow::bail;
use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use kube::ResourceExt;

use super::context::{Cluster, Context};
use super::download::{DownloadArgs, Downloads, Extent, Pulse, Sink, Unpacked};
use super::objects::{self, Kind};
use super::{Outcome, output, watch};
use crate::api::{Backup, BackupPhase, DownloadTargetKind, Restore, RestorePhase, RunHolder};

/// Whose log, and how much of it.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Name of the backup or restore
    name: String,
    /// Print what is added until the run has ended, too
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    download: DownloadArgs,
}

/// How far a run has come, as far as its log goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// There is no log yet.
    NotBegun,
    /// There will be none.
    Refused,
    /// It grows.
    Running,
    /// It is complete.
    Ended,
}

/// A type whose runs have logs.
pub(crate) trait Logged: Kind {
    /// What to download.
    const TARGET: DownloadTargetKind;

    /// Returns how far the run has come.
    fn stage(&self) -> Stage;

    /// Returns who carries the run out.
    fn holder(&self) -> Option<RunHolder>;
}

impl Logged for Backup {
    const TARGET: DownloadTargetKind = DownloadTargetKind::BackupLog;

    fn stage(&self) -> Stage {
        let Some(phase) = self.said_phase() else {
            return Stage::Ended;
        };
        match phase {
            BackupPhase::New => Stage::NotBegun,
            BackupPhase::FailedValidation => Stage::Refused,
            BackupPhase::InProgress | BackupPhase::WaitingForPluginOperations => Stage::Running,
            BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Failed
            | BackupPhase::Deleting
            | BackupPhase::Other(_) => Stage::Ended,
        }
    }

    fn holder(&self) -> Option<RunHolder> {
        self.status.as_ref()?.run.clone()
    }
}

impl Logged for Restore {
    const TARGET: DownloadTargetKind = DownloadTargetKind::RestoreLog;

    fn stage(&self) -> Stage {
        let phase = self.status.as_ref().map(|status| status.phase.clone());
        match phase.unwrap_or_default() {
            RestorePhase::New => Stage::NotBegun,
            RestorePhase::FailedValidation => Stage::Refused,
            RestorePhase::InProgress | RestorePhase::WaitingForPluginOperations => Stage::Running,
            RestorePhase::Completed
            | RestorePhase::PartiallyFailed
            | RestorePhase::Failed
            | RestorePhase::Other(_) => Stage::Ended,
        }
    }

    fn holder(&self) -> Option<RunHolder> {
        self.status.as_ref()?.run.clone()
    }
}

pub(crate) async fn run<K: Logged>(context: &Context, args: LogsArgs) -> anyhow::Result<Outcome> {
    let means = args.download.read()?;
    let cluster = context.cluster().await?;
    let downloads = Downloads::new(context, &cluster, means);
    let mut object: K = objects::get(&cluster, &args.name).await?;
    let noun = K::NOUN;
    let name = object.name_any();
    if object.stage() == Stage::NotBegun && args.follow {
        output::note(&format!("Waiting for the {noun} to begin."));
        object = watch::until(&cluster, &object, |object: &K| {
            Some(object.clone()).filter(|object| object.stage() != Stage::NotBegun)
        })
        .await?;
    }
    let stage = object.stage();
    let run = Run {
        cluster: &cluster,
        object: &object,
    };
    let extent = match stage {
        Stage::NotBegun => bail!(
            "{noun} {name:?} has not begun, so it has no log yet; wait for it with `ark {noun} logs {name} --follow`"
        ),
        Stage::Refused => bail!(
            "{noun} {name:?} was refused before it began, so it has no log; `ark {noun} describe {name}` says why"
        ),
        Stage::Running if args.follow => Extent::Follow(&run),
        Stage::Running | Stage::Ended => Extent::Present,
    };
    let mut log = Log(Unpacked::new(output::Log::new()));
    downloads.read(K::TARGET, &name, extent, &mut log).await?;
    log.0.finish()?.finish()?;
    if stage == Stage::Running && !args.follow {
        output::note(&format!(
            "The {noun} was still running; `ark {noun} logs {name} --follow` reads on to its end."
        ));
    }
    Ok(Outcome::Done)
}

/// The run whose log is followed.
struct Run<'a, K> {
    cluster: &'a Cluster,
    object: &'a K,
}

#[async_trait]
impl<K: Logged> Pulse for Run<'_, K> {
    async fn beats(&self) -> bool {
        let api = self.cluster.api::<K>();
        match api.get_opt(&self.object.name_any()).await {
            Ok(Some(now)) => {
                now.uid() == self.object.uid()
                    && now.stage() == Stage::Running
                    && now.holder() == self.object.holder()
            }
            Ok(None) => false,
            // Nothing is known, and so nothing given up.
            Err(_) => true,
        }
    }
}

/// Prints each piece when it comes.
struct Log(Unpacked<output::Log<std::io::Stdout>>);

impl Sink for Log {
    fn piece(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(())
    }
}
