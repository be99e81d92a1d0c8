//! Which volumes are snapshot. Pure.
//!
//! The backup's own switch comes first, then the claim's annotation, then the first policy that fits. Where nobody says
//! anything a volume is snapshot if a snapshotter is for it.

use super::facts::VolumeFacts;
use crate::api::{VolumeConditions, VolumePolicies, labels, volume_policy};

/// What is to be done with a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// It is snapshot if a snapshotter is for it.
    IfPossible,
    /// Somebody asks for its snapshot by name; who.
    Snapshot(String),
    /// It is not; why.
    Skip(String),
}

/// The rules of one backup.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The backup's switch.
    pub(super) switch: Option<bool>,
    pub(super) policies: Vec<Policy>,
}

/// A policy, read.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    conditions: VolumeConditions,
    /// The least and the greatest size in bytes.
    capacity: (Option<u64>, Option<u64>),
    snapshot: bool,
}

impl Rules {
    /// Takes rules that have been found to be right.
    pub(super) fn new(switch: Option<bool>, policies: Option<&VolumePolicies>) -> Self {
        let policies = policies.map_or(&[][..], |policies| &policies.volume_policies);
        Self {
            switch,
            policies: policies
                .iter()
                .map(|policy| Policy {
                    capacity: policy
                        .conditions
                        .capacity
                        .as_deref()
                        .and_then(|range| volume_policy::capacity(range).ok())
                        .unwrap_or_default(),
                    conditions: policy.conditions.clone(),
                    snapshot: policy.action.kind == "snapshot",
                })
                .collect(),
        }
    }

    /// Returns what is to be done with a volume.
    pub(super) fn wanted(&self, facts: &VolumeFacts) -> Wanted {
        if let Some(reason) = self.off() {
            return Wanted::Skip(reason.to_owned());
        }
        let annotation = facts
            .claim
            .as_ref()
            .and_then(|claim| claim.annotation.as_deref());
        match annotation {
            Some("true") => {
                return Wanted::Snapshot(format!(
                    "the claim's annotation {} asks for it",
                    labels::SNAPSHOT_VOLUME
                ));
            }
            Some("false") => {
                return Wanted::Skip(format!(
                    "the claim's annotation {} is false",
                    labels::SNAPSHOT_VOLUME
                ));
            }
            // Said by whoever looks at the volume, see `doubt`.
            Some(_) | None => {}
        }
        let fits = |policy: &&Policy| policy.fits(facts);
        match self.policies.iter().position(|policy| fits(&policy)) {
            Some(place) if self.policies[place].snapshot => {
                Wanted::Snapshot(format!("volume policy {} asks for it", place + 1))
            }
            Some(place) => Wanted::Skip(format!("volume policy {} says skip", place + 1)),
            None => Wanted::IfPossible,
        }
    }

    /// Returns why no volume at all is snapshot, if that is so.
    pub(super) fn off(&self) -> Option<&'static str> {
        (self.switch == Some(false))
            .then_some("the backup takes no snapshots (snapshotVolumes is false)")
    }
}

/// Returns what is odd about a claim's annotation.
pub(super) fn doubt(facts: &VolumeFacts) -> Option<String> {
    let annotation = facts.claim.as_ref()?.annotation.as_deref()?;
    (!matches!(annotation, "true" | "false")).then(|| {
        format!(
            "annotation {}: {annotation:?} means nothing; write \"true\" or \"false\"",
            labels::SNAPSHOT_VOLUME
        )
    })
}

impl Policy {
    fn fits(&self, facts: &VolumeFacts) -> bool {
        let VolumeConditions {
            capacity: _,
            storage_class,
            csi,
            nfs,
            volume_types,
            pvc_labels,
            pvc_phase,
        } = &self.conditions;
        let field = |name: &str| facts.fields.get(name).map_or("", String::as_str);
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let (least, greatest) = self.capacity;
        let sized = (least.is_none() && greatest.is_none())
            || facts.capacity.is_some_and(|size| {
                least.is_none_or(|least| size >= least)
                    && greatest.is_none_or(|greatest| size <= greatest)
            });
        let claim = facts.claim.as_ref();
        sized
            && (storage_class.is_empty() || storage_class.contains(&facts.storage_class))
            && csi.as_ref().is_none_or(|csi| {
                facts.source == "csi"
                    && is(&csi.driver, field("driver"))
                    && holds(&facts.attributes, &csi.volume_attributes)
            })
            && nfs.as_ref().is_none_or(|nfs| {
                facts.source == "nfs"
                    && is(&nfs.server, field("server"))
                    && is(&nfs.path, field("path"))
            })
            && (volume_types.is_empty() || volume_types.contains(&facts.source))
            && (pvc_labels.is_empty()
                || claim.is_some_and(|claim| holds(&claim.labels, pvc_labels)))
            && (pvc_phase.is_empty() || claim.is_some_and(|claim| pvc_phase.contains(&claim.phase)))
    }
}

/// Returns whether a map holds all that is wanted.
fn holds(
    map: &std::collections::BTreeMap<String, String>,
    wanted: &std::collections::BTreeMap<String, String>,
) -> bool {
    wanted
        .iter()
        .all(|(key, value)| map.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(annotation: Option<&str>) -> VolumeFacts {
        let volume = json!({"spec": {"capacity": {"storage": "10Gi"}, "storageClassName": "fast",
            "csi": {"driver": "d.example.org", "volumeAttributes": {"tier": "gold"}}}});
        let mut claim =
            json!({"metadata": {"labels": {"app": "db"}}, "status": {"phase": "Bound"}});
        if let Some(annotation) = annotation {
            claim["metadata"]["annotations"] = json!({labels::SNAPSHOT_VOLUME: annotation});
        }
        VolumeFacts::of(volume.as_object().unwrap(), claim.as_object())
    }

    fn policy(conditions: &Value, action: &str) -> Value {
        json!({"conditions": conditions, "action": {"type": action}})
    }

    fn rules(switch: Option<bool>, policies: &[Value]) -> Rules {
        let policies = json!({"version": "v1", "volumePolicies": policies});
        Rules::new(switch, Some(&serde_json::from_value(policies).unwrap()))
    }

    #[test]
    fn conditions() {
        for (conditions, fits) in [
            (json!({}), true),
            (json!({"capacity": "1Gi,10Gi"}), true),
            (json!({"capacity": ",9Gi"}), false),
            (json!({"capacity": "11Gi,"}), false),
            (json!({"storageClass": ["slow", "fast"]}), true),
            (json!({"storageClass": [""]}), false),
            (json!({"csi": {}}), true),
            (json!({"csi": {"driver": "d.example.org"}}), true),
            (json!({"csi": {"driver": "e.example.org"}}), false),
            (json!({"csi": {"volumeAttributes": {"tier": "gold"}}}), true),
            (json!({"csi": {"volumeAttributes": {"tier": "tin"}}}), false),
            (json!({"nfs": {}}), false),
            (json!({"volumeTypes": ["nfs", "csi"]}), true),
            (json!({"volumeTypes": ["hostPath"]}), false),
            (json!({"pvcLabels": {"app": "db"}}), true),
            (json!({"pvcLabels": {"app": "web"}}), false),
            (json!({"pvcPhase": ["Bound"]}), true),
            (json!({"pvcPhase": ["Pending"]}), false),
            (
                json!({"storageClass": ["fast"], "pvcLabels": {"app": "web"}}),
                false,
            ),
        ] {
            let rules = rules(None, &[policy(&conditions, "skip")]);
            let skipped = matches!(rules.wanted(&facts(None)), Wanted::Skip(_));
            assert_eq!(skipped, fits, "{conditions}");
        }
        let nfs = json!({"spec": {"nfs": {"server": "s", "path": "/p"}}});
        let nfs = VolumeFacts::of(nfs.as_object().unwrap(), None);
        for (conditions, fits) in [
            (json!({"nfs": {"server": "s"}}), true),
            (json!({"nfs": {"server": "s", "path": "/q"}}), false),
            // Sizes and claims that are not known fit nothing.
            (json!({"capacity": "1Gi,"}), false),
            (json!({"pvcLabels": {"app": "db"}}), false),
        ] {
            let rules = rules(None, &[policy(&conditions, "skip")]);
            let skipped = matches!(rules.wanted(&nfs), Wanted::Skip(_));
            assert_eq!(skipped, fits, "{conditions}");
        }
    }

    #[test]
    fn the_first_word_counts() {
        let skip = || policy(&json!({"csi": {}}), "skip");
        let take = || policy(&json!({}), "snapshot");
        for (switch, policies, annotation, expected) in [
            (None, vec![], None, "if possible"),
            (Some(true), vec![], None, "if possible"),
            (
                Some(false),
                vec![take()],
                Some("true"),
                "skip: snapshotVolumes is false",
            ),
            (None, vec![skip()], None, "skip: volume policy 1"),
            (
                None,
                vec![take(), skip()],
                None,
                "snapshot: volume policy 1",
            ),
            (None, vec![skip(), take()], None, "skip: volume policy 1"),
            (Some(true), vec![skip()], None, "skip: volume policy 1"),
            (None, vec![skip()], Some("true"), "snapshot: annotation"),
            (None, vec![take()], Some("false"), "skip: annotation"),
            (None, vec![skip()], Some("yes"), "skip: volume policy 1"),
        ] {
            let wanted = rules(switch, &policies).wanted(&facts(annotation));
            let (word, why) = match &wanted {
                Wanted::IfPossible => ("if possible", ""),
                Wanted::Snapshot(why) => ("snapshot", why.as_str()),
                Wanted::Skip(why) => ("skip", why.as_str()),
            };
            let (expected_word, part) = expected.split_once(": ").unwrap_or((expected, ""));
            assert_eq!(word, expected_word, "{wanted:?}");
            assert!(why.contains(part), "{wanted:?}");
        }
        assert!(doubt(&facts(Some("yes"))).is_some_and(|doubt| doubt.contains("\"yes\"")));
        assert_eq!(doubt(&facts(Some("true"))), None);
        assert_eq!(doubt(&facts(None)), None);
    }
}
