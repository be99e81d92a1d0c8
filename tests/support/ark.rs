//! Ark itself in a test: installed into a namespace of its own, with servers as processes and a command line.
//!
//! The custom resources' definitions are the cluster's, and applying them again changes nothing; everything else belongs to one
//! namespace, which is why tests of one control plane do not meet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use ark::api::{Backup, BackupSpec, Config, Restore, RestoreSpec};
use ark::cluster::connect::ConnectOptions;
use ark::server::{Clock, Hand, ServerArgs, Stop};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::control_plane::process::{Lifetime, Process, Start};
use super::control_plane::{ControlPlane, ports};
use super::namespace::create_namespace;
use super::objects::apply_yaml;
use super::pods::create_pod;
use super::{PATIENCE, unique_name, wait_until};

/// Returns the binary under test. Cargo names it to tests and benchmarks, not to the example that shares this module.
fn program() -> &'static Path {
    match option_env!("CARGO_BIN_EXE_ark") {
        Some(program) => Path::new(program),
        None => panic!("only tests and benchmarks run ark"),
    }
}

/// The store of an installation.
#[derive(Clone, Debug)]
pub struct Store {
    /// The Config's `backupStorageProvider`.
    pub provider: Value,
    /// Environment of the server, such as credentials.
    pub environment: Vec<(&'static str, String)>,
}

impl Store {
    /// Returns a new store in a local directory, which goes with the plane.
    pub fn local(plane: &ControlPlane) -> Result<Self> {
        let folder = plane.dir().join(unique_name("store"));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            provider: json!({"name": "local", "bucket": "ark", "config": {"path": folder}}),
            environment: Vec::new(),
        })
    }

    /// Returns a bucket of MinIO, reached at `url`.
    #[cfg(feature = "aws")]
    pub fn minio(minio: &super::minio::Minio, bucket: &str, url: &str) -> Result<Self> {
        let credentials = minio.credentials_file()?;
        Ok(Self {
            provider: json!({"name": "aws", "bucket": bucket, "config": {
                "region": super::minio::REGION, "s3ForcePathStyle": "true", "s3Url": url,
            }}),
            environment: vec![(
                "AWS_SHARED_CREDENTIALS_FILE",
                credentials.display().to_string(),
            )],
        })
    }
}

/// Ark in a namespace.
#[derive(Debug)]
pub struct Installation<'a> {
    plane: &'a ControlPlane,
    namespace: String,
    store: Store,
    folder: PathBuf,
    kubeconfig: PathBuf,
    more: Vec<String>,
    /// The port of the servers' download address; 0 is any that is free.
    download_port: u16,
}

impl<'a> Installation<'a> {
    /// Installs Ark with a store in a local directory.
    pub async fn new(plane: &'a ControlPlane) -> Result<Self> {
        Self::with_store(plane, Store::local(plane)?).await
    }

    /// Installs Ark with a store of the caller's.
    pub async fn with_store(plane: &'a ControlPlane, store: Store) -> Result<Self> {
        let installation = Self::without_config(plane, store).await?;
        installation.configure(&installation.store.provider).await?;
        Ok(installation)
    }

    /// Makes a namespace and the definitions, and no Config.
    pub async fn without_config(plane: &'a ControlPlane, store: Store) -> Result<Self> {
        let client = plane.client();
        install_definitions(&client).await?;
        let namespace = unique_name("ark");
        create_namespace(&client, &namespace).await?;
        Self::in_namespace(plane, store, namespace, plane.kubeconfig().to_owned())
    }

    /// Takes a namespace that is there, and somebody's kubeconfig for the servers.
    pub fn in_namespace(
        plane: &'a ControlPlane,
        store: Store,
        namespace: String,
        kubeconfig: PathBuf,
    ) -> Result<Self> {
        let folder = plane.dir().join(unique_name("installation"));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            plane,
            namespace,
            store,
            folder,
            kubeconfig,
            more: Vec::new(),
            download_port: 0,
        })
    }

    /// Makes a pod for the server that is started next: a port-forward to the pod reaches the server's downloads, as it
    /// does where the server really runs in the pod.
    pub async fn run_in_pod(&mut self, pod: &str) -> Result<()> {
        create_pod(&self.plane.client(), &self.namespace, pod).await?;
        self.download_port = ports::forwarded()?;
        self.store.environment.push(("POD_NAME", pod.to_owned()));
        Ok(())
    }

    /// Adds arguments for each server that is started from now on.
    pub fn server_arguments<'b>(&mut self, arguments: impl IntoIterator<Item = &'b str>) {
        self.more.extend(arguments.into_iter().map(str::to_owned));
    }

    /// Writes Config `default` with this `backupStorageProvider`.
    pub async fn configure(&self, provider: &Value) -> Result<()> {
        let config = json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Config",
            "metadata": {"name": "default", "namespace": self.namespace},
            "backupStorageProvider": provider,
        });
        let configs: Api<Config> = self.api();
        let params = PatchParams::apply("ark-tests").force();
        // Just after a type was defined, the API server says for a moment that it is not ready.
        wait_until("the Config is written", PATIENCE, async || {
            configs
                .patch("default", &params, &Patch::Apply(&config))
                .await?;
            Ok(Some(()))
        })
        .await
    }

    /// Writes Config `default` with the installation's own store.
    pub async fn configure_own_store(&self) -> Result<()> {
        self.configure(&self.store.provider).await
    }

    /// Returns the way to Ark's resources of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.plane.client(), &self.namespace)
    }

    /// Returns the Config's `backupStorageProvider`.
    pub fn provider(&self) -> &Value {
        &self.store.provider
    }

    pub fn plane(&self) -> &'a ControlPlane {
        self.plane
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the directory of the bucket, for a store in a local directory.
    pub fn bucket(&self) -> PathBuf {
        let path = self.store.provider["config"]["path"]
            .as_str()
            .expect("a local store has a path");
        Path::new(path).join("ark")
    }

    /// Returns every file of the bucket, by its key.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let bucket = self.bucket();
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&bucket).expect("below the bucket");
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// Starts a server in this process whose clock stands at `start` (RFC 3339) until the test moves it, and waits until
    /// it leads.
    pub async fn serve_by_hand(&self, start: &str) -> Result<TimedServer> {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: ServerArgs,
        }

        let [port] = ports::free()?;
        let address = format!("--metrics-address=127.0.0.1:{port}");
        let downloads = format!("--download-address=127.0.0.1:{}", self.download_port);
        let own = ["ark", "--log-level=error", &address, &downloads];
        let more = self.more.iter().map(String::as_str);
        let args = Cli::try_parse_from(own.into_iter().chain(more))?.args;
        let connect = ConnectOptions {
            kubeconfig: Some(self.kubeconfig.clone()),
            ..ConnectOptions::default()
        };
        let environment = self
            .store
            .environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let (clock, hand) = Clock::by_hand(start.parse()?);
        let stop = Stop::default();
        let served = ark::server::serve(
            args,
            connect,
            self.namespace.clone(),
            environment,
            stop.clone(),
            clock,
        );
        let mut server = TimedServer {
            hand,
            port,
            stop,
            task: tokio::spawn(served),
        };
        let leads = wait_until("the server leads", PATIENCE, async || {
            let metrics = get(port, "/metrics").await.unwrap_or_default();
            Ok(metrics
                .lines()
                .any(|line| line == "ark_leader 1")
                .then_some(()))
        });
        tokio::select! {
            led = leads => led?,
            ended = &mut server.task => {
                ended??;
                return Err(anyhow!("the server ended before it led"));
            }
        }
        Ok(server)
    }

    /// Starts a server and waits until it leads.
    pub async fn serve(&self) -> Result<Server> {
        let server = self.start_server()?;
        server
            .wait_for("the server leads", |metrics| {
                metrics.lines().any(|line| line == "ark_leader 1")
            })
            .await?;
        Ok(server)
    }

    /// Starts a server without waiting.
    pub fn start_server(&self) -> Result<Server> {
        let [port] = ports::free()?;
        let name = format!("ark-server-{}-{port}", self.namespace);
        let mut args: Vec<String> = ["server", "--namespace", &self.namespace, "--kubeconfig"]
            .map(str::to_owned)
            .into();
        args.push(self.kubeconfig.display().to_string());
        args.extend(["--metrics-address".to_owned(), format!("127.0.0.1:{port}")]);
        let downloads = format!("127.0.0.1:{}", self.download_port);
        args.extend(["--download-address".to_owned(), downloads]);
        args.extend(self.more.iter().cloned());
        let start = Start {
            name: &name,
            program: program(),
            args,
            environment: self.store.environment.clone(),
            folder: &self.folder,
            logs: self.plane.logs(),
        };
        let process = Process::start(&start, Lifetime::Ours)?;
        Ok(Server {
            process: std::sync::Mutex::new(process),
            port,
            log: self.plane.logs().join(format!("{name}.log")),
        })
    }

    /// Returns a command line of `ark` that speaks to this installation.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--kubeconfig")
            .arg(self.plane.kubeconfig())
            .args(["--namespace", &self.namespace]);
        command
    }

    /// Runs `ark` with these arguments and returns what it printed; anything but exit code 0 is an error.
    pub fn ark(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output().context("run ark")?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "ark {arguments:?} ended with {}:\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(stdout)
    }

    /// Makes a backup and waits for its end.
    pub async fn back_up(&self, name: &str, spec: BackupSpec) -> Result<Backup> {
        let backups: Api<Backup> = self.api();
        backups
            .create(&PostParams::default(), &Backup::new(name, spec))
            .await
            .context("create the Backup")?;
        self.backup_ended(name).await
    }

    /// Waits until a backup has ended.
    pub async fn backup_ended(&self, name: &str) -> Result<Backup> {
        let backups: Api<Backup> = self.api();
        wait_until(&format!("backup {name} ends"), PATIENCE, async || {
            let backup = backups.get(name).await?;
            Ok(backup
                .status
                .as_ref()
                .is_some_and(|status| status.phase.is_terminal())
                .then_some(backup))
        })
        .await
    }

    /// Makes a restore and waits for its end.
    pub async fn restore(&self, name: &str, spec: RestoreSpec) -> Result<Restore> {
        let restores: Api<Restore> = self.api();
        restores
            .create(&PostParams::default(), &Restore::new(name, spec))
            .await
            .context("create the Restore")?;
        self.restore_ended(name).await
    }

    /// Waits until a restore has ended.
    pub async fn restore_ended(&self, name: &str) -> Result<Restore> {
        let restores: Api<Restore> = self.api();
        wait_until(&format!("restore {name} ends"), PATIENCE, async || {
            let restore = restores.get(name).await?;
            Ok(restore
                .status
                .as_ref()
                .is_some_and(|status| status.phase.is_terminal())
                .then_some(restore))
        })
        .await
    }
}

/// A server in the test's own process, with a clock that the test moves. It ends when this is dropped, or better with
/// [`TimedServer::end`], which waits for it.
#[derive(Debug)]
pub struct TimedServer {
    pub hand: Hand,
    port: u16,
    stop: Stop,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl TimedServer {
    /// Returns what the server answers on a path of its metrics address.
    pub async fn get(&self, path: &str) -> Result<String> {
        get(self.port, path).await
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> Result<()> {
        self.stop.stopping.cancel();
        (&mut self.task).await?
    }
}

impl Drop for TimedServer {
    fn drop(&mut self) {
        self.stop.stopping.cancel();
        self.stop.again.cancel();
    }
}

/// Returns what a server answers on a path of its metrics address.
async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
}

/// Applies Ark's definitions and waits until the server serves them.
async fn install_definitions(client: &kube::Client) -> Result<()> {
    for definition in ark::api::definitions() {
        let name = definition.name_any();
        apply_yaml(client, &serde_json::to_string(&definition)?).await?;
        let definitions: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
            Api::all(client.clone());
        wait_until(&format!("{name} is established"), PATIENCE, async || {
            let conditions = definitions
                .get(&name)
                .await?
                .status
                .and_then(|status| status.conditions);
            Ok(conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
                .then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// A running server; killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: std::sync::Mutex<Process>,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Waits until the server's metrics satisfy a condition.
    pub async fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) -> Result<()> {
        wait_until(what, PATIENCE, async || {
            // A server that has ended will not get there.
            if let Err(error) = self.process.lock().unwrap().check() {
                return Ok(Some(Err(error)));
            }
            Ok(condition(&self.get("/metrics").await?).then_some(Ok(())))
        })
        .await?
    }

    /// Reads one of the server's pages.
    pub async fn get(&self, path: &str) -> Result<String> {
        get(self.port, path).await
    }

    /// Kills the server, as a node that dies would.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks the server to end and waits for that; an exit code other than 0 is an error.
    pub fn stop(self) -> Result<()> {
        let status = self.process.lock().unwrap().terminate()?;
        ensure!(
            status.success(),
            "the server ended with {status}; its log: {}",
            self.log.display()
        );
        Ok(())
    }

    /// Returns the most memory that the server has had resident so far, in MiB.
    pub fn peak_mib(&self) -> Result<f64> {
        let id = self.process.lock().unwrap().program_id()?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .ok_or_else(|| anyhow!("no VmHWM for process {id}"))?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Returns what the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
