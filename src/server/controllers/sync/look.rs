//! One look into a location: shows what is stored and not shown, removes what is shown and not stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::decide::{self, Extent, Memory};
use super::settle::Settled;
use crate::api::error::chain;
use crate::server::controllers::Context;
use crate::server::metrics;
use crate::server::settings::{Place, World};
use crate::server::status::{self, StatusError};

/// Records of a location that are read at once.
const CONCURRENT_READS: usize = 8;

/// A look into a location.
pub(super) struct Look {
    pub(super) context: Arc<Context>,
    pub(super) place: Arc<Place>,
    /// The locations there are.
    pub(super) world: World,
    pub(super) memory: Memory,
}

impl Look {
    /// Looks, and returns what is to be remembered of the location.
    pub(super) async fn run(mut self) -> Memory {
        let now = self.context.clock.now();
        let revision = match self.place.location.revision().await {
            Ok(revision) => revision,
            Err(error) => {
                // If that is all that cannot be read, the listing says what has changed.
                tracing::debug!(
                    location = self.place.name,
                    error,
                    "cannot read the revision"
                );
                None
            }
        };
        let backups = &self.context.watched.backups;
        let unhidden = self.memory.hidden_by.iter().any(|(name, uid)| {
            let found = backups.get(name);
            found.is_none_or(|entry| entry.uid != *uid)
        });
        let outcome = match decide::extent(&self.memory, revision.as_deref(), unhidden, now) {
            None => metrics::Look::Unchanged,
            Some(extent) => match self.look_through(extent, revision, now).await {
                Ok(()) => metrics::Look::Listed,
                Err(problem) => {
                    self.failed(problem).await;
                    metrics::Look::Failed
                }
            },
        };
        let metrics = &self.context.metrics;
        metrics.location_looked_into(&self.place.name, outcome);
        self.memory
    }

    /// Lists the location and settles each difference to what the cluster shows.
    async fn look_through(
        &mut self,
        extent: Extent,
        revision: Option<String>,
        now: Timestamp,
    ) -> Result<(), String> {
        let place = Arc::clone(&self.place);
        // Asked before the listing: a backup that is committed while it goes on is not missed in it.
        let shown = self.context.watched.backups.select(|entry| {
            let backup = entry.object.as_ref();
            backup.is_ok_and(|backup| decide::stands_for_stored(backup, &place.name))
        });
        let stored: BTreeSet<String> = place
            .location
            .backups()
            .await
            .map_err(|error| format!("its backups cannot be listed: {error}"))?
            .into_iter()
            .collect();

        let this = &*self;
        let settling = stored.iter().cloned().map(|name| this.settle(name, extent));
        let mut settled: Vec<(String, Settled)> = stream::iter(settling)
            .buffer_unordered(CONCURRENT_READS)
            .collect()
            .await;
        let gone = shown
            .into_iter()
            .filter(|(name, _)| !stored.contains(name))
            .map(|(name, entry)| this.remove(name, entry));
        let removed: Vec<_> = stream::iter(gone)
            .buffer_unordered(CONCURRENT_READS)
            .collect()
            .await;
        settled.extend(removed);
        settled.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.conclude(extent, revision, now, settled).await;
        Ok(())
    }

    /// Notes what was found, and says it.
    async fn conclude(
        &mut self,
        extent: Extent,
        revision: Option<String>,
        now: Timestamp,
        settled: Vec<(String, Settled)>,
    ) {
        let again = settled.iter().any(|(_, settled)| settled.again);
        let others_write = settled.iter().any(|(_, settled)| {
            // One that is not there (yet) is being made.
            settled.seen.as_ref().is_none_or(|seen| seen.foreign)
        });
        let mut seen = BTreeMap::new();
        let mut hidden_by = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, one) in settled {
            problems.extend(one.problem);
            if let Some(uid) = one.hidden_by {
                hidden_by.insert(name.clone(), uid);
            }
            if let Some(record) = one.seen {
                seen.insert(name, record);
            }
        }
        let others = decide::other_clusters(seen.values(), &self.context.cluster_id);
        let others = decide::first_few(others.into_iter().collect::<Vec<_>>().into_iter());
        // Whoever only reads is meant to see what others store.
        let writes = self.place.is_writable() && !self.world.restore_only();
        let shared: &[String] = if writes { &others } else { &[] };
        let note = decide::note(shared, problems.len());
        let errors = decide::first_few(problems.iter().map(String::as_str));
        let mut sentences = problems;
        if !shared.is_empty() {
            sentences.push(decide::note(shared, 0));
        }
        self.say(sentences);
        self.context.notes.send_if_modified(|notes| {
            let note = Some(note);
            let changed = notes.get(&self.place.name) != Some(&note);
            if changed {
                notes.insert(self.place.name.clone(), note);
            }
            changed
        });
        let mut fields = json!({
            "lastSyncedTime": Time(now),
            "otherClusters": or_null(&others),
            "syncErrors": or_null(&errors),
        });
        if !again {
            fields["lastSyncedRevision"] = json!(revision);
        }
        self.report(fields).await;
        self.memory.revision = revision.filter(|_| !again && !others_write);
        if extent == Extent::All {
            self.memory.read_all = Some(now);
        }
        self.memory.seen = seen;
        self.memory.hidden_by = hidden_by;
    }

    /// Says that the location could not be looked through.
    async fn failed(&mut self, problem: String) {
        self.memory.revision = None;
        self.context.notes.send_if_modified(|notes| {
            let first = !notes.contains_key(&self.place.name);
            if first {
                notes.insert(self.place.name.clone(), None);
            }
            first
        });
        self.report(json!({ "syncErrors": [problem] })).await;
        self.say(vec![problem]);
    }

    /// Logs the problems that were not there the last time.
    fn say(&mut self, problems: Vec<String>) {
        let problems: BTreeSet<String> = problems.into_iter().collect();
        let fresh: Vec<&str> = problems
            .difference(&self.memory.said)
            .map(String::as_str)
            .collect();
        for problem in decide::first_few(fresh.into_iter()) {
            tracing::warn!(
                location = self.place.name,
                problem,
                "a location needs attention"
            );
        }
        if problems.is_empty() && !self.memory.said.is_empty() {
            tracing::info!(
                location = self.place.name,
                "all backups of the location are shown again"
            );
        }
        self.memory.said = problems;
    }

    /// Writes into the status of the location what has changed in it.
    async fn report(&self, fields: Value) {
        let Some((name, uid)) = &self.place.resource else {
            return;
        };
        let api = &self.context.apis.locations;
        match status::patch_fields(api, name, uid, fields).await {
            Ok(()) | Err(StatusError::Gone) => {}
            Err(error) => tracing::warn!(
                location = name,
                error = chain(&error),
                "cannot write the status of a location"
            ),
        }
    }
}

/// Returns a list for a merge patch, in which an empty one is better left out.
fn or_null(list: &[String]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    }
}
