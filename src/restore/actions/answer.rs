//! What an action's answer makes of an object, and the wait for what it named.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::act::{Acting, Naming};
use crate::api::object::{self, Object};
use crate::api::{OperationNote, duration};
use crate::cluster::ApiType;
use crate::providers::actions::{RestoreItemAction, RestoredItem};
use crate::restore::apply::Applier;
use crate::restore::prepare::Draft;
use crate::restore::report::Outcome;

/// The first pause before an action is asked again whether what it named is ready; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Set by an action on its answer: what it names is restored even where the restore's filters leave it out. The object is
/// created without it, and without the one that speaks to backups.
const MUST_INCLUDE: &str = "restore.velero.io/must-include-additional-items";
const BACKUP_MUST_INCLUDE: &str = "backup.velero.io/must-include-additional-items";

impl Applier<'_> {
    /// Does what an action's answer says.
    ///
    /// # Errors
    /// Why the object cannot be restored, a sentence.
    pub(super) async fn take_answer<'a>(
        &self,
        one: &mut Acting<'a>,
        action: &'a Arc<dyn RestoreItemAction>,
        shown: &Object,
        said: RestoredItem,
    ) -> Result<Option<Outcome>, String> {
        let Draft {
            namespace,
            group_resource,
            name,
            ..
        } = one.draft;
        let by = action.name();
        if let Some(warning) = said.warning {
            let line = format!("{group_resource} {name}: action {by}: {warning}");
            self.report.warn(namespace, line);
        }
        if let (Some(operation), Some(run)) = (said.operation, &self.actions.run) {
            let note = OperationNote {
                action: by.to_owned(),
                operation_id: operation,
                resource: group_resource.to_owned(),
                namespace: namespace.unwrap_or_default().to_owned(),
                name: name.to_owned(),
            };
            if let Err(why) = run.operations.take(note.clone()).await {
                let problem = format!("{note} could not be noted, so it is cancelled: {why}");
                self.report
                    .fail_object(namespace, group_resource, name, &problem);
            }
        }
        if said.skip {
            tracing::info!(item = %one.id, action = by, "an action leaves an item out");
            return Ok(Some(Outcome::LeftOut));
        }
        let mut must = false;
        if let Some(answer) = said.item {
            must = self
                .replace(one, shown, &answer)
                .await
                .map_err(|problem| format!("action {by}: {problem}"))?;
        }
        one.named = said
            .additional
            .into_iter()
            .map(|id| Naming { id, by, must })
            .collect();
        one.there.clear();
        let limit = said.ready_within.unwrap_or(self.options.ready_timeout);
        one.waits = said.wait_for_additional.then_some((action, limit));
        Ok(None)
    }

    /// Puts an answer in the place of an object (case 77); returns whether what is named has to be restored.
    async fn replace(
        &self,
        one: &mut Acting<'_>,
        shown: &Object,
        answer: &[u8],
    ) -> Result<bool, String> {
        let mut object: Object = serde_json::from_slice(answer)
            .map_err(|error| format!("its answer is no object: {error}"))?;
        let annotations = ["metadata", "annotations"];
        let must = object::text(&object, &["metadata", "annotations", MUST_INCLUDE]) == "true";
        object::remove(
            &mut object,
            &annotations,
            &[MUST_INCLUDE, BACKUP_MUST_INCLUDE],
        );
        let name = object::text(&object, &["metadata", "name"]);
        if name.is_empty() {
            return Err("its answer has no name".to_owned());
        }
        if name != one.draft.name {
            one.becomes.name = Some(name.to_owned());
        }
        let of = |object: &Object| {
            let text = |key: &str| object::text(object, &[key]).to_owned();
            (text("apiVersion"), text("kind"))
        };
        let (api_version, kind) = of(&object);
        if (&api_version, &kind) != (&of(shown).0, &of(shown).1) {
            let api_type = self.type_of(&api_version, &kind).await?;
            if api_type.namespaced != one.draft.namespace.is_some() {
                return Err(format!(
                    "its answer is a {kind}, whose objects are of another scope"
                ));
            }
            let full = api_type.group_resource();
            one.becomes.api_type = Some((api_type, full));
        }
        let kept = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
        one.becomes.object = Some(kept.into());
        one.draft.object = object;
        Ok(must)
    }

    /// Finds the type of an answer.
    async fn type_of(&self, api_version: &str, kind: &str) -> Result<Arc<ApiType>, String> {
        let mut target = self.actions.target.lock().await;
        let known = target
            .as_ref()
            .and_then(|target| target.by_kind(api_version, kind));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        // Its definition may have come since.
        let now = self
            .cluster
            .discover()
            .await
            .map_err(|error| error.to_string())?;
        let found = now.by_kind(api_version, kind).cloned();
        *target = Some(now);
        found.ok_or_else(|| {
            format!(
                "its answer is a {kind:?} of {api_version:?}, which this cluster does not serve"
            )
        })
    }

    /// Waits until what an action has named is ready, if it wants that (case 78).
    pub(super) async fn until_ready(&self, one: &Acting<'_>) {
        let (Some((action, limit)), Some(run)) = (one.waits, &self.actions.run) else {
            return;
        };
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let problem = loop {
            match action.ready(&one.there, &run.document).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => break error.message,
            }
            if started.elapsed() >= limit {
                let limit = duration::format(limit);
                break format!(
                    "what action {} named was not ready within {limit}",
                    action.name()
                );
            }
            sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        let Draft {
            namespace,
            group_resource,
            name,
            ..
        } = one.draft;
        let line = format!("{group_resource} {name}: restored all the same: {problem}");
        self.report.warn(namespace, line);
    }
}
