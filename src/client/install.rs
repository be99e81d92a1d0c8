//! `ark install`: sets Ark up in a cluster, or prints what that takes.
//!
//! The rooms below are the one source of all manifests: `manifests/common` is this command's output, the other folders
//! differ in the location and in how credentials get in. A test fails when a file has drifted.

mod location;
mod prerequisites;
mod rights;
mod server;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::context::{Cluster, Context, patiently};
use super::flags::Problems;
use super::{Outcome, output};
use crate::api::{DEFAULT_LOCATION, FIELD_MANAGER};
use location::{Location, LocationArgs};
use rights::Profile;
use server::{DEFAULT_IMAGE, Server};

/// How long the API server may take to serve new types.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The value of label `component` on everything that is installed.
const OURS: &str = "ark";

/// What to install.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// Image of the server
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    image: String,
    /// Rights of the server: everything, or what backups need, with which restores create nothing
    #[arg(long, value_name = "PROFILE", value_enum, default_value = "full")]
    rbac: Profile,
    /// Print the objects as YAML and do not touch the cluster
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    location: LocationArgs,
}

pub(crate) async fn run(context: &Context, args: InstallArgs) -> anyhow::Result<Outcome> {
    let namespace = &context.namespace;
    let (location, objects) = objects(namespace, &args)?;
    if args.dry_run {
        output::text(&documents(&objects)?)?;
        return Ok(Outcome::Done);
    }
    let cluster = context.cluster().await?;
    for object in objects {
        apply(&cluster, &read(object)?).await?;
    }
    for object in rights::objects(namespace, args.rbac.other()) {
        remove(&cluster, &read(object)?).await?;
    }
    output::line(&summary(namespace, location.as_ref()))?;
    Ok(Outcome::Done)
}

/// Returns where backups will go, and everything to install, in the order in which it can be created.
fn objects(namespace: &str, args: &InstallArgs) -> anyhow::Result<(Option<Location>, Vec<Value>)> {
    let mut problems = Problems::default();
    if args.image.is_empty() || args.image.contains(char::is_whitespace) {
        problems.extend([format!(
            "{:?} is not an image; write one such as registry/ark:tag",
            args.image
        )]);
    }
    let location = args.location.read(&mut problems);
    let location = problems.finish(location)?;
    let credentials = args.location.credentials();
    let mut objects = prerequisites::common(namespace, args.rbac)?;
    if let Some(path) = &args.location.secret_file {
        let doing = || format!("reading the credentials in {}", path.display());
        let contents = fs::read(path).with_context(doing)?;
        if contents.is_empty() {
            bail!("{} is empty; write the credentials into it", path.display());
        }
        objects.push(location::secret(namespace, credentials, &contents).with_context(doing)?);
    }
    if let Some(location) = &location {
        objects.push(location.object(namespace)?);
        objects.extend(location.snapshots_object(DEFAULT_LOCATION, namespace)?);
    }
    let server = Server {
        namespace,
        image: &args.image,
        credentials,
        annotations: &[],
    };
    objects.push(server.deployment());
    Ok((location, objects))
}

fn summary(namespace: &str, location: Option<&Location>) -> String {
    match location {
        Some(location) => format!(
            "Ark is installed in namespace \"{namespace}\" and keeps backups in bucket \"{}\". Whether the bucket \
             answers: kubectl get backupstoragelocations -n {namespace}",
            location.bucket
        ),
        None => format!(
            "Ark is installed in namespace \"{namespace}\". It stores nothing yet: run this again with --provider and \
             --bucket, or make the Secret cloud-credentials where the store wants one, and the Config \"default\" \
             that names the store."
        ),
    }
}

fn read(object: Value) -> anyhow::Result<DynamicObject> {
    serde_json::from_value(object).context("reading an object to install")
}

/// Applies one object; what others set in fields that are not ours stays.
async fn apply(cluster: &Cluster, object: &DynamicObject) -> anyhow::Result<()> {
    let kind = kind(object);
    let name = object.name_any();
    // Forced: whoever runs this wants these values, also where somebody edited them by hand since.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let api = api_of(cluster, object)?;
    let patch = Patch::Apply(object);
    patiently(|| api.patch(&name, &params, &patch))
        .await
        .map_err(|error| cluster.explain(&error))
        .with_context(|| format!("installing {kind} {name:?}"))?;
    if kind == "CustomResourceDefinition" {
        established(cluster, &name).await?;
    }
    output::line(&format!("{kind} \"{name}\" is there."))
}

/// Removes an object of the profile that was not chosen, if it is there and Ark's.
async fn remove(cluster: &Cluster, object: &DynamicObject) -> anyhow::Result<()> {
    let kind = kind(object);
    let name = object.name_any();
    let doing = || format!("removing {kind} {name:?}, which gives the rights of another profile");
    let api = api_of(cluster, object)?;
    let found = api
        .get_opt(&name)
        .await
        .map_err(|error| cluster.explain(&error))
        .with_context(doing)?;
    // One that somebody else made under this name is not ours to remove.
    let Some(found) =
        found.filter(|found| found.labels().get("component") == Some(&OURS.to_owned()))
    else {
        return Ok(());
    };
    let params = DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: found.uid(),
            ..kube::api::Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    match api.delete(&name, &params).await {
        Ok(_) => output::line(&format!("{kind} \"{name}\" is removed.")),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(cluster.explain(&error)).with_context(doing),
    }
}

fn kind(object: &DynamicObject) -> String {
    let types = object.types.as_ref();
    types.map(|types| types.kind.clone()).unwrap_or_default()
}

/// Returns the way to objects of this object's type, in its namespace.
fn api_of(cluster: &Cluster, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
    let types = object.types.clone().unwrap_or_default();
    let gvk = GroupVersionKind::try_from(&types).context("reading an object's type")?;
    let resource = ApiResource::from_gvk(&gvk);
    Ok(match object.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), &namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    })
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
mod clouds;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod tests;
