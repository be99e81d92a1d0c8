//! Tokens of Microsoft Entra: for an application with a secret, for one that a file vouches for (workload identity),
//! or for the machine's own identity. Knows nothing of Microsoft's crates.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, header};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::errors::{AzureError, first_line};
use super::variables::Variables;
use crate::providers::patience::Patience;

/// How long the endpoint of managed identities may take; it is next door, or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// How long Entra may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long before its end a token is replaced.
const MARGIN: Duration = Duration::from_mins(5);
/// Where machines ask for their own identity.
const METADATA: &str = "http://169.254.169.254";

/// A token, and for how long it is good.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    expires: Instant,
}

impl Token {
    /// Returns for how long it is still good.
    pub(super) fn left(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }
}

/// Whom tokens are for.
enum Identity {
    Secret {
        application: Application,
        secret: String,
    },
    Federated {
        application: Application,
        file: PathBuf,
    },
    Managed {
        client: Option<String>,
        endpoint: String,
    },
}

struct Application {
    tenant: String,
    client: String,
    authority: Url,
}

/// Gets tokens and keeps them while they are good.
pub(super) struct Tokens {
    http: reqwest::Client,
    identity: Identity,
    /// The variables that would do instead of an identity, for messages.
    instead: &'static [&'static str],
    known: tokio::sync::Mutex<BTreeMap<String, Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens")
            .field(&self.identity.name())
            .finish()
    }
}

impl Identity {
    fn name(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "the application of AZURE_CLIENT_ID with its secret",
            Self::Federated { .. } => "the workload identity of AZURE_FEDERATED_TOKEN_FILE",
            Self::Managed { .. } => "the machine's managed identity",
        }
    }

    fn of(variables: &Variables, authority: &Url) -> Result<Self, String> {
        let application = |why: &str| {
            let named = |name: &str| {
                variables
                    .get(name)
                    .map(str::to_owned)
                    .ok_or_else(|| format!("{why} is set and {name} is not; set both or neither"))
            };
            Ok::<_, String>(Application {
                tenant: named("AZURE_TENANT_ID")?,
                client: named("AZURE_CLIENT_ID")?,
                authority: authority.clone(),
            })
        };
        if let Some(secret) = variables.get("AZURE_CLIENT_SECRET") {
            return Ok(Self::Secret {
                application: application("AZURE_CLIENT_SECRET")?,
                secret: secret.to_owned(),
            });
        }
        if let Some(file) = variables.get("AZURE_FEDERATED_TOKEN_FILE") {
            return Ok(Self::Federated {
                application: application("AZURE_FEDERATED_TOKEN_FILE")?,
                file: PathBuf::from(file),
            });
        }
        Ok(Self::Managed {
            client: variables.get("AZURE_CLIENT_ID").map(str::to_owned),
            endpoint: variables
                .get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                .unwrap_or(METADATA)
                .trim_end_matches('/')
                .to_owned(),
        })
    }
}

impl Tokens {
    /// Decides whom tokens are for; nobody is asked yet. `instead` names the variables that would do without tokens.
    ///
    /// # Errors
    /// A sentence, where the variables contradict each other.
    pub(super) fn new(
        http: reqwest::Client,
        variables: &Variables,
        authority: &Url,
        instead: &'static [&'static str],
    ) -> Result<Self, String> {
        Ok(Self {
            http,
            identity: Identity::of(variables, authority)?,
            instead,
            known: tokio::sync::Mutex::default(),
        })
    }

    /// Returns a token for what `scope` names, such as `https://storage.azure.com/.default`.
    pub(super) async fn get(&self, scope: &str) -> Result<Token, AzureError> {
        // Held while one is asked for: the others want the same one.
        let mut known = self.known.lock().await;
        if let Some(token) = known.get(scope).filter(|token| token.left() > MARGIN) {
            return Ok(token.clone());
        }
        let timeout = match self.identity {
            Identity::Managed { .. } => METADATA_TIMEOUT,
            Identity::Secret { .. } | Identity::Federated { .. } => TOKEN_TIMEOUT,
        };
        let asked = tokio::time::timeout(timeout, self.ask(scope)).await;
        let token = asked
            .unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
            .map_err(|why| AzureError::Credentials(self.unavailable(&why)))?;
        known.insert(scope.to_owned(), token.clone());
        Ok(token)
    }

    /// Has the next token of a scope asked for anew.
    pub(super) async fn forget(&self, scope: &str) {
        self.known.lock().await.remove(scope);
    }

    fn unavailable(&self, why: &str) -> String {
        match self.identity {
            Identity::Managed { .. } => format!(
                "there are no Azure credentials: none of {}AZURE_CLIENT_SECRET and AZURE_FEDERATED_TOKEN_FILE is set, \
                 and the machine has no managed identity ({why}); give ark one of them",
                self.instead
                    .iter()
                    .fold(String::new(), |all, name| all + name + ", ")
            ),
            Identity::Secret { .. } | Identity::Federated { .. } => format!(
                "{} gets no token ({why}); check AZURE_TENANT_ID and AZURE_CLIENT_ID and what proves them",
                self.identity.name()
            ),
        }
    }

    async fn ask(&self, scope: &str) -> Result<Token, String> {
        let mut patience = Patience::new();
        loop {
            let error = match self.ask_once(scope).await? {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            if !patience.wait().await {
                return Err(error);
            }
        }
    }

    /// Asks once; the inner error is one that may pass.
    async fn ask_once(&self, scope: &str) -> Result<Result<Token, String>, String> {
        let request = match &self.identity {
            Identity::Secret {
                application,
                secret,
            } => self.of_application(application, scope, &[("client_secret", secret)])?,
            Identity::Federated { application, file } => {
                // Read each time: it is replaced every hour or so.
                let assertion = tokio::fs::read_to_string(file)
                    .await
                    .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
                let proof = [
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", assertion.trim()),
                ];
                self.of_application(application, scope, &proof)?
            }
            Identity::Managed { client, endpoint } => {
                let mut query = Serializer::new(String::new());
                query
                    .append_pair("api-version", "2018-02-01")
                    .append_pair("resource", scope.strip_suffix("/.default").unwrap_or(scope));
                if let Some(client) = client {
                    query.append_pair("client_id", client);
                }
                let url = format!(
                    "{endpoint}/metadata/identity/oauth2/token?{}",
                    query.finish()
                );
                self.http.get(url).header("Metadata", "true")
            }
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            // Next door there is nothing to wait for.
            Err(error) if matches!(self.identity, Identity::Managed { .. }) => {
                return Err(AzureError::transport(&error.without_url()).to_string());
            }
            Err(error) => return Ok(Err(AzureError::transport(&error.without_url()).to_string())),
        };
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let said = json.get("error_description").and_then(Value::as_str);
            let said = first_line(said.unwrap_or("it says no more"));
            let why = format!("status {}: {said}", status.as_u16());
            return if status.is_server_error() || status.as_u16() == 429 {
                Ok(Err(why))
            } else {
                Err(why)
            };
        }
        Ok(Ok(read(&json)?))
    }

    fn of_application(
        &self,
        application: &Application,
        scope: &str,
        proof: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder, String> {
        let mut url = application.authority.clone();
        url.path_segments_mut()
            .map_err(|()| "the authority's address has no path".to_owned())?
            .pop_if_empty()
            .extend([application.tenant.as_str(), "oauth2", "v2.0", "token"]);
        let body = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &application.client)
            .append_pair("scope", scope)
            .extend_pairs(proof)
            .finish();
        Ok(self
            .http
            .request(Method::POST, url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body))
    }
}

/// Reads an answer; machines' own endpoints write numbers as text.
fn read(json: &Value) -> Result<Token, String> {
    let text = json.get("access_token").and_then(Value::as_str);
    let seconds = json
        .get("expires_in")
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    match (text, seconds) {
        (Some(text), Some(seconds)) => Ok(Token {
            text: text.to_owned(),
            expires: Instant::now() + Duration::from_secs(seconds),
        }),
        _ => Err("the answer holds no token".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::environment::Environment;

    async fn identity(pairs: &[(&str, &str)]) -> Result<Identity, String> {
        let environment: Environment = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let variables = Variables::of(&environment).await.unwrap();
        let authority = Url::parse("https://login.microsoftonline.com").unwrap();
        Identity::of(&variables, &authority)
    }

    #[tokio::test]
    async fn who_asks() {
        let client = ("AZURE_CLIENT_ID", "c");
        let tenant = ("AZURE_TENANT_ID", "t");
        let secret = ("AZURE_CLIENT_SECRET", "hunter2");
        let file = ("AZURE_FEDERATED_TOKEN_FILE", "/token");
        for (pairs, expected) in [
            (&[client, tenant, secret, file][..], "with its secret"),
            (&[client, tenant, file], "workload identity"),
            (&[client], "managed identity"),
            (&[], "managed identity"),
        ] {
            let found = identity(pairs).await.unwrap();
            assert!(
                found.name().contains(expected),
                "{pairs:?}: {}",
                found.name()
            );
        }
        for pairs in [&[secret, client][..], &[secret, tenant], &[file]] {
            let problem = identity(pairs).await.err().unwrap();
            assert!(!problem.contains("hunter2"), "{problem}");
            assert!(problem.contains("set both or neither"), "{problem}");
        }
    }

    #[tokio::test]
    async fn answers_are_read() {
        for seconds in [serde_json::json!(3600), serde_json::json!("3600")] {
            let json = serde_json::json!({"access_token": "t", "expires_in": seconds});
            let token = read(&json).unwrap();
            assert_eq!(token.text, "t");
            assert!(token.left() > MARGIN);
        }
        assert!(read(&Value::Null).is_err());
    }
}
