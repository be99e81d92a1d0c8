//! The server as the manifests install it: their own namespace, ServiceAccount, token and rights.

use std::fs;

use anyhow::Result;
use ark::api::{BackupSpec, RestoreSpec};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use crate::objects::{assert_clean_backup, assert_clean_restore};
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::namespace::{create_namespace, delete_namespace};
use crate::support::objects::apply_yaml;

const PREREQUISITES: &str = include_str!("../../manifests/common/00-prereqs.yaml");

#[tokio::test]
async fn the_manifests_rights_suffice() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    apply_yaml(&client, PREREQUISITES).await?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "heptio-ark");
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request("ark", &PostParams::default(), &request)
        .await?;
    let token = token.status.map(|status| status.token).unwrap_or_default();
    let own = fs::read_to_string(plane.kubeconfig())?;
    assert!(own.contains(plane.admin_token()));
    let kubeconfig = plane.dir().join("ark.kubeconfig");
    fs::write(&kubeconfig, own.replace(plane.admin_token(), &token))?;

    let ark = Installation::in_namespace(
        &plane,
        Store::local(&plane)?,
        "heptio-ark".to_owned(),
        kubeconfig,
    )?;
    ark.configure_own_store().await?;
    let server = ark.serve().await?;
    create_namespace(&client, "guarded").await?;
    let spec = BackupSpec {
        included_namespaces: vec!["guarded".into()],
        ..BackupSpec::default()
    };
    assert_clean_backup(&ark.back_up("guarded", spec).await?);
    assert_clean_backup(&ark.back_up("everything", BackupSpec::default()).await?);
    delete_namespace(&client, "guarded").await?;
    let spec = RestoreSpec {
        backup_name: "guarded".into(),
        ..RestoreSpec::default()
    };
    assert_clean_restore(&ark.restore("guarded", spec).await?);
    server.stop()
}
