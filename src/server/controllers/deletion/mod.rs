//! The deletion controller: removes what is stored of a backup, the restores made from it, and its resource.
//!
//! Nothing is written to the store, so that a full one is no obstacle, and what is gone already is fine. Every step may be repeated: a request that a dead server left `InProgress` is carried out again from the start.

pub(crate) mod decide;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, Preconditions};
use serde_json::{Map, Value, json};

use self::decide::{Decision, Location};
use super::Context;
use super::dispatch::{Controller, Outcome, Task};
use super::malformed;
use crate::api::error::chain;
use crate::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase as Phase,
    DeleteBackupRequestStatus, Restore, labels, names,
};
use crate::server::engines::{self, Removal};
use crate::server::events::Happening;
use crate::server::leader::{Standing, Term};
use crate::server::objects::parse;
use crate::server::settings::{Place, Whereabouts, location_of};
use crate::server::status::{self, Read, StatusError};

/// The deletion controller.
#[derive(Debug)]
pub(crate) struct Deletions {
    context: Arc<Context>,
    /// The backups that are being deleted: two requests for one backup are not carried out side by side.
    busy: Mutex<HashSet<String>>,
}

/// Keeps others from deleting a backup while it is there.
struct Turn<'a> {
    busy: &'a Mutex<HashSet<String>>,
    backup: String,
}

impl<'a> Turn<'a> {
    /// Returns nothing if somebody else deletes the backup.
    fn take(busy: &'a Mutex<HashSet<String>>, backup: &str) -> Option<Self> {
        let mut names = busy.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(backup.to_owned()).then(|| Self {
            busy,
            backup: backup.to_owned(),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut names = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        names.remove(&self.backup);
    }
}

/// A deletion that goes on.
struct Deletion<'a> {
    task: &'a Task,
    backup: Option<&'a Read<Backup>>,
    name: &'a str,
    /// The UID of the resource.
    uid: String,
    /// The UID in the stored record.
    owner: String,
    restores: Vec<(String, String)>,
    /// Whether its snapshots stay.
    keep_snapshots: bool,
    /// Where it is stored; `None` for one that never was.
    place: Option<&'a Place>,
}

impl Controller for Deletions {
    type Object = DeleteBackupRequest;

    const KIND: &'static str = "DeleteBackupRequest";

    fn wants(&self, request: &DeleteBackupRequest) -> bool {
        let phase = request.status.as_ref().map(|status| &status.phase);
        matches!(phase, None | Some(Phase::New | Phase::InProgress))
    }

    async fn work(self: Arc<Self>, task: Task, term: Term) -> Outcome {
        let api = &self.context.apis.deletions;
        if let Some(problem) = &task.malformed {
            return malformed::refuse(api, &task, problem, Phase::Processed.as_str(), "errors")
                .await;
        }
        match status::get::<DeleteBackupRequest>(api, &task.name, &task.uid).await {
            Ok(Some(Ok(read))) if self.wants(&read.object) => {
                let Some(_turn) = Turn::take(&self.busy, &read.object.spec.backup_name) else {
                    return Outcome::Retry;
                };
                match self.look(&task, &read, &term).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => {
                        tracing::warn!(request = task.name, error, "a deletion is tried again");
                        Outcome::Retry
                    }
                }
            }
            Ok(_) => Outcome::Done,
            Err(error) => {
                tracing::warn!(request = task.name, %error, "cannot read a DeleteBackupRequest");
                Outcome::Retry
            }
        }
    }
}

impl Deletions {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            busy: Mutex::default(),
        }
    }

    async fn look(
        &self,
        task: &Task,
        read: &Read<DeleteBackupRequest>,
        term: &Term,
    ) -> Result<(), String> {
        let request = &read.object;
        let name = request.spec.backup_name.as_str();
        let backup = self.find(name).await?;
        let restores = self.restores_of(name);
        let running: Vec<String> = restores
            .iter()
            .filter(|(_, _, running)| *running)
            .map(|(name, _, _)| name.clone())
            .collect();
        let world = self.context.world.borrow().clone();
        // A request that was taken up says where the backup was, for when its resource is gone.
        let noted = request.metadata.annotations.as_ref();
        let noted = noted.and_then(|notes| notes.get(labels::STORAGE_LOCATION));
        let known = backup
            .as_ref()
            .map(|read| location_of(&read.object))
            .or(noted.map(String::as_str));
        let whereabouts = world.find(known.unwrap_or_default());
        let stored_nothing = backup.as_ref().is_some_and(|read| {
            decide::stored_nothing(&read.object) && decide::is_same(request, name, &read.uid)
        });
        let (location, place) = match &whereabouts {
            _ if world.restore_only() => (Location::RestoreOnly, None),
            _ if stored_nothing && world.settings().is_some() => (Location::Unneeded, None),
            // What has not been looked at would count as missing.
            _ if world.snapshots_are_pending() => (Location::Unknown, None),
            Whereabouts::Unknown => (Location::Unknown, None),
            Whereabouts::Unusable(reasons) => (Location::Unusable(reasons), None),
            Whereabouts::At(place) if !place.is_writable() => {
                (Location::ReadOnly(&place.name), None)
            }
            Whereabouts::At(place) => {
                let foreign = match place.location.record(name).await {
                    Ok(record) => record.is_some_and(|record| record.foreign),
                    Err(error) => {
                        // Said again by the removal if it lasts.
                        tracing::warn!(backup = name, error, "cannot look at what is stored");
                        false
                    }
                };
                let lock = match place.location.lock(name).await {
                    Ok(lock) => lock,
                    // Nothing is removed of what may be locked.
                    Err(problem) => {
                        if let Some(backup) = &backup {
                            let happening = Happening::warning("DeletionFailed", problem.clone());
                            self.context.events.say(&backup.object, happening);
                        }
                        return self.refuse(task, read, vec![problem]).await;
                    }
                };
                (Location::Usable { foreign, lock }, Some(place))
            }
        };
        let resource = backup.as_ref().map(|read| &read.object);
        let now = self.context.clock.now();
        let decision = decide::decide(request, resource, &running, location, now);
        match (decision, place) {
            (Decision::Process(errors), _) => return self.refuse(task, read, errors).await,
            (Decision::Wait(end, problem), _) => {
                if let Some(backup) = &backup {
                    self.keep(backup, end, &problem).await?;
                }
                return self.refuse(task, read, vec![problem]).await;
            }
            (Decision::Delete { uid, owner }, place) => {
                if term.confirm().await != Standing::Held {
                    return Err("this server cannot be sure that it leads".to_owned());
                }
                let deletion = Deletion {
                    task,
                    // A Backup that only has the name of the one meant stays.
                    backup: backup.as_ref().filter(|read| read.uid == uid),
                    name,
                    uid,
                    owner,
                    restores: restores
                        .into_iter()
                        .map(|(name, uid, _)| (name, uid))
                        .collect(),
                    keep_snapshots: request.spec.keep_snapshots,
                    place: place.map(AsRef::as_ref),
                };
                return self.delete(read, &deletion).await;
            }
            (Decision::Nothing, _) => {}
        }
        Ok(())
    }

    /// Says why nothing is removed.
    async fn refuse(
        &self,
        task: &Task,
        read: &Read<DeleteBackupRequest>,
        errors: Vec<String>,
    ) -> Result<(), String> {
        tracing::info!(
            request = task.name,
            errors = errors.join("; "),
            "a deletion is refused"
        );
        let api = &self.context.apis.deletions;
        let status = decide::processed(errors, self.context.clock.now());
        let written = read.replace_status(api, &status).await;
        written.map_err(|error| chain(&error))
    }

    /// Notes on a Backup until when it stays, so that it expires no sooner.
    async fn keep(
        &self,
        backup: &Read<Backup>,
        end: Option<Timestamp>,
        problem: &str,
    ) -> Result<(), String> {
        if let Some(end) = end {
            let patch = json!({"metadata": {
                "uid": backup.uid,
                "annotations": {labels::LOCKED_UNTIL: end.to_string()},
            }});
            let api = &self.context.apis.backups;
            let params = status::patch_params();
            match api
                .patch(&backup.name, &params, &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        let happening = Happening::warning("Locked", problem);
        self.context.events.say(&backup.object, happening);
        Ok(())
    }

    /// Reads the Backup of this name. One that cannot be read cannot be deleted either: nobody knows whose data it owns.
    async fn find(&self, name: &str) -> Result<Option<Read<Backup>>, String> {
        if name.is_empty() {
            return Ok(None);
        }
        let api = &self.context.apis.backups;
        let found = api.get_opt(name).await.map_err(|error| chain(&error))?;
        let Some(uid) = found.and_then(|object| object.metadata.uid) else {
            return Ok(None);
        };
        match status::get::<Backup>(api, name, &uid).await {
            Ok(Some(read)) => read.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Returns name, UID and whether it goes on, of every Restore from a backup.
    fn restores_of(&self, backup: &str) -> Vec<(String, String, bool)> {
        let of_backup = |restore: &Restore| restore.spec.backup_name == backup;
        self.context
            .watched
            .restores
            .select(|entry| {
                entry
                    .object
                    .as_ref()
                    .is_ok_and(|restore| of_backup(restore))
            })
            .into_iter()
            .map(|(name, entry)| {
                let running = entry.object.is_ok_and(|restore| {
                    restore
                        .status
                        .as_ref()
                        .is_some_and(|status| status.phase.is_running())
                });
                (name, entry.uid, running)
            })
            .collect()
    }

    /// Takes the request and removes everything, what can be removed first to last.
    async fn delete(
        &self,
        read: &Read<DeleteBackupRequest>,
        deletion: &Deletion<'_>,
    ) -> Result<(), String> {
        let apis = &self.context.apis;
        let Deletion { task, name, .. } = deletion;
        self.label(deletion).await?;
        self.drop_others(deletion).await?;
        let status = DeleteBackupRequestStatus {
            phase: Phase::InProgress,
            ..DeleteBackupRequestStatus::default()
        };
        status::update::<DeleteBackupRequest, _>(&apis.deletions, &task.name, &task.uid, &|_| {
            Some(status.clone())
        })
        .await
        .map_err(|error| chain(&error))?;
        tracing::info!(backup = name, "deleting a backup");
        // Nobody can begin anything with a Backup that was refused; and its phase says that nothing is stored.
        if let Some(backup) = deletion.backup
            && deletion.place.is_some()
        {
            let status = crate::api::BackupStatus {
                phase: BackupPhase::Deleting,
                ..backup.object.status.clone().unwrap_or_default()
            };
            // The version in this write keeps a run from beginning at the same moment.
            match backup.replace_status(&apis.backups, &status).await {
                Ok(()) => self.context.events.backup(&backup.object, &status),
                Err(StatusError::Gone) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        let errors = self.remove(deletion).await;
        let clean = errors.is_empty();
        if clean {
            tracing::info!(backup = name, "the backup is deleted");
        } else {
            tracing::error!(
                backup = name,
                errors = errors.join("; "),
                "the backup could not be deleted completely"
            );
            if let Some(backup) = deletion.backup {
                let happening = Happening::warning("DeletionFailed", errors.join("; "));
                self.context.events.say(&backup.object, happening);
            }
        }
        let status = decide::processed(errors, self.context.clock.now());
        match status::update::<DeleteBackupRequest, _>(
            &apis.deletions,
            &read.name,
            &read.uid,
            &|_| Some(status.clone()),
        )
        .await
        {
            Ok(()) | Err(StatusError::Gone) => {}
            Err(error) => return Err(chain(&error)),
        }
        if clean {
            self.forget_requests(deletion).await?;
        }
        Ok(())
    }

    /// Writes for which backup a request is, so that a later server need not guess.
    async fn label(&self, deletion: &Deletion<'_>) -> Result<(), String> {
        let annotations: Map<String, Value> = deletion
            .place
            .map(|place| {
                let name = place.name.clone().into();
                (labels::STORAGE_LOCATION.to_owned(), name)
            })
            .into_iter()
            .collect();
        let patch = json!({"metadata": {
            "uid": deletion.task.uid,
            "labels": {
                labels::BACKUP_NAME: names::label_value(deletion.name),
                labels::BACKUP_UID: deletion.uid,
            },
            "annotations": annotations,
        }});
        let params = status::patch_params();
        let api = &self.context.apis.deletions;
        match api
            .patch(&deletion.task.name, &params, &Patch::Merge(&patch))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Removes the other requests for the same backup: whatever they are about to do, this one does.
    async fn drop_others(&self, deletion: &Deletion<'_>) -> Result<(), String> {
        let api = &self.context.apis.deletions;
        let listed = api.list(&ListParams::default()).await;
        for request in listed.map_err(|error| chain(&error))? {
            let (Some(name), Some(uid)) = (&request.metadata.name, &request.metadata.uid) else {
                continue;
            };
            let same = parse::<DeleteBackupRequest>(&request)
                .is_ok_and(|request| decide::is_same(&request, deletion.name, &deletion.uid));
            if same && *uid != deletion.task.uid {
                delete(api, name, uid).await?;
            }
        }
        Ok(())
    }

    /// Removes snapshots, stored data, restores and resource; returns what could not be removed.
    async fn remove(&self, deletion: &Deletion<'_>) -> Vec<String> {
        // What goes wrong there is said, and keeps nothing: else the backup could never be removed.
        let said = self.act(deletion).await;
        let mut errors = self.remove_snapshots(deletion).await;
        // What is stored is all that knows of the snapshots.
        if errors.is_empty()
            && let Some(place) = deletion.place
        {
            errors = self.remove_stored(deletion, place).await;
        }
        let apis = &self.context.apis;
        if errors.is_empty()
            && let Some(backup) = deletion.backup
            && let Err(error) = delete(&apis.backups, &backup.name, &backup.uid).await
        {
            errors.push(format!(
                "the resource of backup {} could not be removed: {error}",
                backup.name
            ));
        }
        errors.splice(0..0, said);
        errors
    }

    /// Has delete item actions look at what is still there.
    async fn act(&self, deletion: &Deletion<'_>) -> Vec<String> {
        let Some(place) = deletion.place else {
            return Vec::new();
        };
        let actions = self.context.actions().await;
        if actions.delete.is_empty() && actions.problems.is_empty() {
            return Vec::new();
        }
        let (location, cluster) = (&place.location, &self.context.cluster);
        let Deletion { name, owner, .. } = deletion;
        location
            .act_before_deletion(name, owner, &actions, cluster)
            .await
    }

    /// Removes the snapshots that the record names, and those that no record does.
    async fn remove_snapshots(&self, deletion: &Deletion<'_>) -> Vec<String> {
        if deletion.keep_snapshots {
            tracing::warn!(backup = deletion.name, "its snapshots stay, as was asked");
            return Vec::new();
        }
        let snapshotters = self.context.snapshotters(None);
        let mut errors = Vec::new();
        if let Some(place) = deletion.place {
            let location = &place.location;
            let removed = location.delete_snapshots(deletion.name, &deletion.owner, &snapshotters);
            errors.extend(removed.await);
        }
        if let Some(backup) = deletion.backup {
            let left = engines::remove_pending_snapshots(&snapshotters, &backup.object).await;
            errors.extend(left.into_iter().map(|(_, problem)| problem));
        }
        for error in &mut errors {
            error
                .push_str("; `ark backup delete --keep-snapshots` removes the backup without them");
        }
        errors
    }

    async fn remove_stored(&self, deletion: &Deletion<'_>, place: &Place) -> Vec<String> {
        let apis = &self.context.apis;
        let location = &place.location;
        let mut errors = Vec::new();
        let restores = match location.delete_backup(deletion.name, &deletion.owner).await {
            Ok(Removal::Done) => deletion.restores.as_slice(),
            // The restores were made from the backup that stays.
            Ok(Removal::NotOurs) => &[],
            Err(error) => {
                errors.push(error);
                &deletion.restores
            }
        };
        for (name, uid) in restores {
            // Its files go first: without the resource nobody would find them again.
            if let Err(error) = location.delete_restore(name).await {
                errors.push(format!(
                    "the files of restore {name} could not be removed: {error}"
                ));
                continue;
            }
            if let Err(error) = delete(&apis.restores, name, uid).await {
                errors.push(format!("restore {name} could not be removed: {error}"));
            }
        }
        errors
    }

    /// Removes the requests for a backup that is gone, this one included.
    async fn forget_requests(&self, deletion: &Deletion<'_>) -> Result<(), String> {
        let api = &self.context.apis.deletions;
        let selector = format!(
            "{}={},{}={}",
            labels::BACKUP_NAME,
            names::label_value(deletion.name),
            labels::BACKUP_UID,
            deletion.uid,
        );
        let params = ListParams::default().labels(&selector);
        for request in api.list(&params).await.map_err(|error| chain(&error))? {
            let (Some(name), Some(uid)) = (&request.metadata.name, &request.metadata.uid) else {
                continue;
            };
            // Labels are cut and hashed where names are long; the spec is exact.
            let same = parse::<DeleteBackupRequest>(&request)
                .is_ok_and(|request| request.spec.backup_name == deletion.name);
            if same {
                delete(api, name, uid).await?;
            }
        }
        Ok(())
    }
}

/// Deletes the object with this name and UID; one that is gone is fine.
pub(crate) async fn delete(
    api: &kube::Api<kube::api::DynamicObject>,
    name: &str,
    uid: &str,
) -> Result<(), String> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        // 409: another has the name now, which is not ours to delete.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}
