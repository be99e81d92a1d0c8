//! What a location says about a container of Azure Blob Storage, read without asking anybody.

use url::Url;

use super::variables::Variables;
use crate::api::StorageProviderConfig;
use crate::providers::settings::{Invalid, Settings, bucket, invalid};
use crate::providers::store::StoreError;

/// The settings of this provider, by the names that Ark and Velero's plugin gave them.
const KEYS: &[&str] = &[
    "resourceGroup",
    "storageAccount",
    "storageAccountKeyEnvVar",
    "subscriptionId",
    "storageAccountURI",
    "useAAD",
    "activeDirectoryAuthorityURI",
    "publicUrl",
    "caCert",
];

/// A container, as the settings describe it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct AzureSettings {
    pub(super) container: String,
    pub(super) account: String,
    /// The account's address, without a slash at its end.
    pub(super) endpoint: String,
    /// The account's address for those who get signed URLs.
    pub(super) public_url: String,
    /// Where Entra gives out tokens.
    pub(super) authority: Url,
    /// Where resources are managed.
    pub(super) manager: Url,
    /// Which variable holds the account's key.
    pub(super) key_variable: Option<String>,
    /// Who is asked for the account's key, if anybody is: subscription and resource group.
    pub(super) key_from: Option<(String, String)>,
    /// A file of further certificates to trust.
    pub(super) ca_cert: Option<String>,
}

/// The addresses of one of Azure's clouds.
pub(super) struct Cloud {
    blobs: &'static str,
    pub(super) authority: &'static str,
    pub(super) manager: &'static str,
}

/// Returns the cloud that the variables name as Azure's tools do.
pub(super) fn cloud(variables: &Variables) -> Result<Cloud, Invalid> {
    // `az` and the SDKs disagree on the case and on the prefix.
    let name = variables.get("AZURE_CLOUD_NAME").unwrap_or("AzureCloud");
    Ok(match name.to_ascii_lowercase().as_str() {
        "azurecloud" | "azurepubliccloud" => Cloud {
            blobs: "blob.core.windows.net",
            authority: "https://login.microsoftonline.com",
            manager: "https://management.azure.com",
        },
        "azurechinacloud" => Cloud {
            blobs: "blob.core.chinacloudapi.cn",
            authority: "https://login.chinacloudapi.cn",
            manager: "https://management.chinacloudapi.cn",
        },
        "azureusgovernment" | "azureusgovernmentcloud" => Cloud {
            blobs: "blob.core.usgovcloudapi.net",
            authority: "https://login.microsoftonline.us",
            manager: "https://management.usgovcloudapi.net",
        },
        _ => {
            return Err(Invalid(
                "AZURE_CLOUD_NAME is not known; it can be AzurePublicCloud, AzureChinaCloud or AzureUSGovernmentCloud"
                    .to_owned(),
            ));
        }
    })
}

impl AzureSettings {
    pub(super) fn parse(
        config: &StorageProviderConfig,
        variables: &Variables,
    ) -> Result<Self, StoreError> {
        let settings = Settings::of_store(config, KEYS)?;
        let container = bucket(config)?.to_owned();
        let either = |key: &str, names: &[&str]| {
            settings
                .text(key)
                .or_else(|| variables.first(names))
                .map(str::to_owned)
        };
        let account = either(
            "storageAccount",
            &[
                "AZURE_STORAGE_ACCOUNT",
                "AZURE_STORAGE_ACCOUNT_NAME",
                "AZURE_STORAGE_ACCOUNT_ID",
            ],
        )
        .ok_or_else(|| {
            invalid(
                "backupStorageProvider.config.storageAccount is not set; name the storage account that has the \
                 container",
            )
        })?;
        if !account
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        {
            return Err(invalid(format!(
                "backupStorageProvider.config.storageAccount: {account:?} cannot name a storage account; its name has \
                 small letters and digits"
            )));
        }
        let cloud = cloud(variables)?;
        let address = |key| -> Result<Option<String>, StoreError> {
            let url = settings.url(key)?;
            Ok(url.map(|url| url.as_str().trim_end_matches('/').to_owned()))
        };
        let endpoint = address("storageAccountURI")?
            .unwrap_or_else(|| format!("https://{account}.{}", cloud.blobs));
        let authority = match settings.url("activeDirectoryAuthorityURI")? {
            Some(url) => url,
            None => of_variable(variables, "AZURE_AUTHORITY_HOST", cloud.authority)?,
        };
        let manager = of_variable(variables, "AZURE_RESOURCE_MANAGER_ENDPOINT", cloud.manager)?;
        let use_tokens = settings.flag("useAAD")?;
        let group = either("resourceGroup", &["AZURE_RESOURCE_GROUP"]);
        let subscription = either("subscriptionId", &["AZURE_SUBSCRIPTION_ID"]);
        let key_from = match (use_tokens, subscription, group) {
            (Some(true), ..) => None,
            (_, Some(subscription), Some(group)) => Some((subscription, group)),
            // Tokens are what is left, unless somebody does not want them.
            (None, ..) => None,
            (Some(false), subscription, _) => {
                let missing = match subscription {
                    None => "subscriptionId",
                    Some(_) => "resourceGroup",
                };
                if settings.text("storageAccountKeyEnvVar").is_none() {
                    return Err(invalid(format!(
                        "backupStorageProvider.config.{missing} is not set, and useAAD is \"false\": set it, so that \
                         the account's key can be asked for, or storageAccountKeyEnvVar"
                    )));
                }
                None
            }
        };
        Ok(Self {
            public_url: address("publicUrl")?.unwrap_or_else(|| endpoint.clone()),
            key_variable: settings.text("storageAccountKeyEnvVar").map(str::to_owned),
            ca_cert: settings.text("caCert").map(str::to_owned),
            container,
            account,
            endpoint,
            authority,
            manager,
            key_from,
        })
    }
}

/// Returns the address in a variable, or the default one.
pub(super) fn of_variable(
    variables: &Variables,
    name: &str,
    default: &str,
) -> Result<Url, Invalid> {
    Url::parse(variables.get(name).unwrap_or(default))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| Invalid(format!("{name} cannot be read; write it as https://host")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::environment::Environment;

    async fn parse(
        pairs: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<AzureSettings, StoreError> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let config = StorageProviderConfig {
            name: "azure".into(),
            bucket: "ark".into(),
            config: owned(pairs).into_iter().collect(),
            ..StorageProviderConfig::default()
        };
        let environment: Environment = owned(variables).into_iter().collect();
        let variables = Variables::of(&environment).await.unwrap();
        AzureSettings::parse(&config, &variables)
    }

    #[tokio::test]
    async fn addresses() {
        let account = ("storageAccount", "arkstore");
        let plain = parse(&[account], &[]).await.unwrap();
        assert_eq!(plain.endpoint, "https://arkstore.blob.core.windows.net");
        assert_eq!(plain.public_url, plain.endpoint);
        assert_eq!(plain.key_from, None);
        let china = parse(&[account], &[("AZURE_CLOUD_NAME", "AzureChinaCloud")])
            .await
            .unwrap();
        assert_eq!(
            china.endpoint,
            "https://arkstore.blob.core.chinacloudapi.cn"
        );
        assert_eq!(china.authority.as_str(), "https://login.chinacloudapi.cn/");
        let azurite = [
            account,
            ("storageAccountURI", "http://azurite:10000/arkstore/"),
        ];
        let own = parse(&azurite, &[]).await.unwrap();
        assert_eq!(own.endpoint, "http://azurite:10000/arkstore");
        let old = parse(&[], &[("AZURE_STORAGE_ACCOUNT_ID", "old")]).await;
        assert_eq!(old.unwrap().account, "old");
    }

    #[tokio::test]
    async fn who_gives_the_key() {
        let account = ("storageAccount", "arkstore");
        let group = ("resourceGroup", "g");
        let subscription = ("AZURE_SUBSCRIPTION_ID", "s");
        let from = Some(("s".to_owned(), "g".to_owned()));
        for (pairs, variables, expected) in [
            (&[account, group][..], &[subscription][..], from.clone()),
            (&[account, group], &[], None),
            (&[account, group, ("useAAD", "true")], &[subscription], None),
            (
                &[account, group, ("useAAD", "false")],
                &[subscription],
                from,
            ),
            (&[account], &[], None),
        ] {
            let settings = parse(pairs, variables).await.unwrap();
            assert_eq!(settings.key_from, expected, "{pairs:?} {variables:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused() {
        let account = ("storageAccount", "arkstore");
        for (pairs, variables) in [
            (&[][..], &[][..]),
            (&[("storageAccount", "Ark-Store")], &[]),
            (&[account, ("region", "west")], &[]),
            (&[account, ("useAAD", "yes")], &[]),
            (&[account, ("useAAD", "false")], &[]),
            (&[account, ("storageAccountURI", "azurite:10000")], &[]),
            (&[account], &[("AZURE_CLOUD_NAME", "AzureGermanCloud")]),
            (&[account], &[("AZURE_AUTHORITY_HOST", "login")]),
        ] {
            assert!(
                parse(pairs, variables).await.is_err(),
                "{pairs:?} {variables:?}"
            );
        }
    }
}
