//! Follows the Config named `default`: opens its location, says in its status whether it can be used, and hands the
//! settings to whoever needs them. Changes count at once; runs that go on keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::DynamicObject;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::args;
use super::engines::{self, Location};
use super::leader::Term;
use super::metrics::Metrics;
use super::objects::{Entry, Objects};
use super::status;
use crate::api::error::chain;
use crate::api::{Config, ConfigFields, ConfigPhase, ConfigStatus, duration};
use crate::providers::Environment;

/// The Config that counts.
pub(crate) const CONFIG_NAME: &str = "default";
/// How long a location may take to answer the check.
const CHECK_LIMIT: Duration = Duration::from_mins(1);
/// How often a location that can be used is checked again.
const CHECK_PERIOD: Duration = Duration::from_mins(5);
/// The first pause before a location that cannot be used is checked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What is known of the Config.
#[derive(Clone, Debug)]
pub(crate) enum ConfigState {
    /// Not looked at yet.
    Pending,
    /// There is none.
    Missing,
    /// It cannot be used; a sentence for each reason.
    Unusable(Arc<Vec<String>>),
    /// It can be used.
    Usable(Arc<Settings>),
}

/// The settings that count now.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where backups are kept.
    pub(crate) location: Location,
    /// Whether only restores are served.
    pub(crate) restore_only: bool,
    /// Types to restore before all others; empty means the built-in order.
    pub(crate) priorities: Vec<String>,
    /// How often stored backups are looked for.
    pub(crate) sync_period: Duration,
}

/// What the command line says on what the Config says, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) restore_only: bool,
    pub(crate) priorities: Vec<String>,
    pub(crate) backup_sync_period: Option<Duration>,
}

/// Follows the Config.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) configs: Objects<Config>,
    pub(crate) api: Api<DynamicObject>,
    pub(crate) environment: Environment,
    pub(crate) overrides: Overrides,
    pub(crate) terms: watch::Receiver<Option<Term>>,
    pub(crate) state: watch::Sender<ConfigState>,
    /// Asks for a check now.
    pub(crate) recheck: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
}

/// When to look at the location again, and how it was before.
struct Schedule {
    /// The Config as it was looked at last, without its status.
    looked_at: Option<Result<ConfigFields, String>>,
    next: Instant,
    pause: Duration,
}

impl Follower {
    /// Follows for ever.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut changes = self.configs.changes();
        let mut schedule = Schedule {
            looked_at: None,
            next: Instant::now(),
            pause: FIRST_PAUSE,
        };
        loop {
            changes.mark_unchanged();
            if self.configs.synced() {
                self.look(&mut schedule).await;
            }
            tokio::select! {
                changed = changes.changed() => changed?,
                // A new leader writes the status that the one before could not.
                changed = self.terms.changed() => changed?,
                () = self.recheck.notified() => schedule.next = Instant::now(),
                () = sleep_until(schedule.next), if schedule.looked_at.is_some() => {}
            }
        }
    }

    async fn look(&self, schedule: &mut Schedule) {
        let Some(entry) = self.configs.get(CONFIG_NAME) else {
            if schedule.looked_at.take().is_some()
                || matches!(*self.state.borrow(), ConfigState::Pending)
            {
                tracing::warn!("there is no Config named {CONFIG_NAME}; waiting for one");
            }
            self.set(ConfigState::Missing);
            return;
        };
        let fields = fields(&entry);
        let changed = schedule.looked_at.as_ref() != Some(&fields);
        if !changed && Instant::now() < schedule.next {
            self.report(&entry).await;
            return;
        }
        if changed {
            // Nothing new is begun with settings that do not count any more.
            self.set(ConfigState::Pending);
            schedule.pause = FIRST_PAUSE;
        }
        let state = match &fields {
            Ok(fields) => self.open(fields).await,
            Err(problem) => ConfigState::Unusable(Arc::new(vec![problem.clone()])),
        };
        schedule.looked_at = Some(fields);
        self.announce(state, schedule, changed);
        self.report(&entry).await;
    }

    /// Opens the location from scratch: credentials in files may have changed since the last time.
    async fn open(&self, fields: &ConfigFields) -> ConfigState {
        let problems = problems(fields);
        if !problems.is_empty() {
            return ConfigState::Unusable(Arc::new(problems));
        }
        let opened = engines::open(&fields.backup_storage_provider, &self.environment);
        match timeout(CHECK_LIMIT, opened).await {
            Ok(Ok(location)) => {
                ConfigState::Usable(Arc::new(settings(fields, &self.overrides, location)))
            }
            Ok(Err(problem)) => ConfigState::Unusable(Arc::new(vec![problem])),
            Err(_) => ConfigState::Unusable(Arc::new(vec![format!(
                "the store did not answer within {}; check the address, and whether the network lets this server reach it",
                duration::format(CHECK_LIMIT)
            )])),
        }
    }

    fn announce(&self, state: ConfigState, schedule: &mut Schedule, changed: bool) {
        let wait = match &state {
            ConfigState::Usable(settings) => {
                let before = matches!(*self.state.borrow(), ConfigState::Usable(_));
                if !before {
                    tracing::info!(
                        restore_only = settings.restore_only,
                        sync_period = duration::format(settings.sync_period),
                        "the Config can be used"
                    );
                }
                schedule.pause = FIRST_PAUSE;
                CHECK_PERIOD
            }
            ConfigState::Unusable(reasons) => {
                let same = matches!(&*self.state.borrow(), ConfigState::Unusable(before) if before == reasons);
                if changed || !same {
                    tracing::error!(reason = reasons.join("; "), "the Config cannot be used");
                }
                let pause = schedule.pause;
                schedule.pause = (pause * 2).min(LONGEST_PAUSE);
                pause
            }
            ConfigState::Pending | ConfigState::Missing => FIRST_PAUSE,
        };
        schedule.next = Instant::now() + wait;
        self.set(state);
    }

    fn set(&self, state: ConfigState) {
        self.metrics
            .set_location_available(matches!(state, ConfigState::Usable(_)));
        self.state.send_replace(state);
    }

    /// Writes the status if this server leads and the status says something else.
    async fn report(&self, entry: &Entry<Config>) {
        if self.terms.borrow().is_none() {
            return;
        }
        let status = match &*self.state.borrow() {
            ConfigState::Usable(_) => ConfigStatus {
                phase: ConfigPhase::Available,
                validation_errors: Vec::new(),
            },
            ConfigState::Unusable(reasons) => ConfigStatus {
                phase: ConfigPhase::Unavailable,
                validation_errors: reasons.to_vec(),
            },
            ConfigState::Pending | ConfigState::Missing => return,
        };
        let told = entry
            .object
            .as_ref()
            .ok()
            .and_then(|config| config.status.as_ref());
        if told.is_some_and(|told| {
            told.phase == status.phase && told.validation_errors == status.validation_errors
        }) {
            return;
        }
        let fields = serde_json::json!({
            "phase": status.phase, "validationErrors": status.validation_errors,
        });
        if let Err(error) = status::patch_fields(&self.api, CONFIG_NAME, &entry.uid, fields).await {
            tracing::warn!(
                error = chain(&error),
                "cannot write the status of the Config"
            );
        }
    }
}

/// Returns what a Config says, without its status.
fn fields(entry: &Entry<Config>) -> Result<ConfigFields, String> {
    match &entry.object {
        Ok(config) => Ok(config.spec.clone()),
        Err(problem) => Err(problem.clone()),
    }
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

fn settings(fields: &ConfigFields, overrides: &Overrides, location: Location) -> Settings {
    let configured = fields
        .backup_sync_period
        .as_deref()
        .and_then(|text| duration::parse(text).ok());
    let sync_period = args::sync_period(overrides.backup_sync_period, configured);
    Settings {
        location,
        restore_only: overrides.restore_only || fields.restore_only_mode,
        priorities: if overrides.priorities.is_empty() {
            fields.resource_priorities.clone()
        } else {
            overrides.priorities.clone()
        },
        sync_period,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_status_does_not_change_what_a_config_says() {
        let config = |status: Option<ConfigStatus>| {
            let mut config = Config {
                spec: ConfigFields {
                    restore_only_mode: true,
                    ..ConfigFields::default()
                },
                status,
                ..Config::default()
            };
            config.metadata.resource_version = Some(config.status.is_some().to_string());
            Entry {
                uid: "1".into(),
                resource_version: "1".into(),
                created: None,
                object: Ok(Arc::new(config)),
            }
        };
        let before = fields(&config(None)).unwrap();
        let after = fields(&config(Some(ConfigStatus {
            phase: ConfigPhase::Available,
            validation_errors: Vec::new(),
        })))
        .unwrap();
        assert_eq!(before, after);
        assert!(before.restore_only_mode);
    }
}
