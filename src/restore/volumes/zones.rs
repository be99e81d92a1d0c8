//! The zones that the nodes of the target are in.

use std::collections::BTreeSet;

use crate::cluster::{ApiType, ListScope, PageRequest};
use crate::restore::apply::Applier;

/// Nodes read at once.
const PAGE: u32 = 200;
/// The labels that name a node's zone, today's and the one before it.
const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];

impl Applier<'_> {
    /// Returns the zones of all nodes; nothing if they cannot be read.
    pub(super) async fn read_zones(&self) -> BTreeSet<String> {
        let nodes = ApiType {
            version: "v1".to_owned(),
            resource: "nodes".to_owned(),
            ..ApiType::default()
        };
        let mut zones = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let request = PageRequest {
                scope: &ListScope::Cluster,
                label_selector: None,
                field_selector: None,
                limit: PAGE,
                continue_token: token.as_deref(),
            };
            let page = match self.cluster.list_page(&nodes, &request).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "the zones of the nodes cannot be read");
                    return BTreeSet::new();
                }
            };
            for item in &page.items {
                let labels = &item.header.labels;
                zones.extend(
                    LABELS
                        .iter()
                        .filter_map(|label| labels.get(*label))
                        .cloned(),
                );
            }
            token = page.continue_token;
            if token.is_none() {
                return zones;
            }
        }
    }
}
