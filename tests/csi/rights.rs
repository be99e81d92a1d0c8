//! The rights that the manifests give suffice, those of an installation that only backs up too.

use anyhow::Result;
use ark::providers::snapshotter::SnapshotErrorKind;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use crate::ask::{Bound, open, until_ready};
use crate::support::control_plane::ControlPlane;
use crate::support::csi::{Csi, DRIVER};
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::snapshotter_conformance::new_token;

const BACKUP_ONLY: &str = include_str!("../../manifests/common/00-prereqs-backup-only.yaml");

/// Returns a client of an account.
async fn client_of(plane: &ControlPlane, namespace: &str, account: &str) -> Result<kube::Client> {
    let accounts = Api::<ServiceAccount>::namespaced(plane.client(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    Ok(plane.client_as(&token.status.map(|status| status.token).unwrap_or_default()))
}

#[tokio::test]
async fn backups_of_volumes_need_no_more_than_the_manifests_give() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    apply_yaml(&plane.client(), BACKUP_ONLY).await?;
    let namespace = TestNamespace::new(plane, "rights").await?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let snapshotter = open(&client_of(plane, "heptio-ark", "ark").await?, &[])?;
    snapshotter.check().await?;
    let token = new_token();
    let id = bound.snapshot(snapshotter.as_ref(), &token).await?;
    until_ready(snapshotter.as_ref(), &id).await?;
    assert_eq!(
        snapshotter.find_snapshots(&token).await?,
        std::slice::from_ref(&id)
    );
    snapshotter.delete_snapshot(&id).await?;
    // One that was made in another cluster.
    let elsewhere =
        ark::providers::snapshotter::SnapshotId(format!("{DRIVER}/snapshots/elsewhere"));
    snapshotter.delete_snapshot(&elsewhere).await?;
    Ok(())
}

#[tokio::test]
async fn rights_that_are_missing_are_told() -> Result<()> {
    let (plane, csi) = (ControlPlane::shared().await, Csi::shared().await);
    let namespace = TestNamespace::new(plane, "powerless").await?;
    let bound = Bound::make(csi, namespace.name(), "data").await?;
    let powerless = open(&client_of(plane, namespace.name(), "default").await?, &[])?;
    for error in [
        powerless.check().await.unwrap_err(),
        bound
            .snapshot(powerless.as_ref(), &new_token())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind, SnapshotErrorKind::Denied, "{error}");
        assert!(
            error.to_string().contains("cannot list resource"),
            "{error}"
        );
    }
    Ok(())
}
