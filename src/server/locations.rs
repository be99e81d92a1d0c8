//! Follows the Config named `default` and the BackupStorageLocations: opens each location, says in its status whether it
//! can be used, and publishes settings and locations as [`World`]. Changes count at once; runs that go on keep what
//! they began with. Locations are checked side by side, so that one that does not answer blocks no other.

mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DynamicObject;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::source::{Source, Sources};
use super::engines;
use super::events::Events;
use super::leader::Term;
use super::metrics::Metrics;
use super::objects::{Entry, Objects};
use super::secrets;
use super::settings::{Known, LocationState, Notes, Place, Root, World};
use super::status;
use crate::api::error::chain;
use crate::api::{
    BackupStorageLocation, BackupStorageLocationPhase, Config, ConfigPhase, DEFAULT_LOCATION,
    duration,
};
use crate::providers::Environment;

pub(crate) use self::source::{CONFIG_NAME, Overrides};

/// How long a location may take to answer the check.
const CHECK_LIMIT: Duration = Duration::from_mins(1);
/// How often a location that can be used is checked again.
const CHECK_PERIOD: Duration = Duration::from_mins(5);
/// The first pause before a location that cannot be used is checked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What the follower needs.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) configs: Objects<Config>,
    pub(crate) locations: Objects<BackupStorageLocation>,
    pub(crate) config_api: Api<DynamicObject>,
    pub(crate) location_api: Api<DynamicObject>,
    pub(crate) secret_api: Api<Secret>,
    pub(crate) secrets: watch::Receiver<secrets::Versions>,
    pub(crate) environment: Environment,
    pub(crate) overrides: Overrides,
    pub(crate) terms: watch::Receiver<Option<Term>>,
    pub(crate) world: watch::Sender<World>,
    /// What else is known of locations that can be used.
    pub(crate) notes: watch::Receiver<Notes>,
    /// Asks for a check of every location now.
    pub(crate) recheck: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
}

/// A location under watch.
#[derive(Debug)]
struct Watched {
    source: Source,
    /// The version of its Secret at the last check.
    secret: Option<String>,
    state: LocationState,
    next: Instant,
    pause: Duration,
    checking: bool,
}

/// The end of a check.
struct Checked {
    name: String,
    source: Source,
    state: LocationState,
}

impl Watched {
    fn new(source: Source) -> Self {
        Self {
            source,
            secret: None,
            state: LocationState::Pending,
            next: Instant::now(),
            pause: FIRST_PAUSE,
            checking: false,
        }
    }
}

impl Follower {
    /// Follows for ever.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut config_changes = self.configs.changes();
        let mut location_changes = self.locations.changes();
        let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
        let mut checks = JoinSet::new();
        let mut said_missing = false;
        loop {
            config_changes.mark_unchanged();
            location_changes.mark_unchanged();
            if self.configs.synced() && self.locations.synced() {
                let sources = Sources::new(
                    self.configs.get(CONFIG_NAME),
                    self.locations.select(|_| true),
                    &self.overrides,
                );
                self.follow(&sources, &mut watched);
                if sources.is_empty() && !said_missing {
                    tracing::warn!(
                        "there is neither a Config named {CONFIG_NAME} nor a BackupStorageLocation; waiting for one"
                    );
                }
                said_missing = sources.is_empty();
                self.publish(&sources, &watched);
                self.begin_checks(&mut watched, &mut checks);
                self.report(&sources, &watched).await;
            }
            let next = watched
                .values()
                .filter(|one| !one.checking)
                .map(|one| one.next)
                .min();
            tokio::select! {
                changed = config_changes.changed() => changed?,
                changed = location_changes.changed() => changed?,
                // A new leader writes the statuses that the one before could not.
                changed = self.terms.changed() => changed?,
                changed = self.secrets.changed() => changed?,
                changed = self.notes.changed() => changed?,
                () = self.recheck.notified() => {
                    for one in watched.values_mut() {
                        one.next = Instant::now();
                    }
                }
                Some(ended) = checks.join_next() => match ended {
                    Ok(checked) => take(checked, &mut watched),
                    Err(error) => {
                        tracing::error!(%error, "the check of a location broke off");
                        for one in watched.values_mut().filter(|one| one.checking) {
                            one.checking = false;
                            one.next = Instant::now() + FIRST_PAUSE;
                        }
                    }
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Takes up new and changed locations, and drops those that are gone.
    fn follow(&self, sources: &Sources, watched: &mut BTreeMap<String, Watched>) {
        watched.retain(|name, _| {
            let stays = sources.locations.contains_key(name);
            if !stays {
                self.metrics.forget_location(name);
            }
            stays
        });
        for (name, source) in &sources.locations {
            match watched.get_mut(name) {
                Some(one) if one.source == *source => {
                    let version = self.secret_version(source);
                    if one.secret != version && !one.checking {
                        one.next = Instant::now();
                    }
                }
                // Nothing new is begun with settings that do not count any more.
                _ => {
                    watched.insert(name.clone(), Watched::new(source.clone()));
                }
            }
        }
    }

    fn secret_version(&self, source: &Source) -> Option<String> {
        let credential = source.credential.as_ref()?;
        self.secrets.borrow().get(&credential.name).cloned()
    }

    /// Begins the checks that are due. Each opens its location from scratch: credentials in files may have changed.
    fn begin_checks(&self, watched: &mut BTreeMap<String, Watched>, checks: &mut JoinSet<Checked>) {
        for (name, one) in watched {
            if one.checking || one.next > Instant::now() {
                continue;
            }
            one.checking = true;
            one.secret = self.secret_version(&one.source);
            let (name, source) = (name.clone(), one.source.clone());
            let (environment, secrets) = (self.environment.clone(), self.secret_api.clone());
            checks.spawn(async move {
                let state = check(&name, &source, environment, &secrets).await;
                Checked {
                    name,
                    source,
                    state,
                }
            });
        }
    }

    /// Tells everybody what is known now.
    fn publish(&self, sources: &Sources, watched: &BTreeMap<String, Watched>) {
        let world = match &sources.settings {
            Err(problems) => World::Unusable(Arc::new(problems.clone())),
            Ok(settings) => World::Known(Arc::new(Known {
                settings: settings.clone(),
                default_location: sources.default_location.clone(),
                locations: watched
                    .iter()
                    .map(|(name, one)| (name.clone(), one.state.clone()))
                    .collect(),
            })),
        };
        for (name, one) in watched {
            let available = matches!(one.state, LocationState::Usable(_));
            self.metrics.set_location_available(name, available);
        }
        self.world.send_if_modified(|before| {
            let changed = !same(before, &world);
            if changed {
                *before = world;
            }
            changed
        });
    }

    /// Writes the statuses that say something else, if this server leads.
    async fn report(&self, sources: &Sources, watched: &BTreeMap<String, Watched>) {
        if self.terms.borrow().is_none() {
            return;
        }
        if let Some(entry) = self.configs.get(CONFIG_NAME) {
            let state = match &sources.settings {
                Err(problems) => Some(LocationState::Unusable(Arc::new(problems.clone()))),
                Ok(_) => watched
                    .get(DEFAULT_LOCATION)
                    .filter(|one| one.source.resource.is_none())
                    .map(|one| one.state.clone()),
            };
            if let Some(state) = state {
                self.report_config(&entry, &state).await;
            }
        }
        for (name, entry) in self.locations.select(|_| true) {
            if let Some(one) = watched.get(&name) {
                self.report_location(&name, &entry, &one.state).await;
            }
        }
    }

    async fn report_config(&self, entry: &Entry<Config>, state: &LocationState) {
        let (phase, problems) = match state {
            LocationState::Pending => return,
            LocationState::Usable(_) => (ConfigPhase::Available, Vec::new()),
            LocationState::Unusable(reasons) => (ConfigPhase::Unavailable, reasons.to_vec()),
        };
        let told = entry.object.as_ref().ok();
        let told = told.and_then(|config| config.status.as_ref());
        if told.is_some_and(|told| told.phase == phase && told.validation_errors == problems) {
            return;
        }
        let fields = serde_json::json!({ "phase": phase, "validationErrors": problems });
        let written = status::patch_fields(&self.config_api, CONFIG_NAME, &entry.uid, fields).await;
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                "cannot write the status of the Config"
            );
        }
    }

    async fn report_location(
        &self,
        name: &str,
        entry: &Entry<BackupStorageLocation>,
        state: &LocationState,
    ) {
        let told = entry.object.as_ref().ok();
        let told = told.and_then(|location| location.status.as_ref());
        let (phase, message) = match state {
            LocationState::Pending => return,
            LocationState::Usable(_) => {
                let phase = BackupStorageLocationPhase::Available;
                let note = self.notes.borrow().get(name).cloned();
                // What the leader before noted stays until this one has looked itself.
                let before = || {
                    told.filter(|told| told.phase == phase)
                        .map(|told| told.message.clone())
                };
                (phase.clone(), note.or_else(before).unwrap_or_default())
            }
            LocationState::Unusable(reasons) => {
                (BackupStorageLocationPhase::Unavailable, reasons.join("; "))
            }
        };
        if told.is_some_and(|told| told.phase == phase && told.message == message) {
            return;
        }
        let fields = serde_json::json!({ "phase": phase, "message": message });
        match status::patch_fields(&self.location_api, name, &entry.uid, fields).await {
            Ok(()) => {
                if let Ok(location) = &entry.object {
                    let problem = (!message.is_empty()).then_some(message.as_str());
                    self.events.location(location, problem);
                }
            }
            Err(error) => tracing::warn!(
                location = name,
                error = chain(&error),
                "cannot write the status of a location"
            ),
        }
    }
}

/// Opens a location and looks whether it answers.
async fn check(
    name: &str,
    source: &Source,
    environment: Environment,
    secrets: &Api<Secret>,
) -> LocationState {
    let unusable = |problem: String| LocationState::Unusable(Arc::new(vec![problem]));
    if !source.problems.is_empty() {
        return LocationState::Unusable(Arc::new(source.problems.clone()));
    }
    let opened = async {
        let environment = match &source.credential {
            None => environment,
            Some(wanted) => environment.with_credentials(secrets::read(secrets, wanted).await?)?,
        };
        engines::open(&source.store, &source.prefix, &environment).await
    };
    match timeout(CHECK_LIMIT, opened).await {
        Ok(Ok(location)) => LocationState::Usable(Arc::new(Place {
            name: name.to_owned(),
            root: Root {
                store: source.store.clone(),
                prefix: source.prefix.clone(),
            },
            location,
            access: source.access.clone(),
            sync_period: source.sync_period,
            resource: source
                .resource
                .as_ref()
                .map(|uid| (name.to_owned(), uid.clone())),
        })),
        Ok(Err(problem)) => unusable(problem),
        Err(_) => unusable(format!(
            "the store did not answer within {}; check the address, and whether the network lets this server reach it",
            duration::format(CHECK_LIMIT)
        )),
    }
}

/// Notes how a check ended, and when the next one is due.
fn take(checked: Checked, watched: &mut BTreeMap<String, Watched>) {
    let Checked {
        name,
        source,
        state,
    } = checked;
    let Some(one) = watched.get_mut(&name) else {
        return;
    };
    if one.source != source {
        // The check of what it says now has begun, or is about to.
        return;
    }
    one.checking = false;
    let wait = match &state {
        LocationState::Usable(_) => {
            if !matches!(one.state, LocationState::Usable(_)) {
                tracing::info!(location = name, "the location can be used");
            }
            one.pause = FIRST_PAUSE;
            CHECK_PERIOD
        }
        LocationState::Unusable(reasons) => {
            let same = matches!(&one.state, LocationState::Unusable(before) if before == reasons);
            if !same {
                tracing::error!(
                    location = name,
                    reason = reasons.join("; "),
                    "the location cannot be used"
                );
            }
            let pause = one.pause;
            one.pause = (pause * 2).min(LONGEST_PAUSE);
            pause
        }
        LocationState::Pending => FIRST_PAUSE,
    };
    one.next = Instant::now() + wait;
    one.state = state;
}

/// Returns whether two states of the world are the same to those who work in it. A location that was opened anew is
/// another one: it has new credentials.
fn same(before: &World, now: &World) -> bool {
    match (before, now) {
        (World::Pending, World::Pending) => true,
        (World::Unusable(before), World::Unusable(now)) => before == now,
        (World::Known(before), World::Known(now)) => {
            before.settings == now.settings
                && before.default_location == now.default_location
                && before.locations.len() == now.locations.len()
                && before.locations.iter().all(|(name, before)| {
                    now.locations
                        .get(name)
                        .is_some_and(|now| same_location(before, now))
                })
        }
        (World::Pending | World::Unusable(_) | World::Known(_), _) => false,
    }
}

fn same_location(before: &LocationState, now: &LocationState) -> bool {
    match (before, now) {
        (LocationState::Pending, LocationState::Pending) => true,
        (LocationState::Unusable(before), LocationState::Unusable(now)) => before == now,
        (LocationState::Usable(before), LocationState::Usable(now)) => Arc::ptr_eq(before, now),
        (LocationState::Pending | LocationState::Unusable(_) | LocationState::Usable(_), _) => {
            false
        }
    }
}
