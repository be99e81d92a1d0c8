//! Finds the cluster to talk to: a kubeconfig, or the service account of the pod we run in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// How long the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may be silent unless told otherwise. Watches are quiet for almost this long before kube renews
/// them.
pub const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// Which cluster to talk to, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// A kubeconfig file; `None` means `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; `None` means its current one.
    pub context: Option<String>,
    /// The `User-Agent` of each request.
    pub user_agent: String,
    /// How long an answer may be silent.
    pub read_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            user_agent: String::new(),
            read_timeout: READ_TIMEOUT,
        }
    }
}

/// Where a pod finds its own namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Returns the namespace of the pod we run in; `None` if we run in none.
pub fn pod_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(POD_NAMESPACE).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// Makes a client; nothing is sent yet.
///
/// # Errors
/// One sentence that says which file or setting does not work, and what to do.
pub async fn connect(options: &ConnectOptions) -> anyhow::Result<Client> {
    connect_with_url(options).await.map(|(client, _)| client)
}

/// Makes a client, and returns the cluster's address with it, for messages.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with_url(options: &ConnectOptions) -> anyhow::Result<(Client, String)> {
    let mut config = find_config(options).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(options.read_timeout);
    config.reset_reader_on_write = true;
    // kube's own retry repeats a POST after a 503 or 504 for minutes, without a word: a delete request could be made
    // twice, and the caller would know of nothing.
    config.default_retry = false;
    // Compressing lists costs the API server more time than the wire saves inside a cluster.
    config.disable_compression = true;
    let agent = HeaderValue::try_from(&options.user_agent).context("naming the client")?;
    config.headers.push((USER_AGENT, agent));
    let url = config
        .cluster_url
        .to_string()
        .trim_end_matches('/')
        .to_owned();
    let client = Client::try_from(config).context("preparing the connection to the cluster")?;
    Ok((client, url))
}

async fn find_config(options: &ConnectOptions) -> anyhow::Result<Config> {
    let kube_options = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(|error| explain(&error))?,
        None => match Kubeconfig::read() {
            Ok(kubeconfig) => kubeconfig,
            Err(error) => {
                let in_pod = options.context.is_none().then(Config::incluster);
                return match in_pod {
                    Some(Ok(config)) => Ok(config),
                    Some(Err(_)) | None => Err(explain(&error)),
                };
            }
        },
    };
    Config::from_custom_kubeconfig(kubeconfig, &kube_options)
        .await
        .map_err(|error| explain(&error))
}

/// Says what to do about a kubeconfig that cannot be used. kube's sentences carry their cause already.
fn explain(error: &KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(cause, path) => anyhow!(
            "there is no kubeconfig at {} ({cause}); name one with --kubeconfig or in KUBECONFIG",
            path.display()
        ),
        KubeconfigError::FindPath => {
            anyhow!("there is no kubeconfig; name one with --kubeconfig or in KUBECONFIG")
        }
        KubeconfigError::CurrentContextNotSet => anyhow!(
            "the kubeconfig has no current context; choose one with --kubecontext or `kubectl config use-context`"
        ),
        KubeconfigError::LoadContext(name) => anyhow!(
            "the kubeconfig has no context {name:?}; `kubectl config get-contexts` lists those there are"
        ),
        KubeconfigError::LoadClusterOfContext(name) => anyhow!(
            "the kubeconfig's context names a cluster {name:?} that it does not describe; correct the file"
        ),
        other => anyhow!("the kubeconfig cannot be used: {other}"),
    }
}
