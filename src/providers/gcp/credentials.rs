//! Where credentials for Google Cloud come from, in the order of Google's own tools: the file that
//! `GOOGLE_APPLICATION_CREDENTIALS` names, the file that `gcloud auth application-default login` writes, the metadata
//! server. A location's own credentials come before all of them.
//!
//! A file may be a service account's key, or tell how to get a token with another identity (workload identity
//! federation, impersonation, a person's login). Nothing is read from the process's environment here, though Google's
//! crate could: `main` took a copy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use google_cloud_auth::build_errors::Error as BuildError;
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, external_account, impersonated, mds,
    service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_auth::signer::Signer;
use http::{Extensions, HeaderMap};
use serde_json::Value;

use crate::providers::blobs::innermost;
use crate::providers::environment::Environment;

/// How long the metadata server may take; it is next door, or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// How long others that give tokens may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Tokens for buckets and their objects.
pub(super) const STORAGE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// Tokens for disks and their snapshots.
pub(super) const COMPUTE: &str = "https://www.googleapis.com/auth/compute";

/// Why there is no token, and what to do. Never holds one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unavailable(String);

/// Whom Google is asked as.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) credentials: Credentials,
    /// The project that the credentials name, if they do.
    pub(super) project: Option<String>,
    /// Who signs links; `None`: nobody can.
    pub(super) signer: Option<Signer>,
}

/// Returns the identity that this environment describes, for tokens of a scope. No token is asked for yet.
///
/// # Errors
/// A sentence, where what is there cannot be used.
pub(super) async fn find(
    environment: &Environment,
    scope: &'static str,
    service_account: Option<&str>,
) -> Result<Identity, String> {
    if let Some(text) = environment.credentials() {
        return of_file(text, &Source::Location, scope, service_account);
    }
    let named = environment
        .get("GOOGLE_APPLICATION_CREDENTIALS")
        .map(PathBuf::from);
    let login = environment
        .get("HOME")
        .map(|home| Path::new(home).join(".config/gcloud/application_default_credentials.json"));
    // A file that is not there is passed over: the manifests mount a Secret that may be missing.
    for path in [named.as_ref(), login.as_ref()].into_iter().flatten() {
        let source = Source::File(path.clone());
        match tokio::fs::read_to_string(path).await {
            Ok(text) => return of_file(&text, &source, scope, service_account),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!(
                    "{source} cannot be read: {error}; let the user that ark runs as read it"
                ));
            }
        }
    }
    of_metadata(environment, named, scope, service_account)
}

/// What credentials were found in, for messages.
#[derive(Clone, Debug)]
enum Source {
    Location,
    File(PathBuf),
    /// After a file that is named and not there, if one is.
    Metadata {
        absent: Option<PathBuf>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location => f.write_str("the location's credential"),
            Self::File(path) => write!(f, "the credentials file {}", path.display()),
            Self::Metadata { .. } => f.write_str("the metadata server"),
        }
    }
}

impl Source {
    /// Returns the error for a token that is not to be had.
    fn unavailable(&self, why: &str) -> Unavailable {
        Unavailable(match self {
            Self::Metadata { absent } => {
                let file = match absent {
                    None => "is not set".to_owned(),
                    Some(path) => format!("names {}, which does not exist", path.display()),
                };
                format!(
                    "there are no Google Cloud credentials: GOOGLE_APPLICATION_CREDENTIALS {file}, and the metadata \
                     server gives none ({why}); give ark a service account's key or workload identity"
                )
            }
            Self::Location | Self::File(_) => format!(
                "{self} gives no access ({why}); check that the account and its key are still there"
            ),
        })
    }
}

/// Returns the identity in the text of a credentials file.
fn of_file(
    text: &str,
    source: &Source,
    scope: &'static str,
    service_account: Option<&str>,
) -> Result<Identity, String> {
    // What serde says of malformed text may quote it.
    let json: Value = serde_json::from_str(text).map_err(|_| {
        format!("{source} is not JSON; it has to be a service account's key as Google gives it out")
    })?;
    let kind = json.get("type").and_then(Value::as_str).unwrap_or_default();
    let project = json.get("project_id").and_then(Value::as_str);
    let project = project.map(str::to_owned);
    let scopes = [scope];
    let (credentials, signer) = match kind {
        "service_account" => {
            let missing = [
                "client_email",
                "private_key",
                "private_key_id",
                "project_id",
            ]
            .into_iter()
            .find(|key| {
                json.get(key)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
            });
            if let Some(missing) = missing {
                return Err(format!("{source} has no {missing}; get a new key"));
            }
            let access = service_account::AccessSpecifier::from_scopes(scopes);
            let signer = service_account::Builder::new(json.clone()).build_signer();
            let built = service_account::Builder::new(json)
                .with_access_specifier(access)
                .build();
            (built, Some(signer))
        }
        "external_account" => {
            let impersonated = impersonated_by(&json);
            let account = service_account.map(str::to_owned).or(impersonated);
            let built = external_account::Builder::new(json)
                .with_scopes(scopes)
                .build();
            let signer = signing_as(account.as_deref(), built.as_ref().ok());
            (built, signer)
        }
        "impersonated_service_account" => {
            let signer = impersonated::Builder::new(json.clone()).build_signer();
            let built = impersonated::Builder::new(json).with_scopes(scopes).build();
            (built, Some(signer))
        }
        "authorized_user" => {
            // The scopes are those that the person agreed to.
            let built = user_account::Builder::new(json).build();
            let signer = signing_as(service_account, built.as_ref().ok());
            (built, signer)
        }
        _ => {
            return Err(format!(
                "{source} has type {kind:?}; it can be service_account, external_account, \
                 impersonated_service_account or authorized_user"
            ));
        }
    };
    let unusable = |error: BuildError| format!("{source} cannot be used: {}", innermost(&error));
    Ok(Identity {
        credentials: watched(credentials.map_err(unusable)?, source.clone()),
        project,
        signer: signer.transpose().map_err(unusable)?,
    })
}

/// Returns the identity that the machine or the pod has.
fn of_metadata(
    environment: &Environment,
    absent: Option<PathBuf>,
    scope: &'static str,
    service_account: Option<&str>,
) -> Result<Identity, String> {
    let unusable =
        |error: BuildError| format!("the metadata server cannot be used: {}", innermost(&error));
    let builder = || {
        let builder = mds::Builder::default().with_scopes([scope]);
        match environment.get("GCE_METADATA_HOST") {
            Some(host) => builder.with_endpoint(format!("http://{host}")),
            None => builder,
        }
    };
    let credentials = builder().build().map_err(unusable)?;
    let signer = match service_account {
        Some(_) => signing_as(service_account, Some(&credentials)),
        None if scope == STORAGE => Some(builder().build_signer()),
        // It would ask for tokens of its own, and nobody signs anything of disks.
        None => None,
    };
    Ok(Identity {
        credentials: watched(credentials, Source::Metadata { absent }),
        project: None,
        signer: signer.transpose().map_err(unusable)?,
    })
}

/// Asks the metadata server for the project that the machine or the pod is in
/// (<https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>).
///
/// # Errors
/// Why it does not tell.
pub(super) async fn project_of_machine(
    http: &reqwest::Client,
    environment: &Environment,
) -> Result<String, String> {
    let host = environment
        .get("GCE_METADATA_HOST")
        .unwrap_or("metadata.google.internal");
    let asked = http
        .get(format!(
            "http://{host}/computeMetadata/v1/project/project-id"
        ))
        .header("Metadata-Flavor", "Google")
        .timeout(METADATA_TIMEOUT)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let failed = |error: reqwest::Error| innermost(&error.without_url());
    let project = asked.map_err(failed)?.text().await.map_err(failed)?;
    Ok(project.trim().to_owned())
}

/// Returns a signer that lets Google sign with the account's key (`iam.serviceAccounts.signBlob`).
fn signing_as(
    account: Option<&str>,
    credentials: Option<&Credentials>,
) -> Option<Result<Signer, BuildError>> {
    Some(
        impersonated::Builder::from_source_credentials(credentials?.clone())
            .with_target_principal(account?)
            .build_signer(),
    )
}

/// Returns the service account that federated credentials turn into.
fn impersonated_by(json: &Value) -> Option<String> {
    let url = json.get("service_account_impersonation_url")?.as_str()?;
    let (_, name) = url.rsplit_once('/')?;
    Some(name.strip_suffix(":generateAccessToken")?.to_owned())
}

/// Credentials that answer in time and say in one sentence why they do not.
#[derive(Debug)]
struct Watched {
    inner: Credentials,
    source: Source,
}

fn watched(inner: Credentials, source: Source) -> Credentials {
    Credentials::from(Watched { inner, source })
}

impl CredentialsProvider for Watched {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let timeout = match self.source {
            Source::Metadata { .. } => METADATA_TIMEOUT,
            Source::Location | Source::File(_) => TOKEN_TIMEOUT,
        };
        let unavailable =
            |why: &str| CredentialsError::from_source(false, self.source.unavailable(why));
        match tokio::time::timeout(timeout, self.inner.headers(extensions)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                let why = innermost(&error);
                let why = why.lines().next().unwrap_or_default();
                Err(unavailable(why))
            }
            Err(_) => Err(unavailable("it does not answer in time")),
        }
    }

    /// Nothing: the address of the store is set, and the metadata server need not be asked.
    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn problem(environment: Environment) -> String {
        let problem = find(&environment, STORAGE, None).await.unwrap_err();
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
        problem
    }

    fn location(text: &str) -> Environment {
        Environment::default()
            .with_credentials(text.into())
            .unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_named() {
        for (text, expected) in [
            ("hunter2", "the location's credential is not JSON"),
            ("{}", "has type \"\"; it can be service_account"),
            (r#"{"type": "gdch_service_account"}"#, "it can be"),
            (
                r#"{"type": "service_account", "private_key": "hunter2"}"#,
                "has no client_email",
            ),
            (r#"{"type": "external_account"}"#, "cannot be used"),
        ] {
            let problem = problem(location(text)).await;
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file: Environment = [(
            "GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
            // It is there, and no file.
            folder.path().display().to_string(),
        )]
        .into_iter()
        .collect();
        let problem = problem(file).await;
        assert!(problem.contains("cannot be read"), "{problem}");
    }

    #[tokio::test]
    async fn nothing_at_all_leads_to_the_metadata_server() {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        for (file, expected) in [
            (None, "GOOGLE_APPLICATION_CREDENTIALS is not set"),
            (
                Some("/absent/key.json"),
                "/absent/key.json, which does not exist",
            ),
        ] {
            let environment: Environment = [
                Some(("GCE_METADATA_HOST", "127.0.0.1:1")),
                file.map(|file| ("GOOGLE_APPLICATION_CREDENTIALS", file)),
            ]
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
            let identity = find(&environment, STORAGE, None).await.unwrap();
            assert!(identity.signer.is_some());
            let error = identity
                .credentials
                .headers(Extensions::new())
                .await
                .unwrap_err();
            let why = innermost(&error);
            assert!(
                why.contains("there are no Google Cloud credentials"),
                "{why}"
            );
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn federated_credentials_sign_as_the_account_that_they_turn_into() {
        let json = serde_json::json!({
            "service_account_impersonation_url":
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ark@p.iam.gserviceaccount.com:generateAccessToken",
        });
        assert_eq!(
            impersonated_by(&json).as_deref(),
            Some("ark@p.iam.gserviceaccount.com")
        );
        assert_eq!(impersonated_by(&serde_json::json!({})), None);
    }
}
