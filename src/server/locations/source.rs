//! What the Config, the BackupStorageLocations and the VolumeSnapshotLocations say, as plain data. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{
    AccessMode, BackupStorageLocation, Config, ConfigFields, DEFAULT_LOCATION, SecretKey,
    StorageProviderConfig, VolumeProviderConfig, VolumeSnapshotLocation, duration,
};
use crate::server::args;
use crate::server::objects::Entry;
use crate::server::settings::Settings;

/// The Config that counts.
pub(crate) const CONFIG_NAME: &str = "default";

/// What the command line says on what the Config says, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) restore_only: bool,
    pub(crate) priorities: Vec<String>,
    pub(crate) backup_sync_period: Option<Duration>,
    /// The name of the default location; empty means `default`.
    pub(crate) default_location: String,
    /// The snapshot locations, by provider, of backups that name none.
    pub(crate) default_snapshot_locations: BTreeMap<String, String>,
}

/// One location, as it is described.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    pub(crate) store: StorageProviderConfig,
    pub(crate) prefix: String,
    pub(crate) access: AccessMode,
    pub(crate) credential: Option<SecretKey>,
    pub(crate) sync_period: Duration,
    /// The UID of its BackupStorageLocation; `None` for the Config's.
    pub(crate) resource: Option<String>,
    /// Why it cannot be used, as far as it can be seen from itself.
    pub(crate) problems: Vec<String>,
}

/// One snapshot location, as it is described.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SnapshotSource {
    pub(crate) provider: VolumeProviderConfig,
    pub(crate) credential: Option<SecretKey>,
    /// Why it cannot be used, as far as it can be seen from itself.
    pub(crate) problems: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sources {
    /// The settings, or why they cannot be known.
    pub(crate) settings: Result<Settings, Vec<String>>,
    pub(crate) default_location: String,
    pub(crate) locations: BTreeMap<String, Source>,
    pub(crate) snapshot_locations: BTreeMap<String, SnapshotSource>,
}

impl Sources {
    pub(crate) fn new(
        config: Option<Entry<Config>>,
        locations: Vec<(String, Entry<BackupStorageLocation>)>,
        snapshot_locations: Vec<(String, Entry<VolumeSnapshotLocation>)>,
        overrides: &Overrides,
    ) -> Self {
        let fields = match config.map(|entry| entry.object) {
            None => Ok(None),
            Some(Ok(config)) => {
                let problems = problems(&config.spec);
                if problems.is_empty() {
                    Ok(Some(config.spec.clone()))
                } else {
                    Err(problems)
                }
            }
            Some(Err(problem)) => Err(vec![problem]),
        };
        let settings = fields
            .as_ref()
            .map(|fields| settings(fields.as_ref(), overrides))
            .map_err(Clone::clone);
        let sync_period = settings
            .as_ref()
            .map_or_else(|_| args::sync_period(None, None), |known| known.sync_period);
        let mut default_location = match overrides.default_location.as_str() {
            "" => DEFAULT_LOCATION.to_owned(),
            name => name.to_owned(),
        };
        let mut sources = BTreeMap::new();
        for (name, entry) in locations {
            let source = match &entry.object {
                Ok(location) => {
                    if location.spec.default {
                        default_location.clone_from(&name);
                    }
                    of_resource(location, entry.uid, sync_period)
                }
                Err(problem) => Source {
                    store: StorageProviderConfig::default(),
                    prefix: String::new(),
                    access: AccessMode::ReadOnly,
                    credential: None,
                    sync_period,
                    resource: Some(entry.uid),
                    problems: vec![problem.clone()],
                },
            };
            sources.insert(name, source);
        }
        if let Ok(Some(fields)) = &fields
            && !sources.contains_key(DEFAULT_LOCATION)
        {
            // A Config without a store is one that only sets periods, if there are other locations.
            let store = &fields.backup_storage_provider;
            if sources.is_empty() || !store.name.is_empty() {
                sources.insert(
                    DEFAULT_LOCATION.to_owned(),
                    of_config(store.clone(), sync_period),
                );
            }
        }
        let mut snapshots: BTreeMap<String, SnapshotSource> = snapshot_locations
            .into_iter()
            .map(|(name, entry)| (name, of_snapshot_resource(entry.object)))
            .collect();
        if let Ok(Some(fields)) = &fields
            && let Some(provider) = &fields.persistent_volume_provider
        {
            // As with stores, a resource of the name wins.
            let of_config = || SnapshotSource {
                provider: provider.clone(),
                credential: None,
                problems: Vec::new(),
            };
            snapshots
                .entry(DEFAULT_LOCATION.to_owned())
                .or_insert_with(of_config);
        }
        Self {
            settings,
            default_location,
            locations: sources,
            snapshot_locations: snapshots,
        }
    }

    /// Returns whether nothing says where backups are kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.locations.is_empty() && self.settings.is_ok()
    }
}

fn of_config(store: StorageProviderConfig, sync_period: Duration) -> Source {
    Source {
        store,
        prefix: String::new(),
        access: AccessMode::ReadWrite,
        credential: None,
        sync_period,
        resource: None,
        problems: Vec::new(),
    }
}

fn of_resource(location: &BackupStorageLocation, uid: String, sync_period: Duration) -> Source {
    let spec = &location.spec;
    let mut problems = Vec::new();
    if let AccessMode::Other(mode) = spec.access() {
        problems.push(format!(
            "accessMode: {mode:?} is not known; use ReadWrite or ReadOnly"
        ));
    }
    problems.extend(credential_problem(spec.credential.as_ref()));
    let own_period = match spec.backup_sync_period.as_deref().map(duration::parse) {
        None => None,
        Some(Ok(period)) => Some(period),
        Some(Err(problem)) => {
            problems.push(format!("backupSyncPeriod: {problem}"));
            None
        }
    };
    Source {
        store: spec.store(),
        prefix: spec.object_storage.prefix.clone(),
        access: spec.access(),
        credential: spec.credential.clone(),
        sync_period: args::sync_period(own_period, Some(sync_period)),
        resource: Some(uid),
        problems,
    }
}

fn of_snapshot_resource(
    location: Result<std::sync::Arc<VolumeSnapshotLocation>, String>,
) -> SnapshotSource {
    match location {
        Ok(location) => {
            let spec = &location.spec;
            SnapshotSource {
                provider: VolumeProviderConfig {
                    name: spec.provider.clone(),
                    config: spec.config.clone(),
                },
                credential: spec.credential.clone(),
                problems: credential_problem(spec.credential.as_ref())
                    .into_iter()
                    .collect(),
            }
        }
        Err(problem) => SnapshotSource {
            provider: VolumeProviderConfig::default(),
            credential: None,
            problems: vec![problem],
        },
    }
}

fn credential_problem(credential: Option<&SecretKey>) -> Option<String> {
    let SecretKey { name, key } = credential?;
    (name.is_empty() || key.is_empty())
        .then(|| "credential: it needs the name of a Secret and a key in it".to_owned())
}

/// Returns what is wrong with a Config before its store is asked.
fn problems(fields: &ConfigFields) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in [
        ("backupSyncPeriod", &fields.backup_sync_period),
        ("gcSyncPeriod", &fields.gc_sync_period),
        ("scheduleSyncPeriod", &fields.schedule_sync_period),
    ] {
        if let Some(Err(problem)) = value.as_deref().map(duration::parse) {
            problems.push(format!("{name}: {problem}"));
        }
    }
    problems
}

fn settings(fields: Option<&ConfigFields>, overrides: &Overrides) -> Settings {
    let configured = fields
        .and_then(|fields| fields.backup_sync_period.as_deref())
        .and_then(|text| duration::parse(text).ok());
    Settings {
        restore_only: overrides.restore_only
            || fields.is_some_and(|fields| fields.restore_only_mode),
        priorities: if overrides.priorities.is_empty() {
            fields.map_or_else(Vec::new, |fields| fields.resource_priorities.clone())
        } else {
            overrides.priorities.clone()
        },
        sync_period: args::sync_period(overrides.backup_sync_period, configured),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{BackupStorageLocationSpec, ConfigPhase, ConfigStatus, ObjectStorageLocation};

    fn entry<K>(uid: &str, object: Result<K, &str>) -> Entry<K> {
        Entry {
            uid: uid.into(),
            resource_version: "1".into(),
            created: None,
            object: object.map(Arc::new).map_err(str::to_owned),
        }
    }

    fn config(provider: &str) -> Config {
        Config {
            spec: ConfigFields {
                backup_storage_provider: StorageProviderConfig {
                    name: provider.into(),
                    ..StorageProviderConfig::default()
                },
                ..ConfigFields::default()
            },
            ..Config::default()
        }
    }

    fn location(change: impl FnOnce(&mut BackupStorageLocationSpec)) -> BackupStorageLocation {
        let mut location = BackupStorageLocation::default();
        location.spec.provider = "local".into();
        location.spec.object_storage = ObjectStorageLocation {
            bucket: "b".into(),
            prefix: "p".into(),
        };
        change(&mut location.spec);
        location
    }

    #[test]
    fn bad_periods_are_named() {
        let fields = ConfigFields {
            backup_sync_period: Some("often".into()),
            gc_sync_period: Some("0s".into()),
            ..ConfigFields::default()
        };
        let found = problems(&fields);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("backupSyncPeriod: "), "{found:?}");
        assert!(problems(&ConfigFields::default()).is_empty());
    }

    #[test]
    fn the_config_is_the_location_default_where_no_resource_has_that_name() {
        let overrides = Overrides::default();
        let sources = |config: Option<&str>, names: &[&str]| {
            let config = config.map(|provider| entry("c", Ok(self::config(provider))));
            let locations = names
                .iter()
                .map(|name| ((*name).to_owned(), entry(name, Ok(location(|_| {})))))
                .collect();
            Sources::new(config, locations, Vec::new(), &overrides)
        };
        let found = sources(Some("aws"), &[]);
        assert_eq!(found.locations["default"].store.name, "aws");
        assert_eq!(found.locations["default"].resource, None);
        let found = sources(Some("aws"), &["default"]);
        assert_eq!(found.locations["default"].store.name, "local");
        assert_eq!(
            found.locations["default"].resource.as_deref(),
            Some("default")
        );
        let found = sources(Some("aws"), &["other"]);
        assert_eq!(found.locations.len(), 2);
        assert_eq!(sources(Some(""), &["other"]).locations.len(), 1);
        assert_eq!(sources(Some(""), &[]).locations.len(), 1);
        assert!(sources(None, &[]).is_empty());
        assert_eq!(sources(None, &["other"]).default_location, "default");
    }

    #[test]
    fn a_location_may_call_itself_the_default() {
        let locations = vec![
            ("a".to_owned(), entry("a", Ok(location(|_| {})))),
            (
                "b".to_owned(),
                entry("b", Ok(location(|spec| spec.default = true))),
            ),
        ];
        let overrides = Overrides {
            default_location: "a".into(),
            ..Overrides::default()
        };
        let chosen = |locations: &[(String, Entry<BackupStorageLocation>)]| {
            Sources::new(None, locations.to_vec(), Vec::new(), &overrides).default_location
        };
        assert_eq!(chosen(&locations), "b");
        assert_eq!(chosen(&locations[..1]), "a");
    }

    #[test]
    fn bad_locations_say_why_and_others_stay_good() {
        let locations = vec![
            ("good".to_owned(), entry("g", Ok(location(|_| {})))),
            ("unreadable".to_owned(), entry("u", Err("broken"))),
            (
                "odd".to_owned(),
                entry(
                    "o",
                    Ok(location(|spec| {
                        spec.access_mode = Some(AccessMode::Other("Never".into()));
                        spec.backup_sync_period = Some("often".into());
                        spec.credential = Some(SecretKey::default());
                    })),
                ),
            ),
        ];
        let found = Sources::new(None, locations, Vec::new(), &Overrides::default()).locations;
        assert!(found["good"].problems.is_empty());
        assert_eq!(found["unreadable"].problems, ["broken"]);
        let fields: Vec<_> = found["odd"]
            .problems
            .iter()
            .filter_map(|problem| problem.split(':').next())
            .collect();
        assert_eq!(fields, ["accessMode", "credential", "backupSyncPeriod"]);
    }

    #[test]
    fn a_config_that_cannot_be_read_hides_its_settings() {
        let sources = Sources::new(
            Some(entry("c", Err("broken"))),
            Vec::new(),
            Vec::new(),
            &Overrides::default(),
        );
        assert_eq!(sources.settings, Err(vec!["broken".to_owned()]));
        assert!(!sources.is_empty());
    }

    #[test]
    fn a_status_changes_nothing() {
        let of = |status: Option<ConfigStatus>| {
            let mut config = config("local");
            config.spec.restore_only_mode = true;
            config.status = status;
            Sources::new(
                Some(entry("c", Ok(config))),
                Vec::new(),
                Vec::new(),
                &Overrides::default(),
            )
        };
        let before = of(None);
        assert!(before.settings.as_ref().unwrap().restore_only);
        let after = of(Some(ConfigStatus {
            phase: ConfigPhase::Available,
            validation_errors: Vec::new(),
        }));
        assert_eq!(before, after);
    }
}
