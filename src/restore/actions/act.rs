//! Has the objects of a wave looked at by the actions that are for them, and restores them.
//!
//! A few objects are gone through together: each of their actions is asked in turn, side by side for all; what an action
//! names is restored before the next is asked. Nobody waits for an object that waits for others itself, so two that name
//! each other cannot wait for ever.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _, stream};

use super::{Becomes, id_of};
use crate::api::object::Object;
use crate::providers::actions::{Item, ItemId, RestoreItemAction};
use crate::restore::after::Afterwards;
use crate::restore::apply::Applier;
use crate::restore::open::Body;
use crate::restore::plan::Step;
use crate::restore::prepare::Draft;
use crate::restore::report::Outcome;
use crate::restore::transform;

/// The most objects that are gone through together.
const TOGETHER: usize = 32;
/// The most bytes of stored objects that are, unless one alone has more: there are several copies of each.
const TOGETHER_BYTES: usize = 1 << 20;
/// Objects that actions look at at once.
const LOOKS: usize = 8;
/// An object that actions look at.
pub(super) struct Acting<'a> {
    pub(super) draft: Draft<'a>,
    /// The object as the backup holds it.
    stored: Bytes,
    pub(super) id: ItemId,
    /// The actions that are still to be asked.
    actions: VecDeque<&'a Arc<dyn RestoreItemAction>>,
    pub(super) becomes: Becomes,
    /// What the last action named.
    pub(super) named: Vec<Naming<'a>>,
    /// Those of the others that are gone through with this one and have to be restored before it, by their entry.
    pub(super) needs: Vec<usize>,
    /// What of that the backup holds.
    pub(super) there: Vec<ItemId>,
    /// Who waits for that, and for how long.
    pub(super) waits: Option<(&'a Arc<dyn RestoreItemAction>, Duration)>,
    /// What is in its place, if an earlier attempt has put it there.
    found: Option<Bytes>,
}

/// An object that an action wants restored first.
pub(super) struct Naming<'a> {
    pub(super) id: ItemId,
    pub(super) by: &'a str,
    /// Whether the restore's filters are of no matter.
    pub(super) must: bool,
}

/// Splits objects so that few and small ones are together.
fn split<T>(items: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        let more = bytes + size(item);
        if at > start && (at - start >= TOGETHER || more > TOGETHER_BYTES) {
            parts.push(&items[start..at]);
            start = at;
            bytes = size(item);
        } else {
            bytes = more;
        }
    }
    if start < items.len() {
        parts.push(&items[start..]);
    }
    parts
}

impl<'p> Applier<'p> {
    /// Restores objects that actions are for.
    pub(in crate::restore) async fn act(&self, steps: &[Step]) {
        let size = |step: &Step| self.opened.entries()[step.entry].length as usize;
        for part in split(steps, size) {
            let mut part = part.to_vec();
            part.retain(|step| !self.patience.is_lost() && self.admits(step));
            let acting = self.take_up(&part).await;
            self.go_through(acting).await;
        }
    }

    /// Reads objects. What cannot be restored is reported and left out.
    async fn take_up(&self, steps: &[Step]) -> Vec<Acting<'_>> {
        let by_place: HashMap<usize, Step> = steps.iter().map(|step| (step.entry, *step)).collect();
        let places = steps.iter().map(|step| step.entry).collect();
        let mut frames = pin!(self.opened.bodies(places));
        let mut acting = Vec::with_capacity(steps.len());
        while let Some(frame) = frames.next().await {
            for (place, body) in self.unpack(frame) {
                if let Some(step) = by_place.get(&place) {
                    acting.extend(self.take_one(step, body).await);
                }
            }
        }
        acting
    }

    async fn take_one(&self, step: &Step, body: Body) -> Option<Acting<'_>> {
        // Copies: the frame that it is a part of must not stay for as long as actions take.
        let stored = Bytes::copy_from_slice(&body.bytes);
        let mut draft = match self.draft(step, body) {
            Ok(draft) => draft,
            Err(unprepared) => {
                self.end(step, unprepared.outcome);
                return None;
            }
        };
        draft.share = None;
        let entry = &self.opened.entries()[step.entry];
        let for_type = &self.types[step.planned_type].actions;
        let mut acting = Acting {
            draft,
            stored,
            id: id_of(entry),
            actions: VecDeque::new(),
            becomes: Becomes::default(),
            named: Vec::new(),
            needs: Vec::new(),
            there: Vec::new(),
            waits: None,
            found: None,
        };
        if let Some(kept) = self.actions.take_kept(step.entry) {
            acting.draft.object = match &kept.object {
                Some(object) => serde_json::from_slice(object).ok()?,
                None => acting.draft.object,
            };
            acting.becomes = kept;
        } else if let Some(found) = self.own_work(&acting.draft).await {
            acting.found = Some(found);
        } else {
            acting.actions = self.actions.of(for_type, entry).collect();
        }
        Some(acting)
    }

    /// Returns what is in an object's place if an earlier attempt of this restore has put it there.
    async fn own_work(&self, draft: &Draft<'_>) -> Option<Bytes> {
        if !self.actions.run.as_ref()?.resumed {
            return None;
        }
        let get = || {
            self.cluster
                .get(&draft.api_type, draft.namespace, draft.name)
        };
        // One that cannot be read is met later.
        let found = self.patience.send(get).await.ok()??;
        let existing: Object = serde_json::from_slice(&found).ok()?;
        self.is_own_work(&existing).then_some(found)
    }

    /// Asks the actions of some objects in turn, and restores the objects.
    fn go_through<'a>(&'a self, mut acting: Vec<Acting<'a>>) -> BoxFuture<'a, ()>
    where
        'p: 'a,
    {
        async move {
            loop {
                acting = self.those_needed_first(acting).await;
                let waits: Vec<_> = acting.iter().map(|one| self.until_ready(one)).collect();
                join_all(waits).await;
                for one in &mut acting {
                    one.waits = None;
                }
                if acting.iter().all(|one| one.actions.is_empty()) {
                    break;
                }
                // Boxed: of closures that live on, the compiler cannot show that they may change threads.
                let asking: Vec<BoxFuture<'a, _>> =
                    acting.drain(..).map(|one| self.ask(one).boxed()).collect();
                let mut asked = stream::iter(asking).buffered(LOOKS);
                while let Some((one, outcome)) = asked.next().await {
                    match outcome {
                        Some(outcome) => self.end(&one.draft.step, outcome),
                        None => acting.push(one),
                    }
                }
                drop(asked);
                self.restore_named(&mut acting).await;
            }
            let bringing: Vec<BoxFuture<'a, ()>> = acting
                .into_iter()
                .map(|one| self.bring_acted(one).boxed())
                .collect();
            stream::iter(bringing)
                .buffer_unordered(self.options.concurrency.max(1))
                .collect::<()>()
                .await;
        }
        .boxed()
    }

    /// Restores those that others of the same need before them; returns the others.
    async fn those_needed_first<'a>(&'a self, acting: Vec<Acting<'a>>) -> Vec<Acting<'a>>
    where
        'p: 'a,
    {
        let needed: HashSet<usize> = acting
            .iter()
            .flat_map(|one| one.needs.iter().copied())
            .collect();
        let (first, rest): (Vec<_>, Vec<_>) = acting
            .into_iter()
            .partition(|one| needed.contains(&one.draft.step.entry));
        if first.is_empty() || rest.is_empty() {
            // Each needs another: one has to begin.
            return first.into_iter().chain(rest).collect();
        }
        self.go_through(first).await;
        rest
    }

    /// Asks the next action about an object; the second value is how the object fares, if that is decided now.
    async fn ask<'a>(&self, mut one: Acting<'a>) -> (Acting<'a>, Option<Outcome>) {
        let (Some(action), Some(run)) = (one.actions.pop_front(), &self.actions.run) else {
            return (one, None);
        };
        let mut shown = one.draft.object.clone();
        transform::reset(&mut shown);
        let said = match serde_json::to_vec(&shown) {
            Ok(json) => {
                let json = Bytes::from(json);
                let item = Item {
                    id: &one.id,
                    json: &json,
                };
                let said = action.execute(item, &one.stored, &run.document).await;
                said.map_err(|error| error.message)
            }
            Err(error) => Err(error.to_string()),
        };
        let taken = match said {
            Ok(said) => self.take_answer(&mut one, action, &shown, said).await,
            Err(problem) => Err(problem),
        };
        let outcome = taken.unwrap_or_else(|problem| {
            let Draft {
                namespace,
                group_resource,
                name,
                ..
            } = one.draft;
            let problem = format!("it is not restored: {problem}");
            self.report
                .fail_object(namespace, group_resource, name, &problem);
            Some(Outcome::Failed)
        });
        (one, outcome)
    }

    /// Restores an object that all actions have looked at.
    async fn bring_acted(&self, one: Acting<'_>) {
        let Acting {
            mut draft,
            becomes,
            found,
            ..
        } = one;
        let step = draft.step;
        if let Some(name) = &becomes.name {
            draft.name = name;
        }
        if let Some((api_type, full)) = &becomes.api_type {
            draft.api_type = Arc::clone(api_type);
            draft.group_resource = full;
            draft.strict = false;
            // They were the other type's.
            draft.afterwards = Afterwards::default();
        }
        let outcome = match self.finish(draft) {
            Ok(prepared) => self.bring_with_data(&step, prepared, found.as_ref()).await,
            Err(unprepared) => unprepared.outcome,
        };
        if outcome == Outcome::Later {
            self.actions.keep(step.entry, becomes);
        }
        self.end(&step, outcome);
    }

    /// Notes how an object fares.
    fn end(&self, step: &Step, outcome: Outcome) {
        self.note_owner(step, outcome);
        self.note_way(step, outcome);
        // What waits is counted once it is through.
        if outcome != Outcome::Later {
            self.report.done(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_small_ones_are_together() {
        let many = vec![1; 70];
        for (what, sizes, expected) in [
            ("none", &[][..], &[][..]),
            ("a few", &[1, 2, 3], &[3]),
            ("many", &many, &[32, 32, 6]),
            ("large ones", &[1 << 19, 1 << 19, 1], &[2, 1]),
            ("one too large", &[1, 5 << 20, 1], &[1, 1, 1]),
        ] {
            let parts = split(sizes, |size| *size);
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, expected, "{what}");
        }
    }
}
