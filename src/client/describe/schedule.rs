//! The description of a Schedule.

use super::Lines;
use super::backup::spec;
use crate::api::Schedule;
use crate::client::schedule::status;
use crate::client::table;

/// Describes a schedule.
pub(crate) fn schedule(schedule: &Schedule) -> anyhow::Result<String> {
    let state = schedule.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.metadata(schedule);
    lines.gap();
    lines.field("Phase", &status(schedule));
    lines.gap();
    lines.field("Schedule", &schedule.spec.schedule);
    let yes = |flag: bool| if flag { "true" } else { "false" };
    lines.field("Paused", yes(schedule.spec.paused));
    lines.field("Keep newest", yes(schedule.spec.keep_newest));
    lines.gap();
    lines.heading(0, "Backup Template");
    spec(&mut lines, 1, &schedule.spec.template);
    lines.gap();
    lines.list(0, "Validation errors", &state.validation_errors);
    lines.gap();
    let time = |time: Option<_>, none: &str| {
        time.map_or_else(|| none.to_owned(), |time| table::time(Some(time)))
    };
    lines.field("Next Backup", &time(state.next_backup.as_ref(), "<n/a>"));
    lines.field("Last Backup", &time(state.last_backup.as_ref(), "<never>"));
    if !state.last_backup_name.is_empty() {
        lines.field("Last Backup Name", &state.last_backup_name);
    }
    lines.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{SchedulePhase, ScheduleSpec, ScheduleStatus, selector};

    #[test]
    fn a_schedule() {
        let mut spec = ScheduleSpec {
            schedule: "0 3 * * *".into(),
            keep_newest: true,
            ..ScheduleSpec::default()
        };
        spec.template.ttl = Some("720h".into());
        spec.template.included_namespaces = vec!["shop".into()];
        spec.template.label_selector = Some(selector::parse("app=nginx").unwrap());
        spec.template.storage_location = "second".into();
        let mut nightly = Schedule::new("nightly", spec);
        nightly.metadata.namespace = Some("heptio-ark".into());
        nightly.metadata.labels = Some([("tier".to_owned(), "web".to_owned())].into());
        let at = |text: &str| Some(Time(text.parse().unwrap()));
        nightly.status = Some(ScheduleStatus {
            phase: SchedulePhase::Enabled,
            last_backup: at("2017-07-27T03:00:00Z"),
            last_backup_name: "nightly-20170727030000".into(),
            next_backup: at("2017-07-28T03:00:00Z"),
            ..ScheduleStatus::default()
        });
        insta::assert_snapshot!(schedule(&nightly).unwrap());
    }

    #[test]
    fn a_schedule_that_makes_no_backups() {
        let mut refused = Schedule::new(
            "refused",
            ScheduleSpec {
                schedule: "never".into(),
                paused: true,
                ..ScheduleSpec::default()
            },
        );
        refused.status = Some(ScheduleStatus {
            phase: SchedulePhase::FailedValidation,
            validation_errors: vec!["\"never\" is no schedule".into(), "and more".into()],
            ..ScheduleStatus::default()
        });
        let text = schedule(&refused).unwrap();
        for line in [
            "Phase:  FailedValidation\n",
            "Paused:       true\n",
            "Validation errors:  \"never\" is no schedule\n                    and more\n",
            "Next Backup:  <n/a>\nLast Backup:  <never>\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
    }
}
