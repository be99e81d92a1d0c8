//! Which way the data of each volume comes back, by what the backup recorded and what this server has.

use std::collections::{BTreeMap, HashMap};

use futures::future::join_all;

use crate::api::object::{self, Object};
use crate::api::{RestoreSpec, VolumeSnapshot, labels, names};
use crate::cluster::{ApiType, Cluster};
use crate::providers::snapshotter::Restores;
use crate::providers::snapshotters::{SnapshotLocation, Snapshotters};
use crate::restore::plan::Volume;

/// Volumes that are looked for at the same time.
const LOOKS: usize = 8;
/// Digits of a token.
const TOKEN_DIGITS: usize = 32;

/// How the data of a volume comes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::restore) enum Way {
    /// In a new volume, which the restored PersistentVolume names (case 51).
    Volume,
    /// In a volume that the cluster makes for the restored claim; no PersistentVolume is restored (case 55).
    Claim,
    /// It does not; why, as the end of a sentence.
    Lost(String),
}

/// Where data comes from.
#[derive(Clone, Debug)]
pub(in crate::restore) struct Source {
    pub(super) record: VolumeSnapshot,
    pub(super) location: SnapshotLocation,
}

/// Where the data of all volumes comes from.
#[derive(Debug, Default)]
pub(in crate::restore) struct Sources {
    /// By the name of the volume.
    pub(super) volumes: HashMap<String, Source>,
    /// By original namespace and name of the claim.
    pub(super) claims: HashMap<(String, String), Source>,
    /// Volumes that get another name, since theirs is taken (case 52).
    pub(in crate::restore) renamed: HashMap<String, String>,
    /// The restore's UID.
    uid: String,
    /// Tags of what is made.
    pub(super) restore: String,
    pub(super) backup: String,
}

impl Sources {
    /// Returns the token under which something is made for an object: the same one however often this restore begins.
    pub(super) fn token(&self, object: &str) -> String {
        let mut token = names::sha256_hex(format!("{}/{object}", self.uid).as_bytes());
        token.truncate(TOKEN_DIGITS);
        token
    }

    /// Returns the token under which a source is made for a claim.
    pub(super) fn claim_token(&self, namespace: &str, name: &str) -> String {
        self.token(&format!("{namespace}/{name}"))
    }

    /// Returns the labels of objects that are made for this restore.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        [
            (labels::RESTORE_NAME, &self.restore),
            (labels::BACKUP_NAME, &self.backup),
        ]
        .into_iter()
        .map(|(key, name)| (key.to_owned(), names::label_value(name)))
        .collect()
    }
}

/// Decides which way each volume's data comes back; of those that had none saved nothing is said.
pub(in crate::restore) fn ways(
    records: &[VolumeSnapshot],
    spec: &RestoreSpec,
    (restore, uid): (&str, &str),
    snapshotters: &Snapshotters,
) -> (BTreeMap<String, Way>, Sources) {
    let mut ways = BTreeMap::new();
    let mut sources = Sources {
        uid: uid.to_owned(),
        restore: restore.to_owned(),
        backup: spec.backup_name.clone(),
        ..Sources::default()
    };
    if spec.restore_pvs == Some(false) {
        return (ways, sources);
    }
    for record in records.iter().filter(|record| record.has_data()) {
        let VolumeSnapshot { spec, status } = record;
        let found = snapshotters.find(&spec.location, &spec.provider);
        let snapshotter = found.and_then(|location| match &location.snapshotter {
            Ok(snapshotter) => Ok((location, snapshotter)),
            Err(reason) => Err(reason.clone()),
        });
        let volume = spec.persistent_volume_name.clone();
        let (location, snapshotter) = match snapshotter {
            Ok(found) => found,
            Err(reason) => {
                let of = match spec.provider.as_str() {
                    "" => String::new(),
                    provider => format!(" of provider {provider}"),
                };
                let id = &status.provider_snapshot_id;
                let why = format!("snapshot {id}{of} cannot be used here: {reason}");
                ways.insert(volume, Way::Lost(why));
                continue;
            }
        };
        let source = Source {
            record: record.clone(),
            location: location.clone(),
        };
        match snapshotter.restores() {
            Restores::Volumes(_) => {
                ways.insert(volume.clone(), Way::Volume);
                sources.volumes.insert(volume, source);
            }
            Restores::Claims(_) => {
                ways.insert(volume, Way::Claim);
                if let Some((namespace, name)) = spec.claim.split_once('/') {
                    let claim = (namespace.to_owned(), name.to_owned());
                    sources.claims.insert(claim, source);
                }
            }
        }
    }
    (ways, sources)
}

/// Finds the volumes whose name another one has that belongs to somebody else: the restored ones, whose claims go into
/// other namespaces, get other names (case 52).
pub(in crate::restore) async fn look_for_copies(
    cluster: &Cluster,
    volumes: &[Volume],
    spec: &RestoreSpec,
    sources: &Sources,
) -> HashMap<String, String> {
    let mapped = volumes.iter().filter_map(|volume| {
        let (namespace, claim) = volume.claim.as_ref()?;
        let target = spec.namespace_mapping.get(namespace)?;
        let moves = target != namespace && sources.volumes.contains_key(&volume.name);
        moves.then_some((&volume.name, target, claim))
    });
    let mapped: Vec<_> = mapped.collect();
    let api_type = ApiType {
        version: "v1".to_owned(),
        resource: super::VOLUMES.to_owned(),
        ..ApiType::default()
    };
    let mut renamed = HashMap::new();
    for some in mapped.chunks(LOOKS) {
        let looks = some
            .iter()
            .map(|(volume, ..)| cluster.get(&api_type, None, volume));
        for (found, (volume, namespace, claim)) in join_all(looks).await.into_iter().zip(some) {
            // What cannot be asked is met by the create.
            let found = found.ok().flatten();
            let there = found.and_then(|body| serde_json::from_slice::<Object>(&body).ok());
            let Some(there) = there else {
                continue;
            };
            let of = |key: &str| object::text(&there, &["spec", "claimRef", key]);
            // An earlier attempt of this restore may have made it.
            if of("namespace") != *namespace || of("name") != *claim {
                let token = sources.token(volume);
                renamed.insert((*volume).clone(), format!("ark-clone-{token}"));
            }
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::restore::testing::{Snapshots, snapshot_location};

    fn record(
        volume: &str,
        location: &str,
        provider: &str,
        phase: &str,
        id: &str,
    ) -> VolumeSnapshot {
        serde_json::from_value(json!({
            "spec": {"persistentVolumeName": volume, "location": location, "provider": provider, "claim": "n/c"},
            "status": {"phase": phase, "providerSnapshotID": id},
        }))
        .unwrap()
    }

    #[test]
    fn each_volume_has_a_way() {
        let broken = SnapshotLocation {
            name: "broken".into(),
            provider: "gcp".into(),
            snapshotter: Err("no credentials".into()),
        };
        let snapshotters = Snapshotters::new(vec![
            snapshot_location("disks", "aws", Arc::new(Snapshots { fills: false })),
            snapshot_location("", "csi", Arc::new(Snapshots { fills: true })),
            broken,
        ]);
        for (record, expected) in [
            (
                record("v", "disks", "aws", "Completed", "s"),
                Some("volume"),
            ),
            (
                record("v", "disks", "aws", "InProgress", "s"),
                Some("volume"),
            ),
            (record("v", "", "csi", "Completed", "d/s"), Some("claim")),
            (
                record("v", "there", "azure", "Completed", "s"),
                Some("lost: no snapshot location of provider azure"),
            ),
            (
                record("v", "broken", "gcp", "Completed", "s"),
                Some("lost: no credentials"),
            ),
            (record("v", "disks", "aws", "Failed", "s"), None),
            (record("v", "", "", "Skipped", ""), None),
        ] {
            let spec = RestoreSpec::default();
            let (found, sources) = ways(&[record], &spec, ("r", "u"), &snapshotters);
            let way = found.get("v").map(|way| match way {
                Way::Volume => "volume".to_owned(),
                Way::Claim => "claim".to_owned(),
                Way::Lost(why) => format!("lost: {why}"),
            });
            match (way, expected.map(|expected| expected.split_once(": "))) {
                (None, None) => {}
                (Some(way), Some(Some((word, part)))) => {
                    assert!(way.starts_with(word) && way.contains(part), "{way}");
                }
                (way, _) => assert_eq!(way.as_deref(), expected),
            }
            assert_eq!(
                sources.volumes.contains_key("v"),
                expected == Some("volume")
            );
            let claim = ("n".to_owned(), "c".to_owned());
            assert_eq!(
                sources.claims.contains_key(&claim),
                expected == Some("claim")
            );
            let off = RestoreSpec {
                restore_pvs: Some(false),
                ..RestoreSpec::default()
            };
            assert!(ways(&[], &off, ("r", "u"), &snapshotters).0.is_empty());
        }
    }
}
