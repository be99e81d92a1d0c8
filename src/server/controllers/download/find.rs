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
use crate::server::settings::{Candidates, Place, World, location_of};

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
        let (places, unseen) = match places(&world, backup.as_ref()) {
            Ok(places) => places,
            Err(found) => return Ok((run, found)),
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
        let (places, unseen) = match places(&world, backup.as_ref()) {
            Ok(places) => places,
            Err(found) => return Ok((run, found)),
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

/// Returns where something of a backup may be, and the names of locations that cannot be looked into.
fn places(world: &World, backup: Option<&Backup>) -> Result<(Vec<Arc<Place>>, Vec<String>), Found> {
    match world.candidates(backup.map_or("", location_of)) {
        Candidates::Unknown => Err(Found::Unknown),
        Candidates::Unusable(reasons) => Err(Found::Unusable(reasons.to_vec())),
        Candidates::NoLocation => Err(Found::Unusable(vec![
            "the server has been told of no location; make a Config or a BackupStorageLocation"
                .to_owned(),
        ])),
        Candidates::Places(places, unseen) => Ok((places, unseen)),
    }
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
    use crate::server::settings::LocationState;
    use crate::server::settings::testing::known;

    #[test]
    fn what_cannot_be_looked_for_is_said_and_what_will_be_is_waited_for() {
        let broken = LocationState::Unusable(Arc::new(vec!["broken".into()]));
        for (world, problem) in [
            (World::Pending, None),
            (known(&[]), Some("no location")),
            (known(&[("a", LocationState::Pending)]), None),
            (known(&[("a", broken)]), Some("broken")),
        ] {
            match (places(&world, None), problem) {
                (Err(Found::Unknown), None) => {}
                (Err(Found::Unusable(reasons)), Some(problem)) => {
                    assert!(reasons.join("; ").contains(problem), "{reasons:?}");
                }
                _ => panic!("{world:?}: not {problem:?}"),
            }
        }
    }
}
