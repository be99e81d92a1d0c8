//! What every snapshotter must do, whatever stands behind the port. Each promise of the trait is kept here once, and
//! every implementation runs all of it that its capabilities and its way of restoring have a word on.
//!
//! A test of a provider implements [`Cloud`], which makes and looks at what is the provider's, and calls
//! [`snapshotter_conformance`].

use std::collections::BTreeMap;
use std::time::Duration;

use ::ark::providers::snapshotter::{
    DataSource, FillClaims, Fit, MakeVolumes, Object, Restores, SnapshotError, SnapshotErrorKind,
    SnapshotId, SnapshotRequest, SnapshotState, SourceRequest, Volume, VolumeHandle, VolumeId,
    VolumeInfo, VolumeRequest, VolumeSnapshotter, tags,
};
use async_trait::async_trait;

use super::wait_until;

/// The tags, labels or annotations of something.
pub type Tags = BTreeMap<String, String>;

/// How long a snapshot may take to be whole, and what was removed to be gone.
const PATIENCE: Duration = Duration::from_mins(2);

/// A volume that holds something, with the objects that stand for it.
#[derive(Clone, Debug)]
pub struct TestVolume {
    /// The PersistentVolume, bound where it has a claim.
    pub volume: Object,
    /// Its claim.
    pub claim: Option<Object>,
}

impl TestVolume {
    fn as_volume(&self) -> Volume<'_> {
        Volume {
            volume: &self.volume,
            claim: self.claim.as_ref(),
        }
    }
}

/// What stands behind a snapshotter in a test: the provider, seen past the snapshotter.
#[async_trait]
pub trait Cloud: Sync {
    /// Returns the snapshotter.
    fn snapshotter(&self) -> &dyn VolumeSnapshotter;

    /// Makes a volume that can be snapshot, different from those made before.
    async fn make_volume(&self) -> TestVolume;

    /// Removes a volume, one made by a restore too.
    async fn remove_volume(&self, volume: &VolumeId);

    /// Returns objects that stand for volumes of other providers, with a word for each.
    fn others(&self) -> Vec<(&'static str, Object)>;

    /// Returns a snapshot that never was, with an id of the right form.
    fn absent_snapshot(&self) -> SnapshotId;

    /// Returns whether errors say that something is not there; plugins' errors have no kinds.
    fn errors_have_kinds(&self) -> bool {
        true
    }

    /// Returns the annotations of the Backup, where the snapshotter needs some.
    fn annotations(&self) -> Tags {
        Tags::new()
    }

    /// Returns a snapshot's tags under the names that they were given; `None` if the provider has none.
    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags>;

    /// Returns a volume's tags under the names that they were given; `None` if the provider has none.
    async fn volume_tags(&self, volume: &VolumeId) -> Option<Tags>;

    /// Returns a namespace for claims to be restored in. Of those that restore into claims only.
    async fn namespace(&self) -> String {
        unreachable!("it restores into volumes")
    }

    /// Returns whether a source of data is there. Of those that restore into claims only.
    async fn has_source(&self, namespace: &str, source: &DataSource) -> bool {
        unreachable!("it restores into volumes, not from {source:?} in {namespace}")
    }
}

/// Checks a snapshotter.
pub async fn snapshotter_conformance(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    snapshotter.check().await.expect("it can be used");
    assert_eq!(snapshotter.capabilities(), snapshotter.capabilities());
    which_volumes(cloud).await;
    a_life(cloud).await;
    side_by_side(cloud).await;
    what_is_gone(cloud).await;
    what_is_not_known(cloud).await;
}

/// Returns a token as the ledger makes them.
pub fn new_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Returns the tags of a snapshot as a backup gives them.
pub fn backup_tags(token: &str) -> Tags {
    [
        (tags::BACKUP, "nightly-20261127030000"),
        (tags::VOLUME, "pvc-4f8e2c1a-0000-4000-8000-000000000001"),
        (tags::CLUSTER, "0b1c6f3e-0000-4000-8000-000000000002"),
        (tags::TOKEN, token),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns the tags of a volume as a restore gives them.
pub fn restore_tags(token: &str) -> Tags {
    [
        (tags::RESTORE, "nightly-20261127030000-20261127100000"),
        (tags::CLUSTER, "9d2e7a4c-0000-4000-8000-000000000003"),
        (tags::TOKEN, token),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns which of the provider's volumes an object stands for.
pub async fn handle(snapshotter: &dyn VolumeSnapshotter, volume: Volume<'_>) -> VolumeHandle {
    match snapshotter.fits(volume).await.expect("it can be told") {
        Fit::Volume(handle) => handle,
        Fit::No(why) => panic!("it should be the provider's: {why}"),
    }
}

/// Asks for a snapshot.
pub async fn ask(
    cloud: &dyn Cloud,
    test: &TestVolume,
    token: &str,
) -> Result<SnapshotId, SnapshotError> {
    let snapshotter = cloud.snapshotter();
    snapshotter
        .create_snapshot(&SnapshotRequest {
            volume: test.as_volume(),
            handle: &handle(snapshotter, test.as_volume()).await,
            token,
            tags: &backup_tags(token),
            annotations: &cloud.annotations(),
        })
        .await
}

/// Waits until a snapshot is whole, as far as that can be seen; returns the size that volumes from it need.
pub async fn whole(snapshotter: &dyn VolumeSnapshotter, snapshot: &SnapshotId) -> Option<u64> {
    if !snapshotter.capabilities().states {
        return None;
    }
    let ids = [snapshot.clone()];
    wait_until("the snapshot is whole", PATIENCE, async || {
        let states = snapshotter.snapshot_states(&ids).await?;
        assert_eq!(states.len(), 1, "a state each");
        match &states[0] {
            SnapshotState::Ready { size } => Ok(Some(*size)),
            SnapshotState::Pending(progress) => {
                assert!(progress.is_none_or(|percent| percent <= 100), "{states:?}");
                Ok(None)
            }
            other => panic!("{snapshot}: {other:?}"),
        }
    })
    .await
    .expect("it gets whole")
}

/// Checks an error's kind, and that it is one line.
fn is<T>(result: Result<T, SnapshotError>, kind: SnapshotErrorKind, what: &str) {
    let Err(error) = result else {
        panic!("{what}: it should fail");
    };
    assert_eq!(error.kind, kind, "{what}: {error}");
    one_line(&error, what);
}

/// Checks the error of something that is not there.
fn is_missing<T>(cloud: &dyn Cloud, result: Result<T, SnapshotError>, what: &str) {
    if cloud.errors_have_kinds() {
        return is(result, SnapshotErrorKind::NotFound, what);
    }
    match result {
        Ok(_) => panic!("{what}: it should fail"),
        Err(error) => one_line(&error, what),
    }
}

fn one_line(error: &SnapshotError, what: &str) {
    let message = error.to_string();
    assert!(
        !message.is_empty() && !message.contains('\n'),
        "{what}: one line: {message:?}"
    );
}

async fn which_volumes(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    let test = cloud.make_volume().await;
    let ours = handle(snapshotter, test.as_volume()).await;
    assert_ne!(ours.id, VolumeId::default());
    assert_eq!(
        ours,
        handle(snapshotter, test.as_volume()).await,
        "the same each time"
    );
    let other = cloud.make_volume().await;
    let theirs = handle(snapshotter, other.as_volume()).await;
    assert_ne!(ours.id, theirs.id, "each volume has an id of its own");

    let mut strangers = cloud.others();
    strangers.push(("without a source", Object::new()));
    for (what, volume) in strangers {
        let fit = snapshotter
            .fits(Volume {
                volume: &volume,
                claim: None,
            })
            .await
            .expect("it can be told");
        match fit {
            Fit::No(why) => assert!(!why.is_empty() && !why.contains('\n'), "{what}: {why:?}"),
            Fit::Volume(handle) => panic!("{what} is not the provider's: {handle:?}"),
        }
    }

    let info = snapshotter.info(&ours).await.expect("the volume is there");
    assert_eq!(info, snapshotter.info(&ours).await.unwrap());
    if !info.zone.is_empty() && !ours.zone.is_empty() {
        assert_eq!(info.zone, ours.zone, "object and provider agree");
    }
    assert_ne!(info.size, Some(0));
    for id in [ours.id, theirs.id] {
        cloud.remove_volume(&id).await;
    }
}

/// From the request to the removal, each call twice.
async fn a_life(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    let test = cloud.make_volume().await;
    let token = new_token();
    if snapshotter.capabilities().find {
        let found = snapshotter.find_snapshots(&token).await.unwrap();
        assert_eq!(found, [], "nothing was asked for yet");
    }
    let snapshot = ask(cloud, &test, &token).await.expect("it is snapshot");
    assert_ne!(snapshot, SnapshotId::default());
    if snapshotter.capabilities().find {
        // An answer that gets lost makes no second one that nobody knows.
        found_by(snapshotter, &token, &snapshot).await;
        let again = ask(cloud, &test, &token).await.expect("it is there");
        assert_eq!(again, snapshot, "one token, one snapshot");
        found_by(snapshotter, &token, &snapshot).await;
        let none = snapshotter.find_snapshots(&new_token()).await.unwrap();
        assert_eq!(none, [], "nobody asked under this token");
    }
    if let Some(found) = cloud.snapshot_tags(&snapshot).await {
        holds_all(&found, &backup_tags(&token));
    }
    whole(snapshotter, &snapshot).await;

    match snapshotter.restores() {
        Restores::Volumes(maker) => into_volumes(cloud, maker, &test, &snapshot).await,
        Restores::Claims(filler) => into_claims(cloud, filler, &snapshot).await,
    }

    snapshotter.delete_snapshot(&snapshot).await.unwrap();
    snapshotter
        .delete_snapshot(&snapshot)
        .await
        .expect("deleting twice is fine");
    is_gone(snapshotter, &token, &snapshot).await;
    // What is left of it fills nothing any more.
    match snapshotter.restores() {
        Restores::Volumes(maker) => {
            let info = info_to_make(snapshotter, &test).await;
            let made = make(maker, &snapshot, &info, &new_token()).await;
            is_missing(cloud, made, "a volume from what was removed");
        }
        Restores::Claims(filler) => {
            let offered = offer(filler, &snapshot, &cloud.namespace().await, &new_token()).await;
            is_missing(cloud, offered, "a source from what was removed");
        }
    }
    remove(cloud, &test).await;
}

async fn remove(cloud: &dyn Cloud, test: &TestVolume) {
    let id = handle(cloud.snapshotter(), test.as_volume()).await.id;
    cloud.remove_volume(&id).await;
}

async fn found_by(snapshotter: &dyn VolumeSnapshotter, token: &str, snapshot: &SnapshotId) {
    wait_until("the snapshot is found", PATIENCE, async || {
        let found = snapshotter.find_snapshots(token).await?;
        assert!(found.len() <= 1, "one token, one snapshot: {found:?}");
        Ok(found.first().map(|found| assert_eq!(found, snapshot)))
    })
    .await
    .unwrap();
}

async fn is_gone(snapshotter: &dyn VolumeSnapshotter, token: &str, snapshot: &SnapshotId) {
    let capabilities = snapshotter.capabilities();
    if capabilities.states {
        let ids = [snapshot.clone()];
        wait_until("the snapshot is gone", PATIENCE, async || {
            let states = snapshotter.snapshot_states(&ids).await?;
            Ok((states == [SnapshotState::Gone]).then_some(()))
        })
        .await
        .unwrap();
    }
    if capabilities.find {
        wait_until("the snapshot is not found", PATIENCE, async || {
            Ok(snapshotter
                .find_snapshots(token)
                .await?
                .is_empty()
                .then_some(()))
        })
        .await
        .unwrap();
    }
}

fn holds_all(found: &Tags, wanted: &Tags) {
    for (name, value) in wanted {
        assert_eq!(found.get(name), Some(value), "{name} of {found:?}");
    }
}

/// Returns what a new volume is to be like: as the old one, in the zone that its object names.
async fn info_to_make(snapshotter: &dyn VolumeSnapshotter, test: &TestVolume) -> VolumeInfo {
    let handle = handle(snapshotter, test.as_volume()).await;
    let mut info = snapshotter
        .info(&handle)
        .await
        .expect("the volume is there");
    if info.zone.is_empty() {
        info.zone = handle.zone;
    }
    info
}

async fn make(
    maker: &dyn MakeVolumes,
    snapshot: &SnapshotId,
    info: &VolumeInfo,
    token: &str,
) -> Result<VolumeId, SnapshotError> {
    let tags = restore_tags(token);
    let request = VolumeRequest {
        snapshot,
        info,
        token,
        tags: &tags,
    };
    maker.create_volume(&request).await
}

async fn into_volumes(
    cloud: &dyn Cloud,
    maker: &dyn MakeVolumes,
    test: &TestVolume,
    snapshot: &SnapshotId,
) {
    let snapshotter = cloud.snapshotter();
    let old = handle(snapshotter, test.as_volume()).await;
    let wanted = info_to_make(snapshotter, test).await;
    let token = new_token();
    let new = make(maker, snapshot, &wanted, &token).await.expect("made");
    assert_ne!(new, old.id, "it is another volume");
    if snapshotter.capabilities().find {
        // Providers without tokens (plugins) make one each time.
        let again = make(maker, snapshot, &wanted, &token).await.expect("there");
        assert_eq!(again, new, "one token, one volume");
    }
    let second = make(maker, snapshot, &wanted, &new_token())
        .await
        .expect("made");
    assert_ne!(second, new, "each token has a volume of its own");

    // It is like the original.
    let mut made = VolumeHandle {
        id: new.clone(),
        zone: wanted.zone.clone(),
    };
    let mut like = snapshotter.info(&made).await.expect("the volume is there");
    if like.zone.is_empty() {
        like.zone.clone_from(&wanted.zone);
    }
    assert_eq!(like, wanted);
    if let Some(found) = cloud.volume_tags(&new).await {
        holds_all(&found, &restore_tags(&token));
        // The snapshot's tags come beside them, where they say nothing else.
        let backup = backup_tags(&token);
        for name in [tags::BACKUP, tags::VOLUME] {
            assert_eq!(found.get(name), backup.get(name), "{name} of {found:?}");
        }
    }

    // A PersistentVolume stands for it, and is otherwise what it was.
    let mut object = test.volume.clone();
    maker.set_volume(&mut object, &new).await.unwrap();
    let mut again = object.clone();
    maker.set_volume(&mut again, &new).await.unwrap();
    assert_eq!(again, object, "setting twice is fine");
    let restored = Volume {
        volume: &object,
        claim: None,
    };
    made.zone.clone_from(&old.zone);
    assert_eq!(handle(snapshotter, restored).await, made);
    maker.set_volume(&mut object, &old.id).await.unwrap();
    assert_eq!(object, test.volume, "only the volume has changed");

    let unfit = maker.set_volume(&mut Object::new(), &new).await;
    assert!(unfit.is_err(), "there is nowhere to write it");

    for id in [new, second] {
        cloud.remove_volume(&id).await;
    }
}

async fn withdraw(
    filler: &dyn FillClaims,
    snapshot: &SnapshotId,
    namespace: &str,
    token: &str,
) -> Result<(), SnapshotError> {
    let request = SourceRequest {
        snapshot,
        namespace,
        token,
        labels: &Tags::new(),
    };
    filler.withdraw(&request).await
}

async fn offer(
    filler: &dyn FillClaims,
    snapshot: &SnapshotId,
    namespace: &str,
    token: &str,
) -> Result<DataSource, SnapshotError> {
    let labels = [("ark.heptio.com/restore-name".to_owned(), "r".to_owned())].into();
    let request = SourceRequest {
        snapshot,
        namespace,
        token,
        labels: &labels,
    };
    filler.offer(&request).await
}

async fn into_claims(cloud: &dyn Cloud, filler: &dyn FillClaims, snapshot: &SnapshotId) {
    for namespace in [cloud.namespace().await, cloud.namespace().await] {
        let token = new_token();
        let source = offer(filler, snapshot, &namespace, &token)
            .await
            .expect("offered");
        assert!(!source.kind.is_empty() && !source.name.is_empty());
        assert!(cloud.has_source(&namespace, &source).await);
        let again = offer(filler, snapshot, &namespace, &token)
            .await
            .expect("there");
        assert_eq!(again, source, "one token, one source");
        let other = new_token();
        let second = offer(filler, snapshot, &namespace, &other)
            .await
            .expect("offered");
        assert_ne!(second, source, "each token has a source of its own");
        assert!(cloud.has_source(&namespace, &second).await);
        for _ in 0..2 {
            withdraw(filler, snapshot, &namespace, &other)
                .await
                .expect("withdrawing twice is fine");
            assert!(!cloud.has_source(&namespace, &second).await);
            assert!(cloud.has_source(&namespace, &source).await);
        }
    }
}

/// Many snapshots under tokens of their own do not get mixed up.
async fn side_by_side(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    let mut tests = Vec::new();
    for _ in 0..4 {
        tests.push((cloud.make_volume().await, new_token()));
    }
    let asked = tests.iter().map(|(test, token)| ask(cloud, test, token));
    let ids = futures::future::try_join_all(asked)
        .await
        .expect("all are snapshot");
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "each is another one");
    for ((_, token), id) in tests.iter().zip(&ids) {
        if snapshotter.capabilities().find {
            found_by(snapshotter, token, id).await;
        }
        whole(snapshotter, id).await;
    }
    if snapshotter.capabilities().states {
        // In the order in which they are named, those that are not there among them.
        let absent = cloud.absent_snapshot();
        let mut asked: Vec<SnapshotId> = ids.iter().rev().cloned().collect();
        asked.insert(1, absent.clone());
        asked.push(ids[0].clone());
        let states = snapshotter.snapshot_states(&asked).await.unwrap();
        assert_eq!(states.len(), asked.len(), "a state each");
        for (id, state) in asked.iter().zip(&states) {
            let gone = *state == SnapshotState::Gone;
            assert_eq!(gone, *id == absent, "{id}: {state:?}");
        }
    }
    // One that goes takes no other along.
    snapshotter.delete_snapshot(&ids[0]).await.unwrap();
    is_gone(snapshotter, &tests[0].1, &ids[0]).await;
    for ((_, token), id) in tests.iter().zip(&ids).skip(1) {
        if snapshotter.capabilities().find {
            found_by(snapshotter, token, id).await;
        }
        whole(snapshotter, id).await;
    }
    for id in &ids {
        snapshotter.delete_snapshot(id).await.unwrap();
    }
    for (test, _) in &tests {
        remove(cloud, test).await;
    }
}

/// A snapshot outlives its volume.
async fn what_is_gone(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    let test = cloud.make_volume().await;
    let handle = handle(snapshotter, test.as_volume()).await;
    let wanted = info_to_make(snapshotter, &test).await;
    let token = new_token();
    let snapshot = ask(cloud, &test, &token).await.expect("it is snapshot");
    whole(snapshotter, &snapshot).await;
    cloud.remove_volume(&handle.id).await;

    is_missing(
        cloud,
        snapshotter.info(&handle).await,
        "what a volume is like that is gone",
    );
    is_missing(
        cloud,
        ask(cloud, &test, &new_token()).await,
        "a snapshot of a volume that is gone",
    );
    if snapshotter.capabilities().find {
        found_by(snapshotter, &token, &snapshot).await;
        let again = ask(cloud, &test, &token).await;
        assert_eq!(again.expect("it was made before"), snapshot);
    }
    whole(snapshotter, &snapshot).await;
    if let Restores::Volumes(maker) = snapshotter.restores() {
        let made = make(maker, &snapshot, &wanted, &new_token()).await;
        cloud.remove_volume(&made.expect("made")).await;
    }
    snapshotter.delete_snapshot(&snapshot).await.unwrap();
    is_gone(snapshotter, &token, &snapshot).await;
}

async fn what_is_not_known(cloud: &dyn Cloud) {
    let snapshotter = cloud.snapshotter();
    let absent = cloud.absent_snapshot();
    snapshotter
        .delete_snapshot(&absent)
        .await
        .expect("one that is not there is fine");
    let capabilities = snapshotter.capabilities();
    if capabilities.states {
        let none = snapshotter.snapshot_states(&[]).await.unwrap();
        assert_eq!(none, []);
        let states = snapshotter.snapshot_states(std::slice::from_ref(&absent));
        assert_eq!(states.await.unwrap(), [SnapshotState::Gone]);
    } else {
        let states = snapshotter.snapshot_states(std::slice::from_ref(&absent));
        is(states.await, SnapshotErrorKind::NotSupported, "states");
    }
    if !capabilities.find {
        let found = snapshotter.find_snapshots(&new_token()).await;
        is(found, SnapshotErrorKind::NotSupported, "find");
    }
    match snapshotter.restores() {
        Restores::Volumes(maker) => {
            let test = cloud.make_volume().await;
            let info = info_to_make(snapshotter, &test).await;
            let made = make(maker, &absent, &info, &new_token()).await;
            is_missing(cloud, made, "a volume from nothing");
            remove(cloud, &test).await;
        }
        Restores::Claims(filler) => {
            let offered = offer(filler, &absent, &cloud.namespace().await, &new_token()).await;
            is_missing(cloud, offered, "a source from nothing");
        }
    }
}
