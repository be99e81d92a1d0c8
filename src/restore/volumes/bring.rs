//! Brings data back: makes a volume just before its PersistentVolume is created, a source just before its claim is.
//!
//! What is there already gets nothing. Whatever is made is asked for under a token of the restore, so that a restore that
//! is taken over makes nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::ways::{Source, Sources};
use super::{CLAIMS, VOLUMES};
use crate::api::error::chain;
use crate::api::object::{self, Object};
use crate::api::{PlanAction, PlanItem, quantity};
use crate::providers::snapshotter::{
    Fit, Restores, SnapshotError, SnapshotErrorKind, SnapshotId, SnapshotState, SourceRequest,
    Volume, VolumeId, VolumeInfo, VolumeRequest, tags,
};
use crate::restore::apply::Applier;
use crate::restore::existing::is_going;
use crate::restore::plan::Step;
use crate::restore::prepare::Prepared;

/// The first pause before a provider is asked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What has been done about the data of an object.
#[derive(Debug, Default)]
pub(in crate::restore) struct Data {
    /// A volume that was made for it.
    volume: Option<VolumeId>,
}

impl Data {
    /// Says what is left over where the object could not be created after all.
    pub(in crate::restore) fn left_over(&self) -> Option<String> {
        let volume = self.volume.as_ref()?;
        Some(format!(
            "volume {volume} was made for it and is not used; remove it, or restore again"
        ))
    }
}

impl Sources {
    /// Returns where the data of an object comes from, by its type and original place.
    fn of(&self, group_resource: &str, namespace: Option<&str>, name: &str) -> Option<&Source> {
        match group_resource {
            VOLUMES => self.volumes.get(name),
            CLAIMS if !self.claims.is_empty() => {
                let claim = (namespace?.to_owned(), name.to_owned());
                self.claims.get(&claim)
            }
            _ => None,
        }
    }
}

impl Applier<'_> {
    /// Returns where the data of a step's object comes from.
    fn source(&self, step: &Step, group_resource: &str) -> Option<&Source> {
        let entry = &self.opened.entries()[step.entry];
        let namespace = entry.namespace.as_deref();
        self.sources.of(group_resource, namespace, &entry.name)
    }

    /// Brings the data of an object that is about to be created, if it has any.
    ///
    /// # Errors
    /// Why it cannot be brought; then the object is not to be created either, else it would seem to have its data.
    pub(in crate::restore) async fn bring_data(
        &self,
        step: &Step,
        prepared: &mut Prepared<'_>,
        found: Option<&Bytes>,
    ) -> Result<Data, String> {
        let Some(source) = self.source(step, prepared.group_resource) else {
            return Ok(Data::default());
        };
        let existing = match found {
            Some(found) => serde_json::from_slice(found).ok(),
            None => self
                .get(prepared)
                .await
                .map_err(|error| error.to_string())?,
        };
        // What is being deleted is waited for by the create.
        if let Some(existing) = existing.filter(|existing| !is_going(existing)) {
            self.meet_data(step, source, prepared, &existing).await?;
            return Ok(Data::default());
        }
        let snapshotter = source.location.snapshotter.as_ref().map_err(Clone::clone)?;
        let mut object: Object =
            serde_json::from_slice(&prepared.body).map_err(|error| error.to_string())?;
        let data = match snapshotter.restores() {
            Restores::Volumes(maker) => {
                let id = self.make_volume(source, prepared.name, &object).await?;
                let set = maker.set_volume(&mut object, &id).await;
                set.map_err(|error| chain(&error))?;
                Data { volume: Some(id) }
            }
            Restores::Claims(filler) => {
                let namespace = prepared.namespace.unwrap_or_default();
                let labels = self.sources.labels();
                let token = self.sources.claim_token(namespace, prepared.name);
                let request = SourceRequest {
                    snapshot: &SnapshotId(source.record.status.provider_snapshot_id.clone()),
                    namespace,
                    token: &token,
                    labels: &labels,
                };
                let mut patience = Patience::new(self.options.snapshot_timeout);
                let offered = loop {
                    match filler.offer(&request).await {
                        Ok(offered) => break offered,
                        Err(error) => patience.again(error).await?,
                    }
                };
                fill(&mut object, &offered, source.record.status.size);
                self.await_claim(step, prepared);
                Data::default()
            }
        };
        prepared.body = serde_json::to_vec(&object)
            .map_err(|error| error.to_string())?
            .into();
        Ok(data)
    }

    /// Looks at an object that is there already, and so keeps the data that it has.
    async fn meet_data(
        &self,
        step: &Step,
        source: &Source,
        prepared: &mut Prepared<'_>,
        existing: &Object,
    ) -> Result<(), String> {
        if prepared.group_resource == CLAIMS {
            if self.is_own_work(existing) {
                self.await_claim(step, prepared);
                keep_size(prepared, existing)?;
            }
            return Ok(());
        }
        // That it stands for another of the provider's volumes than it did is no difference: an earlier restore made it.
        let snapshotter = source.location.snapshotter.as_ref().map_err(Clone::clone)?;
        let there = Volume {
            volume: existing,
            claim: None,
        };
        if let (Ok(Fit::Volume(handle)), Restores::Volumes(maker)) =
            (snapshotter.fits(there).await, snapshotter.restores())
        {
            let mut object: Object =
                serde_json::from_slice(&prepared.body).map_err(|error| error.to_string())?;
            let set = maker.set_volume(&mut object, &handle.id).await;
            set.map_err(|error| chain(&error))?;
            prepared.body = serde_json::to_vec(&object)
                .map_err(|error| error.to_string())?
                .into();
        }
        Ok(())
    }

    async fn make_volume(
        &self,
        source: &Source,
        name: &str,
        volume: &Object,
    ) -> Result<VolumeId, String> {
        let snapshotter = source.location.snapshotter.as_ref().map_err(Clone::clone)?;
        let Restores::Volumes(maker) = snapshotter.restores() else {
            return Err("its snapshotter makes no volumes".to_owned());
        };
        let spec = &source.record.spec;
        let mut zone = spec.volume_az.clone();
        if zone.is_empty() {
            let claim = None;
            // Not every program records it; the object may say it.
            if let Ok(Fit::Volume(handle)) = snapshotter.fits(Volume { volume, claim }).await {
                zone = handle.zone;
            }
        }
        let info = VolumeInfo {
            volume_type: spec.volume_type.clone(),
            iops: spec.volume_iops,
            throughput: spec.volume_throughput,
            zone,
            size: source.record.status.size,
        };
        let token = self.sources.token(name);
        let tags: BTreeMap<String, String> = [
            (tags::BACKUP, self.sources.backup.as_str()),
            (tags::RESTORE, &self.sources.restore),
            (tags::VOLUME, name),
            (tags::TOKEN, &token),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        let snapshot = SnapshotId(source.record.status.provider_snapshot_id.clone());
        let request = VolumeRequest {
            snapshot: &snapshot,
            info: &info,
            token: &token,
            tags: &tags,
        };
        let mut patience = Patience::new(self.options.snapshot_timeout);
        let id = loop {
            match maker.create_volume(&request).await {
                Ok(id) => break id,
                Err(error) => patience.again(error).await?,
            }
        };
        tracing::info!(volume = name, %snapshot, made = %id, "a volume is made from its snapshot");
        Ok(id)
    }

    /// Says in a dry run where the data of an object would come from, and what stands in the way.
    pub(in crate::restore) async fn preview_data(&self, step: &Step, item: &mut PlanItem) {
        if item.action != PlanAction::Create {
            return;
        }
        let Some(source) = self.source(step, &item.resource) else {
            return;
        };
        let snapshot = SnapshotId(source.record.status.provider_snapshot_id.clone());
        let from = format!(
            "with its data from snapshot {snapshot} ({})",
            source.location.title()
        );
        let mut doubt = None;
        let obstacle = match &source.location.snapshotter {
            Err(reason) => Some(reason.clone()),
            Ok(snapshotter) if snapshotter.capabilities().states => {
                let states = snapshotter
                    .snapshot_states(std::slice::from_ref(&snapshot))
                    .await;
                match states.map(|states| states.into_iter().next()) {
                    // What the cluster does not know its driver may.
                    Ok(Some(SnapshotState::Gone))
                        if matches!(snapshotter.restores(), Restores::Claims(_)) =>
                    {
                        doubt = Some(
                            "this cluster has not had it yet, and whether it is there will show",
                        );
                        None
                    }
                    Ok(Some(SnapshotState::Gone)) => {
                        Some("there is no such snapshot where this server looks".to_owned())
                    }
                    Ok(Some(SnapshotState::Failed(why))) => Some(why),
                    Ok(Some(SnapshotState::Pending(_) | SnapshotState::Ready { .. }) | None) => {
                        None
                    }
                    Err(error) => Some(chain(&error)),
                }
            }
            Ok(_) => None,
        };
        if let Some(obstacle) = obstacle {
            item.action = PlanAction::Conflict;
            item.reason = format!("{from}: {obstacle}");
            return;
        }
        item.reason = match doubt {
            Some(doubt) => format!("{from}; {doubt}"),
            None => from,
        };
        if let Some(lacking) = self.lacking_zone(&source.record.spec.volume_az).await {
            item.reason = format!("{}; {lacking}", item.reason);
            self.report
                .warn(None, format!("{VOLUMES} {}: {lacking}", item.name));
        }
    }

    /// Returns what is to be said of a zone that no node of the target is in.
    async fn lacking_zone(&self, zone: &str) -> Option<String> {
        // A disk of several zones is found in any of them.
        let wanted: Vec<&str> = zone.split("__").filter(|zone| !zone.is_empty()).collect();
        let there = self.zones.get_or_init(|| self.read_zones()).await;
        let lacks = !wanted.is_empty()
            && !there.is_empty()
            && !wanted.iter().any(|zone| there.contains(*zone));
        lacks.then(|| {
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            format!(
                "it is in zone {zone}, and this cluster has nodes in {} only: no Pod that uses it can run there",
                there.join(", ")
            )
        })
    }
}

/// How long a provider is asked again that does not do yet what it is asked.
struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits before the next time, if there is to be one.
    ///
    /// # Errors
    /// The provider's answer, where it is final.
    async fn again(&mut self, error: SnapshotError) -> Result<(), String> {
        if !may_pass(error.kind) || Instant::now() + self.pause > self.deadline {
            return Err(chain(&error));
        }
        tracing::info!(error = chain(&error), "a provider is asked again");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Returns whether a provider may do later what it does not do now.
fn may_pass(kind: SnapshotErrorKind) -> bool {
    matches!(
        kind,
        SnapshotErrorKind::NotReady | SnapshotErrorKind::Throttled | SnapshotErrorKind::Unreachable
    )
}

/// Has a claim that this restore made before ask for what it asked for then: it may be more than is stored.
fn keep_size(prepared: &mut Prepared<'_>, existing: &Object) -> Result<(), String> {
    const REQUESTS: [&str; 3] = ["spec", "resources", "requests"];
    let mut claim: Object =
        serde_json::from_slice(&prepared.body).map_err(|error| error.to_string())?;
    let there = object::at(existing, &REQUESTS).and_then(|requests| requests.get("storage"));
    if let (Some(requests), Some(there)) = (object::at_mut(&mut claim, &REQUESTS), there) {
        requests.insert("storage".to_owned(), there.clone());
        prepared.body = serde_json::to_vec(&claim)
            .map_err(|error| error.to_string())?
            .into();
    }
    Ok(())
}

/// Has a claim ask for a new volume with the data of a source. It asks for at least `size` bytes, since no less takes the
/// data.
fn fill(claim: &mut Object, source: &crate::providers::snapshotter::DataSource, size: Option<u64>) {
    let Some(spec) = object::ensure(claim, &["spec"]) else {
        return;
    };
    // A volume that is made is not looked for.
    spec.shift_remove("selector");
    spec.shift_remove("volumeName");
    spec.shift_remove("dataSourceRef");
    spec.insert(
        "dataSource".to_owned(),
        json!({"apiGroup": source.api_group, "kind": source.kind, "name": source.name}),
    );
    let Some(size) = size else {
        return;
    };
    if let Some(requests) = object::ensure(claim, &["spec", "resources", "requests"]) {
        let asked = requests.get("storage").and_then(Value::as_str);
        let asked = asked.and_then(|asked| quantity::bytes(asked).ok());
        if asked.is_none_or(|asked| asked < size) {
            requests.insert("storage".to_owned(), Value::from(size.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::snapshotter::DataSource;

    #[test]
    fn a_claim_is_filled() {
        let source = DataSource {
            api_group: "snapshot.storage.k8s.io".into(),
            kind: "VolumeSnapshot".into(),
            name: "s".into(),
        };
        for (asked, size, expected) in [
            ("1Gi", None, "1Gi"),
            ("1Gi", Some(1 << 30), "1Gi"),
            ("1G", Some(1 << 30), "1073741824"),
        ] {
            let claim = json!({"spec": {"volumeName": "v", "selector": {}, "dataSourceRef": {},
                "resources": {"requests": {"storage": asked}}}});
            let mut claim = claim.as_object().unwrap().clone();
            fill(&mut claim, &source, size);
            let expected = json!({"spec": {"resources": {"requests": {"storage": expected}},
                "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}}});
            assert_eq!(Value::Object(claim), expected);
        }
    }
}
