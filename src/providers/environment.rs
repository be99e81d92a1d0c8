//! The environment variables that providers look at, taken once by `main`.

use std::collections::BTreeMap;
use std::fmt;

/// A copy of the process's environment variables that matter to providers.
///
/// Providers find credentials in the environment as their clouds' other tools do. They get this copy instead of reading
/// it themselves, so that one place decides what they see. Its values are secrets: `Debug` shows the names only.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Copies `AWS_*` and `HOME` from the process; for `main` alone.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name == "HOME" || name.starts_with("AWS_"))
            .collect()
    }

    /// Returns a variable's value; one that is empty counts as unset.
    #[cfg_attr(
        all(not(feature = "aws"), not(test)),
        expect(dead_code, reason = "only cloud providers look at it")
    )]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let environment: Environment = [("AWS_SECRET_ACCESS_KEY".to_owned(), "hunter2".to_owned())]
            .into_iter()
            .collect();
        let shown = format!("{environment:?}");
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("hunter2"));
        assert_eq!(environment.get("AWS_SECRET_ACCESS_KEY"), Some("hunter2"));
    }
}
