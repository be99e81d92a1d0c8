//! The server as the manifests install it: their own namespace, ServiceAccount, token and rights.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ark::api::{BackupSpec, RestorePhase, RestoreSpec};
use ark::cluster::Cluster;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::hooked::{Marks, pod, start};
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::namespace::{create_namespace, delete_namespace};
use crate::support::objects::apply_yaml;
use crate::support::runs::{assert_clean_backup, assert_clean_restore};

const PREREQUISITES: &str = include_str!("../../manifests/common/00-prereqs.yaml");
const BACKUP_ONLY: &str = include_str!("../../manifests/common/00-prereqs-backup-only.yaml");
const NGINX: &str = include_str!("../../manifests/nginx-app/base.yaml");

/// Returns a token of the account that the server runs with.
async fn token_of_account(plane: &ControlPlane, namespace: &str) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(plane.client(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request("ark", &PostParams::default(), &request)
        .await?;
    Ok(token.status.map(|status| status.token).unwrap_or_default())
}

/// Writes a kubeconfig of the account that the server runs with.
pub(crate) async fn kubeconfig_of_account(
    plane: &ControlPlane,
    namespace: &str,
) -> Result<PathBuf> {
    let token = token_of_account(plane, namespace).await?;
    let own = fs::read_to_string(plane.kubeconfig())?;
    assert!(own.contains(plane.admin_token()));
    let kubeconfig = plane.dir().join(format!("{namespace}.kubeconfig"));
    fs::write(&kubeconfig, own.replace(plane.admin_token(), &token))?;
    Ok(kubeconfig)
}

/// Returns Ark as one of the manifests installs it.
async fn install<'a>(plane: &'a ControlPlane, prerequisites: &str) -> Result<Installation<'a>> {
    apply_yaml(&plane.client(), prerequisites).await?;
    let kubeconfig = kubeconfig_of_account(plane, "heptio-ark").await?;
    let store = Store::local(plane)?;
    let ark = Installation::in_namespace(plane, store, "heptio-ark".to_owned(), kubeconfig)?;
    ark.configure_own_store().await?;
    Ok(ark)
}

fn of_namespace(name: &str) -> BackupSpec {
    BackupSpec {
        included_namespaces: vec![name.to_owned()],
        ..BackupSpec::default()
    }
}

fn from(backup: &str) -> RestoreSpec {
    RestoreSpec {
        backup_name: backup.to_owned(),
        ..RestoreSpec::default()
    }
}

#[tokio::test]
async fn the_manifests_rights_suffice() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = install(&plane, PREREQUISITES).await?;
    let server = ark.serve().await?;
    create_namespace(&client, "guarded").await?;
    assert_clean_backup(&ark.back_up("guarded", of_namespace("guarded")).await?);
    assert_clean_backup(&ark.back_up("everything", BackupSpec::default()).await?);
    delete_namespace(&client, "guarded").await?;
    assert_clean_restore(&ark.restore("guarded", from("guarded")).await?);
    server.stop()
}

#[tokio::test]
async fn backups_need_no_right_to_write() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = install(&plane, BACKUP_ONLY).await?;
    apply_yaml(&client, NGINX).await?;
    let marks = Marks::new(&plane)?;
    let hooks = json!({
        "pre.hook.backup.ark.heptio.com/command": marks.mark("db", "pre"),
        "post.hook.backup.ark.heptio.com/command": marks.mark("db", "post"),
    });
    start(&client, "nginx-example", vec![pod("db", &hooks)]).await?;
    let server = ark.serve().await?;
    assert_clean_backup(&ark.back_up("nginx", of_namespace("nginx-example")).await?);
    assert_eq!(marks.of("db"), "pre post");
    assert_clean_backup(&ark.back_up("everything", BackupSpec::default()).await?);

    // A restore ends with what the API server says, whether the namespace is there or not.
    delete_namespace(&client, "nginx-example").await?;
    let refused =
        "namespaces is forbidden: User \"system:serviceaccount:heptio-ark:ark\" cannot create";
    let restore = ark.restore("without-namespace", from("nginx")).await?;
    let status = restore.status.context("a status")?;
    assert_eq!(status.phase, RestorePhase::Failed, "{status:?}");
    let reason = status.failure_reason.unwrap_or_default();
    assert!(reason.contains(refused), "{reason}");
    // Where the namespace is, it counts as there, as does the account in it: all else is an error.
    create_namespace(&client, "nginx-example").await?;
    let restore = ark.restore("within-namespace", from("nginx")).await?;
    let status = restore.status.context("a status")?;
    let counts = status.counts.context("counts")?;
    assert!(status.phase != RestorePhase::Completed && status.errors > 0);
    assert!(counts.create == 0 && counts.conflict > 2, "{counts:?}");
    let services = Api::<Service>::namespaced(client.clone(), "nginx-example");
    assert!(services.get_opt("my-nginx").await?.is_none());

    // Ark's own objects and the store are its to change.
    ark.ark(&["backup", "delete", "nginx", "--confirm"])?;
    assert_clean_backup(&ark.back_up("again", of_namespace("default")).await?);
    server.stop()
}

/// Asks the API server what the holder of a client may do.
async fn may(client: &kube::Client, spec: SelfSubjectAccessReviewSpec) -> Result<bool> {
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let review = SelfSubjectAccessReview {
        spec,
        ..SelfSubjectAccessReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Describes a verb on a type, named `resource` or `resource/subresource`.
fn on(verb: &str, group: &str, resource: &str, namespace: &str) -> SelfSubjectAccessReviewSpec {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    SelfSubjectAccessReviewSpec {
        resource_attributes: Some(ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some("some".to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SelfSubjectAccessReviewSpec::default()
    }
}

#[tokio::test]
async fn the_account_of_backup_only_writes_nothing_of_anybody_else() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let admin = plane.client();
    apply_yaml(&admin, BACKUP_ONLY).await?;
    create_namespace(&admin, "other").await?;
    let account = plane.client_as(&token_of_account(&plane, "heptio-ark").await?);

    let discovery = Cluster::new(admin.clone(), None).discover().await?;
    let asked = discovery.types().iter().filter(|one| {
        // Questions, which everybody may ask; they change nothing.
        !["authentication.k8s.io", "authorization.k8s.io"].contains(&one.group.as_str())
    });
    let mut allowed = Vec::new();
    let mut count = 0;
    for one in asked {
        let namespace = if one.namespaced { "other" } else { "" };
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            count += 1;
            if may(&account, on(verb, &one.group, &one.resource, namespace)).await? {
                allowed.push(format!("{verb} {}", one.group_resource()));
            }
        }
    }
    assert!(count > 200, "{count} rights were asked for");
    assert_eq!(allowed, Vec::<String>::new());

    // And in deed, on an object that is there.
    let name = "kube-root-ca.crt";
    let theirs = Api::<ConfigMap>::namespaced(account.clone(), "other");
    let before = theirs.get(name).await?;
    let mut mine = ConfigMap::default();
    mine.metadata.name = Some("mine".to_owned());
    let patch = json!({"data": {"ca.crt": "mine"}});
    for answer in [
        theirs.create(&PostParams::default(), &mine).await.map(drop),
        theirs
            .replace(name, &PostParams::default(), &before)
            .await
            .map(drop),
        theirs
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop),
        theirs
            .delete(name, &DeleteParams::default())
            .await
            .map(drop),
    ] {
        match answer {
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            other => panic!("the account did what it may not: {other:?}"),
        }
    }
    assert_eq!(theirs.get(name).await?, before);
    Ok(())
}

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// Verb, group, type, namespace, and whether the account has the right.
const RIGHTS: [(&str, &str, &str, &str, bool); 33] = [
    ("list", "", "secrets", "other", true),
    ("list", "example.org", "anything", "other", true),
    ("get", "", "persistentvolumes", "", true),
    (
        "get",
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "",
        true,
    ),
    // Hooks.
    ("create", "", "pods/exec", "other", true),
    ("get", "", "pods/exec", "other", true),
    // CSI snapshots, and what a snapshot is not made or removed with.
    ("create", SNAPSHOTS, "volumesnapshots", "other", true),
    ("delete", SNAPSHOTS, "volumesnapshots", "other", true),
    ("delete", SNAPSHOTS, "volumesnapshotcontents", "", true),
    ("patch", SNAPSHOTS, "volumesnapshotclasses", "", false),
    ("patch", "", "persistentvolumeclaims", "other", false),
    ("delete", "", "persistentvolumes", "", false),
    // Ways around.
    ("get", "", "nodes/proxy", "", false),
    ("get", "", "pods/proxy", "other", false),
    ("get", "", "services/proxy", "other", false),
    ("create", "", "pods/portforward", "other", false),
    ("get", "", "pods/portforward", "other", false),
    ("create", "", "pods/attach", "other", false),
    ("get", "", "pods/attach", "other", false),
    ("patch", "", "pods/ephemeralcontainers", "other", false),
    ("create", "", "pods/eviction", "other", false),
    ("create", "", "serviceaccounts/token", "heptio-ark", false),
    ("update", "apps", "deployments/scale", "other", false),
    ("impersonate", "", "users", "", false),
    (
        "escalate",
        "rbac.authorization.k8s.io",
        "clusterroles",
        "",
        false,
    ),
    (
        "bind",
        "rbac.authorization.k8s.io",
        "clusterroles",
        "",
        false,
    ),
    // Its own namespace.
    ("patch", "ark.heptio.com", "backups", "heptio-ark", true),
    (
        "patch",
        "ark.heptio.com",
        "backups/status",
        "heptio-ark",
        true,
    ),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        "heptio-ark",
        true,
    ),
    ("create", "events.k8s.io", "events", "heptio-ark", true),
    ("get", "", "secrets", "heptio-ark", true),
    ("update", "", "secrets", "heptio-ark", false),
    ("patch", "apps", "deployments", "heptio-ark", false),
];

#[tokio::test]
async fn the_account_of_backup_only_has_no_way_around() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    apply_yaml(&plane.client(), BACKUP_ONLY).await?;
    let account = plane.client_as(&token_of_account(&plane, "heptio-ark").await?);
    for (verb, group, resource, namespace, expected) in RIGHTS {
        assert_eq!(
            may(&account, on(verb, group, resource, namespace)).await?,
            expected,
            "{verb} {resource}.{group} in {namespace:?}"
        );
    }
    let discovers = SelfSubjectAccessReviewSpec {
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some("/apis/apps/v1".to_owned()),
            verb: Some("get".to_owned()),
        }),
        ..SelfSubjectAccessReviewSpec::default()
    };
    assert!(may(&account, discovers).await?);

    Ok(())
}
