//! Where an installation keeps its backups: the location, and the Secret that opens it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::server::{Credentials, SECRET, SECRET_KEY};
use crate::api::{
    BackupStorageLocation, BackupStorageLocationSpec, DEFAULT_LOCATION, ObjectStorageLocation,
    VolumeSnapshotLocation, VolumeSnapshotLocationSpec,
};
use crate::client::flags::{Problems, pairs};
use crate::providers::registry::{AVAILABLE, FEATURES, SNAPSHOTTERS};

/// A directory of the server's own machine, which a pod loses.
const LOCAL: &str = "local";

/// Where backups go, and with which credentials.
#[derive(Args, Debug)]
pub(super) struct LocationArgs {
    /// Provider of the store: aws for S3 and what speaks its protocol; makes a location named default
    #[arg(long, value_name = "NAME", help_heading = "Store")]
    provider: Option<String>,
    /// Bucket, which has to be there
    #[arg(long, value_name = "NAME", help_heading = "Store")]
    bucket: Option<String>,
    /// What all names in the bucket begin with, for a bucket that holds other things too
    #[arg(long, value_name = "PREFIX", help_heading = "Store")]
    prefix: Option<String>,
    /// The provider's settings, such as region=eu-central-1 (comma-separated, may be repeated)
    #[arg(long, value_name = "KEY=VALUE,...", help_heading = "Store")]
    config: Vec<String>,
    /// Settings of a snapshot location of the same provider, such as region=eu-central-1 (comma-separated, may be
    /// repeated); makes one named default, which a bare flag does without settings
    #[arg(
        long,
        value_name = "KEY=VALUE,...",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "provider",
        help_heading = "Store"
    )]
    snapshot_location_config: Vec<String>,
    /// File with the provider's credentials, kept in Secret cloud-credentials
    #[arg(long, value_name = "PATH", help_heading = "Store")]
    pub(super) secret_file: Option<PathBuf>,
    /// Mount no credentials: the server's account or node has the right to the bucket
    #[arg(
        long,
        requires = "provider",
        conflicts_with = "secret_file",
        help_heading = "Store"
    )]
    no_secret: bool,
}

impl LocationArgs {
    /// Returns where backups go, if that is said.
    pub(super) fn read(&self, problems: &mut Problems) -> Option<Location> {
        let config = if self.config.is_empty() {
            BTreeMap::new()
        } else {
            problems.take(pairs("--config", &self.config, '='))
        };
        let bucket = self.bucket.as_deref().unwrap_or_default().trim();
        let Some(provider) = self.provider.as_deref() else {
            let given = [
                ("--bucket", self.bucket.is_some()),
                ("--prefix", self.prefix.is_some()),
                ("--config", !self.config.is_empty()),
                ("--secret-file", self.secret_file.is_some()),
            ];
            let given: Vec<&str> = given
                .into_iter()
                .filter_map(|(flag, is_given)| is_given.then_some(flag))
                .collect();
            if !given.is_empty() {
                problems.extend([format!(
                    "{} without --provider: name the store's provider; it can be {}",
                    given.join(" and "),
                    choices()
                )]);
            }
            return None;
        };
        problems.extend(provider_problem(provider));
        let snapshots = self.snapshots(provider, problems);
        if bucket.is_empty() {
            problems.extend([
                "--provider without --bucket: name the bucket that holds the backups".to_owned(),
            ]);
        } else if let Some((bucket, prefix)) = bucket.split_once('/') {
            problems.extend([format!(
                "--bucket {bucket}/{prefix}: a bucket has no '/' in its name; write --bucket {bucket} --prefix {prefix}"
            )]);
        }
        Some(Location {
            provider: provider.to_owned(),
            bucket: bucket.to_owned(),
            prefix: self
                .prefix
                .as_deref()
                .unwrap_or_default()
                .trim_matches('/')
                .to_owned(),
            config,
            snapshots,
        })
    }

    /// Returns the settings of the snapshot location, if there is to be one.
    fn snapshots(
        &self,
        provider: &str,
        problems: &mut Problems,
    ) -> Option<BTreeMap<String, String>> {
        const FLAG: &str = "--snapshot-location-config";
        if self.snapshot_location_config.is_empty() {
            return None;
        }
        if !SNAPSHOTTERS.contains(&provider) {
            problems.extend([format!(
                "{FLAG}: provider {provider} snapshots no volumes; those that do are {}",
                SNAPSHOTTERS.join(", ")
            )]);
        }
        let given = self.snapshot_location_config.iter();
        let given: Vec<String> = given.filter(|text| !text.is_empty()).cloned().collect();
        if given.is_empty() {
            return Some(BTreeMap::new());
        }
        Some(problems.take(pairs(FLAG, &given, '=')))
    }

    /// Returns how the server gets its credentials.
    pub(super) fn credentials(&self) -> Credentials {
        if self.no_secret {
            Credentials::Identity
        } else {
            Credentials::of_provider(self.provider.as_deref().unwrap_or_default())
        }
    }
}

/// Returns the providers that a flag can name, for a message.
fn choices() -> String {
    let names: Vec<&str> = AVAILABLE
        .iter()
        .copied()
        .filter(|name| *name != LOCAL)
        .collect();
    if names.is_empty() {
        "an ark that was built with providers of clouds".to_owned()
    } else {
        format!("{} or a plugin's such as velero.io/aws", names.join(", "))
    }
}

fn provider_problem(provider: &str) -> Option<String> {
    let advice = match provider {
        LOCAL => {
            "it keeps backups in a directory, which would go with the server's pod: mount a volume in the Deployment, \
             make the location yourself"
        }
        name if AVAILABLE.contains(&name) => return None,
        // A plugin's, which the server looks for.
        name if name.contains('/') => return None,
        name if FEATURES.contains(&name) => "this ark was built without the feature of that name",
        _ => "this version of ark does not have it",
    };
    Some(format!(
        "--provider {provider}: {advice}; it can be {}",
        choices()
    ))
}

/// Where backups go.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) provider: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) config: BTreeMap<String, String>,
    /// The settings of the provider's snapshots, if volumes are to be snapshot.
    pub(super) snapshots: Option<BTreeMap<String, String>>,
}

impl Location {
    /// Returns the location's object.
    pub(super) fn object(&self, namespace: &str) -> anyhow::Result<Value> {
        let mut location = BackupStorageLocation::new(
            DEFAULT_LOCATION,
            BackupStorageLocationSpec {
                provider: self.provider.clone(),
                config: self.config.clone(),
                object_storage: ObjectStorageLocation {
                    bucket: self.bucket.clone(),
                    prefix: self.prefix.clone(),
                },
                ..BackupStorageLocationSpec::default()
            },
        );
        location.metadata = metadata(DEFAULT_LOCATION, namespace);
        serde_json::to_value(location).context("writing the location")
    }

    /// Returns the snapshot location's object, if there is to be one.
    pub(super) fn snapshots_object(
        &self,
        name: &str,
        namespace: &str,
    ) -> anyhow::Result<Option<Value>> {
        let Some(config) = &self.snapshots else {
            return Ok(None);
        };
        let spec = VolumeSnapshotLocationSpec {
            provider: self.provider.clone(),
            config: config.clone(),
            credential: None,
        };
        let mut location = VolumeSnapshotLocation::new(name, spec);
        location.metadata = metadata(name, namespace);
        let object = serde_json::to_value(location).context("writing the snapshot location")?;
        Ok(Some(object))
    }
}

/// Returns the Secret that holds the contents of a credentials file, in the form that the server takes them in.
///
/// # Errors
/// A line that is no variable, where variables are wanted.
pub(super) fn secret(
    namespace: &str,
    credentials: Credentials,
    contents: &[u8],
) -> anyhow::Result<Value> {
    let data = match credentials {
        Credentials::File(_) | Credentials::Identity => {
            BTreeMap::from([(SECRET_KEY.to_owned(), ByteString(contents.to_vec()))])
        }
        Credentials::Variables => variables(contents)?,
    };
    serde_json::to_value(Secret {
        metadata: metadata(SECRET, namespace),
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
    .context("writing the Secret")
}

/// Reads lines of the form `NAME=value`; empty lines and comments are passed over. Values never get into messages.
fn variables(contents: &[u8]) -> anyhow::Result<BTreeMap<String, ByteString>> {
    let text = std::str::from_utf8(contents).context("the file is not text")?;
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| is_variable(name))
            .with_context(|| {
                format!(
                    "line {} is not of the form NAME=value, such as AZURE_TENANT_ID=...",
                    number + 1
                )
            })?;
        found.insert(name.to_owned(), ByteString(value.as_bytes().to_vec()));
    }
    Ok(found)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn metadata(name: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([("component".to_owned(), "ark".to_owned())])),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_and_never_shown() {
        let text = b"# for Ark\n\nAZURE_TENANT_ID=t\n AZURE_CLIENT_SECRET = a=b \n";
        let found = variables(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.0.as_slice()))
            .collect();
        assert_eq!(
            found,
            [
                ("AZURE_CLIENT_SECRET", &b"a=b"[..]),
                ("AZURE_TENANT_ID", b"t")
            ]
        );
        for bad in [&b"hunter2"[..], b"=hunter2", b"a b=hunter2", b"A=1\n{"] {
            let problem = format!("{:#}", variables(bad).unwrap_err());
            assert!(
                problem.contains("line ") && !problem.contains("hunter2"),
                "{problem}"
            );
        }
        assert!(variables(&[0xff]).is_err());
    }
}
