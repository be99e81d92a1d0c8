//! Which claims a pod names, which volume a claim has, and which claim a volume. Pure.

use bytes::Bytes;
use serde::Deserialize;

use crate::api::object::{self, Object};

pub(super) fn parse(body: &Bytes) -> Result<Object, String> {
    serde_json::from_slice(body).map_err(|error| format!("it cannot be read: {error}"))
}

/// Returns the claim that a volume names, as `namespace/name`; empty if it names none.
pub(super) fn claim_name(volume: &Object) -> String {
    let reference = |key: &str| object::text(volume, &["spec", "claimRef", key]);
    match (reference("namespace"), reference("name")) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

pub(super) fn claim_of(body: &Bytes) -> String {
    parse(body).map_or_else(|_| String::new(), |volume| claim_name(&volume))
}

/// Returns the volume that a claim is bound to.
pub(super) fn bound_volume(claim: &Bytes) -> Option<String> {
    let claim = parse(claim).ok()?;
    let volume = object::text(&claim, &["spec", "volumeName"]);
    (object::text(&claim, &["status", "phase"]) == "Bound" && !volume.is_empty())
        .then(|| volume.to_owned())
}

/// Returns the claims that a pod's volumes name.
pub(super) fn claims_of(pod: &Bytes) -> Vec<String> {
    #[derive(Deserialize)]
    struct Pod {
        #[serde(default)]
        metadata: Metadata,
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default)]
        name: String,
    }
    #[derive(Deserialize)]
    struct Spec {
        volumes: Option<Vec<PodVolume>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PodVolume {
        name: String,
        persistent_volume_claim: Option<Claim>,
        ephemeral: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Claim {
        claim_name: String,
    }
    let Ok(pod) = serde_json::from_slice::<Pod>(pod) else {
        return Vec::new();
    };
    let volumes = pod.spec.volumes.unwrap_or_default().into_iter();
    volumes
        .filter_map(|volume| match volume.persistent_volume_claim {
            Some(claim) => Some(claim.claim_name),
            // The claim that is made for a volume of the pod alone is named after both.
            None => volume
                .ephemeral
                .map(|_| format!("{}-{}", pod.metadata.name, volume.name)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_name_their_claims() {
        for (pod, expected) in [
            (
                r#"{"metadata":{"name":"p"},"spec":{"volumes":[
                    {"name":"a","persistentVolumeClaim":{"claimName":"c"}},
                    {"name":"b","emptyDir":{}},
                    {"name":"e","ephemeral":{"volumeClaimTemplate":{"spec":{}}}}]}}"#,
                &["c", "p-e"][..],
            ),
            (r#"{"spec":{}}"#, &[]),
            ("[]", &[]),
        ] {
            assert_eq!(claims_of(&Bytes::from_static(pod.as_bytes())), expected);
        }
    }

    #[test]
    fn only_bound_claims_have_a_volume() {
        for (claim, expected) in [
            (
                r#"{"spec":{"volumeName":"v"},"status":{"phase":"Bound"}}"#,
                Some("v"),
            ),
            (
                r#"{"spec":{"volumeName":"v"},"status":{"phase":"Pending"}}"#,
                None,
            ),
            (r#"{"spec":{},"status":{"phase":"Bound"}}"#, None),
        ] {
            let volume = bound_volume(&Bytes::from_static(claim.as_bytes()));
            assert_eq!(volume.as_deref(), expected, "{claim}");
        }
    }
}
