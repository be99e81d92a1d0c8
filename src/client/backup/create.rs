//! `ark backup create`: asks for a backup.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{Backup, Schedule, labels, names, validate};
use crate::client::context::Context;
use crate::client::flags::{CreateOutputArgs, Problems};
use crate::client::template::{TEMPLATE_FLAGS, TemplateArgs};
use crate::client::{Outcome, objects, output, print_objects, wait};

/// What to back up, and how.
#[derive(Args, Debug)]
pub struct BackupCreateArgs {
    /// Name of the new backup [default with --from-schedule: the schedule's name and the time]
    #[arg(required_unless_present = "from_schedule")]
    name: Option<String>,
    /// Back up what this schedule does, now
    #[arg(long, value_name = "SCHEDULE", conflicts_with_all = TEMPLATE_FLAGS)]
    from_schedule: Option<String>,
    #[command(flatten)]
    template: TemplateArgs,
    /// Wait for the end; exit with 1 unless the phase is Completed then
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

pub(crate) async fn run(context: &Context, args: BackupCreateArgs) -> anyhow::Result<Outcome> {
    let schedule: Option<Schedule> = match &args.from_schedule {
        None => None,
        Some(name) => Some(objects::get(&context.cluster().await?, name).await?),
    };
    let make = |time| match &schedule {
        None => request(&args, &context.namespace),
        Some(schedule) => from_schedule(&args, schedule, &context.namespace, time),
    };
    let backup = make(context.now())?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[backup])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    let created = if args.name.is_some() {
        objects::create(&cluster, &backup).await?
    } else {
        objects::create_timestamped(&cluster, context.now(), make).await?
    };
    let name = created.name_any();
    output::line(&format!("Backup request \"{name}\" has been submitted."))?;
    output::line(&format!(
        "To see how it goes: ark backup describe {name}, or ark backup logs {name}"
    ))?;
    if args.wait {
        return wait::wait(&cluster, &created).await;
    }
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(args: &BackupCreateArgs, namespace: &str) -> anyhow::Result<Backup> {
    let mut problems = Problems::default();
    // clap asks for a name here.
    let name = args.name.clone().unwrap_or_default();
    problems.take(names::check_resource_name(&name, "backup"));
    let template = args.template.read(&mut problems);
    problems.extend(validate::backup(&template.spec));
    let mut backup = Backup::new(&name, template.spec);
    backup.metadata.namespace = Some(namespace.to_owned());
    backup.metadata.labels = template.labels;
    problems.finish(backup)
}

/// Makes the backup that a schedule would make at `now`.
fn from_schedule(
    args: &BackupCreateArgs,
    schedule: &Schedule,
    namespace: &str,
    now: Timestamp,
) -> anyhow::Result<Backup> {
    let mut problems = Problems::default();
    let series = schedule.name_any();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => names::timestamped(&series, now),
    };
    problems.take(names::check_resource_name(&name, "backup"));
    let spec = schedule.spec.template.clone();
    problems.extend(
        validate::backup(&spec)
            .into_iter()
            .map(|problem| format!("the template of schedule {series:?}: {problem}")),
    );
    let mut all = schedule.labels().clone();
    all.extend(args.template.labels(&mut problems));
    all.insert(labels::SCHEDULE.to_owned(), names::label_value(&series));
    let mut backup = Backup::new(&name, spec);
    backup.metadata.namespace = Some(namespace.to_owned());
    backup.metadata.labels = Some(all);
    problems.finish(backup)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::api::{BackupSpec, ScheduleSpec};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: BackupCreateArgs,
    }

    fn read(words: &[&str]) -> Result<BackupCreateArgs, String> {
        Cli::try_parse_from(["create"].iter().chain(words))
            .map(|cli| cli.args)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_backup_from_a_schedule_is_what_the_schedule_makes() {
        let template = BackupSpec {
            ttl: Some("24h0m0s".into()),
            storage_location: "second".into(),
            ..BackupSpec::default()
        };
        let mut schedule = Schedule::new(
            "nightly",
            ScheduleSpec {
                template: template.clone(),
                ..ScheduleSpec::default()
            },
        );
        schedule.metadata.labels = Some([("tier".to_owned(), "web".to_owned())].into());
        let now = "2017-07-27T20:05:24Z".parse().unwrap();
        for (words, name, tier) in [
            (
                &["--from-schedule", "nightly"][..],
                "nightly-20170727200524",
                "web",
            ),
            (
                &[
                    "mine",
                    "--from-schedule",
                    "nightly",
                    "--labels",
                    "tier=db,ark-schedule=x",
                ],
                "mine",
                "db",
            ),
        ] {
            let args = read(words).unwrap();
            let backup = from_schedule(&args, &schedule, "ark", now).unwrap();
            assert_eq!(backup.name_any(), name);
            assert_eq!(backup.spec, template);
            assert_eq!(backup.labels()["tier"], tier);
            assert_eq!(backup.labels()[labels::SCHEDULE], "nightly");
        }
    }

    #[test]
    fn a_schedule_or_flags() {
        for words in [
            &["a", "--storage-location", "x"][..],
            &["--from-schedule", "s"],
            &["a", "--from-schedule", "s", "--labels", "a=b"],
        ] {
            assert!(read(words).is_ok(), "{words:?}");
        }
        for words in [
            &[][..],
            &["--from-schedule", "s", "--ttl", "1h"],
            &["--from-schedule", "s", "--include-namespaces", "*"],
            &["--from-schedule", "s", "--volume-snapshot-locations", "a"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
