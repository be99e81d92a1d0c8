//! Programs that end when we do.
//!
//! A test process can end without running any of our code: `SIGKILL`, an abort, or simply the end of `main`, which drops
//! no statics. So each program gets a watchdog, a few lines of `sh` in a process group of their own that hold a pipe
//! from us as their input. However we end, the kernel closes the pipe; the watchdog then kills its whole group. When the
//! program ends first, so does the watchdog, with the program's status, and we notice.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// `$@` is the program. The reader of the pipe is what kills; the shell itself waits for the program.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
{ read -r nothing <&3; kill -KILL 0; } &
reader=$!
exec 3<&-
wait "$program"
status=$?
kill -KILL "$reader"
exit "$status"
"#;

/// `$1` is a folder to remove once the pipe is closed. The programs that write there are being killed at the same time,
/// so it tries again for a while.
const JANITOR: &str = r#"
read -r nothing
tries=0
while rm -rf "$1" 2>/dev/null; [ -e "$1" ] && [ "$tries" -lt 50 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
"#;

/// What becomes of a program when we end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It is killed.
    Ours,
    /// It goes on; its id is in a file NAME.pid of the plane's folder, for [`stop_recorded`].
    Detached,
}

/// A started program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lifetime: Lifetime,
}

/// A program to start.
#[derive(Debug)]
pub struct Start<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<String>,
    pub environment: Vec<(&'a str, String)>,
    /// Working folder, and where a detached program's id is noted.
    pub folder: &'a Path,
    pub logs: &'a Path,
}

impl Process {
    pub fn start(start: &Start<'_>, lifetime: Lifetime) -> Result<Self> {
        let log = start.logs.join(format!("{}.log", start.name));
        let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command = match lifetime {
            Lifetime::Ours => {
                let mut watchdog = Command::new("/bin/sh");
                watchdog
                    .args(["-c", WATCHDOG, "watchdog"])
                    .arg(start.program)
                    .stdin(Stdio::piped());
                watchdog
            }
            Lifetime::Detached => {
                let mut program = Command::new(start.program);
                program.stdin(Stdio::null());
                program
            }
        };
        let child = command
            .args(&start.args)
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(start.folder)
            .stdout(output.try_clone()?)
            .stderr(output)
            // Not in our group: Ctrl-C at a terminal is for us, and the watchdog kills its group.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", start.program.display()))?;
        if lifetime == Lifetime::Detached {
            fs::write(
                start.folder.join(format!("{}.pid", start.name)),
                child.id().to_string(),
            )?;
        }
        Ok(Self {
            name: start.name.to_owned(),
            child,
            log,
            lifetime,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns an error with the end of its log if the program has ended.
    pub fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("look after {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!(
                "{} has ended ({status}); the end of {}:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, 20)
            ),
        }
    }

    /// Returns the id of the program itself, which is a child of its watchdog.
    pub fn program_id(&self) -> Result<u32> {
        if self.lifetime == Lifetime::Detached {
            return Ok(self.child.id());
        }
        let watchdog = self.child.id();
        let children = fs::read_to_string(format!("/proc/{watchdog}/task/{watchdog}/children"))?;
        children
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            // The other child is the shell that reads the pipe.
            .find(|id: &u32| {
                fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| !exe.ends_with("dash"))
                    && fs::read_to_string(format!("/proc/{id}/comm"))
                        .is_ok_and(|comm| comm.trim() != "sh")
            })
            .with_context(|| format!("{} runs no more", self.name))
    }

    /// Asks the program to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> Result<std::process::ExitStatus> {
        let id = self.program_id()?;
        Command::new("kill")
            .args(["-TERM", &id.to_string()])
            .status()?;
        // `wait` closes the pipe of standard input, at which the watchdog would kill the program.
        let stdin = self.child.stdin.take();
        let status = self.child.wait();
        drop(stdin);
        status.with_context(|| format!("wait for {}", self.name))
    }

    /// Lets the watchdog kill the program, without waiting for it.
    pub fn kill(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if self.lifetime == Lifetime::Ours {
            let _status = self.child.wait();
        }
    }
}

/// Removes a folder when we end, however we end. Made before the programs that write there, dropped after them.
#[derive(Debug)]
pub struct Janitor(Child);

impl Janitor {
    pub fn of(folder: &Path) -> Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .context("start the janitor")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _status = self.0.wait();
    }
}

/// Ends the program whose id `folder/NAME.pid` holds, and says whether there was one.
///
/// An id may have been given to another process since (a reboot): it must still run `name`, with an argument that
/// names `folder`, or it is left alone.
pub fn stop_recorded(folder: &Path, name: &str) -> Result<bool> {
    let file = folder.join(format!("{name}.pid"));
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(false);
    };
    let id: u32 = text
        .trim()
        .parse()
        .with_context(|| format!("{} holds no process id", file.display()))?;
    let running = runs(folder, name, id);
    if running {
        signal("TERM", id)?;
        let started = Instant::now();
        while runs(folder, name, id) {
            if started.elapsed() > Duration::from_secs(5) {
                signal("KILL", id)?;
            }
            if started.elapsed() > Duration::from_secs(15) {
                bail!("{name} (process {id}) does not end");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    Ok(running)
}

/// Says whether the program recorded in `folder/NAME.pid` runs.
pub fn is_running(folder: &Path, name: &str) -> bool {
    fs::read_to_string(folder.join(format!("{name}.pid")))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .is_some_and(|id| runs(folder, name, id))
}

fn runs(folder: &Path, name: &str, id: u32) -> bool {
    let line = if Path::new("/proc/self/cmdline").exists() {
        // Empty for one that has ended but was not waited for.
        fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default()
    } else {
        let output = Command::new("ps")
            .args(["-o", "args=", "-p", &id.to_string()])
            .output();
        output.map(|output| output.stdout).unwrap_or_default()
    };
    let line = String::from_utf8_lossy(&line);
    let program = line.split(['\0', ' ']).next().unwrap_or_default();
    program.rsplit('/').next() == Some(name) && line.contains(&*folder.to_string_lossy())
}

/// Sends a signal. Through the shell: a container may lack the `kill` program, `sh` has one built in.
fn signal(which: &str, id: u32) -> Result<()> {
    // A failure says that it has just ended, which the caller finds out.
    Command::new("/bin/sh")
        .args(["-c", r#"kill -"$1" "$2""#, "signal", which, &id.to_string()])
        .stderr(Stdio::null())
        .status()
        .context("run /bin/sh")?;
    Ok(())
}

/// Returns the last lines of a log.
pub fn last_lines(file: &Path, count: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
