//! Writing objects to a cluster from YAML, as `kubectl apply --server-side` does.

use anyhow::{Context as _, Result};
use kube::api::{
    Api, ApiResource, DynamicObject, Patch, PatchParams, TypeMeta, ValidationDirective,
};
use kube::core::GroupVersionKind;
use kube::discovery::{self, ApiCapabilities, Scope};

use super::{PATIENCE, wait_until};

/// Applies every document of `text`, in order, and returns the objects as the server has them.
///
/// Objects of namespaced types without a namespace go to `default`. A type that the server does not know yet is waited
/// for, so a CRD and its objects may stand in one text.
pub async fn apply_yaml(client: &kube::Client, text: &str) -> Result<Vec<DynamicObject>> {
    apply(client, text, &PatchParams::apply("ark-tests").force()).await
}

/// Applies every document of `text` as [`apply_yaml`] does, and fails where the server would drop a field that it does
/// not know.
pub async fn apply_yaml_strictly(client: &kube::Client, text: &str) -> Result<Vec<DynamicObject>> {
    let mut params = PatchParams::apply("ark-tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    apply(client, text, &params).await
}

async fn apply(
    client: &kube::Client,
    text: &str,
    params: &PatchParams,
) -> Result<Vec<DynamicObject>> {
    let documents: Vec<Option<DynamicObject>> =
        serde_saphyr::from_multiple(text).context("read the YAML")?;
    let mut applied = Vec::new();
    for object in documents.into_iter().flatten() {
        let name = object
            .metadata
            .name
            .clone()
            .context("an object without a name")?;
        let types = object
            .types
            .clone()
            .with_context(|| format!("{name} without apiVersion or kind"))?;
        let what = format!("apply {} {name}", types.kind);
        let api = api_of(client, &types, object.metadata.namespace.as_deref())
            .await
            .with_context(|| what.clone())?;
        applied.push(
            api.patch(&name, params, &Patch::Apply(&object))
                .await
                .with_context(|| what)?,
        );
    }
    Ok(applied)
}

/// Returns the way to objects of a type that is known by name only.
pub async fn api_of(
    client: &kube::Client,
    types: &TypeMeta,
    namespace: Option<&str>,
) -> Result<Api<DynamicObject>> {
    let (resource, capabilities) = resource_of(client, types).await?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), &resource)
        }
    })
}

async fn resource_of(
    client: &kube::Client,
    types: &TypeMeta,
) -> Result<(ApiResource, ApiCapabilities)> {
    let kind = GroupVersionKind::try_from(types.clone())?;
    wait_until(
        &format!("the server knows {} {}", types.api_version, types.kind),
        PATIENCE,
        async || Ok(Some(discovery::pinned_kind(client, &kind).await?)),
    )
    .await
}
