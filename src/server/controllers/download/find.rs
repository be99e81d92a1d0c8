//! Where the file is that a request asks for.

use std::sync::Arc;

use super::Downloads;
use super::decide::{Found, Run};
use crate::api::error::chain;
use crate::api::names::check_resource_name;
use crate::api::{Backup, Restore};
use crate::server::controllers::backup::decide::owns;
use crate::server::engines::{self, PartKind, RestoreFile};
use crate::server::objects::parse;
use crate::server::settings::{LocationState, Place, Whereabouts, World, location_of};

/// Where something may be.
enum Candidates {
    /// Not known yet.
    Unknown,
    /// Nowhere that can be looked into; a sentence for each reason.
    Unusable(Vec<String>),
    /// In one of these; the names of those that cannot be looked into.
    Places(Vec<Arc<Place>>, Vec<String>),
}

impl Downloads {
    /// Looks for a part of a backup, and at the backup's run.
    pub(super) async fn find_part(
        &self,
        name: &str,
        part: PartKind,
    ) -> Result<(Run, Found), String> {
        let backup = self.backup(name).await?;
        let run = backup.as_ref().map_or(Run::Missing, |backup| {
            Run::of_backup(backup, &self.context.identity)
        });
        if !run.may_have_stored() {
            return Ok((run, Found::Nothing(Vec::new())));
        }
        let world = self.context.world.borrow().clone();
        let (places, unseen) = match candidates(&world, backup.as_ref().map_or("", location_of)) {
            Candidates::Unknown => return Ok((run, Found::Unknown)),
            Candidates::Unusable(reasons) => return Ok((run, Found::Unusable(reasons))),
            Candidates::Places(places, unseen) => (places, unseen),
        };
        let mut problems = Vec::new();
        for place in places {
            let record = match place.location.record(name).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            // A run that failed may have done so because another backup has the name.
            let other = matches!(run, Run::Failed(_))
                && !backup
                    .as_ref()
                    .is_some_and(|backup| owns(backup, &record.backup));
            if other {
                continue;
            }
            let Some(file) = record.files.get(&part) else {
                return Ok((run, Found::Lacking));
            };
            let found = match place.location.has(&file.key).await {
                Ok(true) => Found::At {
                    location: place.name.clone(),
                    file: file.clone(),
                },
                Ok(false) if record.foreign => Found::Lacking,
                Ok(false) => Found::Lost(file.key.clone()),
                Err(problem) => Found::Unusable(vec![problem]),
            };
            return Ok((run, found));
        }
        Ok((run, not_found(problems, unseen)))
    }

    /// Looks for a file of a restore, and at the restore's run.
    pub(super) async fn find_restore_file(
        &self,
        name: &str,
        file: RestoreFile,
    ) -> Result<(Run, Found), String> {
        let restore = get::<Restore>(&self.context.apis.restores, name).await?;
        let run = restore.as_ref().map_or(Run::Missing, |restore| {
            Run::of_restore(restore, &self.context.identity)
        });
        if !run.may_have_stored() {
            return Ok((run, Found::Nothing(Vec::new())));
        }
        let file = match engines::restore_file(name, file) {
            Ok(file) => file,
            Err(problem) => return Ok((run, Found::Unusable(vec![problem]))),
        };
        let backup = match &restore {
            Some(restore) => self.backup(&restore.spec.backup_name).await?,
            None => None,
        };
        let world = self.context.world.borrow().clone();
        let (places, unseen) = match candidates(&world, backup.as_ref().map_or("", location_of)) {
            Candidates::Unknown => return Ok((run, Found::Unknown)),
            Candidates::Unusable(reasons) => return Ok((run, Found::Unusable(reasons))),
            Candidates::Places(places, unseen) => (places, unseen),
        };
        let mut problems = Vec::new();
        for place in places {
            match place.location.has(&file.key).await {
                Ok(true) => {
                    let location = place.name.clone();
                    let found = Found::At { location, file };
                    return Ok((run, found));
                }
                Ok(false) => {}
                Err(problem) => problems.push(problem),
            }
        }
        Ok((run, not_found(problems, unseen)))
    }

    /// Reads a Backup; one that cannot be read, or that nobody can make, is as good as none.
    async fn backup(&self, name: &str) -> Result<Option<Backup>, String> {
        if check_resource_name(name, "backup").is_err() {
            return Ok(None);
        }
        get(&self.context.apis.backups, name).await
    }
}

/// Reads an object by its name; what is stored counts more than one that cannot be read.
async fn get<K: serde::de::DeserializeOwned>(
    api: &kube::Api<kube::api::DynamicObject>,
    name: &str,
) -> Result<Option<K>, String> {
    let object = api.get_opt(name).await.map_err(|error| chain(&error))?;
    Ok(object.and_then(|object| parse(&object).ok()))
}

/// Returns where something may be: in its location, or in any if nobody says in which.
fn candidates(world: &World, known: &str) -> Candidates {
    if !known.is_empty() {
        return match world.find(known) {
            Whereabouts::Unknown => Candidates::Unknown,
            Whereabouts::Unusable(reasons) => Candidates::Unusable(reasons.to_vec()),
            Whereabouts::At(place) => Candidates::Places(vec![place], Vec::new()),
        };
    }
    let known = match world {
        World::Pending => return Candidates::Unknown,
        World::Unusable(reasons) => return Candidates::Unusable(reasons.to_vec()),
        World::Known(known) => known,
    };
    let mut unseen = Vec::new();
    let mut problems = Vec::new();
    for (name, state) in &known.locations {
        match state {
            LocationState::Pending => return Candidates::Unknown,
            LocationState::Unusable(reasons) => {
                unseen.push(name.clone());
                problems.extend(reasons.iter().cloned());
            }
            LocationState::Usable(_) => {}
        }
    }
    let places = world.places();
    if places.is_empty() {
        if problems.is_empty() {
            problems.push(
                "the server has been told of no location; make a Config or a BackupStorageLocation"
                    .to_owned(),
            );
        }
        return Candidates::Unusable(problems);
    }
    Candidates::Places(places, unseen)
}

fn not_found(problems: Vec<String>, unseen: Vec<String>) -> Found {
    if problems.is_empty() {
        Found::Nothing(unseen)
    } else {
        Found::Unusable(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::settings::testing::known;

    #[test]
    fn what_cannot_be_looked_for_is_said_and_what_will_be_is_waited_for() {
        let broken = || LocationState::Unusable(Arc::new(vec!["broken".into()]));
        for (world, location, problem) in [
            (World::Pending, "", None),
            (World::Pending, "a", None),
            (
                World::Unusable(Arc::new(vec!["odd Config".into()])),
                "",
                Some("odd Config"),
            ),
            (known(&[]), "", Some("no location")),
            (known(&[]), "a", Some("there is no location a")),
            (known(&[("a", LocationState::Pending)]), "", None),
            (known(&[("a", LocationState::Pending)]), "a", None),
            (known(&[("a", broken())]), "", Some("broken")),
            (known(&[("a", broken())]), "a", Some("broken")),
            // It may be where nobody has looked yet.
            (
                known(&[("a", broken()), ("b", LocationState::Pending)]),
                "",
                None,
            ),
        ] {
            match (candidates(&world, location), problem) {
                (Candidates::Unknown, None) => {}
                (Candidates::Unusable(reasons), Some(problem)) => {
                    assert!(reasons.join("; ").contains(problem), "{reasons:?}");
                }
                _ => panic!("{world:?} {location:?}: not {problem:?}"),
            }
        }
    }
}
