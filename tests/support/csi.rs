//! Volumes with data, and snapshots of them: the real snapshot-controller, csi-snapshotter and csi-provisioner beside a
//! plane, and a CSI driver of the tests that keeps volumes as folders (`tests/control-plane/csi`).
//!
//! Pods are kwok's and mount nothing: a test writes into the folder of a claim's volume and reads there.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::Api;
use serde_json::json;
use tokio::sync::OnceCell;

use super::control_plane::ControlPlane;
use super::control_plane::assets::{self, Tool};
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::objects::apply_yaml;
use super::{PATIENCE, unique_name, wait_until};

/// The name of the CSI driver.
pub const DRIVER: &str = "folders.tests.ark.heptio.com";
/// The StorageClass whose volumes are made at once, and the VolumeSnapshotClass that is the default.
pub const CLASS: &str = "folders";
/// A VolumeSnapshotClass whose snapshots outlive their objects.
pub const RETAINING_CLASS: &str = "folders-retained";
/// The StorageClass whose volumes are made when a pod wants them.
pub const LATE_CLASS: &str = "folders-late";

/// What the driver does wrong until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault<'a> {
    /// A call of the driver, such as `CreateSnapshot`, fails with a gRPC code, such as `INTERNAL`, and a message.
    Fails(&'a str, &'a str, &'a str),
    /// A call of the driver is not answered.
    Waits(&'a str),
    /// Snapshots are not ready to use.
    NotReady,
}

impl Fault<'_> {
    fn file(&self) -> String {
        match self {
            Self::Fails(call, ..) => (*call).to_owned(),
            Self::Waits(call) => format!("{call}-waits"),
            Self::NotReady => "NotReady".to_owned(),
        }
    }
}

/// A running CSI driver with the programs that speak to it.
#[derive(Debug)]
pub struct Csi<'a> {
    // Fields are dropped in this order: the folder goes after the programs.
    processes: Mutex<Vec<Process>>,
    _janitor: Janitor,
    folder: PathBuf,
    plane: &'a ControlPlane,
}

static SHARED: OnceCell<Result<Csi<'static>, String>> = OnceCell::const_new();

impl Csi<'static> {
    /// Returns what all tests of this binary share, beside the plane that they share, after starting it for the first
    /// that asks. A test that makes trouble for all volumes (see [`Csi::set`]) starts its own plane.
    pub async fn shared() -> &'static Self {
        // A failed start is remembered too, or each test would wait for the same failure.
        let shared = SHARED.get_or_init(async || {
            Self::start(ControlPlane::shared().await)
                .await
                .map_err(|error| format!("{error:#}"))
        });
        match shared.await {
            Ok(csi) => csi,
            Err(error) => panic!("the shared CSI driver did not start: {error}"),
        }
    }
}

impl<'a> Csi<'a> {
    /// Brings volumes and snapshots to a plane: types, classes, driver and controllers.
    ///
    /// Its programs end with this process.
    pub async fn start(plane: &'a ControlPlane) -> Result<Self> {
        // What was in trouble is tried again soon after the trouble is over.
        Self::start_asking(plane, ["100ms", "1s"]).await
    }

    /// The same with a csi-snapshotter that asks the driver again after pauses, of which these are the shortest and the
    /// longest, unless something changes.
    pub async fn start_asking(plane: &'a ControlPlane, pauses: [&str; 2]) -> Result<Self> {
        tokio::task::spawn_blocking(|| assets::ensure(&assets::CSI))
            .await
            .context("build the CSI programs")??;
        define(&plane.client()).await?;
        let folder = std::env::temp_dir().join(unique_name("ark-csi"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let janitor = Janitor::of(&folder)?;
        let stack = Self {
            processes: Mutex::default(),
            _janitor: janitor,
            folder,
            plane,
        };
        stack.bring_up(pauses).await?;
        Ok(stack)
    }

    async fn bring_up(&self, [shortest, longest]: [&str; 2]) -> Result<()> {
        let socket = self.folder.join("csi.sock");
        let start = |tool: Tool, args: Vec<String>| {
            let start = Start {
                name: tool.name(),
                program: &tool.path(),
                args,
                environment: Vec::new(),
                folder: &self.folder,
                logs: self.plane.logs(),
            };
            Process::start(&start, Lifetime::Ours).map(|process| self.lock().push(process))
        };
        start(
            Tool::CsiDriver,
            vec![
                format!("--name={DRIVER}"),
                format!("--root={}", self.folder.display()),
                format!("--socket={}", socket.display()),
            ],
        )?;
        wait_until("the CSI driver listens", PATIENCE, async || {
            Ok(socket.exists().then_some(()))
        })
        .await?;
        let controller = [
            format!("--kubeconfig={}", self.plane.kubeconfig().display()),
            "--leader-election=false".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--retry-interval-start=100ms".to_owned(),
            "--retry-interval-max=1s".to_owned(),
        ];
        let sidecar = [
            &controller[..],
            &[
                format!("--csi-address={}", socket.display()),
                // A call that a test holds must not come to an end by itself.
                "--timeout=10m".to_owned(),
            ],
        ]
        .concat();
        start(Tool::SnapshotController, controller.to_vec())?;
        // The last word counts.
        let pauses = [
            format!("--retry-interval-start={shortest}"),
            format!("--retry-interval-max={longest}"),
        ];
        start(Tool::CsiSnapshotter, [&sidecar[..], &pauses].concat())?;
        start(Tool::CsiProvisioner, sidecar)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends one of the programs.
    pub fn stop(&self, name: &str) -> Result<()> {
        let mut processes = self.lock();
        let index = processes.iter().position(|process| process.name() == name);
        let index = index.with_context(|| format!("{name} is none of the CSI programs"))?;
        // Dropping it kills it, and waits.
        drop(processes.remove(index));
        Ok(())
    }

    /// Returns an error with the end of its log if one of the programs has ended.
    pub fn check(&self) -> Result<()> {
        self.lock().iter_mut().try_for_each(Process::check)
    }

    /// Has the driver do something wrong, or as it should again.
    ///
    /// `with` is the handle of a volume or snapshot, or nothing for all of them. A snapshot has the faults that its
    /// volume had when it was made.
    pub fn set(&self, with: &str, fault: Fault<'_>, on: bool) -> Result<()> {
        let folder = match with {
            "" => self.folder.join("faults"),
            handle => self.folder.join(handle).join(".faults"),
        };
        fs::create_dir_all(&folder)?;
        let file = folder.join(fault.file());
        let text = match fault {
            Fault::Fails(_, code, message) => format!("{code} {message}"),
            Fault::Waits(_) | Fault::NotReady => String::new(),
        };
        if on {
            // In one step: the driver looks at any time.
            let new = self.folder.join(unique_name("fault"));
            fs::write(&new, text)?;
            fs::rename(new, &file)
        } else {
            fs::remove_file(&file)
        }
        .with_context(|| format!("change {}", file.display()))
    }

    /// Makes a claim of `size`, such as `1Gi`, and waits until it is bound.
    pub async fn claim(&self, namespace: &str, name: &str, size: &str) -> Result<()> {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
                "resources": {"requests": {"storage": size}},
            },
        });
        apply_yaml(&self.plane.client(), &claim.to_string()).await?;
        self.volume_of(namespace, name).await.map(drop)
    }

    /// Waits until a claim is bound, and returns it and its volume.
    pub async fn volume_of(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(PersistentVolumeClaim, PersistentVolume)> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.plane.client(), namespace);
        let what = format!("claim {namespace}/{name} is bound");
        let claim = wait_until(&what, PATIENCE, async || {
            // Its own result, so that the wait ends at once when a program has.
            if let Err(dead) = self.check() {
                return Ok(Some(Err(dead)));
            }
            let claim = claims.get(name).await?;
            let phase = claim.status.as_ref().and_then(|one| one.phase.as_deref());
            Ok((phase == Some("Bound")).then_some(Ok(claim)))
        })
        .await??;
        let volume = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.clone())
            .ok_or_else(|| anyhow!("{what} without a volume"))?;
        let volumes = Api::<PersistentVolume>::all(self.plane.client());
        Ok((claim, volumes.get(&volume).await?))
    }

    /// Returns the handle of a claim's volume, once the claim is bound.
    pub async fn handle_of(&self, namespace: &str, claim: &str) -> Result<String> {
        let (_, volume) = self.volume_of(namespace, claim).await?;
        let source = volume.spec.and_then(|spec| spec.csi);
        let source = source.with_context(|| format!("{namespace}/{claim} is no CSI volume"))?;
        Ok(source.volume_handle)
    }

    /// Returns the folder that holds the data of a claim's volume, once the claim is bound.
    pub async fn folder_of(&self, namespace: &str, claim: &str) -> Result<PathBuf> {
        let handle = self.handle_of(namespace, claim).await?;
        Ok(self.folder.join(handle))
    }

    /// Writes a file into a claim's volume.
    pub async fn write(&self, namespace: &str, claim: &str, file: &str, text: &str) -> Result<()> {
        let file = self.folder_of(namespace, claim).await?.join(file);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Returns a file of a claim's volume.
    pub async fn read(&self, namespace: &str, claim: &str, file: &str) -> Result<String> {
        let file = self.folder_of(namespace, claim).await?.join(file);
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }

    /// Returns the handles of all snapshots that the driver has, sorted.
    pub fn snapshots(&self) -> Result<Vec<String>> {
        self.names("snapshots")
    }

    /// Returns the handles of all volumes that the driver has, sorted.
    pub fn volumes(&self) -> Result<Vec<String>> {
        self.names("volumes")
    }

    /// Returns the handle of the volume that a snapshot was made of.
    pub fn source_of(&self, snapshot: &str) -> Result<String> {
        let text = fs::read(self.folder.join(format!("{snapshot}.json")))?;
        let record: serde_json::Value = serde_json::from_slice(&text)?;
        let source = record["source"].as_str().context("the snapshot's volume")?;
        Ok(source.to_owned())
    }

    fn names(&self, kind: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder.join(kind))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // The record is there when all of it is.
            names.extend(name.strip_suffix(".json").map(|id| format!("{kind}/{id}")));
        }
        names.sort();
        Ok(names)
    }
}

impl Drop for Csi<'_> {
    fn drop(&mut self) {
        // All at once; dropping them one by one waits for each.
        self.lock().iter_mut().for_each(Process::kill);
    }
}

/// Makes the types of snapshots, and the driver's classes.
async fn define(client: &kube::Client) -> Result<()> {
    let folder = assets::snapshot_types();
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "yaml") {
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            apply_yaml(client, &text).await?;
        }
    }
    let classes = [
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": false, "podInfoOnMount": false},
        }),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
            "provisioner": DRIVER, "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete",
        }),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": LATE_CLASS},
            "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete",
        }),
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": {
                "name": CLASS,
                "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"},
            },
            "driver": DRIVER, "deletionPolicy": "Delete",
        }),
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": {"name": RETAINING_CLASS}, "driver": DRIVER, "deletionPolicy": "Retain",
        }),
    ];
    for class in classes {
        apply_yaml(client, &class.to_string()).await?;
    }
    Ok(())
}
