//! Checks that are made again and again, each at its own pace and side by side, so that a location that does not answer
//! keeps no other waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often what can be used is checked again.
const PERIOD: Duration = Duration::from_mins(5);
/// The first pause before what cannot be used is checked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What a check finds.
pub(super) trait Verdict: Send + 'static {
    /// Returns why it cannot be used, a sentence each; nothing if it can.
    fn problems(&self) -> &[String];
}

/// The checks of some locations: `S` says what to check, `V` what was found.
#[derive(Debug)]
pub(super) struct Checks<S, V> {
    /// What they are, for the log.
    what: &'static str,
    watched: BTreeMap<String, Watched<S, V>>,
    running: JoinSet<Checked<S, V>>,
}

#[derive(Debug)]
struct Watched<S, V> {
    source: S,
    /// The version of its Secret at the last check.
    secret: Option<String>,
    found: Option<V>,
    next: Instant,
    pause: Duration,
    checking: bool,
}

/// The end of a check.
#[derive(Debug)]
struct Checked<S, V> {
    name: String,
    source: S,
    found: V,
}

impl<S: Clone + PartialEq + Send + 'static, V: Verdict> Checks<S, V> {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            watched: BTreeMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Takes up what is new or changed, and drops what is gone, whose names are returned. `secret` is the version of
    /// what a source takes its credentials from.
    pub(super) fn follow(
        &mut self,
        sources: &BTreeMap<String, S>,
        secret: impl Fn(&S) -> Option<String>,
    ) -> Vec<String> {
        let gone: Vec<String> = self
            .watched
            .keys()
            .filter(|name| !sources.contains_key(*name))
            .cloned()
            .collect();
        for name in &gone {
            self.watched.remove(name);
        }
        for (name, source) in sources {
            match self.watched.get_mut(name) {
                Some(one) if one.source == *source => {
                    if one.secret != secret(source) && !one.checking {
                        one.next = Instant::now();
                    }
                }
                // Nothing new is begun with settings that do not count any more.
                _ => {
                    let new = Watched {
                        source: source.clone(),
                        secret: None,
                        found: None,
                        next: Instant::now(),
                        pause: FIRST_PAUSE,
                        checking: false,
                    };
                    self.watched.insert(name.clone(), new);
                }
            }
        }
        gone
    }

    /// Begins the checks that are due.
    pub(super) fn begin<F>(
        &mut self,
        secret: impl Fn(&S) -> Option<String>,
        check: impl Fn(String, S) -> F,
    ) where
        F: Future<Output = V> + Send + 'static,
    {
        for (name, one) in &mut self.watched {
            if one.checking || one.next > Instant::now() {
                continue;
            }
            one.checking = true;
            one.secret = secret(&one.source);
            let (name, source) = (name.clone(), one.source.clone());
            let checking = check(name.clone(), source.clone());
            self.running.spawn(async move {
                Checked {
                    name,
                    source,
                    found: checking.await,
                }
            });
        }
    }

    /// Has everything checked now.
    pub(super) fn all_now(&mut self) {
        for one in self.watched.values_mut() {
            one.next = Instant::now();
        }
    }

    /// Returns when the next check is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.watched.values().filter(|one| !one.checking);
        waiting.map(|one| one.next).min()
    }

    /// Waits for the end of a check and takes what it found; for ever if none goes on. May be dropped and called again.
    pub(super) async fn ended(&mut self) {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok(checked)) => self.take(checked),
            Some(Err(error)) => {
                tracing::error!(%error, "the check of a {} broke off", self.what);
                for one in self.watched.values_mut().filter(|one| one.checking) {
                    one.checking = false;
                    one.next = Instant::now() + FIRST_PAUSE;
                }
            }
        }
    }

    fn take(&mut self, checked: Checked<S, V>) {
        let Checked {
            name,
            source,
            found,
        } = checked;
        let Some(one) = self.watched.get_mut(&name) else {
            return;
        };
        if one.source != source {
            // The check of what it says now has begun, or is about to.
            return;
        }
        one.checking = false;
        let problems = found.problems();
        let before = one.found.as_ref().map(Verdict::problems);
        let wait = if problems.is_empty() {
            if before.is_none_or(|before| !before.is_empty()) {
                tracing::info!(location = name, "the {} can be used", self.what);
            }
            one.pause = FIRST_PAUSE;
            PERIOD
        } else {
            if before != Some(problems) {
                let reason = problems.join("; ");
                tracing::error!(location = name, reason, "the {} cannot be used", self.what);
            }
            let pause = one.pause;
            one.pause = (pause * 2).min(LONGEST_PAUSE);
            pause
        };
        one.next = Instant::now() + wait;
        one.found = Some(found);
    }

    /// Returns the source of a location and what was found, if anything was yet.
    pub(super) fn get(&self, name: &str) -> Option<(&S, Option<&V>)> {
        let one = self.watched.get(name)?;
        Some((&one.source, one.found.as_ref()))
    }

    /// Returns all of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &S, Option<&V>)> {
        self.watched
            .iter()
            .map(|(name, one)| (name, &one.source, one.found.as_ref()))
    }
}
