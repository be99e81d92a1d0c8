//! The command lines of the control plane's programs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::assets::{Tool, stages};
use super::credentials::Credentials;
use super::ports;
use super::process::{Lifetime, Process, Start};

/// The ports of one plane, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub etcd: u16,
    pub etcd_peers: u16,
    pub api_server: u16,
    pub kubelet: u16,
}

impl Ports {
    pub fn free() -> Result<Self> {
        let [etcd, etcd_peers, api_server, kubelet] = ports::free()?;
        Ok(Self {
            etcd,
            etcd_peers,
            api_server,
            kubelet,
        })
    }
}

/// What all of them need to know.
#[derive(Debug)]
pub struct Context<'a> {
    pub folder: &'a Path,
    pub logs: &'a Path,
    pub ports: &'a Ports,
    pub credentials: &'a Credentials,
    pub lifetime: Lifetime,
}

impl Context<'_> {
    fn start(&self, tool: Tool, args: Vec<String>) -> Result<Process> {
        let start = Start {
            name: tool.name(),
            program: &tool.path(),
            args,
            environment: Vec::new(),
            folder: self.folder,
            logs: self.logs,
        };
        Process::start(&start, self.lifetime)
    }

    fn kubeconfig_flag(&self) -> String {
        format!(
            "--kubeconfig={}",
            self.credentials.kubeconfig_file.display()
        )
    }
}

pub fn etcd(context: &Context<'_>) -> Result<Process> {
    let clients = format!("http://127.0.0.1:{}", context.ports.etcd);
    let peers = format!("http://127.0.0.1:{}", context.ports.etcd_peers);
    context.start(
        Tool::Etcd,
        vec![
            format!("--data-dir={}", context.folder.join("etcd").display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            // The data is thrown away; a disk that is slow for a moment must not fail a test.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ],
    )
}

pub fn api_server(context: &Context<'_>, more: &[String]) -> Result<Process> {
    let Credentials {
        authority_file,
        certificate_file,
        key_file,
        tokens_file,
        ..
    } = context.credentials;
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", context.ports.etcd),
        "--bind-address=127.0.0.1".to_owned(),
        // What the Endpoints of the Service `kubernetes` say. They refuse a loopback address, and the default is an
        // address of this machine's network, which a sandbox may lack. This one is set aside for documentation.
        "--advertise-address=192.0.2.1".to_owned(),
        format!("--secure-port={}", context.ports.api_server),
        format!("--cert-dir={}", context.folder.display()),
        format!("--tls-cert-file={}", certificate_file.display()),
        format!("--tls-private-key-file={}", key_file.display()),
        format!("--client-ca-file={}", authority_file.display()),
        "--service-account-issuer=https://127.0.0.1".to_owned(),
        format!(
            "--service-account-key-file={}",
            context.credentials.service_account_public_file.display()
        ),
        format!(
            "--service-account-signing-key-file={}",
            context.credentials.service_account_key_file.display()
        ),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", tokens_file.display()),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--allow-privileged=true".to_owned(),
        // kwok's node names cannot be resolved, its addresses can be reached.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--profiling=false".to_owned(),
    ];
    args.extend_from_slice(more);
    context.start(Tool::ApiServer, args)
}

pub fn controller_manager(context: &Context<'_>, more: &[String]) -> Result<Process> {
    let mut args = vec![
        context.kubeconfig_flag(),
        format!(
            "--service-account-private-key-file={}",
            context.credentials.service_account_key_file.display()
        ),
        // So that each namespace has its kube-root-ca.crt, as in any cluster.
        format!(
            "--root-ca-file={}",
            context.credentials.authority_file.display()
        ),
        "--use-service-account-credentials=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--leader-elect=false".to_owned(),
        // A machine that is busy with tests is late with heartbeats: pods must not be evicted for that.
        "--node-monitor-grace-period=10m".to_owned(),
        // A claim waits for the next round if its volume came second.
        "--pvclaimbinder-sync-period=1s".to_owned(),
        // Namespaces of many tests end at the same time.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        "--profiling=false".to_owned(),
    ];
    args.extend_from_slice(more);
    context.start(Tool::ControllerManager, args)
}

pub fn scheduler(context: &Context<'_>) -> Result<Process> {
    let args = vec![
        context.kubeconfig_flag(),
        "--secure-port=0".to_owned(),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ];
    context.start(Tool::Scheduler, args)
}

pub fn kwok(context: &Context<'_>) -> Result<Process> {
    let config = context.folder.join("kwok.yaml");
    fs::write(&config, kwok_config(context)?)
        .with_context(|| format!("write {}", config.display()))?;
    let port = context.ports.kubelet;
    let args = vec![
        context.kubeconfig_flag(),
        format!("--config={}", config.display()),
        "--node-ip=127.0.0.1".to_owned(),
        format!("--node-port={port}"),
        format!("--server-address=127.0.0.1:{port}"),
        format!(
            "--tls-cert-file={}",
            context.credentials.certificate_file.display()
        ),
        format!(
            "--tls-private-key-file={}",
            context.credentials.key_file.display()
        ),
    ];
    context.start(Tool::Kwok, args)
}

/// Returns kwok's configuration: its options, what exec, logs and port-forwards give, and its stages.
fn kwok_config(context: &Context<'_>) -> Result<String> {
    let container_log = context.folder.join("container.log");
    // In the format of container runtimes, or kwok refuses it.
    let line = "2026-01-01T00:00:00.000000000Z stdout F a container that kwok pretends to run\n";
    fs::write(&container_log, line).context("write the containers' log")?;
    let forwards: Vec<_> = ports::FORWARDED
        .map(|port| json!({"ports": [port], "target": {"address": "127.0.0.1", "port": port}}))
        .collect();
    let own = [
        json!({
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "metadata": {"name": "kwok"},
            "options": {
                "manageAllNodes": true,
                // Without it each pod is at 127.0.0.1, which an EndpointSlice refuses.
                "cidr": "10.0.0.1/16",
                "enableDebuggingHandlers": true,
                // It refuses to start without these.
                "podPlayStageParallelism": 8,
                "nodePlayStageParallelism": 4,
            },
        }),
        json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterExec",
            "metadata": {"name": "all"},
            "spec": {"execs": [{"local": {}}]},
        }),
        json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "all"},
            "spec": {"logs": [{"logsFile": container_log}]},
        }),
        json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterPortForward",
            "metadata": {"name": "all"},
            "spec": {"forwards": forwards},
        }),
    ];
    let mut documents: Vec<String> = own.iter().map(ToString::to_string).collect();
    let stages = stages();
    let entries = fs::read_dir(&stages).with_context(|| format!("read {}", stages.display()))?;
    for entry in entries {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            documents.push(
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?,
            );
        }
    }
    Ok(documents.join("\n---\n"))
}
