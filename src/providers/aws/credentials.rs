//! Where AWS credentials come from, in the order of Amazon's own tools: the environment, the shared credentials file, a
//! web identity, a container's role, the instance's role.
//!
//! The `object_store` crate knows all but the file. A source that is there and broken is an error; one that is absent
//! is passed over, and if all are, the message names each.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::{ClientOptions, CredentialProvider, RetryConfig};

use crate::providers::environment::Environment;
use crate::providers::settings::Settings;

/// How long the instance's metadata service may take; it is next door, or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there are no credentials, and what to do. Never holds one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CredentialError(String);

impl From<CredentialError> for object_store::Error {
    fn from(error: CredentialError) -> Self {
        Self::Generic {
            store: "S3",
            source: Box::new(error),
        }
    }
}

/// Whose credentials a location's settings ask for, where the environment leaves a choice.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Identity {
    /// The profile in a credentials file, instead of `AWS_PROFILE`'s.
    profile: Option<String>,
    /// The credentials file, instead of `AWS_SHARED_CREDENTIALS_FILE`.
    file: Option<String>,
}

impl Identity {
    /// Reads the settings `profile` and `credentialsFile`.
    pub(super) fn of(settings: Settings<'_>) -> Self {
        Self {
            profile: settings.text("profile").map(str::to_owned),
            file: settings.text("credentialsFile").map(str::to_owned),
        }
    }

    fn profile<'a>(&'a self, environment: &'a Environment) -> Option<&'a str> {
        let profile = self.profile.as_deref();
        profile.or_else(|| environment.get("AWS_PROFILE"))
    }

    /// Returns whether it is to be found in a file, whatever else there is.
    fn is_in_file(&self) -> bool {
        self.profile.is_some() || self.file.is_some()
    }
}

/// Returns the source of credentials that this environment describes. Nothing is read or asked yet.
///
/// # Errors
/// A sentence, where the environment contradicts itself.
pub(super) fn chain(
    environment: &Environment,
    identity: &Identity,
    region: &str,
    client: &ClientOptions,
) -> Result<AwsCredentialProvider, String> {
    if let Some(text) = environment.credentials() {
        return of_location(text, identity.profile(environment));
    }
    if identity.is_in_file() {
        return Ok(Arc::new(Chain {
            variables: false,
            file: CredentialsFile::of(environment, identity),
            role: None,
        }));
    }
    let key_id = environment.get("AWS_ACCESS_KEY_ID");
    let secret_key = environment.get("AWS_SECRET_ACCESS_KEY");
    match (key_id, secret_key) {
        (Some(key_id), Some(secret_key)) => {
            return Ok(Arc::new(object_store::StaticCredentialProvider::new(
                AwsCredential {
                    key_id: key_id.to_owned(),
                    secret_key: secret_key.to_owned(),
                    token: environment.get("AWS_SESSION_TOKEN").map(str::to_owned),
                },
            )));
        }
        (Some(_), None) => {
            return Err(
                "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both or neither"
                    .to_owned(),
            );
        }
        (None, Some(_)) => {
            return Err(
                "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not; set both or neither"
                    .to_owned(),
            );
        }
        (None, None) => {}
    }
    Ok(Arc::new(Chain {
        variables: true,
        file: CredentialsFile::of(environment, identity),
        role: Role::of(environment, region, client)?,
    }))
}

/// Returns the credentials of a location's own file; nothing else is looked at where it has one.
fn of_location(text: &str, profile_chosen: Option<&str>) -> Result<AwsCredentialProvider, String> {
    let name = profile_chosen.unwrap_or("default");
    match profile(text, name) {
        Ok(Some(credential)) => Ok(Arc::new(object_store::StaticCredentialProvider::new(
            credential,
        ))),
        Ok(None) => Err(format!(
            "the location's credentials have no profile {name:?}; its Secret holds a file of AWS's own form, with a \
             line [{name}] before the keys"
        )),
        Err(missing) => Err(format!(
            "the location's credentials have no {missing} in profile {name:?}; add it to the Secret"
        )),
    }
}

/// The sources that are asked anew for each request; each keeps what it found while it is good.
#[derive(Debug)]
struct Chain {
    /// Whether the environment's variables were looked at, and a role would do.
    variables: bool,
    file: Option<CredentialsFile>,
    role: Option<Role>,
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut tried = Vec::new();
        if self.variables {
            tried.push("AWS_ACCESS_KEY_ID is not set".to_owned());
        }
        match &self.file {
            None => tried.push("there is no AWS_SHARED_CREDENTIALS_FILE".to_owned()),
            Some(file) => match file.read().await? {
                Ok(found) => return Ok(found),
                Err(absent) => tried.push(absent),
            },
        }
        match &self.role {
            None if !self.variables => {}
            None => tried.push("there is no role to assume".to_owned()),
            Some(role) => match role.provider.get_credential().await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::debug!(source = %role.source, error = %error, "no credentials");
                    tried.push(format!("{} gives none", role.source));
                }
            },
        }
        Err(CredentialError(format!(
            "there are no AWS credentials: {}; give ark a credentials file or a role",
            tried.join(", ")
        ))
        .into())
    }
}

/// A role that something outside of the process vouches for.
#[derive(Debug)]
struct Role {
    source: RoleSource,
    provider: AwsCredentialProvider,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RoleSource {
    WebIdentity,
    Container,
    Instance,
}

impl fmt::Display for RoleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebIdentity => "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN",
            Self::Container => "the container's role",
            Self::Instance => "the instance's metadata service",
        })
    }
}

impl Role {
    fn of(
        environment: &Environment,
        region: &str,
        client: &ClientOptions,
    ) -> Result<Option<Self>, String> {
        use AmazonS3ConfigKey as Key;
        let (source, keys) = if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            if environment.get("AWS_ROLE_ARN").is_none() {
                return Err(
                    "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not; set both or neither"
                        .to_owned(),
                );
            }
            let keys = vec![
                (Key::WebIdentityTokenFile, "AWS_WEB_IDENTITY_TOKEN_FILE"),
                (Key::RoleArn, "AWS_ROLE_ARN"),
                (Key::RoleSessionName, "AWS_ROLE_SESSION_NAME"),
                (Key::StsEndpoint, "AWS_ENDPOINT_URL_STS"),
            ];
            (RoleSource::WebIdentity, keys)
        } else if environment
            .get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            .is_some()
        {
            let keys = vec![(
                Key::ContainerCredentialsRelativeUri,
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            )];
            (RoleSource::Container, keys)
        } else if environment
            .get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            .and(environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
            .is_some()
        {
            let keys = vec![
                (
                    Key::ContainerCredentialsFullUri,
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                ),
                (
                    Key::ContainerAuthorizationTokenFile,
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                ),
            ];
            (RoleSource::Container, keys)
        } else if environment.get("AWS_EC2_METADATA_DISABLED") == Some("true") {
            return Ok(None);
        } else {
            let keys = vec![(Key::MetadataEndpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT")];
            (RoleSource::Instance, keys)
        };
        let mut builder = AmazonS3Builder::new()
            // Only its credentials are used.
            .with_bucket_name("credentials")
            .with_region(region)
            .with_client_options(client.clone());
        if region.starts_with("cn-") {
            builder = builder.with_config(
                Key::StsEndpoint,
                format!("https://sts.{region}.amazonaws.com.cn"),
            );
        }
        if source == RoleSource::Instance {
            builder = builder
                .with_client_options(client.clone().with_timeout(METADATA_TIMEOUT))
                .with_retry(RetryConfig {
                    max_retries: 1,
                    retry_timeout: METADATA_TIMEOUT,
                    ..RetryConfig::default()
                });
        } else {
            builder = builder.with_retry(super::retries());
        }
        for (key, name) in keys {
            if let Some(value) = environment.get(name) {
                builder = builder.with_config(key, value);
            }
        }
        let built = builder
            .build()
            .map_err(|error| format!("{source} cannot be used: {error}"))?;
        Ok(Some(Self {
            source,
            provider: Arc::clone(built.credentials()),
        }))
    }
}

/// The shared credentials file; read again when it changes, since mounted secrets are rotated.
struct CredentialsFile {
    path: PathBuf,
    profile: String,
    /// Whether somebody asked for this profile, so that its absence is a mistake.
    profile_chosen: bool,
    last: Mutex<Option<(Stamp, Arc<AwsCredential>)>>,
}

/// What tells one version of a file from another.
type Stamp = (SystemTime, u64);

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsFile")
            .field("path", &self.path)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl CredentialsFile {
    fn of(environment: &Environment, identity: &Identity) -> Option<Self> {
        let named = identity.file.as_deref();
        let path = match named.or_else(|| environment.get("AWS_SHARED_CREDENTIALS_FILE")) {
            Some(path) => PathBuf::from(path),
            None => Path::new(environment.get("HOME")?).join(".aws/credentials"),
        };
        let profile = identity.profile(environment);
        Some(Self {
            path,
            profile: profile.unwrap_or("default").to_owned(),
            profile_chosen: profile.is_some(),
            last: Mutex::new(None),
        })
    }

    /// Returns the credentials in the file, or a few words on why there are none.
    async fn read(&self) -> Result<Result<Arc<AwsCredential>, String>, CredentialError> {
        let unreadable = |error: std::io::Error| {
            CredentialError(format!(
                "the credentials file {} cannot be read: {error}; let the user that ark runs as read it",
                self.path.display()
            ))
        };
        let stamp: Stamp = match tokio::fs::metadata(&self.path).await {
            Ok(found) => (
                found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                found.len(),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(format!("{} does not exist", self.path.display())));
            }
            Err(error) => return Err(unreadable(error)),
        };
        if let Some((last, credential)) = &*self.last()
            && *last == stamp
        {
            return Ok(Ok(Arc::clone(credential)));
        }
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(unreadable)?;
        let credential = match profile(&text, &self.profile) {
            Ok(Some(credential)) => Arc::new(credential),
            Ok(None) if self.profile_chosen => {
                return Err(CredentialError(format!(
                    "the credentials file {} has no profile {:?}; correct AWS_PROFILE, or profile in the location's config",
                    self.path.display(),
                    self.profile
                )));
            }
            Ok(None) => {
                return Ok(Err(format!(
                    "{} has no profile {:?}",
                    self.path.display(),
                    self.profile
                )));
            }
            Err(missing) => {
                return Err(CredentialError(format!(
                    "the credentials file {} has no {missing} in profile {:?}; add it",
                    self.path.display(),
                    self.profile
                )));
            }
        };
        *self.last() = Some((stamp, Arc::clone(&credential)));
        Ok(Ok(credential))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(Stamp, Arc<AwsCredential>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the credentials of a profile in an INI file, if the profile is there.
///
/// # Errors
/// The name of the key that is missing from it.
fn profile(text: &str, wanted: &str) -> Result<Option<AwsCredential>, &'static str> {
    let mut inside = false;
    let mut found = false;
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let name = section.split(']').next().unwrap_or_default().trim();
            // The form of AWS's other file, which some keep their keys in.
            inside = name == wanted || name.strip_prefix("profile ").map(str::trim) == Some(wanted);
            found |= inside;
        } else if inside && let Some((key, value)) = line.split_once('=') {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match key.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    if !found {
        return Ok(None);
    }
    Ok(Some(AwsCredential {
        key_id: key_id.ok_or("aws_access_key_id")?,
        secret_key: secret_key.ok_or("aws_secret_access_key")?,
        token,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn chained(environment: &Environment) -> Result<AwsCredentialProvider, String> {
        let identity = Identity::default();
        chain(environment, &identity, "us-east-1", &ClientOptions::new())
    }

    fn provider(pairs: &[(&str, &str)]) -> AwsCredentialProvider {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        chained(&environment(pairs)).unwrap()
    }

    async fn problem(pairs: &[(&str, &str)]) -> String {
        let error = provider(pairs).get_credential().await.unwrap_err();
        super::super::errors::explain(&error).unwrap().1
    }

    #[test]
    fn profiles() {
        let text = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=s=/+\n\n[ other ]\n\
                    AWS_ACCESS_KEY_ID=B\naws_secret_access_key=t\naws_session_token = u\n[half]\naws_access_key_id=C\n\
                    [profile named]\naws_access_key_id=D\naws_secret_access_key=v\n";
        let found = profile(text, "default").unwrap().unwrap();
        assert_eq!(
            (found.key_id.as_str(), found.secret_key.as_str()),
            ("A", "s=/+")
        );
        assert_eq!(found.token, None);
        let found = profile(text, "other").unwrap().unwrap();
        assert_eq!(found.token.as_deref(), Some("u"));
        assert_eq!(profile(text, "named").unwrap().unwrap().key_id, "D");
        assert!(profile(text, "absent").unwrap().is_none());
        assert_eq!(profile(text, "half").unwrap_err(), "aws_secret_access_key");
    }

    #[tokio::test]
    async fn a_locations_own_credentials_win_over_everything() {
        let own = |text: &str| {
            let variables = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "S")];
            let environment = environment(&variables)
                .with_credentials(text.as_bytes().to_vec())
                .unwrap();
            chained(&environment)
        };
        let good = own("[default]\naws_access_key_id = B\naws_secret_access_key = T\n").unwrap();
        assert_eq!(good.get_credential().await.unwrap().key_id, "B");
        for (text, expected) in [
            ("", "no profile \"default\""),
            (
                "[default]\naws_access_key_id = B\n",
                "aws_secret_access_key",
            ),
        ] {
            let problem = own(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[tokio::test]
    async fn the_environment_comes_first() {
        let found = provider(&[
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "t"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        ])
        .get_credential()
        .await
        .unwrap();
        assert_eq!(found.key_id, "A");
        assert_eq!(found.token.as_deref(), Some("t"));
        assert!(!format!("{found:?}").contains("hunter2"));
        let half = chained(&environment(&[("AWS_ACCESS_KEY_ID", "A")]));
        assert!(half.unwrap_err().contains("AWS_SECRET_ACCESS_KEY is not"));
    }

    #[tokio::test]
    async fn the_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let write = |key: &str| {
            let text =
                format!("[default]\naws_access_key_id={key}\naws_secret_access_key=hunter2\n");
            std::fs::write(&file, text).unwrap();
        };
        write("A");
        let provider = provider(&[("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())]);
        assert_eq!(provider.get_credential().await.unwrap().key_id, "A");
        // Another length, in case the file system's clock is coarse.
        write("ABC");
        assert_eq!(provider.get_credential().await.unwrap().key_id, "ABC");
        assert!(!format!("{provider:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn settings_name_a_profile_and_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let text = "[default]\naws_access_key_id=A\naws_secret_access_key=s\n[other]\naws_access_key_id=B\n\
                    aws_secret_access_key=s\n";
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let variables = environment(&[
            ("AWS_ACCESS_KEY_ID", "C"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SHARED_CREDENTIALS_FILE", path),
        ]);
        for (profile, file, expected) in [
            (None, None, "C"),
            (Some("other"), None, "B"),
            (None, Some(path), "A"),
            (Some("other"), Some(path), "B"),
            (
                None,
                Some("/nowhere"),
                "there are no AWS credentials: /nowhere does not exist; give",
            ),
            (
                Some("third"),
                None,
                "has no profile \"third\"; correct AWS_PROFILE, or profile",
            ),
        ] {
            let identity = Identity {
                profile: profile.map(str::to_owned),
                file: file.map(str::to_owned),
            };
            let chain = chain(&variables, &identity, "us-east-1", &ClientOptions::new()).unwrap();
            match chain.get_credential().await {
                Ok(found) => assert_eq!(found.key_id, expected, "{identity:?}"),
                Err(error) => {
                    let (_, problem) = super::super::errors::explain(&error).unwrap();
                    assert!(problem.contains(expected), "{problem}");
                }
            }
        }
    }

    #[tokio::test]
    async fn no_credentials_is_one_sentence() {
        let none = problem(&[("AWS_EC2_METADATA_DISABLED", "true")]).await;
        assert!(
            none.starts_with("there are no AWS credentials: AWS_ACCESS_KEY_ID is not set"),
            "{none}"
        );
        let missing = problem(&[
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials"),
        ])
        .await;
        assert!(
            missing.contains("/nowhere/credentials does not exist"),
            "{missing}"
        );
        // Nothing listens on this port.
        let silent = problem(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]).await;
        assert!(
            silent.contains("the instance's metadata service gives none"),
            "{silent}"
        );
    }

    #[tokio::test]
    async fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(&file, "[default]\naws_access_key_id=A\n").unwrap();
        let path = file.to_str().unwrap();
        let half = problem(&[("AWS_SHARED_CREDENTIALS_FILE", path)]).await;
        assert!(half.contains("has no aws_secret_access_key"), "{half}");
        let other = problem(&[("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_PROFILE", "x")]).await;
        assert!(
            other.contains("has no profile \"x\"; correct AWS_PROFILE"),
            "{other}"
        );
    }
}
