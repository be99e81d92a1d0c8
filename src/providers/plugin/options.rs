//! How plugins are run.

use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::providers::Environment;

/// How plugins are found and run.
#[derive(Clone, Debug)]
pub struct PluginOptions {
    /// The directory that holds their programs.
    pub directory: PathBuf,
    /// The `ark` program, through which they are started so that the kernel ends them with this process, see
    /// [`super::become_plugin`]; `None` starts them directly.
    pub launcher: Option<PathBuf>,
    /// The variables that they see.
    pub environment: Environment,
    /// Ark's namespace, which they are told.
    pub namespace: String,
    /// The level at which they log.
    pub log_level: LevelFilter,
    /// How long they are waited for, and how much they may say.
    pub limits: PluginLimits,
}

/// How long plugins are waited for, and how much they may say at once.
#[derive(Clone, Copy, Debug)]
pub struct PluginLimits {
    /// How long a program may take to say where it listens, and to be reached there.
    pub start: Duration,
    /// How long a call may take; for objects of stores, how long nothing may come.
    pub call: Duration,
    /// How long a program may take to end when it is asked to.
    pub stop: Duration,
    /// How long a program that nobody uses is kept.
    pub idle: Duration,
    /// The most bytes of a message either way.
    pub message: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            start: Duration::from_mins(1),
            // Some wait in it for a snapshot to be usable.
            call: Duration::from_mins(10),
            stop: Duration::from_secs(2),
            idle: Duration::from_mins(10),
            message: 128 << 20,
        }
    }
}
