//! The port for snapshots over EC2's calls.

use async_trait::async_trait;

use super::answers::{Snapshot, Volume, bytes};
use super::api::{Ec2, NewVolume};
use super::errors::Ec2Error;
use super::{tags, volume};
use crate::providers::patience::Patience;
use crate::providers::snapshotter::{
    self, Fit, MakeVolumes, Object, Restores, SnapshotCapabilities, SnapshotError,
    SnapshotErrorKind as Kind, SnapshotId, SnapshotRequest, SnapshotState, VolumeHandle, VolumeId,
    VolumeInfo, VolumeRequest, VolumeSnapshotter,
};
use crate::providers::volumes;

/// The types that have provisioned operations a second.
const WITH_IOPS: [&str; 3] = ["io1", "io2", "gp3"];
/// The types that have a provisioned throughput.
const WITH_THROUGHPUT: [&str; 1] = ["gp3"];
/// How many characters a description may have.
const DESCRIPTION: usize = 255;

/// Snapshots of EBS volumes.
#[derive(Debug)]
pub(super) struct Ebs {
    ec2: Ec2,
    /// The Kubernetes cluster to which new volumes belong.
    cluster: Option<String>,
}

impl Ebs {
    pub(super) fn new(ec2: Ec2, cluster: Option<String>) -> Self {
        Self { ec2, cluster }
    }

    /// Returns a volume that is there.
    async fn volume(&self, id: &VolumeId, tried: &str) -> Result<Volume, SnapshotError> {
        let found = self.ec2.volume(&id.0).await;
        let found = found.map_err(|error| error.explain(tried))?;
        if is_going(&found) {
            let message = format!("cannot {tried}: the volume is being deleted");
            return Err(SnapshotError::new(Kind::NotFound, message));
        }
        Ok(found)
    }

    /// Returns the snapshots under a token, those that are of use first.
    async fn asked_for(&self, token: &str) -> Result<Vec<Snapshot>, Ec2Error> {
        let mut found = self
            .ec2
            .tagged_snapshots(snapshotter::tags::TOKEN, token)
            .await?;
        found.sort_by(|one, other| {
            let key = |snapshot: &Snapshot| (snapshot.status == "error", snapshot.id.clone());
            key(one).cmp(&key(other))
        });
        Ok(found)
    }

    /// Returns the volume that was made under a token, if there is one.
    async fn made(&self, token: &str) -> Result<Option<Volume>, Ec2Error> {
        let mut found = self
            .ec2
            .tagged_volumes(snapshotter::tags::TOKEN, token)
            .await?;
        found.retain(|volume| !is_going(volume) && volume.status != "error");
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found.into_iter().next())
    }

    /// Waits until a volume that was just made can be attached, or for so long that this will not keep anybody from
    /// naming it.
    async fn settled(&self, id: &str, tried: &str) -> Result<(), SnapshotError> {
        let mut patience = Patience::new();
        loop {
            let failure = match self.ec2.volume(id).await {
                Ok(found) => match found.status.as_str() {
                    "available" | "in-use" => return Ok(()),
                    "error" => Some("its state is error"),
                    _ => None,
                },
                // EC2's left hand learns late what the right one has made.
                Err(error) if error.code() == "InvalidVolume.NotFound" => Some("it is gone again"),
                Err(error) => {
                    tracing::debug!(volume = id, %error, "cannot see how a new volume fares");
                    return Ok(());
                }
            };
            if patience.wait().await {
                continue;
            }
            return match failure {
                None => Ok(()),
                Some(why) => Err(SnapshotError::new(
                    Kind::Other,
                    format!(
                        "cannot {tried}: volume {id} was made, but {why}; if the snapshot is encrypted, let the \
                         credentials use its KMS key"
                    ),
                )),
            };
        }
    }
}

/// Returns whether a volume is as good as gone.
fn is_going(volume: &Volume) -> bool {
    matches!(volume.status.as_str(), "deleting" | "deleted")
}

#[async_trait]
impl VolumeSnapshotter for Ebs {
    fn capabilities(&self) -> SnapshotCapabilities {
        SnapshotCapabilities {
            find: true,
            states: true,
            ready_within: None,
        }
    }

    async fn check(&self) -> Result<(), SnapshotError> {
        let looked = self.ec2.look_in().await;
        looked.map_err(|error| {
            error.explain(&format!(
                "list the snapshots in region {}",
                self.ec2.region()
            ))
        })
    }

    async fn fits(&self, volume: snapshotter::Volume<'_>) -> Result<Fit, SnapshotError> {
        Ok(volume::fits(volume.volume))
    }

    async fn info(&self, volume: &VolumeHandle) -> Result<VolumeInfo, SnapshotError> {
        let tried = format!("look at volume {}", volume.id);
        Ok(info(self.volume(&volume.id, &tried).await?))
    }

    async fn create_snapshot(
        &self,
        request: &SnapshotRequest<'_>,
    ) -> Result<SnapshotId, SnapshotError> {
        let id = &request.handle.id;
        let tried = format!("snapshot volume {id}");
        let mut tags = None;
        let mut patience = Patience::new();
        loop {
            // EC2 has no token for this call: what an earlier one began is looked for.
            let found = self.asked_for(request.token).await;
            let found = found.map_err(|error| error.explain(&tried))?;
            if let Some(found) = found.into_iter().next() {
                return Ok(SnapshotId(found.id));
            }
            let tags = if let Some(tags) = &tags {
                tags
            } else {
                let volume = self.volume(id, &tried).await?;
                tags.insert(tags::of_snapshot(request.tags, &volume.tag_set.item))
            };
            let description = description(request);
            match self.ec2.create_snapshot(&id.0, &description, tags).await {
                Ok(snapshot) => return Ok(SnapshotId(snapshot.id)),
                Err(error) if error.leaves_open() && patience.wait().await => {
                    tracing::debug!(volume = %id, %error, "a snapshot may have been begun");
                }
                Err(error) => return Err(error.explain(&tried)),
            }
        }
    }

    async fn find_snapshots(&self, token: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        let found = self.asked_for(token).await;
        let found = found.map_err(|error| error.explain("find the snapshots of a token"))?;
        Ok(found
            .into_iter()
            .map(|snapshot| SnapshotId(snapshot.id))
            .collect())
    }

    async fn snapshot_states(
        &self,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotState>, SnapshotError> {
        let mut ids: Vec<&str> = snapshots.iter().map(|id| id.0.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.ec2.snapshots_of(&ids).await;
        let found = found.map_err(|error| error.explain("see how snapshots fare"))?;
        let state_of = |id: &SnapshotId| {
            let found = found.iter().find(|found| found.id == id.0);
            found.map_or(SnapshotState::Gone, state)
        };
        Ok(snapshots.iter().map(state_of).collect())
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), SnapshotError> {
        match self.ec2.delete_snapshot(&snapshot.0).await {
            Ok(()) => Ok(()),
            Err(error) if error.code() == "InvalidSnapshot.NotFound" => Ok(()),
            Err(error) => Err(error.explain(&format!("delete snapshot {snapshot}"))),
        }
    }

    fn restores(&self) -> Restores<'_> {
        Restores::Volumes(self)
    }
}

#[async_trait]
impl MakeVolumes for Ebs {
    async fn create_volume(&self, request: &VolumeRequest<'_>) -> Result<VolumeId, SnapshotError> {
        let VolumeRequest { snapshot, info, .. } = request;
        let (zone, region) = (info.zone.as_str(), self.ec2.region());
        let tried =
            format!("make a volume from snapshot {snapshot} in zone {zone:?} of region {region}");
        let failed = |error: &Ec2Error| error.explain(&tried);
        let mut patience = Patience::new();
        let id = loop {
            // EC2 forgets its own tokens some time after a call.
            let made = self.made(request.token).await;
            if let Some(made) = made.map_err(|error| failed(&error))? {
                break made.id;
            }
            let from = self.ec2.snapshot(&snapshot.0).await;
            let from = from.map_err(|error| failed(&error))?;
            usable(&from, zone, &tried)?;
            let has = |types: &[&str]| types.contains(&info.volume_type.as_str());
            let new = NewVolume {
                snapshot: &snapshot.0,
                zone,
                volume_type: &info.volume_type,
                iops: info.iops.filter(|_| has(&WITH_IOPS)),
                throughput: info.throughput.filter(|_| has(&WITH_THROUGHPUT)),
                size: size(info.size, bytes(&from.volume_size)),
                tags: tags::of_volume(request.tags, &from.tag_set.item, self.cluster.as_deref()),
                token: request.token,
            };
            match self.ec2.create_volume(&new).await {
                Ok(made) => break made.id,
                Err(error) if error.leaves_open() && patience.wait().await => {
                    tracing::debug!(%snapshot, %error, "a volume may have been made");
                }
                Err(error) if error.code() == "IncorrectState" => {
                    return Err(SnapshotError {
                        kind: Kind::NotReady,
                        ..failed(&error)
                    });
                }
                Err(error) => return Err(failed(&error)),
            }
        };
        self.settled(&id, &tried).await?;
        Ok(VolumeId(id))
    }

    async fn set_volume(&self, object: &mut Object, id: &VolumeId) -> Result<(), SnapshotError> {
        let tried = format!("have a PersistentVolume stand for volume {id}");
        let zone = if volume::names_zone(object) {
            self.volume(id, &tried).await?.availability_zone
        } else {
            String::new()
        };
        if volume::set(object, &id.0, &zone) {
            return Ok(());
        }
        Err(SnapshotError::new(
            Kind::Invalid,
            format!("cannot {tried}: it has no spec for one of EBS"),
        ))
    }
}

fn info(volume: Volume) -> VolumeInfo {
    let number = |text: &str, types: &[&str]| {
        let has = types.contains(&volume.kind.as_str());
        text.parse().ok().filter(|_| has)
    };
    VolumeInfo {
        iops: number(&volume.iops, &WITH_IOPS),
        throughput: number(&volume.throughput, &WITH_THROUGHPUT),
        size: bytes(&volume.size),
        zone: volume.availability_zone,
        volume_type: volume.kind,
    }
}

/// The state of a snapshot in the recycle bin.
const RECYCLED: &str = "recoverable";

fn state(snapshot: &Snapshot) -> SnapshotState {
    match snapshot.status.as_str() {
        "completed" => SnapshotState::Ready {
            size: bytes(&snapshot.volume_size),
        },
        "error" => SnapshotState::Failed(match snapshot.status_message.as_str() {
            "" => "its state is error".to_owned(),
            why => why.to_owned(),
        }),
        RECYCLED => SnapshotState::Gone,
        _ => SnapshotState::Pending(
            snapshot
                .progress
                .trim_end_matches('%')
                .parse()
                .ok()
                .filter(|percent| *percent <= 100),
        ),
    }
}

/// Checks that a volume can be made from a snapshot in a zone.
fn usable(snapshot: &Snapshot, zone: &str, tried: &str) -> Result<(), SnapshotError> {
    let usable = match snapshot.status.as_str() {
        RECYCLED => Err((
            Kind::NotFound,
            "the snapshot is in the recycle bin; recover it from there".to_owned(),
        )),
        "completed" if zone.is_empty() => Err((
            Kind::Invalid,
            "no zone is known for it; give the PersistentVolume the label topology.kubernetes.io/zone"
                .to_owned(),
        )),
        _ => volumes::usable(state(snapshot)),
    };
    usable.map_err(|(kind, why)| SnapshotError::new(kind, format!("cannot {tried}: {why}")))
}

/// Returns the gibibytes to ask for, where the original was larger than the snapshot says.
fn size(original: Option<u64>, snapshot: Option<u64>) -> Option<u64> {
    let (original, snapshot) = (original?, snapshot?);
    (original > snapshot).then(|| original.div_ceil(1 << 30))
}

/// Returns what people read of a snapshot in Amazon's console.
fn description(request: &SnapshotRequest<'_>) -> String {
    let tag = |name| {
        request
            .tags
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    };
    let text = format!(
        "Ark backup {} of volume {}",
        tag(snapshotter::tags::BACKUP),
        tag(snapshotter::tags::VOLUME)
    );
    text.chars().take(DESCRIPTION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(status: &str, progress: &str, message: &str) -> Snapshot {
        Snapshot {
            status: status.into(),
            progress: progress.into(),
            status_message: message.into(),
            volume_size: "8".into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn states() {
        let ready = SnapshotState::Ready {
            size: Some(8 << 30),
        };
        for (found, expected) in [
            (snapshot("completed", "100%", ""), ready),
            (
                snapshot("pending", "42%", ""),
                SnapshotState::Pending(Some(42)),
            ),
            (snapshot("pending", "", ""), SnapshotState::Pending(None)),
            (
                snapshot("pending", "999%", ""),
                SnapshotState::Pending(None),
            ),
            (snapshot("new", "n/a", ""), SnapshotState::Pending(None)),
            (
                snapshot("error", "7%", "no KMS"),
                SnapshotState::Failed("no KMS".into()),
            ),
            (
                snapshot("error", "", ""),
                SnapshotState::Failed("its state is error".into()),
            ),
            (snapshot("recoverable", "", ""), SnapshotState::Gone),
        ] {
            assert_eq!(state(&found), expected, "{found:?}");
        }
    }

    #[test]
    fn what_volumes_are_made_from() {
        for (status, zone, expected) in [
            ("completed", "a", None),
            ("completed", "", Some((Kind::Invalid, "no zone is known"))),
            ("pending", "a", Some((Kind::NotReady, "still travels"))),
            ("error", "a", Some((Kind::Other, "has failed"))),
            ("recoverable", "a", Some((Kind::NotFound, "recycle bin"))),
        ] {
            let result = usable(&snapshot(status, "", ""), zone, "try");
            match (result, expected) {
                (Ok(()), None) => {}
                (Err(error), Some((kind, why))) => {
                    assert_eq!(error.kind, kind, "{status}");
                    assert!(error.to_string().contains(why), "{error}");
                }
                (result, _) => panic!("{status} {zone:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn sizes() {
        let gib = 1 << 30;
        for (original, snapshot, expected) in [
            (Some(8 * gib), Some(8 * gib), None),
            (Some(4 * gib), Some(8 * gib), None),
            (Some(9 * gib), Some(8 * gib), Some(9)),
            (Some(8 * gib + 1), Some(8 * gib), Some(9)),
            (None, Some(8 * gib), None),
            (Some(8 * gib), None, None),
        ] {
            assert_eq!(
                size(original, snapshot),
                expected,
                "{original:?} {snapshot:?}"
            );
        }
    }

    #[test]
    fn provisioned_figures_are_for_some_types_only() {
        let volume = |volume_type: &str| Volume {
            kind: volume_type.into(),
            iops: "3000".into(),
            throughput: "125".into(),
            size: "10".into(),
            availability_zone: "a".into(),
            ..Volume::default()
        };
        for (volume_type, iops, throughput) in [
            ("gp2", None, None),
            ("gp3", Some(3000), Some(125)),
            ("io1", Some(3000), None),
            ("io2", Some(3000), None),
            ("st1", None, None),
        ] {
            let info = info(volume(volume_type));
            assert_eq!(
                (info.iops, info.throughput),
                (iops, throughput),
                "{volume_type}"
            );
            assert_eq!((info.size, info.zone.as_str()), (Some(10 << 30), "a"));
        }
    }
}
