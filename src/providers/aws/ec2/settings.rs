//! What a location says about EC2, read without asking anybody.

use url::Url;

use crate::api::VolumeProviderConfig;
use crate::providers::aws::credentials::Identity;
use crate::providers::environment::Environment;
use crate::providers::settings::Settings;
use crate::providers::snapshotter::{SnapshotError, SnapshotErrorKind};

/// The settings of this provider.
const KEYS: &[&str] = &["region", "profile", "credentialsFile", "ec2Url", "caCert"];

/// A region of EC2, as the settings describe it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct EbsSettings {
    pub(super) region: String,
    /// The server; `None`: Amazon's of the region.
    pub(super) url: Option<Url>,
    /// Whose credentials are used.
    pub(super) identity: Identity,
    /// A file of further certificates to trust.
    pub(super) ca_cert: Option<String>,
}

impl EbsSettings {
    pub(super) fn parse(
        config: &VolumeProviderConfig,
        environment: &Environment,
    ) -> Result<Self, SnapshotError> {
        let settings = Settings::of_snapshotter(config, KEYS)?;
        let region = settings
            .text("region")
            .or_else(|| environment.get("AWS_REGION"))
            .or_else(|| environment.get("AWS_DEFAULT_REGION"))
            .ok_or_else(|| {
                SnapshotError::new(
                    SnapshotErrorKind::Invalid,
                    "config.region is not set; set it to the region of the cluster's volumes, such as eu-central-1",
                )
            })?;
        Ok(Self {
            region: region.to_owned(),
            url: settings.url("ec2Url")?,
            identity: Identity::of(settings),
            ca_cert: settings.text("caCert").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)], env: &[(&str, &str)]) -> Result<EbsSettings, SnapshotError> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let config = VolumeProviderConfig {
            name: "aws".into(),
            config: owned(pairs).into_iter().collect(),
        };
        EbsSettings::parse(&config, &owned(env).into_iter().collect())
    }

    #[test]
    fn the_region_is_found() {
        for (pairs, env, region) in [
            (&[("region", "a")][..], &[("AWS_REGION", "b")][..], "a"),
            (
                &[],
                &[("AWS_REGION", "b"), ("AWS_DEFAULT_REGION", "c")],
                "b",
            ),
            (&[], &[("AWS_DEFAULT_REGION", "c")], "c"),
        ] {
            assert_eq!(parse(pairs, env).unwrap().region, region);
        }
        let problem = parse(&[], &[]).unwrap_err();
        assert_eq!(problem.kind, SnapshotErrorKind::Invalid);
        assert!(problem.to_string().contains("config.region is not set"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (pairs, expected) in [
            (
                &[("regoin", "a")][..],
                "config.regoin is not a setting of aws; it has region",
            ),
            (&[("region", "")], "config.region is empty"),
            (
                &[("region", "a"), ("ec2Url", "localhost:5000")],
                "config.ec2Url",
            ),
            (
                &[("region", "a"), ("enableSharedConfig", "true")],
                "enableSharedConfig is not a setting",
            ),
        ] {
            let problem = parse(pairs, &[]).unwrap_err();
            assert_eq!(problem.kind, SnapshotErrorKind::Invalid, "{pairs:?}");
            assert!(problem.to_string().contains(expected), "{problem}");
        }
    }
}
