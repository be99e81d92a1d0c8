//! The environment variables that providers look at, taken once by `main`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Single variables that providers look at.
const NAMES: &[&str] = &[
    "HOME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GCE_METADATA_HOST",
];
/// What the others' names begin with.
const PREFIXES: &[&str] = &["AWS_", "AZURE_"];

/// A copy of the process's environment variables that matter to providers.
///
/// Providers find credentials in the environment as their clouds' other tools do. They get this copy instead of reading
/// it themselves, so that one place decides what they see. Its values are secrets: `Debug` shows the names only.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    credentials: Option<Arc<str>>,
}

impl Environment {
    /// Copies what [`NAMES`] and [`PREFIXES`] list from the process; for `main` alone.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| {
                NAMES.contains(&name.as_str())
                    || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
            .collect()
    }

    /// Returns an environment in which a location's own credentials win over whatever the variables name.
    ///
    /// They are what the provider's credentials file would hold.
    ///
    /// # Errors
    /// A sentence, where they are not text.
    pub fn with_credentials(self, credentials: Vec<u8>) -> Result<Self, String> {
        let text = String::from_utf8(credentials).map_err(|_| {
            "the location's credentials are not text; look at its Secret".to_owned()
        })?;
        Ok(Self {
            credentials: Some(text.into()),
            ..self
        })
    }

    /// Returns the location's own credentials: a secret.
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", test)),
        expect(dead_code, reason = "only cloud providers look at it")
    )]
    pub(super) fn credentials(&self) -> Option<&str> {
        self.credentials.as_deref()
    }

    /// Returns a variable's value; one that is empty counts as unset.
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", test)),
        expect(dead_code, reason = "only cloud providers look at it")
    )]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            credentials: None,
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
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
        let environment = environment.with_credentials(b"hunter2".to_vec()).unwrap();
        let shown = format!("{environment:?}");
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("hunter2"));
        assert_eq!(environment.get("AWS_SECRET_ACCESS_KEY"), Some("hunter2"));
        assert_eq!(environment.credentials(), Some("hunter2"));
    }
}
