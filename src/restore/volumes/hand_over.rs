//! Volumes that are there while their claim is restored (case 54).
//!
//! A volume that is kept (reclaim policy Retain) remembers its claim by UID. Once the claim is lost, it is Released, and
//! the restored claim, which has another UID, would wait for it for ever. So it forgets the UID: a volume that names its
//! claim without one is bound to whoever has the name.

use serde_json::{Value, json};

use crate::cluster::ClusterError;

use super::VOLUMES;
use crate::api::object::{self, Object};
use crate::restore::apply::Applier;
use crate::restore::prepare::Prepared;

impl Applier<'_> {
    /// Has the volume of a claim that was just created forget the claim of the same name that it had before.
    pub(in crate::restore) async fn hand_over_volume(&self, prepared: &Prepared<'_>, uid: &str) {
        let Ok(claim) = serde_json::from_slice::<Object>(&prepared.body) else {
            return;
        };
        let volume = object::text(&claim, &["spec", "volumeName"]);
        if volume.is_empty() {
            return;
        }
        if let Err(error) = self.forget_claim(prepared, volume, uid).await {
            self.report.warn(
                prepared.namespace,
                format!(
                    "{}: whether volume {volume} still belongs to its predecessor is not known, in which case it waits \
                     for it: {error}",
                    prepared.title()
                ),
            );
        }
    }

    async fn forget_claim(
        &self,
        prepared: &Prepared<'_>,
        volume: &str,
        uid: &str,
    ) -> Result<(), ClusterError> {
        // The type of volumes: the target serves it, since it serves that of claims.
        let volumes = prepared.api_type.sibling(VOLUMES, "PersistentVolume");
        let found = self
            .patience
            .send(|| self.cluster.get(&volumes, None, volume))
            .await?;
        let found = found.and_then(|body| serde_json::from_slice::<Object>(&body).ok());
        if !found.is_some_and(|volume| belonged_to_predecessor(&volume, prepared, uid)) {
            return Ok(());
        }
        tracing::info!(
            volume,
            namespace = prepared.namespace,
            claim = prepared.name,
            "the volume forgets the claim that it had, for the restored one"
        );
        let patch: Value = json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}});
        self.patience
            .send(|| {
                let patch = self.cluster.merge_patch(&volumes, None, volume, &patch);
                async { patch.await.map(|_| ()) }
            })
            .await
    }
}

/// Returns whether a volume belongs to a claim of this one's name that had another UID.
fn belonged_to_predecessor(volume: &Object, claim: &Prepared<'_>, uid: &str) -> bool {
    let of = |key: &str| object::text(volume, &["spec", "claimRef", key]);
    of("namespace") == claim.namespace.unwrap_or_default()
        && of("name") == claim.name
        && !of("uid").is_empty()
        && of("uid") != uid
}
