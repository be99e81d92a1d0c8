//! What the server has been told to work with: its settings, and the locations that backups are kept in. Plain data,
//! published by `locations`, read by every controller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::engines;
use crate::api::{AccessMode, Backup, StorageProviderConfig, VolumeProviderConfig, labels, names};

/// What is known of the settings and locations. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum World {
    /// Not everything has been looked at yet.
    Pending,
    /// The Config cannot be used; a sentence for each reason. Without knowing what it says nothing is begun.
    Unusable(Arc<Vec<String>>),
    /// The settings that count.
    Known(Arc<Known>),
}

/// The settings that count now, and each location by its name.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) settings: Settings,
    /// The location of backups that name none.
    pub(crate) default_location: String,
    pub(crate) locations: BTreeMap<String, LocationState>,
    /// The snapshot locations; `None`: it is being looked at.
    pub(crate) snapshot_locations: BTreeMap<String, Option<Arc<SnapshotPlace>>>,
    /// Which snapshot location of a provider counts where nobody names one.
    pub(crate) default_snapshot_locations: BTreeMap<String, String>,
    /// Which locations sync has looked through, or tried to, since it began.
    pub(crate) looked_through: BTreeSet<String>,
}

/// A snapshot location.
#[derive(Debug)]
pub(crate) struct SnapshotPlace {
    /// Its provider, and how that is used.
    pub(crate) provider: VolumeProviderConfig,
    /// What snapshots volumes there, or why that cannot be had.
    pub(crate) snapshotter: Result<engines::Snapshotter, String>,
    /// Why it cannot be used now, a sentence each.
    pub(crate) problems: Vec<String>,
}

/// The server's settings, from the command line and the Config.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// Whether only restores are served.
    pub(crate) restore_only: bool,
    /// Types to restore before all others; empty means the built-in order.
    pub(crate) priorities: Vec<String>,
    /// How often stored backups are looked for where a location does not say otherwise.
    pub(crate) sync_period: Duration,
}

/// What is known of a location.
#[derive(Clone, Debug)]
pub(crate) enum LocationState {
    /// It is being looked at.
    Pending,
    /// It cannot be used; a sentence for each reason.
    Unusable(Arc<Vec<String>>),
    /// It can be used.
    Usable(Arc<Place>),
}

/// Where a location keeps its keys: two of the same root hold the same backups.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Root {
    /// The store and the bucket in it.
    pub(crate) store: StorageProviderConfig,
    /// What its keys begin with.
    pub(crate) prefix: String,
}

/// What users should know of the locations that sync has looked through, by the locations' names; empty where there is
/// nothing to say, `None` where a location could not be looked through.
pub(crate) type Notes = BTreeMap<String, Option<String>>;

/// A location that can be used.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its name: that of its BackupStorageLocation, or `default` for the Config's.
    pub(crate) name: String,
    /// Where its keys are.
    pub(crate) root: Root,
    /// The open store.
    pub(crate) location: engines::Location,
    /// What may be done with it.
    pub(crate) access: AccessMode,
    /// How often to look for new backups in it.
    pub(crate) sync_period: Duration,
    /// The name and UID of its BackupStorageLocation; `None` for the Config's.
    pub(crate) resource: Option<(String, String)>,
}

/// The answer to where a backup is, or is to go.
#[derive(Clone, Debug)]
pub(crate) enum Whereabouts {
    /// Not known yet; it will be, or somebody has to make a location first.
    Unknown,
    /// It cannot be used; a sentence for each reason.
    Unusable(Arc<Vec<String>>),
    /// Here.
    At(Arc<Place>),
}

/// Where a backup may be, and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) enum Candidates {
    /// Not known yet.
    Unknown,
    /// The server has been told of no location.
    NoLocation,
    /// Nowhere that can be looked into; a sentence for each reason.
    Unusable(Arc<Vec<String>>),
    /// In one of these, the default one first; the names of those that cannot be looked into.
    Places(Vec<Arc<Place>>, Vec<String>),
}

/// Says, after what was not found, which locations could not be looked into: it may be there.
pub(crate) fn but_for(unseen: &[String]) -> String {
    match unseen {
        [] => String::new(),
        unseen => format!(
            "; what cannot be looked into now: location {}",
            unseen.join(", ")
        ),
    }
}

impl Place {
    /// Returns whether backups may be made and removed here.
    pub(crate) fn is_writable(&self) -> bool {
        self.access == AccessMode::ReadWrite
    }
}

impl World {
    /// Returns whether backups, schedules and expiry are off.
    pub(crate) fn restore_only(&self) -> bool {
        matches!(self, Self::Known(known) if known.settings.restore_only)
    }

    /// Returns the settings, once they are known.
    pub(crate) fn settings(&self) -> Option<&Settings> {
        match self {
            Self::Known(known) => Some(&known.settings),
            Self::Pending | Self::Unusable(_) => None,
        }
    }

    /// Returns the location of a name; the empty name means the default one.
    pub(crate) fn find(&self, name: &str) -> Whereabouts {
        let known = match self {
            Self::Pending => return Whereabouts::Unknown,
            Self::Unusable(reasons) => return Whereabouts::Unusable(Arc::clone(reasons)),
            Self::Known(known) => known,
        };
        let wanted = if name.is_empty() {
            &known.default_location
        } else {
            name
        };
        match known.locations.get(wanted) {
            Some(LocationState::Pending) => Whereabouts::Unknown,
            Some(LocationState::Unusable(reasons)) => Whereabouts::Unusable(Arc::clone(reasons)),
            Some(LocationState::Usable(place)) => Whereabouts::At(Arc::clone(place)),
            // A server that nobody has told where to keep backups waits until somebody does.
            None if name.is_empty() => Whereabouts::Unknown,
            None => Whereabouts::Unusable(Arc::new(vec![format!(
                "there is no location {name}; `ark backup-location get` lists those there are"
            )])),
        }
    }

    /// Returns whether there is a location of this name, whatever state it is in. As long as nothing is known there may
    /// be one.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Known(known) => known
                .locations
                .keys()
                .any(|known| known == name || names::label_value(known) == name),
            Self::Pending | Self::Unusable(_) => true,
        }
    }

    /// Returns whether the location of backups that name none is being looked at.
    pub(crate) fn default_is_pending(&self) -> bool {
        let Self::Known(known) = self else {
            return matches!(self, Self::Pending);
        };
        matches!(
            known.locations.get(&known.default_location),
            Some(LocationState::Pending)
        )
    }

    /// Returns the provider of each snapshot location.
    pub(crate) fn snapshot_providers(&self) -> BTreeMap<String, String> {
        let Self::Known(known) = self else {
            return BTreeMap::new();
        };
        let places = known.snapshot_locations.iter();
        places
            .filter_map(|(name, place)| Some((name.clone(), place.as_ref()?.provider.name.clone())))
            .collect()
    }

    /// Returns whether a snapshot location is being looked at.
    pub(crate) fn snapshots_are_pending(&self) -> bool {
        match self {
            Self::Known(known) => known.snapshot_locations.values().any(Option::is_none),
            Self::Pending | Self::Unusable(_) => true,
        }
    }

    /// Returns which snapshot location of a provider counts where nobody names one.
    pub(crate) fn default_snapshot_locations(&self) -> BTreeMap<String, String> {
        match self {
            Self::Known(known) => known.default_snapshot_locations.clone(),
            Self::Pending | Self::Unusable(_) => BTreeMap::new(),
        }
    }

    /// Returns the snapshot locations that have been looked at.
    pub(crate) fn snapshot_places(&self) -> Vec<(String, Arc<SnapshotPlace>)> {
        let Self::Known(known) = self else {
            return Vec::new();
        };
        let places = known.snapshot_locations.iter();
        places
            .filter_map(|(name, place)| Some((name.clone(), Arc::clone(place.as_ref()?))))
            .collect()
    }

    /// Returns where a backup may be: in the location that it names, or in any if it names none.
    pub(crate) fn candidates(&self, named: &str) -> Candidates {
        if !named.is_empty() {
            return match self.find(named) {
                Whereabouts::Unknown => Candidates::Unknown,
                Whereabouts::Unusable(reasons) => Candidates::Unusable(reasons),
                Whereabouts::At(place) => Candidates::Places(vec![place], Vec::new()),
            };
        }
        let known = match self {
            Self::Pending => return Candidates::Unknown,
            Self::Unusable(reasons) => return Candidates::Unusable(Arc::clone(reasons)),
            Self::Known(known) => known,
        };
        let mut unseen = Vec::new();
        let mut problems = Vec::new();
        for (name, state) in &known.locations {
            match state {
                // It may be where nobody has looked yet.
                LocationState::Pending => return Candidates::Unknown,
                LocationState::Unusable(reasons) => {
                    unseen.push(name.clone());
                    problems.extend(reasons.iter().cloned());
                }
                LocationState::Usable(_) => {}
            }
        }
        let places = self.places();
        if !places.is_empty() {
            Candidates::Places(places, unseen)
        } else if unseen.is_empty() {
            Candidates::NoLocation
        } else {
            Candidates::Unusable(Arc::new(problems))
        }
    }

    /// Returns whether what is stored in the locations that can be used is shown in the cluster, as far as it can be.
    pub(crate) fn is_looked_through(&self) -> bool {
        let Self::Known(known) = self else {
            return false;
        };
        known.locations.iter().all(|(name, state)| match state {
            LocationState::Pending => false,
            LocationState::Unusable(_) => true,
            LocationState::Usable(_) => known.looked_through.contains(name),
        })
    }

    /// Returns every location that can be used, the default one first.
    pub(crate) fn places(&self) -> Vec<Arc<Place>> {
        let Self::Known(known) = self else {
            return Vec::new();
        };
        let mut places: Vec<_> = known
            .locations
            .values()
            .filter_map(|state| match state {
                LocationState::Usable(place) => Some(Arc::clone(place)),
                LocationState::Pending | LocationState::Unusable(_) => None,
            })
            .collect();
        places.sort_by_key(|place| place.name != known.default_location);
        places
    }
}

/// Returns the name of the location that a Backup says it is in; empty where it says nothing.
pub(crate) fn location_of(backup: &Backup) -> &str {
    if !backup.spec.storage_location.is_empty() {
        return &backup.spec.storage_location;
    }
    let labels = backup.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(labels::STORAGE_LOCATION))
        .map_or("", String::as_str)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Returns a world of these locations, with `default` as the default one.
    pub(crate) fn known(locations: &[(&str, LocationState)]) -> World {
        World::Known(Arc::new(Known {
            settings: Settings {
                restore_only: false,
                priorities: Vec::new(),
                sync_period: Duration::from_mins(1),
            },
            default_location: "default".into(),
            locations: locations
                .iter()
                .map(|(name, state)| ((*name).to_owned(), state.clone()))
                .collect(),
            snapshot_locations: BTreeMap::new(),
            default_snapshot_locations: BTreeMap::new(),
            looked_through: BTreeSet::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::known;
    use super::*;

    #[test]
    fn a_location_is_found_by_its_name() {
        let broken = || LocationState::Unusable(Arc::new(vec!["broken".into()]));
        let world = known(&[("default", LocationState::Pending), ("b", broken())]);
        assert!(matches!(world.find(""), Whereabouts::Unknown));
        assert!(
            matches!(world.find("b"), Whereabouts::Unusable(reasons) if *reasons == ["broken"])
        );
        let Whereabouts::Unusable(reasons) = world.find("c") else {
            panic!("there is no location c");
        };
        assert!(reasons[0].starts_with("there is no location c"));
        assert!(matches!(known(&[]).find(""), Whereabouts::Unknown));
        assert!(world.default_is_pending() && !known(&[]).default_is_pending());
        assert!(matches!(
            known(&[("default", broken())]).find(""),
            Whereabouts::Unusable(_)
        ));
        assert!(matches!(World::Pending.find("b"), Whereabouts::Unknown));
        assert!(world.has("b") && !world.has("c"));
        assert!(World::Pending.has("c"), "nobody knows yet");
    }

    #[test]
    fn a_backup_that_names_no_location_may_be_in_any() {
        let broken = || LocationState::Unusable(Arc::new(vec!["broken".into()]));
        let pending = || LocationState::Pending;
        for (world, named, expected) in [
            (World::Pending, "", "unknown"),
            (World::Pending, "a", "unknown"),
            (World::Unusable(Arc::default()), "", "unusable"),
            (known(&[]), "", "no location"),
            (known(&[]), "a", "unusable"),
            (known(&[("a", pending())]), "", "unknown"),
            (known(&[("a", pending())]), "a", "unknown"),
            (known(&[("a", broken())]), "", "unusable"),
            (known(&[("a", broken())]), "a", "unusable"),
            (known(&[("a", broken()), ("b", pending())]), "", "unknown"),
        ] {
            let found = match world.candidates(named) {
                Candidates::Unknown => "unknown",
                Candidates::NoLocation => "no location",
                Candidates::Unusable(_) => "unusable",
                Candidates::Places(..) => "places",
            };
            assert_eq!(found, expected, "{world:?} {named:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_not_waited_for() {
        let broken = || LocationState::Unusable(Arc::default());
        let pending = || LocationState::Pending;
        for (world, expected) in [
            (World::Pending, false),
            (World::Unusable(Arc::default()), false),
            (known(&[("a", broken())]), true),
            (known(&[("a", broken()), ("b", pending())]), false),
        ] {
            assert_eq!(world.is_looked_through(), expected, "{world:?}");
        }
    }

    #[test]
    fn a_backup_says_where_it_is_by_field_or_label() {
        let mut backup = Backup::default();
        assert_eq!(location_of(&backup), "");
        backup.metadata.labels = Some(BTreeMap::from([(
            labels::STORAGE_LOCATION.to_owned(),
            "by-label".to_owned(),
        )]));
        assert_eq!(location_of(&backup), "by-label");
        backup.spec.storage_location = "by-field".into();
        assert_eq!(location_of(&backup), "by-field");
    }
}
