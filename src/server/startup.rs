//! What must be there before the server can work: an API server that answers, the namespace, Ark's resource types.

use std::time::Duration;

use crate::api::{DEFAULT_NAMESPACE, GROUP, VERSION, definitions};
use crate::cluster::{Cluster, ClusterError, ClusterErrorKind, Discovery, NamespaceState};

/// The first pause after the API server did not answer; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Waits until the API server answers, checks that everything is there, and returns the cluster's id.
///
/// # Errors
/// A sentence that says what is missing and what makes it.
pub(crate) async fn check(cluster: &Cluster, namespace: &str) -> anyhow::Result<String> {
    let state = match patiently(|| cluster.namespace_state(namespace)).await {
        // Whoever may not read namespaces may still work in one.
        Err(error) if error.kind == ClusterErrorKind::Denied => {
            tracing::warn!(%error, "cannot check that the namespace is there");
            Some(NamespaceState::Active)
        }
        state => state?,
    };
    if state.is_none() {
        anyhow::bail!(
            "namespace {namespace} does not exist; {}",
            how_to_install(namespace)
        );
    }
    let discovery = patiently(|| cluster.discover()).await?;
    let missing = missing_types(&discovery);
    if !missing.is_empty() {
        anyhow::bail!(
            "the cluster does not know the resource types {} of {GROUP}/{VERSION}; {}",
            missing.join(", "),
            how_to_install(namespace)
        );
    }
    Ok(patiently(|| cluster.id()).await?)
}

fn missing_types(discovery: &Discovery) -> Vec<String> {
    definitions()
        .into_iter()
        .map(|definition| definition.spec.names.plural)
        .filter(|resource| discovery.served(GROUP, VERSION, resource).is_none())
        .collect()
}

fn how_to_install(namespace: &str) -> String {
    if namespace == DEFAULT_NAMESPACE {
        "run `ark install` or `kubectl apply -f manifests/common/00-prereqs.yaml` first".to_owned()
    } else {
        format!("run `ark install --namespace {namespace}` first")
    }
}

/// Asks until there is an answer, whatever it says.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, ClusterError>
where
    F: Future<Output = Result<T, ClusterError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "the API server does not answer; trying again in {}s", pause.as_secs());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ApiType;

    #[test]
    fn names_the_types_that_are_missing() {
        let all = definitions();
        let served = all
            .iter()
            .map(|definition| definition.spec.names.plural.as_str())
            .filter(|name| *name != "restores")
            .map(|name| ApiType {
                group: GROUP.into(),
                version: VERSION.into(),
                resource: name.into(),
                ..ApiType::default()
            })
            .collect();
        assert_eq!(
            missing_types(&Discovery::from_types(served, Vec::new())),
            ["restores"]
        );
        assert_eq!(missing_types(&Discovery::default()).len(), all.len());
    }
}
