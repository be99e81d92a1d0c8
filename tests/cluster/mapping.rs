//! Restores under other namespaces.

use anyhow::Result;
use ark::api::{BackupSpec, RestoreSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::Api;

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore};
use crate::support::unique_name;

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE, labels: {app: mapped}}
data: {home: NAMESPACE}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: worker, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: worker, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: worker, namespace: NAMESPACE}]
";

#[tokio::test]
async fn several_namespaces_are_restored_under_other_names() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let (first, second) = (
        TestNamespace::new(plane, "first").await?,
        TestNamespace::new(plane, "second").await?,
    );
    for namespace in [&first, &second] {
        apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    }
    let namespaces = vec![first.name().to_owned(), second.name().to_owned()];
    let backup = ark
        .back_up(
            "both",
            BackupSpec {
                included_namespaces: namespaces,
                ..BackupSpec::default()
            },
        )
        .await?;
    assert_clean_backup(&backup);

    let (new_first, new_second) = (unique_name("new-first"), unique_name("new-second"));
    let mappings = format!(
        "{}:{new_first},{}:{new_second}",
        first.name(),
        second.name()
    );
    ark.ark(&[
        "restore",
        "create",
        "moved",
        "--from-backup",
        "both",
        "--namespace-mappings",
        &mappings,
        "--wait",
    ])?;
    assert_clean_restore(&ark.restore_ended("moved").await?);

    for (old, new) in [(&first, &new_first), (&second, &new_second)] {
        let settings = Api::<ConfigMap>::namespaced(client.clone(), new)
            .get("settings")
            .await?;
        // What a user wrote is not Ark's to rewrite; what Kubernetes means by a namespace is.
        assert_eq!(settings.data.unwrap_or_default()["home"], old.name());
        let labels = settings.metadata.labels.unwrap_or_default();
        assert_eq!(labels["app"], "mapped");
        assert_eq!(labels["ark-restore"], "moved");
        assert_eq!(labels["ark.heptio.com/restore-name"], "moved");
        assert_eq!(labels["ark.heptio.com/backup-name"], "both");
        Api::<ServiceAccount>::namespaced(client.clone(), new)
            .get("worker")
            .await?;
        let binding = Api::<RoleBinding>::namespaced(client.clone(), new)
            .get("worker")
            .await?;
        let subjects = binding.subjects.unwrap_or_default();
        assert_eq!(subjects[0].namespace.as_deref(), Some(new.as_str()));
    }
    // The originals are as they were.
    let settings = Api::<ConfigMap>::namespaced(client.clone(), first.name())
        .get("settings")
        .await?;
    assert!(
        !settings
            .metadata
            .labels
            .unwrap_or_default()
            .contains_key("ark-restore")
    );
    server.stop()
}

#[tokio::test]
async fn without_labels_nothing_is_added() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "plain").await?;
    apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    let spec = all_of(&namespace);
    assert_clean_backup(&ark.back_up("plain", spec).await?);
    let target = unique_name("target");
    let spec = RestoreSpec {
        backup_name: "plain".into(),
        namespace_mapping: [(namespace.name().to_owned(), target.clone())].into(),
        label_restored: Some(false),
        ..RestoreSpec::default()
    };
    assert_clean_restore(&ark.restore("plain", spec).await?);
    let settings = Api::<ConfigMap>::namespaced(client.clone(), &target)
        .get("settings")
        .await?;
    let labels = settings.metadata.labels.unwrap_or_default();
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["app"]);
    server.stop()
}
