//! Node ports that somebody has already (case 41).

use serde_json::Value;

use crate::cluster::{ClusterError, ListScope, PageRequest};

use super::apply::Applier;
use super::prepare::Prepared;
use crate::api::object::{self, Object};

impl Applier<'_> {
    /// Reports an error about an object; of a node port that is taken, with who has it (case 41).
    pub(super) async fn fail_create(&self, prepared: &Prepared<'_>, error: &ClusterError) {
        let port = (prepared.group_resource == "services")
            .then(|| taken_port(&error.message))
            .flatten();
        let Some(port) = port else {
            return self.fail(prepared, error);
        };
        let holder = self.holder_of(prepared, port).await;
        let holder = holder.unwrap_or_else(|| "another Service".to_owned());
        let told = format!(
            "{}; {holder} has node port {port}: restore without --preserve-nodeports, or free it",
            error.message
        );
        self.report.fail_object(
            prepared.namespace,
            prepared.group_resource,
            prepared.name,
            &told,
        );
    }

    /// Finds the Service that has a node port.
    async fn holder_of(&self, prepared: &Prepared<'_>, port: u64) -> Option<String> {
        let mut continue_token = None;
        loop {
            let request = PageRequest {
                scope: &ListScope::Cluster,
                label_selector: None,
                field_selector: None,
                limit: 500,
                continue_token: continue_token.as_deref(),
            };
            let page = self
                .cluster
                .list_page(&prepared.api_type, &request)
                .await
                .ok()?;
            for item in &page.items {
                let Ok(service) = serde_json::from_slice::<Object>(&item.body) else {
                    continue;
                };
                if of(&service).contains(&port) {
                    let text = |key: &str| object::text(&service, &["metadata", key]).to_owned();
                    return Some(format!("Service {}/{}", text("namespace"), text("name")));
                }
            }
            continue_token = Some(page.continue_token?);
        }
    }
}

/// Returns the node ports of a Service, that of its health check included.
pub(super) fn of(service: &Object) -> Vec<u64> {
    let port = |object: &Object, key: &str| object.get(key).and_then(Value::as_u64);
    let health_check =
        object::at(service, &["spec"]).and_then(|spec| port(spec, "healthCheckNodePort"));
    object::list(service, &["spec", "ports"])
        .filter_map(|one| port(one, "nodePort"))
        .chain(health_check)
        .collect()
}

/// Returns the port in a refusal that says that one is taken.
pub(super) fn taken_port(message: &str) -> Option<u64> {
    let (before, _) = message.split_once(": provided port is already allocated")?;
    before.rsplit(' ').next()?.parse().ok()
}
