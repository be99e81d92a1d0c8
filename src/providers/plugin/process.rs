//! One running plugin program: its handshake, the connection to it, its output, its end.

use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpgid,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tracing::Level;

use super::error::{CallError, CallErrorKind};
use super::find::Program;
use super::handshake::{self, Address, Handshake, Version};
use super::launch::Launcher;
use super::lines::Lines;
use super::protocol::host::plugin::grpc_controller_client::GrpcControllerClient;
use super::protocol::host::plugin::grpc_stdio_client::GrpcStdioClient;
use super::protocol::host::plugin::{Empty, stdio_data};

/// How long the rest of its output is waited for when a program has ended: one of its children may hold on to it.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);

/// A program that runs. It ends when [`Process::end`] asks for it, and with the host.
pub(super) struct Process {
    /// The name of its file.
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) channel: Channel,
    pub(super) lines: Lines,
    group: Pid,
    stop: CancellationToken,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// A started program that is not yet known to be a plugin.
struct Raw {
    child: Child,
    group: Pid,
    lines: Lines,
    errors: JoinHandle<()>,
}

impl Process {
    /// Starts a program and connects to it.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub(super) async fn start(
        program: &Program,
        launcher: &Launcher,
    ) -> Result<Arc<Self>, CallError> {
        let file = program.file.display();
        let failed = |why: String| {
            CallError::new(
                CallErrorKind::Gone,
                format!("the plugin program {file} {why}"),
            )
        };
        let mut child = launcher
            .start(program)
            .await
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let (Some(group), Some(output), Some(errors)) = (
            id.and_then(Pid::from_raw),
            child.stdout.take(),
            child.stderr.take(),
        ) else {
            return Err(failed("cannot be started".to_owned()));
        };
        let name = program.file.file_name().map_or_else(
            || file.to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let lines = Lines::new(&name);
        lines.belong_to(tracing::Span::current());
        let mut raw = Raw {
            child,
            group,
            errors: tokio::spawn(lines.clone().drain(errors, Level::DEBUG)),
            lines,
        };
        let mut output = BufReader::new(output);
        let limit = launcher.options.limits.start;
        let begun = timeout(limit, raw.begin(&mut output)).await;
        let (handshake, channel) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(why)) => return Err(failed(raw.give_up(why).await)),
            Err(_) => {
                let why = format!("has not said where it listens within {limit:?}");
                return Err(failed(raw.give_up(why).await));
            }
        };
        tracing::debug!(
            plugin = name,
            process = group.as_raw_nonzero().get(),
            "a plugin has been started"
        );
        tokio::spawn(raw.lines.clone().drain(output, Level::DEBUG));
        tokio::spawn(follow_output(channel.clone(), raw.lines.clone()));
        let stop = CancellationToken::new();
        let (end, ended) = watch::channel(None);
        let lines = raw.lines.clone();
        let asking = GrpcControllerClient::new(channel.clone());
        let grace = launcher.options.limits.stop;
        let (stopping, address) = (stop.clone(), handshake.address);
        tokio::spawn(async move {
            let how = raw.supervise(stopping, asking, grace).await;
            if let Address::Unix(socket) = address {
                // Whoever was killed has not done it.
                tokio::fs::remove_file(socket).await.ok();
            }
            end.send_replace(Some(how));
        });
        Ok(Arc::new(Self {
            name,
            version: handshake.version,
            channel,
            lines,
            group,
            stop,
            ended,
        }))
    }

    /// Returns how it ended, if it has; exact also where nobody has been told yet.
    pub(super) fn has_ended(&self) -> Option<String> {
        if let Some(how) = &*self.ended.borrow() {
            return Some(how.clone());
        }
        // It stays to be waited for by whoever supervises it.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.group), look) {
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => Some("it has ended".to_owned()),
        }
    }

    /// Asks it to end, without waiting for that.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended; returns how.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let how = ended.wait_for(Option::is_some).await;
        how.ok()
            .and_then(|how| how.clone())
            .unwrap_or_else(|| "it was left behind".to_owned())
    }
}

impl Raw {
    /// Reads the handshake and connects.
    ///
    /// # Errors
    /// The end of a sentence.
    async fn begin(
        &mut self,
        output: &mut BufReader<ChildStdout>,
    ) -> Result<(Handshake, Channel), String> {
        let mut line = Vec::new();
        let longest = handshake::LONGEST as u64;
        output
            .take(longest)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| format!("cannot be read: {error}"))?;
        if line.is_empty() {
            return Err("ended before it said where it listens".to_owned());
        }
        let handshake = handshake::parse(&String::from_utf8_lossy(&line))?;
        let channel = dial(handshake.address.clone()).await.map_err(|error| {
            let cause = crate::api::error::chain(&error);
            format!("cannot be reached at {:?}: {cause}", handshake.address)
        })?;
        Ok((handshake, channel))
    }

    /// Kills a program that is of no use; returns why, with what it said last.
    async fn give_up(mut self, why: String) -> String {
        // One that is about to end tells more if it may.
        let ended = timeout(OUTPUT_LIMIT, self.child.wait()).await;
        kill_process_group(self.group, Signal::KILL).ok();
        let status = if let Ok(Ok(status)) = ended {
            format!(" ({status})")
        } else {
            self.child.wait().await.ok();
            String::new()
        };
        timeout(OUTPUT_LIMIT, self.errors).await.ok();
        reap(self.group).await;
        let said = self.lines.last();
        if said.is_empty() {
            format!("{why}{status}")
        } else {
            format!("{why}{status}; it said: {said}")
        }
    }

    /// Waits for the end of the program, or ends it; returns how it ended.
    async fn supervise(
        mut self,
        stop: CancellationToken,
        mut asking: GrpcControllerClient<Channel>,
        grace: Duration,
    ) -> String {
        let ended = tokio::select! {
            ended = self.child.wait() => Some(ended),
            () = stop.cancelled() => None,
        };
        let asked = ended.is_none();
        let ended = if let Some(ended) = ended {
            ended
        } else {
            let politely = async {
                // It may end before it has answered. One that does not know the question need not be waited for.
                match asking.shutdown(Empty {}).await {
                    Err(status) if status.code() == Code::Unimplemented => None,
                    Ok(_) | Err(_) => self.child.wait().await.ok(),
                }
            };
            if let Ok(Some(status)) = timeout(grace, politely).await {
                Ok(status)
            } else {
                kill_process_group(self.group, Signal::KILL).ok();
                self.child.wait().await
            }
        };
        // What it has started itself goes with it.
        kill_process_group(self.group, Signal::KILL).ok();
        timeout(OUTPUT_LIMIT, self.errors).await.ok();
        reap(self.group).await;
        let how = how_it_ended(ended);
        if !asked {
            tracing::warn!(
                pluginName = self.lines.plugin(),
                last_words = self.lines.last(),
                "a plugin has ended by itself: {how}"
            );
        }
        how
    }
}

fn how_it_ended(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("{status}"),
        Err(error) => format!("nobody knows how: {error}"),
    }
}

/// Waits for those of a killed group that have become children of this process: where it is the first one of a container,
/// nobody else does.
async fn reap(group: Pid) {
    for _ in 0..20 {
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => return,
        }
    }
}

/// Passes on what a program writes once its handshake is through: unread, it would block the program.
async fn follow_output(channel: Channel, lines: Lines) {
    let Ok(stream) = GrpcStdioClient::new(channel).stream_stdio(()).await else {
        // It does not have it; what it writes comes the ordinary way.
        return;
    };
    let mut stream = stream.into_inner();
    while let Ok(Some(piece)) = stream.message().await {
        match piece.channel() {
            stdio_data::Channel::Stdout | stdio_data::Channel::Stderr => {
                lines.say_all(&piece.data, Level::DEBUG);
            }
            stdio_data::Channel::Invalid => {}
        }
    }
}

/// Connects to where a plugin listens.
async fn dial(address: Address) -> Result<Channel, tonic::transport::Error> {
    // Only the connection counts, which is made by hand; no name is looked up.
    Endpoint::from_static("http://plugin")
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .connect_with_connector(tower::service_fn(move |_| {
            let address = address.clone();
            async move { connect(address).await }
        }))
        .await
}

async fn connect(address: Address) -> std::io::Result<TokioIo<Either<UnixStream, TcpStream>>> {
    Ok(TokioIo::new(match address {
        Address::Unix(path) => Either::Left(UnixStream::connect(path).await?),
        Address::Tcp(address) => Either::Right(TcpStream::connect(address).await?),
    }))
}
