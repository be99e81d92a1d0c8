//! Sync: whatever is stored in a location is there as a Backup, whoever made it, and no Backup stays that stands for
//! something which is stored no more. The locations only tell; nothing is ever written to them.
//!
//! Each location is looked into on its own, at its own pace. A look that breaks off may be repeated at any point: what
//! it left half done the next one finishes.

pub(crate) mod decide;
mod look;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::decide::Memory;
use self::look::Look;
use super::Context;
use crate::server::leader::Term;
use crate::server::settings::{Place, World};

/// A location that is followed.
struct Followed {
    place: Arc<Place>,
    memory: Memory,
    next: Timestamp,
    look: Option<AbortHandle>,
}

impl Followed {
    fn new(place: Arc<Place>, now: Timestamp) -> Self {
        Self {
            place,
            memory: Memory::default(),
            next: now,
            look: None,
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // What is found with settings that do not count any more must not be acted on.
        if let Some(look) = &self.look {
            look.abort();
        }
    }
}

/// The end of a look.
type Ended = Result<(Id, Memory), JoinError>;

/// Follows all locations until the term is over or `stopping` is cancelled.
pub(crate) async fn run(
    context: Arc<Context>,
    term: Term,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let mut worlds = context.world.clone();
    let mut followed = BTreeMap::new();
    let mut looks: JoinSet<Memory> = JoinSet::new();
    let mut pending = false;
    loop {
        if stopping.is_cancelled() || term.lost().is_cancelled() {
            looks.shutdown().await;
            return Ok(());
        }
        let world = worlds.borrow_and_update().clone();
        let now = context.clock.now();
        follow(&context, &world, &mut followed, now);
        // What waited for the default location, which comes first, need not wait any longer.
        let was_pending = std::mem::replace(&mut pending, world.default_is_pending());
        if was_pending && !pending {
            for one in followed.values_mut() {
                one.next = now;
            }
        }
        for one in followed.values_mut() {
            if one.look.is_none() && one.next <= now {
                let look = Look {
                    context: Arc::clone(&context),
                    place: Arc::clone(&one.place),
                    world: world.clone(),
                    memory: std::mem::take(&mut one.memory),
                };
                one.next = after(now, one.place.sync_period);
                one.look = Some(looks.spawn(look.run()));
            }
        }
        let next = followed
            .values()
            .filter(|one| one.look.is_none())
            .map(|one| one.next)
            .min();
        tokio::select! {
            changed = worlds.changed() => changed?,
            Some(ended) = looks.join_next_with_id() => take(ended, &mut followed),
            () = context.clock.sleep_until(next.unwrap_or(Timestamp::MAX)), if next.is_some() => {}
            () = stopping.cancelled() => {}
            () = term.lost().cancelled() => {}
        }
    }
}

/// Takes up new and changed locations, and drops those that are gone or cannot be used.
fn follow(
    context: &Context,
    world: &World,
    followed: &mut BTreeMap<String, Followed>,
    now: Timestamp,
) {
    let places: BTreeMap<_, _> = world
        .places()
        .into_iter()
        .map(|place| (place.name.clone(), place))
        .collect();
    followed.retain(|name, _| places.contains_key(name));
    let mut fresh = BTreeSet::new();
    for (name, place) in places {
        match followed.get_mut(&name) {
            Some(one) if Arc::ptr_eq(&one.place, &place) => {}
            // Opened anew, as it is from time to time: the same backups, perhaps with other credentials.
            Some(one) if is_same(&one.place, &place) => {
                one.next = one.next.min(after(now, place.sync_period));
                one.place = place;
            }
            _ => {
                fresh.insert(name.clone());
                followed.insert(name, Followed::new(place, now));
            }
        }
    }
    context.notes.send_if_modified(|notes| {
        let before = notes.len();
        // What was noted of another location of the name does not count.
        notes.retain(|name, _| world.has(name) && !fresh.contains(name));
        notes.len() != before
    });
}

/// Returns whether what is known of a place holds for the other one.
fn is_same(before: &Place, now: &Place) -> bool {
    before.root == now.root && before.access == now.access && before.resource == now.resource
}

/// Notes what a look has found.
fn take(ended: Ended, followed: &mut BTreeMap<String, Followed>) {
    let (id, memory) = match ended {
        Ok(ended) => ended,
        Err(error) if error.is_cancelled() => return,
        Err(error) => {
            tracing::error!(%error, "a look into a location broke off");
            (error.id(), Memory::default())
        }
    };
    let is_its = |one: &&mut Followed| one.look.as_ref().is_some_and(|look| look.id() == id);
    if let Some(one) = followed.values_mut().find(is_its) {
        one.look = None;
        one.memory = memory;
    }
}

fn after(now: Timestamp, period: Duration) -> Timestamp {
    now.checked_add(period).unwrap_or(Timestamp::MAX)
}
