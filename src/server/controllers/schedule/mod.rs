//! The schedule controller: makes Backups when they are due, and says when the next one is.
//!
//! The rules are in `decide`. Each step is one write, after which the schedule is looked at again; a deleted schedule
//! leaves its backups alone.

pub(crate) mod decide;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DynamicObject, ListParams};
use tokio::sync::watch;

use self::decide::Decision;
use super::Context;
use super::dispatch::{Controller, Outcome, Task};
use super::malformed;
use crate::api::error::chain;
use crate::api::{Backup, Schedule, SchedulePhase, ScheduleStatus};
use crate::server::events::Happening;
use crate::server::leader::Term;
use crate::server::objects::parse;
use crate::server::status::{self, Read, StatusError};

/// The schedule controller.
#[derive(Debug)]
pub(crate) struct Schedules {
    context: Arc<Context>,
}

/// How the creation of a Backup went.
enum Creation {
    /// It is there.
    Made,
    /// Another Backup has its name.
    NameTaken,
}

impl Controller for Schedules {
    type Object = Schedule;

    const KIND: &'static str = "Schedule";

    fn wants(&self, _: &Schedule) -> bool {
        true
    }

    fn stirred_by(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.context.watched.backups.changes()]
    }

    async fn work(self: Arc<Self>, task: Task, _: Term) -> Outcome {
        if !self.makes_backups() {
            return Outcome::Done;
        }
        let api = &self.context.apis.schedules;
        if let Some(problem) = &task.malformed {
            let phase = SchedulePhase::FailedValidation;
            return malformed::refuse(api, &task, problem, phase.as_str(), "validationErrors")
                .await;
        }
        if let Some(outcome) = self.waits(&task) {
            return outcome;
        }
        match status::get::<Schedule>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) => self.look(&task, &read).await.unwrap_or_else(|error| {
                tracing::warn!(schedule = task.name, error, "a Schedule is looked at again");
                Outcome::Retry
            }),
            // Gone, or changed so that it cannot be read: the watch tells.
            Ok(_) => Outcome::Done,
            Err(error) => {
                tracing::warn!(schedule = task.name, %error, "cannot read a Schedule");
                Outcome::Retry
            }
        }
    }
}

impl Schedules {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Returns whether this server is known to make backups.
    fn makes_backups(&self) -> bool {
        let world = self.context.world.borrow();
        world.settings().is_some() && !world.restore_only()
    }

    /// Waits if what the watches have told says so: most looks end here, without a request.
    fn waits(&self, task: &Task) -> Option<Outcome> {
        let watched = &self.context.watched;
        let entry = watched.schedules.get(&task.name)?;
        let schedule = entry.object.ok().filter(|_| entry.uid == task.uid)?;
        let running = || {
            let running = watched.backups.select(|entry| {
                let backup = entry.object.as_ref();
                backup.is_ok_and(|backup| decide::runs(&task.name, backup))
            });
            !running.is_empty()
        };
        match decide::decide(&schedule, running, self.context.clock.now()) {
            Decision::Wait(until) => Some(waiting(until)),
            Decision::Write(_) | Decision::Make(_) => None,
        }
    }

    async fn look(&self, task: &Task, read: &Read<Schedule>) -> Result<Outcome, String> {
        let schedule = &read.object;
        let now = self.context.clock.now();
        let running = self.running(&task.name).await?;
        let (status, happening) = match decide::decide(schedule, || running, now) {
            Decision::Wait(until) => return Ok(waiting(until)),
            Decision::Write(status) => {
                let refused = status.phase == SchedulePhase::FailedValidation;
                let problems = status.validation_errors.join("; ");
                let happening = refused.then(|| Happening::warning("FailedValidation", problems));
                (*status, happening)
            }
            Decision::Make(then) => match self.make(schedule).await? {
                Creation::Made => {
                    let note = format!("backup {} is made", then.last_backup_name);
                    (*then, Some(Happening::normal("BackupCreated", note)))
                }
                Creation::NameTaken => {
                    let other = decide::promise(schedule, now);
                    if other.last_backup_name == then.last_backup_name {
                        // The next second has another name.
                        let soon = now.saturating_add(SignedDuration::from_secs(1));
                        return Ok(Outcome::Until(soon.unwrap_or(now)));
                    }
                    (other, None)
                }
            },
        };
        self.write(read, &status, happening).await
    }

    async fn write(
        &self,
        read: &Read<Schedule>,
        status: &ScheduleStatus,
        happening: Option<Happening>,
    ) -> Result<Outcome, String> {
        // The version in this write keeps two servers that both believe that they lead from making two promises.
        let api = &self.context.apis.schedules;
        match read.replace_status(api, status).await {
            Ok(()) => {
                if let Some(happening) = happening {
                    self.context.events.say(&read.object, happening);
                }
                Ok(Outcome::Done)
            }
            Err(StatusError::Gone) => Ok(Outcome::Done),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Asks the API server whether a backup of a schedule goes on: what the watch tells may be older than the last one.
    async fn running(&self, schedule: &str) -> Result<bool, String> {
        let selector = Backup::selector_of_schedule(schedule);
        let params = ListParams::default().labels(&selector);
        let backups = self.context.apis.backups.list(&params).await;
        let backups = backups.map_err(|error| chain(&error))?;
        Ok(backups
            .iter()
            .filter_map(|object| parse::<Backup>(object).ok())
            .any(|backup| decide::runs(schedule, &backup)))
    }

    /// Makes the promised backup, unless it is there already.
    async fn make(&self, schedule: &Schedule) -> Result<Creation, String> {
        let backup = decide::backup(schedule);
        let name = backup.metadata.name.clone().unwrap_or_default();
        let object: DynamicObject = serde_json::to_value(&backup)
            .and_then(serde_json::from_value)
            .map_err(|error| chain(&error))?;
        let params = status::post_params();
        let api = &self.context.apis.backups;
        match api.create(&params, &object).await {
            Ok(_) => {
                tracing::info!(
                    schedule = schedule.metadata.name,
                    backup = name,
                    "a schedule makes a backup"
                );
                return Ok(Creation::Made);
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(format!("backup {name} cannot be made: {}", chain(&error))),
        }
        // Made by the server before, or somebody else's.
        let found = api.get_opt(&name).await.map_err(|error| chain(&error))?;
        let ours = found
            .and_then(|object| parse::<Backup>(&object).ok())
            .is_some_and(|found| {
                backup
                    .schedule()
                    .is_some_and(|ours| decide::made(ours, &found))
            });
        Ok(if ours {
            Creation::Made
        } else {
            Creation::NameTaken
        })
    }
}

fn waiting(until: Option<Timestamp>) -> Outcome {
    until.map_or(Outcome::Done, Outcome::Until)
}
