//! The control plane of the tests, for people: build it, keep one running for development, or run a command with one.
//!
//! `cargo run --example control-plane -- help` tells how. A plane of `up` lives in `target/cluster` and goes on when
//! this command ends; one of `run` ends with its command.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use support::control_plane::assets::{self, Tool};
use support::control_plane::process::{Lifetime, is_running, stop_recorded};
use support::control_plane::{ControlPlane, Options, PROGRAMS};
use support::minio::Minio;

const HELP: &str = "\
The control plane of the tests: etcd, API server, controllers, scheduler and kwok, built from Go modules.

Usage: cargo run --example control-plane -- COMMAND

  build [minio|all] build the programs, which takes minutes the first time
  up [minio]        start a control plane that goes on in the background, in target/cluster
  down              end it and remove its data
  minio-up          start MinIO in the background, in target/minio
  minio-down        end it and remove its data
  run -- CMD...     run a command with KUBECONFIG of a new control plane, which ends with it
  run-minio -- CMD...
                    the same, and MinIO with a bucket `ark`: S3_ENDPOINT and AWS_SHARED_CREDENTIALS_FILE are set
";

/// The bucket that is there from the start.
const BUCKET: &str = "ark";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["build"] => assets::ensure(&assets::PLANE)?,
        ["build", "minio"] => assets::ensure(&[&assets::PLANE[..], &[Tool::Minio]].concat())?,
        ["build", "all"] => {
            let more = [
                Tool::Minio,
                Tool::FakeGcs,
                Tool::Helm,
                Tool::VeleroPluginForAws,
            ];
            assets::ensure(&[&assets::PLANE[..], &more, &assets::CSI].concat())?;
            assets::ensure_azurite()?;
            assets::ensure_python_plugin()?;
            assets::ensure_moto()?;
            assets::ensure_rsa_key()?;
        }
        ["up"] => up().await?,
        ["up", "minio"] => {
            up().await?;
            minio_up().await?;
        }
        ["down"] => {
            down(&cluster_folder(), &PROGRAMS)?;
            down(&minio_folder(), &["minio"])?;
        }
        ["minio-up"] => minio_up().await?,
        ["minio-down"] => down(&minio_folder(), &["minio"])?,
        ["run", "--", program, ref rest @ ..] => return run(program, rest, false).await,
        ["run-minio", "--", program, ref rest @ ..] => return run(program, rest, true).await,
        ["help" | "--help" | "-h"] | [] => print!("{HELP}"),
        _ => bail!("unknown command: {}\n\n{HELP}", args.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

fn cluster_folder() -> PathBuf {
    assets::target().join("cluster")
}

fn minio_folder() -> PathBuf {
    assets::target().join("minio")
}

async fn up() -> Result<()> {
    let folder = cluster_folder();
    if PROGRAMS.iter().all(|name| is_running(&folder, name)) {
        println!("# it already runs");
        print_export(
            "KUBECONFIG",
            &folder.join("kubeconfig").display().to_string(),
        );
        return Ok(());
    }
    // What an earlier one left: its data do not fit new keys and ports.
    clear(&folder, &PROGRAMS)?;
    let plane = ControlPlane::start(Options::default().detached(folder)).await?;
    println!(
        "# a control plane at {}, logs in {}",
        plane.url(),
        plane.logs().display()
    );
    print_export("KUBECONFIG", &plane.kubeconfig().display().to_string());
    Ok(())
}

/// Stops the programs recorded in `folder` and removes it.
fn down(folder: &Path, programs: &[&str]) -> Result<()> {
    let stopped = clear(folder, programs)?;
    if stopped > 0 {
        println!("{}: ended {stopped} programs", folder.display());
    } else {
        println!("{}: nothing runs", folder.display());
    }
    Ok(())
}

fn clear(folder: &Path, programs: &[&str]) -> Result<usize> {
    let mut stopped = 0;
    // Clients before servers: an API server whose etcd is gone takes long to end.
    for name in programs.iter().rev() {
        stopped += usize::from(stop_recorded(folder, name)?);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(stopped)
}

fn print_export(name: &str, value: &str) {
    println!("export {name}='{}'", value.replace('\'', r"'\''"));
}

async fn minio_up() -> Result<()> {
    let folder = minio_folder();
    let settings = folder.join("environment");
    if is_running(&folder, "minio") {
        println!("# it already runs");
    } else {
        clear(&folder, &["minio"])?;
        let minio = Minio::start_in(folder, Lifetime::Detached).await?;
        minio.create_bucket(BUCKET).await?;
        fs::write(
            &settings,
            format!(
                "{}\n{}\n",
                minio.endpoint(),
                minio.credentials_file()?.display()
            ),
        )?;
    }
    let text =
        fs::read_to_string(&settings).with_context(|| format!("read {}", settings.display()))?;
    for (name, value) in ["S3_ENDPOINT", "AWS_SHARED_CREDENTIALS_FILE"]
        .iter()
        .zip(text.lines())
    {
        print_export(name, value);
    }
    println!("# the bucket is called {BUCKET}, the region us-east-1");
    Ok(())
}

/// Runs a command with a control plane, and returns its exit code.
async fn run(program: &str, args: &[&str], with_minio: bool) -> Result<ExitCode> {
    let plane = ControlPlane::start(Options::default()).await?;
    let mut command = Command::new(program);
    command.args(args).env("KUBECONFIG", plane.kubeconfig());
    // With the kubectl that fits the API server.
    let tools = Tool::Kubectl.path().parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env(
        "PATH",
        std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path)))?,
    );
    let _minio = if with_minio {
        let minio = Minio::start().await?;
        minio.create_bucket(BUCKET).await?;
        command.env("S3_ENDPOINT", minio.endpoint());
        command.env("AWS_SHARED_CREDENTIALS_FILE", minio.credentials_file()?);
        Some(minio)
    } else {
        None
    };
    // Ctrl-C is the command's, which may want to clean up; we end when it does.
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let waiting = tokio::spawn(async move { while interrupts.recv().await.is_some() {} });
    let status = tokio::task::spawn_blocking(move || command.status()).await?;
    waiting.abort();
    let status = status.with_context(|| format!("run {program}"))?;
    drop(plane);
    // Ended by a signal: the number is not worth more than that it failed.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
