//! The variables that describe who asks Azure: from a credentials file of lines `NAME=value`, as Velero's plugin takes
//! it, and from the process's environment.

use std::collections::BTreeMap;
use std::fmt;

use crate::providers::environment::Environment;

/// What Azure's workload identity webhook puts into a pod's environment, beside a file that says the rest.
const OF_THE_POD: &[&str] = &[
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
];

/// Variables; their values are secrets, so `Debug` shows the names only.
pub(super) struct Variables {
    file: Option<BTreeMap<String, String>>,
    environment: Environment,
}

impl Variables {
    /// Reads a location's own file, or the one that `AZURE_CREDENTIALS_FILE` names, if there is one.
    ///
    /// # Errors
    /// A sentence, where the file cannot be read.
    pub(super) async fn of(environment: &Environment) -> Result<Self, String> {
        let file = match (
            environment.credentials(),
            environment.get("AZURE_CREDENTIALS_FILE"),
        ) {
            (Some(text), _) => Some(parse(text, "the location's credential")?),
            (None, Some(path)) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    format!(
                        "the credentials file {path}, which AZURE_CREDENTIALS_FILE names, cannot be read: {error}; \
                         mount it, and let the user that ark runs as read it"
                    )
                })?;
                Some(parse(&text, &format!("the credentials file {path}"))?)
            }
            (None, None) => None,
        };
        Ok(Self {
            file,
            environment: environment.clone(),
        })
    }

    /// Returns a variable's value; one that is empty counts as unset.
    ///
    /// A file stands for itself: of the environment, only what a pod's own identity needs fills its gaps.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let Some(file) = &self.file else {
            return self.environment.get(name);
        };
        let of_file = file
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty());
        if of_file.is_none() && OF_THE_POD.contains(&name) {
            return self.environment.get(name);
        }
        of_file
    }

    /// Returns the first of several variables that is set.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables")
            .field("file", &self.file.as_ref().map(BTreeMap::keys))
            .field("environment", &self.environment)
            .finish()
    }
}

fn parse(text: &str, source: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line itself may be a secret.
        let (name, value) = line.split_once('=').ok_or_else(|| {
            format!(
                "line {} of {source} is not of the form NAME=value",
                index + 1
            )
        })?;
        variables.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn a_file_stands_for_itself_but_for_the_pods_identity() {
        let of_process = environment(&[
            ("AZURE_STORAGE_KEY", "of the process"),
            ("AZURE_CLIENT_ID", "pod"),
            ("AZURE_TENANT_ID", "pod"),
        ]);
        let plain = Variables::of(&of_process).await.unwrap();
        assert_eq!(plain.get("AZURE_STORAGE_KEY"), Some("of the process"));
        let text = "# who\nexport AZURE_TENANT_ID='file'\n\nAZURE_RESOURCE_GROUP = \"group\"\nKEY=a=b==\nEMPTY=\n";
        let own = of_process.with_credentials(text.into()).unwrap();
        let own = Variables::of(&own).await.unwrap();
        assert_eq!(own.get("AZURE_STORAGE_KEY"), None);
        assert_eq!(own.get("AZURE_TENANT_ID"), Some("file"));
        assert_eq!(own.get("AZURE_CLIENT_ID"), Some("pod"));
        assert_eq!(own.get("AZURE_RESOURCE_GROUP"), Some("group"));
        assert_eq!(own.get("KEY"), Some("a=b=="));
        assert_eq!(own.get("EMPTY"), None);
        assert_eq!(own.first(&["EMPTY", "KEY"]), Some("a=b=="));
        assert!(!format!("{own:?}").contains("a=b"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_without_its_text() {
        let garbled = Environment::default()
            .with_credentials(b"A=1\nhunter2".to_vec())
            .unwrap();
        let problem = Variables::of(&garbled).await.unwrap_err();
        assert_eq!(
            problem,
            "line 2 of the location's credential is not of the form NAME=value"
        );
        let absent = environment(&[("AZURE_CREDENTIALS_FILE", "/absent/cloud")]);
        let problem = Variables::of(&absent).await.unwrap_err();
        assert!(problem.contains("/absent/cloud"), "{problem}");
    }
}
