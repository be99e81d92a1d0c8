//! `ark schedule create`: asks for backups at fixed times.

use clap::Args;
use kube::ResourceExt;

use crate::api::{Schedule, ScheduleSpec, names, validate};
use crate::client::context::Context;
use crate::client::flags::{CreateOutputArgs, Problems};
use crate::client::template::TemplateArgs;
use crate::client::{Outcome, objects, output, print_objects};

/// When to make backups, and of what.
#[derive(Args, Debug)]
pub struct ScheduleCreateArgs {
    /// Name of the new schedule
    name: String,
    /// When to make a backup: five cron fields such as "0 3 * * *", or @daily, @every 6h and the like; in UTC unless
    /// it begins with `CRON_TZ=Area/City`
    #[arg(long, value_name = "CRON")]
    schedule: String,
    /// Keep the newest completed backup from expiring
    #[arg(long)]
    keep_newest: bool,
    /// Make no backups until `ark schedule unpause`
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    output: CreateOutputArgs,
}

pub(crate) async fn run(context: &Context, args: ScheduleCreateArgs) -> anyhow::Result<Outcome> {
    let schedule = request(&args, &context.namespace)?;
    if let Some(format) = args.output.output {
        print_objects(context, format, &args.output.labels, &[schedule])?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    let created = objects::create(&cluster, &schedule).await?;
    let name = created.name_any();
    output::line(&format!("Schedule \"{name}\" has been created."))?;
    Ok(Outcome::Done)
}

/// Makes the object that the flags ask for.
fn request(args: &ScheduleCreateArgs, namespace: &str) -> anyhow::Result<Schedule> {
    let mut problems = Problems::default();
    let template = args.template.read(&mut problems);
    let spec = ScheduleSpec {
        template: template.spec,
        schedule: args.schedule.clone(),
        paused: args.paused,
        keep_newest: args.keep_newest,
    };
    let checked = names::check_resource_name(&args.name, "schedule");
    // Of a name that cannot be one, no more is said than that.
    let name = if checked.is_ok() { &args.name } else { "any" };
    problems.extend(validate::schedule(name, &spec));
    problems.take(checked);
    let mut schedule = Schedule::new(&args.name, spec);
    schedule.metadata.namespace = Some(namespace.to_owned());
    schedule.metadata.labels = template.labels;
    problems.finish(schedule)
}
