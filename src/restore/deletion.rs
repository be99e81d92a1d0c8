//! Has delete item actions look at the items of a backup that is about to be deleted.

use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::RestoreOptions;
use super::actions::id_of;
use super::open::Opened;
use super::report::list_names;
use super::select::Contents;
use crate::api::Backup;
use crate::archive::{IndexEntry, Limits, TypeKey};
use crate::cluster::{Cluster, Discovery};
use crate::providers::actions::{Actions, Chosen, DeleteItemAction, Item, RunDocument};
use crate::storage::Location;

/// Items that actions look at at once.
const LOOKS: usize = 8;
/// The most failures that are told one by one: they go into a status.
const TOLD: usize = 20;

/// Asks the delete item actions about all items of a stored backup that they are for. `backup` is its record.
///
/// May be repeated; then they are asked again. Returns what went wrong, a sentence each. None of it is a reason to keep
/// the backup: whoever wants it gone would never get rid of it.
pub async fn act_before_deletion(
    cluster: &Cluster,
    location: &Location,
    backup: &Backup,
    actions: &Actions,
) -> Vec<String> {
    let mut problems = actions.problems.clone();
    if actions.delete.is_empty() {
        return problems;
    }
    if let Err(why) = act(cluster, location, backup, actions, &mut problems).await {
        let names: Vec<&str> = actions.delete.iter().map(|action| action.name()).collect();
        problems.push(format!(
            "delete item actions ({}) were not asked about the items of this backup: {why}",
            list_names(&names)
        ));
    }
    problems
}

/// What is asked about an item.
struct Asked<'a> {
    place: usize,
    actions: Vec<&'a Arc<dyn DeleteItemAction>>,
}

async fn act(
    cluster: &Cluster,
    location: &Location,
    backup: &Backup,
    actions: &Actions,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let document = RunDocument::of_backup(backup).map_err(|error| error.to_string())?;
    let limits = Limits::with_max_entry(RestoreOptions::default().max_entry_size);
    let opened = Opened::open(location, backup, limits)
        .await
        .map_err(|error| error.to_string())?;
    // Without it, types are known by the names that the backup has of them.
    let target = cluster.discover().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the cluster's types are not known");
        Discovery::default()
    });
    let entries = opened.entries();
    let contents = Contents::of(entries);
    let resolve = |name: &str| contents.resolve(name, &target);
    let (chosen, more) = Chosen::ask(&actions.delete, resolve).await;
    problems.extend(more);
    let types = types(entries, &chosen);
    let asked = asked(entries, &types, &chosen);
    if asked.is_empty() {
        return Ok(());
    }
    tracing::info!(items = asked.len(), "delete item actions are asked");
    let mut failures = Vec::new();
    let places = asked.iter().map(|one| one.place).collect();
    let mut frames = pin!(opened.bodies(places));
    while let Some(frame) = frames.next().await {
        let bodies = match frame {
            Ok(bodies) => bodies,
            Err((places, error)) => {
                failures.extend(places.iter().map(|place| {
                    format!("{}: it cannot be read: {error}", entries[*place].path())
                }));
                continue;
            }
        };
        let mut said = stream::iter(bodies)
            .map(async |(place, body)| {
                let found = asked.binary_search_by_key(&place, |one| one.place);
                let actions = found.map_or(&[][..], |at| &asked[at].actions);
                let id = id_of(&entries[place]);
                let item = Item {
                    id: &id,
                    json: &body.bytes,
                };
                let mut failures = Vec::new();
                for action in actions {
                    if let Err(error) = action.execute(item, &document).await {
                        tracing::error!(item = %id, %error, "a delete item action failed");
                        failures.push(format!("{id}: {}", error.message));
                    }
                }
                failures
            })
            .buffered(LOOKS);
        while let Some(more) = said.next().await {
            failures.extend(more);
        }
    }
    let left = failures.len().saturating_sub(TOLD);
    problems.extend(failures.into_iter().take(TOLD));
    if left > 0 {
        problems.push(format!(
            "delete item actions failed {left} more times; the server's log names the items"
        ));
    }
    Ok(())
}

/// Returns the types whose objects actions may be for, each with their numbers.
fn types<'a>(
    entries: &'a [IndexEntry],
    chosen: &Chosen<dyn DeleteItemAction>,
) -> Vec<(&'a Arc<TypeKey>, Vec<usize>)> {
    let mut types: Vec<(&Arc<TypeKey>, Vec<usize>)> = Vec::new();
    for entry in entries {
        let key = &entry.type_key;
        if !types.iter().rev().any(|(known, _)| Arc::ptr_eq(known, key)) {
            types.push((key, chosen.for_type(&[&key.group_resource()])));
        }
    }
    types.retain(|(_, actions)| !actions.is_empty());
    types
}

/// Returns what is asked, in the order of the items.
fn asked<'a>(
    entries: &'a [IndexEntry],
    types: &'a [(&'a Arc<TypeKey>, Vec<usize>)],
    chosen: &'a Chosen<dyn DeleteItemAction>,
) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let of_type = types
            .iter()
            .find(|(key, _)| Arc::ptr_eq(key, &entry.type_key));
        let Some((_, of_type)) = of_type.filter(|_| !entry.outdated) else {
            continue;
        };
        let namespace = entry.namespace.as_deref().unwrap_or_default();
        let actions: Vec<_> = chosen.of(of_type, namespace, &entry.labels).collect();
        if !actions.is_empty() {
            asked.push(Asked { place, actions });
        }
    }
    asked
}
