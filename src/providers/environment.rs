//! The environment variables that providers look at, taken once by `main`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "plugins")]
use super::plugin::Plugins;

/// Single variables that providers look at, and what plugins need to run and to reach their clouds and the cluster.
const NAMES: &[&str] = &[
    "HOME",
    "GCE_METADATA_HOST",
    "PATH",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
];
/// What the others' names begin with.
const PREFIXES: &[&str] = &["AWS_", "AZURE_", "GOOGLE_", "VELERO_"];

/// What providers find around them: a copy of the process's environment variables that matter to them, the location's
/// own credentials, and the plugins.
///
/// Providers find credentials in the environment as their clouds' other tools do. They get this copy instead of reading
/// it themselves, so that one place decides what they see. Its values are secrets: `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    credentials: Option<Arc<str>>,
    #[cfg(feature = "plugins")]
    plugins: Option<Plugins>,
}

impl Environment {
    /// Copies what [`NAMES`] and [`PREFIXES`] list from the process, and what `further` names: variables, or beginnings of
    /// names with a `*` behind them. For `main` alone.
    pub fn of_process(further: &[String]) -> Self {
        let named = |name: &str| {
            NAMES.contains(&name)
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || further.iter().any(|one| match one.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == one,
                })
        };
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| named(name))
            .collect()
    }

    /// Returns an environment in which there are plugins.
    #[cfg(feature = "plugins")]
    #[must_use]
    pub fn with_plugins(self, plugins: Plugins) -> Self {
        Self {
            plugins: Some(plugins),
            ..self
        }
    }

    /// Returns the plugins, if there are any.
    #[cfg(feature = "plugins")]
    pub fn plugins(&self) -> Option<&Plugins> {
        self.plugins.as_ref()
    }

    /// Returns all variables: secrets.
    #[cfg(feature = "plugins")]
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
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
        not(any(
            feature = "aws",
            feature = "gcp",
            feature = "azure",
            feature = "plugins",
            test
        )),
        expect(dead_code, reason = "only cloud providers and plugins look at it")
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
            ..Self::default()
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
