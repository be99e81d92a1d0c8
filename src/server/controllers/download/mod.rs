//! The download controller: answers each DownloadRequest with links to the file it asks for, or with why there is none,
//! and removes the request when the links have ended.
//!
//! It reads only, so that it works whatever else this server may not do.

pub(crate) mod decide;
mod find;

use std::sync::Arc;

use serde_json::json;

use self::decide::{Answer, File, Step};
use super::Context;
use super::dispatch::{Controller, Outcome, Task};
use super::malformed;
use crate::api::{DownloadRequest, DownloadRequestPhase as Phase, DownloadRequestStatus};
use crate::server::downloads::{Link, Source, Wanted};
use crate::server::engines::StoredFile;
use crate::server::leader::Term;
use crate::server::settings::Whereabouts;
use crate::server::status::{self, Read};

/// The download controller.
#[derive(Debug)]
pub(crate) struct Downloads {
    context: Arc<Context>,
}

impl Controller for Downloads {
    type Object = DownloadRequest;

    const KIND: &'static str = "DownloadRequest";

    fn wants(&self, request: &DownloadRequest) -> bool {
        let phase = request.status.as_ref().map(|status| &status.phase);
        matches!(phase, None | Some(Phase::New | Phase::Processed))
    }

    async fn work(self: Arc<Self>, task: Task, _term: Term) -> Outcome {
        let api = &self.context.apis.downloads;
        if let Some(problem) = &task.malformed {
            let fields = json!({ "phase": Phase::Processed, "message": problem });
            return malformed::refuse_with(api, &task, problem, fields).await;
        }
        match status::get::<DownloadRequest>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => self.look(&task, &read).await,
            // Gone, or changed so that it cannot be read: the watch tells.
            Ok(_) => Outcome::Done,
            Err(error) => {
                tracing::warn!(request = task.name, %error, "cannot read a DownloadRequest");
                Outcome::Retry
            }
        }
    }
}

impl Downloads {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn look(&self, task: &Task, read: &Read<DownloadRequest>) -> Outcome {
        let api = &self.context.apis.downloads;
        match decide::step(&read.object, self.context.clock.now()) {
            Step::Nothing => Outcome::Done,
            Step::Keep(until) => Outcome::Until(until),
            Step::Remove => match super::deletion::delete(api, &task.name, &task.uid).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(
                        request = task.name,
                        error,
                        "an old DownloadRequest cannot be removed; trying again"
                    );
                    Outcome::Retry
                }
            },
            Step::Answer => match self.answer(task, &read.object).await {
                Ok(Some(status)) => Outcome::of_write(
                    Self::KIND,
                    &task.name,
                    read.replace_status(api, &status).await,
                ),
                Ok(None) => Outcome::Done,
                Err(problem) => {
                    tracing::info!(
                        request = task.name,
                        problem,
                        "a download is looked for again"
                    );
                    Outcome::Retry
                }
            },
        }
    }

    /// Returns the status that answers a request; `None` while there is nothing to say.
    ///
    /// # Errors
    /// Why it is to be looked at again soon.
    async fn answer(
        &self,
        task: &Task,
        request: &DownloadRequest,
    ) -> Result<Option<DownloadRequestStatus>, String> {
        let target = &request.spec.target;
        let name = target.name.as_str();
        let said = |message| {
            tracing::info!(
                request = task.name,
                kind = %target.kind,
                target = name,
                message,
                "there is nothing to download"
            );
            Ok(Some(decide::said(message, self.context.clock.now())))
        };
        let file = match File::of(target) {
            Ok(file) => file,
            Err(problem) => return said(problem),
        };
        if let Some(status) = self.live(request, file) {
            return Ok(Some(status));
        }
        let (run, found) = match file {
            File::Backup(part) => self.find_part(name, part).await?,
            File::Restore(file) => self.find_restore_file(name, file).await?,
        };
        match decide::answer(file, name, &run, found) {
            Answer::None => Ok(None),
            Answer::Later => Err(format!(
                "the log of {} {name} is not there yet",
                file.noun()
            )),
            Answer::Say(message) => said(message),
            Answer::Serve { location, file } => Ok(Some(self.serve(request, location, file).await)),
        }
    }

    /// Answers the request for the log of a run that goes on in this process.
    fn live(&self, request: &DownloadRequest, file: File) -> Option<DownloadRequestStatus> {
        let downloads = self.context.downloads.as_ref()?;
        let target = &request.spec.target;
        let run = format!("{}/{}", file.noun(), target.name);
        let log = self.context.run_logs.live(&run).filter(|_| file.is_log())?;
        let now = self.context.clock.now();
        let wanted = Wanted {
            kind: &target.kind,
            name: &target.name,
            expires: decide::end(now),
        };
        let link = downloads.live(&wanted, log);
        Some(self.served(request, None, Some(link)))
    }

    /// Answers the request for a stored file.
    async fn serve(
        &self,
        request: &DownloadRequest,
        location: String,
        file: StoredFile,
    ) -> DownloadRequestStatus {
        let world = self.context.world.borrow().clone();
        let signed = match world.find(&location) {
            Whereabouts::At(place) => place.location.link(&file.key, decide::LIFE).await,
            Whereabouts::Unknown | Whereabouts::Unusable(_) => None,
        };
        let target = &request.spec.target;
        let wanted = Wanted {
            kind: &target.kind,
            name: &target.name,
            expires: decide::end(self.context.clock.now()),
        };
        let source = Source::Stored {
            location,
            key: file.key,
            size: file.size,
        };
        let downloads = self.context.downloads.as_ref();
        let own = downloads.map(|downloads| downloads.stored(&wanted, source));
        self.served(request, signed, own)
    }

    /// Puts the links into a status; says what of them could not be made.
    fn served(
        &self,
        request: &DownloadRequest,
        signed: Option<Result<String, String>>,
        own: Option<Result<Link, String>>,
    ) -> DownloadRequestStatus {
        let target = &request.spec.target;
        let status = decide::served(signed, own, self.context.clock.now());
        if status.message.is_empty() {
            tracing::info!(kind = %target.kind, target = target.name, "a download is ready");
        } else {
            tracing::warn!(
                kind = %target.kind,
                target = target.name,
                problem = status.message,
                "a link to a download could not be made"
            );
        }
        status
    }
}
