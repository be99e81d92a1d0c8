//! What the client takes from the process beside its arguments.

use std::env;
use std::path::PathBuf;

/// What the client takes from the process beside its arguments, looked at once by `main`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Surroundings {
    /// The user's home directory.
    pub(crate) home: Option<PathBuf>,
    /// Whether a browser could show itself.
    pub(crate) has_display: bool,
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
        }
    }
}
