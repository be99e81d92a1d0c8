//! The server status controller: answers each ServerStatusRequest with what this server is like, and removes it when it
//! has served its time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::Context;
use super::dispatch::{Controller, Outcome, Task};
use super::malformed;
use crate::api::{
    ServerStatusRequest, ServerStatusRequestPhase as Phase, ServerStatusRequestStatus,
};
use crate::server::leader::Term;
use crate::server::{plugins, status};

/// How long an answered request is kept.
const LIFE: Duration = Duration::from_mins(10);

/// The server status controller.
#[derive(Debug)]
pub(crate) struct ServerStatus {
    context: Arc<Context>,
}

/// What is to be done about a request now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    Answer,
    Keep(Timestamp),
    Remove,
}

/// Decides what is to be done about a request now.
fn step(request: &ServerStatusRequest, now: Timestamp) -> Step {
    if request.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let status = request.status.clone().unwrap_or_default();
    match status.phase {
        Phase::New => Step::Answer,
        Phase::Other(_) => Step::Nothing,
        Phase::Processed => {
            let created = request.metadata.creation_timestamp.clone();
            // An answer without a time was written by somebody else.
            let begun = status.processed_timestamp.or(created);
            match begun.and_then(|time| time.0.checked_add(LIFE).ok()) {
                Some(end) if now < end => Step::Keep(end),
                _ => Step::Remove,
            }
        }
    }
}

impl ServerStatus {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn answer(&self) -> ServerStatusRequestStatus {
        ServerStatusRequestStatus {
            phase: Phase::Processed,
            processed_timestamp: Some(Time(self.context.clock.now())),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            plugins: plugins::known(&self.context.environment).await,
        }
    }
}

impl Controller for ServerStatus {
    type Object = ServerStatusRequest;

    const KIND: &'static str = "ServerStatusRequest";

    fn wants(&self, request: &ServerStatusRequest) -> bool {
        let phase = request.status.as_ref().map(|status| &status.phase);
        matches!(phase, None | Some(Phase::New | Phase::Processed))
    }

    async fn work(self: Arc<Self>, task: Task, _term: Term) -> Outcome {
        let api = &self.context.apis.server_status;
        if let Some(problem) = &task.malformed {
            let fields = json!({ "phase": Phase::Processed });
            return malformed::refuse_with(api, &task, problem, fields).await;
        }
        let read = match status::get::<ServerStatusRequest>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => read,
            // Gone, or changed so that it cannot be read: the watch tells.
            Ok(_) => return Outcome::Done,
            Err(error) => {
                tracing::warn!(request = task.name, %error, "cannot read a ServerStatusRequest");
                return Outcome::Retry;
            }
        };
        match step(&read.object, self.context.clock.now()) {
            Step::Nothing => Outcome::Done,
            Step::Keep(until) => Outcome::Until(until),
            Step::Remove => match super::deletion::delete(api, &task.name, &task.uid).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(
                        request = task.name,
                        error,
                        "an old ServerStatusRequest cannot be removed; trying again"
                    );
                    Outcome::Retry
                }
            },
            Step::Answer => {
                let answer = self.answer().await;
                let written = read.replace_status(api, &answer).await;
                Outcome::of_write(Self::KIND, &task.name, written)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ServerStatusRequestSpec;

    #[test]
    fn requests_are_answered_once_and_kept_for_a_while() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes);
        let answered = |minutes| ServerStatusRequestStatus {
            phase: Phase::Processed,
            processed_timestamp: Some(Time(at(minutes))),
            ..ServerStatusRequestStatus::default()
        };
        let other = ServerStatusRequestStatus {
            phase: Phase::Other("Odd".into()),
            ..ServerStatusRequestStatus::default()
        };
        for (status, expected) in [
            (None, Step::Answer),
            (Some(ServerStatusRequestStatus::default()), Step::Answer),
            (Some(other), Step::Nothing),
            (Some(answered(95)), Step::Keep(at(105))),
            (Some(answered(90)), Step::Remove),
        ] {
            let mut request = ServerStatusRequest::new("r", ServerStatusRequestSpec {});
            request.status = status;
            assert_eq!(step(&request, at(100)), expected, "{request:?}");
        }
    }
}
