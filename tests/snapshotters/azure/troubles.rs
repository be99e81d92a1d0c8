//! What goes wrong at Azure.

use ark::providers::snapshotter::{SnapshotErrorKind, SnapshotState, VolumeId};
use http::Method;
use serde_json::Value;

use super::{Form, World};
use crate::common::one_line;
use crate::support::clouds::managed_disks::{Follow, Pace, VAULT, refusal};
use crate::support::clouds::{Reply, Trouble};
use crate::support::snapshotter_conformance::{Cloud as _, ask, new_token, whole};

/// What the path of a snapshot under this token ends with.
fn end(token: &str) -> String {
    format!("-{token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_gets_lost_makes_nothing_twice() {
    let world = World::plain().await;
    let lost = |method: Method, end: String| Trouble {
        method,
        end,
        times: 1,
        reply: refusal(500, "InternalServerError", "Oops."),
        afterwards: true,
    };
    let test = world.make_volume().await;
    let token = new_token();
    world.fake.trouble(lost(Method::PUT, end(&token)));
    let snapshot = ask(&world, &test, &token).await.unwrap();
    assert_eq!(world.fake.count("snapshots"), 1);
    whole(world.snapshotter(), &snapshot).await;

    let info = world.info(&test).await;
    let restore = new_token();
    world.fake.trouble(lost(Method::PUT, end(&restore)));
    world.make(&snapshot, &info, &restore).await.unwrap();
    assert_eq!(world.fake.count("disks"), 2);

    world.fake.trouble(lost(Method::DELETE, end(&token)));
    world.snapshotter.delete_snapshot(&snapshot).await.unwrap();
    let gone = std::slice::from_ref(&snapshot);
    let states = world.snapshotter.snapshot_states(gone).await.unwrap();
    assert_eq!(states, [SnapshotState::Gone]);
    world.fake.kept();
}

#[rstest::rstest]
#[case(Follow::Operation)]
#[case(Follow::Location)]
#[case(Follow::State)]
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_is_found_when_it_is_asked_for_again(#[case] follow: Follow) {
    let settings = [("apiTimeout", "1s"), ("resourceGroup", VAULT)];
    let world = World::new(Form::Csi, &settings).await;
    world.fake.follow(follow);
    let slow = Pace {
        operation: 10,
        copy: 0,
    };
    world.fake.pace(slow);
    let test = world.make_volume().await;
    let token = new_token();
    let error = ask(&world, &test, &token).await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::NotReady);
    assert!(error.to_string().contains("config.apiTimeout"), "{error}");
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    assert_eq!(found.len(), 1, "it can be found and removed");
    let snapshot = loop {
        match ask(&world, &test, &token).await {
            Ok(snapshot) => break snapshot,
            Err(error) => assert_eq!(error.kind, SnapshotErrorKind::NotReady, "{error}"),
        }
    };
    assert_eq!(found, std::slice::from_ref(&snapshot));
    whole(world.snapshotter(), &snapshot).await;

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
    let made = world.fake.resource(&made.0).unwrap();
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    assert_eq!(world.fake.count("disks"), 2);
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
    assert!(
        said.contains("exceeding approved SnapshotCount quota"),
        "{said}"
    );
    assert!(said.contains("ask for a higher quota"), "{said}");
    world.snapshotter.delete_snapshot(&snapshot).await.unwrap();

    let sentence = "The disk has 500 incremental snapshots.";
    for follow in [Follow::Operation, Follow::Location] {
        world.fake.follow(follow);
        world.fake.next_fails(("SnapshotCountExceeded", sentence));
        let error = world.refused(&test).await;
        assert_eq!(error.kind, SnapshotErrorKind::Quota);
        assert!(error.to_string().contains("500 incremental"), "{error}");
        assert_eq!(world.fake.count("snapshots"), 0);
    }
    // It was these only.
    world.snapshot().await;
    world.fake.kept();
}

#[rstest::rstest]
#[case(Follow::Operation)]
#[case(Follow::State)]
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_error_is_told_and_can_be_removed(#[case] follow: Follow) {
    let world = World::plain().await;
    world.fake.follow(follow);
    let test = world.make_volume().await;
    world
        .fake
        .next_is_broken(("ConflictingUserInput", "It cannot be.\nTry not."));
    let token = new_token();
    let error = ask(&world, &test, &token).await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Other);
    let expected = match follow {
        Follow::State => "Failed",
        _ => "ConflictingUserInput: It cannot be",
    };
    assert!(error.to_string().contains(expected), "{error}");
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    let states = world.snapshotter.snapshot_states(&found).await.unwrap();
    assert!(
        matches!(states[..], [SnapshotState::Failed(_)]),
        "{states:?}"
    );
    let again = ask(&world, &test, &token).await.unwrap_err();
    assert!(again.to_string().contains("Failed"), "{again}");
    let info = world.info(&test).await;
    let error = world
        .make(&found[0], &info, &new_token())
        .await
        .unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Other, "{error}");
    world.snapshotter.delete_snapshot(&found[0]).await.unwrap();
    assert_eq!(world.fake.count("snapshots"), 0);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_gone_is_named() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let id = world.handle(&test).await.id;
    world.fake.remove(&id.0);
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::NotFound);
    let start = format!("disk {id} cannot be snapshot: status 404 ResourceNotFound");
    assert!(error.to_string().starts_with(&start), "{error}");
    // With its group.
    let mut test = test;
    test.volume["spec"]["csi"]["volumeHandle"] = id.0.replace("MC_group", "absent").into();
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::NotFound, "{error}");
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_is_had_as_long_as_the_settings_say() {
    let settings = [("apiTimeout", "2s"), ("resourceGroup", VAULT)];
    let world = World::new(Form::Csi, &settings).await;
    let test = world.make_volume().await;
    let slower = |status, code| {
        refusal(status, code, "The request is being throttled.").with("retry-after", "1")
    };
    for reply in [
        slower(429, "OperationNotAllowed"),
        slower(503, "ServerTimeout"),
    ] {
        let token = new_token();
        world.trouble(Method::PUT, &end(&token), 1, reply);
        ask(&world, &test, &token).await.unwrap();
        assert_eq!(world.fake.asked(&Method::PUT, &token), 2);
    }

    let token = new_token();
    world.trouble(
        Method::PUT,
        &end(&token),
        100,
        slower(429, "TooManyRequests"),
    );
    let error = ask(&world, &test, &token).await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Throttled);
    assert!(error.to_string().contains("config.apiTimeout"), "{error}");
    let asked = world.fake.asked(&Method::PUT, &token);
    assert!(
        (2..=3).contains(&asked),
        "once a second for two seconds: {asked}"
    );

    // Longer than all of it is not waited for at all.
    let token = new_token();
    let later = refusal(429, "TooManyRequests", "").with("retry-after", "60");
    world.trouble(Method::PUT, &end(&token), 100, later);
    let error = ask(&world, &test, &token).await.unwrap_err();
    assert_eq!(error.kind, SnapshotErrorKind::Throttled);
    assert_eq!(world.fake.asked(&Method::PUT, &token), 1);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_bridged_and_a_long_one_told() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let token = new_token();
    world.trouble(Method::PUT, &end(&token), 2, refusal(502, "", ""));
    ask(&world, &test, &token).await.unwrap();

    let proxy = Reply::new(502, Value::String("<html>\nBad Gateway".to_owned()));
    world.trouble(Method::GET, "/snapshots", 100, proxy);
    let error = world.snapshotter.check().await.unwrap_err();
    one_line(&error);
    assert_eq!(error.kind, SnapshotErrorKind::Unreachable);
    assert!(
        error.to_string().contains("status 502; try again later"),
        "{error}"
    );
    world.fake.kept();
}

/// An answer may name addresses, but a token goes to the manager only.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_sent_elsewhere() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let token = new_token();
    let elsewhere = "http://127.0.0.1:1/";
    world.fake.trouble(Trouble {
        method: Method::PUT,
        end: end(&token),
        times: 1,
        reply: Reply::new(202, Value::Null)
            .with("azure-asyncoperation", elsewhere)
            .with("location", elsewhere),
        afterwards: true,
    });
    // It is followed by what it is about.
    ask(&world, &test, &token).await.unwrap();

    let page = serde_json::json!({"value": [], "nextLink": elsewhere});
    world.trouble(Method::GET, "/snapshots", 1, Reply::new(200, page));
    let error = world.snapshotter.find_snapshots(&token).await.unwrap_err();
    one_line(&error);
    assert!(error.to_string().contains("at another server"), "{error}");

    let redirect = Reply::new(307, Value::Null).with("location", elsewhere);
    world.trouble(Method::GET, "/snapshots", 100, redirect);
    let error = world.snapshotter.check().await.unwrap_err();
    assert_eq!(error.kind, SnapshotErrorKind::Other, "{error}");
    world.fake.kept();
}
