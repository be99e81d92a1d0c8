//! `ark server` as a process of its own, and its peak memory.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ark::api::Config;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::NAMESPACE;
use crate::support::control_plane::{ControlPlane, ports};
use crate::support::objects::apply_yaml;
use crate::support::wait_until;

const PATIENCE: Duration = Duration::from_mins(2);

/// Installs Ark's prerequisites, with a store in a local directory.
pub(crate) async fn install(client: &kube::Client, plane: &ControlPlane) -> Result<()> {
    apply_yaml(
        client,
        include_str!("../../manifests/common/00-prereqs.yaml"),
    )
    .await?;
    let store = plane.dir().join("store");
    fs::create_dir_all(&store)?;
    let config = json!({
        "apiVersion": "ark.heptio.com/v1",
        "kind": "Config",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "backupStorageProvider": {"name": "local", "bucket": "ark", "config": {"path": store}},
    });
    let api: Api<Config> = Api::namespaced(client.clone(), NAMESPACE);
    api.patch(
        "default",
        &PatchParams::apply("bench").force(),
        &Patch::Apply(&config),
    )
    .await?;
    Ok(())
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it leads.
    pub(crate) async fn start(plane: &ControlPlane) -> Result<Self> {
        let [port] = ports::free::<1>()?;
        let log = plane.logs().join(format!("ark-server-{port}.log"));
        let output = fs::File::create(&log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_ark"))
            .arg("server")
            .args([
                "--namespace",
                NAMESPACE,
                "--metrics-address",
                &format!("127.0.0.1:{port}"),
            ])
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start ark server")?;
        let mut server = Self { child, log };
        wait_until("the server leads", PATIENCE, async || {
            server.check()?;
            Ok(metrics(port)
                .await?
                .lines()
                .any(|line| line == "ark_leader 1")
                .then_some(()))
        })
        .await?;
        Ok(server)
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "ark server ended ({status}); its log: {}",
                self.log.display()
            );
        }
        Ok(())
    }

    /// Returns the most memory that the server has had resident so far.
    pub(crate) fn peak_mib(&mut self) -> Result<f64> {
        self.check()?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmHWM")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Asks the server to end, and waits for that.
    pub(crate) fn stop(&mut self) -> Result<()> {
        Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `stop`; after a failure this is what ends it.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn metrics(port: u16) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
