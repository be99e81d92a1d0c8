//! What is done about a single backup, stored or shown.

use kube::api::{DeleteParams, DynamicObject, Preconditions};

use super::decide::{self, Decision, Extent, Resource, Seen};
use super::look::Look;
use crate::api::error::chain;
use crate::api::{Backup, DeleteBackupRequestPhase};
use crate::server::controllers::backup::decide::{owns, pinned};
use crate::server::engines::Unread;
use crate::server::objects::Entry;
use crate::server::settings::{Whereabouts, location_of};
use crate::server::status::{self, Read, StatusError};

/// What came of one stored backup.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Its record, if that can be shown.
    pub(super) seen: Option<Seen>,
    /// The UID of the Backup that keeps it from being shown.
    pub(super) hidden_by: Option<String>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// It has to be looked at again, whether the location changes or not.
    pub(super) again: bool,
}

impl Settled {
    fn problem(problem: String) -> Self {
        Self {
            problem: Some(problem),
            ..Self::default()
        }
    }

    fn again(problem: Option<String>) -> Self {
        Self {
            problem,
            again: true,
            ..Self::default()
        }
    }
}

/// What the default location holds under a name, if that is another one than the one that is looked into.
#[derive(Debug)]
enum InDefault {
    /// Nothing, or it is the same location, or there is none.
    Nothing,
    /// In the one of this name, this record.
    Record(String, Box<Backup>),
    /// It will be known soon.
    Pending,
    /// It cannot be asked now.
    NoAnswer,
}

impl Look {
    /// Deals with one stored backup.
    pub(super) async fn settle(&self, name: String, extent: Extent) -> (String, Settled) {
        let settled = match self.settle_seen(&name, extent).await {
            Some(settled) => settled,
            None => self.act(&name).await.unwrap_or_else(|settled| settled),
        };
        (name, settled)
    }

    /// Deals with a backup about which there is nothing to do, as far as the watch tells; else returns `None`.
    async fn settle_seen(&self, name: &str, extent: Extent) -> Option<Settled> {
        let entry = self.context.watched.backups.get(name)?;
        let is_location = |name: &str| self.world.has(name);
        let shown = |seen: &Seen| {
            let backup = entry.object.as_ref();
            backup.is_ok_and(|backup| decide::is_shown(backup, seen, &self.place.name, is_location))
        };
        if extent == Extent::New
            && let Some(seen) = self.memory.seen.get(name)
            && shown(seen)
        {
            return Some(Settled {
                seen: Some(seen.clone()),
                ..Settled::default()
            });
        }
        let record = match self.record(name).await {
            Ok(record) => record,
            Err(settled) => return Some(settled),
        };
        let resource = match &entry.object {
            Ok(backup) => Resource::Backup(backup),
            Err(_) => Resource::Unreadable,
        };
        match decide::decide(resource, &record, &self.place.name, is_location) {
            Decision::Nothing => Some(Settled {
                seen: Some(seen(&record)),
                ..Settled::default()
            }),
            Decision::Hidden(problem) => Some(hidden(&record, entry.uid, problem)),
            Decision::Create | Decision::Finish | Decision::Pin | Decision::Replace => None,
        }
    }

    /// Does what is to be done about a stored backup.
    ///
    /// The cluster is asked first and the store after that: a deletion removes the record before the resource, so that
    /// a record which is there after its resource was not found is none that is being deleted.
    async fn act(&self, name: &str) -> Result<Settled, Settled> {
        let api = &self.context.apis.backups;
        let found = api.get_opt(name).await.map_err(|error| {
            let error = chain(&error);
            Settled::again(Some(format!(
                "backup {name}: the Backup cannot be read: {error}"
            )))
        })?;
        let found = found.map(|object| {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            (uid, Read::<Backup>::of(&object))
        });
        let record = self.record(name).await?;
        let resource = match &found {
            None => Resource::None,
            Some((_, Err(_))) => Resource::Unreadable,
            Some((_, Ok(read))) => Resource::Backup(&read.object),
        };
        let is_location = |name: &str| self.world.has(name);
        let decision = decide::decide(resource, &record, &self.place.name, is_location);
        let read = found.as_ref().and_then(|(_, read)| read.as_ref().ok());
        match (decision, read) {
            (Decision::Create, _) => self.create(name, &record).await?,
            (Decision::Finish, Some(read)) => self.finish(read, &record).await?,
            (Decision::Pin, Some(read)) => self.pin(read).await?,
            (Decision::Replace, Some(read)) => {
                tracing::info!(
                    backup = name,
                    location = self.place.name,
                    "the backup that was stored under this name is gone, and another one is there"
                );
                self.delete(name, &read.uid, &read.resource_version).await?;
                self.create(name, &record).await?;
            }
            (Decision::Hidden(problem), _) => {
                let uid = found.map(|(uid, _)| uid).unwrap_or_default();
                return Ok(hidden(&record, uid, problem));
            }
            (Decision::Nothing | Decision::Finish | Decision::Pin | Decision::Replace, _) => {}
        }
        Ok(Settled {
            seen: Some(seen(&record)),
            ..Settled::default()
        })
    }

    /// Reads a record that can be shown.
    async fn record(&self, name: &str) -> Result<Backup, Settled> {
        match self.place.location.try_record(name).await {
            Ok(Some(record)) => {
                decide::check(&record.backup).map_err(Settled::problem)?;
                Ok(record.backup)
            }
            // It went after the listing.
            Ok(None) => Err(Settled::default()),
            Err(Unread::Broken(error)) => Err(Settled::problem(format!("backup {name}: {error}"))),
            Err(Unread::NotGiven(error)) => {
                Err(Settled::again(Some(format!("backup {name}: {error}"))))
            }
        }
    }

    /// Makes the Backup that shows a record.
    async fn create(&self, name: &str, record: &Backup) -> Result<(), Settled> {
        if self.is_being_deleted(name) {
            return Err(Settled::again(None));
        }
        // The default location comes first, unless nobody knows what it has.
        match self.in_default(name).await {
            InDefault::Record(_, other) if other.metadata.uid == record.metadata.uid => {
                return Err(Settled::again(None));
            }
            InDefault::Record(location, other) if decide::check(&other).is_ok() => {
                return Err(Settled::again(Some(decide::hidden(name, &location))));
            }
            InDefault::Pending => return Err(Settled::again(None)),
            InDefault::Record(..) | InDefault::Nothing | InDefault::NoAnswer => {}
        }
        let refused = |error: String| format!("backup {name} cannot be shown: {error}");
        let image = decide::image(record, &self.place.name);
        let object: DynamicObject = serde_json::to_value(&image)
            .and_then(serde_json::from_value)
            .map_err(|error| Settled::problem(refused(error.to_string())))?;
        let params = status::post_params();
        let created = match self.context.apis.backups.create(&params, &object).await {
            Ok(created) => created,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                return Err(Settled::again(None));
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
                return Err(Settled::problem(refused(status.message.clone())));
            }
            Err(error) => return Err(Settled::again(Some(refused(chain(&error))))),
        };
        tracing::info!(
            backup = name,
            location = self.place.name,
            "a stored backup is shown as a Backup"
        );
        let read = Read::of(&created).map_err(|error| Settled::problem(refused(error)))?;
        self.finish(&read, record).await
    }

    /// Returns whether a deletion of the stored backup of this name goes on.
    fn is_being_deleted(&self, name: &str) -> bool {
        let requests = self.context.watched.deletions.select(|entry| {
            entry.object.as_ref().is_ok_and(|request| {
                let phase = request.status.as_ref().map(|status| &status.phase);
                request.spec.backup_name == name
                    && phase == Some(&DeleteBackupRequestPhase::InProgress)
            })
        });
        !requests.is_empty()
    }

    /// Gives a Backup the status that its record has.
    async fn finish(&self, read: &Read<Backup>, record: &Backup) -> Result<(), Settled> {
        let status = record.status.clone().unwrap_or_default();
        let api = &self.context.apis.backups;
        let mut result = read.replace_status(api, &status).await;
        if matches!(result, Err(StatusError::Changed)) {
            // Somebody labels what is new.
            let still_new = |now: &Backup| decide::has_no_status(now).then(|| status.clone());
            result = status::update(api, &read.name, &read.uid, &still_new).await;
        }
        written(&read.name, result)
    }

    /// Writes into a Backup that it is kept here.
    async fn pin(&self, read: &Read<Backup>) -> Result<(), Settled> {
        if location_of(&read.object).is_empty() {
            // One that names no location is kept in the default one, or here if that does not have it.
            match self.in_default(&read.name).await {
                InDefault::Record(_, record) if owns(&read.object, &record) => return Ok(()),
                InDefault::Record(..) | InDefault::Nothing => {}
                InDefault::Pending | InDefault::NoAnswer => return Err(Settled::again(None)),
            }
        }
        let Some(patch) = pinned(
            &read.object,
            &self.place.name,
            &read.object.spec.volume_snapshot_locations,
        ) else {
            return Ok(());
        };
        let patched = read.patch(&self.context.apis.backups, patch).await;
        written(&read.name, patched.map(drop))
    }

    /// Returns what the default location, if that is another one, holds under a name.
    async fn in_default(&self, name: &str) -> InDefault {
        match self.world.find("") {
            Whereabouts::At(default) if default.name == self.place.name => InDefault::Nothing,
            Whereabouts::At(default) => match default.location.record(name).await {
                Ok(Some(record)) => {
                    InDefault::Record(default.name.clone(), Box::new(record.backup))
                }
                Ok(None) => InDefault::Nothing,
                Err(_) => InDefault::NoAnswer,
            },
            Whereabouts::Unknown if self.world.default_is_pending() => InDefault::Pending,
            Whereabouts::Unknown => InDefault::Nothing,
            Whereabouts::Unusable(_) => InDefault::NoAnswer,
        }
    }

    /// Removes a Backup that stands for one which was not in the listing.
    pub(super) async fn remove(&self, name: String, entry: Entry<Backup>) -> (String, Settled) {
        let settled = match self.place.location.try_record(&name).await {
            Ok(None) => {
                let deleted = self
                    .delete(&name, &entry.uid, &entry.resource_version)
                    .await;
                if deleted.is_ok() {
                    tracing::info!(
                        backup = name,
                        location = self.place.name,
                        "a Backup is removed whose data is not in its location any more"
                    );
                }
                deleted.err().unwrap_or_default()
            }
            // Stored since the listing; the next one has it.
            Ok(Some(_)) | Err(Unread::Broken(_)) => Settled::again(None),
            Err(Unread::NotGiven(error)) => Settled::again(Some(format!("backup {name}: {error}"))),
        };
        (name, settled)
    }

    /// Deletes the Backup of this name if it is the one that was seen, and has not changed since.
    async fn delete(&self, name: &str, uid: &str, version: &str) -> Result<(), Settled> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        match self.context.apis.backups.delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(Settled::again(None)),
            Err(error) => Err(Settled::again(Some(format!(
                "backup {name}: the Backup cannot be removed: {}",
                chain(&error)
            )))),
        }
    }
}

fn seen(record: &Backup) -> Seen {
    let status = record.status.as_ref();
    Seen {
        uid: record.metadata.uid.clone().unwrap_or_default(),
        cluster_id: status.and_then(|status| status.cluster_id.clone()),
        foreign: !record.is_ours(),
    }
}

fn hidden(record: &Backup, by: String, problem: String) -> Settled {
    Settled {
        seen: Some(seen(record)),
        hidden_by: Some(by),
        problem: Some(problem),
        again: false,
    }
}

/// Returns what follows from a write that needed the version that was read.
fn written(name: &str, result: Result<(), StatusError>) -> Result<(), Settled> {
    match result {
        Ok(()) | Err(StatusError::Gone) => Ok(()),
        Err(StatusError::Changed | StatusError::NotLeading) => Err(Settled::again(None)),
        Err(error @ StatusError::Failed(_)) => Err(Settled::again(Some(format!(
            "backup {name}: {}",
            chain(&error)
        )))),
    }
}
