//! The server dies at each write of a snapshot's life, before it is sent and after; the next one goes on.

use anyhow::{Context as _, Result, ensure};
use ark::providers::snapshotter::{SnapshotId, tags};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::ask::{Bound, offer, open, until_ready, withdraw};
use crate::mortal::{Death, Mortal};
use crate::objects::{contents, contents_of, snapshots, snapshots_of};
use crate::support::control_plane::ControlPlane;
use crate::support::csi::{Csi, DRIVER, Fault, RETAINING_CLASS};
use crate::support::namespace::TestNamespace;
use crate::support::snapshotter_conformance::{Tags, new_token};
use crate::support::{PATIENCE, wait_until};

/// Every place to die at, until there are no more writes.
fn deaths() -> impl Iterator<Item = Death> {
    (0..).flat_map(|number| [Death::Before(number), Death::After(number)])
}

fn handle_of(id: &SnapshotId) -> String {
    id.0.trim_start_matches(&format!("{DRIVER}/")).to_owned()
}

/// Returns the driver's snapshots of a volume.
fn of_volume(csi: &Csi<'_>, volume: &str) -> Result<Vec<String>> {
    let mut all = csi.snapshots()?;
    all.retain(|handle| csi.source_of(handle).is_ok_and(|source| source == volume));
    Ok(all)
}

/// Waits until nothing is left of what was asked for under a token.
async fn nothing_left(client: &kube::Client, namespace: &str, token: &str) -> Result<()> {
    let label = ListParams::default().labels(&format!("{}={token}", tags::TOKEN));
    let api = contents(client);
    wait_until("nothing is left", PATIENCE, async || {
        let contents = api.list(&label).await?.items.len();
        let snapshots = snapshots_of(client, namespace).await?;
        ensure!(
            contents == 0 && snapshots.is_empty(),
            "{contents} contents, {snapshots:?}"
        );
        Ok(Some(()))
    })
    .await
}

/// Makes snapshots of a claim with a server that dies at every write in turn.
async fn die_making(name: &str, annotations: Tags) -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, name).await?;
    let next = open(&client, &[])?;
    let mut bound = Bound::make(csi, namespace.name(), "data").await?;
    bound.annotations = annotations;
    let volume = csi.handle_of(namespace.name(), "data").await?;
    for death in deaths() {
        let token = new_token();
        let mortal = Mortal::new(&client, death);
        let first = open(&mortal.client, &[])?;
        // To where the engine's interest ends: it is settled while it is looked at.
        let whole_life = async {
            let id = bound.snapshot(first.as_ref(), &token).await?;
            until_ready(first.as_ref(), &id).await.map(|_| id)
        };
        let ended = mortal.run(whole_life).await;
        drop(first);

        let found = next.find_snapshots(&token).await?;
        match (&ended, death) {
            (Some(id), _) => assert_eq!(found, [id.as_ref().unwrap().clone()], "{death:?}"),
            (None, Death::Before(0)) => assert_eq!(found, [], "nothing was asked for"),
            (None, _) => assert_eq!(found.len(), 1, "{death:?}"),
        }
        assert_eq!(
            next.find_snapshots(&token).await?,
            found,
            "{death:?}: found again"
        );
        assert_eq!(of_volume(csi, &volume)?.len(), found.len(), "{death:?}");
        for id in &found {
            until_ready(next.as_ref(), id).await?;
            assert_eq!(
                snapshots_of(&client, namespace.name()).await?,
                [""; 0],
                "{death:?}"
            );
            next.delete_snapshot(id).await?;
        }
        nothing_left(&client, namespace.name(), &token).await?;
        assert_eq!(
            of_volume(csi, &volume)?,
            [""; 0],
            "{death:?}: nothing is orphaned"
        );
        if ended.is_some() {
            return Ok(());
        }
    }
    unreachable!("the deaths go on for ever")
}

#[tokio::test]
async fn a_snapshot_is_found_wherever_its_making_stopped() -> Result<()> {
    die_making("made", Tags::new()).await
}

#[tokio::test]
async fn a_snapshot_of_a_retaining_class_is_found_wherever_its_making_stopped() -> Result<()> {
    let key = format!("velero.io/csi-volumesnapshot-class_{DRIVER}");
    die_making("retained", [(key, RETAINING_CLASS.to_owned())].into()).await
}

/// The namespace is deleted while the driver is at work, and nobody is there to see it.
#[tokio::test]
async fn a_snapshot_whose_namespace_goes_before_it_has_begun_is_found() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "left").await?;
    let snapshotter = open(&client, &[])?;
    let mut bound = Bound::make(csi, namespace.name(), "data").await?;
    let key = format!("velero.io/csi-volumesnapshot-class_{DRIVER}");
    bound.annotations = [(key, RETAINING_CLASS.to_owned())].into();
    let volume = csi.handle_of(namespace.name(), "data").await?;
    csi.set(&volume, Fault::Waits("CreateSnapshot"), true)?;
    let token = new_token();
    let of = ListParams::default().labels(&format!("{}={token}", tags::TOKEN));
    let api = contents(&client);
    let labelled = wait_until("the content is labelled", PATIENCE, async || {
        Ok(api.list(&of).await?.items.pop())
    });
    tokio::select! {
        made = bound.snapshot(snapshotter.as_ref(), &token) => panic!("{made:?}"),
        labelled = labelled => labelled.map(drop)?,
    }
    let snapshots = snapshots(&client, namespace.name());
    let name = format!("ark-{token}");
    snapshots.delete(&name, &DeleteParams::default()).await?;
    wait_until("the VolumeSnapshot is gone", PATIENCE, async || {
        Ok(snapshots.get_opt(&name).await?.is_none().then_some(()))
    })
    .await?;
    csi.set(&volume, Fault::Waits("CreateSnapshot"), false)?;
    let found = snapshotter.find_snapshots(&token).await?;
    assert_eq!(found.len(), 1, "{found:?}");
    until_ready(snapshotter.as_ref(), &found[0]).await?;
    snapshotter.delete_snapshot(&found[0]).await?;
    nothing_left(&client, namespace.name(), &token).await?;
    assert_eq!(of_volume(csi, &volume)?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_snapshot_is_removed_wherever_its_removal_stopped() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "removed").await?;
    let next = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    // Of this cluster, with something offered; and of another one.
    for known in [true, false] {
        for death in deaths() {
            let token = new_token();
            let id = bound.snapshot(next.as_ref(), &token).await?;
            until_ready(next.as_ref(), &id).await?;
            if known {
                offer(next.as_ref(), &id, namespace.name(), &new_token()).await?;
            } else {
                forget(&client, &id).await?;
            }
            let mortal = Mortal::new(&client, death);
            let first = open(&mortal.client, &[])?;
            let ended = mortal.run(first.delete_snapshot(&id)).await;
            let last = ended.is_some();
            ended.transpose()?;
            drop(first);
            next.delete_snapshot(&id)
                .await
                .with_context(|| format!("{death:?}"))?;
            assert!(
                !csi.snapshots()?.contains(&handle_of(&id)),
                "{known} {death:?}"
            );
            nothing_left(&client, namespace.name(), &token).await?;
            assert_eq!(
                contents_of(&client, &id).await?.len(),
                0,
                "{known} {death:?}"
            );
            if last {
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_source_is_offered_once_wherever_the_offer_stopped() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "offered").await?;
    let next = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let id = bound.snapshot(next.as_ref(), &new_token()).await?;
    until_ready(next.as_ref(), &id).await?;
    for death in deaths() {
        let token = new_token();
        let mortal = Mortal::new(&client, death);
        let first = open(&mortal.client, &[])?;
        let ended = mortal
            .run(offer(first.as_ref(), &id, namespace.name(), &token))
            .await;
        let last = ended.is_some();
        let source = offer(next.as_ref(), &id, namespace.name(), &token).await?;
        if let Some(first) = ended {
            assert_eq!(first?, source);
        }
        assert_eq!(
            snapshots_of(&client, namespace.name()).await?,
            [source.name]
        );

        // The same of taking it back.
        let ended = mortal_withdrawal(&client, death, &id, namespace.name(), &token).await?;
        withdraw(next.as_ref(), &id, namespace.name(), &token).await?;
        assert_eq!(
            snapshots_of(&client, namespace.name()).await?,
            [""; 0],
            "{death:?}"
        );
        assert_eq!(contents_of(&client, &id).await?.len(), 1, "{death:?}");
        if last && ended {
            break;
        }
    }
    assert!(
        csi.snapshots()?.contains(&handle_of(&id)),
        "nothing of that ends the snapshot"
    );
    next.delete_snapshot(&id).await?;
    Ok(())
}

/// Returns whether a withdrawal came to its end.
async fn mortal_withdrawal(
    client: &kube::Client,
    death: Death,
    id: &SnapshotId,
    namespace: &str,
    token: &str,
) -> Result<bool> {
    let mortal = Mortal::new(client, death);
    let first = open(&mortal.client, &[])?;
    let ended = mortal
        .run(withdraw(first.as_ref(), id, namespace, token))
        .await;
    Ok(ended.transpose()?.is_some())
}

/// Takes away what a cluster knows of a snapshot, and leaves the snapshot, as one that was made elsewhere.
pub(crate) async fn forget(client: &kube::Client, id: &SnapshotId) -> Result<()> {
    let api = contents(client);
    for content in contents_of(client, id).await? {
        let name = content.metadata.name.unwrap_or_default();
        vanish(&api, &name).await?;
    }
    Ok(())
}

/// Deletes a content, whatever would keep it.
async fn vanish(api: &Api<DynamicObject>, name: &str) -> Result<()> {
    let patch = json!({"spec": {"deletionPolicy": "Retain"}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    api.delete(name, &DeleteParams::default()).await?;
    let patch = json!({"metadata": {"finalizers": []}});
    // It may be gone by now.
    let _gone = api
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    wait_until("the content is gone", PATIENCE, async || {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// snapshot-controller may not have noticed yet that a content is to be kept, and delete it together with its
/// VolumeSnapshot.
#[tokio::test]
async fn a_snapshot_outlives_a_controller_that_is_behind() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let client = plane.client();
    let namespace = TestNamespace::new(plane, "behind").await?;
    let next = open(&client, &[])?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let api = contents(&client);
    let mut replaced = 0;
    for death in deaths() {
        let token = new_token();
        let mortal = Mortal::new(&client, death);
        let first = open(&mortal.client, &[])?;
        let ended = mortal.run(bound.snapshot(first.as_ref(), &token)).await;
        let label = ListParams::default().labels(&format!("{}={token}", tags::TOKEN));
        for content in api.list(&label).await?.items {
            let held = content
                .metadata
                .finalizers
                .iter()
                .flatten()
                .any(|one| one == "ark.heptio.com/keep");
            if !held {
                continue;
            }
            // What it would do.
            let name = content.metadata.name.unwrap_or_default();
            let seen = json!({"metadata": {"annotations": {
                "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes",
            }}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&seen))
                .await?;
            api.delete(&name, &DeleteParams::default()).await?;
            replaced += 1;
        }
        for id in next.find_snapshots(&token).await? {
            until_ready(next.as_ref(), &id).await?;
            assert!(csi.snapshots()?.contains(&handle_of(&id)), "{death:?}");
            // The one that was deleted goes as soon as the controller lets it.
            wait_until("one content is left, to stay", PATIENCE, async || {
                let contents = contents_of(&client, &id).await?;
                let stay = |content: &&DynamicObject| content.metadata.deletion_timestamp.is_none();
                let staying = contents.iter().filter(stay).count();
                Ok(((contents.len(), staying) == (1, 1)).then_some(()))
            })
            .await?;
            assert_eq!(
                next.find_snapshots(&token).await?,
                std::slice::from_ref(&id),
                "{death:?}"
            );
            next.delete_snapshot(&id).await?;
            assert!(!csi.snapshots()?.contains(&handle_of(&id)), "{death:?}");
        }
        nothing_left(&client, namespace.name(), &token).await?;
        if ended.is_some() {
            break;
        }
    }
    assert!(replaced > 0, "the case came about");
    Ok(())
}
