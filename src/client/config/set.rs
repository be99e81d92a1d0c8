//! `ark client config set`: changes the client's own settings.

use anyhow::anyhow;
use clap::Args;

use super::{KNOWN, NAMESPACE, Settings, SettingsFile};
use crate::api::names;
use crate::client::surroundings::Surroundings;
use crate::client::{Outcome, output};

/// What to change.
#[derive(Args, Debug)]
pub struct ConfigSetArgs {
    /// Settings to change; an empty value removes one
    #[arg(value_name = "KEY=VALUE", required = true)]
    pairs: Vec<String>,
}

pub(crate) fn run(surroundings: &Surroundings, args: &ConfigSetArgs) -> anyhow::Result<Outcome> {
    let file = SettingsFile::of(surroundings)?;
    let before = file.read()?;
    let (after, warnings) = apply(before.clone(), &args.pairs)?;
    for warning in warnings {
        output::warn(&warning);
    }
    if after != before {
        file.write(&after)?;
    }
    Ok(Outcome::Done)
}

/// Applies the pairs and returns what is to be warned of.
///
/// # Errors
/// A value that every later command would refuse.
fn apply(mut settings: Settings, pairs: &[String]) -> anyhow::Result<(Settings, Vec<String>)> {
    let mut warnings = Vec::new();
    for pair in pairs {
        let sides = pair
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, value)| !key.is_empty() && !value.contains('='));
        let Some((key, value)) = sides else {
            warnings.push(format!("{pair:?} is passed over; write KEY=VALUE"));
            continue;
        };
        if value.is_empty() {
            settings.remove(key);
            continue;
        }
        if key == NAMESPACE {
            names::check_namespace_name(value)
                .map_err(|problem| anyhow!("{NAMESPACE}: {problem}"))?;
        }
        if !KNOWN.contains(&key) {
            warnings.push(format!(
                "{key:?} is kept, and means nothing to this Ark; it knows {}",
                KNOWN.join(", ")
            ));
        }
        settings.insert(key.to_owned(), value.to_owned());
    }
    Ok((settings, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(pairs: &[&str]) -> anyhow::Result<(Vec<String>, usize)> {
        let before = Settings::from([("namespace".to_owned(), "old".to_owned())]);
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let (after, warnings) = apply(before, &pairs)?;
        let shown = after
            .iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        Ok((shown, warnings.len()))
    }

    #[test]
    fn pairs_change_settings() {
        for (pairs, after, warnings) in [
            (&["namespace=new"][..], &["namespace: new"][..], 0),
            (&["namespace="], &[], 0),
            (&["namespace=a", "namespace=b"], &["namespace: b"], 0),
            (&["colour=blue"], &["colour: blue", "namespace: old"], 1),
            (&["colour="], &["namespace: old"], 0),
            (&["namespace", "a=b=c", "=x"], &["namespace: old"], 3),
            (&["namespace", "namespace=new"], &["namespace: new"], 1),
        ] {
            let expected: Vec<String> = after.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(applied(pairs).unwrap(), (expected, warnings), "{pairs:?}");
        }
    }

    #[test]
    fn a_namespace_that_cannot_be_is_refused() {
        let problem = applied(&["namespace=Ark"]).unwrap_err().to_string();
        assert!(
            problem.starts_with("namespace: \"Ark\" cannot name a namespace"),
            "{problem}"
        );
    }
}
