//! Which of the ways into a storage account a location has: its key, a shared access signature, or tokens.

use std::sync::Arc;

use azure_core::auth::{AccessToken, TokenCredential};
use azure_core::error::ErrorKind;
use azure_storage::StorageCredentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;

use super::entra::Tokens;
use super::errors::{AzureError, first_line};
use super::settings::AzureSettings;
use super::variables::Variables;

/// What links are signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SignedWith {
    AccountKey,
    /// A key that Azure lends the identity for a while.
    DelegatedKey,
    Nothing,
}

/// A way into an account.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) credentials: StorageCredentials,
    pub(super) signed_with: SignedWith,
}

/// Finds the way in.
///
/// # Errors
/// A sentence on what is missing or wrong.
pub(super) async fn find(
    settings: &AzureSettings,
    variables: &Variables,
    http: &reqwest::Client,
) -> Result<Access, AzureError> {
    let denied = AzureError::Credentials;
    let key = match &settings.key_variable {
        Some(name) => Some(variables.get(name).ok_or_else(|| {
            denied(format!(
                "{name}, which storageAccountKeyEnvVar names, is not set; put it into the location's credential, or \
                 into the file that AZURE_CREDENTIALS_FILE names"
            ))
        })?),
        None => variables.get("AZURE_STORAGE_KEY"),
    };
    if let Some(key) = key {
        return with_key(settings, key);
    }
    if let Some(sas) = variables.get("AZURE_STORAGE_SAS_TOKEN") {
        let credentials = StorageCredentials::sas_token(sas.trim_start_matches('?'))
            .map_err(|_| denied("AZURE_STORAGE_SAS_TOKEN cannot be read".to_owned()))?;
        return Ok(Access {
            credentials,
            signed_with: SignedWith::Nothing,
        });
    }
    let tokens = Tokens::new(
        http.clone(),
        variables,
        &settings.authority,
        &["AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"],
    )
    .map_err(denied)?;
    if let Some((subscription, group)) = &settings.key_from {
        let key = ask_for_key(settings, subscription, group, &tokens, http).await?;
        return with_key(settings, &key);
    }
    Ok(Access {
        credentials: StorageCredentials::token_credential(Arc::new(OfEntra(tokens))),
        signed_with: SignedWith::DelegatedKey,
    })
}

fn with_key(settings: &AzureSettings, key: &str) -> Result<Access, AzureError> {
    if STANDARD.decode(key).is_err() {
        return Err(AzureError::Credentials(format!(
            "the key of storage account {} is not one: it is not in base64; copy it again",
            settings.account
        )));
    }
    Ok(Access {
        credentials: StorageCredentials::access_key(settings.account.clone(), key.to_owned()),
        signed_with: SignedWith::AccountKey,
    })
}

/// Asks for a key of the account, as Ark has done since 0.10
/// (<https://learn.microsoft.com/rest/api/storagerp/storage-accounts/list-keys>).
async fn ask_for_key(
    settings: &AzureSettings,
    subscription: &str,
    group: &str,
    tokens: &Tokens,
    http: &reqwest::Client,
) -> Result<String, AzureError> {
    let manager = settings.manager.as_str().trim_end_matches('/');
    let mut url = settings.manager.clone();
    url.path_segments_mut()
        .map_err(|()| AzureError::Odd("the manager's address has no path".to_owned()))?
        .pop_if_empty()
        .extend(["subscriptions", subscription, "resourceGroups", group])
        .extend(["providers", "Microsoft.Storage", "storageAccounts"])
        .extend([settings.account.as_str(), "listKeys"]);
    url.query_pairs_mut()
        .append_pair("api-version", "2023-01-01");
    let token = tokens.get(&format!("{manager}/.default")).await?;
    let answer = http
        .post(url)
        .bearer_auth(token.text)
        .header(http::header::CONTENT_LENGTH, 0)
        .send()
        .await
        .map_err(|error| AzureError::transport(&error))?;
    let status = answer.status();
    let body = answer
        .bytes()
        .await
        .map_err(|error| AzureError::transport(&error))?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        let said = json.pointer("/error/message").and_then(Value::as_str);
        return Err(AzureError::Credentials(format!(
            "the keys of storage account {} cannot be listed (status {}: {}); let the identity do it \
             (Microsoft.Storage/storageAccounts/listKeys/action), or set useAAD to \"true\"",
            settings.account,
            status.as_u16(),
            first_line(said.unwrap_or("it says no more"))
        )));
    }
    json.get("keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        // "FULL" and "Full" are both about.
        .find(|key| {
            key.get("permissions")
                .and_then(Value::as_str)
                .is_some_and(|permissions| permissions.eq_ignore_ascii_case("full"))
        })
        .and_then(|key| key.get("value")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| {
            AzureError::Credentials(format!(
                "storage account {} has no key that may do everything; set useAAD to \"true\"",
                settings.account
            ))
        })
}

/// Our tokens, as Microsoft's crate wants them.
#[derive(Debug)]
struct OfEntra(Tokens);

#[async_trait::async_trait]
impl TokenCredential for OfEntra {
    async fn get_token(&self, scopes: &[&str]) -> azure_core::Result<AccessToken> {
        let scope = scopes.first().copied().unwrap_or_default();
        let token = self
            .0
            .get(scope)
            .await
            .map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
        let expires = OffsetDateTime::now_utc() + token.left();
        Ok(AccessToken::new(token.text, expires))
    }

    async fn clear_cache(&self) -> azure_core::Result<()> {
        Ok(())
    }
}
