//! What the client takes from the process beside its arguments.

use std::env;
use std::path::PathBuf;

use crate::providers::Environment;

/// What the client takes from the process beside its arguments, looked at once by `main`.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The user's home directory.
    pub(crate) home: Option<PathBuf>,
    /// Whether a browser could show itself.
    pub(crate) has_display: bool,
    /// What providers look at.
    #[cfg_attr(
        not(feature = "plugins"),
        expect(dead_code, reason = "only plugins are started by a client")
    )]
    pub(crate) providers: Environment,
    /// The program through which plugins are started.
    #[cfg(feature = "plugins")]
    pub(crate) launcher: Option<PathBuf>,
}

impl Surroundings {
    /// Looks at the process; for `main` alone.
    pub fn of_process() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            home: variable("HOME")
                .or_else(|| variable("USERPROFILE"))
                .map(PathBuf::from),
            has_display: cfg!(any(windows, target_os = "macos"))
                || ["DISPLAY", "WAYLAND_DISPLAY"]
                    .into_iter()
                    .any(|name| variable(name).is_some()),
            providers: Environment::of_process(&[]),
            #[cfg(feature = "plugins")]
            launcher: crate::providers::plugin::this_program(),
        }
    }
}
