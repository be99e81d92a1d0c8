//! Looks at a cluster's objects, whatever their types, the way a restore is judged: without what the server sets.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ark::cluster::Cluster;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// Objects by `<type> <namespace>/<name>`.
pub(crate) type Objects = BTreeMap<String, Value>;

/// Returns every object in `namespaces`, and of the whole cluster those that carry `label`.
pub(crate) async fn snapshot(
    client: &kube::Client,
    namespaces: &[&str],
    label: &str,
) -> Result<Objects> {
    let discovery = Cluster::new(client.clone(), None).discover().await?;
    let mut objects = Objects::new();
    for one in discovery
        .types()
        .iter()
        .filter(|one| one.allows(&["list", "create", "get", "delete"]))
    {
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(&one.group, &one.version, &one.kind),
            &one.resource,
        );
        if one.namespaced {
            for namespace in namespaces {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(client.clone(), namespace, &resource);
                add(
                    &mut objects,
                    &one.group_resource(),
                    api.list(&ListParams::default()).await?.items,
                )?;
            }
        } else {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let labelled = api.list(&ListParams::default().labels(label)).await?.items;
            add(&mut objects, &one.group_resource(), labelled)?;
        }
    }
    Ok(objects)
}

fn add(objects: &mut Objects, type_name: &str, items: Vec<DynamicObject>) -> Result<()> {
    for item in items {
        let namespace = item.metadata.namespace.clone().unwrap_or_default();
        let name = item.metadata.name.clone().context("a name")?;
        objects.insert(
            format!("{type_name} {namespace}/{name}"),
            serde_json::to_value(item)?,
        );
    }
    Ok(())
}

/// Removes what a server sets, what controllers write, and Ark's own labels.
pub(crate) fn normalise(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "uid",
            // Restored objects have their names already.
            "generateName",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
            "ownerReferences",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(field);
        }
        for field in ["labels", "annotations"] {
            if let Some(entries) = metadata.get_mut(field).and_then(Value::as_object_mut) {
                entries
                    .retain(|key, _| !key.starts_with("ark.heptio.com/") && key != "ark-restore");
                if entries.is_empty() {
                    metadata.remove(field);
                }
            }
        }
    }
}
