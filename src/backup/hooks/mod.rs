//! Hooks: commands that run in pods before and after they are saved, so that what is saved is consistent.
//!
//! [`rules`] decides which hooks a pod has, from the Backup's spec and the pod's annotations. [`run`] runs them around
//! each pod, some pods side by side; the pods wait in the [`queue`] while everything else is read. What a dead server
//! still owed, [`owed`] makes up for; the [ledger](crate::providers::ledger) is how it knows.

mod annotations;
mod owed;
mod queue;
mod rules;
mod run;

pub use owed::run_owed;
pub(crate) use queue::HookedPods;
pub(crate) use rules::Rules;
pub(crate) use run::{HookRunner, Hooked};

use std::fmt;
use std::time::Duration;

use crate::api::{ExecHook, HookErrorMode, Results};

/// When a hook runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Pre,
    Post,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pre => "pre",
            Self::Post => "post",
        })
    }
}

/// One command, ready to run.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Hook {
    /// Where it is asked for: the rule's name, or the annotation.
    name: String,
    /// The container; the pod's first one if empty.
    container: String,
    command: Vec<String>,
    on_error: HookErrorMode,
    timeout: Duration,
}

impl Hook {
    /// Makes a hook of what a spec or annotations say. What cannot be read is taken for the default; the second value
    /// says so.
    fn new(name: &str, exec: ExecHook) -> (Self, Vec<String>) {
        let defaults = ExecHook::default();
        let mut problems = Vec::new();
        let on_error = exec.error_mode().unwrap_or_else(|problem| {
            problems.push(format!("{problem}; taken for Fail"));
            HookErrorMode::default()
        });
        let timeout = exec.time_limit().unwrap_or_else(|problem| {
            problems.push(format!("timeout: {problem}; the default is taken"));
            defaults.time_limit().unwrap_or_default()
        });
        let hook = Self {
            name: name.to_owned(),
            container: exec.container,
            command: exec.command,
            on_error,
            timeout,
        };
        (hook, problems)
    }
}

/// The hooks of one pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PodHooks {
    pre: Vec<Hook>,
    post: Vec<Hook>,
    /// The containers that a command can run in, the first one first.
    containers: Vec<String>,
    /// Whether the pod runs.
    running: bool,
    /// What its annotations say and nobody understands.
    problems: Vec<String>,
}

/// How many hooks there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HookCounts {
    /// Hooks that were to run.
    pub attempted: u64,
    /// Those of them that failed.
    pub failed: u64,
}

impl HookCounts {
    /// Adds the counts of others.
    pub(crate) fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.failed += other.failed;
    }
}

/// What came of hooks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HookNotes {
    /// How many there were.
    pub counts: HookCounts,
    /// Their warnings and errors.
    pub results: Results,
}
