//! What the programs of the plugin directory offer.
//!
//! A program is started once and asked; the answer counts until its file changes. So looking again costs a look at the
//! directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::error::CallError;
use super::find::{self, OldKind, OldName, Program};
use super::handshake::Version;
use super::init::Service;
use super::launch::Launcher;
use super::pool::Pool;
use super::protocol::velero::generated as velero;
use super::protocol::velero::generated::plugin_lister_client::PluginListerClient;

/// How many programs are asked at once.
const ASKED_AT_ONCE: usize = 2;
/// After how long one that could not be asked is asked again, if somebody misses something.
const RETRY: Duration = Duration::from_mins(1);
/// What names of Velero's plugins begin with that say nothing else.
const DEFAULT_DOMAIN: &str = "velero.io/";

/// A kind of plugin.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    ObjectStore,
    VolumeSnapshotter,
    BackupItemAction,
    BackupItemActionV2,
    RestoreItemAction,
    RestoreItemActionV2,
    DeleteItemAction,
    ItemBlockAction,
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "ObjectStore" => Self::ObjectStore,
            "VolumeSnapshotter" | "BlockStore" => Self::VolumeSnapshotter,
            "BackupItemAction" => Self::BackupItemAction,
            "BackupItemActionV2" => Self::BackupItemActionV2,
            "RestoreItemAction" => Self::RestoreItemAction,
            "RestoreItemActionV2" => Self::RestoreItemActionV2,
            "DeleteItemAction" => Self::DeleteItemAction,
            "ItemBlockAction" => Self::ItemBlockAction,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whose protocol a program speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    Velero,
    /// Ark 0.10: requests name the plugin.
    Ark10,
    /// Ark 0.8 and 0.9: they do not.
    Ark08,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Velero => "Velero",
            Self::Ark10 => "Ark 0.10",
            Self::Ark08 => "Ark 0.8",
        })
    }
}

/// One plugin of a program.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) kind: Kind,
    /// The name by which Config, locations and logs know it.
    pub(super) name: String,
    /// The name that requests carry.
    pub(super) plugin: String,
    pub(super) family: Family,
    pub(super) pool: Arc<Pool>,
}

impl Offer {
    /// Returns the service of a store; [`Kind::ObjectStore`] only.
    pub(super) fn store_service(&self) -> Service {
        match self.family {
            Family::Velero | Family::Ark10 => Service::ObjectStore,
            Family::Ark08 => Service::OldObjectStore,
        }
    }

    /// Returns the service of a snapshotter; [`Kind::VolumeSnapshotter`] only.
    pub(super) fn snapshotter_service(&self) -> Service {
        match self.family {
            Family::Velero => Service::VolumeSnapshotter,
            Family::Ark10 => Service::BlockStore,
            Family::Ark08 => Service::OldBlockStore,
        }
    }
}

/// A program and its answer.
#[derive(Debug)]
struct Entry {
    pool: Arc<Pool>,
    asked: Instant,
    offers: Result<Vec<Offer>, String>,
}

/// Everything that is offered.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: BTreeMap<PathBuf, Entry>,
    /// Why the directory cannot be looked at, if so.
    problem: Option<String>,
}

/// What there is of a kind under a name.
#[derive(Debug)]
pub(super) enum Found {
    One(Offer),
    Nothing,
    /// Several programs offer it, and none of them gets it; a sentence.
    Ambiguous(String),
}

impl Catalog {
    /// Looks at the directory, and asks the programs that are new there; with `retry` those, too, that could not be asked.
    pub(super) async fn refresh(&mut self, launcher: &Arc<Launcher>, retry: bool) {
        let directory = launcher.options.directory.clone();
        let shown = directory.display().to_string();
        let looked = tokio::task::spawn_blocking(move || find::programs(&directory)).await;
        let programs = match looked {
            Ok(Ok(programs)) => programs,
            Ok(Err(error)) => {
                let problem = format!("cannot look for plugins in {shown}: {error}");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                }
                self.problem = Some(problem);
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the look for plugins broke off");
                return;
            }
        };
        self.problem = None;
        self.entries.retain(|file, entry| {
            let stays = programs.iter().any(|program| {
                program.file == *file && program.version == entry.pool.program.version
            });
            if !stays {
                entry.pool.retire();
            }
            stays
        });
        let due = |program: &Program| match self.entries.get(&program.file) {
            None => true,
            Some(entry) => retry && entry.offers.is_err() && entry.asked.elapsed() >= RETRY,
        };
        let due: Vec<Program> = programs.into_iter().filter(due).collect();
        let asked: Vec<Entry> = futures::stream::iter(due)
            .map(|program| async {
                let pool = Arc::new(Pool::new(program, Arc::clone(launcher)));
                let offers = ask(&pool).await.map_err(|error| error.message);
                if let Err(problem) = &offers {
                    tracing::error!("{problem}");
                }
                Entry {
                    asked: Instant::now(),
                    pool,
                    offers,
                }
            })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        for entry in asked {
            self.entries.insert(entry.pool.program.file.clone(), entry);
        }
    }

    /// Finds the plugin of a kind that has exactly this name.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Found {
        let offers: Vec<&Offer> = self
            .offers()
            .filter(|offer| offer.kind == kind && offer.name == name)
            .collect();
        match offers.as_slice() {
            [] => Found::Nothing,
            [one] => Found::One((*one).clone()),
            several => Found::Ambiguous(ambiguous(kind, name, several)),
        }
    }

    /// Returns the plugins of a kind, sorted by name, and why some are left out: several offer the same one, or programs
    /// could not be asked, which may have had some.
    pub(super) fn of_kind(&self, kind: Kind) -> (Vec<Offer>, Vec<String>) {
        let mut names: Vec<&str> = self
            .offers()
            .filter(|offer| offer.kind == kind)
            .map(|offer| offer.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut problems = self.problems();
        let mut found = Vec::new();
        for name in names {
            match self.find(kind, name) {
                Found::One(offer) => found.push(offer),
                Found::Ambiguous(problem) => problems.push(problem),
                Found::Nothing => {}
            }
        }
        (found, problems)
    }

    /// Returns which programs could not be asked, and why; sentences.
    pub(super) fn problems(&self) -> Vec<String> {
        let unasked = self
            .entries
            .values()
            .filter_map(|entry| entry.offers.as_ref().err());
        self.problem.iter().chain(unasked).cloned().collect()
    }

    pub(super) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.entries
            .values()
            .filter_map(|entry| entry.offers.as_ref().ok())
            .flatten()
    }

    /// Returns the files that could not be asked, with the reasons.
    pub(super) fn unasked(&self) -> impl Iterator<Item = (&PathBuf, &String)> {
        self.entries
            .iter()
            .filter_map(|(file, entry)| Some((file, entry.offers.as_ref().err()?)))
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.entries.values().map(|entry| &entry.pool)
    }
}

fn ambiguous(kind: Kind, name: &str, offers: &[&Offer]) -> String {
    let files: Vec<String> = offers
        .iter()
        .map(|offer| offer.pool.program.file.display().to_string())
        .collect();
    format!(
        "{} programs offer the {kind} {name:?}, {}; remove all but one of them",
        files.len(),
        files.join(" and ")
    )
}

/// Starts a program and asks what it offers.
async fn ask(pool: &Arc<Pool>) -> Result<Vec<Offer>, CallError> {
    let lease = pool.take(None).await?;
    let mut lister =
        PluginListerClient::new(lease.channel()).max_decoding_message_size(lease.message_limit());
    let version = lease.process().version;
    let listed = lease
        .call("say what it offers", async {
            match lister.list_plugins(velero::Empty {}).await {
                Ok(answer) => Ok(Some(answer.into_inner().plugins)),
                // Ark's first plugins had no lister.
                Err(status) if status.code() == Code::Unimplemented => Ok(None),
                Err(status) => Err(status),
            }
        })
        .await?;
    match (listed, &pool.program.named) {
        (Some(plugins), _) => {
            let family = match version {
                Version::One => Family::Ark10,
                Version::Two => Family::Velero,
            };
            Ok(plugins
                .into_iter()
                .filter_map(|plugin| offer(pool, family, plugin))
                .collect())
        }
        (None, Some(named)) if version == Version::One => Ok(old_offers(pool, named)),
        (None, _) => {
            let status = Status::unimplemented("");
            let error = lease.failed("say what it offers", &status).await;
            Err(CallError::new(
                error.kind,
                format!(
                    "{} ({}), and its file is not named like Ark 0.8's plugins, ark-<kind>-<name>",
                    error.message,
                    pool.program.file.display()
                ),
            ))
        }
    }
}

fn offer(pool: &Arc<Pool>, family: Family, plugin: velero::PluginIdentifier) -> Option<Offer> {
    let file = pool.program.file.display();
    let Some(kind) = Kind::parse(&plugin.kind) else {
        if plugin.kind != "PluginLister" {
            tracing::warn!(
                file = %file,
                kind = plugin.kind,
                name = plugin.name,
                "a plugin of an unknown kind is left out"
            );
        }
        return None;
    };
    Some(Offer {
        kind,
        name: full_name(family, &plugin.name),
        plugin: plugin.name,
        family,
        pool: Arc::clone(pool),
    })
}

/// Returns the name by which a plugin is known: Velero's have a domain.
fn full_name(family: Family, name: &str) -> String {
    match family {
        Family::Velero if !name.contains('/') => format!("{DEFAULT_DOMAIN}{name}"),
        Family::Velero | Family::Ark10 | Family::Ark08 => name.to_owned(),
    }
}

fn old_offers(pool: &Arc<Pool>, named: &OldName) -> Vec<Offer> {
    let kinds: &[Kind] = match named.kind {
        OldKind::ObjectStore => &[Kind::ObjectStore],
        OldKind::BlockStore => &[Kind::VolumeSnapshotter],
        OldKind::CloudProvider => &[Kind::ObjectStore, Kind::VolumeSnapshotter],
        OldKind::BackupItemAction => &[Kind::BackupItemAction],
        OldKind::RestoreItemAction => &[Kind::RestoreItemAction],
    };
    kinds
        .iter()
        .map(|kind| Offer {
            kind: *kind,
            name: named.name.clone(),
            plugin: named.name.clone(),
            family: Family::Ark08,
            pool: Arc::clone(pool),
        })
        .collect()
}

/// Returns the names that a provider's name may mean, the first first: exactly it, and what Velero takes a bare name for.
pub(super) fn meanings(provider: &str, built_in: bool) -> Vec<String> {
    let mut names = vec![provider.to_owned()];
    if !built_in && !provider.contains('/') {
        names.push(format!("{DEFAULT_DOMAIN}{provider}"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_domain_in_one_family() {
        for (family, name, full) in [
            (Family::Velero, "aws", "velero.io/aws"),
            (Family::Velero, "example.org/x", "example.org/x"),
            (Family::Ark10, "aws", "aws"),
            (Family::Ark08, "minio", "minio"),
        ] {
            assert_eq!(full_name(family, name), full);
        }
    }

    #[test]
    fn a_bare_name_means_the_built_in_one_or_veleros() {
        assert_eq!(meanings("aws", true), ["aws"]);
        assert_eq!(meanings("velero.io/aws", false), ["velero.io/aws"]);
        assert_eq!(meanings("do", false), ["do", "velero.io/do"]);
    }
}
