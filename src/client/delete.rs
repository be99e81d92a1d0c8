//! What all delete commands share: which objects are meant, the question, and one object after the other.
//!
//! A type says in [`Delete`] what its deletion takes along and how it is asked for; nothing else differs.

use std::io;

use anyhow::bail;
use clap::{ArgGroup, Args};
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::context::{Cluster, Context, patiently};
use super::flags::{Problems, api_selector};
use super::objects::{self, Kind};
use super::{Outcome, output};

/// Which objects to delete: exactly one of names, a selector, and all.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).multiple(false))]
pub struct DeleteArgs {
    /// Names of what to delete
    #[arg(value_name = "NAME", group = "which")]
    names: Vec<String>,
    /// Delete those whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", group = "which")]
    selector: Option<String>,
    /// Delete all there are
    #[arg(long, group = "which")]
    all: bool,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
}

/// A type whose objects can be deleted by a command.
pub(crate) trait Delete: Kind {
    /// What else can be said about how.
    type How: Sync;

    /// Said once at the end, when anything was deleted.
    const AFTERWARDS: Option<&'static str> = None;

    /// Returns what is lost with these objects and what stays, in a sentence that stands before the question.
    fn warning(names: &str) -> String;

    /// Deletes this very object and returns the line that says so.
    fn delete(
        &self,
        cluster: &Cluster,
        _how: &Self::How,
    ) -> impl Future<Output = anyhow::Result<String>> + Send {
        delete_object(cluster, self)
    }
}

/// Deletes what the flags ask for. Every object is tried; what failed is said at the end, and makes an error.
pub(crate) async fn run<K: Delete>(
    context: &Context,
    args: DeleteArgs,
    how: &K::How,
) -> anyhow::Result<Outcome> {
    let which = Which::read(&args)?;
    let cluster = context.cluster().await?;
    let mut problems = Problems::default();
    let found: Vec<K> = find(&cluster, which, &mut problems).await?;
    if found.is_empty() {
        if problems.is_empty() {
            output::line(&format!("There is no {} to delete.", K::NOUN))?;
        }
        return problems.finish(Outcome::Done);
    }
    if !args.confirm {
        let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
        output::line(&K::warning(&names.join(", ")))?;
        for problem in problems.iter() {
            output::line(&format!("To be passed over: {problem}."))?;
        }
        if !output::confirm("Are you sure that you want this", io::stdin().lock()) {
            output::line("Nothing has been deleted.")?;
            return Ok(Outcome::Done);
        }
    }
    let mut deleted = 0_usize;
    for object in &found {
        match object.delete(&cluster, how).await {
            Ok(line) => {
                deleted += 1;
                output::line(&line)?;
            }
            Err(error) => {
                problems.add(format!("{} {:?}: {error:#}", K::NOUN, object.name_any()));
            }
        }
    }
    if let Some(line) = K::AFTERWARDS.filter(|_| deleted > 0) {
        output::line(line)?;
    }
    problems.finish(Outcome::Done)
}

/// Which objects are meant.
#[derive(Debug, Eq, PartialEq)]
enum Which {
    Named(Vec<String>),
    Matching(String),
    All,
}

impl Which {
    /// Reads the flags; clap has seen to it that exactly one is given.
    fn read(args: &DeleteArgs) -> anyhow::Result<Self> {
        if args.all {
            return Ok(Self::All);
        }
        let Some(selector) = &args.selector else {
            let mut names: Vec<String> = Vec::with_capacity(args.names.len());
            for name in &args.names {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            return Ok(Self::Named(names));
        };
        // An unset shell variable must not delete everything.
        match api_selector(Some(selector))? {
            Some(selector) => Ok(Self::Matching(selector)),
            None => bail!("--selector is empty; give it a selector, or use --all to delete all"),
        }
    }
}

/// Returns the objects that are meant and there. A name that is not adds a problem.
async fn find<K: Kind>(
    cluster: &Cluster,
    which: Which,
    problems: &mut Problems,
) -> anyhow::Result<Vec<K>> {
    let names = match which {
        Which::All => return objects::find(cluster, &[], None).await,
        Which::Matching(selector) => return objects::find(cluster, &[], Some(&selector)).await,
        Which::Named(names) => names,
    };
    let api = cluster.api::<K>();
    let mut found = Vec::with_capacity(names.len());
    for name in &names {
        let answer = patiently(|| api.get_opt(name)).await;
        match answer.map_err(|error| cluster.explain(&error))? {
            Some(object) => found.push(object),
            None => problems.add(objects::missing::<K>(cluster, name).to_string()),
        }
    }
    Ok(found)
}

/// Deletes an object through the API. A later one of the same name is not taken for it.
async fn delete_object<K: Kind>(cluster: &Cluster, object: &K) -> anyhow::Result<String> {
    let name = object.name_any();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let api = cluster.api::<K>();
    let noun = K::NOUN;
    match patiently(|| api.delete(&name, &params)).await {
        Ok(_) => {}
        // Somebody else was faster.
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(kube::Error::Api(status)) if status.is_conflict() => bail!(
            "it has been deleted and made again meanwhile; look at it with `ark {noun} get {name}`"
        ),
        Err(error) => return Err(cluster.explain(&error)),
    }
    Ok(format!(
        "{} \"{name}\" has been deleted.",
        sentence_start(noun)
    ))
}

/// Writes a noun of the command line as it begins a sentence.
fn sentence_start(noun: &str) -> String {
    let words = noun.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: DeleteArgs,
    }

    fn read(words: &[&str]) -> Result<Which, String> {
        let cli = Cli::try_parse_from(["delete"].iter().chain(words))
            .map_err(|error| error.to_string())?;
        Which::read(&cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_way_to_choose() {
        let named = |names: &[&str]| Which::Named(names.iter().map(|n| (*n).to_owned()).collect());
        for (words, which) in [
            (&["a"][..], named(&["a"])),
            (&["b", "a", "b"], named(&["b", "a"])),
            (&["--all"], Which::All),
            (&["-l", "app = nginx"], Which::Matching("app=nginx".into())),
        ] {
            assert_eq!(read(words).unwrap(), which, "{words:?}");
        }
        for words in [
            &[][..],
            &["--confirm"],
            &["a", "--all"],
            &["a", "-l", "app=nginx"],
            &["--all", "-l", "app=nginx"],
            &["-l", ""],
            &["-l", " "],
            &["-l", "a b"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn sentences_begin_with_a_capital() {
        assert_eq!(sentence_start("backup"), "Backup");
        assert_eq!(sentence_start("backup-location"), "Backup location");
    }
}
