//! What a backup takes and what a restore brings back: labels, types, namespaces, exclusions.

use std::collections::BTreeSet;

use anyhow::Result;
use ark::api::{BackupSpec, RestoreSpec, selector};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::unique_name;

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: red, namespace: NAMESPACE, labels: {color: red}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: blue, namespace: NAMESPACE, labels: {color: blue}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain, namespace: NAMESPACE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: left-out, namespace: NAMESPACE, labels: {color: red, ark.heptio.com/exclude-from-backup: 'true'}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: left-out-too, namespace: NAMESPACE, labels: {color: red, velero.io/exclude-from-backup: 'true'}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: NAMESPACE, labels: {color: red}, finalizers: [example.org/hold]}
---
apiVersion: v1
kind: Secret
metadata: {name: red, namespace: NAMESPACE, labels: {color: red}}
";

#[tokio::test]
async fn selections_take_what_they_say() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let ark = Installation::new(plane).await?;
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "colors").await?;
    apply_yaml(&client, &OBJECTS.replace("NAMESPACE", namespace.name())).await?;
    // Being deleted, and held back by its finalizer.
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace.name());
    config_maps
        .delete("held", &kube::api::DeleteParams::default())
        .await?;

    let all = all_of(&namespace);
    let red = BackupSpec {
        label_selector: selector::parse("color=red").ok(),
        ..all.clone()
    };
    let only_config_maps = BackupSpec {
        included_resources: vec!["cm".into()],
        ..all.clone()
    };
    let no_config_maps = BackupSpec {
        excluded_resources: vec!["configmaps".into()],
        ..all.clone()
    };
    for (name, spec, expected) in [
        (
            "all",
            all,
            &[
                "configmaps/red",
                "configmaps/blue",
                "configmaps/plain",
                "secrets/red",
            ][..],
        ),
        ("red", red, &["configmaps/red", "secrets/red"]),
        (
            "only-config-maps",
            only_config_maps,
            &["configmaps/red", "configmaps/blue", "configmaps/plain"],
        ),
        ("no-config-maps", no_config_maps, &["secrets/red"]),
    ] {
        assert_clean_backup(&ark.back_up(name, spec).await?);
        let target = unique_name("target");
        let restore = moved(name, &namespace, &target);
        assert_clean_restore(&ark.restore(name, restore).await?);
        assert_eq!(restored(&client, &target).await?, names(expected), "{name}");
    }

    // The same on the restore's side.
    for (name, selector, included, expected) in [
        (
            "restore-red",
            Some("color in (red)"),
            &[][..],
            &["configmaps/red", "secrets/red"][..],
        ),
        ("restore-secrets", None, &["secrets"], &["secrets/red"]),
        (
            "restore-not-red",
            Some("color!=red"),
            &["cm"],
            &["configmaps/blue", "configmaps/plain"],
        ),
    ] {
        let target = unique_name("target");
        let restore = RestoreSpec {
            backup_name: "all".into(),
            namespace_mapping: [(namespace.name().to_owned(), target.clone())].into(),
            label_selector: selector.and_then(|text| selector::parse(text).ok()),
            included_resources: included.iter().map(|name| (*name).to_owned()).collect(),
            ..RestoreSpec::default()
        };
        assert_clean_restore(&ark.restore(name, restore).await?);
        assert_eq!(restored(&client, &target).await?, names(expected), "{name}");
    }
    let unheld = serde_json::json!({"metadata": {"finalizers": null}});
    config_maps
        .patch(
            "held",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&unheld),
        )
        .await?;
    server.stop()
}

fn names(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns the ConfigMaps and Secrets that a restore made in a namespace.
async fn restored(client: &kube::Client, namespace: &str) -> Result<BTreeSet<String>> {
    let marked = ListParams::default().labels("ark-restore");
    let mut found = BTreeSet::new();
    for one in Api::<ConfigMap>::namespaced(client.clone(), namespace)
        .list(&marked)
        .await?
    {
        found.insert(format!(
            "configmaps/{}",
            one.metadata.name.unwrap_or_default()
        ));
    }
    let secrets = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(client.clone(), namespace);
    for one in secrets.list(&marked).await? {
        found.insert(format!("secrets/{}", one.metadata.name.unwrap_or_default()));
    }
    Ok(found)
}
