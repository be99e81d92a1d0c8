//! The zoo: objects of every kind whose restore has rules of its own. Backed up, wiped, restored, compared one by one.

use anyhow::{Context as _, Result};
use ark::api::{BackupSpec, RestoreSpec};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::{Objects, normalise, snapshot};
use crate::support::ark::Installation;
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::objects::{api_of, apply_yaml};
use crate::support::runs::{assert_clean_backup, assert_clean_restore};
use crate::support::{PATIENCE, wait_until};

pub(crate) const ZOO: &str = include_str!("../fixtures/zoo.yaml");
pub(crate) const CUSTOM: &str = include_str!("../fixtures/zoo-custom.yaml");
pub(crate) const NAMESPACES: [&str; 2] = ["zoo", "zoo-data"];

#[tokio::test]
async fn the_zoo_comes_back_as_it_was() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = Installation::new(&plane).await?;
    let server = ark.serve().await?;
    build(&client).await?;
    let before = settled(&client).await?;

    let backup = ark
        .back_up(
            "zoo",
            BackupSpec {
                included_namespaces: NAMESPACES.map(str::to_owned).into(),
                include_cluster_resources: Some(true),
                ..BackupSpec::default()
            },
        )
        .await?;
    assert_clean_backup(&backup);

    wipe(&client).await?;
    let spec = RestoreSpec {
        backup_name: "zoo".into(),
        ..RestoreSpec::default()
    };
    let restore = ark.restore("zoo", spec.clone()).await?;
    assert_clean_restore(&restore);

    let after = settled(&client).await?;
    compare(&before, &after);

    // Once more, onto what is there: nothing to do, and nothing to complain about.
    let again = ark.restore("zoo-again", spec).await?;
    assert_clean_restore(&again);
    compare(&before, &settled(&client).await?);
    server.stop()
}

/// Makes the zoo and lets its controllers and keepers finish.
pub(crate) async fn build(client: &kube::Client) -> Result<()> {
    apply_yaml(client, ZOO).await?;
    finish(client).await
}

/// Makes what its definitions are for.
pub(crate) async fn finish(client: &kube::Client) -> Result<()> {
    apply_yaml(client, CUSTOM).await?;
    let animals = animals(client).await?;
    let status = json!({"status": {"mood": "calm"}});
    animals
        .patch_status("simba", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let simba = animals.get("simba").await?;
    let owner = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "zoo.example.org/v1", "kind": "Animal", "name": "simba", "uid": simba.metadata.uid,
    }]}});
    animals
        .patch("nala", &PatchParams::default(), &Patch::Merge(&owner))
        .await?;
    Ok(())
}

async fn animals(client: &kube::Client) -> Result<Api<kube::api::DynamicObject>> {
    let types = kube::api::TypeMeta {
        api_version: "zoo.example.org/v1".into(),
        kind: "Animal".into(),
    };
    api_of(client, &types, Some("zoo")).await
}

/// Removes the zoo as its README says.
pub(crate) async fn wipe(client: &kube::Client) -> Result<()> {
    let unlocked = json!({"metadata": {"finalizers": null}});
    animals(client)
        .await?
        .patch("simba", &PatchParams::default(), &Patch::Merge(&unlocked))
        .await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    for name in NAMESPACES {
        namespaces.delete(name, &DeleteParams::default()).await?;
    }
    wait_until("the namespaces are gone", PATIENCE, async || {
        let left = namespaces
            .list(&ListParams::default().labels("app=zoo"))
            .await?;
        Ok(left.items.is_empty().then_some(()))
    })
    .await?;
    for (api_version, kind) in [
        ("v1", "PersistentVolume"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("scheduling.k8s.io/v1", "PriorityClass"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
        ),
        ("zoo.example.org/v1", "Aviary"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ] {
        let types = kube::api::TypeMeta {
            api_version: api_version.into(),
            kind: kind.into(),
        };
        let api = api_of(client, &types, None).await?;
        let labelled = ListParams::default().labels("app=zoo");
        api.delete_collection(&DeleteParams::default(), &labelled)
            .await?;
        wait_until(
            &format!("no {kind} of the zoo is left"),
            PATIENCE,
            async || Ok(api.list(&labelled).await?.items.is_empty().then_some(())),
        )
        .await?;
    }
    Ok(())
}

/// Waits until everything runs that should, and returns all objects.
pub(crate) async fn settled(client: &kube::Client) -> Result<Objects> {
    wait_until("the zoo is at rest", PATIENCE, async || {
        let objects = snapshot(client, &NAMESPACES, "app=zoo").await?;
        Ok(at_rest(&objects).then_some(objects))
    })
    .await
}

fn at_rest(objects: &Objects) -> bool {
    let running = |prefix: &str| {
        objects
            .iter()
            .filter(|(key, object)| {
                key.starts_with(prefix) && object["status"]["phase"] == "Running"
            })
            .count()
    };
    running("pods zoo/lions-") == 2
        && running("pods zoo/bears-") == 2
        && running("pods zoo/ants-") == 1
        && running("pods zoo/hooked") == 1
        && running("pods zoo-data/diver") == 1
        && objects
            .keys()
            .filter(|key| key.starts_with("replicasets.apps zoo/lions-"))
            .count()
            == 1
        && objects
            .get("deployments.apps zoo/lions")
            .is_some_and(|one| one["status"]["availableReplicas"] == 2)
        && objects
            .get("persistentvolumeclaims zoo-data/db")
            .is_some_and(|one| one["status"]["phase"] == "Bound")
        && objects
            .get("secrets zoo/keeper-long-lived")
            .is_some_and(|one| one["data"]["token"].is_string())
        && objects
            .keys()
            .any(|key| key.starts_with("configmaps zoo-data/kube-root-ca.crt"))
        && objects
            .keys()
            .any(|key| key.starts_with("endpointslices.discovery.k8s.io zoo/manual"))
}

/// Compares what a restore is answerable for.
fn compare(before: &Objects, after: &Objects) {
    let (before, after) = (comparable(before), comparable(after));
    let keys = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&before), keys(&after), "the same objects");
    for (key, object) in &before {
        // The order of fields is the server's to choose.
        assert!(
            object == &after[key],
            "{key} was\n{object:#}\nand is\n{:#}",
            after[key]
        );
    }
}

/// Returns the objects without those that controllers make anew, and without what differs between two lives of one.
pub(crate) fn comparable(objects: &Objects) -> Objects {
    let mut objects: Objects = objects
        .iter()
        .filter(|(key, _)| {
            // Their names are made up by controllers, or they are notes about what happened.
            ![
                "events",
                "endpointslices.discovery.k8s.io",
                "controllerrevisions.apps",
                "pods zoo/ants-",
                "pods.metrics.k8s.io",
            ]
            .iter()
            .any(|made| key.starts_with(made))
        })
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    for (key, object) in &mut objects {
        normalise(object);
        if key.starts_with("services ") {
            forget_addresses(object);
        }
        if key.starts_with("persistentvolumes ") || key.starts_with("persistentvolumeclaims ") {
            // Notes of the binding controller, which says whether it or somebody else chose.
            forget_annotations(object, "pv.kubernetes.io/");
        }
        if key.starts_with("persistentvolumes ") {
            for field in ["uid", "resourceVersion"] {
                object["spec"]["claimRef"]
                    .as_object_mut()
                    .map(|claim| claim.remove(field));
            }
        }
        if key.starts_with("secrets zoo/keeper-long-lived") {
            // The token is the new account's.
            object["data"] = Value::Null;
            object["metadata"]["annotations"]["kubernetes.io/service-account.uid"] = Value::Null;
        }
        if key.starts_with("pods ") {
            forget_projection(object);
        }
        if key.starts_with("jobs.batch ") {
            forget_controller_uid(object);
        }
        if key.starts_with("endpoints ") {
            // Addresses follow the pods, and the trigger time follows the clock.
            forget_annotations(object, "endpoints.kubernetes.io/last-change-trigger-time");
            if key != "endpoints zoo/manual" {
                object["subsets"] = Value::Null;
            }
        }
    }
    objects
}

fn forget_annotations(object: &mut Value, prefix: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| !key.starts_with(prefix));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// Cluster addresses and node ports that nobody asked for are given anew.
fn forget_addresses(object: &mut Value) {
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    spec.remove("healthCheckNodePort");
    if name != "gate-fixed" {
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
    }
}

/// The token volume that admission adds has a name made up for each pod; which node a pod got is the scheduler's affair.
fn forget_projection(object: &mut Value) {
    let is_token = |name: &Value| {
        name.as_str()
            .is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_token(&volume["name"]));
        if volumes.is_empty() {
            spec.remove("volumes");
        }
    }
    for container in spec
        .get_mut("containers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(mounts) = container
            .get_mut("volumeMounts")
            .and_then(Value::as_array_mut)
        {
            mounts.retain(|mount| !is_token(&mount["name"]));
            if mounts.is_empty() {
                container
                    .as_object_mut()
                    .map(|container| container.remove("volumeMounts"));
            }
        }
    }
}

fn forget_controller_uid(object: &mut Value) {
    for path in [
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/metadata/labels",
    ] {
        if let Some(labels) = object.pointer_mut(path).and_then(Value::as_object_mut) {
            labels.retain(|key, _| !key.ends_with("controller-uid"));
        }
    }
}

#[tokio::test]
async fn what_chosen_objects_need_is_stored_with_them() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = Installation::new(&plane).await?;
    let server = ark.serve().await?;
    build(&client).await?;
    settled(&client).await?;

    // No cluster-scoped object is chosen, but the zoo's own are needed.
    let backup = ark
        .back_up(
            "zoo",
            BackupSpec {
                included_namespaces: NAMESPACES.map(str::to_owned).into(),
                ..BackupSpec::default()
            },
        )
        .await?;
    assert_clean_backup(&backup);
    wipe(&client).await?;
    let spec = RestoreSpec {
        backup_name: "zoo".into(),
        included_namespaces: NAMESPACES.map(str::to_owned).into(),
        include_cluster_resources: Some(true),
        ..RestoreSpec::default()
    };
    let restore = ark.restore("zoo", spec).await?;
    let status = restore.status.clone().context("a status")?;
    // The claim's StorageClass is no object that Ark brings along; nothing else may be missing.
    assert_eq!(status.errors, 0, "{status:?}");
    let volumes = Api::<PersistentVolume>::all(client.clone());
    volumes
        .get("zoo-ebs")
        .await
        .context("the volume of the claim")?;
    let after = snapshot(&client, &NAMESPACES, "app=zoo").await?;
    for needed in [
        "clusterrolebindings.rbac.authorization.k8s.io /zoo:viewer",
        "clusterroles.rbac.authorization.k8s.io /zoo:viewer",
        "priorityclasses.scheduling.k8s.io /zoo-high",
        "customresourcedefinitions.apiextensions.k8s.io /animals.zoo.example.org",
        "animals.zoo.example.org zoo/simba",
    ] {
        assert!(after.contains_key(needed), "{needed}: {:?}", after.keys());
    }
    assert!(
        !after.contains_key(
            "customresourcedefinitions.apiextensions.k8s.io /aviaries.zoo.example.org"
        )
    );
    server.stop()
}
