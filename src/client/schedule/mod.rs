//! Commands for schedules, one file each; and how a table shows one.

pub(crate) mod create;
pub(crate) mod describe;
pub(crate) mod pause;

use clap::Subcommand;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Outcome;
use super::context::Context;
use super::delete::{self, Delete, DeleteArgs};
use super::get::{self, GetArgs};
use super::table::{self, Row};
use crate::api::{Schedule, SchedulePhase};
use create::ScheduleCreateArgs;
use describe::ScheduleDescribeArgs;
use pause::{PauseArgs, Switch};

/// `ark schedule ...`
#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process makes one, and takes it apart at once"
)]
pub enum ScheduleCommand {
    /// Create a schedule, which makes backups at fixed times
    Create(ScheduleCreateArgs),
    /// List schedules
    Get(GetArgs),
    /// Describe schedules
    Describe(ScheduleDescribeArgs),
    /// Delete schedules; the backups they made stay
    Delete(DeleteArgs),
    /// Let schedules make no backups until `ark schedule unpause`
    Pause(PauseArgs),
    /// Let paused schedules make backups again, from their next time on
    Unpause(PauseArgs),
}

pub(crate) async fn run(context: &Context, command: ScheduleCommand) -> anyhow::Result<Outcome> {
    match command {
        ScheduleCommand::Create(args) => create::run(context, args).await,
        ScheduleCommand::Get(args) => get::run::<Schedule>(context, args).await,
        ScheduleCommand::Describe(args) => describe::run(context, args).await,
        ScheduleCommand::Pause(args) => pause::run(context, args, Switch::Pause).await,
        ScheduleCommand::Unpause(args) => pause::run(context, args, Switch::Unpause).await,
        ScheduleCommand::Delete(args) => delete::run::<Schedule>(context, args, &()).await,
    }
}

impl Delete for Schedule {
    type How = ();

    fn warning(names: &str) -> String {
        format!(
            "This deletes the schedules: {names}. The backups that they made stay until they expire."
        )
    }
}

impl Row for Schedule {
    const COLUMNS: &'static [&'static str] = &[
        "NAME",
        "STATUS",
        "CREATED",
        "SCHEDULE",
        "BACKUP TTL",
        "LAST BACKUP",
        "SELECTOR",
    ];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let last = self.status.as_ref().and_then(|s| s.last_backup.as_ref());
        vec![
            self.name_any(),
            status(self),
            table::time(self.metadata.creation_timestamp.as_ref()),
            self.spec.schedule.clone(),
            table::ttl(self.spec.template.ttl.as_deref()),
            table::relative(last.map(|time| time.0), now),
            table::selector_text(self.spec.template.label_selector.as_ref()),
        ]
    }
}

/// Returns a schedule's phase; one that is paused says so, unless it would make no backups anyway.
pub(crate) fn status(schedule: &Schedule) -> String {
    let phase = schedule
        .status
        .as_ref()
        .map(|status| status.phase.clone())
        .unwrap_or_default();
    match phase {
        SchedulePhase::New | SchedulePhase::Enabled if schedule.spec.paused => "Paused".to_owned(),
        SchedulePhase::New
        | SchedulePhase::Enabled
        | SchedulePhase::FailedValidation
        | SchedulePhase::Other(_) => phase.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{ScheduleSpec, ScheduleStatus, selector};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(name: &str, phase: SchedulePhase, paused: bool) -> Schedule {
        let mut spec = ScheduleSpec {
            schedule: "0 3 * * *".into(),
            paused,
            ..ScheduleSpec::default()
        };
        spec.template.ttl = Some("720h".into());
        let mut schedule = Schedule::new(name, spec);
        schedule.metadata.creation_timestamp = Some(Time(at("2017-07-27T20:05:24Z")));
        schedule.status = Some(ScheduleStatus {
            phase,
            ..ScheduleStatus::default()
        });
        schedule
    }

    #[test]
    fn a_table_says_which_schedules_make_backups() {
        let mut running = schedule("nightly", SchedulePhase::Enabled, false);
        running.spec.template.label_selector = Some(selector::parse("app=nginx").unwrap());
        running.status.as_mut().unwrap().last_backup = Some(Time(at("2017-07-27T21:05:24Z")));
        let mut new = schedule("new", SchedulePhase::New, false);
        new.status = None;
        new.spec.template.ttl = None;
        let rows = [
            running,
            schedule("paused", SchedulePhase::Enabled, true),
            schedule("refused", SchedulePhase::FailedValidation, true),
            new,
        ];
        insta::assert_snapshot!(
            table::render(&rows, at("2017-07-27T23:05:23Z"), &[], false).unwrap()
        );
    }
}
