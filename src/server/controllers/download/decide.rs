//! What to do about a DownloadRequest. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::names::check_resource_name;
use crate::api::{
    Backup, BackupPhase, DownloadRequest, DownloadRequestPhase, DownloadRequestStatus,
    DownloadTarget, DownloadTargetKind, Restore, RestorePhase, RunHolder,
};
use crate::server::downloads::Link;
use crate::server::engines::{PartKind, RestoreFile, StoredFile};
use crate::server::settings::but_for;

/// How long links are good, and requests are kept.
pub(crate) const LIFE: Duration = Duration::from_mins(10);

/// What is to be done about a request now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Nothing, whatever the time.
    Nothing,
    /// Answer it.
    Answer,
    /// Keep it until then.
    Keep(Timestamp),
    /// Remove it: it has served its time.
    Remove,
}

/// Decides what is to be done about a request now.
pub(crate) fn step(request: &DownloadRequest, now: Timestamp) -> Step {
    if request.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let status = request.status.clone().unwrap_or_default();
    match status.phase {
        DownloadRequestPhase::New => Step::Answer,
        DownloadRequestPhase::Other(_) => Step::Nothing,
        DownloadRequestPhase::Processed => {
            let created = request.metadata.creation_timestamp.as_ref();
            // An answer without an end was written by somebody else.
            let expires = status
                .expiration
                .map(|time| time.0)
                .or_else(|| created.and_then(|time| time.0.checked_add(LIFE).ok()));
            match expires {
                Some(expires) if now < expires => Step::Keep(expires),
                _ => Step::Remove,
            }
        }
    }
}

/// A file that can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum File {
    /// A part of a backup.
    Backup(PartKind),
    /// A file of a restore.
    Restore(RestoreFile),
}

impl File {
    /// Returns which file a request is for.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(crate) fn of(target: &DownloadTarget) -> Result<Self, String> {
        let file = match &target.kind {
            DownloadTargetKind::BackupLog => Self::Backup(PartKind::Logs),
            DownloadTargetKind::BackupContents => Self::Backup(PartKind::Contents),
            DownloadTargetKind::BackupVolumeSnapshots => Self::Backup(PartKind::VolumeSnapshots),
            DownloadTargetKind::BackupResults => Self::Backup(PartKind::Results),
            DownloadTargetKind::RestoreLog => Self::Restore(RestoreFile::Log),
            DownloadTargetKind::RestoreResults => Self::Restore(RestoreFile::Results),
            DownloadTargetKind::RestorePlan => Self::Restore(RestoreFile::Plan),
            DownloadTargetKind::Other(kind) => {
                return Err(format!(
                    "there is no kind of file called {kind}; set spec.target.kind to BackupLog, BackupContents, \
                     BackupResults, BackupVolumeSnapshots, RestoreLog, RestoreResults or RestorePlan"
                ));
            }
        };
        let noun = file.noun();
        if target.name.is_empty() {
            return Err(format!("no {noun} is named; set spec.target.name"));
        }
        check_resource_name(&target.name, noun)?;
        Ok(file)
    }

    /// Returns whether it is the log of a run, which can be read while it is written.
    pub(crate) fn is_log(self) -> bool {
        matches!(
            self,
            Self::Backup(PartKind::Logs) | Self::Restore(RestoreFile::Log)
        )
    }

    /// Returns what it is a file of.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Backup(PartKind::Contents) => "contents",
            Self::Backup(PartKind::Index) => "index",
            Self::Backup(PartKind::VolumeSnapshots) => "volume snapshots",
            Self::Backup(PartKind::Results) | Self::Restore(RestoreFile::Results) => {
                "warnings and errors"
            }
            Self::Backup(PartKind::Logs) | Self::Restore(RestoreFile::Log) => "log",
            Self::Restore(RestoreFile::Plan) => "plan",
        }
    }
}

/// How far the run has come that makes the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Run {
    /// Its resource is not there, or cannot be read.
    Missing,
    /// It has not begun.
    New,
    /// It goes on in this process.
    Here,
    /// It was begun by this server, which is gone.
    Elsewhere(String),
    /// It was never begun; why.
    Refused(String),
    /// It failed; why.
    Failed(String),
    /// It is through.
    Ended,
}

impl Run {
    /// Returns how far a backup has come, as the server `identity` sees it.
    pub(crate) fn of_backup(backup: &Backup, identity: &str) -> Self {
        let status = backup.status.clone().unwrap_or_default();
        let Some(phase) = backup.said_phase() else {
            return Self::Ended;
        };
        match phase {
            BackupPhase::New => Self::New,
            BackupPhase::InProgress | BackupPhase::WaitingForPluginOperations => {
                Self::held(status.run, identity)
            }
            BackupPhase::FailedValidation => Self::Refused(status.validation_errors.join("; ")),
            BackupPhase::Failed => Self::Failed(status.failure_reason.unwrap_or_default()),
            BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Deleting
            | BackupPhase::Other(_) => Self::Ended,
        }
    }

    /// Returns how far a restore has come, as the server `identity` sees it.
    pub(crate) fn of_restore(restore: &Restore, identity: &str) -> Self {
        let status = restore.status.clone().unwrap_or_default();
        match status.phase {
            RestorePhase::New => Self::New,
            RestorePhase::InProgress | RestorePhase::WaitingForPluginOperations => {
                Self::held(status.run, identity)
            }
            RestorePhase::FailedValidation => Self::Refused(status.validation_errors.join("; ")),
            RestorePhase::Failed => Self::Failed(status.failure_reason.unwrap_or_default()),
            RestorePhase::Completed | RestorePhase::PartiallyFailed | RestorePhase::Other(_) => {
                Self::Ended
            }
        }
    }

    fn held(run: Option<RunHolder>, identity: &str) -> Self {
        match run.unwrap_or_default().holder {
            holder if holder == identity => Self::Here,
            holder => Self::Elsewhere(holder),
        }
    }

    /// Returns whether what is stored under the name can be this run's. If not, it was left by another one of the name.
    pub(crate) fn may_have_stored(&self) -> bool {
        match self {
            Self::Missing | Self::Failed(_) | Self::Ended => true,
            Self::New | Self::Here | Self::Elsewhere(_) | Self::Refused(_) => false,
        }
    }
}

/// What is stored of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// Not known yet.
    Unknown,
    /// It cannot be looked for; a sentence for each reason.
    Unusable(Vec<String>),
    /// Nothing of the backup or restore; the locations that could not be looked into.
    Nothing(Vec<String>),
    /// The backup is stored, and has no such file.
    Lacking,
    /// The backup says that it has this file, which is not there.
    Lost(String),
    /// Here.
    At {
        /// The location.
        location: String,
        /// The file.
        file: StoredFile,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// None until something changes.
    None,
    /// None yet; look again soon.
    Later,
    /// There is nothing to download; why, and what to do.
    Say(String),
    /// This.
    Serve {
        /// The location.
        location: String,
        /// The file.
        file: StoredFile,
    },
}

/// Decides what is answered to the request for a file that no live log stands for.
pub(crate) fn answer(file: File, name: &str, run: &Run, found: Found) -> Answer {
    let (noun, what) = (file.noun(), file.what());
    let say = Answer::Say;
    match (found, run) {
        (Found::At { location, file }, _) => Answer::Serve { location, file },
        (_, Run::New) => say(format!(
            "{noun} {name} has not begun yet; ask again when it has"
        )),
        // Its log is about to begin, or about to be stored.
        (_, Run::Here) if file.is_log() => Answer::Later,
        (_, Run::Here) => say(format!(
            "{noun} {name} is in progress; ask for its {what} when it has ended"
        )),
        (_, Run::Elsewhere(holder)) => say(format!(
            "{noun} {name} is in progress, begun by server {holder}, which does not lead any more; ask for its {what} \
             when this server has taken it up"
        )),
        (_, Run::Refused(why)) => say(format!(
            "{noun} {name} was refused and has no {what}: {why}"
        )),
        (Found::Unknown, _) => Answer::None,
        (Found::Unusable(reasons), _) => say(format!(
            "the {what} of {noun} {name} cannot be looked for now: {}",
            reasons.join("; ")
        )),
        (Found::Lost(key), _) => say(format!(
            "{key} is missing: the backup is damaged, and its {what} cannot be had any more"
        )),
        (Found::Lacking | Found::Nothing(_), Run::Failed(why)) => {
            say(format!("{noun} {name} failed and left no {what}: {why}"))
        }
        (Found::Lacking, Run::Missing | Run::Ended) => say(lacking(file, name)),
        (Found::Nothing(unseen), Run::Missing | Run::Ended) => {
            say(nothing(file, name, run, &unseen))
        }
    }
}

fn lacking(file: File, name: &str) -> String {
    match file {
        File::Backup(PartKind::VolumeSnapshots) => format!("backup {name} has no volume snapshots"),
        File::Backup(_) | File::Restore(_) => format!(
            "{} {name} has no {}: none could be stored, or it was made by an earlier Ark, which kept none",
            file.noun(),
            file.what()
        ),
    }
}

fn nothing(file: File, name: &str, run: &Run, unseen: &[String]) -> String {
    let (noun, what) = (file.noun(), file.what());
    let mut text = match (run, file) {
        (Run::Missing, _) => format!(
            "there is no {noun} {name}, and nothing of one is stored; `ark {noun} get` lists those there are"
        ),
        (_, File::Backup(_)) => format!(
            "nothing of backup {name} is stored any more; check that its location leads to the right bucket"
        ),
        (_, File::Restore(_)) => format!(
            "no {what} of restore {name} is stored: it could not be, or was removed; the server's log may say more"
        ),
    };
    text.push_str(&but_for(unseen));
    text
}

/// Returns the status of a request to which there is nothing but words.
pub(crate) fn said(message: String, now: Timestamp) -> DownloadRequestStatus {
    DownloadRequestStatus {
        phase: DownloadRequestPhase::Processed,
        expiration: Some(Time(end(now))),
        message,
        ..DownloadRequestStatus::default()
    }
}

/// Returns the status of a request for a file that is there: the store's link if it makes any, and this server's if it
/// serves downloads.
///
/// Where the store's link could not be made, the message says so, though there may be another.
pub(crate) fn served(
    signed: Option<Result<String, String>>,
    own: Option<Result<Link, String>>,
    now: Timestamp,
) -> DownloadRequestStatus {
    let mut problems = Vec::new();
    let signed = match signed {
        Some(Ok(url)) => Some(url),
        Some(Err(problem)) => {
            problems.push(format!("the store's link could not be made: {problem}"));
            None
        }
        None => None,
    };
    let own = match own {
        Some(Ok(link)) => Some(link),
        Some(Err(problem)) => {
            problems.push(format!("the server's link could not be made: {problem}"));
            None
        }
        None => None,
    };
    if signed.is_none() && own.is_none() && problems.is_empty() {
        problems.push(
            "the store makes no links, and this server serves no downloads; start it with --download-address"
                .to_owned(),
        );
    }
    let (url, server) = match own {
        Some(own) => (own.url, Some(own.server)),
        None => (String::new(), None),
    };
    DownloadRequestStatus {
        download_url: signed.unwrap_or(url),
        server,
        ..said(problems.join("; "), now)
    }
}

/// Returns when a link that is made now ends.
pub(crate) fn end(now: Timestamp) -> Timestamp {
    now.saturating_add(LIFE).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
