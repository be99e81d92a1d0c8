//! Commands for the server's plugins, one file each. A plugin is an image whose start copies its programs into a volume
//! that it shares with the server; so adding one adds an init container to the server's Deployment.

pub(crate) mod add;
pub(crate) mod deployment;
pub(crate) mod get;
pub(crate) mod remove;

use anyhow::{anyhow, bail};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::Value;

use super::context::{Cluster, patiently};
use crate::api::FIELD_MANAGER;

/// The server's Deployment, as `ark install` names it.
const DEPLOYMENT: &str = "ark";
/// How often to begin again when somebody else has written the Deployment meanwhile.
const TRIES: usize = 5;

/// Changes the server's Deployment, whose fields all stay that `change` does not touch, and returns what `change` says of
/// it. `change` may be called again, with the Deployment as somebody else has left it.
async fn change_deployment<T>(
    cluster: &Cluster,
    change: impl Fn(&mut Value) -> Result<T, String>,
) -> anyhow::Result<T> {
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    // Not the typed one: it would drop the fields of Kubernetes versions to come.
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &ApiResource::from_gvk(&kind),
    );
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    for _ in 0..TRIES {
        let found = patiently(|| api.get_opt(DEPLOYMENT)).await;
        let mut deployment = found
            .map_err(|error| cluster.explain(&error))?
            .ok_or_else(|| {
                anyhow!(
                    "there is no Deployment {DEPLOYMENT:?} in namespace {:?}; name Ark's namespace with -n, or set Ark \
                     up with `ark install`",
                    cluster.namespace
                )
            })?;
        let before = deployment.data.clone();
        let said = change(&mut deployment.data).map_err(anyhow::Error::msg)?;
        if deployment.data == before {
            return Ok(said);
        }
        match patiently(|| api.replace(DEPLOYMENT, &params, &deployment)).await {
            Ok(_) => return Ok(said),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => {
                return Err(cluster
                    .explain(&error)
                    .context(format!("changing Deployment {DEPLOYMENT:?}")));
            }
        }
    }
    bail!(
        "Deployment {DEPLOYMENT:?} is being changed by somebody else all the time; try again when that has ended"
    )
}
