//! `ark client config get`: shows the client's own settings.

use clap::Args;

use super::SettingsFile;
use crate::client::surroundings::Surroundings;
use crate::client::{Outcome, output};

/// Which settings to show.
#[derive(Args, Debug)]
pub struct ConfigGetArgs {
    /// Settings to show; all that are set if none is given
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

pub(crate) fn run(surroundings: &Surroundings, args: ConfigGetArgs) -> anyhow::Result<Outcome> {
    let settings = SettingsFile::of(surroundings)?.read()?;
    let keys = if args.keys.is_empty() {
        settings.keys().cloned().collect()
    } else {
        args.keys
    };
    for key in keys {
        let value = settings.get(&key).map_or("<NOT SET>", String::as_str);
        output::line(&output::one_line(&format!("{key}: {value}")))?;
    }
    Ok(Outcome::Done)
}
