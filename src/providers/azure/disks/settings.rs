//! What a location says about snapshots of managed disks, read without asking anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::ids::Group;
use crate::api::VolumeProviderConfig;
use crate::providers::azure::settings::{cloud, of_variable};
use crate::providers::azure::variables::Variables;
use crate::providers::settings::{Invalid, Settings};

/// The settings, by the names that Ark and Velero's plugin gave them.
const KEYS: &[&str] = &[
    "apiTimeout",
    "resourceGroup",
    "subscriptionId",
    "incremental",
    "tags",
    "activeDirectoryAuthorityURI",
    "caCert",
];

/// Ark's own.
const API_TIMEOUT: Duration = Duration::from_mins(2);

/// Snapshots, as the settings describe them.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct DiskSettings {
    /// Where snapshots are, unless an id says something else.
    pub(super) snapshots: Group,
    /// Where disks are, unless an id says something else, and where they are made.
    pub(super) disks: Group,
    pub(super) incremental: bool,
    /// Further tags of snapshots.
    pub(super) tags: BTreeMap<String, String>,
    /// How long a cloud that asks for patience gets it, and how long what was begun is waited for.
    pub(super) api_timeout: Duration,
    /// Where Entra gives out tokens.
    pub(super) authority: Url,
    /// Where resources are managed.
    pub(super) manager: Url,
    /// A file of further certificates to trust.
    pub(super) ca_cert: Option<String>,
}

impl DiskSettings {
    pub(super) fn parse(
        config: &VolumeProviderConfig,
        variables: &Variables,
    ) -> Result<Self, Invalid> {
        let settings = Settings::of_snapshotter(config, KEYS)?;
        let own = settings.text("subscriptionId");
        let of_cluster = variables.get("AZURE_SUBSCRIPTION_ID");
        let own_group = settings.text("resourceGroup");
        let group_of_cluster = variables.get("AZURE_RESOURCE_GROUP");
        if own.is_some_and(|own| Some(own) != of_cluster) && own_group.is_none() {
            return Err(Invalid(
                "config.resourceGroup is not set: name the resource group of config.subscriptionId that snapshots go \
                 to"
                .to_owned(),
            ));
        }
        let group = |subscription: Option<&str>, group: Option<&str>| {
            let missing = |key: &str, name: &str| {
                Invalid(format!(
                    "neither config.{key} nor {name} is set; {name} names that of the cluster's disks"
                ))
            };
            Ok::<_, Invalid>(Group {
                subscription: subscription
                    .ok_or_else(|| missing("subscriptionId", "AZURE_SUBSCRIPTION_ID"))?
                    .to_owned(),
                name: group
                    .ok_or_else(|| missing("resourceGroup", "AZURE_RESOURCE_GROUP"))?
                    .to_owned(),
            })
        };
        let cloud = cloud(variables)?;
        let authority = match settings.url("activeDirectoryAuthorityURI")? {
            Some(url) => url,
            None => of_variable(variables, "AZURE_AUTHORITY_HOST", cloud.authority)?,
        };
        Ok(Self {
            snapshots: group(own.or(of_cluster), own_group.or(group_of_cluster))?,
            disks: group(of_cluster.or(own), group_of_cluster.or(own_group))?,
            incremental: settings.flag("incremental")?.unwrap_or_default(),
            tags: tags(settings.text("tags").unwrap_or_default())?,
            api_timeout: settings.duration("apiTimeout")?.unwrap_or(API_TIMEOUT),
            authority,
            manager: of_variable(variables, "AZURE_RESOURCE_MANAGER_ENDPOINT", cloud.manager)?,
            ca_cert: settings.text("caCert").map(str::to_owned),
        })
    }
}

/// Reads tags in the form `a=b,c=d`.
fn tags(text: &str) -> Result<BTreeMap<String, String>, Invalid> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(Invalid(format!(
                "config.tags: {pair:?} cannot be read; write name=value,name=value"
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::environment::Environment;

    const CLUSTER: [(&str, &str); 2] = [
        ("AZURE_SUBSCRIPTION_ID", "s"),
        ("AZURE_RESOURCE_GROUP", "nodes"),
    ];

    async fn parse(
        pairs: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<DiskSettings, Invalid> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let config = VolumeProviderConfig {
            name: "azure".into(),
            config: owned(pairs).into_iter().collect(),
        };
        let environment: Environment = owned(variables).into_iter().collect();
        let variables = Variables::of(&environment).await.unwrap();
        DiskSettings::parse(&config, &variables)
    }

    #[tokio::test]
    async fn groups() {
        let group = |subscription: &str, name: &str| Group {
            subscription: subscription.to_owned(),
            name: name.to_owned(),
        };
        let own_group = ("resourceGroup", "vault");
        let own = ("subscriptionId", "other");
        for (pairs, variables, snapshots, disks) in [
            (
                &[][..],
                &CLUSTER[..],
                group("s", "nodes"),
                group("s", "nodes"),
            ),
            (
                &[own_group],
                &CLUSTER,
                group("s", "vault"),
                group("s", "nodes"),
            ),
            (
                &[own_group, own],
                &CLUSTER,
                group("other", "vault"),
                group("s", "nodes"),
            ),
            (
                &[own_group, own],
                &[],
                group("other", "vault"),
                group("other", "vault"),
            ),
            (
                &[("subscriptionId", "s")],
                &CLUSTER,
                group("s", "nodes"),
                group("s", "nodes"),
            ),
        ] {
            let settings = parse(pairs, variables).await.unwrap();
            assert_eq!(settings.snapshots, snapshots, "{pairs:?}");
            assert_eq!(settings.disks, disks, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn everything_else_has_a_default() {
        let plain = parse(&[], &CLUSTER).await.unwrap();
        assert!(!plain.incremental && plain.tags.is_empty());
        assert_eq!(plain.api_timeout, Duration::from_mins(2));
        assert_eq!(plain.manager.as_str(), "https://management.azure.com/");
        let all = parse(
            &[
                ("incremental", "true"),
                ("tags", "team=a, cost = b=c,"),
                ("apiTimeout", "5m0s"),
                ("activeDirectoryAuthorityURI", "https://login.example.org"),
            ],
            &CLUSTER,
        )
        .await
        .unwrap();
        assert!(all.incremental);
        assert_eq!(all.tags.len(), 2);
        assert_eq!(all.tags["cost"], "b=c");
        assert_eq!(all.authority.as_str(), "https://login.example.org/");
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused() {
        for (pairs, variables, expected) in [
            (&[][..], &[][..], "AZURE_SUBSCRIPTION_ID"),
            (&[], &CLUSTER[..1], "AZURE_RESOURCE_GROUP"),
            (
                &[("subscriptionId", "other")],
                &CLUSTER,
                "config.resourceGroup",
            ),
            (&[("region", "x")], &CLUSTER, "config.region"),
            (&[("incremental", "1")], &CLUSTER, "config.incremental"),
            (&[("tags", "a")], &CLUSTER, "config.tags"),
            (&[("apiTimeout", "2")], &CLUSTER, "config.apiTimeout"),
        ] {
            let problem = parse(pairs, variables).await.unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
