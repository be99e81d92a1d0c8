//! The running processes of one program, and who uses which.
//!
//! A process serves one run at a time (or everything that is done outside of runs), so that what it says belongs to that
//! run; the calls of one run share it. A store or snapshotter lives in a process with the settings it was last given
//! there: who comes with others gets a process that nobody uses, which is given them, or a new one. So there are as many
//! processes as runs that use the plugin at once, and they stay for the next ones until they have been idle for long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::error::{self, CallError, CallErrorKind};
use super::find::Program;
use super::init::Init;
use super::launch::Launcher;
use super::process::Process;
use super::run::Run;

/// How many times in a row a program may fail until it is left alone.
const MOST_FAILURES: u32 = 10;
/// For how long.
const PAUSE: Duration = Duration::from_mins(1);
/// How long the end of a process is waited for when a connection breaks, to say how it ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The running processes of one program.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) program: Program,
    launcher: Arc<Launcher>,
    state: Mutex<State>,
    /// Held while a process is started or given its settings, so that calls that come together share it.
    preparing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    processes: Vec<Used>,
    made: u64,
    /// Failures without a success since.
    failures: u32,
    last_failure: Option<(Instant, String)>,
    closed: bool,
}

/// A process, and who uses it.
#[derive(Debug)]
struct Used {
    number: u64,
    process: Arc<Process>,
    /// The run that uses it, or did last.
    run: Option<u64>,
    calls: usize,
    /// The settings that each of its stores and snapshotters was last given.
    inits: BTreeMap<Slot, u64>,
    idle_since: Instant,
    /// Something hangs in it: nobody new gets it, and it ends with its last call.
    retired: bool,
}

/// A store or snapshotter within a program: its service and its name.
pub(super) type Slot = (&'static str, String);

/// A process that may be called. It belongs to a run until all that use it have given it back.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    number: u64,
    process: Arc<Process>,
}

impl Pool {
    pub(super) fn new(program: Program, launcher: Arc<Launcher>) -> Self {
        Self {
            program,
            launcher,
            state: Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
        }
    }

    /// Returns a process for the current run, with the settings of `init` in it.
    ///
    /// # Errors
    /// It cannot be started, has failed too often, or does not take the settings.
    pub(super) async fn take(self: &Arc<Self>, init: Option<&Init>) -> Result<Lease, CallError> {
        let run = Run::current();
        let wanted = init.map(|init| (init.slot(), init.number()));
        if let Some(lease) = self.ready(&run, wanted.as_ref()) {
            return Ok(lease);
        }
        let _held = self.preparing.lock().await;
        if let Some(lease) = self.ready(&run, wanted.as_ref()) {
            return Ok(lease);
        }
        let lease = match self.idle(&run, wanted.as_ref()) {
            Some(lease) => lease,
            None => self.start(&run).await?,
        };
        if let (Some(init), Some((slot, number))) = (init, wanted) {
            lease
                .call("take its settings", init.perform(&lease))
                .await?;
            if let Some(used) = self.state().get(lease.number) {
                used.inits.insert(slot, number);
            }
        }
        Ok(lease)
    }

    /// Returns what its last failure was, if it has failed since it last worked.
    pub(super) fn failing(&self) -> Option<String> {
        let state = self.state();
        let (_, why) = state.last_failure.as_ref()?;
        (state.failures > 0).then(|| why.clone())
    }

    /// Ends all processes, and starts none any more.
    pub(super) async fn close(&self) {
        let processes: Vec<Arc<Process>> = {
            let mut state = self.state();
            state.closed = true;
            state.processes.drain(..).map(|used| used.process).collect()
        };
        for process in &processes {
            process.stop();
        }
        for process in processes {
            process.ended().await;
        }
    }

    /// Ends the processes that nobody uses, and the others with their last call.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        for used in &mut state.processes {
            used.retired = true;
        }
        state.end_retired();
    }

    /// Finds a process that can be called at once.
    fn ready(self: &Arc<Self>, run: &Run, wanted: Option<&(Slot, u64)>) -> Option<Lease> {
        let mut state = self.state();
        let used = state.find(run, |used| match wanted {
            Some((slot, number)) => used.inits.get(slot) == Some(number),
            None => true,
        })?;
        Some(used.lend(run, self))
    }

    /// Finds a process that can be given settings.
    fn idle(self: &Arc<Self>, run: &Run, wanted: Option<&(Slot, u64)>) -> Option<Lease> {
        let (slot, _) = wanted?;
        let mut state = self.state();
        let used = state.find(run, |used| {
            used.calls == 0 || !used.inits.contains_key(slot)
        })?;
        // Whoever gave it others gets it no more.
        used.inits.remove(slot);
        Some(used.lend(run, self))
    }

    async fn start(self: &Arc<Self>, run: &Run) -> Result<Lease, CallError> {
        self.may_start()?;
        let process = Process::start(&self.program, &self.launcher)
            .await
            .inspect_err(|error| self.state().failed(error.message.clone()))?;
        let mut state = self.state();
        if state.closed {
            process.stop();
            return Err(CallError::new(
                CallErrorKind::Gone,
                "the server ends, and starts no plugins any more",
            ));
        }
        state.made += 1;
        let mut used = Used {
            number: state.made,
            process,
            run: run.key,
            calls: 0,
            inits: BTreeMap::new(),
            idle_since: Instant::now(),
            retired: false,
        };
        let lease = used.lend(run, self);
        state.processes.push(used);
        tokio::spawn(watch(
            Arc::downgrade(self),
            Arc::clone(&lease.process),
            lease.number,
            self.launcher.options.limits.idle,
        ));
        Ok(lease)
    }

    fn may_start(&self) -> Result<(), CallError> {
        let state = self.state();
        match &state.last_failure {
            Some((when, why)) if state.failures > MOST_FAILURES && when.elapsed() < PAUSE => {
                Err(CallError::new(
                    CallErrorKind::Gone,
                    format!(
                        "the plugin program {} has failed {} times in a row and is left alone for a minute; the last \
                         time: {why}",
                        self.program.file.display(),
                        state.failures
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// Lends it to a call for a run.
    fn lend(&mut self, run: &Run, pool: &Arc<Pool>) -> Lease {
        self.calls += 1;
        self.run = run.key;
        self.process.lines.belong_to(run.span.clone());
        Lease {
            pool: Arc::clone(pool),
            number: self.number,
            process: Arc::clone(&self.process),
        }
    }
}

impl State {
    /// Finds a process that a run may use.
    fn find(&mut self, run: &Run, fits: impl Fn(&Used) -> bool) -> Option<&mut Used> {
        self.bury();
        self.processes
            .iter_mut()
            .filter(|used| !used.retired && (used.calls == 0 || used.run == run.key))
            .filter(|used| fits(used))
            // One that the run has already comes first.
            .max_by_key(|used| (used.calls > 0, used.run == run.key))
    }

    fn get(&mut self, number: u64) -> Option<&mut Used> {
        self.processes.iter_mut().find(|used| used.number == number)
    }

    /// Takes out those that have ended by themselves.
    fn bury(&mut self) {
        let Self { processes, .. } = self;
        let mut dead = Vec::new();
        processes.retain(|used| {
            let how = used.process.has_ended();
            dead.extend(how.clone());
            how.is_none()
        });
        for how in dead {
            self.failed(how);
        }
    }

    fn failed(&mut self, why: String) {
        self.failures += 1;
        self.last_failure = Some((Instant::now(), why));
    }

    fn end_retired(&mut self) {
        self.processes.retain(|used| {
            let ends = used.retired && used.calls == 0;
            if ends {
                used.process.stop();
            }
            !ends
        });
    }
}

/// Takes a process out of the pool when it ends, and ends it when nobody has used it for long.
async fn watch(pool: Weak<Pool>, process: Arc<Process>, number: u64, limit: Duration) {
    loop {
        let ended = tokio::select! {
            _ = process.ended() => true,
            () = sleep(limit / 2) => false,
        };
        let Some(pool) = pool.upgrade() else {
            process.stop();
            return;
        };
        let mut state = pool.state();
        if ended {
            state.bury();
            return;
        }
        match state.get(number) {
            Some(used) if used.calls == 0 && used.idle_since.elapsed() >= limit => {
                used.retired = true;
                state.end_retired();
            }
            Some(_) => {}
            // It ends already.
            None => return,
        }
    }
}

impl Lease {
    pub(super) fn channel(&self) -> Channel {
        self.process.channel.clone()
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Returns how long a call may take.
    pub(super) fn call_limit(&self) -> Duration {
        self.pool.launcher.options.limits.call
    }

    /// Returns another lease of the same process.
    pub(super) fn share(&self) -> Self {
        if let Some(used) = self.pool.state().get(self.number) {
            used.calls += 1;
        }
        Self {
            pool: Arc::clone(&self.pool),
            number: self.number,
            process: Arc::clone(&self.process),
        }
    }

    /// Returns the most bytes of a message.
    pub(super) fn message_limit(&self) -> usize {
        self.pool.launcher.options.limits.message
    }

    /// Waits for the answer of a call; `tried` says in an infinitive what the plugin was to do.
    ///
    /// # Errors
    /// One sentence that names the plugin's program. One that hangs is not used any more afterwards.
    pub(super) async fn call<T>(
        &self,
        tried: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, CallError> {
        let limit = self.pool.launcher.options.limits.call;
        match timeout(limit, call).await {
            Ok(Ok(answer)) => {
                self.pool.state().failures = 0;
                Ok(answer)
            }
            Ok(Err(status)) => Err(self.failed(tried, &status).await),
            Err(_) => {
                if let Some(used) = self.pool.state().get(self.number) {
                    used.retired = true;
                }
                Err(CallError::new(
                    CallErrorKind::TimedOut,
                    format!(
                        "the plugin {} was to {tried} and has not answered within {}; it is given up (ark server \
                         --plugin-timeout sets how long it may take)",
                        self.process.name,
                        crate::api::duration::format(limit)
                    ),
                ))
            }
        }
    }

    /// Says why a call failed.
    pub(super) async fn failed(&self, tried: &str, status: &Status) -> CallError {
        let name = &self.process.name;
        if is_broken(status) {
            let ended = timeout(LAST_WORDS, self.process.ended()).await;
            if let Ok(how) = ended {
                self.pool.state().bury();
                let said = self.process.lines.last();
                let said = if said.is_empty() {
                    String::new()
                } else {
                    format!("; it said: {said}")
                };
                return CallError::new(
                    CallErrorKind::Gone,
                    format!("the plugin {name} ended ({how}) when it was to {tried}{said}"),
                );
            }
        }
        let kind = error::kind(status);
        let why = match kind {
            CallErrorKind::NotSupported if status.code() == Code::Unimplemented => {
                "it does not know this call".to_owned()
            }
            CallErrorKind::TooLarge => format!(
                "the message is larger than one may be: {}",
                error::text(status)
            ),
            _ => error::text(status),
        };
        CallError::new(kind, format!("the plugin {name} cannot {tried}: {why}"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if let Some(used) = state.get(self.number) {
            used.calls -= 1;
            used.idle_since = Instant::now();
        }
        state.end_retired();
    }
}

/// Returns whether a call failed because its connection did. What a plugin says itself has no cause on this side.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Unknown
        ) && status.message().contains("transport")
}
