//! The programs of the control plane: where they come from, and building the ones that are missing.
//!
//! Each is an ordinary Go module with a main package, declared by a `tool` line in `tests/control-plane/*/go.mod`, which
//! also pins its version; of Helm the folder holds a program of our own around its packages. They are built once into `target/control-plane/bin` and again when the go.mod, the go.sum or
//! our flags change; a lock keeps two test binaries from building at once. `KUBEBUILDER_ASSETS` is honoured, as the
//! tests of other Kubernetes projects do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// How many planes' logs are kept: there for a look after a failure, and nobody needs to clean up.
const KEPT_LOGS: usize = 20;

/// A program that tests start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubectl,
    Kwok,
    Minio,
    /// Google Cloud Storage, pretended.
    FakeGcs,
    /// Renders and checks charts.
    Helm,
    /// Makes VolumeSnapshotContents of VolumeSnapshots.
    SnapshotController,
    /// Asks a CSI driver for snapshots.
    CsiSnapshotter,
    /// Asks a CSI driver for volumes.
    CsiProvisioner,
    /// A CSI driver of the tests, which keeps volumes as folders.
    CsiDriver,
    /// A plugin as others have written it.
    VeleroPluginForAws,
}

/// The programs of a whole control plane.
pub const PLANE: [Tool; 6] = [
    Tool::Etcd,
    Tool::ApiServer,
    Tool::ControllerManager,
    Tool::Scheduler,
    Tool::Kubectl,
    Tool::Kwok,
];

/// The programs that make a cluster's volumes and snapshots.
pub const CSI: [Tool; 4] = [
    Tool::SnapshotController,
    Tool::CsiSnapshotter,
    Tool::CsiProvisioner,
    Tool::CsiDriver,
];

impl Tool {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Minio => "minio",
            Self::FakeGcs => "fake-gcs-server",
            Self::Helm => "helm-render",
            Self::SnapshotController => "snapshot-controller",
            Self::CsiSnapshotter => "csi-snapshotter",
            Self::CsiProvisioner => "csi-provisioner",
            Self::CsiDriver => "csi-driver",
            Self::VeleroPluginForAws => "velero-plugin-for-aws",
        }
    }

    /// Returns the folder of `tests/control-plane` whose go.mod declares the program.
    const fn folder(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubectl => {
                "kubernetes"
            }
            Self::Kwok => "kwok",
            Self::Minio => "minio",
            Self::FakeGcs => "fake-gcs-server",
            Self::Helm => "helm",
            Self::SnapshotController
            | Self::CsiSnapshotter
            | Self::CsiProvisioner
            | Self::CsiDriver => "csi",
            Self::VeleroPluginForAws => "velero-plugin-for-aws",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Scheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Minio => "github.com/minio/minio",
            Self::FakeGcs => "github.com/fsouza/fake-gcs-server",
            Self::SnapshotController => {
                "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller"
            }
            Self::CsiSnapshotter => {
                "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter"
            }
            Self::CsiProvisioner => {
                "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"
            }
            Self::Helm | Self::CsiDriver => ".",
            Self::VeleroPluginForAws => {
                "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws"
            }
        }
    }

    /// Returns the binary that the environment offers, if it does.
    ///
    /// A kubectl of the PATH is not taken: it may be too old or too new for this API server.
    fn offered(self) -> Option<PathBuf> {
        match self {
            Self::Etcd | Self::ApiServer | Self::Kubectl => {
                let folder =
                    std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty())?;
                Some(PathBuf::from(folder).join(self.name())).filter(|file| file.is_file())
            }
            // Not among those assets.
            Self::ControllerManager
            | Self::Scheduler
            | Self::Kwok
            | Self::Minio
            | Self::FakeGcs
            | Self::Helm
            | Self::SnapshotController
            | Self::CsiSnapshotter
            | Self::CsiProvisioner
            | Self::CsiDriver
            | Self::VeleroPluginForAws => None,
        }
    }

    /// Returns the program's file, which need not be there yet: see [`ensure`].
    pub fn path(self) -> PathBuf {
        self.offered()
            .unwrap_or_else(|| home().join("bin").join(self.name()))
    }

    fn stamp(self) -> PathBuf {
        home().join("stamps").join(self.name())
    }
}

/// Returns cargo's target folder.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from),
    )
}

/// Returns the folder for what is built here, and for logs.
pub fn home() -> PathBuf {
    target().join("control-plane")
}

/// Returns kwok's stage files: what a pretended node and pod do next.
pub fn stages() -> PathBuf {
    home().join("kwok-stages")
}

/// Returns the definitions of VolumeSnapshots and what belongs to them.
pub fn snapshot_types() -> PathBuf {
    home().join("snapshot-types")
}

/// kwok's stages, as its module has them.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat/node-heartbeat.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// The definitions of snapshots, as their module has them.
const SNAPSHOT_TYPES: [&str; 3] = [
    "snapshot.storage.k8s.io_volumesnapshotclasses.yaml",
    "snapshot.storage.k8s.io_volumesnapshotcontents.yaml",
    "snapshot.storage.k8s.io_volumesnapshots.yaml",
];

/// Builds those of `tools` that are neither offered by the environment nor up to date.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let wanted: Vec<Tool> = tools
        .iter()
        .copied()
        .filter(|tool| tool.offered().is_none())
        .collect();
    let home = home();
    for folder in ["bin", "stamps"] {
        fs::create_dir_all(home.join(folder))
            .with_context(|| format!("make {}/{folder}", home.display()))?;
    }
    let _held_until_the_end = lock(&home.join("lock"))?;
    for folder in [
        "etcd",
        "kubernetes",
        "kwok",
        "minio",
        "fake-gcs-server",
        "helm",
        "csi",
        "velero-plugin-for-aws",
    ] {
        let members: Vec<Tool> = wanted
            .iter()
            .copied()
            .filter(|tool| tool.folder() == folder)
            .collect();
        if !members.is_empty() {
            build(folder, &members)?;
        }
    }
    if wanted.contains(&Tool::Kwok) {
        copy_from_module(
            "sigs.k8s.io/kwok",
            "kustomize/stage",
            &STAGES,
            Tool::Kwok,
            &stages(),
        )?;
    }
    if wanted.contains(&Tool::SnapshotController) {
        copy_from_module(
            "github.com/kubernetes-csi/external-snapshotter/client/v8",
            "config/crd",
            &SNAPSHOT_TYPES,
            Tool::SnapshotController,
            &snapshot_types(),
        )?;
    }
    Ok(())
}

/// Installs Azurite, Azure's storage pretended, unless it is there already; returns the program that Node.js runs.
///
/// It is a package for Node.js, pinned with all that it needs in `tests/control-plane/azurite`.
pub fn ensure_azurite() -> Result<PathBuf> {
    let home = home();
    let folder = home.join("azurite");
    fs::create_dir_all(home.join("stamps"))?;
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let _held_until_the_end = lock(&home.join("lock"))?;
    let module = module_folder("azurite");
    let stamp = home.join("stamps/azurite");
    let program = folder.join("node_modules/azurite/dist/src/blob/main.js");
    let mut hash = Sha256::new();
    for name in ["package.json", "package-lock.json"] {
        let text = fs::read(module.join(name)).with_context(|| format!("read Azurite's {name}"))?;
        hash.update(&text);
        fs::write(folder.join(name), text)?;
    }
    let digest = hex(hash);
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == digest) {
        return Ok(program);
    }
    say("installing azurite");
    let status = Command::new("npm")
        // Nothing of these packages runs while they are installed.
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .status()
        .context(
            "run npm: the tests of the azure store need Node.js 20 or newer, with npm, in the PATH",
        )?;
    if !status.success() {
        bail!(
            "installing Azurite in {} failed: {status}",
            folder.display()
        );
    }
    fs::write(&stamp, digest).context("write Azurite's stamp")?;
    Ok(program)
}

/// Installs moto, Amazon's services pretended, unless it is there already; returns the Python that runs it.
pub fn ensure_moto() -> Result<PathBuf> {
    ensure_python("moto")
}

/// Installs what a plugin in Python needs, unless it is there already; returns the Python that runs it.
pub fn ensure_python_plugin() -> Result<PathBuf> {
    ensure_python("python-plugin")
}

/// Installs packages for Python, pinned with all that they need in a folder of `tests/control-plane`, unless they are
/// there already; returns the Python that has them.
fn ensure_python(name: &str) -> Result<PathBuf> {
    let home = home();
    let folder = home.join(name);
    fs::create_dir_all(home.join("stamps"))?;
    let _held_until_the_end = lock(&home.join("lock"))?;
    let requirements = module_folder(name).join("requirements.txt");
    let stamp = home.join("stamps").join(name);
    let python = folder.join("bin/python");
    let mut hash = Sha256::new();
    hash.update(
        fs::read(&requirements).with_context(|| format!("read {}", requirements.display()))?,
    );
    let digest = hex(hash);
    if python.is_file() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == digest) {
        return Ok(python);
    }
    say(&format!("installing {name}"));
    let install: [(&Path, &[&str]); 2] = [
        (Path::new("python3"), &["-m", "venv", "--clear"]),
        // Nothing of these packages runs while they are installed.
        (
            &python,
            &[
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--no-deps",
                "--only-binary=:all:",
                "-r",
            ],
        ),
    ];
    for ((program, args), last) in install.into_iter().zip([&folder, &requirements]) {
        let status = Command::new(program)
            .args(args)
            .arg(last)
            .stdout(Stdio::null())
            .status()
            .context(
                "run python3: the tests of the aws provider and of plugins need Python 3.10 or newer, with venv and pip, in \
                 the PATH",
            )?;
        if !status.success() {
            bail!("installing {name} in {} failed: {status}", folder.display());
        }
    }
    fs::write(&stamp, digest).with_context(|| format!("write the stamp of {name}"))?;
    Ok(python)
}

/// Makes an RSA key and a certificate of its own for it, of this machine alone, and returns their files: key,
/// certificate. The crypto library of the tests makes none; Go, which builds their programs, comes with a program that
/// does.
pub fn ensure_rsa_key() -> Result<(PathBuf, PathBuf)> {
    let home = home();
    let folder = home.join("rsa-key");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let _held_until_the_end = lock(&home.join("lock"))?;
    let files = (folder.join("key.pem"), folder.join("cert.pem"));
    if !(files.0.is_file() && files.1.is_file()) {
        let root = go(&folder)
            .args(["env", "GOROOT"])
            .output()
            .context("run go")?;
        let source = Path::new(String::from_utf8_lossy(&root.stdout).trim())
            .join("src/crypto/tls/generate_cert.go");
        let status = go(&folder)
            .arg("run")
            .arg(&source)
            .args(["-host", "127.0.0.1,localhost", "-ca", "-duration", "87600h"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("run go")?;
        if !status.success() {
            bail!("running {} failed: {status}", source.display());
        }
    }
    Ok(files)
}

/// Keeps other processes, and other tests of this one, from building at the same time.
fn lock(file: &Path) -> Result<fs::File> {
    let lock = fs::File::create(file).with_context(|| format!("make {}", file.display()))?;
    // A look whether all is built takes no time: only a real build is worth a word.
    for _ in 0..20 {
        if lock.try_lock().is_ok() {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    say("the control plane is being built by another process, waiting for it");
    lock.lock()
        .with_context(|| format!("wait for {}", file.display()))?;
    Ok(lock)
}

fn build(folder: &str, members: &[Tool]) -> Result<()> {
    let module = module_folder(folder);
    let flags = linker_flags(folder, &module)?;
    let mut stale = Vec::new();
    for &tool in members {
        let digest = digest(&module, &flags, tool)?;
        let fresh = fs::read_to_string(tool.stamp()).is_ok_and(|stamp| stamp == digest);
        if !(fresh && home().join("bin").join(tool.name()).is_file()) {
            stale.push((tool, digest));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = stale.iter().map(|(tool, _)| tool.name()).collect();
    say(&format!(
        "building {} (the first time takes minutes)",
        names.join(", ")
    ));
    for (tool, digest) in stale {
        // One at a time: `-o` with a folder would name etcd's binary after its module ("server").
        let status = go(&module)
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &flags,
                "-o",
            ])
            .arg(home().join("bin").join(tool.name()))
            .arg(tool.package())
            .status()
            .context("run go: building the control plane needs Go 1.26 or newer in the PATH")?;
        if !status.success() {
            bail!(
                "building {} in {} failed: {status}",
                tool.package(),
                module.display()
            );
        }
        fs::write(tool.stamp(), &digest)
            .with_context(|| format!("write the stamp of {}", tool.name()))?;
    }
    Ok(())
}

fn module_folder(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/control-plane")
        .join(folder)
}

fn go(module: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    go
}

/// Returns the linker's flags, which carry the version: without them Kubernetes calls itself v0.0.0, and clients that
/// look at the server's version take it for a very old one.
fn linker_flags(folder: &str, module: &Path) -> Result<String> {
    Ok(match folder {
        "kubernetes" => {
            let version = pinned(module, "k8s.io/kubernetes")?;
            let mut parts = version.trim_start_matches('v').split('.');
            let (major, minor) = (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            );
            let package = "k8s.io/component-base/version";
            format!(
                "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            )
        }
        "kwok" => format!(
            "-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={}",
            pinned(module, "sigs.k8s.io/kwok")?
        ),
        _ => "-s -w".to_owned(),
    })
}

/// Returns the version of a module that a go.mod requires.
fn pinned(module: &Path, path: &str) -> Result<String> {
    let file = module.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    text.lines()
        .find_map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .strip_prefix(path)?
                .strip_prefix(' ')
        })
        .and_then(|rest| rest.split_whitespace().next().map(str::to_owned))
        .with_context(|| format!("{} requires no {path}", file.display()))
}

fn digest(module: &Path, flags: &str, tool: Tool) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let file = module.join(name);
        hash.update(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    if tool.package() == "." {
        hash.update(fs::read(module.join("main.go")).context("read our own program's main.go")?);
    }
    hash.update(flags);
    Ok(hex(hash))
}

fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Copies files of a module beside the binaries, so that a cache of those is all a later run needs; again when the
/// program that they belong to was built anew.
fn copy_from_module(
    module: &str,
    folder: &str,
    files: &[&str],
    program: Tool,
    target: &Path,
) -> Result<()> {
    let stamp = fs::read(program.stamp())?;
    if fs::read(target.join("stamp")).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    let root = module_folder(program.folder());
    // The program may not be made of the module, so its build has not brought it.
    let mut download = go(&root);
    let status = download.args(["mod", "download", module]).status()?;
    if !status.success() {
        bail!("downloading {module} failed: {status}");
    }
    let output = go(&root)
        .args(["list", "-m", "-f", "{{.Dir}}", module])
        .output()
        .with_context(|| format!("ask go where {module} is"))?;
    let source = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join(folder);
    fs::create_dir_all(target)?;
    for file in files {
        let name = Path::new(file).file_name().unwrap_or_default();
        // Written, not copied: files of the module cache are read-only, and the next version could not replace them.
        let text =
            fs::read(source.join(file)).with_context(|| format!("read {module}'s {file}"))?;
        fs::write(target.join(name), text)?;
    }
    fs::write(target.join("stamp"), stamp)?;
    Ok(())
}

/// Returns a name for a new folder for logs, after this test binary, and removes the oldest ones.
pub fn new_logs() -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let all = home().join("logs");
    fs::create_dir_all(&all).with_context(|| format!("make {}", all.display()))?;
    let mut found: Vec<_> = fs::read_dir(&all)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let surplus = found.len().saturating_sub(KEPT_LOGS);
    for (_, old) in found.into_iter().take(surplus) {
        // Another process may be removing it.
        let _gone = fs::remove_dir_all(old);
    }
    let program = std::env::current_exe()?;
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(all.join(format!("{program}-{}-{count}", std::process::id())))
}

/// Tells the person who waits; past the test harness, which keeps what `println!` writes until the test has failed.
pub fn say(text: &str) {
    let _unwritable = writeln!(std::io::stderr(), "control plane: {text}");
}
