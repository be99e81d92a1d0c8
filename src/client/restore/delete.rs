//! `ark restore delete`: removes the record of a restore. What it restored stays.

use clap::Args;
use kube::api::DeleteParams;

use crate::api::Restore;
use crate::client::context::{Context, patiently};
use crate::client::{Outcome, objects, output};

/// Which restores to delete.
#[derive(Args, Debug)]
pub struct RestoreDeleteArgs {
    /// Names of the restores
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Accepted for scripts; deleting a restore does not ask
    #[arg(long, hide = true)]
    confirm: bool,
}

pub(crate) async fn run(context: &Context, args: RestoreDeleteArgs) -> anyhow::Result<Outcome> {
    let RestoreDeleteArgs { names, confirm: _ } = args;
    let cluster = context.cluster().await?;
    let api = cluster.api::<Restore>();
    // All are looked for first: a misspelt name ends the command with nothing done.
    objects::find::<Restore>(&cluster, &names, None).await?;
    let params = DeleteParams::default();
    for name in &names {
        match patiently(|| api.delete(name, &params)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(cluster.explain(&error)),
        }
        output::line(&format!("Restore \"{name}\" has been deleted."))?;
    }
    Ok(Outcome::Done)
}
