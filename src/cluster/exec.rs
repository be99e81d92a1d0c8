//! Runs commands in containers, over the API server's exec stream (a WebSocket).
//!
//! Nothing is sent to a command's stdin and there is no terminal. A command that takes too long is left to itself:
//! Kubernetes has no way to end a process in a container.

use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use super::{Cluster, ClusterError};
use crate::api::error::chain;

/// How much of each of a command's outputs is kept, in bytes.
const KEPT: usize = 16 << 10;

/// A command to run.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// The program and its arguments; no shell looks at them.
    pub command: &'a [String],
    /// How long to wait for its end.
    pub timeout: Duration,
}

/// A command that was begun, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExecEnd {
    /// How it ended.
    pub end: ProcessEnd,
    /// What it wrote to stdout.
    pub stdout: Output,
    /// What it wrote to stderr.
    pub stderr: Output,
}

/// How a command ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProcessEnd {
    /// It ended with this exit code.
    Exited(i32),
    /// It could not be started in the container, or what became of it is not known; why.
    Failed(String),
    /// It had not ended in time. The stream is closed; the process may go on.
    TimedOut,
}

/// What a command wrote: the beginning of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    kept: Vec<u8>,
    /// How many bytes came after what is kept.
    pub left_out: u64,
}

impl Output {
    /// Returns whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the text that is kept, and says if that is not all.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        match self.left_out {
            0 => text.into_owned(),
            more => format!("{text}... ({more} more bytes are left out)"),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(KEPT.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(&bytes[..kept]);
        self.left_out += (bytes.len() - kept) as u64;
    }

    /// Takes all that comes, so that the command is never held up.
    async fn take(&mut self, reader: Option<impl AsyncRead + Unpin>) {
        let Some(mut reader) = reader else {
            return;
        };
        let mut buffer = vec![0; 4 << 10];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            self.add(&buffer[..count]);
        }
    }
}

impl Cluster {
    /// Runs a command in a container and waits for its end. Sent once.
    ///
    /// # Errors
    /// The API server did not let it begin: the pod is not there ([`super::ClusterErrorKind::NotFound`]), has no such
    /// container, or cannot be reached. What went wrong later is a [`ProcessEnd`].
    pub async fn exec(&self, exec: &Exec<'_>) -> Result<ExecEnd, ClusterError> {
        let Exec { namespace, pod, .. } = exec;
        let action = format!("run a command in pods {namespace}/{pod}");
        let deadline = Instant::now() + exec.timeout;
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), namespace);
        let params = AttachParams::default()
            .stdin(false)
            .stdout(true)
            .stderr(true)
            .container(exec.container);
        let begun = async {
            self.admit().await;
            pods.exec(pod, exec.command, &params).await
        };
        let Ok(begun) = timeout_at(deadline, begun).await else {
            let late = "the API server did not begin it in time";
            return Err(ClusterError::unreachable(&action, late));
        };
        let process = begun.map_err(|error| refused(&action, &error))?;
        let (mut stdout, mut stderr) = (Output::default(), Output::default());
        let ended = timeout_at(deadline, attend(process, &mut stdout, &mut stderr)).await;
        Ok(ExecEnd {
            end: ended.unwrap_or(ProcessEnd::TimedOut),
            stdout,
            stderr,
        })
    }
}

/// Waits for a command's end. Dropping this closes the stream.
async fn attend(
    mut process: AttachedProcess,
    stdout: &mut Output,
    stderr: &mut Output,
) -> ProcessEnd {
    let (out, err) = (process.stdout(), process.stderr());
    let status = process.take_status();
    let status = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let mut status = pin!(status);
    let mut outputs = pin!(futures::future::join(stdout.take(out), stderr.take(err)));
    let status = tokio::select! {
        status = &mut status => {
            // The status comes last; what is on the way to the outputs ends with it. A stream that broke has no end.
            if status.is_some() {
                outputs.await;
            }
            status
        }
        _ = &mut outputs => status.await,
    };
    match status {
        Some(status) => end_of(&status),
        None => ProcessEnd::Failed(match process.join().await {
            Err(error) => format!("the connection to it broke: {}", chain(&error)),
            Ok(()) => "the connection to it was closed before its end".to_owned(),
        }),
    }
}

/// Reads what the kubelet says of a command that ended.
fn end_of(status: &Status) -> ProcessEnd {
    if status.status.as_deref() == Some("Success") {
        return ProcessEnd::Exited(0);
    }
    let causes = status
        .details
        .iter()
        .filter_map(|details| details.causes.as_ref());
    let code = causes
        .flatten()
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_deref()?.parse().ok());
    match (code, &status.message) {
        (Some(code), _) => ProcessEnd::Exited(code),
        (None, Some(message)) => ProcessEnd::Failed(message.clone()),
        (None, None) => {
            ProcessEnd::Failed("it failed, and the kubelet does not say why".to_owned())
        }
    }
}

fn refused(action: &str, error: &kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) => ClusterError::from_status(action, status),
        other => ClusterError::unreachable(action, chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_how_commands_end() {
        let exited = |code: &str| {
            json!({
                "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
                "details": {"causes": [{"reason": "Other"}, {"reason": "ExitCode", "message": code}]},
            })
        };
        let failed = |text: &str| ProcessEnd::Failed(text.to_owned());
        for (status, end) in [
            (json!({"status": "Success"}), ProcessEnd::Exited(0)),
            (exited("3"), ProcessEnd::Exited(3)),
            (exited("three"), failed("command terminated")),
            (
                json!({"status": "Failure", "message": "container not found"}),
                failed("container not found"),
            ),
            (
                json!({"status": "Failure"}),
                failed("it failed, and the kubelet does not say why"),
            ),
        ] {
            let status: Status = serde_json::from_value(status).unwrap();
            assert_eq!(end_of(&status), end, "{status:?}");
        }
    }

    #[tokio::test]
    async fn keeps_the_beginning_of_an_output() {
        let mut output = Output::default();
        assert!(output.is_empty());
        let bytes = vec![b'x'; KEPT + 5];
        output.take(Some(bytes.as_slice())).await;
        assert_eq!(output.left_out, 5);
        let text = output.text();
        assert!(text.ends_with("x... (5 more bytes are left out)"));
        assert!(text.len() < KEPT + 100);

        let mut short = Output::default();
        short.take(Some(&b"frozen \xff"[..])).await;
        assert_eq!(short.text(), "frozen \u{fffd}");
    }
}
