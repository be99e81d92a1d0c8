//! `ark install`: sets Ark up in a cluster, or prints what that takes.
//!
//! The manifests in `manifests/common` are this command's output; a test fails when they have drifted.

mod prerequisites;

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::context::{Cluster, Context};
use super::{Outcome, output};
use crate::api::FIELD_MANAGER;

/// How long the API server may take to serve new types.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// What to install.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// Image of the server
    #[arg(long, value_name = "IMAGE", default_value = prerequisites::DEFAULT_IMAGE)]
    image: String,
    /// Print the objects as YAML and do not touch the cluster
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: InstallArgs) -> anyhow::Result<Outcome> {
    if args.image.is_empty() || args.image.contains(char::is_whitespace) {
        bail!(
            "{:?} is not an image; write one such as registry/ark:tag",
            args.image
        );
    }
    let namespace = &context.namespace;
    let mut objects = prerequisites::common(namespace)?;
    objects.push(prerequisites::deployment(namespace, &args.image));
    if args.dry_run {
        output::text(&documents(&objects)?)?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    for object in objects {
        let object: DynamicObject =
            serde_json::from_value(object).context("reading an object to install")?;
        apply(&cluster, &object).await?;
    }
    output::line(&format!(
        "Ark is installed in namespace \"{namespace}\". It stores nothing yet: make the Secret cloud-credentials \
         where the store wants one, and the Config \"default\" that names the store."
    ))?;
    Ok(Outcome::Done)
}

/// Applies one object; what others set in fields that are not ours stays.
async fn apply(cluster: &Cluster, object: &DynamicObject) -> anyhow::Result<()> {
    let types = object.types.clone().unwrap_or_default();
    let gvk = GroupVersionKind::try_from(&types).context("reading an object's type")?;
    let resource = ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), &namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let name = object.name_any();
    let doing = || format!("installing {} {name:?}", types.kind);
    // Forced: whoever runs this wants these values, also where somebody edited them by hand since.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .map_err(|error| cluster.explain(&error))
        .with_context(doing)?;
    if types.kind == "CustomResourceDefinition" {
        established(cluster, &name).await?;
    }
    output::line(&format!("{} \"{name}\" is there.", types.kind))
}

/// Waits until the API server serves a type, so that the next command finds it.
async fn established(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let condition = await_condition(api, name, conditions::is_crd_established());
    match tokio::time::timeout(ESTABLISH_TIMEOUT, condition).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => bail!("waiting for type {name}: {error}"),
        Err(_) => bail!(
            "the cluster has not served type {name} within {}s; `kubectl describe crd {name}` says why",
            ESTABLISH_TIMEOUT.as_secs()
        ),
    }
}

/// Writes objects as YAML documents.
fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text += "---\n";
        text += &output::yaml(object)?;
    }
    Ok(text)
}

#[cfg(test)]
#[path = "install/tests.rs"]
mod tests;
