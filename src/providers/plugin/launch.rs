//! Starting a plugin's program: in a process group of its own, with few variables, ended by the kernel if this process
//! ends without a word.
//!
//! The kernel ends a child when the *thread* that started it ends. So one thread, which lives as long as the host, starts
//! all of them; and what asks the kernel for it has to run in the child, between fork and exec, where only this program
//! itself can do so without unsafe code: it is started first and becomes the plugin then ([`become_plugin`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};

use tempfile::TempDir;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::find::Program;
use super::handshake::COOKIES;
use super::options::PluginOptions;

/// The hidden command of this program that becomes a plugin.
pub const LAUNCH_COMMAND: &str = "__plugin";

/// A program to start, and whom to tell.
type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts programs.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) options: PluginOptions,
    starter: OnceLock<mpsc::Sender<Order>>,
    scratch: OnceLock<TempDir>,
}

impl Launcher {
    pub(super) fn new(options: PluginOptions) -> Self {
        Self {
            options,
            starter: OnceLock::new(),
            scratch: OnceLock::new(),
        }
    }

    /// Starts a program; its output can be read.
    pub(super) async fn start(&self, program: &Program) -> io::Result<Child> {
        let command = self.command(program)?;
        let (reply, started) = oneshot::channel();
        let ended = || io::Error::other("the thread that starts plugins has ended");
        self.starter()?
            .send((command, reply))
            .map_err(|_| ended())?;
        started.await.map_err(|_| ended())?
    }

    fn starter(&self) -> io::Result<&mpsc::Sender<Order>> {
        if let Some(starter) = self.starter.get() {
            return Ok(starter);
        }
        let (sender, orders) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("starts plugins".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                // Ends with the last sender, which is a part of the host.
                for (command, reply) in orders {
                    let mut command = tokio::process::Command::from(command);
                    let child = command.kill_on_drop(true).spawn();
                    // Whoever asked may have lost patience: the child is killed as it is dropped.
                    drop(reply.send(child));
                }
            })?;
        // Where two were made at once the other one's thread ends.
        Ok(self.starter.get_or_init(|| sender))
    }

    /// Returns the folder for sockets and credentials, which only this user can look into; made when it is first needed.
    pub(super) fn scratch(&self) -> io::Result<&Path> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch.path());
        }
        let made = tempfile::Builder::new()
            .prefix("ark-plugins-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        Ok(self.scratch.get_or_init(|| made).path())
    }

    fn command(&self, program: &Program) -> io::Result<Command> {
        let file = &program.file;
        let mut command = match &self.options.launcher {
            None => Command::new(file),
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command
                    .arg(LAUNCH_COMMAND)
                    .arg(std::process::id().to_string())
                    .arg(file);
                command
            }
        };
        // Ark's own took none.
        if program.named.is_none() {
            let level = self.options.log_level.to_string();
            command.args(["--log-level", if level == "off" { "error" } else { &level }]);
        }
        command
            .env_clear()
            .envs(self.variables(program, self.scratch()?))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Ok(command)
    }

    /// Returns what a plugin sees of the world.
    fn variables(&self, program: &Program, scratch: &Path) -> BTreeMap<OsString, OsString> {
        let mut variables: BTreeMap<OsString, OsString> = self
            .options
            .environment
            .variables()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // What its own installation says wins.
        for (name, value) in [
            ("VELERO_NAMESPACE", self.options.namespace.clone().into()),
            ("VELERO_SCRATCH_DIR", scratch.as_os_str().to_owned()),
        ] {
            variables.entry(name.into()).or_insert(value);
        }
        variables.extend(COOKIES.map(|(name, value)| (name.into(), value.into())));
        let protocol = if program.named.is_some() { "1" } else { "2" };
        for (name, value) in [
            ("PLUGIN_MIN_PORT", "10000".into()),
            ("PLUGIN_MAX_PORT", "25000".into()),
            ("PLUGIN_PROTOCOL_VERSIONS", protocol.into()),
            // Sockets are made there, and it is ours alone.
            ("TMPDIR", scratch.as_os_str().to_owned()),
            (
                "LD_LIBRARY_PATH",
                self.options.directory.as_os_str().to_owned(),
            ),
        ] {
            variables.insert(name.into(), value);
        }
        variables
    }
}

/// Returns this program, for [`PluginOptions::launcher`], even where its file has been replaced meanwhile; `None` on
/// systems whose kernel does not end children. Only for the `main` of `ark`, which knows [`LAUNCH_COMMAND`].
pub fn this_program() -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| "/proc/self/exe".into())
}

/// Becomes the plugin: asks the kernel to end this process with its parent, then turns into `file`. Only returns if that
/// does not work.
///
/// # Errors
/// Why it cannot be started.
pub fn become_plugin(parent: u32, file: &PathBuf, args: &[OsString]) -> io::Error {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        // It may have ended before the kernel was asked.
        let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if now != Some(parent) {
            return io::Error::other("the server that starts this plugin has ended");
        }
    }
    let _ = parent;
    Command::new(file).args(args).exec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::plugin::PluginLimits;

    fn launcher(variables: &[(&str, &str)]) -> Launcher {
        Launcher::new(PluginOptions {
            directory: "/plugins".into(),
            launcher: None,
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            namespace: "heptio-ark".into(),
            log_level: tracing::level_filters::LevelFilter::INFO,
            limits: PluginLimits::default(),
        })
    }

    fn program(file: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        super::super::find::programs(dir.path()).unwrap().remove(0)
    }

    fn shown(command: &Command) -> String {
        format!("{command:?}")
    }

    #[test]
    fn the_installation_wins_over_what_is_told() {
        let launcher = launcher(&[("VELERO_NAMESPACE", "velero"), ("TMPDIR", "/elsewhere")]);
        let variables = launcher.variables(&program("p"), Path::new("/s"));
        let get = |name: &str| variables[&OsString::from(name)].to_str().unwrap();
        assert_eq!(get("VELERO_NAMESPACE"), "velero");
        assert_eq!(get("VELERO_SCRATCH_DIR"), "/s");
        assert_eq!(get("TMPDIR"), "/s");
        assert_eq!(get("LD_LIBRARY_PATH"), "/plugins");
        assert_eq!(get("PLUGIN_PROTOCOL_VERSIONS"), "2");
        assert_eq!(
            (get("VELERO_PLUGIN"), get("ARK_PLUGIN")),
            ("hello", "hello")
        );
    }

    #[test]
    fn arguments_are_the_familys() {
        let launcher = launcher(&[]);
        let new = shown(&launcher.command(&program("p")).unwrap());
        assert!(new.contains(r#""--log-level" "info""#), "{new}");
        let old = shown(&launcher.command(&program("ark-objectstore-x")).unwrap());
        assert!(!old.contains("--log-level"), "{old}");
        assert!(old.contains(r#"PLUGIN_PROTOCOL_VERSIONS="1""#), "{old}");
    }
}
