//! A real Kubernetes control plane on this machine: etcd, API server, controllers, scheduler, and kwok playing nodes.
//!
//! What is real: the API, watches, RBAC, admission, garbage collection, namespace deletion, rollouts, binding of claims,
//! exec (a command really runs, as a process of this machine). What is not: containers, networks, data in volumes.
//! Everything listens on free ports of 127.0.0.1 and lives in a temporary folder, and everything ends with the process
//! that started it, however that ends: see [`process`]. Logs stay in `target/control-plane/logs`.

pub mod assets;
pub mod credentials;
pub mod ports;
pub mod process;
pub mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::OnceCell;

use self::credentials::Credentials;
use self::process::{Janitor, Lifetime, Process};
use self::programs::Ports;

/// The names of the programs, in the order in which they start.
pub const PROGRAMS: [&str; 5] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
];

/// How a control plane is set up.
#[derive(Debug, Clone)]
pub struct Options {
    nodes: Vec<String>,
    api_server_flags: Vec<String>,
    controller_flags: Vec<String>,
    folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: vec!["node-1".to_owned()],
            api_server_flags: Vec::new(),
            controller_flags: Vec::new(),
            folder: None,
        }
    }
}

impl Options {
    /// Names the nodes that kwok plays. Without any kwok is not started, and pods stay pending.
    #[must_use]
    pub fn nodes<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.nodes = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Adds a flag of kube-apiserver, for example `--runtime-config=...` or `--feature-gates=...`.
    #[must_use]
    pub fn api_server_flag(mut self, flag: impl Into<String>) -> Self {
        self.api_server_flags.push(flag.into());
        self
    }

    /// Adds a flag of kube-controller-manager.
    #[must_use]
    pub fn controller_flag(mut self, flag: impl Into<String>) -> Self {
        self.controller_flags.push(flag.into());
        self
    }

    /// Puts the plane into `folder`, from where it goes on when this process ends: see [`process::stop_recorded`].
    #[must_use]
    pub fn detached(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: the folder goes after the programs.
    processes: Mutex<Vec<Process>>,
    _janitor: Option<Janitor>,
    folder: PathBuf,
    logs: PathBuf,
    ports: Ports,
    credentials: Credentials,
}

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

impl ControlPlane {
    /// Returns the control plane that all tests of this binary share, after starting it for the first that asks.
    ///
    /// Tests keep apart by using a namespace each, see [`super::namespace::TestNamespace`].
    pub async fn shared() -> &'static Self {
        // A failed start is remembered too, or each test would wait for the same failure.
        let shared = SHARED.get_or_init(async || {
            Self::start(Options::default())
                .await
                .map_err(|e| format!("{e:#}"))
        });
        match shared.await {
            Ok(plane) => plane,
            Err(error) => panic!("the shared control plane did not start: {error}"),
        }
    }

    /// Starts a control plane and waits until it can be used: a namespace gets its service account, nodes are ready.
    pub async fn start(options: Options) -> Result<Self> {
        super::init();
        tokio::task::spawn_blocking(|| assets::ensure(&assets::PLANE))
            .await
            .context("build the control plane")??;
        let mut attempt = 1;
        loop {
            match Self::start_once(&options).await {
                // Somebody took a port between our look at it and the program's.
                Err(error)
                    if attempt < 3 && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn start_once(options: &Options) -> Result<Self> {
        let lifetime = if options.folder.is_some() {
            Lifetime::Detached
        } else {
            Lifetime::Ours
        };
        let folder = match &options.folder {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(super::unique_name("ark-control-plane")),
        };
        let logs = match &options.folder {
            Some(folder) => folder.join("logs"),
            None => assets::new_logs()?,
        };
        for folder in [&folder, &logs] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let janitor = (lifetime == Lifetime::Ours)
            .then(|| Janitor::of(&folder))
            .transpose()?;
        let ports = Ports::free()?;
        let credentials = Credentials::make(&folder, &url(ports.api_server))?;
        let plane = Self {
            processes: Mutex::new(Vec::new()),
            _janitor: janitor,
            folder,
            logs,
            ports,
            credentials,
        };
        if let Err(error) = plane.bring_up(options, lifetime).await {
            if lifetime == Lifetime::Detached {
                for name in PROGRAMS {
                    process::stop_recorded(&plane.folder, name)?;
                }
            }
            return Err(error);
        }
        Ok(plane)
    }

    async fn bring_up(&self, options: &Options, lifetime: Lifetime) -> Result<()> {
        let context = programs::Context {
            folder: &self.folder,
            logs: &self.logs,
            ports: &self.ports,
            credentials: &self.credentials,
            lifetime,
        };
        self.add(programs::etcd(&context)?);
        // It retries until etcd is there.
        self.add(programs::api_server(&context, &options.api_server_flags)?);
        let client = self.client();
        self.until("the API server is ready", async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        })
        .await?;
        self.add(programs::controller_manager(
            &context,
            &options.controller_flags,
        )?);
        self.add(programs::scheduler(&context)?);
        if !options.nodes.is_empty() {
            self.add(programs::kwok(&context)?);
        }
        for name in &options.nodes {
            add_node(&client, name).await?;
        }
        let nodes = Api::<Node>::all(client.clone());
        for name in &options.nodes {
            self.until(&format!("node {name} is ready"), async || {
                Ok(is_ready(&nodes.get(name).await?).then_some(()))
            })
            .await?;
        }
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
        self.until("the controllers run", async || {
            Ok(accounts.get_opt("default").await?.map(drop))
        })
        .await?;
        let namespaces = Api::<Namespace>::all(client);
        self.until("the system namespaces are there", async || {
            Ok(namespaces.get_opt("kube-system").await?.map(drop))
        })
        .await
    }

    fn add(&self, process: Process) {
        self.processes.lock().unwrap().push(process);
    }

    /// Waits for `condition`, unless a program ends before.
    async fn until(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut() -> Result<Option<()>>,
    ) -> Result<()> {
        super::wait_until(what, Duration::from_mins(2), async || {
            // Its own result, so that the wait ends at once and does not take it for "not yet".
            match self.check() {
                Err(dead) => Ok(Some(Err(dead))),
                Ok(()) => Ok(condition().await?.map(Ok)),
            }
        })
        .await
        .map_err(|error| anyhow!("{error:#}\nlogs: {}", self.logs.display()))?
    }

    /// Returns an error with the end of its log if one of the programs has ended.
    pub fn check(&self) -> Result<()> {
        self.processes
            .lock()
            .unwrap()
            .iter_mut()
            .try_for_each(Process::check)
    }

    /// Returns an administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.credentials.kubeconfig_file
    }

    /// Returns an administrator's client. A test makes its own, since a client lives in the runtime that made it.
    pub fn client(&self) -> kube::Client {
        self.client_of(self.admin_token(), self.ports.api_server)
    }

    /// Returns a client with somebody else's token, such as a service account's.
    pub fn client_as(&self, token: &str) -> kube::Client {
        self.client_of(token, self.ports.api_server)
    }

    /// Returns an administrator's client that goes through a proxy of [`super::proxy`].
    pub fn client_through(&self, port: u16) -> kube::Client {
        self.client_of(self.admin_token(), port)
    }

    /// Returns a client of an administrator who acts for somebody else.
    pub fn client_for(&self, user: &str) -> kube::Client {
        let mut config = self.config(self.admin_token(), self.ports.api_server);
        config.auth_info.impersonate = Some(user.to_owned());
        kube::Client::try_from(config).expect("the configuration is complete")
    }

    fn client_of(&self, token: &str, port: u16) -> kube::Client {
        kube::Client::try_from(self.config(token, port)).expect("the configuration is complete")
    }

    fn config(&self, token: &str, port: u16) -> kube::Config {
        super::init();
        let mut config =
            kube::Config::new(url(port).parse().expect("an address and a port make a URL"));
        config.root_cert = Some(vec![self.credentials.authority_der.clone()]);
        // As Ark's own: kube would repeat what is refused with 429, 503 or 504, and nobody would know.
        config.default_retry = false;
        config.auth_info =
            serde_json::from_value(json!({ "token": token })).expect("a token is all it needs");
        config
    }

    /// Returns a command line of kubectl that speaks to this plane.
    pub fn kubectl(&self) -> std::process::Command {
        let mut kubectl = std::process::Command::new(assets::Tool::Kubectl.path());
        kubectl.arg("--kubeconfig").arg(self.kubeconfig());
        kubectl
    }

    pub fn url(&self) -> String {
        url(self.ports.api_server)
    }

    /// Returns the API server's port, for a proxy in front of it.
    pub fn port(&self) -> u16 {
        self.ports.api_server
    }

    pub fn admin_token(&self) -> &str {
        &self.credentials.admin_token
    }

    /// Returns the folder of the plane, which is removed in the end.
    pub fn dir(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of its logs, which stays.
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // All at once; dropping them one by one waits for each.
        if let Ok(processes) = self.processes.get_mut() {
            processes.iter_mut().for_each(Process::kill);
        }
    }
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

async fn add_node(client: &kube::Client, name: &str) -> Result<()> {
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
        },
    });
    let nodes = Api::<Node>::all(client.clone());
    let params = PatchParams::apply("ark-tests").force();
    nodes
        .patch(name, &params, &Patch::Apply(&node))
        .await
        .with_context(|| format!("add node {name}"))?;
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    })
}
