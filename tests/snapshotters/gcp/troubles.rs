//! What goes wrong at Google.

use ark::providers::snapshotter::{SnapshotErrorKind, SnapshotState, VolumeId};
use http::Method;
use serde_json::Value;

use super::{Form, World};
use crate::common::one_line;
use crate::support::clouds::compute_engine::{Pace, refusal};
use crate::support::clouds::{Reply, Trouble};
use crate::support::snapshotter_conformance::{Cloud as _, ask, new_token, whole};

const SNAPSHOTS: &str = "/global/snapshots";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_gets_lost_makes_nothing_twice() {
    let world = World::plain().await;
    let lost = |end: &str| Trouble {
        method: Method::POST,
        end: end.to_owned(),
        times: 1,
        reply: refusal(503, "backendError", "Backend Error"),
        afterwards: true,
    };
    let test = world.make_volume().await;
    world.fake.trouble(lost(SNAPSHOTS));
    let snapshot = ask(&world, &test, &new_token()).await.unwrap();
    assert_eq!(world.fake.snapshots(), [snapshot.0.as_str()]);
    whole(world.snapshotter(), &snapshot).await;

    let info = world.info(&test).await;
    world.fake.trouble(lost("/disks"));
    let made = world.make(&snapshot, &info, &new_token()).await.unwrap();
    assert_eq!(world.fake.disks().len(), 2);
    assert!(world.fake.content(&made.0).is_some());

    world.fake.trouble(Trouble {
        method: Method::DELETE,
        end: snapshot.0.rsplit('/').next().unwrap().to_owned(),
        ..lost("")
    });
    world.snapshotter.delete_snapshot(&snapshot).await.unwrap();
    let state = world
        .snapshotter
        .snapshot_states(std::slice::from_ref(&snapshot))
        .await
        .unwrap();
    assert_eq!(state, [SnapshotState::Gone]);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_is_found_when_it_is_asked_for_again() {
    let world = World::new(Form::CsiRegional, &[("apiTimeout", "1s")]).await;
    world.fake.pace(Pace {
        cut: 10,
        disk: 10,
        ..Pace::default()
    });
    let test = world.make_volume().await;
    let token = new_token();
    let error = ask(&world, &test, &token).await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::NotReady);
    assert!(error.to_string().contains("config.apiTimeout"), "{error}");
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    assert_eq!(found.len(), 1, "it can be found and removed");
    world.fake.pace(Pace::default());
    let snapshot = loop {
        match ask(&world, &test, &token).await {
            Ok(snapshot) => break snapshot,
            Err(error) => assert_eq!(error.kind, SnapshotErrorKind::NotReady, "{error}"),
        }
    };
    assert_eq!(found, std::slice::from_ref(&snapshot));
    whole(world.snapshotter(), &snapshot).await;

    world.fake.pace(Pace {
        disk: 10,
        ..Pace::default()
    });
    let info = world.info(&test).await;
    let token = new_token();
    let error = world.make(&snapshot, &info, &token).await.unwrap_err();
    assert_eq!(error.kind, SnapshotErrorKind::NotReady, "{error}");
    let made: VolumeId = loop {
        match world.make(&snapshot, &info, &token).await {
            Ok(made) => break made,
            Err(error) => assert_eq!(error.kind, SnapshotErrorKind::NotReady, "{error}"),
        }
    };
    assert_eq!(world.fake.disk(&made.0).unwrap()["status"], "READY");
    assert_eq!(world.fake.disks().len(), 2);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_told_at_once_and_when_an_operation_meets_it() {
    let world = World::plain().await;
    world.fake.quota(1);
    let (test, snapshot) = world.snapshot().await;
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Quota);
    let said = error.to_string();
    assert!(said.contains("Quota 'SNAPSHOTS' exceeded"), "{said}");
    assert!(said.contains("ask for a higher quota"), "{said}");
    world.snapshotter.delete_snapshot(&snapshot).await.unwrap();

    let sentence = "Quota 'SNAPSHOTS_SIZE' exceeded.";
    world
        .fake
        .next_snapshot_fails(("QUOTA_EXCEEDED", sentence, 403));
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Quota);
    assert!(error.to_string().contains("SNAPSHOTS_SIZE"), "{error}");
    assert_eq!(world.fake.snapshots(), [""; 0]);
    // It was this one only.
    world.snapshot().await;
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_error_is_told_and_can_be_removed() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let sentence = "Internal error. Please try again.";
    world
        .fake
        .next_snapshot_is_broken(("INTERNAL_ERROR", sentence, 500));
    let token = new_token();
    let error = ask(&world, &test, &token).await.unwrap_err();
    one_line(&error);
    assert!(error.to_string().contains("Internal error"), "{error}");
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    let states = world.snapshotter.snapshot_states(&found).await.unwrap();
    assert!(
        matches!(states[..], [SnapshotState::Failed(_)]),
        "{states:?}"
    );
    let again = ask(&world, &test, &token).await.unwrap_err();
    assert!(again.to_string().contains("FAILED"), "{again}");
    let info = world.info(&test).await;
    let error = world
        .make(&found[0], &info, &new_token())
        .await
        .unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Other, "{error}");
    world.snapshotter.delete_snapshot(&found[0]).await.unwrap();
    assert_eq!(world.fake.snapshots(), [""; 0]);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_gone_is_named() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let id = world.handle(&test).await.id;
    world.fake.remove_disk(&id.0);
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::NotFound);
    let start = format!("disk {id} cannot be snapshot: status 404 notFound");
    assert!(error.to_string().starts_with(&start), "{error}");
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_is_had_as_long_as_the_settings_say() {
    let world = World::new(Form::Csi, &[("apiTimeout", "2s")]).await;
    let test = world.make_volume().await;
    let slower =
        |status, reason| refusal(status, reason, "Rate Limit Exceeded").with("retry-after", "1");
    for reply in [
        slower(429, "rateLimitExceeded"),
        slower(403, "rateLimitExceeded"),
        slower(503, "backendError"),
    ] {
        world.trouble(Method::POST, SNAPSHOTS, 1, reply);
        ask(&world, &test, &new_token()).await.unwrap();
    }
    assert_eq!(world.fake.asked(&Method::POST, SNAPSHOTS), 6);

    world.trouble(
        Method::POST,
        SNAPSHOTS,
        100,
        slower(429, "rateLimitExceeded"),
    );
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Throttled);
    assert!(error.to_string().contains("config.apiTimeout"), "{error}");
    let asked = world.fake.asked(&Method::POST, SNAPSHOTS) - 6;
    assert!(
        (2..=3).contains(&asked),
        "once a second for two seconds: {asked}"
    );
    world.fake.no_trouble();

    // Longer than all of it is not waited for at all.
    let later = refusal(503, "backendError", "Backend Error").with("retry-after", "60");
    world.trouble(Method::POST, SNAPSHOTS, 100, later);
    let before = world.fake.asked(&Method::POST, SNAPSHOTS);
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Throttled);
    assert_eq!(world.fake.asked(&Method::POST, SNAPSHOTS), before + 1);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_bridged_and_a_long_one_told() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    world.trouble(
        Method::POST,
        SNAPSHOTS,
        2,
        refusal(500, "internalError", "Oops"),
    );
    let proxy = Reply::new(502, Value::String("<html>\nBad Gateway".to_owned()));
    ask(&world, &test, &new_token()).await.unwrap();

    world.trouble(Method::GET, SNAPSHOTS, 100, proxy);
    let error = world.snapshotter.check().await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Unreachable);
    assert!(
        error.to_string().contains("status 502; try again later"),
        "{error}"
    );
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_sent_elsewhere() {
    let world = World::plain().await;
    let elsewhere = refusal(307, "", "").with("location", "http://127.0.0.1:1/");
    world.trouble(Method::GET, SNAPSHOTS, 100, elsewhere);
    let error = world.snapshotter.check().await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Other, "{error}");
}
