//! `ark restore delete`: removes the record of a restore. What it restored stays.

use crate::api::Restore;
use crate::client::Outcome;
use crate::client::context::Context;
use crate::client::delete::{self, Delete, DeleteArgs};

impl Delete for Restore {
    type How = ();

    fn warning(names: &str) -> String {
        format!("This deletes the records of: {names}. What these restores brought back stays.")
    }
}

pub(crate) async fn run(context: &Context, args: DeleteArgs) -> anyhow::Result<Outcome> {
    delete::run::<Restore>(context, args, &()).await
}
