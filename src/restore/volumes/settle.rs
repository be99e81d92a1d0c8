//! Sees at the end whether claims that are filled have their volumes, and gives these what the old ones had: reclaim
//! policy and labels (case 59).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::VOLUMES;
use crate::api::error::chain;
use crate::api::object::{self, Object};
use crate::cluster::{ApiType, ClusterError};
use crate::providers::snapshotter::{Restores, SnapshotId, SourceRequest};
use crate::restore::apply::Applier;
use crate::restore::plan::Step;
use crate::restore::prepare::Prepared;

/// How often claims are looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How long claims are waited for whose volume is only made once a Pod uses them.
const IDLE_PATIENCE: Duration = Duration::from_secs(15);

/// A claim whose data comes from a snapshot.
#[derive(Clone, Debug)]
pub(in crate::restore) struct Awaited {
    api_type: ApiType,
    namespace: String,
    name: String,
    /// Its original namespace and name.
    original: (String, String),
}

/// How far a claim is.
enum Bound {
    To(String),
    /// Not yet; whether that waits for a Pod.
    NotYet {
        waits_for_pod: bool,
    },
    Gone,
}

impl Applier<'_> {
    /// Notes that a claim is to be looked at in the end.
    pub(super) fn await_claim(&self, step: &Step, prepared: &Prepared<'_>) {
        let entry = &self.opened.entries()[step.entry];
        let Some(original) = entry.namespace.as_deref() else {
            return;
        };
        let awaited = Awaited {
            api_type: (*prepared.api_type).clone(),
            namespace: prepared.namespace.unwrap_or_default().to_owned(),
            name: prepared.name.to_owned(),
            original: (original.to_owned(), entry.name.to_string()),
        };
        self.awaited
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(awaited);
    }

    /// Waits for the volumes of filled claims, and says of which there is none.
    pub(in crate::restore) async fn settle_claims(&self) {
        let mut waiting = std::mem::take(
            &mut *self
                .awaited
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        if waiting.is_empty() {
            return;
        }
        tracing::info!(
            claims = waiting.len(),
            "waiting for the volumes of filled claims"
        );
        let started = Instant::now();
        let mut modes: BTreeMap<String, bool> = BTreeMap::new();
        loop {
            let mut left = Vec::new();
            let mut all_wait_for_pods = true;
            for claim in waiting {
                match self.bound(&claim, &mut modes).await {
                    Ok(Bound::To(volume)) => {
                        self.take_after(&claim, &volume).await;
                        self.withdraw(&claim).await;
                    }
                    Ok(Bound::Gone) => {}
                    Ok(Bound::NotYet { waits_for_pod }) => {
                        all_wait_for_pods &= waits_for_pod;
                        left.push((claim, waits_for_pod));
                    }
                    Err(error) => {
                        tracing::debug!(%error, claim = claim.name, "a claim cannot be looked at");
                        all_wait_for_pods = false;
                        left.push((claim, false));
                    }
                }
            }
            let patience = if all_wait_for_pods {
                IDLE_PATIENCE
            } else {
                self.options.snapshot_timeout
            };
            if left.is_empty() {
                return;
            }
            if started.elapsed() >= patience {
                for (claim, waits_for_pod) in left {
                    self.say_unbound(&claim, waits_for_pod);
                }
                return;
            }
            sleep(PAUSE).await;
            waiting = left.into_iter().map(|(claim, _)| claim).collect();
        }
    }

    fn say_unbound(&self, claim: &Awaited, waits_for_pod: bool) {
        let namespace = Some(claim.namespace.as_str());
        let name = &claim.name;
        if waits_for_pod {
            self.report.warn(
                namespace,
                format!(
                    "persistentvolumeclaims {name}: its data comes once a Pod uses it; its volume has the reclaim policy \
                     of its storage class then"
                ),
            );
        } else {
            self.report.fail(
                namespace,
                format!(
                    "persistentvolumeclaims {name}: it has no volume yet, so its data is not there; `kubectl describe` \
                     shows what its provisioner says"
                ),
            );
        }
    }

    async fn bound(
        &self,
        claim: &Awaited,
        modes: &mut BTreeMap<String, bool>,
    ) -> Result<Bound, ClusterError> {
        let body = self
            .patience
            .send(|| {
                self.cluster
                    .get(&claim.api_type, Some(&claim.namespace), &claim.name)
            })
            .await?;
        let Some(found) = body.and_then(|body| serde_json::from_slice::<Object>(&body).ok()) else {
            return Ok(Bound::Gone);
        };
        if object::text(&found, &["status", "phase"]) == "Bound" {
            let volume = object::text(&found, &["spec", "volumeName"]);
            return Ok(Bound::To(volume.to_owned()));
        }
        let class = object::text(&found, &["spec", "storageClassName"]);
        // Once a Pod is placed the claim says where, and its volume is being made.
        let placed = object::text(
            &found,
            &[
                "metadata",
                "annotations",
                "volume.kubernetes.io/selected-node",
            ],
        );
        let waits_for_pod = placed.is_empty() && self.waits_for_pods(class, modes).await?;
        Ok(Bound::NotYet { waits_for_pod })
    }

    /// Returns whether volumes of a class are only made once a Pod uses their claim.
    async fn waits_for_pods(
        &self,
        class: &str,
        modes: &mut BTreeMap<String, bool>,
    ) -> Result<bool, ClusterError> {
        if let Some(known) = modes.get(class) {
            return Ok(*known);
        }
        let classes = ApiType {
            group: "storage.k8s.io".to_owned(),
            version: "v1".to_owned(),
            resource: "storageclasses".to_owned(),
            ..ApiType::default()
        };
        let body = self
            .patience
            .send(|| self.cluster.get(&classes, None, class))
            .await?;
        let found = body.and_then(|body| serde_json::from_slice::<Object>(&body).ok());
        let waits = found.is_some_and(|class| {
            object::text(&class, &["volumeBindingMode"]) == "WaitForFirstConsumer"
        });
        modes.insert(class.to_owned(), waits);
        Ok(waits)
    }

    /// Has the source of a claim removed, since its volume has the data. One that stays goes with the backup.
    async fn withdraw(&self, claim: &Awaited) {
        let Some(source) = self.sources.claims.get(&claim.original) else {
            return;
        };
        let Ok(snapshotter) = &source.location.snapshotter else {
            return;
        };
        let Restores::Claims(filler) = snapshotter.restores() else {
            return;
        };
        let request = SourceRequest {
            snapshot: &SnapshotId(source.record.status.provider_snapshot_id.clone()),
            namespace: &claim.namespace,
            token: &self.sources.claim_token(&claim.namespace, &claim.name),
            labels: &self.sources.labels(),
        };
        if let Err(error) = filler.withdraw(&request).await {
            tracing::warn!(
                claim = claim.name,
                namespace = claim.namespace,
                error = chain(&error),
                "the source of a claim stays until the backup is deleted"
            );
        }
    }

    /// Gives a new volume the reclaim policy and labels of the one before it.
    async fn take_after(&self, claim: &Awaited, volume: &str) {
        let Some(old) = self.old_volumes.get(&claim.original) else {
            return;
        };
        let policy = if old.kept { "Retain" } else { "Delete" };
        let mut patch = json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
        if !old.labels.is_empty() {
            patch["metadata"] = json!({"labels": old.labels});
        }
        let volumes = claim.api_type.sibling(VOLUMES, "PersistentVolume");
        let patched = self
            .patience
            .send(|| {
                let patch = self.cluster.merge_patch(&volumes, None, volume, &patch);
                async { patch.await.map(|_| ()) }
            })
            .await;
        if let Err(error) = patched {
            self.report.warn(
                None,
                format!(
                    "{VOLUMES} {volume}: it does not get the reclaim policy and labels of the volume before it: {error}"
                ),
            );
        }
    }
}

/// What the volume of a claim was like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::restore) struct OldVolume {
    pub(in crate::restore) name: String,
    /// Whether it stayed when its claim went.
    pub(in crate::restore) kept: bool,
    pub(in crate::restore) labels: BTreeMap<String, Value>,
}
