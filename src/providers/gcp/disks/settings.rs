//! What a location says about snapshots of Compute Engine's disks, read without asking anybody.

use std::time::Duration;

use url::Url;

use crate::api::VolumeProviderConfig;
use crate::providers::settings::{Invalid, Settings};

/// The settings, by the names that Velero's plugin gave them, and two that it lacks: another address, and the time.
const KEYS: &[&str] = &[
    "project",
    "volumeProject",
    "snapshotLocation",
    "snapshotType",
    "computeEndpoint",
    "apiTimeout",
];

/// Google's own address.
const GOOGLE: &str = "https://compute.googleapis.com";
/// How long is waited for a snapshot to be cut and for a disk to be made, as Ark has it for Azure.
const API_TIMEOUT: Duration = Duration::from_mins(2);

/// Snapshots, as the settings describe them.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct DiskSettings {
    /// The project that snapshots are in; `None`: the disks' one.
    pub(super) project: Option<String>,
    /// The project that disks are in which do not name one; `None`: the credentials', else the machine's.
    pub(super) volume_project: Option<String>,
    /// Where snapshots are stored; `None`: where the project's settings say.
    pub(super) location: Option<String>,
    /// `STANDARD` or `ARCHIVE`; `None`: Google decides.
    pub(super) snapshot_type: Option<String>,
    /// The API's address.
    pub(super) endpoint: Url,
    /// How long a cloud that asks for patience gets it, and how long what was begun is waited for.
    pub(super) api_timeout: Duration,
}

impl DiskSettings {
    pub(super) fn parse(config: &VolumeProviderConfig) -> Result<Self, Invalid> {
        let settings = Settings::of_snapshotter(config, KEYS)?;
        let owned = |key| settings.text(key).map(str::to_owned);
        let endpoint = match settings.url("computeEndpoint")? {
            Some(url) => url,
            None => Url::parse(GOOGLE).map_err(|error| Invalid(error.to_string()))?,
        };
        // Velero takes them small, too.
        let kinds = ["STANDARD", "ARCHIVE", "standard", "archive"];
        Ok(Self {
            project: owned("project"),
            volume_project: owned("volumeProject"),
            location: owned("snapshotLocation"),
            snapshot_type: settings
                .one_of("snapshotType", &kinds)?
                .map(str::to_ascii_uppercase),
            endpoint,
            api_timeout: settings.duration("apiTimeout")?.unwrap_or(API_TIMEOUT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<DiskSettings, Invalid> {
        DiskSettings::parse(&VolumeProviderConfig {
            name: "gcp".into(),
            config: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn everything_has_a_default() {
        let plain = parse(&[]).unwrap();
        assert_eq!(plain.endpoint.as_str(), "https://compute.googleapis.com/");
        assert_eq!(plain.api_timeout, Duration::from_mins(2));
        assert_eq!(plain.project, None);
        let all = parse(&[
            ("project", "snapshots"),
            ("volumeProject", "disks"),
            ("snapshotLocation", "eu"),
            ("snapshotType", "archive"),
            ("computeEndpoint", "https://private.example.com"),
            ("apiTimeout", "5m"),
        ])
        .unwrap();
        assert_eq!(all.project.as_deref(), Some("snapshots"));
        assert_eq!(all.volume_project.as_deref(), Some("disks"));
        assert_eq!(all.location.as_deref(), Some("eu"));
        assert_eq!(all.snapshot_type.as_deref(), Some("ARCHIVE"));
        assert_eq!(all.api_timeout, Duration::from_mins(5));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for pair in [
            ("region", "europe-west1"),
            ("snapshotType", "cold"),
            ("computeEndpoint", "compute:80"),
            ("apiTimeout", "2"),
            ("apiTimeout", "0s"),
            ("project", " "),
        ] {
            let problem = parse(&[pair]).unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("config.{}", pair.0)),
                "{problem}"
            );
        }
    }
}
