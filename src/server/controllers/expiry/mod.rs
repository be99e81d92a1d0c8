//! Clears away what nobody needs any more: asks for the removal of expired backups, drops requests that are through, and
//! takes the finalizer of Ark 0.7 off Backups, which would keep them for ever.
//!
//! One look goes over everything that the watches have told, whenever that changes or a time has come; the rules are in
//! `decide`. What dead runs left in the locations is cleared away in `debris`.

pub(crate) mod debris;
mod decide;
pub(crate) mod pending;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::decide::{Action, Facts, Id, Plan};
use super::Context;
use super::deletion::delete;
use crate::api::error::chain;
use crate::api::{Backup, labels};
use crate::server::leader::Term;
use crate::server::objects::{Objects, any_changed};
use crate::server::settings::{Whereabouts, location_of};
use crate::server::status;

/// The pause after something could not be done.
const PAUSE: Duration = Duration::from_secs(5);

/// Clears away until the term is over or `stopping` is cancelled.
pub(crate) async fn run(
    context: Arc<Context>,
    term: Term,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    // What is broken off is begun anew by whoever leads next.
    tokio::select! {
        ended = clear(&context) => match ended? {},
        () = term.lost().cancelled() => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

async fn clear(context: &Context) -> anyhow::Result<Infallible> {
    let watched = &context.watched;
    let mut changes = [
        watched.backups.changes(),
        watched.deletions.changes(),
        watched.restores.changes(),
        watched.schedules.changes(),
    ];
    let mut world = context.world.clone();
    loop {
        for receiver in &mut changes {
            receiver.mark_unchanged();
        }
        world.mark_unchanged();
        let plan = plan(context);
        let mut failed = false;
        for action in plan.actions {
            if let Err(error) = act(context, &action).await {
                tracing::warn!(?action, error, "cannot clear away; trying again");
                failed = true;
            }
        }
        tokio::select! {
            changed = any_changed(&mut changes) => changed?,
            changed = world.changed() => changed?,
            () = context.clock.sleep_until(plan.next.unwrap_or(Timestamp::MAX)), if plan.next.is_some() => {}
            () = tokio::time::sleep(PAUSE), if failed => {}
        }
    }
}

fn plan(context: &Context) -> Plan {
    let watched = &context.watched;
    let (backups, requests) = (all(&watched.backups), all(&watched.deletions));
    let (restores, schedules) = (all(&watched.restores), all(&watched.schedules));
    let world = context.world.borrow().clone();
    let facts = Facts {
        backups: &refs(&backups),
        requests: &refs(&requests),
        restores: &refs(&restores),
        schedules: &refs(&schedules),
        cluster_id: &context.cluster_id,
        active: world.settings().is_some() && !world.restore_only(),
        is_removable: &|backup| match world.find(location_of(backup)) {
            Whereabouts::At(place) => place.is_writable(),
            Whereabouts::Unknown | Whereabouts::Unusable(_) => false,
        },
    };
    decide::plan(&facts, context.clock.now())
}

/// Returns all objects that can be read.
fn all<K: Send + Sync>(objects: &Objects<K>) -> Vec<Arc<K>> {
    let entries = objects.select(|entry| entry.object.is_ok());
    entries
        .into_iter()
        .filter_map(|(_, entry)| entry.object.ok())
        .collect()
}

fn refs<K>(objects: &[Arc<K>]) -> Vec<&K> {
    objects.iter().map(AsRef::as_ref).collect()
}

async fn act(context: &Context, action: &Action) -> Result<(), String> {
    let apis = &context.apis;
    match action {
        Action::Strip(backup) => strip(&apis.backups, backup).await,
        Action::Expire { backup, replaces } => expire(context, backup, replaces.as_ref()).await,
        Action::Stamp((name, uid)) => {
            let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(context.clock.now());
            let fields = json!({ "completionTimestamp": time });
            match status::patch_fields(&apis.deletions, name, uid, fields).await {
                Ok(()) | Err(status::StatusError::Gone | status::StatusError::Changed) => Ok(()),
                Err(error) => Err(chain(&error)),
            }
        }
        Action::Forget((name, uid)) => delete(&apis.deletions, name, uid).await,
    }
}

/// Asks for the removal of an expired backup; the deletion controller does the rest.
async fn expire(context: &Context, backup: &Id, replaces: Option<&Id>) -> Result<(), String> {
    let apis = &context.apis;
    let (name, uid) = backup;
    // Somebody may just have given it more time.
    let read = status::get::<Backup>(&apis.backups, name, uid).await;
    let due = match read.map_err(|error| chain(&error))? {
        Some(Ok(read)) => decide::expires(&read.object),
        Some(Err(_)) | None => None,
    };
    if due.is_none_or(|time| time > context.clock.now()) {
        return Ok(());
    }
    if let Some((name, uid)) = replaces {
        delete(&apis.deletions, name, uid).await?;
    }
    let object: DynamicObject = serde_json::to_value(decide::request(backup))
        .and_then(serde_json::from_value)
        .map_err(|error| chain(&error))?;
    let params = status::post_params();
    match apis.deletions.create(&params, &object).await {
        Ok(_) => {
            tracing::info!(backup = name, "the backup has expired; it is removed");
            Ok(())
        }
        // Asked for already, which the watch has yet to tell.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

/// Takes Ark 0.7's finalizer off a Backup.
async fn strip(api: &Api<DynamicObject>, (name, uid): &Id) -> Result<(), String> {
    let found = api.get_opt(name).await.map_err(|error| chain(&error))?;
    let Some(object) = found.filter(|object| object.metadata.uid.as_ref() == Some(uid)) else {
        return Ok(());
    };
    let mut finalizers = object.metadata.finalizers.unwrap_or_default();
    finalizers.retain(|name| name != labels::LEGACY_FINALIZER);
    let patch = json!({"metadata": {
        "uid": uid,
        "resourceVersion": object.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let params = status::patch_params();
    match api.patch(name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            tracing::info!(backup = name, "took the finalizer of an early Ark off");
            Ok(())
        }
        // Gone, or changed meanwhile: the watch tells.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}
