//! The flags that say what a backup takes and how: of one backup, or of each that a schedule makes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::flags::{OptionalBool, Problems, SelectionArgs, list, optional_bool, yaml_file};
use crate::api::{BackupSpec, ConfigMapRef, duration, names};

/// The flags of [`TemplateArgs`] that shape the spec, by clap's names for them.
pub(crate) const TEMPLATE_FLAGS: [&str; 15] = [
    "include_namespaces",
    "exclude_namespaces",
    "include_resources",
    "exclude_resources",
    "selector",
    "include_cluster_resources",
    "allow_empty",
    "ttl",
    "snapshot_volumes",
    "storage_location",
    "volume_snapshot_locations",
    "resource_policies_configmap",
    "volume_policies",
    "csi_snapshot_timeout",
    "item_operation_timeout",
];

/// What to back up, and how.
#[derive(Args, Debug)]
pub(crate) struct TemplateArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// How long to keep the backup, such as 720h or 30d; 0 keeps it for ever
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "720h0m0s",
        allow_hyphen_values = true
    )]
    ttl: String,
    /// Whether to snapshot persistent volumes [default: where a provider can]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    snapshot_volumes: Option<OptionalBool>,
    /// Backup location to keep the backup in [default: the server's default one]
    #[arg(long, value_name = "NAME")]
    storage_location: Option<String>,
    /// Snapshot locations to keep volume snapshots in, at most one a provider (comma-separated)
    #[arg(
        long,
        value_name = "NAME,...",
        overrides_with = "volume_snapshot_locations"
    )]
    volume_snapshot_locations: Option<String>,
    /// ConfigMap in Ark's namespace with policies that say which volumes to snapshot
    #[arg(long, value_name = "NAME", conflicts_with = "volume_policies")]
    resource_policies_configmap: Option<String>,
    /// File with such policies, in YAML
    #[arg(long, value_name = "FILE")]
    volume_policies: Option<PathBuf>,
    /// How long a CSI snapshot may take until it can be used [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    csi_snapshot_timeout: Option<Duration>,
    /// How long an operation that an item action has begun may take [default: 4h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    item_operation_timeout: Option<Duration>,
}

/// What [`TemplateArgs`] mean.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) spec: BackupSpec,
    /// Labels for the new object.
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl TemplateArgs {
    /// Reads the flags; what cannot be read is added to `problems`. Whether it makes sense is `validate`'s to say.
    pub(crate) fn read(&self, problems: &mut Problems) -> Template {
        let selection = self.selection.read(problems);
        let ttl = problems
            .take(duration::parse(&self.ttl).map_err(|problem| format!("--ttl: {problem}")));
        let spec = BackupSpec {
            included_namespaces: selection.included_namespaces,
            excluded_namespaces: selection.excluded_namespaces,
            included_resources: selection.included_resources,
            excluded_resources: selection.excluded_resources,
            label_selector: selection.label_selector,
            snapshot_volumes: self.snapshot_volumes.and_then(|given| given.0),
            ttl: Some(duration::format(ttl)),
            include_cluster_resources: selection.include_cluster_resources,
            storage_location: self.storage_location.clone().unwrap_or_default(),
            volume_snapshot_locations: problems.take(list(
                "--volume-snapshot-locations",
                self.volume_snapshot_locations.as_deref(),
            )),
            resource_policy: self
                .resource_policies_configmap
                .as_deref()
                .map(ConfigMapRef::named),
            volume_policies: self
                .volume_policies
                .as_ref()
                .map(|path| problems.take(yaml_file("--volume-policies", path))),
            csi_snapshot_timeout: self.csi_snapshot_timeout.map(duration::format),
            item_operation_timeout: self.item_operation_timeout.map(duration::format),
            allow_empty: selection.allow_empty,
            ..BackupSpec::default()
        };
        // An unset shell variable must not stand for the default location.
        if let Some(name) = &self.storage_location {
            problems.take(names::check_resource_name(name, "backup location"));
        }
        for name in &spec.volume_snapshot_locations {
            problems.take(names::check_resource_name(name, "snapshot location"));
        }
        Template {
            spec,
            labels: selection.labels,
        }
    }

    /// Returns the labels for the new object alone; what is wrong with them is added to `problems`.
    pub(crate) fn labels(&self, problems: &mut Problems) -> BTreeMap<String, String> {
        self.selection.labels(problems)
    }
}
