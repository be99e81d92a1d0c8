//! Who asks: applications, workload and managed identities, nobody, strangers, and those whose time is up.

use std::time::Duration;

use ark::providers::Environment;
use ark::providers::snapshotter::SnapshotErrorKind;

use super::{World, variables};
use crate::common::{environment, open, refusal};
use crate::support::clouds::managed_disks::{ASSERTION, ManagedDisks, NODES, SECRET, VAULT};
use crate::support::snapshotter_conformance::{Cloud as _, ask, new_token};

/// Returns the variables without some, and with others.
fn changed(fake: &ManagedDisks, without: &[&str], with: &[(&str, &str)]) -> Environment {
    let mut all = variables(fake);
    all.retain(|(name, _)| !without.contains(name) && with.iter().all(|(other, _)| other != name));
    all.extend(with);
    environment(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_sentence() {
    let fake = ManagedDisks::start().await;
    let settings = [("resourceGroup", VAULT)];
    let refused = async |without: &[&str], with: &[(&str, &str)]| {
        refusal("azure", &settings, &changed(&fake, without, with)).await
    };

    let nobody = refused(
        &["AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"],
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")],
    )
    .await;
    assert_eq!(nobody.kind, SnapshotErrorKind::Denied);
    let said = nobody.to_string();
    assert!(
        said.contains("there are no Azure credentials: none of AZURE_CLIENT_SECRET"),
        "{said}"
    );
    assert!(
        !said.contains("AZURE_STORAGE_KEY"),
        "a key does not help here: {said}"
    );

    let wrong = refused(&[], &[("AZURE_CLIENT_SECRET", "hunter2")]).await;
    assert_eq!(wrong.kind, SnapshotErrorKind::Denied);
    assert!(wrong.to_string().contains("AADSTS7000215"), "{wrong}");
    let half = refused(&["AZURE_TENANT_ID"], &[]).await;
    assert_eq!(half.kind, SnapshotErrorKind::Denied);
    assert!(
        half.to_string().contains("AZURE_TENANT_ID is not"),
        "{half}"
    );

    let no_subscription = refused(&["AZURE_SUBSCRIPTION_ID"], &[]).await;
    assert_eq!(no_subscription.kind, SnapshotErrorKind::Invalid);
    let other = refused(&[], &[("AZURE_SUBSCRIPTION_ID", "other")]).await;
    assert_eq!(other.kind, SnapshotErrorKind::Invalid);
    assert!(
        other.to_string().contains("AZURE_SUBSCRIPTION_ID"),
        "{other}"
    );
    let good = changed(&fake, &[], &[]);
    let no_group = refusal("azure", &[("resourceGroup", "absent")], &good).await;
    assert_eq!(no_group.kind, SnapshotErrorKind::Invalid);
    assert!(
        no_group.to_string().contains("config.resourceGroup"),
        "{no_group}"
    );
    let unknown = refusal("azure", &[("region", "x")], &good).await;
    assert_eq!(unknown.kind, SnapshotErrorKind::Invalid);
    let no_file = refusal("azure", &[("caCert", "/absent/ca.pem")], &good).await;
    assert_eq!(no_file.kind, SnapshotErrorKind::Invalid);
    assert!(
        no_file.to_string().starts_with("config.caCert"),
        "{no_file}"
    );

    let nowhere = "http://127.0.0.1:1";
    fake.known_as(nowhere);
    let silent = refused(&[], &[("AZURE_RESOURCE_MANAGER_ENDPOINT", nowhere)]).await;
    assert_eq!(silent.kind, SnapshotErrorKind::Unreachable);
    let said = silent.to_string();
    assert!(said.contains("AZURE_RESOURCE_MANAGER_ENDPOINT"), "{said}");
    fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_is_not_allowed_is_named() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let mut allowed = vec!["disks/read", "snapshots/read"];
    for (action, code) in [
        ("snapshots/write", "AuthorizationFailed"),
        ("disks/beginGetAccess/action", "LinkedAuthorizationFailed"),
    ] {
        world.fake.grant(
            allowed
                .iter()
                .map(|action| format!("Microsoft.Compute/{action}")),
        );
        let error = world.refused(&test).await;
        assert_eq!(error.kind, SnapshotErrorKind::Denied);
        let said = error.to_string();
        assert!(said.contains(&format!("status 403 {code}")), "{said}");
        assert!(said.contains(action), "{said}");
        assert!(said.contains("docs/providers/azure.md"), "{said}");
        allowed.push(action);
    }
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_and_managed_identities_are_known() {
    let fake = ManagedDisks::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, ASSERTION).unwrap();
    let federated = changed(
        &fake,
        &["AZURE_CLIENT_SECRET"],
        &[("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())],
    );
    let machine = changed(
        &fake,
        &["AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"],
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &fake.address)],
    );
    for environment in [federated, machine] {
        let snapshotter = open("azure", &[], &environment).await.unwrap();
        snapshotter.check().await.unwrap();
        snapshotter.check().await.unwrap();
    }
    assert_eq!(fake.tokens(), 2, "each is kept while it is good");

    // A location's own credentials stand for themselves.
    let text = format!(
        "AZURE_SUBSCRIPTION_ID={}\nAZURE_RESOURCE_GROUP={NODES}\nAZURE_TENANT_ID=tenant\nAZURE_CLIENT_ID=client\n\
         AZURE_CLIENT_SECRET={SECRET}\nAZURE_AUTHORITY_HOST={1}\nAZURE_RESOURCE_MANAGER_ENDPOINT={1}\n",
        crate::support::clouds::managed_disks::SUBSCRIPTION,
        fake.address
    );
    let own = environment(&[("AZURE_CLIENT_SECRET", "hunter2")]);
    let own = own.with_credentials(text.into_bytes()).unwrap();
    let snapshotter = open("azure", &[], &own).await.unwrap();
    snapshotter.check().await.unwrap();
    fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_mid_run_is_replaced() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    ask(&world, &test, &new_token()).await.unwrap();
    assert_eq!(world.fake.tokens(), 1);
    world.fake.expire_tokens();
    ask(&world, &test, &new_token()).await.unwrap();
    assert_eq!(world.fake.tokens(), 2);
    world.fake.kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_withdrawn_end_in_one_sentence() {
    let world = World::plain().await;
    let test = world.make_volume().await;
    let token = new_token();
    ask(&world, &test, &token).await.unwrap();
    world.fake.tokens_last(Duration::ZERO);
    world.fake.expire_tokens();
    let error = world.refused(&test).await;
    assert_eq!(error.kind, SnapshotErrorKind::Denied);
    assert!(
        error.to_string().contains("ExpiredAuthenticationToken"),
        "{error}"
    );
    world.fake.tokens_last(Duration::from_hours(1));
    let found = world.snapshotter.find_snapshots(&token).await.unwrap();
    assert_eq!(found.len(), 1);
    world.fake.kept();
}
