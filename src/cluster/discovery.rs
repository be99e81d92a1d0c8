//! What types the API server offers: one aggregated read, which names the groups that are broken instead of failing
//! with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList, APIResourceDiscovery};

use super::{Cluster, ClusterError};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Short names that Ark has always understood, whatever discovery says (ark.md, 5).
const EXTRA_SHORT_NAMES: [(&str, &str); 2] = [
    ("svc", "services"),
    ("netpol", "networkpolicies.networking.k8s.io"),
];

/// One type in one version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ApiType {
    /// Its group; empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its plural, lower-case name, such as `deployments`.
    pub resource: String,
    /// Its singular name.
    pub singular: String,
    /// Its short names, such as `deploy`.
    pub short_names: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs it allows, such as `list`.
    pub verbs: Vec<String>,
}

impl ApiType {
    /// Returns another type of the same group and version, one without namespaces.
    pub(crate) fn sibling(&self, resource: &str, kind: &str) -> Self {
        Self {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            ..Self::default()
        }
    }

    /// Returns `<resource>.<group>`, or the resource alone for the core group: Ark's name of a type.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// Returns `<group>/<version>`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns whether all of `verbs` are allowed.
    pub fn allows(&self, verbs: &[&str]) -> bool {
        verbs
            .iter()
            .all(|verb| self.verbs.iter().any(|own| own == verb))
    }

    /// Returns the URL path of the type's objects, of all namespaces or of one.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        let api_version = self.api_version();
        match namespace {
            Some(namespace) if self.namespaced => {
                format!(
                    "{root}/{api_version}/namespaces/{namespace}/{}",
                    self.resource
                )
            }
            _ => format!("{root}/{api_version}/{}", self.resource),
        }
    }
}

/// A group (or one version of it) that the server knows and cannot describe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedGroup {
    /// `<group>/<version>`.
    pub group_version: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FailedGroup {
    /// Returns the group's name.
    pub fn group(&self) -> &str {
        self.group_version
            .rsplit_once('/')
            .map_or("", |(group, _)| group)
    }
}

/// What types the API server offers.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Every type in the version that its group prefers (or the first one that has it), in the server's order of
    /// groups.
    types: Vec<Arc<ApiType>>,
    /// Every type in every served version.
    served: Vec<Arc<ApiType>>,
    failed: Vec<FailedGroup>,
}

impl Discovery {
    /// Makes a discovery of its parts, for tests and for foreign archives.
    pub fn from_types(served: Vec<ApiType>, failed: Vec<FailedGroup>) -> Self {
        let served: Vec<Arc<ApiType>> = served.into_iter().map(Arc::new).collect();
        let mut types: Vec<Arc<ApiType>> = Vec::new();
        for one in &served {
            if !types
                .iter()
                .any(|known| known.group == one.group && known.resource == one.resource)
            {
                types.push(Arc::clone(one));
            }
        }
        Self {
            types,
            served,
            failed,
        }
    }

    /// Returns every type once, in the version that its group prefers.
    pub fn types(&self) -> &[Arc<ApiType>] {
        &self.types
    }

    /// Returns the groups that could not be described.
    pub fn failed(&self) -> &[FailedGroup] {
        &self.failed
    }

    /// Finds a type by any of its names: `deployments`, `deployments.apps`, `deployments.v1.apps`, `deployment`,
    /// `deploy`, `Deployment`.
    ///
    /// A bare name means the first group that has it, in the server's order.
    pub fn resolve(&self, name: &str) -> Option<&Arc<ApiType>> {
        let name = name.to_lowercase();
        if let Some((_, full)) = EXTRA_SHORT_NAMES.iter().find(|(short, _)| *short == name) {
            return self.by_group_resource(full);
        }
        let (resource, group) = name
            .split_once('.')
            .map_or((name.as_str(), None), |(r, g)| (r, Some(g)));
        let in_group = |one: &ApiType| {
            group.is_none_or(|group| {
                one.group == group || format!("{}.{}", one.version, one.group) == group
            })
        };
        self.types
            .iter()
            .find(|one| in_group(one) && one.resource == resource)
            .or_else(|| {
                self.types
                    .iter()
                    .find(|one| in_group(one) && matches_alias(one, resource))
            })
    }

    /// Finds a type by its full name, `<resource>.<group>` or `<resource>`.
    pub fn by_group_resource(&self, full: &str) -> Option<&Arc<ApiType>> {
        let (resource, group) = full.split_once('.').unwrap_or((full, ""));
        self.types
            .iter()
            .find(|one| one.resource == resource && one.group == group)
    }

    /// Finds a type in exactly this version.
    pub fn served(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<ApiType>> {
        self.served
            .iter()
            .find(|one| one.group == group && one.version == version && one.resource == resource)
    }

    /// Finds a type in exactly this version, `<group>/<version>` or `<version>`, by its kind.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<ApiType>> {
        self.served
            .iter()
            .find(|one| one.kind == kind && one.api_version() == api_version)
    }

    /// Returns the versions in which a type is served, by the type's full name.
    pub fn versions(&self) -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in &self.served {
            versions
                .entry(one.group_resource())
                .or_default()
                .push(one.version.clone());
        }
        versions
    }
}

fn matches_alias(one: &ApiType, name: &str) -> bool {
    one.singular == name
        || one.kind.to_lowercase() == name
        || one.short_names.iter().any(|short| short == name)
}

impl Cluster {
    /// Asks the server what types it offers.
    ///
    /// A group whose server does not answer is noted in [`Discovery::failed`], not an error.
    pub async fn discover(&self) -> Result<Discovery, ClusterError> {
        let (core, groups) = tokio::try_join!(
            self.discovery_document("/api"),
            self.discovery_document("/apis")
        )?;
        let mut served = Vec::new();
        let mut failed = Vec::new();
        for group in core.items.into_iter().chain(groups.items) {
            read_group(group, &mut served, &mut failed);
        }
        Ok(Discovery::from_types(served, failed))
    }

    async fn discovery_document(&self, path: &str) -> Result<APIGroupDiscoveryList, ClusterError> {
        let action = format!("read the API server's list of types at {path}");
        let body = self.read(&action, path, AGGREGATED).await?;
        serde_json::from_slice(&body)
            .map_err(|error| ClusterError::malformed(&action, error.to_string()))
    }
}

fn read_group(group: APIGroupDiscovery, served: &mut Vec<ApiType>, failed: &mut Vec<FailedGroup>) {
    let name = group
        .metadata
        .and_then(|metadata| metadata.name)
        .unwrap_or_default();
    for version in group.versions {
        let version_name = version.version.unwrap_or_default();
        if version.freshness.as_deref() == Some("Stale") {
            failed.push(FailedGroup {
                group_version: format!("{name}/{version_name}"),
                reason: "the server behind this API group does not answer".to_owned(),
            });
            // What a stale document lists cannot be read either.
            continue;
        }
        served.extend(
            version
                .resources
                .into_iter()
                .map(|one| read_type(&name, &version_name, one)),
        );
    }
}

fn read_type(group: &str, version: &str, one: APIResourceDiscovery) -> ApiType {
    ApiType {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: one
            .response_kind
            .and_then(|kind| kind.kind)
            .unwrap_or_default(),
        resource: one.resource.unwrap_or_default(),
        singular: one.singular_resource.unwrap_or_default(),
        short_names: one.short_names,
        namespaced: one.scope.as_deref() == Some("Namespaced"),
        verbs: one.verbs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_type(group: &str, version: &str, kind: &str, resource: &str, short: &[&str]) -> ApiType {
        ApiType {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            resource: resource.into(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|s| (*s).to_owned()).collect(),
            namespaced: true,
            verbs: vec!["list".into(), "get".into()],
        }
    }

    fn sample() -> Discovery {
        Discovery::from_types(
            vec![
                api_type("", "v1", "Event", "events", &["ev"]),
                api_type("", "v1", "Service", "services", &["svc"]),
                api_type("apps", "v1", "Deployment", "deployments", &["deploy"]),
                api_type("apps", "v1beta1", "Deployment", "deployments", &["deploy"]),
                api_type("events.k8s.io", "v1", "Event", "events", &["ev"]),
            ],
            Vec::new(),
        )
    }

    #[test]
    fn resolves_every_name_of_a_type() {
        let discovery = sample();
        for (name, full) in [
            ("deployments", Some("deployments.apps")),
            ("deployments.apps", Some("deployments.apps")),
            ("deployments.v1.apps", Some("deployments.apps")),
            ("Deployment", Some("deployments.apps")),
            ("deploy", Some("deployments.apps")),
            ("deploy.apps", Some("deployments.apps")),
            ("ev", Some("events")),
            ("events.events.k8s.io", Some("events.events.k8s.io")),
            ("svc", Some("services")),
            ("lions", None),
            ("deployments.extensions", None),
        ] {
            assert_eq!(
                discovery
                    .resolve(name)
                    .map(|one| one.group_resource())
                    .as_deref(),
                full,
                "{name}"
            );
        }
    }

    #[test]
    fn prefers_the_first_version() {
        let discovery = sample();
        assert_eq!(discovery.types().len(), 4);
        assert_eq!(discovery.resolve("deploy").unwrap().version, "v1");
        assert!(discovery.served("apps", "v1beta1", "deployments").is_some());
        assert!(discovery.served("apps", "v1beta2", "deployments").is_none());
    }

    #[test]
    fn stale_groups_are_named() {
        let document: APIGroupDiscoveryList = serde_json::from_value(serde_json::json!({"items": [
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
        ]}))
        .unwrap();
        let (mut served, mut failed) = (Vec::new(), Vec::new());
        for group in document.items {
            read_group(group, &mut served, &mut failed);
        }
        assert!(served.is_empty());
        assert_eq!(failed[0].group_version, "metrics.k8s.io/v1beta1");
    }

    #[test]
    fn paths() {
        let one = api_type("apps", "v1", "Deployment", "deployments", &[]);
        assert_eq!(one.path(None), "/apis/apps/v1/deployments");
        assert_eq!(
            one.path(Some("n")),
            "/apis/apps/v1/namespaces/n/deployments"
        );
        assert_eq!(
            api_type("", "v1", "Pod", "pods", &[]).path(Some("n")),
            "/api/v1/namespaces/n/pods"
        );
    }
}
